"""MNIST, unsupervised: Poisson spikes of the pixels, spike-timing-dependent plasticity, competing neurons.

After training, each neuron is labelled with the digit for which it spikes most; the prediction is a vote of the
labelled neurons (`vote`).

Source: Diehl and Cook, Unsupervised learning of digit recognition using spike-timing-dependent plasticity, Frontiers in
Computational Neuroscience, 2015; they reach 82.9, 87.0, 91.9 and 95.0 % with 100, 400, 1,600 and 6,400 neurons.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...data import mnist
from ...train.parts import NonNegative
from ...train.run import Run
from . import readout, training
from .options import THESIS, STDPOptions
from .samples import Splits, from_images, hold_out

DIEHL_COOK = {100: 0.829, 400: 0.870, 1600: 0.919, 6400: 0.950}
_PAPER = "Diehl and Cook, 2015"


@dataclass(frozen=True)
class Config(STDPOptions):
    max_rate: NonNegative = 128.0
    """Firing rate of a white pixel [Hz]."""
    boost: NonNegative = 32.0
    """Increase of max_rate from one presentation of a sample to the next [Hz]."""


DATA = ("mnist",)
PRESETS = {
    "default": Config(homeostasis_step=0.02),
    "100": Config(n_neurons=100, homeostasis_step=0.01),
    "1600": Config(n_neurons=1600, homeostasis_step=0.2, epochs=2),
    "6400": Config(n_neurons=6400, homeostasis_step=0.8, epochs=3, checkpoint_every=2),
    "thesis": Config(**THESIS, boost=0.0),
    "smoke": Config(
        n_neurons=9, n_train=24, n_test=10, pattern_time=60.0, intervals=4, figures=1, live=2,
    ),
}  # fmt: skip
PUBLISHED: Mapping[str, Any] = {
    "accuracy": {
        "value": "0.829, 0.870, 0.919, 0.950",
        "source": _PAPER,
        "note": "100, 400, 1,600, 6,400 neurons, all activity, all 10,000 test images",
    }
}


def train(config: Config, run: Run) -> None:
    """Train on the training images."""
    training.train(config, run, splits(config))


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Return the test accuracy, with labels assigned by training images."""
    return readout.evaluate(config, run, splits(config))


def plot(config: Config, run: Run) -> None:
    """Plot receptive fields, labels, accuracy, spikes, test images in detail, confusion matrices."""
    from . import figures  # matplotlib is slow to load

    known = DIEHL_COOK.get(config.n_neurons)
    published = {} if known is None else {f"{_PAPER}, {config.n_neurons:,} neurons": known}
    figures.draw(config, run, splits(config), published)


def splits(config: Config) -> Splits:
    """Return the training and test images as Poisson processes."""
    sources = [from_images(*mnist.load(split), config.max_rate, config.boost, config) for split in ("train", "test")]
    data = [*mnist.describe("train"), *mnist.describe("test")]
    return hold_out(config, Splits(sources[0], sources[1], (28, 28), tuple("0123456789"), data))
