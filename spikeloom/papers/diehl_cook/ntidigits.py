"""Spoken digits heard by a silicon cochlea of 64 channels (N-TIDIGITS18), learnt without a teacher.

Recordings of single digits go into a network of Diehl & Cook. `spikeloom data fetch ntidigits` gets the data set.

Source: Anumula, Neil, Delbruck, Liu, Feature representations for neuromorphic audio spike streams, Frontiers in
Neuroscience, 2018 (the recordings; a recurrent network with a teacher reads more than 91 %).
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ...data import ntidigits
from ...train.run import Run
from . import readout, training
from .options import THESIS, Options, Splits, from_trains, hold_out, tell


@dataclass(frozen=True)
class Config(Options):
    made_up: bool = False
    """Read a few made-up recordings in the format of the data set instead."""
    oh: Literal["exclude", "class", "zero"] = "exclude"
    """The word “oh”: left out, a class of its own, or a zero."""
    counts: bool = False
    """Several events of a channel in a step count as several."""
    n_neurons: int = 100
    """Excitatory neurons."""
    t0: float = 0.0
    """Start of a presentation in the recording [ms]; earlier events are left out."""
    pattern_time: float = 1000.0
    """Length of a presentation [ms]; later events are left out."""


START = Config(total=0.3, gain=2.0, growth=1.3, epochs=10)
PRESETS = {
    "default": START,
    "thesis": Config(**THESIS),
    "smoke": replace(START, made_up=True, n_neurons=9, epochs=1, intervals=3, figures=1),
}
PUBLISHED: Mapping[str, Any] = {
    "accuracy": {"value": ">0.91", "source": "Anumula et al., 2018", "note": "recurrent network, with a teacher"}
}


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
    chosen, data = ntidigits.Options(config.oh, config.t0, config.pattern_time), list[Any]()
    if config.made_up:
        with tempfile.TemporaryDirectory() as place:
            ntidigits.write_example(Path(place))
            path = Path(place) / ntidigits.FILE
            trains = [ntidigits.read(path, "train", chosen), ntidigits.read(path, "test", chosen)]
    else:
        trains = [ntidigits.load("train", chosen, tell), ntidigits.load("test", chosen, tell)]
        data = [*ntidigits.describe("train", chosen), *ntidigits.describe("test", chosen)]
    sources = [from_trains(one, config.counts, config) for one in trains]
    return hold_out(config, Splits(sources[0], sources[1], (8, 8), trains[0].classes, data))
