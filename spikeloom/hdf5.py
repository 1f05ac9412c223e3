"""Parts of HDF5 files that nobody vouches for.

The HDF5 library ends the whole process on some damaged files and never returns from others. So a process of its own
reads (`hdf5_child`), with little memory and a time limit for every step, and sends what it found; if it dies, the file
is refused like any other damaged one. Starting it takes a quarter of a second.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np

from .errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]

CHILD = Path(__file__).with_name("hdf5_child.py")
LINE = 1 << 26
"""Bytes of a line that is believed; a file has far fewer bytes of names."""


class Part(NamedTuple):
    """A data set to be read.

    Args:
        name: with the groups that it is in.
        kind: "lists" for a list of numbers per sample, "numbers" for one list, "words" for a list of names; "all" reads
            everything below the name, "" for the whole file, and returns none of it.
        required: whether a file without it is refused.
        most: bytes that it may take, of lists those of the references to them.
    """

    name: str
    kind: Literal["lists", "numbers", "words", "all"]
    required: bool = True
    most: int = 1 << 26


class Parts(NamedTuple):
    """What was found, by name."""

    lists: dict[str, tuple[Array, Array]]  # all entries, one list after the other, and where each list begins
    numbers: dict[str, Array]
    words: dict[str, list[str]]


def read(source: IO[bytes], wanted: Sequence[Part], what: str, advice: str) -> Parts:
    """The wanted parts of an open file.

    Args:
        what: begins every message, mostly the path of the file.
        advice: ends every message: where to get a good file.

    Raises:
        DataError: it is no HDF5 file or a damaged one, a part is missing, is no such list or of an absurd size, or is
            kept outside the file or packed in an unusual way.
    """
    found = Parts({}, {}, {})
    pieces: dict[str, list[Array]] = {}
    kinds = {part.name: part.kind for part in wanted}
    most = 100 * os.fstat(source.fileno()).st_size + (1 << 26)  # a sound file unpacks to a few times its size
    for message, content in _messages(source, wanted, most, what, advice):
        if "words" in message:
            found.words[message["words"]] = message["list"]
        elif kinds[message["name"]] == "numbers":
            found.numbers[message["name"]] = content
        else:
            pieces.setdefault(message["name"], []).append(content)
    for name, parts in pieces.items():
        lengths = np.concatenate([np.zeros(1, np.int64), *parts[::2]])
        found.lists[name] = np.concatenate(parts[1::2]), np.cumsum(lengths)
    return found


def check(path: Path, what: str, advice: str, most: int = 1 << 30) -> None:
    """Read everything in a file in the other process, so that another program may read it in this one.

    Raises:
        DataError: as `read`; also where groups contain one another, or data sets take more than `most` bytes.
    """
    with path.open("rb") as source:
        read(source, [Part("", "all", most=most)], what, advice)


def _messages(
    source: IO[bytes], wanted: Sequence[Part], most: int, what: str, advice: str
) -> Iterator[tuple[dict[str, Any], Array]]:
    """What the process sends, up to the end."""
    environment = {**os.environ, "HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    number = source.fileno()
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            [sys.executable, "-P", str(CHILD), str(number)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, pass_fds=(number,), env=environment,
        ) as process,
    ):  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with process.stdin as request:
                request.write(json.dumps(wanted).encode() + b"\n")
            while line := process.stdout.readline(LINE):
                message = json.loads(line)
                if "refused" in message or "damaged" in message:
                    reason = message.get("refused", f"cannot be read as an HDF5 file ({message.get('damaged')})")
                    joint = ": " if "refused" in message else " "
                    raise DataError(f"{what}{joint}{reason}. {advice}")
                if "end" in message:
                    return
                dtype = np.dtype(message.get("dtype", "u1"))
                size = message.get("count", 0) * dtype.itemsize
                most -= size
                if most < 0:
                    raise DataError(f"{what} unpacks to a hundred times its size, which is absurd. {advice}")
                content = bytearray(size)
                if process.stdout.readinto(content) < size:  # type: ignore[attr-defined]
                    break
                yield message, np.frombuffer(content, dtype)
        except (BrokenPipeError, ValueError):  # it died, or what it wrote is no message
            pass
        finally:
            process.kill()
        status = process.wait()
        said.seek(0)
        reason = said.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
    if status == -signal.SIGXCPU:
        reason = "the HDF5 library does not come to an end"
    elif status < 0 and status != -signal.SIGKILL:
        reason = f"the HDF5 library crashed on it: {signal.Signals(-status).name}"
    if status > 0:
        raise DataError(
            f"{what} cannot be read, because the process that reads HDF5 files ended with status {status}: {reason}. "
            "Check that this Python starts and imports h5py."
        )
    raise DataError(f"{what} cannot be read as an HDF5 file ({reason or 'the process that read it ended'}). {advice}")
