import io
import itertools
import re
import sys

import pytest

from spikeloom.train.progress import Reporter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter()
    for update in range(1, 5):
        reporter.show(update, 4, {"loss": 0.5})
    assert capsys.readouterr().out == "update 1/4  loss 0.500\nupdate 4/4  loss 0.500  0:00:00 left\n"


def test_lines_come_less_often_in_a_long_run_and_keep_the_last_validation(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10_000))  # an update a second
    monkeypatch.setattr("spikeloom.train.progress.time.monotonic", lambda: next(clock))
    reporter = Reporter()
    for update in range(1, 4001):
        validated = {"validation_error": update / 8000} if update % 50 == 0 else {}
        reporter.show(update, 10_000, {"loss": 0.5, "lr": 0.1} | validated)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "update 1/10000  loss 0.500"
    assert lines[1] == "update 6/10000  loss 0.500  2:46:34 left"
    assert lines[-1] == "update 3968/10000  loss 0.500  validation_error 0.494  1:40:32 left"
    updates = [int(line.split()[1].partition("/")[0]) for line in lines]
    pauses = [later - sooner for sooner, later in itertools.pairwise(updates)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (5, 60)
    assert max(map(len, lines)) <= 80


def test_a_task_names_its_headline_values(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter()
    reporter.show(1, 2, {"loss": 0.5, "flips": 16.0}, ("flips", "validation_flips"))
    reporter.show(2, 2, {"loss": 0.5, "flips": 15.0, "validation_flips": 5.4}, ("flips", "validation_flips"))
    first, last = capsys.readouterr().out.splitlines()
    assert first == "update 1/2  flips 16.0"
    assert last == "update 2/2  flips 15.0  validation 5.40  0:00:00 left"
    reporter.show(2, 2, {"loss": 0.5}, ("nothing", "else"))
    assert capsys.readouterr().out == "update 2/2  loss 0.500  validation 5.40  flips 15.0  0:00:00 left\n"
    reporter.close()
    reporter.show(1, 2, {"reward": 0.5})  # of another training
    assert capsys.readouterr().out == "update 1/2  reward 0.500\n"


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    reporter = Reporter()
    reporter.show(1, 4, {"loss": 0.5})
    reporter.show(4, 4, {"loss": 0.25})
    reporter.close()
    reporter.close()
    assert "4/4" in terminal.getvalue()
    assert "loss 0.250" in terminal.getvalue()


LONG = dict.fromkeys(("rate", "loss", "accuracy", "validation_accuracy", "rate_min", "rate_max", "lr", "epoch"), 0.5)
SHOWN = ["loss", "accuracy", "validation"]


@pytest.mark.parametrize(("width", "count"), [(40, 0), (60, 2), (80, 3), (120, 3), (200, 3)])
def test_count_bar_and_time_are_there_on_every_terminal(
    width: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    reporter = Reporter()
    reporter.show(120, 36_000, LONG)
    reporter.show(18_000, 36_000, LONG)
    reporter.close()
    frame = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue()).replace("\r", "\n").splitlines()[-1]
    assert len(frame) <= width
    assert re.match(r"update 18000/36000 ━{2,}[━╸╺ ]* \d:\d\d:\d\d", frame)
    assert [name for name in ("loss", "accuracy", "validation", "rate", "lr") if f" {name} 0.500" in frame] == SHOWN[
        :count
    ]


def test_a_terminal_that_cannot_draw_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "dumb")
    Reporter().show(4, 4, {"loss": 0.5})
    assert terminal.getvalue() == "update 4/4  loss 0.500\n"


def test_a_sentence_stands_above_the_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter()
    reporter.tell("[no] bar yet")
    assert capsys.readouterr().out == "[no] bar yet\n"
    Reporter(quiet=True).tell("never")
    assert capsys.readouterr().out == ""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    reporter.show(1, 4, {"loss": 0.5})
    reporter.tell("[a] sentence")
    reporter.close()
    assert "[a] sentence" in terminal.getvalue()


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Reporter(quiet=True).show(4, 4, {"loss": 0.5})
    assert capsys.readouterr().out == ""
