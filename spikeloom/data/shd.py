"""Spiking Heidelberg Digits (SHD): spoken German and English digits as spikes of 700 cochlea channels, in HDF5 files.

    spikes/times    one list per sample, float16, seconds, sorted
    spikes/units    one list per sample, integers 0 to 699
    labels          0 to 19
    extra/speaker   one number per sample (optional)
    extra/keys      names of the classes (optional)

Files may be plain, gzip-compressed, or the official zip. Times are converted to ms, which is exact in float32.
There is no official validation split, and two of the twelve speakers occur only in the test set.
Source: Cramer, Stradmann, Schemmel, Zenke, The Heidelberg spiking data sets, IEEE TNNLS, 2020. CC BY 4.0.
"""

import gzip
import tempfile
import zlib
from pathlib import Path
from typing import IO, Literal

import h5py
import numpy as np

from .. import hdf5
from ..arguments import explained
from ..errors import ConfigError, DataError
from ..kept import regular
from .fetch import About, DataFile, Description, locate
from .fetch import describe as describe_file
from .members import opened_zip
from .spike_trains import Array, SpikeTrains, narrowed, unit_type

Split = Literal["train", "test"]

CLASSES, CHANNELS = 20, 700
MIRRORS = ("https://zenkelab.org/datasets/", "https://compneuro.net/datasets/")
LARGEST = 1 << 34
"""Maximum size of an uncompressed file in bytes, several times the largest; protects against forged archives."""
ADVICE = "Use a file of SHD or SSC, or download it again."
LISTS = (hdf5.DataSetRequest("spikes/times", "lists"), hdf5.DataSetRequest("spikes/units", "lists"))
LABELS, SPEAKERS = (
    hdf5.DataSetRequest("labels", "numbers"),
    hdf5.DataSetRequest("extra/speaker", "numbers", required=False),
)
KEYS = hdf5.DataSetRequest("extra/keys", "words", required=False)


@explained
def official(name: str, md5: str, count: int, what: str) -> DataFile:
    """Return an official file; also accepted plain or gzip-compressed."""
    urls = tuple(f"{mirror}{name}.zip" for mirror in MIRRORS)
    return DataFile(f"{name}.zip", md5, urls, count, what, forms=(name, f"{name}.gz"))


# The checksums of the zip files are those in SpikingJelly and Tonic, which agree; the authors' md5sums.txt was not
# available. No checksum of the .gz files could be confirmed, so those are only accepted when placed by hand.
FILES = (
    official("shd_train.h5", "f3252aeb598ac776c1b526422d90eecb", 8_156, "training samples"),
    official("shd_test.h5", "1503a5064faa34311c398fb0a1ed0a6f", 2_264, "test samples"),
)
ABOUT = About("spoken digits as spikes of 700 channels, 8,156 training and 2,264 test samples", "CC BY 4.0", MIRRORS[0])


@explained
def load(split: Split) -> SpikeTrains:
    """Load all samples of a split, in file order.

    Raises:
        ConfigError: the split is unknown.
        DataError: the file is missing or damaged.
    """
    return read(locate("shd", _file(split)))


@explained
def describe(split: Split) -> list[Description]:
    """Describe the file of a split: name, hash, number of samples, difference from the official one."""
    file = _file(split)
    path = locate("shd", file)
    return [describe_file(path, count(path), file)]


def _file(split: str) -> DataFile:
    if split not in ("train", "test"):
        raise ConfigError(
            f"SHD has the splits train and test, but got {split!r}. Hold out speakers of train to validate."
        )
    return FILES[split == "test"]


@explained
def count(path: Path) -> int:
    """Return the number of samples in a file.

    Raises:
        DataError: the file is damaged.
    """
    return len(_read(path, [LABELS]).numbers["labels"])


