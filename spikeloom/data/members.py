"""The many files of a data set, in a folder or in a zip file, which is never unpacked to the disk."""

import hashlib
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import DataError
from .fetch import digests, read_bytes

LARGEST = 1 << 22
"""Bytes of one file; the longest recording of any data set read so has less than a megabyte."""
LARGEST_SET = 1 << 32
"""Bytes of all files together, several times those of N-MNIST; keeps a forged archive from filling the memory."""
DAMAGE = (
    *(EOFError, LookupError, NotImplementedError, OSError, OverflowError, RuntimeError, ValueError),
    *(lzma.LZMAError, struct.error, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error),
)


@dataclass(frozen=True)
class Members:
    """The files below `source` whose path matches a pattern, in the order of their paths."""

    source: Path
    sizes: dict[str, int]  # bytes of every file, by its path inside the source
    advice: str

    @classmethod
    def find(cls, source: Path, pattern: re.Pattern[str], advice: str) -> "Members":
        """List the files; `advice` ends every message: where to get good ones.

        Raises:
            DataError: the zip file is damaged or leaves its folder, or a file is absurdly large.
        """
        found: dict[str, int] = {}
        for name, size in sorted(_listed(source, advice)):
            if not pattern.fullmatch(name):
                continue
            if name in found or size > LARGEST:
                raise DataError(f"{source} holds {name} twice, or with {size:,} bytes, more than {LARGEST:,}. {advice}")
            found[name] = size
        if sum(found.values()) > LARGEST_SET:
            raise DataError(f"{source} unpacks to more than {LARGEST_SET:,} bytes, which is absurd. {advice}")
        return cls(source, found, advice)

    def named(self, name: str) -> str:
        """A file as a message names it."""
        return f"{self.source}/{name}" if self.source.is_dir() else f"{name} in {self.source}"

    def read(self, names: list[str]) -> Iterator[bytes]:
        """The contents of these files, one after the other.

        Raises:
            DataError: a file cannot be read or is damaged.
        """
        if self.source.is_dir():
            yield from (read_bytes(self.source / name) for name in names)
            return
        with _opened(self.source, self.advice) as archive:
            for name in names:
                with archive.open(name) as member:
                    yield member.read(self.sizes[name] + 1)  # never more than it announced

    def sha256(self) -> str:
        """The hash of the zip file, or of all names and contents."""
        if self.source.is_file():
            return digests(self.source)[1]
        digest = hashlib.sha256()
        names = list(self.sizes)
        for name, content in zip(names, self.read(names), strict=True):
            digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        return digest.hexdigest()


def locate(folder: Path, pattern: re.Pattern[str], like: str, advice: str) -> Members:
    """The matching files of the one zip file in a folder that has any, else those of the folder itself.

    Args:
        like: the name of such a file, for the message.
        advice: where to get the data and where to put it.

    Raises:
        DataError: several zip files have such files, nothing has, or one is damaged.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. {advice}")
    archives = [Members.find(path, pattern, advice) for path in sorted(folder.glob("*.zip"))]
    found = [archive for archive in archives if archive.sizes]
    if len(found) > 1:
        names = " and ".join(archive.source.name for archive in found)
        raise DataError(f"{folder} holds the same part of the data in {names}. Leave one of them there.")
    members = found[0] if found else Members.find(folder, pattern, advice)
    if not members.sizes:
        raise DataError(f"{folder} holds no file like {like}, in a zip file or unpacked. {advice}")
    return members


def _listed(source: Path, advice: str) -> list[tuple[str, int]]:
    if source.is_dir():
        try:
            files = (path for path in source.rglob("*") if path.is_file())
            return [(path.relative_to(source).as_posix(), path.stat().st_size) for path in files]
        except OSError as error:
            raise DataError(f"{source} cannot be listed: {error.strerror}. Check its permissions.") from error
    with _opened(source, advice) as archive:
        listed = [(member.filename, member.file_size) for member in archive.infolist() if not member.is_dir()]
    for name, _ in listed:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise DataError(f"{source} holds {name!r}, which leaves the archive. {advice}")
    return listed


@contextmanager
def _opened(source: Path, advice: str) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(source) as archive:
            yield archive
    except DataError:
        raise
    except DAMAGE as error:
        raise DataError(f"{source} is a damaged zip file ({error}). {advice}") from error
