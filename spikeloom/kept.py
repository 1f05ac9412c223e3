"""Files that can be made again: where they lie, and how they are written, whole or not at all.

    $SPIKELOOM_CACHE/PART, else $XDG_CACHE_HOME/spikeloom/PART, else ~/.cache/spikeloom/PART

A variable that is empty counts as not set, as does an XDG_CACHE_HOME or a HOME that is no absolute path (XDG Base
Directory Specification). A file starts with the SHA-256 of its name and content, so one that a power cut, a full disk
or another program damaged is never used.
"""

import errno
import hashlib
import os
import stat
import time
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path

from .errors import ConfigError, DataError

_DIGEST = 67
"""Length of the first line, "# " and the digest."""
_STALE = 3600.0
"""Age in seconds of a temporary file whose process is dead, if any ever is."""


def regular(path: Path) -> Path:
    """This path, if a file can be read from there or written there: a regular file, or nothing yet.

    A pipe that nobody writes to would keep its reader waiting for ever, and a rename would put a file in the place of a
    device.

    Raises:
        OSError: it is a folder, a pipe or a device, or has no name.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = stat.S_IFREG
    if stat.S_ISDIR(mode) or not path.name:
        raise OSError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    return path


def folder(part: str) -> Path:
    """The folder for one kind of files that can be made again; it need not exist.

    Raises:
        ConfigError: the environment names no folder, and the user has no home.

    >>> import os
    >>> os.environ["SPIKELOOM_CACHE"] = "/var/cache/loom"
    >>> folder("kernels").as_posix()
    '/var/cache/loom/kernels'
    """
    if named := os.environ.get("SPIKELOOM_CACHE"):
        return Path(named).expanduser().absolute() / part
    cache_home = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(cache_home):
        return Path(cache_home) / "spikeloom" / part
    return _home() / ".cache" / "spikeloom" / part


def _home() -> Path:
    named = os.environ.get("HOME", "")
    if os.path.isabs(named):
        return Path(named)
    import pwd

    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError as error:
        raise ConfigError(
            "there is no folder for what spikeloom keeps: HOME is not set, and this user has no home. Set "
            "SPIKELOOM_CACHE to a folder you can write to."
        ) from error


def check_trusted(path: Path) -> None:
    """Raise ConfigError if code that lies in this folder may be another user's: it would run with our rights.

    A folder that SPIKELOOM_CACHE names is trusted: whoever sets it vouches for it, for example for one that an
    administrator filled for all users.
    """
    if os.environ.get("SPIKELOOM_CACHE"):
        return
    for place in (path, path.parent):
        with suppress(FileNotFoundError, NotADirectoryError):
            status = place.stat()
            if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o002:
                why = "everyone may write to it" if status.st_mode & 0o002 else "it belongs to another user"
                raise ConfigError(
                    f"code in {place} is not run, because {why}. Change its owner or mode, or set SPIKELOOM_CACHE to a "
                    "folder that you trust."
                )


def read(path: Path) -> bytes:
    """The content of a file that `write` wrote.

    Raises:
        OSError: it is not there, or may not be read.
        DataError: it is damaged.
    """
    content = path.read_bytes()
    if content[:_DIGEST] != _line(path, content[_DIGEST:]):
        raise DataError(f"{path} is damaged: its content does not agree with its digest.")
    return content[_DIGEST:]


def write(path: Path, content: bytes) -> None:
    """Write a file whole, with the modes that the umask gives, and nothing if that fails.

    Raises:
        OSError: the folder cannot be made or written, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    temporary = path.with_name(f"{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(_line(path, content) + content)
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@cache
def _sweep(place: Path) -> None:
    """Remove temporary files of processes that were killed while they wrote, once in the life of this one."""
    for left in place.glob("*.tmp"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE:
                left.unlink()


def _line(path: Path, content: bytes) -> bytes:
    return f"# {hashlib.sha256(path.name.encode() + content).hexdigest()}\n".encode()
