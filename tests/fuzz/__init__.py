"""Fuzzing of everything that reads a file: readers of data sets, checkpoints, run folders.

    python -m tests.fuzz --minutes 30            every target in turn; --files N, --seed S, --target NAME

A target is a kind of file: it writes a few valid ones, and reads one. Every module of this package that has a list
`TARGETS` adds its own. Valid files are damaged at random and read in a child process with a memory and a time limit.
A damaged file may be read, or refused with a `SpikeloomError`; anything else is a failure: another exception, a crash,
no end, more memory than the limit, or, for a target whose bytes are all under a checksum, other content than written.

A file that fails is kept in tests/fuzz/corpus/TARGET/ under its hash and read again by every later test run.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Target(NamedTuple):
    """One kind of file.

    Args:
        name: of the target and of its folder in the corpus.
        write: writes valid files into an empty folder; each is a seed, in the order of their names.
        read: reads one file, whatever its name is, and returns what was in it.
        exact: every byte is under a checksum, so that a damaged file is refused or gives what a seed gives.
        seconds: within which a file is read or refused.
    """

    name: str
    write: Callable[[Path], None]
    read: Callable[[Path], object]
    exact: bool = False
    seconds: float = 20.0
