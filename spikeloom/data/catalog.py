"""Catalogue of the data sets: which there are, which are present, and whether their files are as published.

A data set is a module of this package with `FILES`, `ABOUT` and `describe(split)`, which reads the files of a split.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..arguments import explained
from ..errors import ConfigError, DataError
from .fetch import About, DataFile, Description, datasets, digests, folder, locate


class Finding(NamedTuple):
    """Result of the verification of one file, or of the recordings of one split."""

    split: str
    file: str
    text: str
    is_sound: bool
    is_complete: bool = True


@explained
def about(dataset: str) -> About:
    """Return the description of a data set.

    Raises:
        ConfigError: there is no such data set.

    >>> about("shd").licence
    'CC BY 4.0'
    """
    found: About = _module(dataset).ABOUT
    return found


@explained
def present(dataset: str) -> list[Path]:
    """Return the files of a data set in the first of its folders that has any; none if it is absent."""
    for name in about(dataset).folders or (dataset,):
        here = folder(name)
        if here.is_dir():
            files = [path for path in here.rglob("*") if path.is_file() and not path.name.startswith(".")]
            if files:
                return sorted(files)
    return []


@explained
def check(dataset: str) -> Iterator[Finding]:
    """Verify the files of a data set that is present: yield what was found, split by split.

    Archives are compared with the published checksums, samples are counted, and labels or times are read, as far as the
    reader of the data set describes them. A part of the data with sound files is no error.

    Raises:
        ConfigError: there is no such data set.
        DataError: it is absent.
    """
    known = about(dataset)
    if not present(dataset):
        raise DataError(f"{dataset} is absent: {_how_to_get(dataset)}")
    named = set[str]()
    for split in known.splits:
        try:
            described: list[Description] = _module(dataset).describe(split)
        except DataError as error:
            yield Finding(split, "", str(error), False)
            continue
        for one in described:
            named.add(one["file"])
            text = f"{one['note']}{_checksum(dataset, one)}"
            yield Finding(split, one["file"], text, True, one["count"] >= one["official_count"])
    for file in _module(dataset).FILES:  # archives of which the reader describes what is inside
        path = folder(dataset) / file.name
        if file.name not in named and path.is_file() and (file.md5 or file.sha256):
            yield Finding("archive", file.name, _compared(file, path), True)


def _how_to_get(dataset: str) -> str:
    by_hand = about(dataset).by_hand
    if by_hand:
        return f"{by_hand} Its folder is {folder(dataset)}."
    return f"run `spikeloom data fetch {dataset}`."


def _checksum(dataset: str, described: Description) -> str:
    """Return whether an archive has the published checksum, in words; nothing if the note says so, or none is known."""
    file: DataFile
    for file in _module(dataset).FILES:
        if file.name == described["file"] and (file.md5 or file.sha256) and " checksum" not in described["note"]:
            if described["note"].startswith("the official file"):
                return ""
            return f"; {_compared(file, locate(dataset, file))}"
    return ""


def _compared(file: DataFile, path: Path) -> str:
    return "the published checksum" if file.is_official(*digests(path)) else "not the published checksum"


def _module(dataset: str) -> Any:
    known = datasets()
    if dataset not in known:
        raise ConfigError(f"There is no data set {dataset!r}. Choose one of: {', '.join(sorted(known))}.")
    return importlib.import_module(f"{__package__}.{dataset}")
