"""Location, download and verification of data files.

    $SPIKELOOM_DATA/mnist/train-images-idx3-ubyte.gz        (default: the user's cache folder)

A data set is a module of this package with a tuple `FILES` of `DataFile` and a description `ABOUT`; there is no other
registration. `fetch` downloads missing files into a temporary file and renames it once its content is verified: by the
published SHA-256, else the published MD5, else by hashing what is inside (`DataFile.inside`). A file placed into the
folder by hand is used as it is: `describe` hashes it and states how it differs from the official one.
"""

import hashlib
import importlib
import os
import pkgutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypedDict

from ..arguments import explained
from ..errors import ConfigError, DataError
from ..kept import regular


@explained
@dataclass(frozen=True)
class DataFile:
    """Published file: name, checksum, mirrors, and number of items in the official version."""

    name: str
    md5: str
    """Published MD5; empty if none is known."""
    urls: tuple[str, ...]
    count: int
    what: str
    """Items of the file, in the plural: "test images"."""
    forms: tuple[str, ...] = ()
    """Other accepted file names, or patterns of some; by default the name without .gz."""
    sha256: tuple[str, ...] = ()
    """Published SHA-256, one for each version of the file; empty if none is known."""
    inside: Callable[[Path], None] | None = None
    """Verifies the content of a file without a published checksum; raises DataError if it differs."""

    @property
    def checksum(self) -> str:
        """Published checksum in words, for messages."""
        if self.sha256:
            return f"SHA-256 {self.sha256[0]}"
        return f"MD5 {self.md5}" if self.md5 else "no published checksum"

    def is_official(self, md5: str, sha256: str) -> bool:
        """Return whether a file with these checksums is the published one."""
        return sha256 in self.sha256 if self.sha256 else bool(self.md5) and md5 == self.md5


@explained
@dataclass(frozen=True)
class About:
    """Description of a data set for `spikeloom data list`: what it is, its licence, and where it comes from."""

    title: str
    licence: str
    source: str
    """Address of its home page."""
    splits: tuple[str, ...] = ("train", "test")
    """Splits that `describe` of its module takes."""
    folders: tuple[str, ...] = ()
    """Folders it may lie in, the first of which is preferred; by default the name of the data set."""
    by_hand: str = ""
    """Why it cannot be fetched, and what to do instead; empty if it can."""


class Bar(Protocol):
    """Progress bar of a download, in bytes, in the form that pooch expects."""

    total: int

    def update(self, count: int) -> None:
        """Advance by `count` bytes."""

    def reset(self) -> None:
        """Start again from zero."""

    def close(self) -> None:
        """Finish."""


class Description(TypedDict):
    """Description of a data file for reports."""

    file: str
    sha256: str
    count: int
    official_count: int
    note: str


@explained
def folder(dataset: str) -> Path:
    """Return the folder of a data set: in $SPIKELOOM_DATA, else in the user's cache.

    >>> folder("mnist").name
    'mnist'
    """
    root = os.environ.get("SPIKELOOM_DATA")
    if root:
        return Path(root).expanduser() / dataset
    import pooch  # imported here: it brings an HTTP client that reading files does not need

    return Path(pooch.os_cache("spikeloom")) / dataset


def datasets() -> dict[str, tuple[DataFile, ...]]:
    """Return all data sets with the files that can be fetched, which may be none.

    >>> sorted(datasets())
    ['babi', 'fsdd', 'mnist', 'nmnist', 'ntidigits', 'omniglot', 'shd', 'ssc', 'stmnist']
    """
    package = importlib.import_module(__package__)
    result = {}
    for module in pkgutil.iter_modules(package.__path__):
        files = vars(importlib.import_module(f"{__package__}.{module.name}")).get("FILES")
        if files is not None:
            result[module.name] = files
    return result


@explained
def locate(dataset: str, file: DataFile) -> Path:
    """Return the path of a file, under its name or one of its other forms.

    Raises:
        DataError: the folder of the data set holds none of them.
    """
    here = folder(dataset)
    for name in (file.name, *(file.forms or (file.name.removesuffix(".gz"),))):
        found = [Path(os.path.normpath(here / name))] if "*" not in name else sorted(here.glob(name))
        for path in found:
            if path.is_file():
                return path
    raise DataError(
        f"{file.name} is missing in {here}. Run `spikeloom data fetch {dataset}` online, or download {file.urls[0]} "
        f"({file.checksum}) and put it there. $SPIKELOOM_DATA names another place for all data."
    )


