"""Tables of configurations: cells, folders, resuming, what is collected and written."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from spikeloom.cli import main
from spikeloom.cli.find import find_task
from spikeloom.errors import CheckpointError, ConfigError
from spikeloom.train import series, table
from spikeloom.train.table import Table, TablePlan

TINY = Path(__file__).parents[1] / "tiny_task.py"
TABLES = """

from spikeloom.train.table import Table

TABLES = {
    "sizes": Table(
        "Error of a plane",
        {
            "small": {"plain": ("smoke", {}), "long, slow": ("smoke", {"updates": 6, "lr": 0.01})},
            "wide": {"plain": ("smoke", {"inputs": 5})},
        },
        {("small", "plain"): 0.25},
        "T. Author, 2020",
        value="error",
    )
}
"""
CELLS = ["small-plain", "small-long-slow", "wide-plain"]


@pytest.fixture
def task(tmp_path: Path) -> Path:
    path = tmp_path / "planes.py"
    path.write_text(TINY.read_text() + TABLES)
    return path


def plan(task: Path, **changes: object) -> TablePlan:
    return TablePlan(str(task), "sizes", [3, 4], dict(changes))


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def options(folder: Path, cell: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / cell / "seed3" / "config.json").read_text())["options"]
    return found


def test_a_table_trains_every_cell_and_writes_what_they_reached(
    task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "table"
    assert run("table", task, "sizes", "--seed", 3, "--seeds", 2, "--set", "batch=8", "--out", out) == 0
    words = capsys.readouterr().out
    assert words.splitlines()[-1] == str(out)
    assert table.read(out) == replace(plan(task, batch=8), task="../planes.py")
    assert {path.name for path in out.iterdir() if path.is_dir()} == {*CELLS, "figures"}
    assert [options(out, cell)["batch"] for cell in CELLS] == [8, 8, 8]
    assert [(options(out, cell)["updates"], options(out, cell)["inputs"]) for cell in CELLS] == [(4, 3), (6, 3), (4, 5)]
    result = json.loads((out / "result.json").read_text())
    assert result["seeds"] == [3, 4]
    for cell, name in zip(result["cells"], CELLS, strict=True):
        errors = [
            json.loads((out / name / f"seed{seed}" / "result.json").read_text())["test"]["error"] for seed in (3, 4)
        ]
        assert (cell["folder"], cell["values"]) == (name, errors)
        assert cell["mean"] == pytest.approx(sum(errors) / 2)
        assert cell["published"] == (0.25 if name == "small-plain" else None)
        assert len(cell["seconds"]) == 2
    text = (out / "table.txt").read_text()
    assert text in words
    assert (
        text.splitlines()[0] == "Error of a plane: mean and standard deviation of 2 seeds; in brackets: T. Author, 2020"
    )
    assert text.splitlines()[2].split("  ")[-1].strip() == "long, slow"
    assert "(0.250)" in text.splitlines()[3]
    assert text.splitlines()[4].startswith("wide")
    assert (out / "figures" / "table.png").read_bytes()[:4] == b"\x89PNG"


def test_resuming_trains_only_what_is_missing(task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "table"
    again = ("table", task, "sizes", "--seeds", 2, "--out", out)
    assert run(*again) == 0
    result, text = json.loads((out / "result.json").read_text()), (out / "table.txt").read_text()
    checkpoint = Path("seed1") / "checkpoints" / "last.pt"
    before = {cell: (out / cell / checkpoint).stat().st_mtime_ns for cell in CELLS}
    (out / CELLS[0] / "summary.json").unlink()  # its runs are finished
    (out / CELLS[1] / "summary.json").unlink()
    for name in ("report.html", "result.json", "checkpoints/last.pt", "seconds.json", "metrics.jsonl"):  # killed early
        (out / CELLS[1] / "seed1" / name).unlink()
    (out / "table.txt").unlink()
    assert run("report", out, "--task", task) == 0  # of the cell that is finished
    (cell,) = json.loads((out / "result.json").read_text())["cells"]
    assert cell == result["cells"][2]
    assert (out / "table.txt").read_text().splitlines()[3].startswith("wide")
    assert run("resume", out, "--task", task) == 0
    assert (out / "table.txt").read_text() == text
    after = {cell: (out / cell / checkpoint).stat().st_mtime_ns for cell in CELLS}
    assert [cell for cell in CELLS if before[cell] != after[cell]] == [CELLS[1]]
    assert [cell["values"] for cell in json.loads((out / "result.json").read_text())["cells"]] == [
        cell["values"] for cell in result["cells"]
    ]
    assert run(*again) == 0  # the same command goes on as well
    capsys.readouterr()
    assert run("table", task, "sizes", "--seeds", 3, "--out", out) == 1
    assert "is not empty" in capsys.readouterr().err


def test_unfinished_cells_are_left_out(task: Path, tmp_path: Path) -> None:
    found = table.find(find_task(str(task)), "Task planes", "sizes")
    seed = tmp_path / "wide-plain" / "seed3"
    seed.mkdir(parents=True)
    (seed / "result.json").write_text('{"seconds": 2.0}')
    error = {"mean": 0.5, "sd": 0.0, "min": 0.5, "max": 0.5, "values": [0.5]}
    (seed.parent / "summary.json").write_text(json.dumps({"test": {"error": error}}))
    result = table.collect(tmp_path, find_task(str(task)), found, TablePlan(str(task), "sizes", [3], {}))
    assert [(cell["row"], cell["mean"], cell["seconds"]) for cell in result["cells"]] == [("wide", 0.5, [2.0])]
    assert table.text(result).splitlines()[3] == "wide  0.500"  # one seed has no spread


def test_nothing_to_report_is_said(task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table.create(tmp_path / "table", plan(task))
    assert run("report", tmp_path / "table", "--task", task) == 1
    assert f"Nothing is finished in the table {tmp_path / 'table'}. Go on with it by" in capsys.readouterr().err


def test_other_values_and_the_mean_of_all_rows_stand_in_the_table(task: Path, tmp_path: Path) -> None:
    cells = {name: {"plain": ("smoke", {"inputs": inputs})} for name, inputs in (("one", 2), ("two", 3))}
    made = Table("Errors", cells, {("all", "plain"): 0.25}, "T. Author", "error", besides=("solved",), mean="all")
    asked = TablePlan(str(task), "sizes", [3, 4], {})

    def finish(name: str, errors: list[float], solved: float) -> None:
        for seed in asked.seeds:
            (tmp_path / name / f"seed{seed}").mkdir(parents=True)
            (tmp_path / name / f"seed{seed}" / "result.json").write_text('{"seconds": 2.0}')
        test = {"error": series.statistics(errors), "solved": series.statistics([solved, 0.0])}
        (tmp_path / name / "summary.json").write_text(json.dumps({"test": test}))

    finish("one-plain", [0.1, 0.2], 1.0)
    assert [cell["row"] for cell in table.collect(tmp_path, find_task(str(task)), made, asked)["cells"]] == ["one"]
    finish("two-plain", [0.5, 0.8], 0.0)
    result = table.collect(tmp_path, find_task(str(task)), made, asked)
    last = result["cells"][-1]
    assert (last["row"], last["seconds"], last["published"]) == ("all", [4.0, 4.0], 0.25)
    assert last["values"] == pytest.approx([0.3, 0.5])
    assert table.text(result).splitlines()[2:] == [
        "     plain                  solved",
        "one  0.150 ± 0.071          0.500",
        "two  0.650 ± 0.212          0.000",
        "all  0.400 ± 0.141 (0.250)  0.250",
    ]


def test_a_table_of_presets() -> None:
    made = Table.of_presets(
        "All", {"a": ("x", None), "b": (None, "y")}, ("one", "two"), {"y": 0.5, "z": 0.1}, "a paper"
    )
    assert made.cells == {"a": {"one": ("x", {})}, "b": {"two": ("y", {})}}
    assert made.published == {("b", "two"): 0.5}
    assert made.columns() == ["one", "two"]
    with pytest.raises(ValueError, match="shorter"):
        Table.of_presets("All", {"a": ("x",)}, ("one", "two"), {}, "")


def test_changes_must_be_options_of_the_task(task: Path) -> None:
    module = find_task(str(task))
    found = table.find(module, "Task planes", "sizes")
    with pytest.raises(ConfigError, match=r"table sizes: options.*'udpates'.*Did you mean 'updates'\?"):
        list(table.members(module, found, plan(task, udpates=3)))
    with pytest.raises(ConfigError, match="lr must be float"):
        list(table.members(module, found, plan(task, lr="high")))
    with pytest.raises(ConfigError, match=r"Task planes has no table 'size'\. Did you mean 'sizes'\?"):
        table.find(module, "Task planes", "size")


def test_a_change_must_not_make_the_names_of_the_table_wrong(task: Path) -> None:
    module = find_task(str(task))
    rates = {"plane": {f"{lr:g}": ("smoke", {"lr": lr}) for lr in (0.1, 0.01)}}
    with pytest.raises(
        ConfigError, match=r"table sizes compares lr: its columns are 0\.1, 0\.01\. Change another option"
    ):
        list(table.members(module, Table("Rates", rates), plan(task, lr=0.5)))
    assert len(list(table.members(module, Table("Rates", rates), plan(task, inputs=5)))) == 2


def test_a_damaged_cell_is_an_error(task: Path, tmp_path: Path) -> None:
    module = find_task(str(task))
    found = table.find(module, "Task planes", "sizes")
    (tmp_path / CELLS[0]).mkdir()
    (tmp_path / CELLS[0] / "summary.json").write_text('{"test": {}}')
    with pytest.raises(CheckpointError, match=r"summary\.json lacks 'error', which the table shows"):
        table.collect(tmp_path, module, found, plan(task))


def test_a_damaged_table_is_an_error(tmp_path: Path) -> None:
    assert table.read(tmp_path) is None
    (tmp_path / "table.json").write_text("{")
    with pytest.raises(ConfigError, match=r"table\.json is not JSON"):
        table.read(tmp_path)
    (tmp_path / "table.json").write_text('{"task": "t", "tabel": "n", "seeds": [1], "changes": {}}')
    with pytest.raises(ConfigError, match=r"unknown key 'tabel'. Did you mean 'table'"):
        table.read(tmp_path)


def test_cells_that_would_share_a_folder_are_refused(task: Path) -> None:
    for rows, column in ((("A+", "A-"), "1"), (("α",), "β")):
        shared = Table("T", {row: {column: ("smoke", {})} for row in rows})
        with pytest.raises(ConfigError, match=r"the cell .* has the folder"):
            list(table.members(find_task(str(task)), shared, plan(task)))
