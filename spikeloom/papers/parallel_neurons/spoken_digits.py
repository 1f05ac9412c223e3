"""Spoken digits: classify ten spoken digits from the spikes of an artificial cochlea.

The recordings of the Free Spoken Digit Dataset pass through `spikeloom.encoding.cochlea`; the networks are those of the
task `shd`. All speakers are in both the training and the test set, unless one is held out (`--test-speaker`).
`spikeloom table spoken_digits` compares four kinds of neurons; `spikeloom table spoken_digits speakers` holds out each
speaker in turn. These are not the Spiking Heidelberg Digits: there is no published number to compare with.

Data: Jackson et al., Free Spoken Digit Dataset. Method: Yarga and Wood, IJCNN 2023 and 2024; see `shd`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from ...data import fsdd
from ...data.spike_trains import SpikeTrains
from ...encoding.cochlea import Cochlea
from ...errors import ConfigError
from ...train.parts import NonNegativeInt
from ...train.run import Run
from ...train.table import Table
from . import spoken
from .options import SpokenOptions
from .spoken import COLUMNS, FOUR, SpokenSplits, rows

HEARING = {
    "reference": Cochlea(),
    "keen": Cochlea(
        middle_ear=2000.0, gain=4000.0, quality=12.0, base=8550.0, floor=185.0, waves=11.0, weight=0.132, tau_syn=0.49,
        tau_mem=0.9,
    ),
}  # fmt: skip
"""Cochlea presets. reference: fitted to the reference of the cochlea of SHD; keen: a high-sensitivity preset with more
gain, sharper filters and less sensitivity below 2 kHz."""
PEOPLE = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


@dataclass(frozen=True)
class Config(SpokenOptions):
    channels: Literal[70, 700] = 700
    """Channels of the artificial cochlea."""
    hearing: Literal["reference", "keen"] = "keen"
    """Cochlea preset: reference, fitted to the cochlea of SHD; keen, a high-sensitivity preset with more gain, sharper
    filters and less low-frequency sensitivity, whose spikes separate the digits far better."""
    test_speaker: str = ""
    """Train on all other speakers and test on this one; empty: test on the official test recordings."""
    samples: NonNegativeInt = 0
    """Approximate number of recordings to use from each split, evenly spaced; 0: all."""


START = Config(window=8.0, batch=32, epochs=20, lr=0.004, lr_decay=0.5, lr_decay_every=8, shift=0.04, scale=0.15)
DATA = ("fsdd",)
PRESETS = {
    "cpu": replace(
        START, neuron="SD", threshold=0.02, learn_threshold=True, learn_tau=True, hidden=256, augmentation="event",
        pool=8, epochs=130, lr=0.01, lr_decay=0.6, lr_decay_every=20, drop=0.4, smoothing=0.05, average=0.998,
    ),
    "sd": replace(
        START, neuron="SD", threshold=0.02, learn_threshold=True, learn_tau=True, augmentation="event", lr=0.01,
    ),
    **rows(START, "event"),
    "smoke": replace(
        START, channels=70, samples=120, hidden=8, layers=2, batch=20, epochs=2, validation="mixed", validate_every=1,
        checkpoint_every=1,
    ),
}  # fmt: skip

PUBLISHED: Mapping[str, Mapping[str, Any]] = {}
TABLES: Mapping[str, Table] = {
    "neurons": Table.of_presets("Accuracy on spoken digits, last epoch", FOUR, COLUMNS, published={}, source=""),
    "speakers": Table(
        "Accuracy on a speaker who was not in training, last epoch",
        {speaker: {"SD": ("sd", {"test_speaker": speaker})} for speaker in PEOPLE},
    ),
}


def train(config: Config, run: Run) -> None:
    """Train on the training recordings, without those held out for validation."""
    spoken.train(config, run, splits(config, run))


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Return the accuracy on all test recordings."""
    data = [*fsdd.describe("train"), *fsdd.describe("test")]
    return spoken.evaluate(config, run, splits(config, run), data)


def plot(config: Config, run: Run) -> None:
    """Plot a test recording through all layers, learning curves, firing rates, confusion matrix."""
    spoken.plot(config, run, splits(config, run), "Learning spoken digits")


def splits(config: Config, run: Run) -> SpokenSplits:
    """Load the recordings as spikes. With a test speaker, both official splits are pooled and divided by speaker."""
    options = replace(HEARING[config.hearing], channels=config.channels)
    training, test = (few(fsdd.spikes(split, options, tell=tell), config.samples) for split in ("train", "test"))
    if config.test_speaker:
        people = fsdd.load("train").people
        if config.test_speaker not in people:
            raise ConfigError(f"There is no speaker {config.test_speaker!r}. Choose one of {', '.join(people)}.")
        number = people.index(config.test_speaker)
        own = [np.flatnonzero(trains.speakers == number) for trains in (training, test)]
        test = joined(training.select(own[0]), test.select(own[1]))
        training = training.select(np.flatnonzero(training.speakers != number))
    speakers = np.unique(training.speakers)
    held_out: list[int] = []
    if config.validation == "speakers":
        held_out = [
            int(speakers[torch.randint(len(speakers), (), generator=run.fresh().generator("speakers", shared=True))])
        ]
    return spoken.split(config, training, test, held_out, run)


def tell(news: str) -> None:
    """Print a message and flush."""
    print(news, flush=True)


def few(trains: SpikeTrains, count: int) -> SpikeTrains:
    """Return about `count` evenly spaced samples; all for 0."""
    return trains.select(np.arange(0, len(trains), max(len(trains) // count, 1))[:count]) if count else trains


def joined(one: SpikeTrains, other: SpikeTrains) -> SpikeTrains:
    """Concatenate two sets of samples."""
    return replace(
        one,
        times=np.concatenate([one.times, other.times]),
        units=np.concatenate([one.units, other.units]),
        first=np.concatenate([one.first, one.first[-1] + other.first[1:]]),
        labels=np.concatenate([one.labels, other.labels]),
        speakers=np.concatenate([one.speakers, other.speakers]),
    )
