"""N-MNIST: MNIST images recorded by an event camera that makes three small movements (saccades) of 105 ms.

    Train/0/00002.bin ... Train/9/60000.bin, Test/0 ... Test/9       34 x 34 cells, about 4,100 events, 0.3 s

Files may lie in `nmnist` or, for a subset, `nmnist_small`: extracted, in the official Train.zip and Test.zip, or in one
zip file. The number of a file is that of its image in MNIST, from 1; samples are in this order.
Source: Orchard, Jayawant, Cohen, Thakor, Converting static image datasets to spiking neuromorphic datasets using
saccades, Frontiers in Neuroscience 9:437, 2015. CC BY-SA 4.0, https://www.garrickorchard.com/datasets/n-mnist
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from ..arguments import explained
from ..errors import DataError
from . import events
from .events import Polarity, Saccade
from .fetch import About, DataFile, Description, folder
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
# URLs and checksums as in Tonic; the authors publish no machine-readable ones.
FILES = (
    DataFile(
        "Train.zip", "20959b8e626244a1b502305a9e6e2031",
        (f"{_MIRROR}/39c25547-014b-4137-a934-9d29fa53c7a0/file_downloaded",), 60_000, "training recordings",
        ("Train/0/*.bin", "*/Train/0/*.bin"),
    ),
    DataFile(
        "Test.zip", "69ca8762b2fe404d9b9bad1103e97832",
        (f"{_MIRROR}/05a4d654-7e03-4c15-bdfa-9bb2bcbea494/file_downloaded",), 10_000, "test recordings",
        ("Test/0/*.bin", "*/Test/0/*.bin"),
    ),
)  # fmt: skip
ABOUT = About(
    "MNIST before a moving event camera, 60,000 training and 10,000 test recordings", "CC BY-SA 4.0", URL,
    folders=FOLDERS,
)  # fmt: skip


@explained
@dataclass(frozen=True)
class NMNISTOptions:
    """Selection of events per sample. The defaults are those of Diehl-Cook networks: ON events of the first saccade.

    Raises:
        ConfigError: the polarity or the saccade is unknown, or the window is invalid.
    """

    polarity: Polarity = "on"
    """"both" has two units per cell, "merge" one."""
    saccade: Saccade = 1
    """1, 2, 3 or all."""
    stabilize: bool = False
    """Whether to compensate the camera motion."""
    t0: float = 0.0
    """Start of the sample [ms], relative to the saccade."""
    duration: float | None = None
    """Duration of the sample [ms]; by default to the end of the saccade, or of the third for "all"."""

    def __post_init__(self) -> None:
        events.check_choice("polarity", self.polarity, events.POLARITIES)
        events.check_choice("saccade", self.saccade, events.SACCADES)
        events.check_window(self.t0, self.length)

    @property
    def length(self) -> float:
        """Duration of every sample [ms]."""
        whole = (3 if self.saccade == "all" else 1) * events.SACCADE / 1000
        return whole - self.t0 if self.duration is None else self.duration

    @property
    def start(self) -> float:
        """Start of the sample [ms], relative to the recording."""
        return self.t0 + (0 if self.saccade == "all" else (self.saccade - 1) * events.SACCADE / 1000)

    def choose(self, recording: Array) -> Array:
        """Return the selected events, with times relative to the start of the sample."""
        kept = events.saccade(recording, self.saccade)
        if self.stabilize:
            kept = events.stabilize(kept, WIDTH, HEIGHT)
        return events.window(events.polarity(kept, self.polarity), self.start, self.length)


DEFAULT = NMNISTOptions()


@explained
def load(
    split: Split,
    options: NMNISTOptions = DEFAULT,
    tell: Callable[[str], None] | None = None,
    here: Path | str | None = None,
) -> SpikeTrains:
    """Load all samples of a split in the order of MNIST, cached on disk; `here` overrides the data folder.

    The cache key is a hash of all options, the recordings and the source code of the readers. On a miss, `tell` is
    called with a message first. It is also called with the number of samples without an event.

    Shapes: channels = 34 * 34 = 1156, unit = 34 y + x; twice as many if both polarities are kept.
    Units: times in ms.

    Raises:
        ConfigError: the split is unknown, or the options leave no event in any recording.
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
    """Describe the recordings of a split: source, hash, number, difference from the official split."""
    files = _files(split)
    count, official = len(files.sizes), OFFICIAL[split]
    note = f"{count:,} of the {official:,} official {split} recordings"
    return [Description(file=files.source.name, sha256=files.sha256(), count=count, official_count=official, note=note)]


def _files(split: str, here: Path | str | None = None) -> Members:
    events.check_split("N-MNIST", split)
    homes = [folder(name) for name in FOLDERS]
    home = Path(here) if here is not None else next((path for path in homes if path.is_dir()), homes[0])
    advice = (
        f"Get Train.zip and Test.zip from {URL} and put them into {homes[0]}; where they are missing, "
        "`spikeloom data fetch nmnist` does so."
    )
    prefix = split.capitalize()
    files = locate(home, re.compile(rf"(?:.*/)?{prefix}/[0-9]/[0-9]{{1,9}}\.bin"), f"{prefix}/7/00032.bin", advice)
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