@explained
def fetch(dataset: str, bar: Callable[[str], Bar] | None = None) -> list[Path]:
    """Download and verify the missing files of a data set; return all paths.

    Existing files are not changed, whatever their checksum: see `describe`.

    Args:
        bar: makes a progress bar for the download of the named file; without it none is shown.

    Raises:
        ConfigError: the data set is unknown.
        DataError: the data set can only be placed by hand, no mirror provides a file that can be verified, or the
            folder cannot be written.
    """
    known = datasets()
    if dataset not in known:
        raise ConfigError(f"There is no data set {dataset!r} to fetch. Choose one of: {', '.join(sorted(known))}.")
    if not known[dataset]:
        by_hand = importlib.import_module(f"{__package__}.{dataset}").ABOUT.by_hand
        raise DataError(f"{dataset} cannot be fetched: {by_hand} Its folder is {folder(dataset)}.")
    paths = []
    for file in known[dataset]:
        try:
            paths.append(locate(dataset, file))
        except DataError:
            paths.append(_download(file, folder(dataset), bar))
    return paths


@explained
def describe(path: Path, count: int, file: DataFile) -> Description:
    """Return name, SHA-256 and number of items of a file, and how it differs from the official one.

    Raises:
        DataError: the file cannot be read.
    """
    md5, sha256 = digests(path)
    if file.is_official(md5, sha256):
        note = f"the official file, all {count:,} {file.what}"
    elif count == file.count:
        note = f"{count:,} {file.what}, as many as the official file, which has another checksum"
    else:
        note = f"{count:,} of the {file.count:,} official {file.what}"
    return Description(file=path.name, sha256=sha256, count=count, official_count=file.count, note=note)


@explained
def digests(path: Path) -> tuple[str, str]:
    """Return the MD5 and the SHA-256 of a file, read in chunks; raise DataError if it cannot be read."""
    both = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    try:
        with regular(path).open("rb") as file:
            while piece := file.read(1 << 20):
                for digest in both:
                    digest.update(piece)
    except OSError as error:
        raise _unreadable(path, error) from error
    return both[0].hexdigest(), both[1].hexdigest()


@explained
def read_bytes(path: Path) -> bytes:
    """Return the content of a file; raise DataError if it cannot be read."""
    try:
        return regular(path).read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path} cannot be read: {error.strerror}. Check the file and its permissions.")


def _download(file: DataFile, where: Path, bar: Callable[[str], Bar] | None) -> Path:
    """Download a file to a temporary name, verify it, and rename it."""
    import pooch
    from requests import RequestException

    reasons = []
    temporary = where / f".{uuid.uuid4().hex}.part"
    for url in file.urls:
        try:
            where.mkdir(parents=True, exist_ok=True)
            shown = bar(file.name) if bar is not None else False
            get: Any = pooch.HTTPDownloader(shown, chunk_size=1 << 16, timeout=60)
            get(url, str(temporary), None)
            _verify(temporary, file)
            os.replace(temporary, where / file.name)
            return where / file.name
        except DataError as error:
            reasons.append(f"{url}: {error}")
        except (RequestException, OSError, ValueError) as error:
            reasons.append(f"{url}: {type(error).__name__}")
        finally:
            if where.is_dir():
                temporary.unlink(missing_ok=True)
    raise DataError(
        f"{file.name} could not be downloaded ({'; '.join(reasons)}). Get it from one of these addresses "
        f"({file.checksum}) and put it in {where}."
    )


def _verify(path: Path, file: DataFile) -> None:
    """Raise DataError unless a downloaded file is the published one."""
    md5, sha256 = digests(path)
    if file.is_official(md5, sha256):
        return
    if file.inside is None or file.sha256 or file.md5:
        found = f"SHA-256 {sha256}" if file.sha256 else f"MD5 {md5}"
        raise DataError(f"its checksum differs: {found} instead of {file.checksum}")
    file.inside(path)
