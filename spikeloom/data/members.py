"""Files of a data set in a folder, a zip or a tar file; archives are never extracted to disk."""

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
"""Maximum size of one file in bytes; the longest recording of any data set read here has less than a megabyte."""
LARGEST_SET = 1 << 32
"""Maximum size of all files in bytes, several times that of N-MNIST; protects against forged archives."""
HEADER, WIDE = b"PK\x03\x04", 0xFFFFFFFF
"""Magic number of a file in a zip archive, and the size that stands for a zip64 extension."""
DAMAGE = (
    *(EOFError, LookupError, NotImplementedError, OSError, OverflowError, RuntimeError, ValueError),
    *(lzma.LZMAError, struct.error, tarfile.TarError, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error),
)


@explained
@dataclass(frozen=True)
class Members:
    """Files below `source` whose path matches a pattern, ordered by path."""

    source: Path
    sizes: dict[str, int]  # size of every file in bytes, by path inside the source
    advice: str

    @classmethod
    def find(cls, source: Path | str, pattern: re.Pattern[str], advice: str, largest: int = LARGEST) -> "Members":
        """List the matching files; `advice` ends every error message: where to get the data.

        Raises:
            DataError: the zip file is damaged or has paths outside of it, or a file exceeds `largest` bytes.
        """
        source = Path(source)
        sizes: dict[str, int] = {}
        for name, size in sorted(_listed(source, advice)):
            if not pattern.fullmatch(name):
                continue
            if name in sizes or size > largest:
                raise DataError(f"{source} holds {name} twice, or with {size:,} bytes, more than {largest:,}. {advice}")
            sizes[name] = size
        if sum(sizes.values()) > LARGEST_SET:
            raise DataError(f"{source} unpacks to more than {LARGEST_SET:,} bytes, which is absurd. {advice}")
        return cls(source, sizes, advice)

    def named(self, name: str) -> str:
        """Return the name of a file for messages."""
        return f"{self.source}/{name}" if self.source.is_dir() else f"{name} in {self.source}"

    def read(self, names: list[str]) -> Iterator[bytes]:
        """Yield the contents of the given files.

        Raises:
            DataError: a file cannot be read or is damaged.
        """
        if self.source.is_dir():
            yield from (read_bytes(self.source / name) for name in names)
            return
        with opened_zip(self.source, self.advice, check=False) as archive:  # checked when it was listed
            for name in names:
                with archive.open(name) as member:
                    yield member.read(self.sizes[name] + 1)  # never more than its declared size

    def sha256(self) -> str:
        """Return the hash of the zip file, or of all names and contents."""
        if self.source.is_file():
            return digests(self.source)[1]
        digest = hashlib.sha256()
        names = list(self.sizes)
        for name, content in zip(names, self.read(names), strict=True):
            digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        return digest.hexdigest()


@explained
def locate(folder: Path | str, pattern: re.Pattern[str], like: str, advice: str) -> Members:
    """Find the matching files: in the only zip file of a folder that has any, else in the folder itself.

    Args:
        like: example of a file name, for the message.
        advice: where to get the data and where to put it.

    Raises:
        DataError: several zip files have matching files, none are found, or one is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. {advice}")
    archives = [Members.find(path, pattern, advice) for path in sorted(folder.glob("*.zip"))]
    matching = [archive for archive in archives if archive.sizes]
    if len(matching) > 1:
        names = " and ".join(archive.source.name for archive in matching)
        raise DataError(f"{folder} holds the same part of the data in {names}. Leave one of them there.")
    members = matching[0] if matching else Members.find(folder, pattern, advice)
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
    """Read the matching plain files of a tar file, with or without gzip, as a dictionary from path to content.

    Args:
        advice: ends every error message: where to get the data.
        largest: maximum size of one file in bytes.

    Raises:
        DataError: the tar file is damaged, has paths outside of it, repeats a file, or a file is too large.
    """
    source = Path(source)
    contents: dict[str, bytes] = {}
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
                    if member.name in contents or member.size > largest:
                        raise DataError(
                            f"{source} holds {member.name} twice, or with {member.size:,} bytes, more than "
                            f"{largest:,}. {advice}"
                        )
                    content = tar.extractfile(member)
                    assert content is not None, member.name
                    contents[member.name] = content.read(largest)
                    if len(contents[member.name]) != member.size:
                        raise DataError(f"{source} is cut short: {member.name} is incomplete. {advice}")
            while total <= LARGEST_SET and (rest := guarded.read(LARGEST)):  # to the end, for the gzip checksum
                total += len(rest)
    except DataError:
        raise
    except DAMAGE as error:
        raise DataError(f"{source} is a damaged tar file ({error}). {advice}") from error
    return contents


class _Guarded:
    """File wrapper for the tar reader that refuses huge reads and backward seeks, which forged headers ask for."""

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
    """Open a zip file whose directory lists all its content; errors inside become a DataError.

    Args:
        advice: ends every error message: where to get the data.
        check: compare the directory with the headers of the files.

    Raises:
        DataError: the zip file is damaged, or its directory does not match its content.
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
    """Raise BadZipFile unless the central directory lists every file with its name and size.

    Python's reader trusts the directory: a damaged entry there can hide the following ones or rename them, so that
    files are silently missing.
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
        later = bool(flags & 0x08)  # data descriptor: sizes and checksum follow the content
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
    """Raise BadZipFile if there is an unlisted file between two files; a checksum or a comment is allowed."""
    file.seek(start)
    left, seam = end - start, b""
    while left > 0 and (piece := file.read(min(left, 1 << 20))):
        if HEADER in seam + piece:
            raise zipfile.BadZipFile("it holds a file that its directory does not list")
        left, seam = left - len(piece), piece[-3:]
