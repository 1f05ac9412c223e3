"""Digits written on a tactile sensor of 10 x 10 taxels (ST-MNIST), learnt without a teacher.

Recordings go into a network of Diehl & Cook. The set has no official split: a share of each digit (`--test-share`),
drawn with a fixed seed (`--split-seed`), is the test set. It cannot be fetched by a command: put its files where
`spikeloom data` says.

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
from .options import THESIS, Options, Splits, from_trains, hold_out, tell


@dataclass(frozen=True)
class Config(Options):
    made_up: bool = False
    """Read a few made-up recordings in the format of the data set instead."""
    polarity: Literal["on", "off", "both", "merge"] = "on"
    """Events that count: pressure that grows, falls, both as inputs of their own, or both alike."""
    order: Literal["rows", "columns"] = "rows"
    """columns: x and y of a taxel change places, as in the network for N-MNIST."""
    test_share: float = 0.2
    """Share of the recordings of every digit that is the test set."""
    split_seed: int = 0
    """Draws the test set; --seed does not."""
    most_on: int = 0
    """Leave taxels out that have more ON events, as the network for N-MNIST did with 40; 0: none."""
    counts: bool = False
    """Several events of a taxel in a step count as several."""
    n_neurons: int = 100
    """Excitatory neurons."""
    t0: float = 0.0
    """Start of a presentation in the recording [ms]; earlier events are left out."""
    pattern_time: float = 2000.0
    """Length of a presentation [ms]; later events are left out."""


START = Config(total=0.3, gain=4.0, growth=1.3, epochs=5)
PRESETS = {
    "default": START,
    "thesis": Config(**THESIS, most_on=40),
    "smoke": replace(START, made_up=True, n_neurons=9, epochs=1, intervals=3, figures=1),
}
PUBLISHED: Mapping[str, Any] = {}


def train(config: Config, run: Run) -> None:
    """Show the training recordings."""
    training.train(config, run, splits(config))


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Accuracy on test recordings, neurons named by training recordings."""
    return readout.evaluate(config, run, splits(config))


def plot(config: Config, run: Run) -> None:
    """Receptive fields, names, accuracy, spikes, test recordings in detail, confusions."""
    from . import figures  # matplotlib is slow to load

    figures.draw(config, run, splits(config), {})


def splits(config: Config) -> Splits:
    """Training and test recordings."""
    chosen = stmnist.Options(
        config.polarity, config.order, config.most_on or None, config.t0, config.pattern_time, config.test_share,
        config.split_seed,
    )  # fmt: skip
    data = list[Any]()
    if config.made_up:
        with tempfile.TemporaryDirectory() as place:
            stmnist.write_example(Path(place))
            trains = [stmnist.load(split, chosen, here=Path(place)) for split in ("train", "test")]
    else:
        trains = [stmnist.load(split, chosen, tell) for split in ("train", "test")]
        data = [*stmnist.describe("train", chosen), *stmnist.describe("test", chosen)]
    sources = [from_trains(one, config.counts, config) for one in trains]
    shape = (2, 10, 10) if config.polarity == "both" else (10, 10)
    return hold_out(config, Splits(sources[0], sources[1], shape, trains[0].classes, data))
