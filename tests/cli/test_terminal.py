"""Output of a training run on a terminal of 80 columns and through a pipe."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from spikeloom import compiled
from spikeloom.train.run import Run
from spikeloom.train.supervised import fit

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "tiny_task.py"
TRAIN = [sys.executable, "-m", "spikeloom", "train"]


def on_a_terminal(command: list[str], columns: int, folder: Path, **environment: str) -> list[str]:
    """The lines that a command shows on a terminal, every frame of a bar a line of its own."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    known = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    variables = known | {"TERM": "xterm", "PYTHONPATH": str(ROOT)} | environment
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=variables)
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(ours)
    assert process.wait(60) == 0
    return re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode()))


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_shows_count_bar_time_and_headline_values(columns: int, tmp_path: Path) -> None:
    command = [*TRAIN, str(TINY), "--updates", "40", "--pause", "0.02", "--out", "run"]
    frames = [line.rstrip() for line in on_a_terminal(command, columns, tmp_path) if line.startswith("update ")]
    pattern = r"update 40/40 ━+ 0:00:00  loss \d\S+  validation_error \d\S+"
    assert re.fullmatch(pattern, frames[-1])
    assert max(map(len, frames)) <= columns


def test_a_pipe_gets_few_lines_of_eighty_columns(tmp_path: Path) -> None:
    command = [*TRAIN, str(TINY), "--updates", "40", "--pause", "0.02", "--out", "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment())
    lines = [line for line in done.stdout.splitlines() if line.startswith("update ")]
    assert [line.split()[1] for line in lines] == ["1/40", "40/40"]
    assert max(map(len, lines)) <= 80


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)} | more


@pytest.mark.slow
def test_kernels_that_are_compiled_are_announced_once(tmp_path: Path) -> None:
    command = [*TRAIN, "store_recall", "--preset", "smoke"]
    variables = environment(SPIKELOOM_CACHE=str(tmp_path / "cache"))
    for expected in (1, 0):
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=variables)
        lines = done.stdout.splitlines()
        assert lines.count(compiled.COMPILING) == expected
        if expected:
            assert lines.index(compiled.COMPILING) < next(i for i, line in enumerate(lines) if line[:6] == "update")
    assert len(compiled.COMPILING) <= 80


def test_one_sentence_before_something_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path))
    monkeypatch.setattr(compiled._Waiting, "told", False)
    said: list[str] = []
    assert compiled.load("outside") is None
    with compiled.announced(said.append):
        compiled.save("there", b"x")
        assert compiled.load("there") == b"x"
        assert said == []
        with compiled.announced(said.append):
            compiled.load("a")
        compiled.load("b")
    assert said == [compiled.COMPILING]
    monkeypatch.setattr(compiled._Waiting, "told", False)

    def step(finished: int) -> dict[str, float]:
        compiled.load("c")
        return {"loss": 1.0}

    fit(Run(tmp_path / "run", "t", "p", 0), parts={}, updates=2, step=step)
    assert capsys.readouterr().out.splitlines()[0] == compiled.COMPILING
