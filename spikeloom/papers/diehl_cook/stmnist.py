"""ST-MNIST: unsupervised learning of digits written on a tactile sensor of 10 x 10 taxels.

Recordings are the input of a Diehl & Cook network. The data set has no official split: a fraction of the recordings of
each digit (`--test-share`), drawn with a fixed seed (`--split-seed`), is the test set. It cannot be downloaded by a
command: put its files where `spikeloom data` says.

Source: See et al., ST-MNIST - the spiking tactile MNIST neuromorphic dataset, arXiv:2005.04319, 2020.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from annotated_types import Interval

from ...data import stmnist
from ...train.parts import NonNegativeInt, Positive, PositiveInt
from ...train.run import Run
from . import readout, training
from .options import THESIS, RecordingOptions
from .samples import Splits, recorded, tell


@dataclass(frozen=True)
class Config(RecordingOptions):
    polarity: Literal["on", "off", "both", "merge"] = "on"
    """Events to use: on, rising pressure; off, falling pressure; both, one input per taxel and polarity; merge, both
    polarities in one input."""
    order: Literal["rows", "columns"] = "rows"
    """Order of the taxels; columns: x and y are exchanged, as in Lopez Gordillo's network."""
    test_share: Annotated[float, Interval(gt=0, lt=1)] = 0.2
    """Fraction of the recordings of every digit in the test set."""
    split_seed: int = 0
    """Seed of the test split; independent of --seed."""
    most_on: NonNegativeInt = 0
    """Leave out taxels with more ON events than this, as Lopez Gordillo did with 40; 0: no limit."""
    n_neurons: PositiveInt = 100
    pattern_time: Positive = 2000.0
    """Duration of a presentation [ms]; later events are left out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.reader()

    def reader(self) -> stmnist.STMNISTOptions:
        """Return the options of the reader of recordings."""
        return stmnist.STMNISTOptions(
            self.polarity, self.order, self.most_on or None, self.t0, self.pattern_time, self.test_share,
            self.split_seed,
        )  # fmt: skip


START = Config(total=0.3, gain=4.0, growth=1.3, epochs=5)
DATA = ("stmnist",)
PRESETS = {
    "default": START,
    "thesis": Config(**THESIS, most_on=40),
    "smoke": replace(START, n_neurons=9, epochs=1, intervals=3, figures=1),
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
    options = config.reader()
    return recorded(
        config,
        lambda split: stmnist.load(split, options, tell),
        lambda split: stmnist.describe(split, options),
        (2, 10, 10) if config.polarity == "both" else (10, 10),
    )
