"""The many files of a data set, in a folder, a zip or a tar file; archives are never unpacked to the disk."""

import gzip
import hashlib
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ..arguments import explained
from ..errors import DataError
from ..kept import regular
from .fetch import digests, read_bytes

LARGEST = 1 << 22
"""Bytes of one file; the longest recording of any data set read so has less than a megabyte."""
LARGEST_SET = 1 << 32
"""Bytes of all files together, several times those of N-MNIST; keeps a forged archive from filling the memory."""
HEADER, WIDE = b"PK\x03\x04", 0xFFFFFFFF
"""What a file in a zip file begins with, and the size that says: see elsewhere."""
DAMAGE = (
    *(EOFError, LookupError, NotImplementedError, OSError, OverflowError, RuntimeError, ValueError),
    *(lzma.LZMAError, struct.error, tarfile.TarError, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error),
)


@explained
@dataclass(frozen=True)
class Members:
    """The files below `source` whose path matches a pattern, in the order of their paths."""

    source: Path
    sizes: dict[str, int]  # bytes of every file, by its path inside the source
    advice: str

    @classmethod
    def find(cls, source: Path | str, pattern: re.Pattern[str], advice: str, largest: int = LARGEST) -> "Members":
        """List the files, of at most `largest` bytes; `advice` ends every message: where to get good ones.

        Raises:
            DataError: the zip file is damaged or leaves its folder, or a file is absurdly large.
        """
        source = Path(source)
        found: dict[str, int] = {}
        for name, size in sorted(_listed(source, advice)):
            if not pattern.fullmatch(name):
                continue
            if name in found or size > largest:
                raise DataError(f"{source} holds {name} twice, or with {size:,} bytes, more than {largest:,}. {advice}")
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
        with opened_zip(self.source, self.advice, check=False) as archive:  # checked when it was listed
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


@explained
def locate(folder: Path | str, pattern: re.Pattern[str], like: str, advice: str) -> Members:
    """The matching files of the one zip file in a folder that has any, else those of the folder itself.

    Args:
        like: the name of such a file, for the message.
        advice: where to get the data and where to put it.

    Raises:
        DataError: several zip files have such files, nothing has, or one is damaged.
    """
    folder = Path(folder)
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
    with opened_zip(source, advice) as archive:
        listed = [(member.filename, member.file_size) for member in archive.infolist() if not member.is_dir()]
    for name, _ in listed:
        _check_inside(source, name, advice)
    return listed


def _check_inside(source: Path, name: str, advice: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"{source} holds {name!r}, which leaves the archive. {advice}")


@explained
def read_tar(source: Path | str, pattern: re.Pattern[str], advice: str, largest: int = LARGEST) -> dict[str, bytes]:
    """The contents of the plain files of a tar file, with or without gzip, whose path matches a pattern.

    Args:
        advice: ends every message: where to get a good file.
        largest: bytes of one file.

    Raises:
        DataError: the tar file is damaged or leaves its folder, holds a file twice, or is absurdly large.
    """
    source = Path(source)
    found: dict[str, bytes] = {}
    total = 0
    try:
        with regular(source).open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            guarded: Any = _Guarded(gzip.GzipFile(fileobj=plain) if packed else plain, max(largest, LARGEST))
            with tarfile.open(fileobj=guarded, mode="r:") as tar:
                for member in tar:
                    _check_inside(source, member.name, advice)
                    total += member.size
                    if member.size < 0 or total > LARGEST_SET:
                        raise DataError(f"{source} unpacks to an absurd size, at {member.name!r}. {advice}")
                    if not (member.isreg() and pattern.fullmatch(member.name)):
                        continue
                    if member.name in found or member.size > largest:
                        raise DataError(
                            f"{source} holds {member.name} twice, or with {member.size:,} bytes, more than "
                            f"{largest:,}. {advice}"
                        )
                    content = tar.extractfile(member)
                    assert content is not None, member.name
                    found[member.name] = content.read(largest)
                    if len(found[member.name]) != member.size:
                        raise DataError(f"{source} is cut short: {member.name} is incomplete. {advice}")
            while total <= LARGEST_SET and (rest := guarded.read(LARGEST)):  # up to the checksum of gzip
                total += len(rest)
    except DataError:
        raise
    except DAMAGE as error:
        raise DataError(f"{source} is a damaged tar file ({error}). {advice}") from error
    return found


class _Guarded:
    """A file as the tar reader sees it: a forged header asks for more than there is memory, or leads back for ever."""

    def __init__(self, file: Any, most: int) -> None:
        self.file, self.most, self.tell = file, most, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.most:
            raise ValueError(f"a part of {size:,} bytes is announced")
        content: bytes = self.file.read(size)
        return content

    def seek(self, place: int) -> None:
        if place < self.tell() - 1:
            raise ValueError("it leads back")
        self.file.seek(place)


@contextmanager
def opened_zip(source: Path, advice: str, check: bool = True) -> Iterator[zipfile.ZipFile]:
    """A zip file whose directory names all that is in it; whatever goes wrong inside becomes a DataError.

    Args:
        advice: ends every message: where to get a good file.
        check: whether the directory is compared with the headers of the files.

    Raises:
        DataError: the zip file is damaged, or its directory does not agree with what lies before it.
    """
    try:
        with zipfile.ZipFile(regular(source)) as archive:
            if check:
                _check_directory(archive)
            yield archive
    except DataError:
        raise
    except DAMAGE as error:
        raise DataError(f"{source} is a damaged zip file ({error}). {advice}") from error


def _check_directory(archive: zipfile.ZipFile) -> None:
    """Raise BadZipFile unless the directory at the end lists every file before it under its name and size.

    Python's reader believes the directory: an entry that is damaged there swallows the ones behind it, or has another
    name, and files are missing without a word.
    """
    file, end = archive.fp, 0
    assert file is not None
    for member in sorted(archive.infolist(), key=lambda member: member.header_offset):
        if member.header_offset < end:
            raise zipfile.BadZipFile(f"{member.filename!r} begins inside another file")
        _check_gap(file, end, member.header_offset)
        file.seek(member.header_offset)
        head = file.read(30)
        if len(head) < 30 or head[:4] != HEADER:
            raise zipfile.BadZipFile(f"there is no header of {member.filename!r}")
        _, flags, method, _, _, crc, packed, size, name_size, extra = struct.unpack("<HHHHHIIIHH", head[4:])
        name = file.read(name_size).decode("utf-8" if flags & 0x800 else "cp437")
        later = bool(flags & 0x08)  # sizes and checksum follow the content
        agree = method == member.compress_type and (
            later
            or WIDE in (packed, size)
            or (crc, packed, size) == (member.CRC, member.compress_size, member.file_size)
        )
        if name != member.orig_filename or not agree:
            raise zipfile.BadZipFile(f"the directory has {member.orig_filename!r} where {name!r} lies, or another size")
        end = member.header_offset + 30 + name_size + extra + member.compress_size
    _check_gap(file, end, archive.start_dir)


def _check_gap(file: IO[bytes], start: int, end: int) -> None:
    """Between two files there may be a checksum or a text, but no file that the directory does not list."""
    file.seek(start)
    left, seam = end - start, b""
    while left > 0 and (piece := file.read(min(left, 1 << 20))):
        if HEADER in seam + piece:
            raise zipfile.BadZipFile("it holds a file that its directory does not list")
        left, seam = left - len(piece), piece[-3:]
