"""Atomic file access in run folders: a reader never sees a partial file.

A file is written next to its destination, synced, and renamed over it, so that a process killed at any moment leaves
either the old or the new file. Files of a run folder are regular files: links are neither read nor written through,
because the folder may come from someone else.
"""

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import CheckpointError, ConfigError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LARGEST_JSON = 1 << 28
"""Maximum size in bytes of a JSON file that is read."""


def temporary(path: Path) -> Path:
    """Return the temporary path for `path`; always the same, so that leftovers are overwritten."""
    return path.with_name(f".{path.name}.tmp")


def write_atomic(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Create or replace `path` with the bytes that `write(stream)` writes; on an error, `path` is unchanged.

    Raises:
        CheckpointError: the file cannot be written, for example because the disk is full, or it is a link, a
            folder or a device.
    """
    try:
        if not path.name or path.is_dir():
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not path.is_symlink() and path.exists() and not path.is_file():  # a rename would replace a device
            raise OSError(errno.EINVAL, "it is no regular file")
        unfinished = temporary(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        for place in (path, unfinished):
            if place.is_symlink():
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        unfinished.unlink(missing_ok=True)  # left by a killed process
        created = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        with os.fdopen(created, "wb") as stream:
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
    """Remove a file if possible."""
    with contextlib.suppress(OSError):  # the folder itself may be broken; the original error tells
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable (fsync)."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync(path: Path) -> None:
    """Make appended content of `path` durable (fsync), if the file exists."""
    if path.exists():
        sync_folder(path)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock `folder` against other training processes; the lock ends with the process.

    On file systems without locks, such as some network file systems, nothing is locked and a warning is printed.

    Raises:
        ConfigError: another process trains in the folder, or it cannot be opened.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be opened: {error.strerror}. Name the folder of a run.") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another process is training in {folder}. Wait for it or end it, then resume."
            ) from error
        except OSError as error:
            warn(f"{folder} cannot be locked: {error.strerror}. See to it that one process at a time trains there.")
        yield
    finally:
        os.close(handle)


@functools.cache
def warn(sentence: str) -> None:
    """Print a warning."""
    print(f"Warning: {sentence}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading.

    Raises:
        OSError: the file is missing, a link, a folder or a device, or cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe without a writer would block
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise (
                OSError(errno.EISDIR, os.strerror(errno.EISDIR))
                if stat.S_ISDIR(mode)
                else OSError(errno.EINVAL, "it is no regular file")
            )
        with os.fdopen(handle, "rb", closefd=False) as stream:
            yield stream
    finally:
        os.close(handle)


def read_bytes(path: Path, largest: int | None = None) -> bytes:
    """Return the content of a regular file of at most `largest` bytes.

    Raises:
        OSError: as `opened`, or the file is too large.
    """
    with opened(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if largest is not None and size > largest:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, more than {largest:,}")
        return stream.read()


def read_start(path: Path, count: int) -> bytes:
    """Return the first bytes of a regular file.

    Raises:
        OSError: as `opened`.
    """
    with opened(path) as stream:
        return stream.read(count)


def reason(error: Exception) -> str:
    """Describe why a file cannot be read."""
    if isinstance(error, OSError):
        return "it is a link, which is not followed" if error.errno == errno.ELOOP else error.strerror or str(error)
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    return "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else f"it is not JSON: {error}"


UNREADABLE = (OSError, ValueError, RecursionError, MemoryError)
"""Exceptions that `read_json` and `parse_json` raise."""


def read_json(path: Path) -> Any:
    """Return the value of a JSON file.

    Raises:
        OSError, ValueError, RecursionError, MemoryError: the file cannot be read; see `reason`.
    """
    return json.loads(read_bytes(path, LARGEST_JSON).decode())


def write_json(path: Path, value: Any) -> str:
    """Write `value` as indented JSON, atomically; return the SHA-256 of the file."""
    data = (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
    write_atomic(path, lambda stream: stream.write(data))
    return hashlib.sha256(data).hexdigest()


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or "" if it cannot be read."""
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    except (OSError, MemoryError):
        return ""


def append(path: Path, text: str) -> None:
    """Append `text` to `path` in one write.

    Raises:
        CheckpointError: the file cannot be written.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        with os.fdopen(handle, "ab", buffering=0) as stream:
            data = text.encode()
            while data:
                data = data[stream.write(data) :]
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> CheckpointError:
    """Return the error for a file of a run that could not be written, with advice."""
    if error.errno == errno.ELOOP:
        return CheckpointError(
            f"{path} cannot be written: it, or .{path.name}.tmp beside it, is a link, which is not followed. "
            "Remove the link, then go on with `spikeloom resume`."
        )
    remedy = "Free some space" if error.errno in FULL else "Make the folder writable"
    if error.errno in (errno.EISDIR, errno.EINVAL):
        remedy = "Move away what is there"
    return CheckpointError(
        f"{path} cannot be written: {error.strerror or error}. What was saved before is kept. "
        f"{remedy}, then go on with `spikeloom resume`."
    )
