"""Samples of the tasks of unsupervised learning, encoded as input events."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...data.spike_trains import SpikeTrains
from ...encoding.events import Events, poisson_events
from ...errors import ConfigError
from ...kernels.noise import keys
from ...train.run import Run
from .options import RecordingOptions, STDPOptions

Split = Literal["train", "test"]


class Source(NamedTuple):
    """Samples of a task: their labels, and a function that returns their input events."""

    events: Callable[[Tensor, int, Tensor], Events]  # samples, attempt, keys [B, 2]
    labels: Tensor  # [M]
    size: int  # number of inputs


class Splits(NamedTuple):
    """Training and test samples of a task."""

    training: Source
    test: Source
    shape: tuple[int, ...]  # of the inputs as an image
    classes: tuple[str, ...]
    data: list[Any]


def hold_out(options: STDPOptions, splits: Splits) -> Splits:
    """Replace the test samples by held-out training samples, if the options ask for it."""
    if not options.held_out:
        return splits
    count = len(splits.training.labels)
    if options.held_out >= count:
        raise ConfigError(
            f"--held-out must be below the {count:,} training samples, but is {options.held_out:,}. Hold out fewer."
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    aside, kept = order[: options.held_out], order[options.held_out :]
    return splits._replace(training=part(splits.training, kept), test=part(splits.training, aside))


def part(source: Source, indices: Tensor) -> Source:
    """Return the samples with these indices."""

    def events(samples: Tensor, attempt: int, noise: Tensor) -> Events:
        return source.events(indices[samples], attempt, noise)

    return Source(events, source.labels[indices], source.size)


def from_images(images: Tensor, labels: Tensor, rate: float, boost: float, options: STDPOptions) -> Source:
    """Encode images as Poisson spikes: a white pixel has rate + attempt * boost [Hz], attempt 0 being the first."""
    flat = images.flatten(1)

    def events(samples: Tensor, attempt: int, noise: Tensor) -> Events:
        return poisson_events(
            flat[samples].float() * ((rate + attempt * boost) / 255), options.steps, noise, dt=options.dt
        )

    return Source(events, labels, flat.shape[1])


def from_trains(trains: SpikeTrains, counts: bool, options: STDPOptions) -> Source:
    """Encode recorded spikes: a spike at time t is an event of step floor(t / dt).

    Spikes after the end of the presentation are left out. Several spikes of a channel in a step count as one, unless
    `counts` is True.
    """
    total = options.steps

    def events(samples: Tensor, attempt: int, noise: Tensor) -> Events:
        batch = len(samples)
        places, sizes = trains.events(samples.numpy())
        step = np.floor(trains.times[places].astype(np.float64) / options.dt).astype(np.int64)
        inside = step < total
        sample, unit = np.repeat(np.arange(batch), sizes)[inside], trains.units[places][inside].astype(np.int64)
        cells = (step[inside] * batch + sample) * trains.channels + unit
        cells, times = np.unique(cells, return_counts=True)
        first = np.searchsorted(cells, np.arange(total * batch + 1) * trains.channels)
        values = times.astype(np.float32) if counts else np.ones(len(cells), np.float32)
        units = (cells % trains.channels).astype(np.int32)
        return Events(*(torch.from_numpy(array) for array in (first, units, values)))

    return Source(events, torch.from_numpy(trains.labels), trains.channels)


def recorded(
    options: RecordingOptions,
    load: Callable[[Split], SpikeTrains],
    describe: Callable[[Split], list[Any]],
    shape: tuple[int, ...],
) -> Splits:
    """Load the recordings of both splits; `describe` states their files."""
    splits: tuple[Split, ...] = ("train", "test")
    trains = [load(split) for split in splits]
    training, test = (from_trains(one, options.counts, options) for one in trains)
    data = [description for split in splits for description in describe(split)]
    return hold_out(options, Splits(training, test, shape, trains[0].classes, data))


def training_samples(options: STDPOptions, run: Run, count: int) -> Tensor:
    """Return the indices of the training samples to use."""
    if options.n_train > count:
        raise ConfigError(f"--n-train is {options.n_train:,}, but there are {count:,} training samples. Ask for fewer.")
    draw = run.fresh().generator("training samples", shared=True)
    return torch.randperm(count, generator=draw)[: options.n_train or count]


def check_test(options: STDPOptions, splits: Splits) -> None:
    """Raise ConfigError if the options ask for more test samples than there are."""
    if options.n_test > len(splits.test.labels):
        raise ConfigError(
            f"--n-test is {options.n_test:,}, but there are {len(splits.test.labels):,} test samples. Ask for fewer."
        )


def encoder(source: Source, samples: Tensor, generator: torch.Generator) -> Callable[[Tensor, int], Events]:
    """Return a function that encodes rows of these samples; every presentation draws new keys."""

    def encode(rows: Tensor, attempt: int) -> Events:
        return source.events(samples[rows], attempt, keys(len(rows), torch.device("cpu"), generator))

    return encode


def tell(message: str) -> None:
    """Print a message and flush."""
    print(message, flush=True)
