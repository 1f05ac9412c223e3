"""Writing into a run folder so that a reader never sees half a file.

A file is written beside its destination, synced, and renamed over it: one rename, so that a process killed at any
moment leaves either the old file or the new one.
"""

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import CheckpointError, ConfigError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def temporary(path: Path) -> Path:
    """Where `path` is written before it is renamed; always the same place, so that leftovers are overwritten."""
    return path.with_name(f".{path.name}.tmp")


def write_atomic(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Create or replace `path` with what `write(stream)` puts into the stream, or leave it as it was.

    Raises:
        CheckpointError: the file cannot be written, for example because the disk is full.
    """
    unfinished = temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, path)
        sync_folder(path.parent)
    except OSError as error:
        discard(unfinished)
        raise cannot_write(path, error) from error
    except BaseException:
        discard(unfinished)
        raise


def discard(path: Path) -> None:
    """Remove a file if it can be removed."""
    with contextlib.suppress(OSError):  # the folder itself may be what is broken; the error under way says so
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync(path: Path) -> None:
    """Make what was appended to `path` survive a power cut, if there is such a file."""
    if path.exists():
        sync_folder(path)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training in `folder` meanwhile; a killed process leaves no lock behind.

    Raises:
        ConfigError: another process is training there.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another process is training in {folder}. Wait for it or end it, then resume."
            ) from error
        yield
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_atomic(path, lambda stream: stream.write(text.encode()))


def append(path: Path, text: str) -> None:
    """Add `text` to the end of `path` in one write.

    Raises:
        CheckpointError: the file cannot be written.
    """
    try:
        with path.open("ab", buffering=0) as stream:
            data = text.encode()
            while data:
                data = data[stream.write(data) :]
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> CheckpointError:
    """The error for a file of a run that could not be written, with what to do about it."""
    remedy = "Free some space" if error.errno in FULL else "Make the folder writable"
    return CheckpointError(
        f"{path} cannot be written: {error.strerror or error}. What was saved before is kept. "
        f"{remedy}, then go on with `spikeloom resume`."
    )
