"""SIGTERM while a run prepares, trains, validates and evaluates."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spikeloom import cli
from spikeloom.train import experiment, termination
from spikeloom.train.run import Run
from spikeloom.train.termination import Terminated
from tests import tiny_task
from tests.train.test_experiment import SMOKE

CONFIG = tiny_task.Config(updates=9, checkpoint_every=4)


def send() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """The handler of the process, which must be there again after every test."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    assert signal.getsignal(signal.SIGTERM) == before


def run_in(folder: Path) -> Run:
    return Run(folder, "tiny", "paper", 1, quiet=True)


def files(folder: Path) -> dict[str, bytes]:
    names = ("checkpoints/last.pt", "checkpoints/best.pt", "metrics.jsonl")
    return {name: (folder / name).read_bytes() for name in names}


@pytest.mark.parametrize("update", [0, 4, 8])
@pytest.mark.parametrize("during", ["input", "validation"])
def test_training_writes_a_checkpoint_and_goes_on_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update: int, during: str
) -> None:
    tiny_task.train(CONFIG, run_in(tmp_path / "whole"))
    updates, original = [0], tiny_task.points

    def points(config: Any, run: Run, purpose: str) -> Any:
        updates[0] += purpose == "input"
        if updates[0] > update and purpose == during:
            monkeypatch.undo()
            send()
        return original(config, run, purpose)

    monkeypatch.setattr(tiny_task, "points", points)
    with pytest.raises(Terminated) as ended:
        tiny_task.train(CONFIG, run_in(tmp_path / "parts"))
    expected = update + 1 if during == "input" else min(update + 2, 9)  # every second one is validated, and the last
    assert (ended.value.code, ended.value.update) == (143, expected)
    assert str(ended.value) == f"A checkpoint of update {expected} was written."
    tiny_task.train(CONFIG, run_in(tmp_path / "parts"))
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_elsewhere_it_ends_at_once(tmp_path: Path) -> None:
    for part in ("train", "evaluate", "plot"):
        run = experiment.create(tmp_path / part, SMOKE)
        task = SimpleNamespace(**{**vars(tiny_task), part: lambda config, run: send()})
        with pytest.raises(Terminated):
            experiment.train(task, experiment.options(tiny_task, run.folder), run)
        experiment.train(tiny_task, experiment.options(tiny_task, run.folder), run.fresh())
        assert (run.folder / "figures" / "descent.png").exists()


def test_the_second_one_is_not_waited_for() -> None:
    def wait() -> None:
        with termination.waits() as asked:
            found.append(asked())
            send()
            found.extend([asked(), signal.getsignal(signal.SIGTERM) == signal.SIG_DFL])

    found = list[bool]()
    with pytest.raises(Terminated):
        wait()
    assert found == [False, True, True]


def test_only_the_main_thread_listens() -> None:
    found = []

    def work() -> None:
        with termination.waits() as asked:
            found.append((asked(), signal.getsignal(signal.SIGTERM)))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, before)]


def test_the_command_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = tmp_path / "task.py"
    text = Path(tiny_task.__file__).read_text()
    kill = "        import os, signal\n        if finished == 2:\n            os.kill(os.getpid(), signal.SIGTERM)\n"
    task.write_text(text.replace("        x, y", f"{kill}        x, y", 1))
    words = f"spikeloom resume {tmp_path / 'run'} --task {task}"
    assert cli.main(["train", str(task), "--preset", "smoke", "--out", str(tmp_path / "run")]) == 143
    assert capsys.readouterr().err == f"Terminated. Update 3 was saved; go on with `{words}`.\n"
    task.write_text(text)
    assert cli.main(words.split()[1:]) == 0
    assert capsys.readouterr().err == ""
