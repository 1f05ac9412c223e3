"""A reader with every kind of failure, to see that each is noticed."""

import os
import time
from pathlib import Path

from spikeloom.errors import DataError

from . import Target


def _write(folder: Path) -> None:
    (folder / "seed").write_text("read")


def _read(path: Path) -> str:
    kind = path.read_text()
    if kind == "refused":
        raise DataError("refused")
    if kind == "crash":
        os.abort()
    if kind == "no end":
        time.sleep(60)
    if kind == "unbounded memory":
        return str(len(bytearray(1 << 31)))
    if kind == "foreign exception":
        raise IndexError(kind)
    return kind


TARGET = Target("broken", _write, _read, exact=True, seconds=1.0)
