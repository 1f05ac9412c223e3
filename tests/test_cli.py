import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spikeloom import cli
from spikeloom.cli import help
from spikeloom.cli.options import first_words, parse_table
from spikeloom.train import files

TINY = str(Path(__file__).with_name("tiny_task.py"))
OWN = ("--task", TINY)
ROOT = Path(__file__).parents[1]


def spikeloom(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def trained(folder: Path, *options: object) -> Path:
    assert spikeloom("train", TINY, "--preset", "smoke", "--out", folder, *options) == 0
    return folder


def complaint(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a failing command prints."""
    capsys.readouterr()
    assert spikeloom(*arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_train_makes_a_run_folder_and_prints_it_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained(tmp_path / "run", "--seed", 3, "--lr", 0.1, "--no-bias")
    assert capsys.readouterr().out.splitlines()[-1] == str(folder)
    for name in ("environment.json", "metrics.jsonl", "checkpoints/last.pt", "checkpoints/best.pt", "report.html"):
        assert (folder / name).exists(), name
    config = json.loads((folder / "config.json").read_text())
    assert config["seed"] == 3
    assert config["options"] | {"lr": 0.1, "bias": False, "updates": 4} == config["options"]
    result = json.loads((folder / "result.json").read_text())
    assert (result["task"], result["preset"], result["seed"]) == (TINY, "smoke", 3)


def test_the_default_folder_is_below_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert spikeloom("train", TINY, "--preset", "smoke", "--seed", 2) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    assert folder.parent == Path("runs")
    assert folder.name.startswith("tiny_task-smoke-seed2-")
    assert (folder / "report.html").exists()


def test_commands_that_take_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained(tmp_path / "run")
    before = (folder / "result.json").read_text()
    for name in ("result.json", "report.html", "figures/descent.png"):
        (folder / name).unlink()
    assert spikeloom("plot", folder, *OWN) == 0
    assert (folder / "figures" / "descent.png").exists()
    assert "not been evaluated yet" in (folder / "report.html").read_text()
    assert spikeloom("evaluate", folder, *OWN) == 0
    assert (folder / "result.json").read_text() == before
    (folder / "report.html").unlink()
    assert spikeloom("report", folder, *OWN) == 0
    assert "not been evaluated yet" not in (folder / "report.html").read_text()
    assert capsys.readouterr().err == ""


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained(tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert spikeloom("resume", folder, *OWN) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"{folder} is finished; nothing is left to do." in lines
    assert lines[-1] == str(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_several_seeds_are_summarised_and_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained(tmp_path / "all", "--seed", 4, "--seeds", 3)
    assert "solved: " in capsys.readouterr().out
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["seeds"] == [4, 5, 6]
    assert len(set(summary["test"]["error"]["values"])) == 3
    (folder / "seed5" / "report.html").unlink()
    (folder / "seed6" / "config.json").rename(tmp_path / "aside")
    for path in sorted((folder / "seed6").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    untouched = (folder / "seed4" / "checkpoints" / "last.pt").stat().st_mtime_ns
    assert spikeloom("resume", folder, *OWN) == 0
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert (folder / "seed4" / "checkpoints" / "last.pt").stat().st_mtime_ns == untouched
    assert spikeloom("evaluate", folder, *OWN) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"solved: {summary['solved']} of 3 seeds"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--multiprocessing_distributed"], "torchrun --standalone --nproc-per-node N -m spikeloom train store_recall"),
        (["--gpu", 0], "torchrun --standalone --nproc-per-node N -m spikeloom train store_recall"),
        (
            ["--dist_url", "tcp://one:29400", "--world_size", 3, "--rank", 2],
            "torchrun --nnodes 3 --node-rank 2 --nproc-per-node N --rdzv-backend c10d --rdzv-endpoint one:29400 -m",
        ),
        (
            ["--world_size", -1, "--rank", -1],
            "torchrun --standalone --nproc-per-node N -m spikeloom train store_recall",
        ),
        (["--world-size=2"], "torchrun --nnodes 2 --node-rank K --nproc-per-node N --rdzv-backend c10d"),
    ],
)
def test_old_flags_for_several_processes_are_answered_with_torchrun(
    words: list[object], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint(capsys, "train", "store_recall", *words)
    assert line in said
    assert " -1" not in said


def test_old_flags_after_resume_are_answered_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained(tmp_path / "run")
    line = f"--rdzv-endpoint FIRST_MACHINE:29500 -m spikeloom resume {folder}"
    assert line in complaint(capsys, "resume", folder, *OWN, "--world_size", 2, "--rank", 1)


def test_options_after_a_folder_must_be_those_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained(tmp_path / "run")
    options = json.loads((folder / "config.json").read_text())["options"]
    (name, value), (other, kept), *_ = ((k, v) for k, v in options.items() if type(v) in (int, float))
    flag, second = (f"--{word.replace('_', '-')}" for word in (name, other))
    assert spikeloom("evaluate", folder, *OWN, flag, value) == 0
    for command in ("resume", "evaluate", "plot", "report"):
        said = complaint(capsys, command, folder, *OWN, flag, value + 1, second, kept + 1)
        assert f"{folder} was trained with other options: " in said
        assert f"{name} is {value!r}, not {value + 1!r}" in said
        assert f"{other} is {kept!r}, not {kept + 1!r}" in said
    assert "has no option '--colour'" in complaint(capsys, "evaluate", folder, *OWN, "--colour", "red")


def test_a_resumed_run_says_what_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained(tmp_path / "run")
    (folder / "report.html").unlink()
    environment = json.loads((folder / "environment.json").read_text())
    (folder / "environment.json").write_text(json.dumps({**environment, "python": "2.7"}))
    assert spikeloom("resume", folder, *OWN) == 0
    assert "Note: python was 2.7, is " in capsys.readouterr().out
    assert (folder / "report.html").exists()


def test_wrong_names_are_answered_with_the_right_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "There is no command 'trian'. Did you mean 'train'?" in complaint(capsys, "trian")
    assert "There is no task 'nowhere'. There is" in complaint(capsys, "train", "nowhere")
    assert "train needs a task first" in complaint(capsys, "train", "--preset", "smoke")
    assert "has no preset 'smok'. Did you mean 'smoke'?" in complaint(capsys, "train", TINY, "--preset", "smok")
    message = complaint(capsys, "train", TINY, "--learning-rate", 3)
    assert "has no option '--learning-rate'." in message
    assert "--lr, --inputs" in message
    assert "has no option '--udpates'. Did you mean '--updates'?" in complaint(capsys, "train", TINY, "--udpates", 3)
    message = complaint(capsys, "train", TINY, "--lr", "high")
    assert "ConfigError: Error parsing --lr: could not convert string to float: 'high'." in message
    assert "--help` lists the options" in message
    assert "--seeds must be at least 1, but is 0" in complaint(capsys, "train", TINY, "--seeds", 0)
    assert "resume needs the folder of a run" in complaint(capsys, "resume")
    assert "is not a run folder" in complaint(capsys, "resume", tmp_path)
    assert "data needs an action and a data set" in complaint(capsys, "data", "get")
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "There is no file nowhere.py with a task" in complaint(capsys, "train", "nowhere.py")
    (tmp_path / "half.py").write_text("PRESETS = {}\n")
    assert "it lacks Config, PUBLISHED, train, evaluate, plot." in complaint(capsys, "train", tmp_path / "half.py")


def test_a_folder_in_use_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained(tmp_path / "run")
    assert "spikeloom resume" in complaint(capsys, "train", TINY, "--out", folder)
    assert "is not empty" in complaint(capsys, "train", TINY, "--seeds", 2, "--out", folder)


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained(tmp_path / "run")
    (folder / "report.html").unlink()
    with files.locked(folder):
        assert f"another process is training in {folder}. Wait for it" in complaint(capsys, "resume", folder, *OWN)
    assert spikeloom("resume", folder, *OWN) == 0


def test_data_sets_are_fetched_by_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert "There is no data set 'nowhere' to fetch" in complaint(capsys, "data", "fetch", "nowhere")
    monkeypatch.setattr("spikeloom.data.fetch.fetch", lambda name, bar: [Path(name, "a"), Path(name, "b")])
    assert spikeloom("data", "fetch", "mnist") == 0
    assert capsys.readouterr().out == "mnist/a\nmnist/b\n"


def test_the_best_checkpoint_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nir = pytest.importorskip("nir", reason="needs the extra nir")
    folder = trained(tmp_path / "run")
    capsys.readouterr()
    assert spikeloom("export", folder, "--format", "nir", *OWN) == 0
    assert capsys.readouterr().out == f"{folder / 'model.nir'}\n"
    other = tmp_path / "new" / "other.nir"
    assert spikeloom("export", folder, "--out", other, *OWN, "--format", "nir") == 0
    saved = torch.load(folder / "checkpoints" / "best.pt", weights_only=False)
    for path in (folder / "model.nir", other):
        node = nir.read(path).nodes["Linear"]
        assert node.weight.tolist() == saved["parts"]["model"]["weight"].tolist()
        assert node.bias.tolist() == saved["parts"]["model"]["bias"].tolist()


def test_what_cannot_be_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = tmp_path / "closed.py"
    task.write_text(Path(TINY).read_text().replace("def network_of", "def unused"))
    assert spikeloom("train", task, "--preset", "smoke", "--out", tmp_path / "run") == 0
    message = complaint(capsys, "export", tmp_path / "run", "--format", "nir", "--task", task)
    assert message.startswith("ExportError: Task ")
    assert "has no network_of(config, run), so there is nothing to export. Add one to the task" in message
    for wrong in (
        [],
        ["--format", "nir"],
        [tmp_path],
        [tmp_path, "--format", "onnx"],
        [tmp_path, "--format", "nir", "x"],
    ):
        assert "export needs the folder of a run and a format" in complaint(capsys, "export", *wrong)
    assert "is not a run folder" in complaint(capsys, "export", tmp_path, "--format", "nir")


def test_an_unexpected_error_keeps_its_traceback(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text(Path(TINY).read_text().replace("def build(", "def unused("))
    with pytest.raises(NameError, match=r"name 'build' is not defined"):
        spikeloom("train", broken, "--preset", "smoke", "--out", tmp_path / "run")
    broken.write_text(
        Path(TINY).read_text().replace("    model = build", "    raise ValueError('a bug')\n    model = build")
    )
    with pytest.raises(ValueError, match=r"a bug"):
        spikeloom("train", broken, "--preset", "smoke", "--out", tmp_path / "run2")


def test_help_lists_the_options_of_the_task(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        spikeloom("train", TINY, "--preset", "smoke", "--help")
    assert not end.value.code
    text = capsys.readouterr().out
    for expected in ("Optimiser steps", "(default: 4)", "--lr FLOAT", "--seeds INT", "Presets: paper, smoke"):
        assert expected in text


@pytest.mark.parametrize("word", ["-h", "--help"])
@pytest.mark.parametrize("command", help.COMMANDS)
def test_every_command_has_help(command: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert spikeloom(command, word) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"usage: spikeloom {command}")
    assert said.err == ""
    assert ("--task FILE" in said.out) == (command in help.OF_FOLDERS)
    assert f"  {command} " in help.usage()


def test_the_version_and_help_after_other_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert spikeloom("--version") == 0
    assert capsys.readouterr().out == f"spikeloom {importlib.metadata.version('spikeloom')}\n"
    for words in (["resume", tmp_path, "--help"], ["data", "fetch", "-h"], ["train", "--preset", "smoke", "--help"]):
        assert spikeloom(*words) == 0
        assert capsys.readouterr().out.startswith(f"usage: spikeloom {words[0]}")


@pytest.mark.parametrize("words", [["tasks"], ["--help"], ["train", TINY, "--help"], ["train", TINY, "--out", "RUN"]])
def test_a_reader_that_goes_is_no_error(words: list[str], tmp_path: Path) -> None:
    arguments = [str(tmp_path / "run") if word == "RUN" else word for word in words]
    command = [sys.executable, "-m", "spikeloom", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 141


def test_values_of_a_repeated_option_are_not_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = parse_table("t", ["--set", "a=1", "--seeds", "2", "--set=b=0.5", "--set", "c=x", "d=-1", "name"][:-1])
    assert found.changes() == {"a": 1, "b": 0.5, "c": "x", "d": -1}
    assert (found.seeds, found.table) == (2, "")
    monkeypatch.chdir(tmp_path)
    assert "--set has a twice, as 1 and as '2'. Give it once." in complaint(
        capsys, "table", "babi", "--set", "a=1", "--set", "a=2"
    )
    assert "unknown key 'lrr'. Did you mean 'lr'?" in complaint(capsys, "table", "babi", "--set", "lrr=1")
    assert "--set takes options as NAME=VALUE" in complaint(capsys, "table", "babi", "--set", "lr")
    for words in (["lr", "=", "0.1"], ["lr = 0.1"], ["lr=", "0.1"], ["lr", "=0.1"], ["l r=1"], ["=1"], [""]):
        said = complaint(capsys, "table", "babi", "--set", *words)
        assert "--set takes options as NAME=VALUE, without spaces around the =, for example epochs=10" in said
    assert "lr must be float, but is ''" in complaint(capsys, "table", "babi", "--set", "lr=")
    for words in (["--set"], ["--set", "--seeds", "2"]):
        said = complaint(capsys, "table", "babi", *words)
        assert "--set needs options as NAME=VALUE, for example --set epochs=10, but none follows." in said
    said = complaint(capsys, "table", "babi", "--lr", 3)
    assert "spikeloom table babi changes options of the task in all cells by --set: --set lr=VALUE." in said
    message = complaint(capsys, "train", TINY, "--lr", 1, "--batch", 4, "--lr=2")
    assert "has the option --lr twice (--lr and --lr=2). Give it once, with all values." in message
    assert "the option --bias twice (--bias and --no-bias)" in complaint(capsys, "train", TINY, "--bias", "--no-bias")
    assert "the option --out twice. Give" in complaint(capsys, "compare", "a", "--out", "b", "--out", "c")
    assert "the option --task twice." in complaint(capsys, "report", "a", "--task", "b", "--task", "c")
    assert "--format needs a value" in complaint(capsys, "export", "a", "--format")
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_a_task_is_run_only_if_it_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = tmp_path / "planted.py"
    task.write_text(Path(TINY).read_text())
    for words in (["--seeds", 1], ["--seeds", 2]):
        folder = tmp_path / f"run{words[1]}"
        assert spikeloom("train", task, "--preset", "smoke", "--out", folder, *words) == 0
    trace = tmp_path / "was_run"
    task.write_text(f"import pathlib\npathlib.Path({str(trace)!r}).touch()\n" + Path(TINY).read_text())
    for command in help.OF_FOLDERS:
        for folder in (tmp_path / "run1", tmp_path / "run2"):
            if command == "export" and folder.name == "run2":
                continue
            extra = ["--format", "nir"] if command == "export" else []
            message = complaint(capsys, command, folder, *extra)
            assert "names a Python file as its task" in message
            assert f"--task {task}" in message
    assert not trace.exists()
    assert spikeloom("report", tmp_path / "run1", "--task", task) == 0
    assert trace.exists()
    assert "but got babi" in complaint(capsys, "report", tmp_path / "run1", "--task", "babi")
    assert "There is no file nowhere.py" in complaint(capsys, "report", tmp_path / "run1", "--task", "nowhere.py")
    config = json.loads((tmp_path / "run1" / "config.json").read_text())
    (tmp_path / "run1" / "config.json").write_text(json.dumps({**config, "task": "babi"}))
    message = complaint(capsys, "report", tmp_path / "run1", "--task", task)
    assert "is of spikeloom's task babi, not of a file" in message


@pytest.mark.parametrize("words", [["train"], ["train", "--seeds", 2], ["table"]])
def test_refused_options_leave_no_folder(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = tmp_path / "strict.py"
    text = (
        Path(TINY)
        .read_text()
        .replace("    model = build", "    raise ConfigError('lr is too high')\n    model = build")
    )
    tables = 'TABLES = {"one": Table("T", {"a": {"b": ("smoke", {})}}, value="error")}\n'
    imports = "from spikeloom.errors import ConfigError\nfrom spikeloom.train.table import Table\n"
    task.write_text(
        text.replace("from spikeloom.train import ranks\n", f"from spikeloom.train import ranks\n{imports}") + tables
    )
    options = ["--preset", "smoke"] if words[0] == "train" else []
    message = complaint(capsys, words[0], task, *words[1:], *options, "--out", tmp_path / "run")
    assert message == "ConfigError: lr is too high"
    assert not (tmp_path / "run").exists()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "config.json").write_text("{}")  # of somebody else
    assert "is not empty" in complaint(capsys, words[0], task, *words[1:], *options, "--out", tmp_path / "used")
    assert (tmp_path / "used" / "config.json").exists()


def test_a_table_takes_no_options_when_it_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = {"task": "babi", "table": "a", "seeds": [0], "changes": {}}
    (tmp_path / "table.json").write_text(json.dumps(plan))
    assert "is a table, whose options are in it. Leave out --lr 1." in complaint(capsys, "resume", tmp_path, "--lr", 1)


def test_damaged_results_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained(tmp_path / "run")
    (folder / "activity.json").write_text("[]")
    capsys.readouterr()
    assert spikeloom("resume", folder, *OWN) == 0
    assert "Note: activity.json is left out: it is list, not dict." in capsys.readouterr().out
    (folder / "result.json").write_text("{}")
    assert spikeloom("report", folder, *OWN) == 0
    warning = f"Warning: {folder / 'result.json'} is damaged and was moved to result.json.damaged."
    assert warning in capsys.readouterr().err
    assert spikeloom("resume", folder, *OWN) == 0  # which tests again
    assert "test error " in capsys.readouterr().out
    result = json.loads((folder / "result.json").read_text())
    result["test"]["error"] = 0.0123  # edited by hand, and well-formed
    for command in (("report", folder, *OWN), ("compare", folder, "--out", tmp_path / "c.html")):
        (folder / "result.json").write_text(json.dumps(result))
        assert spikeloom(*command) == 0
        assert "0.0123" not in capsys.readouterr().out
        assert not (folder / "result.json").exists()
    assert "1.23 %" not in (folder / "report.html").read_text()


def test_a_series_of_other_options_than_its_file_names_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "series"
    trained(folder, "--seeds", 2)
    shutil.rmtree(folder / "seed1")
    (folder / "summary.json").unlink()
    good = (folder / "seeds.json").read_text()
    (folder / "seeds.json").write_text(good.replace('"lr": 0.05', '"lr": 0.7'))
    said = complaint(capsys, "resume", folder, *OWN)
    assert "seed0 was made with other options than" in said
    assert "there lr is 0.05" in said
    for wrong in ("[]", "[0, 0]"):
        (folder / "seeds.json").write_text(re.sub(r'"seeds": \[[^]]*\]', f'"seeds": {wrong}', good))
        assert "needs one seed or more, each once" in complaint(capsys, "resume", folder, *OWN)
    (folder / "seeds.json").write_text(good)
    assert spikeloom("resume", folder, *OWN) == 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('PRESETS = {"paper": Config(), "smoke": Config(updates=4)}', "PRESETS = {}", "PRESETS must hold at least one"),
        ("PUBLISHED = {", "PUBLISHED = None or 3\nOTHER = {", "PUBLISHED must be empty or like"),
        (
            "    pause: float = 0.0",
            "    pause: float = 0.0\n    seed: int = 60",
            "Config has fields named as options of every task",
        ),
        (
            'PRESETS = {"paper": Config(), "smoke": Config(updates=4)}',
            "Config.lr = 3\nPRESETS = [3]",
            "PRESETS must hold",
        ),
        ("def plot(", "plot = 3\n\n\ndef drawn(", "plot must be functions"),
        ("def plot(", "TABLES = {'t': 3}\n\n\ndef plot(", "TABLES must hold tables by name"),
        ("def plot(", "def plot((", "is no Python file: "),
    ],
)
def test_a_task_with_a_mistake_is_told_before_anything_is_trained(
    old: str, new: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Path(TINY).read_text()
    assert old in text
    path = tmp_path / "own.py"
    path.write_text(text.replace(old, new, 1))
    assert message in complaint(capsys, "train", path, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_task_may_be_named_like_a_module(tmp_path: Path) -> None:
    path = tmp_path / "random.py"
    shutil.copy(TINY, path)
    assert spikeloom("train", path, "--preset", "smoke", "--out", tmp_path / "run") == 0
    import random

    assert hasattr(random, "Random")


def test_what_evaluation_returns_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.py"
    path.write_text(Path(TINY).read_text() + "\n\ndef evaluate(config, run):\n    return None\n")
    said = complaint(capsys, "train", path, "--preset", "smoke", "--out", tmp_path / "run")
    assert "must return numbers by name, such as {'accuracy': 0.9}, but returned None" in said


def test_texts_can_be_printed_anywhere(tmp_path: Path) -> None:
    folder = trained(tmp_path / "série", "--seeds", 2)
    command = [sys.executable, "-m", "spikeloom", "compare", str(folder), "--out", str(tmp_path / "c.html")]
    plain = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=plain, capture_output=True, text=True, check=True)
    assert "\\xb1" in done.stdout
    narrow = {**os.environ, "COLUMNS": "1"}
    command = [sys.executable, "-m", "spikeloom", "train", TINY, "--help"]
    assert "--lr" in subprocess.run(command, env=narrow, capture_output=True, text=True, check=True, timeout=60).stdout
    closed = f"{shlex.join([sys.executable, '-m', 'spikeloom', 'tasks'])} >&-"
    assert subprocess.run(closed, shell=True, check=False).returncode == 0


def test_tasks_are_the_files_of_the_papers_that_have_presets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paper = tmp_path / "paper"
    paper.mkdir()
    (paper / "memory.py").write_text('"""Remember a bit.\n\nMore."""\nPRESETS = {}\nraise RuntimeError\n')
    (paper / "silent.py").write_text("\nPRESETS = {}")
    (paper / "network.py").write_text('"""Not a task."""')
    monkeypatch.setattr(help, "PAPERS", tmp_path)
    assert spikeloom("tasks") == 0
    words = capsys.readouterr().out.split()
    assert words[:9] == ["memory", "Remember", "a", "bit.", "data:", "none", "silent", "data:", "none"]
    assert spikeloom("train", "--help") == 0
    assert "Remember a bit." in capsys.readouterr().out


def test_help_does_not_load_torch() -> None:
    program = (
        "import sys; from spikeloom import cli; cli.main(['--help']); cli.main(['tasks']); print(sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "usage: spikeloom COMMAND" in done.stdout
    assert "'torch'" not in done.stdout


def test_python_m_spikeloom_works(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "spikeloom", "evaluate", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("ConfigError: ")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_torchrun_trains_on_two_ranks(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "spikeloom", "train", TINY, "--preset", "smoke", "--out", str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "run")
    assert done.stdout.count("update 4/4") == 1
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["ranks"] == 2
    assert "error" in json.loads((tmp_path / "run" / "result.json").read_text())["test"]


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = tmp_path / "interrupted.py"
    interrupt = "        if finished == 2 and run.last_saved == 2:\n            raise KeyboardInterrupt\n        x, y"
    task.write_text(Path(TINY).read_text().replace("        x, y", interrupt, 1))
    assert spikeloom("train", task, "--preset", "smoke", "--out", tmp_path / "run") == 130
    error = capsys.readouterr().err
    words = f"spikeloom resume {tmp_path / 'run'} --task {task}"
    assert error == f"Interrupted. What was saved is kept; go on with `{words}`.\n"
    task.write_text(Path(TINY).read_text())
    assert spikeloom(*words.split()[1:]) == 0


def test_a_box_of_tyro_becomes_a_sentence() -> None:
    lines = [
        "╭─ Invalid choice ─╮",
        "│ no 'c' for --model.  │",
        "│ Expected 'a'.  │",
        "│ ─── │",
        "│ Argument helptext │",
    ]
    assert first_words("\n".join(lines)) == "no 'c' for --model. Expected 'a'."


def with_tables(folder: Path) -> Path:
    """The tiny task with a table of two cells."""
    task = folder / "tables.py"
    imports = "from spikeloom.train import ranks\nfrom spikeloom.train.table import Table\n"
    cells = '{"a": {"x": ("smoke", {}), "y": ("smoke", {"lr": 0.5})}}'
    text = Path(TINY).read_text().replace("from spikeloom.train import ranks\n", imports)
    task.write_text(f'{text}\n\nTABLES = {{"one": Table("T", {cells}, value="error")}}\n')
    return task


def test_folders_that_are_no_runs_are_named_for_what_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, table, series = with_tables(tmp_path), tmp_path / "table", tmp_path / "series"
    assert spikeloom("table", task, "--seeds", 1, "--out", table) == 0
    trained(series, "--seeds", 2)
    numbers, empty = tmp_path / "numbers", tmp_path / "empty"
    numbers.mkdir()
    empty.mkdir()
    shutil.copy(series / "seed0" / "result.json", numbers)
    run = series / "seed0"
    wrong = {
        table: f"but a table of many. Name a cell of it, such as {table}/a-x, or one run of a cell, such as {table}/a-x"
        f"/seed0; `spikeloom report {table}` shows the whole table.",
        empty: ": it has no config.json and is empty. Name the folder that `spikeloom train` printed.",
        numbers: ": it has no config.json, which says what was trained, only result.json. Restore config.json",
        tmp_path: f": it has no config.json, but run folders are in it. Name one of them, such as {series}.",
        tmp_path / "nowhere": ": it does not exist. Name the folder",
        run / "config.json": f": it is a file. Name the run it is of, {run}.",
        task: ": it is a file. Name the folder that `spikeloom train` printed.",
        run / "checkpoints": f": it is a part of a run. Name the run, {run}.",
    }
    for folder, message in wrong.items():
        for words in (["evaluate"], ["plot"], ["compare"], ["export", "--format", "nir"]):
            assert f"{folder} is not a run folder{' ' * (folder == table)}{message}" in complaint(
                capsys, words[0], folder, *words[1:]
            )
    said = complaint(capsys, "export", series, "--format", "nir")
    assert f"{series} is not a run folder but one of several seeds. Name one of them, such as {series}/seed0." in said
    (series / "seed1" / "config.json").unlink()
    for command in ("evaluate", "plot", "report", "compare"):
        assert f"{series} is not finished: seed1 has not begun. Go on by `spikeloom resume" in complaint(
            capsys, command, series
        )
    (run / "config.json").unlink()
    assert "one of several seeds, none of which has begun. Begin by" in complaint(capsys, "evaluate", series)
    shutil.rmtree(table / "a-x")
    shutil.rmtree(table / "a-y")
    assert "a table in which no run has begun. Go on with it by" in complaint(capsys, "plot", table)


def test_a_page_or_a_model_does_not_take_the_place_of_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    for words, what, name in (
        (["compare"], "page", "compare.html"),
        (["export", "--format", "nir"], "model", "model.nir"),
    ):
        said = complaint(capsys, words[0], run, *words[1:], "--out", run)
        assert f"--out takes the file for the {what}, but {run} is a folder. Write --out {run / name}." in said
        said = complaint(capsys, words[0], run, *words[1:], "--out", run / "config.json")
        assert f"--out takes the file for the {what}, but {run / 'config.json'} is a file of another kind" in said
    said = complaint(capsys, "compare", run, "--out", run / "config.json" / "page.html")
    assert f"page.html cannot be written: {run / 'config.json'} is a file and no folder. Choose another name" in said
    assert json.loads((run / "config.json").read_text())["seed"] == 0
    for _ in range(3):
        assert spikeloom("compare", run) == 0
    assert len(list(Path("runs").glob("compare-*.html"))) == 3
    for _ in range(2):
        assert spikeloom("compare", run, "--out", "page.html") == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("buffered", ["", "1"])
def test_an_output_that_is_full_is_said_in_one_sentence(buffered: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for words in (["tasks"], ["train", TINY, "--preset", "smoke", "--out", str(folder)]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "spikeloom", *words],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": buffered},
                check=False,
            )
        assert done.returncode == 1
        expected = (
            "The output cannot be written: No space left on device. Free some space, or send it to another place."
        )
        if words[0] == "train":
            expected += f" What was saved is kept; go on with `spikeloom resume {folder} --task {TINY}`."
        assert done.stderr == f"{expected}\n"
    assert spikeloom("resume", folder, *OWN) == 0


def test_commands_of_the_same_second_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for module in ("train", "table"):
        monkeypatch.setattr(f"spikeloom.cli.{module}.default_folder", lambda *_: Path("runs") / "same")
    for words in ([], ["--seeds", 2], []):
        assert spikeloom("train", TINY, "--preset", "smoke", *words) == 0
    assert spikeloom("table", with_tables(tmp_path), "--seeds", 1) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "runs/same-4"
    kinds = {"same": "config", "same-2": "seeds", "same-3": "config", "same-4": "table"}
    assert sorted(path.name for path in Path("runs").iterdir()) == list(kinds)
    assert all((Path("runs") / name / f"{kind}.json").exists() for name, kind in kinds.items())
    strict = tmp_path / "strict.py"
    strict.write_text(
        Path(TINY).read_text().replace("    model = build", "    raise ConfigError('no')\n    model = build")
        + "\nfrom spikeloom.errors import ConfigError\n"
    )
    assert complaint(capsys, "train", strict) == "ConfigError: no"
    assert not Path("runs/same-5").exists()
    shutil.rmtree("runs")
    Path("runs").touch()
    assert "runs/same cannot be made: File exists. Choose another folder" in complaint(capsys, "train", TINY)


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        ("spikeloom.train.experiment.make_empty", "Nothing was saved yet."),
        ("spikeloom.train.environment.describe", "What was saved is kept; go on with `spikeloom resume RUN --task"),
        ("spikeloom.train.environment.where", "What was saved is kept; go on with `spikeloom resume RUN --task"),
        ("spikeloom.train.experiment.evaluate", "What was saved is kept; go on with `spikeloom resume RUN --task"),
        ("spikeloom.cli.runs.write_report", "What was saved is kept; go on with `spikeloom resume RUN --task"),
    ],
)
def test_ctrl_c_at_any_moment(
    moment: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(moment, interrupt)
        assert spikeloom("train", TINY, "--preset", "smoke", "--out", tmp_path / "run") == 130
    assert f"Interrupted. {said.replace('RUN', str(tmp_path / 'run'))}" in capsys.readouterr().err
    again = ["resume", tmp_path / "run", *OWN] if "resume" in said else ["train", TINY, "--out", tmp_path / "run"]
    assert spikeloom(*again) == 0


def test_ctrl_c_in_a_table_names_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    task, folder = with_tables(tmp_path), tmp_path / "table"
    with monkeypatch.context() as patched:
        patched.setattr("spikeloom.cli.runs.write_report", interrupt)
        assert spikeloom("table", task, "--seeds", 1, "--out", folder) == 130
    assert f"go on with `spikeloom resume {folder} --task {task}`" in capsys.readouterr().err
    assert spikeloom("resume", folder, "--task", task) == 0


def test_words_and_numbers_that_no_option_can_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    for words in (["--bias", "maybe"], ["maybe"]):
        said = complaint(capsys, "train", TINY, *words)
        assert "got 'maybe', which is neither an option nor the value of one." in said
    assert "evaluate takes one folder, " in complaint(capsys, "evaluate", run, run, *OWN)
    assert "--lr must be a number, but is nan." in complaint(capsys, "train", TINY, "--lr", "nan")
    for number in ("-1.0", "inf"):
        said = complaint(capsys, "train", TINY, "--lr", number)
        assert f"--lr must be a finite number of at least 0, but is {number}." in said
    assert "--lr must be a number, but is nan" in complaint(capsys, "table", with_tables(tmp_path), "--set", "lr=NaN")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    said = complaint(capsys, "train", TINY, "--out", tmp_path / "other")
    assert said.endswith("is not empty, and what is there is no run. Choose another folder with --out.")
    assert "there is a file of this name" in complaint(capsys, "train", TINY, "--out", tmp_path / "tables.py")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "run", "tables.py"]
