"""Damaged files of a run folder: those that inform never stop a run, the others are one sentence."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from spikeloom import cli
from spikeloom.errors import CheckpointError
from spikeloom.train import experiment, files, informative
from tests import tiny_task
from tests.train.test_experiment import SMOKE

OWN = ("--task", str(Path(tiny_task.__file__)))
SHAPES = {
    "empty": b"", "object": b"{}", "list": b"[]", "deep": b"[" * 100_000, "bytes": b"\xff\xfe\x00", "null": b"null",
    "nan": b"NaN", "digits": b"1" * 5000, "half": b'{"a": ',
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    run = experiment.create(folder, dataclasses.replace(SMOKE, task=OWN[1]))
    experiment.train(tiny_task, experiment.options(tiny_task, folder), run)
    (folder / "report.html").write_text("")
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def wrong(name: str, known: bytes) -> dict[str, bytes]:
    """Shapes that the file must not have, and itself with a value of another type."""
    values = json.loads(known)
    odd: dict[str, Any] = {key: {**values, key: [[1.5]] if not isinstance(values[key], list) else 3} for key in values}
    return {**SHAPES, **{key: json.dumps(value).encode() for key, value in odd.items()}}


@pytest.mark.parametrize("name", ["environment.json", "result.json", "activity.json", "seconds.json", "digests.json"])
def test_what_informs_never_stops_a_run(copy: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    known = (copy / name).read_bytes()
    for kind, text in wrong(name, known).items():
        (copy / name).write_bytes(text)
        whole = name == "environment.json" and kind not in SHAPES and kind not in ("data", "resumed")
        whole = whole or (name in ("environment.json", "digests.json") and kind == "object")
        moved = informative.tidy(copy)
        assert (copy / name in moved) == (not whole), kind
        said = capsys.readouterr().err
        for path in moved:
            assert said.count(f"Warning: {path} is damaged and was moved to {path.name}.damaged.") <= 1
        files.warn.cache_clear()
        for path in moved:
            path.with_name(f"{path.name}.damaged").replace(path)
        (copy / name).write_bytes(known)
    assert informative.tidy(copy) == []


@pytest.mark.parametrize("command", ["resume", "evaluate", "plot", "report"])
def test_every_command_goes_on(copy: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = json.loads((copy / "result.json").read_text())["test"]
    for name in ("environment.json", "result.json", "activity.json", "seconds.json", "figures/captions.json"):
        (copy / name).write_bytes(b"\xff{")
    files.warn.cache_clear()
    assert cli.main([command, str(copy), *OWN]) == 0
    said = capsys.readouterr().err
    if command != "report":
        assert said.count("environment.json is damaged and was moved to environment.json.damaged") == 1
    if command in ("resume", "evaluate"):
        assert json.loads((copy / "result.json").read_text())["test"] == before


def test_a_number_that_was_changed_is_not_shown(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (copy / "result.json").read_text()
    assert '"solved": 0.0' in text
    (copy / "result.json").write_text(text.replace('"solved": 0.0', '"solved": 1.0'))
    assert not informative.sound(copy, "result.json")
    assert cli.main(["resume", str(copy), *OWN]) == 0
    assert (copy / "result.json").read_text() == text
    assert "result.json is damaged and was moved to result.json.damaged" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["resume", "evaluate", "plot", "report", "export"])
def test_options_that_were_edited_are_named(copy: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (copy / "config.json").read_text()
    (copy / "config.json").write_text(text.replace('"lr": 0.05', '"lr": 0.5'))
    assert cli.main([command, str(copy), *OWN, *(["--format", "nir"] if command == "export" else [])]) == 1
    assert "config.json has now: lr 0.05, not 0.5. Put the saved value back" in capsys.readouterr().err


def test_what_cannot_be_moved_is_said(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(30, "Read-only file system")

    (copy / "result.json").write_text("{")
    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(CheckpointError, match=r"result.json cannot be written: Read-only file system"):
        informative.tidy(copy)


def test_a_finished_run_goes_on_longer_once_its_result_is_removed(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (copy / "config.json").read_text()
    (copy / "config.json").write_text(text.replace('"updates": 4', '"updates": 6'))
    assert cli.main(["resume", str(copy), *OWN]) == 1
    assert "updates 4, not 6. Put the saved value back" in capsys.readouterr().err
    (copy / "result.json").unlink()
    assert cli.main(["resume", str(copy), *OWN]) == 0
    assert "Note: updates was 4 when the run was saved, and is 6 now." in capsys.readouterr().out
    assert (copy / "metrics.jsonl").read_text().count("\n") == 6
