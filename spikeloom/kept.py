"""Cache files: their folder, and atomic reads and writes with a digest.

    $SPIKELOOM_CACHE/PART, else $XDG_CACHE_HOME/spikeloom/PART, else ~/.cache/spikeloom/PART

An empty variable counts as not set, as does an XDG_CACHE_HOME or a HOME that is not an absolute path (XDG Base
Directory Specification). A file starts with the SHA-256 of its name and content, so one that was damaged by a power
cut, a full disk or another program is never used.
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
"""Age in seconds after which a temporary file is taken to be left over by a dead process."""


def regular(path: Path) -> Path:
    """Return the path if it is a regular file or does not exist yet, so that it can be read or written.

    Reading a pipe without a writer would block for ever, and a rename would replace a device by a file.

    Raises:
        OSError: the path is a folder, a pipe or a device, or has no name.
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
    """Return the cache folder for one kind of files; it need not exist.

    Raises:
        ConfigError: the environment names no folder, and the user has no home directory.

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
    """Raise ConfigError if another user could have written code into this folder: it would run with our permissions.

    The folder in SPIKELOOM_CACHE is always trusted: it was set on purpose, for example to one that an administrator
    filled for all users.
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
    """Return the content of a file that `write` wrote.

    Raises:
        OSError: the file does not exist, or may not be read.
        DataError: the file is damaged.
    """
    content = path.read_bytes()
    if content[:_DIGEST] != _line(path, content[_DIGEST:]):
        raise DataError(f"{path} is damaged: its content does not agree with its digest.")
    return content[_DIGEST:]


def write(path: Path, content: bytes) -> None:
    """Write a file atomically, with the permissions of the umask; a failure leaves nothing behind.

    Raises:
        OSError: the folder cannot be created or written, or the disk is full.
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
    """Remove temporary files of processes that were killed while writing, once per process and folder."""
    for left in place.glob("*.tmp"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE:
                left.unlink()


def _line(path: Path, content: bytes) -> bytes:
    """Return the first line of a file: the digest of its name and content."""
    return f"# {hashlib.sha256(path.name.encode() + content).hexdigest()}\n".encode()
