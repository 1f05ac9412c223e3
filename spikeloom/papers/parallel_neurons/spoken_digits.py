"""Spoken digits: which of ten digits somebody says, from the spikes of an artificial cochlea.

The recordings of the Free Spoken Digit Dataset pass through `spikeloom.data.cochlea`; the networks are those of the
task `shd`. Recordings of all speakers are in training and test, unless one speaker is held out (`--test-speaker`).
`spikeloom table spoken_digits` compares four kinds of neurons; `spikeloom table spoken_digits speakers` leaves out one
speaker after the other. These are not the Spiking Heidelberg Digits: there is no published number to compare with.

Data: Jackson et al., Free Spoken Digit Dataset. Method: Yarga and Wood, IJCNN 2023 and 2024; see `shd`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from ...data import fsdd
from ...data.cochlea import Cochlea
from ...data.spike_trains import SpikeTrains
from ...errors import ConfigError
from ...train.run import Run
from ...train.table import Table
from . import spoken
from .spoken import COLUMNS, FOUR, Options, Splits, rows

HEARING = {
    "reference": Cochlea(),
    "keen": Cochlea(
        middle_ear=2000.0, gain=4000.0, quality=12.0, base=8550.0, floor=185.0, waves=11.0, weight=0.132, tau_syn=0.49,
        tau_mem=0.9,
    ),
}  # fmt: skip
"""reference: the fit to the reference of SHD's cochlea; keen: louder and sharper, and deafer below 2 kHz."""
PEOPLE = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


@dataclass(frozen=True)
class Config(Options):
    channels: Literal[70, 700] = 700
    """Channels of the artificial cochlea."""
    hearing: Literal["reference", "keen"] = "keen"
    """reference: the cochlea as fitted to the reference of SHD; keen: louder, sharper and less of what is low, which
    tells the digits apart far better."""
    test_speaker: str = ""
    """Train on all other speakers and test on this one; empty: test on the official test recordings."""
    samples: int = 0
    """Use the first few recordings of each split only; 0: all."""


START = Config(window=8.0, batch=32, epochs=20, lr=0.004, lr_decay=0.5, lr_decay_every=8, shift=0.04, scale=0.15)
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
    "neurons": Table.of_presets(
        "Accuracy on spoken digits, last epoch",
        FOUR,
        COLUMNS,
        published={},
        source="",
    ),
    "speakers": Table(
        "Accuracy on a speaker who was not in training, last epoch",
        {speaker: {"SD": ("sd", {"test_speaker": speaker})} for speaker in PEOPLE},
    ),
}


def train(config: Config, run: Run) -> None:
    """Train on the training recordings, or on what validation leaves of them."""
    spoken.train(config, run, splits(config, run))


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Accuracy on the test recordings, every one read once."""
    data = [*fsdd.describe("train"), *fsdd.describe("test")]
    return spoken.evaluate(config, run, splits(config, run), data)


def plot(config: Config, run: Run) -> None:
    """A test recording through all layers, learning curves, rates, confusions."""
    spoken.plot(config, run, splits(config, run), "Learning spoken digits")


def splits(config: Config, run: Run) -> Splits:
    """The recordings as spikes. With a test speaker, both official splits are pooled and divided by speaker."""
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
    held: list[int] = []
    if config.validation == "speakers":
        held = [
            int(speakers[torch.randint(len(speakers), (), generator=run.fresh().generator("speakers", shared=True))])
        ]
    return spoken.split(config, training, test, held, run)


def tell(news: str) -> None:
    """Print at once."""
    print(news, flush=True)


def few(trains: SpikeTrains, count: int) -> SpikeTrains:
    """Every n-th sample, such that about `count` remain; all for 0."""
    return trains.select(np.arange(0, len(trains), max(len(trains) // count, 1))[:count]) if count else trains


def joined(one: SpikeTrains, other: SpikeTrains) -> SpikeTrains:
    """The samples of both."""
    return replace(
        one,
        times=np.concatenate([one.times, other.times]),
        units=np.concatenate([one.units, other.units]),
        first=np.concatenate([one.first, one.first[-1] + other.first[1:]]),
        labels=np.concatenate([one.labels, other.labels]),
        speakers=np.concatenate([one.speakers, other.speakers]),
    )
