"""Runs opened from Python: what is in the folder, and nothing changed there."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spikeloom import open_run
from spikeloom.errors import CheckpointError, ConfigError
from spikeloom.train.opened import OpenedRun
from spikeloom.train.run import Run

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has made two updates."""
    made = Run(tmp_path / "run", task="my_task", preset="default", seed=3, quiet=True)
    made.write_json("config.json", {"task": "my_task", "preset": "default", "seed": 3, "options": {"lr": 0.1}})
    made.log(1, loss=0.5)
    made.log(2, loss=0.25, validation_loss=0.5)
    return made


def finished(run: Run) -> OpenedRun:
    run.write_json("result.json", {"test": {"accuracy": 0.75}, "published": {}, "seconds": 1.0})
    return open_run(run.folder)


def test_a_running_run_is_seen_as_it_grows(run: Run) -> None:
    opened = open_run(str(run.folder))
    assert (opened.task, opened.preset, opened.seed) == ("my_task", "default", 3)
    assert opened.config == {"task": "my_task", "preset": "default", "seed": 3, "options": {"lr": 0.1}}
    assert opened.options == {"lr": 0.1}
    assert opened.result is None
    assert opened.environment is None
    assert opened.figures == []
    assert [line["loss"] for line in opened.metrics] == [0.5, 0.25]
    run.log(3, loss=0.125)
    with (run.folder / "metrics.jsonl").open("a") as stream:
        stream.write('{"update": 4, "lo')  # being written
    assert [line["update"] for line in opened.metrics] == [1, 2, 3]
    assert str(opened).startswith("my_task, preset default, seed 3: 3 updates, not evaluated\n")
    assert "loss" in str(opened)


def test_a_finished_run_shows_its_result_and_its_options(run: Run) -> None:
    opened = finished(run)
    (run.folder / "figures").mkdir()
    (run.folder / "figures" / "a.png").write_bytes(b"")
    assert opened.result is not None
    assert opened.result["test"] == {"accuracy": 0.75}
    assert [path.name for path in opened.figures] == ["a.png"]
    assert "2 updates, evaluated" in str(opened)
    html = opened._repr_html_()
    assert "<td>accuracy</td><td>0.75</td>" in html
    assert "<td>lr</td><td>0.1</td>" in html
    many = OpenedRun(run.folder, {**opened.config, "options": {f"<{number}>": number for number in range(20)}})
    assert "and 8 more in options" in many._repr_html_()
    assert "<0>" not in many._repr_html_()


def test_nothing_is_written(run: Run) -> None:
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.folder.rglob("*") if path.is_file()}
    opened = open_run(run.folder)
    _ = str(opened), opened._repr_html_(), opened.metrics, opened.result
    with pytest.raises(AttributeError):
        opened.folder = Path("elsewhere")  # type: ignore[misc]
    opened.options["lr"] = 5.0
    assert opened.options == {"lr": 0.1}
    assert before == {
        path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.folder.rglob("*") if path.is_file()
    }


def test_recorded_runs_open() -> None:
    folders = sorted(path.parent for path in RESULTS.glob("*/config.json"))
    assert folders
    for folder in folders[:10]:
        opened = open_run(folder)
        assert opened.task in str(opened)
        assert "<table>" in opened._repr_html_()
        assert opened.result is None or opened.result["test"]


@pytest.mark.parametrize("wrong", [3, None, b"run", ["run"], "a\0b"])
def test_what_is_no_path_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"open_run needs folder as a path, but got .*\. Pass the folder that"):
        open_run(wrong)


def test_what_is_no_run_is_said(tmp_path: Path, run: Run) -> None:
    with pytest.raises(ConfigError, match="is not a run folder: it does not exist"):
        open_run(tmp_path / "none")
    with pytest.raises(ConfigError, match="is not a run folder"):
        open_run(run.folder / "config.json")


def test_damaged_files_are_said(run: Run) -> None:
    opened = finished(run)
    (run.folder / "result.json").write_text("[")
    with pytest.raises(CheckpointError, match=r"result\.json cannot be read: it is not JSON"):
        _ = opened.result
    (run.folder / "result.json").write_text(json.dumps({"seconds": 1}))
    with pytest.raises(
        CheckpointError, match=r"result\.json holds no test values\. Write it anew with `spikeloom eval"
    ):
        _ = opened.result
    (run.folder / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(CheckpointError, match="is damaged in line 1"):
        _ = opened.metrics


def test_without_pandas_the_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        ConfigError, match=r"frame needs pandas, which is not installed\. Run `pip install 'spikeloom\["
    ):
        open_run(run.folder).frame()


def test_the_frame_gets_all_columns_and_is_indexed_by_the_update(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for pandas, which the tests do not need."""

    class DataFrame:
        def __init__(self, lines: list[dict[str, Any]], columns: list[str]) -> None:
            self.lines, self.columns, self.index = lines, columns, ""

        def set_index(self, name: str) -> "DataFrame":
            self.index = name
            return self

    module = ModuleType("pandas")
    module.DataFrame = DataFrame  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", module)
    frame = open_run(run.folder).frame()
    assert (frame.columns, frame.index) == (["update", "loss", "validation_loss"], "update")
    assert frame.lines == run.metrics()
    (run.folder / "metrics.jsonl").unlink()
    assert open_run(run.folder).frame().columns == ["update"]


def test_the_frame_of_pandas(run: Run) -> None:
    pytest.importorskip("pandas")
    frame = open_run(run.folder).frame()
    assert list(frame.index) == [1, 2]
    assert list(frame["loss"]) == [0.5, 0.25]
    assert bool(frame["validation_loss"].isna()[1])
    (run.folder / "metrics.jsonl").unlink()
    assert len(open_run(run.folder).frame()) == 0
