"""N-TIDIGITS18: spoken digits recorded by a silicon cochlea with 64 channels, in one HDF5 file.

    train_labels               sample names, such as woman-ac-a-7: speaker, repetition, digits
    train_timestamps/NAME      spike times of a sample, seconds
    train_addresses/NAME       channels of a sample, 0 to 63
    test_...                   the same

The digits are one letter each, z and o for zero and oh; only single digits are read. The file is called
n-tidigits.hdf5. The speakers of the two splits differ.
Source: Anumula, Neil, Delbruck, Liu, Feature representations for neuromorphic audio spike streams, Frontiers in
Neuroscience 12:23, 2018.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from .. import hdf5
from ..arguments import explained
from ..errors import DataError
from ..kept import regular
from . import events
from .fetch import About, DataFile, Description, digests, folder
from .fetch import describe as describe_file
from .spike_trains import LONGEST, Array, SpikeTrains
from .stored import folder as folder_of_spikes
from .stored import stored

Split = Literal["train", "test"]
Oh = Literal["exclude", "class", "zero"]

CHANNELS = 64
FILE, MD5 = "n-tidigits.hdf5", "360a2d11e5429555c9197381cf6b58e0"
URL = "https://docs.google.com/document/d/1Uxe7GsKKXcy6SlDUX4hoJVAC0-UkH-8kr5UXp0Ndi1M"
OFFICIAL = {"train": 2_464, "test": 2_486}
"""Number of single digits (a tenth fewer without oh): 112 and 113 speakers said each of the 11 twice."""
DIGITS = "z123456789o"
MOST = 1 << 24
"""Maximum number of events per sample, and of samples per file; protects against forged sizes."""
# URL and checksum as in Tonic and its predecessor.
_MIRRORS = (
    "https://www.dropbox.com/scl/fi/1x4lxt9yyw25sc3tez8oi/n-tidigits.hdf5?rlkey=w8gi5udvib2zqzosusa5tr3wq&dl=1",
    "https://www.neuromorphic-vision.com/public/downloads/n-tidigits.hdf5",
)
FILES = (DataFile(FILE, MD5, _MIRRORS, sum(OFFICIAL.values()), "single digits"),)
ABOUT = About(
    "spoken digits of a silicon cochlea with 64 channels, 2,464 training and 2,486 test samples",
    "see its page",
    URL,
)
ADVICE = f"Get {FILE} from {URL}."


@explained
@dataclass(frozen=True)
class NTIDIGITSOptions:
    """Selection of samples and of their events.

    Raises:
        ConfigError: an option is unknown, or the window is invalid.
    """

    oh: Oh = "exclude"
    """Treatment of oh: excluded, its own class (10), or the same class as zero."""
    t0: float = 0.0
    """Start of the sample [ms]."""
    duration: float = 1000.0
    """Duration of the sample [ms]; later events are dropped."""

    def __post_init__(self) -> None:
        events.check_choice("treatment of oh", self.oh, ("exclude", "class", "zero"))
        events.check_window(self.t0, self.duration)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        digits = tuple(str(digit) for digit in range(10))
        return (*digits, "oh") if self.oh == "class" else digits

    def label(self, digit: str) -> int | None:
        """Return the class of one letter, or None if it is excluded.

        >>> options = NTIDIGITSOptions(oh="class")
        >>> [options.label(letter) for letter in "z19o"], NTIDIGITSOptions().label("o")
        ([0, 1, 9, 10], None)
        """
        if digit == "o":
            return {"exclude": None, "class": 10, "zero": 0}[self.oh]
        return DIGITS.index(digit)


DEFAULT = NTIDIGITSOptions()


@explained
def load(split: Split, options: NTIDIGITSOptions = DEFAULT, tell: Callable[[str], None] | None = None) -> SpikeTrains:
    """Load all single digits of a split, sorted by name, cached on disk.

    The cache key is a hash of all options, the file and the source code of the readers. On a miss, `tell` is called
    with a message first. It is also called with the number of samples without an event.

    Units: times in ms.

    Raises:
        ConfigError: the split is unknown, or the options leave no event in any sample.
        DataError: the file is missing or damaged.
    """
    path = _path(split)

    def make() -> SpikeTrains:
        if tell is not None:
            tell(f"Reading the {split} samples of {path}, once. The spikes are kept in {folder_of_spikes()}.")
        return read(path, split, options)

    source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    key = repr((options, digests(path)[1], source, events.version()))
    return events.say_empty(stored(f"ntidigits-{split}", key, make, empty=True), f"{split} samples", tell)


@explained
def describe(split: Split, options: NTIDIGITSOptions = DEFAULT) -> list[Description]:
    """Describe the file: name, hash, single digits of a split, difference from the official one."""
    path = _path(split)
    count = len(_samples(_labels(path, split), split, options, path))
    official = OFFICIAL[split] // 11 * (10 if options.oh == "exclude" else 11)
    file_of_split = DataFile(FILE, MD5, (URL,), official, f"single {split} digits")
    return [describe_file(path, count, file_of_split)]


@explained
def read(path: Path | str, split: Split, options: NTIDIGITSOptions = DEFAULT) -> SpikeTrains:
    """Read the single digits of one split from a file.

    Raises:
        ConfigError: the options leave no event in any sample.
        DataError: the file cannot be read or lacks a dataset; a time is negative, not finite or out of order; a channel
            is not 0 .. 63; a sample has no events, or its name has no digit.
    """
    path = Path(path)
    samples = _samples(_labels(path, split), split, options, path)
    names = [name for name, _ in samples]
    people = sorted({_speaker(name) for name in names})
    datasets = [f"{split}_{what}/{name}" for name in names for what in ("timestamps", "addresses")]
    arrays = _read(path, [hdf5.DataSetRequest(name, "numbers", most=8 * MOST) for name in datasets]).numbers
    recordings = [
        (
            f"{path}: {name}",
            _recording(arrays[f"{split}_timestamps/{name}"], arrays[f"{split}_addresses/{name}"], name, path, options),
        )
        for name in names
    ]
    return events.convert(
        recordings,
        [label for _, label in samples],
        at_most=sum(len(recording) for _, recording in recordings),
        width=CHANNELS,
        height=1,
        keep="merge",
        classes=options.classes,
        speakers=[people.index(_speaker(name)) for name in names],
    )


def _path(split: str) -> Path:
    events.check_split("N-TIDIGITS", split)
    path = folder("ntidigits") / FILE
    if not path.is_file():
        raise DataError(
            f"{FILE} is missing in {path.parent}. Run `spikeloom data fetch ntidigits`, or get it from "
            f"{URL} (MD5 {MD5}) and put it there."
        )
    return path


def _read(path: Path, datasets: list[hdf5.DataSetRequest]) -> hdf5.Parts:
    try:
        with regular(path).open("rb") as file:
            return hdf5.read(file, datasets, str(path), ADVICE)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. {ADVICE}") from error


def _labels(path: Path, split: str) -> list[str]:
    return _read(path, [hdf5.DataSetRequest(f"{split}_labels", "words")]).words[f"{split}_labels"]


def _samples(names: list[str], split: str, options: NTIDIGITSOptions, path: Path) -> list[tuple[str, int]]:
    """Return names and labels of the single digits."""
    if len(set(names)) < len(names):
        raise DataError(f"{path}: {split}_labels names a sample twice. {ADVICE}")
    samples = []
    for name in sorted(names):
        utterance = name.rpartition("-")[2]
        if not utterance or set(utterance) - set(DIGITS):
            raise DataError(
                f"{path}: {split}_labels holds the name {name!r}, but names end in letters of {DIGITS} after a dash, "
                f"such as woman-ac-a-7. {ADVICE}"
            )
        label = options.label(utterance) if len(utterance) == 1 else None
        if label is not None:
            samples.append((name, label))
    if not samples:
        raise DataError(f"{path}: {split}_labels names no single digit, such as woman-ac-a-7. {ADVICE}")
    return samples


def _speaker(name: str) -> str:
    return "-".join(name.split("-")[:2])


def _recording(times: Array, channels: Array, name: str, path: Path, options: NTIDIGITSOptions) -> Array:
    for what, values, last in (("times [s]", times, LONGEST / 1000), ("channels", channels, CHANNELS - 1)):
        wrong = ~((values >= 0) & (values <= last))
        if what == "channels":
            wrong |= values != np.floor(values)
        if wrong.any():
            raise DataError(
                f"{path}: event {np.argmax(wrong)} of {name} is {values[np.argmax(wrong)]}, but {what} are 0 to "
                f"{last:g}. {ADVICE}"
            )
    if len(times) != len(channels):
        raise DataError(
            f"{path}: {name} has {len(times):,} times but {len(channels):,} channels, and they belong together. "
            f"{ADVICE}"
        )
    microseconds = np.rint(times.astype(np.float64) * 1e6).astype(np.int64)
    heard = events.check(events.make(channels, 0, microseconds, True), CHANNELS, 1, f"{path}: {name}")
    return events.window(heard, options.t0, options.duration)
