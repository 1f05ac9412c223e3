"""`spikeloom tasks`: what it lists is what the tasks and results/ say."""

import ast
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import recorded
from spikeloom import cli
from spikeloom.cli import help, tasks
from spikeloom.cli.find import find_task

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "tiny_task.py"
READERS = {"babi", "fsdd", "mnist", "nmnist", "ntidigits", "omniglot", "shd", "ssc", "stmnist"}


def listed(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert cli.main(["tasks", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_what_is_recorded_is_what_results_holds() -> None:
    assert recorded.FILE.read_text() == recorded.text(), "run `python -m benchmarks.recorded`"


@pytest.mark.parametrize("columns", ["40", "80", "120"])
def test_the_list_fits_into_eighty_columns(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = listed(capsys)
    assert max(map(len, text.splitlines())) <= min(int(columns), 80)
    row = tasks.recorded()["store_recall"]["paper"]
    assert f"paper: {tasks.minutes(row)}, {tasks.reached(row)}" in " ".join(text.split())
    for name in help.tasks():
        assert f"\n{name} " in f"\n{text}"


@pytest.mark.parametrize("name", help.tasks())
def test_every_task_lists_its_presets(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = listed(capsys, name)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    start = next(i for i, line in enumerate(lines) if line.startswith("preset"))
    assert [line.split()[0] for line in lines[start + 1 : start + 1 + len(find_task(name).PRESETS)]] == list(
        find_task(name).PRESETS
    )


@pytest.mark.parametrize("name", help.tasks())
def test_the_data_of_a_task_is_what_it_reads(name: str) -> None:
    path = help.task_files()[name]
    used = {
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level == 3 and node.module == "data"
        for alias in node.names
    } & READERS
    data = set(tasks.constant(path, "DATA"))
    assert used <= data <= READERS
    assert data - used <= {"mnist"}  # a paper may read it in a module of its own


def test_a_task_of_ones_own_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = listed(capsys, TINY)
    assert text.startswith("A plane through noisy points: the smallest task, for the tests of runs.\n\ndata: none\n")
    assert "\npreset\npaper\nsmoke\n" in text
    own = tmp_path / "own.py"
    own.write_text(TINY.read_text() + '\nDATA = ("mnist", "fsdd")\n')
    assert "data: mnist, fsdd  (spikeloom data list says what is present)\n" in listed(capsys, own)


def test_where_nothing_is_recorded_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(help, "PAPERS", tmp_path)
    assert tasks.recorded() == {}
    assert listed(capsys).split()[0] == "Minutes"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sdh"], "There is no task 'sdh'. Did you mean 'shd'?"),
        (["shd", "babi"], "tasks takes one task at most, but got shd babi"),
        (["--all"], "tasks takes one task at most, but got --all"),
        (["nowhere.py"], "There is no file nowhere.py with a task."),
    ],
)
def test_wrong_names(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tasks", *words]) == 1
    assert message in capsys.readouterr().err


def test_runs_with_other_options_are_not_those_of_the_preset(tmp_path: Path) -> None:
    run = tmp_path / "results" / "a"
    run.mkdir(parents=True)
    start = ROOT / "results" / "store_recall-paper" / "seed0"
    for name in ("config", "result", "environment"):
        (run / f"{name}.json").write_text((start / f"{name}.json").read_text())
    (run / "phase").mkdir()
    (run / "phase" / "seconds.json").write_text('{"training": 60.0}')
    row = recorded.collect(run.parent)["store_recall"]["paper"]
    seconds = json.loads((run / "result.json").read_text())["seconds"]
    assert row["minutes"] == [round(seconds / 60 + 1, 1)] * 2
    assert (row["from"], row["seeds"], row["value"], row["sd"]) == ("results/a", 1, "error", None)
    document = json.loads((run / "config.json").read_text())
    document["options"]["lr"] = 0.5
    (run / "config.json").write_text(json.dumps(document))
    assert recorded.collect(run.parent) == {}
    document["options"] = {"colour": "red"}  # of an earlier version
    (run / "config.json").write_text(json.dumps(document))
    assert recorded.collect(run.parent) == {}


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["tasks"], ["train", "--help"]])
def test_quick_commands_do_not_load_torch(words: list[str]) -> None:
    program = f"import sys; from spikeloom import cli; cli.main({words}); print('loaded', 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.endswith("loaded False\n")


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in help.COMMANDS)], ids=" ".join)
def test_help_fits_into_eighty_columns(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_the_readme_names_every_command_and_no_other() -> None:
    used = (ROOT / "README.md").read_text().split("## Use\n\n```\n")[1].split("```")[0]
    words = used.replace("#", " ").replace("`", " ").split()
    named = {after for word, after in itertools.pairwise(words) if word == "spikeloom"}
    assert named == set(help.COMMANDS)
