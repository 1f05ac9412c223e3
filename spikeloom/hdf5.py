"""Safe reading of untrusted HDF5 files.

The HDF5 library crashes the whole process on some damaged files and never returns from others. So a child process
(`hdf5_child`) reads the file, with little memory and a time limit for every step, and sends its data sets; if the child
dies, the file is refused like any other damaged one. Starting it takes a quarter of a second.
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
"""Longest line accepted from the child, in bytes; a file has far fewer bytes of names."""


class DataSetRequest(NamedTuple):
    """Request for a data set.

    Args:
        name: path of the data set, with its groups.
        kind: "lists" for a list of numbers per sample, "numbers" for one list, "words" for a list of names; "all" reads
            everything below the name, "" for the whole file, and returns none of it.
        required: whether a file without this data set is refused.
        most: maximum size in bytes; for lists, of the references to them.
    """

    name: str
    kind: Literal["lists", "numbers", "words", "all"]
    required: bool = True
    most: int = 1 << 26


class Parts(NamedTuple):
    """Data sets read from a file, by name."""

    lists: dict[str, tuple[Array, Array]]  # all lists concatenated, and the offset at which each begins
    numbers: dict[str, Array]
    words: dict[str, list[str]]


def read(source: IO[bytes], wanted: Sequence[DataSetRequest], what: str, advice: str) -> Parts:
    """Return the requested data sets of an open file.

    Args:
        what: start of every error message, mostly the path of the file.
        advice: end of every error message: where to get an intact file.

    Raises:
        DataError: the file is damaged or no HDF5 file; or a data set is missing, not of the requested kind, of an
            absurd size, stored outside the file, or compressed with an unusual filter.
    """
    result = Parts({}, {}, {})
    pieces: dict[str, list[Array]] = {}
    kinds = {part.name: part.kind for part in wanted}
    most = 100 * os.fstat(source.fileno()).st_size + (1 << 26)  # an intact file unpacks to a few times its size
    for message, content in _messages(source, wanted, most, what, advice):
        if "words" in message:
            result.words[message["words"]] = message["list"]
        elif kinds[message["name"]] == "numbers":
            result.numbers[message["name"]] = content
        else:
            pieces.setdefault(message["name"], []).append(content)
    for name, parts in pieces.items():
        lengths = np.concatenate([np.zeros(1, np.int64), *parts[::2]])
        result.lists[name] = np.concatenate(parts[1::2]), np.cumsum(lengths)
    return result


def check(path: Path, what: str, advice: str, most: int = 1 << 30) -> None:
    """Read a whole file in the child process, to check that other code can read it safely in this one.

    Raises:
        DataError: see `read`; also if groups contain one another, or data sets take more than `most` bytes.
    """
    with path.open("rb") as source:
        read(source, [DataSetRequest("", "all", most=most)], what, advice)


def _messages(
    source: IO[bytes], wanted: Sequence[DataSetRequest], most: int, what: str, advice: str
) -> Iterator[tuple[dict[str, Any], Array]]:
    """Yield the messages of the child process and their data, up to its "end" message."""
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
        except (BrokenPipeError, ValueError):  # the child died, or wrote something that is no message
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
