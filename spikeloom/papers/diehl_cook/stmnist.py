"""ST-MNIST: unsupervised learning of digits written on a tactile sensor of 10 x 10 taxels.

Recordings are the input of a Diehl & Cook network. The data set has no official split: a fraction of the recordings of
each digit (`--test-share`), drawn with a fixed seed (`--split-seed`), is the test set. It cannot be downloaded by a
command: put its files where `spikeloom data` says.

Source: See et al., ST-MNIST - the spiking tactile MNIST neuromorphic dataset, arXiv:2005.04319, 2020.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ...data import stmnist
from ...train.run import Run
from . import readout, training
from .options import THESIS, Splits, STDPOptions, from_trains, hold_out, tell


@dataclass(frozen=True)
class Config(STDPOptions):
    made_up: bool = False
    """Use a few made-up recordings in the format of the data set instead, to try the task without a download."""
    polarity: Literal["on", "off", "both", "merge"] = "on"
    """Events to use: on, rising pressure; off, falling pressure; both, one input per taxel and polarity; merge, both
    polarities in one input."""
    order: Literal["rows", "columns"] = "rows"
    """Order of the taxels; columns: x and y are exchanged, as in Lopez Gordillo's network."""
    test_share: float = 0.2
    """Fraction of the recordings of every digit in the test set."""
    split_seed: int = 0
    """Seed of the test split; independent of --seed."""
    most_on: int = 0
    """Leave out taxels with more ON events than this, as Lopez Gordillo did with 40; 0: no limit."""
    counts: bool = False
    """Count every event of a taxel within a step; otherwise several count as one."""
    n_neurons: int = 100
    """Number of excitatory neurons."""
    t0: float = 0.0
    """Start of the presentation within the recording [ms]; earlier events are left out."""
    pattern_time: float = 2000.0
    """Duration of a presentation [ms]; later events are left out."""


START = Config(total=0.3, gain=4.0, growth=1.3, epochs=5)
PRESETS = {
    "default": START,
    "thesis": Config(**THESIS, most_on=40),
    "smoke": replace(START, made_up=True, n_neurons=9, epochs=1, intervals=3, figures=1),
}
PUBLISHED: Mapping[str, Any] = {}


def train(config: Config, run: Run) -> None:
    """Train on the training recordings."""
    training.train(config, run, splits(config))


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Return the test accuracy, with labels assigned by training recordings."""
    return readout.evaluate(config, run, splits(config))


def plot(config: Config, run: Run) -> None:
    """Plot receptive fields, labels, accuracy, spikes, test recordings in detail, confusion matrices."""
    from . import figures  # matplotlib is slow to load

    figures.draw(config, run, splits(config), {})


def splits(config: Config) -> Splits:
    """Load the training and test recordings."""
    options = stmnist.STMNISTOptions(
        config.polarity, config.order, config.most_on or None, config.t0, config.pattern_time, config.test_share,
        config.split_seed,
    )  # fmt: skip
    data = list[Any]()
    if config.made_up:
        with tempfile.TemporaryDirectory() as folder:
            stmnist.write_example(Path(folder))
            trains = [stmnist.load(split, options, here=Path(folder)) for split in ("train", "test")]
    else:
        trains = [stmnist.load(split, options, tell) for split in ("train", "test")]
        data = [*stmnist.describe("train", options), *stmnist.describe("test", options)]
    sources = [from_trains(one, config.counts, config) for one in trains]
    shape = (2, 10, 10) if config.polarity == "both" else (10, 10)
    return hold_out(config, Splits(sources[0], sources[1], shape, trains[0].classes, data))
