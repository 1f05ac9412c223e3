"""Location, download and verification of data files.

    $SPIKELOOM_DATA/mnist/train-images-idx3-ubyte.gz        (default: the user's cache folder)

A data set is a module of this package with a tuple `FILES` of `DataFile`; there is no other registration. `fetch`
downloads missing files and refuses content whose checksum differs from the published one. A file placed into the
folder by hand is used as it is: `describe` hashes it and states how it differs from the official one.
"""

import hashlib
import importlib
import os
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ..arguments import explained
from ..errors import ConfigError, DataError
from ..kept import regular


@explained
@dataclass(frozen=True)
class DataFile:
    """Published file: name, checksum, mirrors, and number of items in the official version."""

    name: str
    md5: str
    urls: tuple[str, ...]
    count: int
    what: str
    """Items of the file, in the plural: "test images"."""
    forms: tuple[str, ...] = ()
    """Other accepted file names; by default the name without .gz."""


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
    """Return all data sets that can be fetched, with their files.

    >>> sorted(datasets())
    ['mnist', 'nmnist', 'ntidigits', 'omniglot', 'shd', 'ssc']
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
        path = Path(os.path.normpath(here / name))
        if path.is_file():
            return path
    raise DataError(
        f"{file.name} is missing in {here}. Run `spikeloom data fetch {dataset}` online, or download {file.urls[0]} "
        f"(MD5 {file.md5}) and put it there. $SPIKELOOM_DATA names another place for all data."
    )


@explained
def fetch(dataset: str) -> list[Path]:
    """Download and verify the missing files of a data set; return all paths.

    Existing files are not changed, whatever their checksum: see `describe`.

    Raises:
        ConfigError: the data set is unknown.
        DataError: no mirror provides a file with the published checksum, or the folder cannot be written.
    """
    known = datasets()
    if dataset not in known:
        raise ConfigError(f"There is no data set {dataset!r} to fetch. Choose one of: {', '.join(sorted(known))}.")
    paths = []
    for file in known[dataset]:
        try:
            paths.append(locate(dataset, file))
        except DataError:
            paths.append(_download(file, folder(dataset)))
    return paths


@explained
def describe(path: Path, count: int, file: DataFile) -> Description:
    """Return name, SHA-256 and number of items of a file, and how it differs from the official one.

    Raises:
        DataError: the file cannot be read.
    """
    md5, sha256 = digests(path)
    if md5 == file.md5:
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


def _download(file: DataFile, where: Path) -> Path:
    import pooch
    from requests import RequestException

    reasons = []
    for url in file.urls:
        try:
            pooch.retrieve(url, known_hash=f"md5:{file.md5}", fname=file.name, path=where)
            return where / file.name
        except (RequestException, OSError, ValueError) as error:  # ValueError: the checksum differs
            reasons.append(f"{url}: {type(error).__name__}")
    raise DataError(
        f"{file.name} could not be downloaded ({'; '.join(reasons)}). Get it from one of these addresses "
        f"(MD5 {file.md5}) and put it in {where}."
    )