@explained
def read(path: Path | str, classes: int = CLASSES, channels: int = CHANNELS) -> SpikeTrains:
    """Read the spike trains of a file.

    Raises:
        DataError: the file cannot be read, is not HDF5, lacks a dataset, or has one of an absurd size or in another
            file; it has no samples; datasets do not match; a time is negative, not finite or out of order; a unit or
            label is out of range; a sample has no events.
    """
    path = Path(path)
    found = _read(path, [*LISTS, LABELS, SPEAKERS, KEYS])
    times, first = found.lists["spikes/times"]
    units, unit_first = found.lists["spikes/units"]
    labels = _integers(found.numbers["labels"], "labels", path)
    speakers = _integers(found.numbers.get("extra/speaker", np.full(len(labels), -1)), "extra/speaker", path)
    names = tuple(found.words.get("extra/keys", map(str, range(classes))))
    if not len(labels):
        raise DataError(f"{path} holds no samples, but at least one was expected. {ADVICE}")
    if len(names) != classes:
        raise DataError(
            f"{path} names {len(names)} classes, but {classes} were expected. Use the file of this data set."
        )
    for part, array, kind in (("times", times, "f"), ("units", units, "iu")):
        if array.dtype.kind not in kind:
            expected = "floating point" if kind == "f" else "whole"
            raise DataError(f"{path}: spikes/{part} are {array.dtype}, but {expected} numbers were expected. {ADVICE}")
    if len(first) != len(unit_first) or (first != unit_first).any():
        shorter = min(len(first), len(unit_first))
        different = first[:shorter] != unit_first[:shorter]
        number = int(np.argmax(different)) - 1 if different.any() else shorter - 1
        raise DataError(
            f"{path}: from sample {number} on, spikes/times and spikes/units differ in length "
            f"({len(first) - 1:,} and {len(unit_first) - 1:,} samples). {ADVICE}"
        )
    milliseconds: Array = np.multiply(times, 1000, dtype=np.float32 if times.dtype == np.float16 else np.float64)
    trains = SpikeTrains(
        milliseconds, narrowed(units, channels), first, labels, speakers, channels, names, source=str(path)
    )
    return trains.check(str(path))


@explained
def write(path: Path | str, trains: SpikeTrains) -> None:
    """Write spike trains in this format; float16 seconds round times below 2 s by up to 0.5 ms.

    Raises:
        DataError: the trains are invalid, or the file cannot be written.
    """
    trains.check(str(path))
    try:
        with h5py.File(regular(Path(path)), "w") as file:
            for name, values, dtype in (
                ("spikes/times", trains.times / 1000, np.float16),
                ("spikes/units", trains.units, unit_type(trains.channels)),
            ):
                lists = file.create_dataset(name, (len(trains),), h5py.vlen_dtype(np.dtype(dtype)))
                for number in range(len(trains)):
                    lists[number] = values[trains.first[number] : trains.first[number + 1]].astype(dtype)
            file["labels"] = trains.labels.astype(unit_type(len(trains.classes)))
            file["extra/keys"] = np.array([name.encode() for name in trains.classes])
            if (trains.speakers >= 0).all():
                file["extra/speaker"] = trains.speakers.astype(unit_type(int(trains.speakers.max(initial=0)) + 1))
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}. Choose a folder you can write to.") from error


def _read(path: Path, datasets: list[hdf5.DataSetRequest]) -> hdf5.Parts:
    """Read datasets of the HDF5 file, decompressed if necessary; all errors become a DataError."""
    try:
        with tempfile.TemporaryFile() as unpacked, regular(path).open("rb") as raw:
            return hdf5.read(_unpack(path, raw, unpacked), datasets, str(path), ADVICE)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"{path} cannot be read as an HDF5 file ({error}). {ADVICE}") from error


def _unpack(path: Path, raw: IO[bytes], unpacked: IO[bytes]) -> IO[bytes]:
    start = raw.read(2)
    raw.seek(0)
    if start == b"\x1f\x8b":
        _copy(path, gzip.GzipFile(fileobj=raw), unpacked)
    elif start == b"PK":
        with opened_zip(path, ADVICE) as archive:
            names = [name for name in archive.namelist() if name.endswith(".h5")]
            if len(names) != 1:
                raise DataError(f"{path} holds {len(names)} .h5 files where one was expected. {ADVICE}")
            with archive.open(names[0]) as member:
                _copy(path, member, unpacked)
    else:
        return raw
    return unpacked


def _copy(path: Path, source: IO[bytes] | gzip.GzipFile, target: IO[bytes]) -> None:
    most = min(LARGEST, 100 * path.stat().st_size + (1 << 20))  # a real file shrinks to a third
    while piece := source.read(1 << 20):
        target.write(piece)
        if target.tell() > most:
            raise DataError(f"{path} unpacks to more than {most:,} bytes, which is absurd. {ADVICE}")
    target.flush()
    target.seek(0)


def _integers(numbers: Array, name: str, path: Path) -> Array:
    if numbers.dtype.kind == "f":
        raise DataError(
            f"{path}: {name} is {numbers.dtype} {list(numbers.shape)}, but one integer per sample was expected. "
            f"{ADVICE}"
        )
    return numbers.astype(np.int64)
