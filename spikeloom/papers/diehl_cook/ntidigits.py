"""N-TIDIGITS18: unsupervised learning of spoken digits, recorded with a silicon cochlea of 64 channels.

Recordings of single digits are the input of a Diehl & Cook network. `spikeloom data fetch ntidigits` downloads the data
set.

Source: Anumula, Neil, Delbruck, Liu, Feature representations for neuromorphic audio spike streams, Frontiers in
Neuroscience, 2018 (the recordings; a supervised recurrent network reaches more than 91 %).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ...data import ntidigits
from ...train.parts import Positive, PositiveInt
from ...train.run import Run
from . import readout, training
from .options import THESIS, RecordingOptions
from .samples import Splits, recorded, tell


@dataclass(frozen=True)
class Config(RecordingOptions):
    oh: Literal["exclude", "class", "zero"] = "exclude"
    """The word “oh”: exclude it, make it a class of its own, or count it as a zero."""
    n_neurons: PositiveInt = 100
    pattern_time: Positive = 1000.0
    """Duration of a presentation [ms]; later events are left out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.reader()

    def reader(self) -> ntidigits.NTIDIGITSOptions:
        """Return the options of the reader of recordings."""
        return ntidigits.NTIDIGITSOptions(self.oh, self.t0, self.pattern_time)


START = Config(total=0.3, gain=2.0, growth=1.3, epochs=10)
DATA = ("ntidigits",)
PRESETS = {
    "default": START,
    "thesis": Config(**THESIS),
    "smoke": replace(START, n_neurons=9, epochs=1, intervals=3, figures=1),
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
    options = config.reader()
    return recorded(
        config,
        lambda split: ntidigits.load(split, options, tell),
        lambda split: ntidigits.describe(split, options),
        (8, 8),
    )
