import json
from pathlib import Path

import pytest

from spikeloom.errors import CheckpointError, ConfigError
from spikeloom.train import series
from spikeloom.train.series import Series

THREE = Series("tiny", "smoke", [4, 5, 6], {"updates": 4})


def results(folder: Path, solved: bool) -> None:
    for seed, error in zip(THREE.seeds, (0.1, 0.2, 0.6), strict=True):
        (folder / f"seed{seed}").mkdir()
        test = {"error": error} | ({"solved": float(error < 0.5)} if solved else {})
        (folder / f"seed{seed}" / "result.json").write_text(json.dumps({"test": test}))


def test_a_series_is_kept_in_its_folder(tmp_path: Path) -> None:
    series.create(tmp_path / "all", THREE)
    assert series.read(tmp_path / "all") == THREE
    assert THREE.member(5).seed == 5
    assert series.read(tmp_path) is None
    with pytest.raises(ConfigError, match=r"is not empty"):
        series.create(tmp_path / "all", THREE)


def test_a_wrong_series_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "seeds.json").write_text("{")
    with pytest.raises(ConfigError, match=r"seeds.json is not JSON"):
        series.read(tmp_path)
    (tmp_path / "seeds.json").write_text('{"task": "t", "preset": "p", "sedes": [1], "options": {}}')
    with pytest.raises(ConfigError, match=r"unknown key 'sedes'. Did you mean 'seeds'"):
        series.read(tmp_path)


def test_the_summary_has_mean_spread_extremes_and_solved(tmp_path: Path) -> None:
    results(tmp_path, solved=True)
    summary = series.summarise(tmp_path, THREE)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    error = summary["test"]["error"]
    assert error["mean"] == pytest.approx(0.3)
    assert error["sd"] == pytest.approx(0.2645751)
    assert (error["min"], error["max"], error["values"]) == (0.1, 0.6, [0.1, 0.2, 0.6])
    assert summary["solved"] == 2
    assert series.table(summary).splitlines()[-1] == "solved: 2 of 3 seeds"


def test_a_task_without_criterion_counts_no_solved_runs(tmp_path: Path) -> None:
    results(tmp_path, solved=False)
    assert "solved" not in series.summarise(tmp_path, THREE)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"test": {"error": "x"}}', "[" * 9999, '{"test": []}'])
def test_a_damaged_result_is_named(content: str, tmp_path: Path) -> None:
    results(tmp_path, solved=False)
    (tmp_path / "seed5" / "result.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"seed5/result\.json is missing or damaged: .* writes it again"):
        series.summarise(tmp_path, THREE)


def test_what_a_table_reads_is_checked(tmp_path: Path) -> None:
    for content in ("{", '{"test": {"error": {}}}', '{"test": {"error": 1}}'):
        (tmp_path / "summary.json").write_text(content)
        with pytest.raises(CheckpointError, match=r"summary\.json is missing or damaged"):
            series.summary(tmp_path)
    (tmp_path / "result.json").write_text('{"test": {}}')
    with pytest.raises(CheckpointError, match=r"result\.json is missing or damaged: 'seconds'"):
        series.seconds(tmp_path)
