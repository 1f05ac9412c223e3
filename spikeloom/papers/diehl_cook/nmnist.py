"""N-MNIST: unsupervised learning of digits recorded with an event camera.

Events (`polarity`, `saccade`) are the input of a Diehl & Cook network. With recordings `camera`, it is trained on all
MNIST images as seen by a simulated saccading camera, which is not N-MNIST, and also tested on the real recordings of
N-MNIST that are available (`real_accuracy`); with `nmnist`, it is trained on the real recordings.

Sources: Orchard et al., Converting static image datasets to spiking neuromorphic datasets using saccades, 2015; Iyer
and Basu, Unsupervised learning of event-based image recordings using spike-timing-dependent plasticity, 2017.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ...data import mnist, nmnist
from ...data.fetch import folder
from ...data.spike_trains import SpikeTrains
from ...encoding import event_camera as camera
from ...errors import ConfigError
from ...train.parts import NonNegative
from ...train.run import Run
from . import readout, training
from .options import THESIS, RecordingOptions
from .samples import Split, Splits, from_trains, recorded, tell

SPLITS: tuple[Split, ...] = ("train", "test")


@dataclass(frozen=True)
class Config(RecordingOptions):
    recordings: Literal["camera", "nmnist"] = "camera"
    """Source of the recordings: camera, MNIST through a simulated event camera; nmnist, the real data set."""
    polarity: Literal["on", "off", "both", "merge"] = "on"
    """Polarity of the events to use; both: one input per pixel and polarity; merge: both polarities in one input."""
    saccade: Literal["1", "2", "3", "all"] = "1"
    """Saccade of the recording to use, or all three."""
    stabilize: bool = False
    """Compensate the camera movement; real recordings only."""
    t0: NonNegative = 0.0
    """Start of the presentation within the saccade [ms]; earlier events are left out; real recordings only."""
    pattern_time: NonNegative = 0.0
    """Duration of a presentation [ms]; later events are left out; 0: to the end of the saccade, which takes 105 ms."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.recordings == "camera" and self.stabilize:
            raise ConfigError("--stabilize compensates the movement of N-MNIST's camera, not of ours. Leave it out.")
        if self.recordings == "camera" and self.t0:
            raise ConfigError(f"Our camera records from the start of a saccade, not from {self.t0} ms on. Set --t0 0.")
        self.reader()

    def reader(self) -> nmnist.NMNISTOptions:
        """Return the options of the reader of recordings."""
        saccade: Any = self.saccade if self.saccade == "all" else int(self.saccade)
        return nmnist.NMNISTOptions(polarity=self.polarity, saccade=saccade, stabilize=self.stabilize, t0=self.t0)


START = Config(total=0.06, gain=3.0, growth=1.3, homeostasis_step=0.1, epochs=2)
DATA = ("mnist", "nmnist")
PRESETS = {
    "default": START,
    "real": replace(START, recordings="nmnist", epochs=10),
    "thesis": Config(**THESIS, recordings="nmnist"),
    "smoke": replace(START, recordings="nmnist", n_neurons=9, intervals=3, figures=1),
}
PUBLISHED: Mapping[str, Any] = {
    "accuracy": {
        "value": "0.8063", "source": "Iyer and Basu, 2017", "note": "N-MNIST, 800 neurons",
    },
    "accuracy_rate": {
        "value": "0.8389-0.8545", "of": "accuracy", "source": "Iyer et al., 2021",
        "note": "N-MNIST, three rules of STDP",
    },
}  # fmt: skip


def published(config: Config) -> Mapping[str, Any]:
    """Return the published numbers on N-MNIST if the network was trained on N-MNIST."""
    return PUBLISHED if config.recordings == "nmnist" else {}


def train(config: Config, run: Run) -> None:
    """Train on the training recordings."""
    config = whole(config)
    training.train(config, run, splits(config))


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Return the test accuracy; if trained on the simulated camera, also that on the real recordings."""
    config = whole(config)
    parts = splits(config)
    values = readout.evaluate(config, run, parts)
    if config.held_out:
        return values
    if config.recordings == "camera" and not any(folder(name).is_dir() for name in nmnist.FOLDERS):
        tell("There are no recordings of N-MNIST here, so the network is tested on those of our camera only.")
    elif config.recordings == "camera":
        for name, split in zip(("real_training_images", "real"), SPLITS, strict=True):
            trains = nmnist.load(split, config.reader(), tell)
            accuracy = readout.transfer(config, run, parts, from_trains(trains, config.counts, config))
            values |= {f"{name}_accuracy": accuracy, f"{name}_samples": float(len(trains))}
    return values


def plot(config: Config, run: Run) -> None:
    """Plot receptive fields, labels, accuracy, spikes, test recordings in detail, confusion matrices."""
    from . import figures  # matplotlib is slow to load

    config = whole(config)
    known = {"Iyer and Basu, 2017 (N-MNIST, 800 neurons)": 0.8063}
    figures.draw(config, run, splits(config), known if published(config) else {})


def whole(config: Config) -> Config:
    """Return the options with the default of pattern_time replaced by a duration."""
    length = 315.0 if config.saccade == "all" else 105.0
    return config if config.pattern_time else replace(config, pattern_time=length - config.t0)


def splits(config: Config) -> Splits:
    """Load the training and test recordings."""
    options = config.reader()

    def seen_by_camera(split: Split) -> SpikeTrains:
        images, seed = mnist.load(split), SPLITS.index(split)
        return camera.spikes(*images, seed=seed, polarity=config.polarity, saccade=options.saccade, tell=tell)

    shape = (2, 34, 34) if config.polarity == "both" else (34, 34)
    if config.recordings == "camera":
        return recorded(config, seen_by_camera, mnist.describe, shape)
    return recorded(config, lambda split: nmnist.load(split, options, tell), nmnist.describe, shape)
