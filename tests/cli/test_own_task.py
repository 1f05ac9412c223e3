"""A task of one's own: `spikeloom new`, and a project that moves."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spikeloom import cli
from spikeloom.cli.new import TEMPLATE
from spikeloom.report import compare, read
from spikeloom.train import checkpoint, task_path

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "tiny_task.py"


def spikeloom(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def complaint(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a failing command prints."""
    capsys.readouterr()
    assert spikeloom(*arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def recorded(folder: Path) -> str:
    task: str = json.loads((folder / "config.json").read_text())["task"]
    return task


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a task, in which the user works."""
    folder = tmp_path / "project"
    (folder / "tasks").mkdir(parents=True)
    (folder / "pyproject.toml").touch()
    shutil.copy(TINY, folder / "tasks" / "my_task.py")
    monkeypatch.chdir(folder)
    return folder


def test_a_new_task_is_the_template_and_nothing_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert spikeloom("new", "my_task") == 0
    assert Path("my_task.py").read_bytes() == TEMPLATE.read_bytes()
    assert "  spikeloom train my_task.py --preset smoke" in capsys.readouterr().out
    Path("my_task.py").write_text("mine")
    for name in ("my_task", "my_task.py"):
        assert "my_task.py exists already, and would be lost." in complaint(capsys, "new", name)
    assert Path("my_task.py").read_text() == "mine"
    assert spikeloom("new", tmp_path / "other.py") == 0
    assert (tmp_path / "other.py").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "new needs the name of one file to write: spikeloom new my_task."),
        (["a", "b"], "new needs the name of one file"),
        (["--force"], "new needs the name of one file"),
        (["my-task"], "'my-task' is no name of a module. Use letters, digits and underscores"),
        (["class.py"], "'class' is no name of a module"),
        (["nowhere/my_task"], "nowhere/my_task.py cannot be written: No such file or directory."),
    ],
)
def test_names_that_cannot_be_written(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in complaint(capsys, "new", *words)
    assert list(tmp_path.iterdir()) == []


def test_a_new_task_runs_and_imports_what_lies_beside_it(tmp_path: Path) -> None:
    assert spikeloom("new", tmp_path / "my_task") == 0
    (tmp_path / "beside_my_task.py").write_text("STEPS = 4\n")
    path = tmp_path / "my_task.py"
    text = path.read_text().replace("import torch\n", "import torch\nfrom beside_my_task import STEPS\n", 1)
    path.write_text(text.replace("updates=4,", "updates=STEPS,"))
    command = [sys.executable, "-m", "spikeloom", "train", str(path), "--preset", "smoke", "--out", "run"]
    environment = {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in json.loads((tmp_path / "run" / "result.json").read_text())["test"]
    assert {one.name for one in (tmp_path / "run" / "figures").iterdir()} >= {"spikes.png", "learning_curves.png"}
    assert recorded(tmp_path / "run") == "../my_task.py"


@pytest.mark.slow
def test_the_template_learns_in_less_than_a_minute(tmp_path: Path) -> None:
    assert spikeloom("train", TEMPLATE, "--out", tmp_path / "run") == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["test"]["accuracy"] > 0.95
    assert result["seconds"] < 60


def test_the_template_can_be_exported(tmp_path: Path) -> None:
    pytest.importorskip("nir", reason="needs the extra nir")
    assert spikeloom("train", TEMPLATE, "--preset", "smoke", "--out", tmp_path / "run") == 0
    assert spikeloom("export", tmp_path / "run", "--format", "nir", "--task", TEMPLATE) == 0
    assert (tmp_path / "run" / "model.nir").is_file()


def test_every_part_of_the_template_is_explained_in_its_docstring() -> None:
    module = importlib.import_module("spikeloom.cli.own_task")
    words = (module.__doc__ or "").split()
    for part in ("Config", "PRESETS", "PUBLISHED", "build", "draw", "train", "evaluate", "plot"):
        assert hasattr(module, part)
        assert part in words


def test_a_project_can_be_renamed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = Path("tasks/my_task.py")
    assert spikeloom("train", task, "--preset", "smoke", "--out", "runs/one") == 0
    assert spikeloom("train", task, "--preset", "smoke", "--out", "runs/several", "--seeds", 2) == 0
    assert recorded(project / "runs/one") == "../../tasks/my_task.py"
    assert json.loads(Path("runs/several/seeds.json").read_text())["task"] == "../../tasks/my_task.py"
    assert recorded(project / "runs/several/seed1") == "../../../tasks/my_task.py"
    assert json.loads(Path("runs/one/result.json").read_text())["task"] == "../../tasks/my_task.py"
    page = Path("runs/one/report.html").read_text()
    assert "spikeloom train ../tasks/my_task.py" in page
    assert str(project) not in page
    moved = project.rename(project.with_name("moved"))
    for folder in ("one", "several", "several/seed1"):
        said = complaint(capsys, "resume", moved / "runs" / folder)
        assert said.endswith("If you trust that file, name it: --task tasks/my_task.py.")
    for folder in ("one", "several"):
        (moved / "runs" / folder / ("seed1" if folder == "several" else "") / "report.html").unlink()
        assert spikeloom("resume", f"runs/{folder}", "--task", task) == 0
    assert spikeloom("evaluate", "runs/several", "--task", task) == 0


def test_messages_name_the_file_from_where_the_user_is(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = project / "tasks" / "my_task.py"
    stop = "        if finished == 2 and run.last_saved == 2:\n            raise KeyboardInterrupt\n"
    text = task.read_text().replace("        x, y", f"{stop}        x, y", 1)
    task.write_text(text)
    assert spikeloom("train", "tasks/my_task.py", "--preset", "smoke", "--out", "runs/one") == 130
    assert "`spikeloom resume runs/one --task tasks/my_task.py`" in capsys.readouterr().err
    monkeypatch.chdir(project / "runs")
    assert f"--task {task}." in complaint(capsys, "resume", project / "runs/one")
    monkeypatch.chdir(project)
    assert "has no option '--colour'" in complaint(capsys, "evaluate", "runs/one", "--task", task, "--colour", "red")
    task.unlink()
    said = complaint(capsys, "report", "runs/one")
    assert "tasks/my_task.py, which is not there any more" in said
    assert said.endswith("name it: --task FILE, where it is now.")


def test_a_table_of_a_project_can_be_moved(project: Path) -> None:
    task = project / "tasks" / "my_task.py"
    imports = "from spikeloom.train import ranks\nfrom spikeloom.train.table import Table\n"
    text = task.read_text().replace("from spikeloom.train import ranks\n", imports)
    cells = '{"a": {"x": ("smoke", {}), "y": ("smoke", {"lr": 0.5})}}'
    task.write_text(f'{text}\n\nTABLES = {{"one": Table("T", {cells}, value="error")}}\n')
    words = ["table", "tasks/my_task.py", "--seeds", 1, "--out", "runs/table"]
    assert spikeloom(*words) == 0
    assert json.loads(Path("runs/table/table.json").read_text())["task"] == "../../tasks/my_task.py"
    assert recorded(project / "runs/table/a-x/seed0") == "../../../../tasks/my_task.py"
    moved = project.rename(project.with_name("moved"))
    shutil.rmtree(moved / "runs/table/a-y")
    assert spikeloom("resume", "runs/table", "--task", "tasks/my_task.py") == 0
    assert spikeloom(*words) == 0
    plan = json.loads(Path("runs/table/table.json").read_text())
    Path("runs/table/table.json").write_text(json.dumps(plan | {"task": str(moved / "tasks/my_task.py")}))
    assert spikeloom(*words) == 0  # an absolute record of before is the same task


def test_an_absolute_record_of_before_goes_on(project: Path) -> None:
    task, folder = "tasks/my_task.py", project / "runs/old"
    assert spikeloom("train", task, "--preset", "smoke", "--out", folder) == 0
    new, old = f'"{recorded(folder)}"', f'"{project / task}"'
    (folder / "config.json").write_text((folder / "config.json").read_text().replace(new, old))
    for name in ("last", "best"):
        path = folder / "checkpoints" / f"{name}.pt"
        checkpoint.save(path, checkpoint.load(path) | {"task": str(project / task)})
    for command in ("resume", "evaluate", "report"):
        assert spikeloom(command, folder, "--task", task) == 0
    assert spikeloom("train", task, "--preset", "smoke", "--out", "runs/deep/new", "--seed", 1) == 0
    (group,) = compare.groups([folder, project / "runs/deep/new"])  # one task, whatever the record
    assert [read.read(folder).task] == [run.task for run in group.runs[1:]]


@pytest.mark.parametrize(
    ("file", "marks", "folder", "expected"),
    [
        ("a/task.py", [], "a/runs/r", "../../task.py"),
        ("a/task.py", [], "b/r", None),
        ("a/b/task.py", [], "a/r", None),
        ("a/b/task.py", ["a/.git"], "a/r", "../b/task.py"),
        ("a/b/task.py", ["a/.git", "a/b/pyproject.toml"], "a/r", None),
        ("a/b/task.py", ["pyproject.toml"], "r", "../a/b/task.py"),
    ],
)
def test_where_a_task_is_recorded(
    file: str, marks: list[str], folder: str, expected: str | None, tmp_path: Path
) -> None:
    for path in (tmp_path / file, *(tmp_path / mark for mark in marks)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    record = task_path.record(str(tmp_path / file), tmp_path / folder)
    assert record == (expected or str(tmp_path / file))
    assert task_path.located(record, tmp_path / folder) == str(tmp_path / file)
    assert task_path.record("shd", tmp_path / folder) == "shd"
    assert task_path.shown("shd", tmp_path / folder) == "shd"


def test_data_of_a_task_is_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.py"
    path.write_text(TINY.read_text() + '\nDATA = "mnist"\n')
    said = complaint(capsys, "train", path, "--out", tmp_path / "run")
    assert 'DATA must be the names of data sets, such as ("mnist",)' in said
