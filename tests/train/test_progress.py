import io
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


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Reporter(quiet=True).show(4, 4, {"loss": 0.5})
    assert capsys.readouterr().out == ""
