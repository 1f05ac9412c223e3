"""Where data files live, how they get there, and what to say about the ones we found.

    $SPIKELOOM_DATA/mnist/train-images-idx3-ubyte.gz        (default: the user's cache folder)

A data set is a module of this package with a tuple `FILES` of `DataFile`; nothing else registers it. `fetch` downloads
what is missing and refuses bytes whose published checksum differs. A file that somebody put into the folder by hand
is used as it is: `describe` hashes it, and says how it differs from the official one.
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
    """A published file: its name, checksum, mirrors, and the number of items the official one holds."""

    name: str
    md5: str
    urls: tuple[str, ...]
    count: int
    what: str
    """What one item is, in the plural: "test images"."""
    forms: tuple[str, ...] = ()
    """Other names under which the reader accepts it; by default the name without .gz."""


class Description(TypedDict):
    """What a report says about a file that was read."""

    file: str
    sha256: str
    count: int
    official_count: int
    note: str


@explained
def folder(dataset: str) -> Path:
    """The folder of a data set: below $SPIKELOOM_DATA, else below the user's cache.

    >>> folder("mnist").name
    'mnist'
    """
    root = os.environ.get("SPIKELOOM_DATA")
    if root:
        return Path(root).expanduser() / dataset
    import pooch  # imported on use: it brings an HTTP client that reading files does not need

    return Path(pooch.os_cache("spikeloom")) / dataset


def datasets() -> dict[str, tuple[DataFile, ...]]:
    """Every data set that can be fetched, with its files.

    >>> sorted(datasets())
    ['mnist', 'nmnist', 'ntidigits', 'omniglot', 'shd', 'ssc']
    """
    package = importlib.import_module(__package__)
    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        files = vars(importlib.import_module(f"{__package__}.{module.name}")).get("FILES")
        if files is not None:
            found[module.name] = files
    return found


@explained
def locate(dataset: str, file: DataFile) -> Path:
    """The path of a file, under its name or one of its other forms.

    Raises:
        DataError: it is in no form in the folder of the data set.
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
    """Download the files of a data set that are not there yet and verify them; returns all paths.

    Files already in the folder are left alone, whatever their checksum: `describe` tells what they are.

    Raises:
        ConfigError: no data set has this name.
        DataError: no mirror gave a file with the published checksum, or the folder cannot be written.
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
    """What a file is: name, SHA-256, number of items, and how it differs from the official one.

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
    """The MD5 and the SHA-256 of a file, read in pieces; or a DataError."""
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
    """The content of a file, or a DataError."""
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
