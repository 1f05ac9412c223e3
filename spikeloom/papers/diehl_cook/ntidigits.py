"""N-TIDIGITS18: unsupervised learning of spoken digits, recorded with a silicon cochlea of 64 channels.

Recordings of single digits are the input of a Diehl & Cook network. `spikeloom data fetch ntidigits` downloads the data
set.

Source: Anumula, Neil, Delbruck, Liu, Feature representations for neuromorphic audio spike streams, Frontiers in
Neuroscience, 2018 (the recordings; a supervised recurrent network reaches more than 91 %).
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ...data import ntidigits
from ...train.run import Run
from . import readout, training
from .options import THESIS, Splits, STDPOptions, from_trains, hold_out, tell


@dataclass(frozen=True)
class Config(STDPOptions):
    made_up: bool = False
    """Use a few made-up recordings in the format of the data set instead, to try the task without a download."""
    oh: Literal["exclude", "class", "zero"] = "exclude"
    """The word “oh”: exclude it, make it a class of its own, or count it as a zero."""
    counts: bool = False
    """Count every event of a channel within a step; otherwise several count as one."""
    n_neurons: int = 100
    """Number of excitatory neurons."""
    t0: float = 0.0
    """Start of the presentation within the recording [ms]; earlier events are left out."""
    pattern_time: float = 1000.0
    """Duration of a presentation [ms]; later events are left out."""


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
    options, data = ntidigits.NTIDIGITSOptions(config.oh, config.t0, config.pattern_time), list[Any]()
    if config.made_up:
        with tempfile.TemporaryDirectory() as folder:
            ntidigits.write_example(Path(folder))
            path = Path(folder) / ntidigits.FILE
            trains = [ntidigits.read(path, "train", options), ntidigits.read(path, "test", options)]
    else:
        trains = [ntidigits.load("train", options, tell), ntidigits.load("test", options, tell)]
        data = [*ntidigits.describe("train", options), *ntidigits.describe("test", options)]
    sources = [from_trains(one, config.counts, config) for one in trains]
    return hold_out(config, Splits(sources[0], sources[1], (8, 8), trains[0].classes, data))
