"""N-MNIST: the images of MNIST, shown to an event camera that makes three small movements (saccades) of 105 ms.

    Train/0/00002.bin ... Train/9/60000.bin, Test/0 ... Test/9       34 x 34 cells, about 4,100 events, 0.3 s

Files may lie in `nmnist` or, for a part of the data set, `nmnist_small`: unpacked, in the official Train.zip and
Test.zip, or in one zip file. The number of a file is that of its image in MNIST, from 1; samples come in this order.
Source: Orchard, Jayawant, Cohen, Thakor, Converting static image datasets to spiking neuromorphic datasets using
saccades, Frontiers in Neuroscience 9:437, 2015. CC BY-SA 4.0, https://www.garrickorchard.com/datasets/n-mnist
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import torch

from ..arguments import explained
from ..errors import ConfigError, DataError
from . import events
from .events import Polarity, Saccade
from .fetch import DataFile, Description, folder
from .members import Members, locate
from .spike_trains import Array, SpikeTrains
from .stored import folder as folder_of_spikes
from .stored import stored

Split = Literal["train", "test"]

URL = "https://www.garrickorchard.com/datasets/n-mnist"
WIDTH = HEIGHT = 34
CLASSES = tuple(str(digit) for digit in range(10))
OFFICIAL = {"train": 60_000, "test": 10_000}
FOLDERS = ("nmnist", "nmnist_small")
_MIRROR = "https://data.mendeley.com/public-files/datasets/468j46mzdv/files"
# Addresses and checksums are those that Tonic carries; the authors publish none that could be read.
FILES = (
    DataFile(
        "Train.zip", "20959b8e626244a1b502305a9e6e2031",
        (f"{_MIRROR}/39c25547-014b-4137-a934-9d29fa53c7a0/file_downloaded",), 60_000, "training recordings",
    ),
    DataFile(
        "Test.zip", "69ca8762b2fe404d9b9bad1103e97832",
        (f"{_MIRROR}/05a4d654-7e03-4c15-bdfa-9bb2bcbea494/file_downloaded",), 10_000, "test recordings",
    ),
)  # fmt: skip


@explained
@dataclass(frozen=True)
class Options:
    """Which events of a recording make a sample. By default those of Diehl-Cook networks: ON, of the first saccade.

    Raises:
        ConfigError: a polarity or a saccade is unknown, or no event can lie in the window.
    """

    polarity: Polarity = "on"
    """"both" has two units for every cell, "merge" one."""
    saccade: Saccade = 1
    """1, 2, 3 or all."""
    stabilize: bool = False
    """Whether the movement of the camera is taken out."""
    t0: float = 0.0
    """Start of the sample [ms], from the start of the saccade."""
    duration: float | None = None
    """Length of the sample [ms]; by default to the end of the saccade, or of the third one. Later events drop out."""

    def __post_init__(self) -> None:
        events.check_choice("polarity", self.polarity, events.POLARITIES)
        events.check_choice("saccade", self.saccade, events.SACCADES)
        events.check_window(self.t0, self.length)

    @property
    def length(self) -> float:
        """The length of every sample [ms]."""
        whole = (3 if self.saccade == "all" else 1) * events.SACCADE / 1000
        return whole - self.t0 if self.duration is None else self.duration

    @property
    def start(self) -> float:
        """The start of the sample [ms], from the start of the recording."""
        return self.t0 + (0 if self.saccade == "all" else (self.saccade - 1) * events.SACCADE / 1000)

    def choose(self, recording: Array) -> Array:
        """The events that these options keep, with times from the start of the sample."""
        kept = events.saccade(recording, self.saccade)
        if self.stabilize:
            kept = events.stabilize(kept, WIDTH, HEIGHT)
        return events.window(events.polarity(kept, self.polarity), self.start, self.length)


DEFAULT = Options()


@explained
def load(
    split: Split, options: Options = DEFAULT, tell: Callable[[str], None] | None = None, here: Path | str | None = None
) -> SpikeTrains:
    """All samples of a split, in the order of MNIST, kept on disk between calls; `here` is where they lie.

    What lies on disk is found by a hash of all options, the recordings and the source of the readers. Otherwise the
    recordings are read, and `tell` is told so first. It also hears how many samples are left without an event.

    Shapes: channels = 34 * 34 = 1156, unit = 34 y + x; twice as many if both polarities are kept.
    Units: times in ms.

    Raises:
        ConfigError: there is no such split, or the options leave nothing of all recordings.
        DataError: the recordings are missing, or one is damaged.
    """
    files = _files(split, here)
    names = sorted(files.sizes, key=_number)
    labels = [int(PurePosixPath(name).parent.name) for name in names]

    def recordings() -> Iterator[tuple[str, Array]]:
        for name, content in zip(names, files.read(names), strict=True):
            where = files.named(name)
            yield where, options.choose(events.check(events.read_bin(content, where), WIDTH, HEIGHT, where))

    def make() -> SpikeTrains:
        if tell is not None:
            tell(f"Reading {len(names):,} {split} recordings, once. The spikes are kept in {folder_of_spikes()}.")
        return events.convert(
            recordings(),
            labels,
            at_most=sum(files.sizes.values()) // 5,
            width=WIDTH,
            height=HEIGHT,
            keep=options.polarity,
            classes=CLASSES,
        )

    source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    key = repr((options, files.sha256(), source, events.version()))
    return events.say_empty(stored(f"nmnist-{split}", key, make, empty=True), f"{split} recordings", tell)


@explained
def describe(split: Split) -> list[Description]:
    """What the recordings of a split are: source, hash, number, difference from the official split."""
    files = _files(split)
    count, official = len(files.sizes), OFFICIAL[split]
    note = f"{count:,} of the {official:,} official {split} recordings"
    return [Description(file=files.source.name, sha256=files.sha256(), count=count, official_count=official, note=note)]


@explained
def write_example(here: Path | str, classes: int = 3, train: int = 6, test: int = 3, seed: int = 0) -> None:
    """Write a made-up data set of this layout into a folder: every class has rows of the camera of its own.

    Args:
        here: the folder that stands for `nmnist`; it is made.
        classes: 1 to 10.
        train, test: recordings of every class.
    """
    if not 1 <= classes <= 10:
        raise ConfigError(f"There are 1 to 10 digits, but got classes={classes}. Choose a number in between.")
    generator = torch.Generator().manual_seed(seed)
    for split, count in (("Train", train), ("Test", test)):
        for number in range(classes * count):
            label = number % classes
            recording = events.example(label, classes, WIDTH, HEIGHT, 315.0, 1200, generator)
            path = Path(here) / split / str(label) / f"{number + 1:05}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(events.write_bin(recording))


def _files(split: str, here: Path | str | None = None) -> Members:
    if split not in OFFICIAL:
        raise ConfigError(f"N-MNIST has the splits train and test, but got {split!r}. Hold out a part to validate.")
    homes = [folder(name) for name in FOLDERS]
    home = Path(here) if here is not None else next((path for path in homes if path.is_dir()), homes[0])
    advice = (
        f"Get Train.zip and Test.zip from {URL} and put them into {homes[0]}; where they are missing, "
        "`spikeloom data fetch nmnist` does so."
    )
    part = split.capitalize()
    files = locate(home, re.compile(rf"(?:.*/)?{part}/[0-9]/[0-9]{{1,9}}\.bin"), f"{part}/7/00032.bin", advice)
    seen: dict[int, str] = {}
    for name in files.sizes:
        other = seen.setdefault(_number(name), name)
        if other != name:
            raise DataError(
                f"{files.source} holds recording {_number(name)} twice: {other} and {name}. Remove one of them."
            )
    return files


def _number(name: str) -> int:
    return int(PurePosixPath(name).stem)
