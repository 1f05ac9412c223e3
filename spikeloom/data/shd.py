"""Spiking Heidelberg Digits: spoken digits in German and English as spikes of 700 cochlea channels, in HDF5 files.

    spikes/times    a list per sample, float16, seconds, sorted
    spikes/units    a list per sample, integers 0 to 699
    labels          0 to 19
    extra/speaker   a number per sample (may be absent)
    extra/keys      the names of the classes (may be absent)

Files may be plain, gzip-compressed, or the official zip. Times become ms; 1000 times a float16 is exact in float32.
There is no official validation split, and two of the twelve speakers occur only in the test set.
Source: Cramer, Stradmann, Schemmel, Zenke, The Heidelberg spiking data sets, IEEE TNNLS, 2020. CC BY 4.0.
"""

import gzip
import math
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Literal

import h5py
import numpy as np

from ..errors import ConfigError, DataError
from .fetch import DataFile, Description, locate
from .fetch import describe as describe_file
from .spike_trains import Array, SpikeTrains

Split = Literal["train", "test"]

CLASSES, CHANNELS = 20, 700
MIRRORS = ("https://zenkelab.org/datasets/", "https://compneuro.net/datasets/")
LARGEST = 1 << 34
"""Bytes of an unpacked file, several times those of the largest one; keeps a forged archive from filling the disk."""
PART = 1 << 26
"""Bytes of labels, names or references to lists, or of a chunk of them: a hundred times those of the largest file.
Keeps a forged shape from filling the memory."""
BLOCK = 256
"""Lists that are read at once."""


def official(name: str, md5: str, count: int, what: str) -> DataFile:
    """A file as the authors publish it; also accepted plain or gzip-compressed."""
    urls = tuple(f"{mirror}{name}.zip" for mirror in MIRRORS)
    return DataFile(f"{name}.zip", md5, urls, count, what, forms=(name, f"{name}.gz"))


# The checksums of the zip files are those that SpikingJelly and Tonic carry, which agree; the authors' md5sums.txt has
# not been read. For the .gz files no checksum could be confirmed, so those are only accepted when placed by hand.
FILES = (
    official("shd_train.h5", "f3252aeb598ac776c1b526422d90eecb", 8_156, "training samples"),
    official("shd_test.h5", "1503a5064faa34311c398fb0a1ed0a6f", 2_264, "test samples"),
)


def load(split: Split) -> SpikeTrains:
    """All samples of a split, in the order of the file.

    Raises:
        ConfigError: there is no such split.
        DataError: the file is missing or damaged.
    """
    return read(locate("shd", _file(split)))


def describe(split: Split) -> list[Description]:
    """What the file of a split is: name, hash, samples, difference from the official one."""
    file = _file(split)
    path = locate("shd", file)
    return [describe_file(path, count(path), file)]


def _file(split: str) -> DataFile:
    if split not in ("train", "test"):
        raise ConfigError(
            f"SHD has the splits train and test, but got {split!r}. Hold out speakers of train to validate."
        )
    return FILES[split == "test"]


def count(path: Path) -> int:
    """The number of samples in a file.

    Raises:
        DataError: the file is damaged.
    """
    with _opened(path) as file:
        return len(_numbers(file, "labels", path))


def read(path: Path, classes: int = CLASSES, channels: int = CHANNELS) -> SpikeTrains:
    """The spike trains of a file.

    Raises:
        DataError: the file cannot be read, is no HDF5 file, lacks a part or has one of an absurd size; it has no
            samples; parts do not belong together; a time is negative, not finite or out of order; a unit or label is
            out of range; a sample has no events.
    """
    with _opened(path) as file:
        times, first = _lists(file, "spikes/times", np.floating, path)
        units, unit_first = _lists(file, "spikes/units", np.integer, path)
        labels = _numbers(file, "labels", path)
        speakers = _numbers(file, "extra/speaker", path) if "extra/speaker" in file else np.full(len(labels), -1)
        names = _names(file, classes, path)
    if not len(labels):
        raise DataError(f"{path} holds no samples, but at least one was expected. Download the file again.")
    if len(first) != len(unit_first) or (first != unit_first).any():
        shorter = min(len(first), len(unit_first))
        different = first[:shorter] != unit_first[:shorter]
        number = int(np.argmax(different)) - 1 if different.any() else shorter - 1
        raise DataError(
            f"{path}: from sample {number} on, spikes/times and spikes/units differ in length "
            f"({len(first) - 1:,} and {len(unit_first) - 1:,} samples). Download the file again."
        )
    milliseconds: Array = np.multiply(times, 1000, dtype=np.float32 if times.dtype == np.float16 else np.float64)
    trains = SpikeTrains(milliseconds, units, first, labels, speakers.astype(np.int64), channels, names)
    return replace(trains.check(str(path)), units=units.astype(np.uint16))


