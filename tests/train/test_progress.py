import io
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
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "update 1/4  loss 0.5"
    assert len(lines) == 2
    assert lines[1].startswith("update 4/4  loss 0.5")
    assert lines[1].endswith("at most 0:00 left")


def test_a_validation_gets_its_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 100, 2))
    monkeypatch.setattr("spikeloom.train.progress.time.monotonic", lambda: next(clock))
    reporter = Reporter()
    reporter.show(1, 9, {"loss": 0.5})
    reporter.show(2, 9, {"loss": 0.4})
    reporter.show(3, 9, {"validation_error": 0.25})
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("update 3/9  validation_error 0.25  2 s per update, at most 0:12 left")
    assert len(lines) == 2


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
    assert "loss 0.25" in terminal.getvalue()


LONG = dict.fromkeys(("loss", "accuracy", "validation_accuracy", "rate", "rate_min", "rate_max", "lr", "epoch"), 0.5)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_count_bar_and_time_are_there_on_every_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert frame.startswith("update 18000/36000 ━")
    assert re.search(r"━ +(-:--:--|\d:\d\d:\d\d)", frame)
    shown = [name for name in LONG if f" {name} 0.5" in frame]
    assert shown == list(LONG)[: len(shown)]
    assert ("…" in frame) == (0 < len(shown) < len(LONG))
    assert len(shown) >= {40: 0, 60: 1, 80: 2, 120: 4, 200: 8}[width]


def test_a_terminal_that_cannot_draw_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "dumb")
    Reporter().show(4, 4, {"loss": 0.5})
    assert terminal.getvalue() == "update 4/4  loss 0.5\n"


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
