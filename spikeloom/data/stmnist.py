"""ST-MNIST: digits written on a tactile sensor of 10 x 10 taxels, in MATLAB files.

    data_submission/7/NAME.mat      variable `spiketrain`, [101, E]: one row of -1, 0, 1 per taxel, then time [s]

Files may be extracted or in the official zip file, in the folder `stmnist`. The data set has no official split: `load`
draws one, stratified by digit.
Source: See et al., ST-MNIST - the spiking tactile MNIST neuromorphic dataset, arXiv:2005.04319, 2020.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import torch

from ..arguments import explained
from ..errors import ConfigError, DataError
from . import events
from .events import Polarity
from .fetch import About, DataFile, Description, folder
from .fsdd import split_mixed
from .matlab import read_matrix
from .members import Members, locate
from .spike_trains import LONGEST, Array, SpikeTrains
from .stored import folder as folder_of_spikes
from .stored import stored

Split = Literal["train", "test"]
Order = Literal["rows", "columns"]

URL = "https://www.benjamintee.com/tactile_spiking_dataset"
SIDE = 10
TAXELS = SIDE * SIDE
FILES: tuple[DataFile, ...] = ()
ABOUT = About(
    "digits written on a tactile sensor of 10 x 10 taxels, 6,953 recordings",
    "see its page",
    URL,
    by_hand=f"its authors give it out through a form. Fill it in at {URL} and put the zip file into its folder.",
)
CLASSES = tuple(str(digit) for digit in range(10))
OFFICIAL = 6_953
NAME = re.compile(r"(?:.*/)?[0-9]/[^./][^/]*\.mat")
ADVICE = f"Get the data set from {URL}."
MOST = 200_000
"""Maximum number of columns of a recording, a hundred times the usual; protects against forged sizes."""


@explained
@dataclass(frozen=True)
class STMNISTOptions:
    """Selection of events per sample and of the test set.

    Raises:
        ConfigError: an option is unknown or out of range, or the window is invalid.
    """

    polarity: Polarity = "on"
    """"both" has two units per taxel, "merge" one."""
    order: Order = "rows"
    """Order of taxels: taxel a is at x = a mod 10, y = a div 10 (rows) or transposed as in the original (columns)."""
    most_on: int | None = None
    """Taxels with more ON events than this in the whole recording are silenced, 40 in the original; by default none."""
    t0: float = 0.0
    """Start of the sample [ms]."""
    duration: float = 2000.0
    """Duration of the sample [ms]; later events are dropped."""
    test_share: float = 0.2
    """Fraction of the recordings of every digit in the test set."""
    seed: int = 0
    """Seed of the split."""

    def __post_init__(self) -> None:
        events.check_choice("polarity", self.polarity, events.POLARITIES)
        events.check_choice("order", self.order, ("rows", "columns"))
        events.check_window(self.t0, self.duration)
        if self.most_on is not None and self.most_on < 1:
            raise ConfigError(f"most_on must be at least 1, but got {self.most_on}. Pass None to keep all taxels.")
        if not 0.0 < self.test_share < 1.0:
            raise ConfigError(f"test_share must be between 0 and 1, but got {self.test_share}. Pass 0.2 for a fifth.")

    def choose(self, recording: Array) -> Array:
        """Return the selected events, with times relative to the start of the sample."""
        kept = recording
        if self.most_on is not None:
            taxels = SIDE * kept["y"] + kept["x"]
            counts = np.bincount(taxels[kept["p"]], minlength=TAXELS)
            kept = kept[counts[taxels] <= self.most_on]
        if self.order == "columns":
            kept = events.make(kept["y"], kept["x"], kept["t"], kept["p"])
        return events.window(events.polarity(kept, self.polarity), self.t0, self.duration)


DEFAULT = STMNISTOptions()


@explained
def load(
    split: Split,
    options: STMNISTOptions = DEFAULT,
    tell: Callable[[str], None] | None = None,
    here: Path | str | None = None,
) -> SpikeTrains:
    """Load the samples of a split, sorted by digit and name, cached on disk; `here` overrides the data folder.

    `tell` is called with a message when recordings are read, and with the number of samples without an event.

    Shapes: channels = 10 * 10 = 100, unit = 10 y + x; twice as many if both polarities are kept.
    Units: times in ms.

    Raises:
        ConfigError: the split is unknown, or the options leave no event in any recording.
        DataError: the recordings are missing, or one is damaged.
    """
    events.check_split("ST-MNIST", split)
    files = _files(here)
    names = sorted(files.sizes, key=_key)
    labels = [_label(name) for name in names]

    def recordings() -> Iterator[tuple[str, Array]]:
        for name, content in zip(names, files.read(names), strict=True):
            where = files.named(name)
            yield where, options.choose(read_mat(content, where))

    def make() -> SpikeTrains:
        if tell is not None:
            tell(f"Reading {len(names):,} recordings, once. The spikes are kept in {folder_of_spikes()}.")
        kept = list(recordings())
        return events.convert(
            kept,
            labels,
            at_most=sum(len(recording) for _, recording in kept),
            width=SIDE,
            height=SIDE,
            keep=options.polarity,
            classes=CLASSES,
        )

    of_events = replace(options, test_share=DEFAULT.test_share, seed=DEFAULT.seed)
    source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    key = repr((of_events, files.sha256(), source, events.version()))
    chosen = stored("stmnist", key, make, empty=True).select(_indices(labels, split, options))
    return events.say_empty(chosen, f"{split} recordings", tell)


@explained
def describe(split: Split, options: STMNISTOptions = DEFAULT) -> list[Description]:
    """Describe the recordings: source, hash, total number, difference from the official ones, and the split."""
    events.check_split("ST-MNIST", split)
    files = _files()
    labels = [_label(name) for name in sorted(files.sizes, key=_key)]
    count, of_split = len(labels), len(_indices(labels, split, options))
    note = (
        f"{count:,} of the {OFFICIAL:,} official recordings; {of_split:,} of them are our {split} split (a share of "
        f"{options.test_share} of every digit is the test set, seed {options.seed}; there is no official split)"
    )
    return [Description(file=files.source.name, sha256=files.sha256(), count=count, official_count=OFFICIAL, note=note)]


@explained
def read_mat(data: bytes, name: str) -> Array:
    """Read the events of a MATLAB file, ordered by time, then taxel: taxel a is at x = a mod 10, y = a div 10.

    Raises:
        DataError: the file is damaged or lacks `spiketrain`; this is not [101, E], has values other than -1, 0 and 1 or
            no events; a time is negative, not finite or out of order.
    """
    table = read_matrix(data, "spiketrain", name, ADVICE, 8 * (TAXELS + 1) * MOST)
    if table.ndim != 2 or table.shape[0] != TAXELS + 1 or table.shape[1] > MOST:
        raise DataError(
            f"{name}: spiketrain has the shape {list(table.shape)}, but [{TAXELS + 1}, events] was expected. {ADVICE}"
        )
    spikes, times = table[:-1], table[-1].astype(np.float64)
    wrong = (spikes != 0) & (np.abs(spikes) != 1)
    if wrong.any():
        taxel, column = np.argwhere(wrong)[0]
        raise DataError(
            f"{name}: taxel {taxel} of column {column} is {spikes[taxel, column]}, but -1, 0 or 1 was expected. "
            f"{ADVICE}"
        )
    wrong = ~((times >= 0) & (times <= LONGEST / 1000))
    if wrong.any():
        column = int(np.argmax(wrong))
        raise DataError(
            f"{name}: column {column} has the time {times[column]}, but 0 to {LONGEST / 1000:g} s was expected. "
            f"{ADVICE}"
        )
    column, taxel = np.nonzero(spikes.T)
    microseconds = np.rint(times * 1e6).astype(np.int64)[column]
    recording = events.make(taxel % SIDE, taxel // SIDE, microseconds, spikes[taxel, column] > 0)
    return events.check(recording, SIDE, SIDE, name)


def _files(here: Path | str | None = None) -> Members:
    here = folder("stmnist") if here is None else Path(here)
    return locate(here, NAME, "data_submission/7/NAME.mat", f"{ADVICE[:-1]} and put its zip file into {here}.")


def _label(name: str) -> int:
    return int(PurePosixPath(name).parent.name)


def _key(name: str) -> tuple[int, str]:
    return _label(name), name


def _indices(labels: list[int], split: str, options: STMNISTOptions) -> torch.Tensor:
    generator = torch.Generator().manual_seed(options.seed)
    return split_mixed(np.array(labels), np.zeros(len(labels)), options.test_share, generator)[split == "test"]