def write(path: Path, trains: SpikeTrains) -> None:
    """Write spike trains as such a file; float16 seconds round times below 2 s by up to 0.5 ms.

    Raises:
        DataError: the trains are not well formed, or the file cannot be written.
    """
    trains.check(str(path))
    try:
        with h5py.File(path, "w") as file:
            for name, values, dtype in (
                ("spikes/times", trains.times / 1000, np.float16),
                ("spikes/units", trains.units, np.uint16),
            ):
                lists = file.create_dataset(name, (len(trains),), h5py.vlen_dtype(np.dtype(dtype)))
                for number in range(len(trains)):
                    lists[number] = values[trains.first[number] : trains.first[number + 1]].astype(dtype)
            file["labels"] = trains.labels.astype(np.uint16)
            file["extra/keys"] = np.array([name.encode() for name in trains.classes])
            if (trains.speakers >= 0).all():
                file["extra/speaker"] = trains.speakers.astype(np.uint16)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}. Choose a folder you can write to.") from error


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """The HDF5 file, unpacked if need be; whatever goes wrong inside becomes a DataError."""
    try:
        with tempfile.TemporaryFile() as unpacked, path.open("rb") as raw:
            source = _unpack(path, raw, unpacked)
            with h5py.File(source, "r") as file:
                yield file
    except zipfile.BadZipFile as error:
        raise DataError(f"{path} is a damaged zip file ({error}). Download the file again.") from error
    except (OSError, EOFError, zlib.error, RuntimeError, KeyError, TypeError, ValueError, MemoryError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read as an HDF5 file ({error}). Download the file again.") from error


def _unpack(path: Path, raw: IO[bytes], unpacked: IO[bytes]) -> IO[bytes]:
    start = raw.read(2)
    raw.seek(0)
    if start == b"\x1f\x8b":
        _copy(path, gzip.GzipFile(fileobj=raw), unpacked)
    elif start == b"PK":
        with zipfile.ZipFile(raw) as archive:
            names = [name for name in archive.namelist() if name.endswith(".h5")]
            if len(names) != 1:
                raise DataError(f"{path} holds {len(names)} .h5 files where one was expected. Download the file again.")
            with archive.open(names[0]) as member:
                _copy(path, member, unpacked)
    else:
        return raw
    return unpacked


def _copy(path: Path, source: IO[bytes] | gzip.GzipFile, target: IO[bytes]) -> None:
    while piece := source.read(1 << 20):
        target.write(piece)
        if target.tell() > LARGEST:
            raise DataError(f"{path} unpacks to more than {LARGEST:,} bytes, which is absurd. Download the file again.")
    target.seek(0)


def _part(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    part = file.get(name)
    if not isinstance(part, h5py.Dataset):
        raise DataError(
            f"{path} has no {name}, but found {sorted(file)}. Use a file of SHD or SSC, or download it again."
        )
    shapes = [part.shape or (), part.chunks or ()]  # a part without data has no shape
    if max(math.prod(shape) for shape in shapes) * part.dtype.itemsize > PART:
        raise DataError(
            f"{path}: {name} claims to be {part.dtype} {list(shapes[0])}, in chunks of {list(shapes[1])}, which is "
            f"more than {PART:,} bytes and absurd. Download the file again."
        )
    return part


def _lists(file: h5py.File, name: str, kind: type, path: Path) -> tuple[Array, Array]:
    """A list per sample as one array, and where each begins."""
    part = _part(file, name, path)
    base: Any = h5py.check_vlen_dtype(part.dtype)
    if base is None or not np.issubdtype(base, kind) or part.shape is None or part.ndim != 1:
        raise DataError(
            f"{path}: {name} is {part.dtype} {list(part.shape or ())}, but one list of {kind.__name__} numbers per "
            "sample was expected. Download the file again."
        )
    size, lengths, pieces = file.id.get_filesize(), [0], [np.zeros(0, base)]
    for start in range(0, len(part), BLOCK):
        lists = part[start : start + BLOCK]
        lengths += [len(entry) for entry in lists]
        pieces.append(np.concatenate(lists))
        if sum(piece.nbytes for piece in pieces) > size:  # every entry takes its bytes in the file, too
            raise DataError(
                f"{path}: the lists of {name} have more than {sum(lengths):,} entries, but the file only {size:,} "
                "bytes. Download the file again."
            )
    return np.concatenate(pieces).astype(base, copy=False), np.cumsum(lengths, dtype=np.int64)


def _numbers(file: h5py.File, name: str, path: Path) -> Array:
    part = _part(file, name, path)
    if part.shape is None or part.ndim != 1 or not np.issubdtype(part.dtype, np.integer):
        raise DataError(
            f"{path}: {name} is {part.dtype} {list(part.shape or ())}, but one integer per sample was expected. "
            "Download the file again."
        )
    return np.asarray(part[()]).astype(np.int64)


def _names(file: h5py.File, classes: int, path: Path) -> tuple[str, ...]:
    """The names of the classes; their numbers where the file has none."""
    if "extra/keys" not in file:
        return tuple(str(number) for number in range(classes))
    part = _part(file, "extra/keys", path)
    if part.shape != (classes,):
        raise DataError(
            f"{path} names {part.size or 0} classes, but {classes} were expected. Use the file of this data set."
        )
    return tuple(key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key) for key in part[()])
