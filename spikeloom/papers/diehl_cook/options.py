"""What tasks of unsupervised learning share: options, samples, network, learning; `_stdp_readout` has the test.

    events of a sample -> DiehlCookNetwork -> spikes of each neuron;  labels name the neurons, afterwards

Training runs in intervals. Each sample is shown, and weights and homeostasis learn; at the end of an interval, neurons
are named by its samples, and the samples of the next interval are read out with these names. A label reaches nothing
but names.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...data.spike_trains import SpikeTrains
from ...errors import ConfigError, check_positive
from ...kernels.noise import keys
from ...layers.events import Events, poisson_events
from ...layers.lateral import growing_starts, som_inhibition
from ...neurons.diehl_cook import DiehlCook, MembraneLIF
from ...rules import STDP, hebbian_stdp, pair_stdp, post_stdp, triplet_stdp, weight_dependent_stdp
from ...train.run import Run
from .network import DiehlCookNetwork
from .presentation import Repeats
from .votes import Assignment, assign

Rule = Literal["post", "pair", "weight_dependent", "triplet", "hebbian"]
RULES: dict[Rule, Callable[..., STDP]] = {
    "post": post_stdp, "pair": pair_stdp, "weight_dependent": weight_dependent_stdp, "triplet": triplet_stdp,
    "hebbian": hebbian_stdp,
}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """Options of every task of unsupervised learning."""

    n_neurons: int = 400
    """Excitatory neurons."""
    topology: Literal["two_layer", "one_layer"] = "two_layer"
    """Excitatory neurons inhibit through partners, two steps later, or directly, one step later."""
    inhibition: Literal["uniform", "som", "growing", "two_level"] = "uniform"
    """uniform; som: growing with the distance on a grid; growing: som that gets stronger from interval to interval;
    two_level: som for a tenth of training, then uniform."""
    excite: float = 22.5
    """From an excitatory neuron to its partner [mV]."""
    inhibit: float = 120.0
    """Uniform inhibition [mV]."""
    som_start: float = -5.0
    """Strength at distance 1, before scaling [mV]."""
    som_most: float = -17.5
    """Strongest inhibition of a som [mV]."""
    som_scaling: float = 0.75
    """Factor of som_start."""
    threshold: float = -52.0
    """Of excitatory neurons, without homeostasis [mV]."""
    rest: float = -65.0
    """Resting voltage [mV]."""
    reset: float = -60.0
    """Voltage after a spike [mV]."""
    refractory: float = 5.0
    """Refractory time of excitatory neurons [ms]."""
    tau_mem: float = 100.0
    """Time constant of their membrane [ms]."""
    homeostasis_step: float = 0.05
    """What a spike adds to the own threshold [mV]."""
    tau_homeostasis: float = 1e7
    """Time constant with which that is lost [ms]."""
    lowest: float = 0.0
    """Lowest voltage of excitatory neurons [mV]; 0: none."""
    one_winner: bool = True
    """At most one neuron spikes in a step."""
    rule: Rule = "pair"
    """How synapses learn."""
    lr: float = 0.01
    """Step at a postsynaptic spike."""
    lr_pre: float = 1e-4
    """Step at a presynaptic spike; of no use for post."""
    lr_end: float = 0.1
    """Share of both that is left at the end of training; they fall along a line, interval by interval."""
    target: float = 0.4
    """Trace above which post strengthens a synapse."""
    power: float = 0.2
    """Power of soft bounds: of post and weight_dependent."""
    soft_bound: Literal["none", "post", "both", "original"] = "both"
    """Soft bound of post; original: weights that reach the bound stay there for ever."""
    w_min: float = 0.0
    """Lower bound of weights."""
    w_max: float = 1.0
    """Upper bound of weights."""
    w_init: float = 0.3
    """Weights start uniformly between 0 and this."""
    weight_decay: float = 0.0
    """Share of every weight that is lost in a step."""
    total: float = 0.1
    """Weights of a neuron are normalised to this times the number of inputs after each sample; 0: not."""
    trace: Literal["set", "add"] = "set"
    """A spike sets its trace to 1, or adds 1."""
    tau_trace: float = 20.0
    """Time constant of traces [ms]."""
    tau_slow: float = 40.0
    """Time constant of the slow trace of triplet [ms]."""
    trace_delay: Literal[0, 1] = 0
    """1: a postsynaptic spike does not see the input spikes of its own step."""
    reduction: Literal["sum", "mean", "max"] = "sum"
    """What the samples of a batch do to a synapse together."""
    batch: int = 1
    """Samples that are shown at once; with more than one, they do not see what the others have taught."""
    pattern_time: float = 250.0
    """Length of a presentation [ms]."""
    dt: float = 1.0
    """Length of a step [ms]."""
    min_spikes: int = 5
    """A sample that made fewer is shown again."""
    max_repeats: int = 5
    """Presentations of a sample at most."""
    gain: float = 1.0
    """Factor of the currents from the inputs, the first time."""
    gain_test: float = 0.0
    """The same where nothing learns; 0: the same."""
    growth: float = 1.0
    """Factor of it from one presentation to the next."""
    carry: bool = False
    """Voltages and traces go on from one presentation of a sample to the next."""
    epochs: int = 1
    """Passes over the training samples."""
    n_train: int = 0
    """Training samples, drawn at random; they alone name the neurons too; 0: all."""
    n_test: int = 0
    """Test samples, drawn at random; 0: all."""
    held_out: int = 0
    """Training samples, the same for every seed, that are kept from learning and answer in place of the test samples:
    to choose settings by; 0: none."""
    intervals: int = 60
    """Intervals in which training is divided."""
    alpha: float = 1.0
    """How much of what neurons answered in earlier intervals counts."""
    label_share: float = 1.0
    """Share of these whose labels name the neurons in the end."""
    vote: Literal["all", "proportion", "soft"] = "all"
    """The read-out whose accuracy is the result; the others are reported too."""
    ngram: int = 0
    """Length of the n-grams of another read-out; 0: none."""
    checkpoint_every: int = 1
    """Intervals between two checkpoints."""
    live: int = 0
    """Intervals between two pictures of the receptive fields while training; 0: none."""
    plot: bool = False
    """A picture in every interval."""
    figures: int = 3
    """Test samples to draw in detail."""


THESIS: dict[str, Any] = {
    "tau_mem": 215.0, "inhibit": 17.5, "homeostasis_step": 0.2, "rule": "post", "lr": 0.05, "lr_end": 1.0,
    "soft_bound": "original", "total": 0.0, "min_spikes": 2, "growth": 1.2, "gain_test": 1.2, "carry": True,
}  # fmt: skip
"""What the network for N-MNIST was trained with, in all its tasks."""


class Source(NamedTuple):
    """Samples of a task, and how their inputs spike."""

    events: Callable[[Tensor, int, Tensor], Events]  # samples, attempt, keys [B, 2]
    labels: Tensor  # [M]
    size: int  # inputs


class Splits(NamedTuple):
    """The samples of a task."""

    training: Source
    test: Source
    shape: tuple[int, ...]  # of the inputs, as a picture
    classes: tuple[str, ...]
    data: list[Any]


def hold_out(options: Options, splits: Splits) -> Splits:
    """Training samples take the place of the test samples, if options ask for it."""
    if not options.held_out:
        return splits
    count = len(splits.training.labels)
    if not 0 < options.held_out < count:
        raise ConfigError(f"held_out must be from 0 to below the {count:,} training samples, not {options.held_out:,}.")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    aside, kept = order[: options.held_out], order[options.held_out :]
    return splits._replace(training=part(splits.training, kept), test=part(splits.training, aside))


def part(source: Source, chosen: Tensor) -> Source:
    """Some of the samples."""

    def events(samples: Tensor, attempt: int, noise: Tensor) -> Events:
        return source.events(chosen[samples], attempt, noise)

    return Source(events, source.labels[chosen], source.size)


def from_images(images: Tensor, labels: Tensor, rate: float, boost: float, options: Options) -> Source:
    """Poisson processes: a white pixel has `rate`, which grows by `boost` from one presentation to the next [Hz]."""
    flat = images.flatten(1)

    def events(samples: Tensor, attempt: int, noise: Tensor) -> Events:
        return poisson_events(
            flat[samples].float() * ((rate + attempt * boost) / 255), steps(options), noise, dt=options.dt
        )

    return Source(events, labels, flat.shape[1])


def from_trains(trains: SpikeTrains, counts: bool, options: Options) -> Source:
    """Recorded spikes: step floor(t / dt), those behind the presentation are left out; several in a step count as one
    unless `counts`."""
    total = steps(options)

    def events(samples: Tensor, attempt: int, noise: Tensor) -> Events:
        batch = len(samples)
        places, sizes = trains.events(samples.numpy())
        place = np.floor(trains.times[places].astype(np.float64) / options.dt).astype(np.int64)
        inside = place < total
        sample, unit = np.repeat(np.arange(batch), sizes)[inside], trains.units[places][inside].astype(np.int64)
        cells = (place[inside] * batch + sample) * trains.channels + unit
        cells, times = np.unique(cells, return_counts=True)
        first = np.searchsorted(cells, np.arange(total * batch + 1) * trains.channels)
        found = times.astype(np.float32) if counts else np.ones(len(cells), np.float32)
        units = (cells % trains.channels).astype(np.int32)
        return Events(*(torch.from_numpy(part) for part in (first, units, found)))

    return Source(events, torch.from_numpy(trains.labels), trains.channels)


def steps(options: Options) -> int:
    """Steps of a presentation."""
    return max(1, round(options.pattern_time / options.dt))


def check(options: Options) -> None:
    """Raise ConfigError where options make no sense together, or would be of no use."""
    check_positive(
        "The task", n_neurons=options.n_neurons, pattern_time=options.pattern_time, dt=options.dt, batch=options.batch,
        epochs=options.epochs, intervals=options.intervals, checkpoint_every=options.checkpoint_every,
    )  # fmt: skip
    if min(options.n_train, options.n_test, options.ngram, options.live, options.figures) < 0 or not options.total >= 0:
        raise ConfigError("n_train, n_test, total, ngram, live and figures must not be below 0.")
    if not (0.0 < options.label_share <= 1.0 and 0.0 <= options.alpha <= 1.0 and 0.0 <= options.lr_end <= 1.0):
        raise ConfigError(
            f"label_share must be above 0 and up to 1, alpha and lr_end from 0 to 1, but got {options.label_share}, "
            f"{options.alpha} and {options.lr_end}."
        )
    if abs(options.pattern_time / options.dt - steps(options)) > 1e-6:
        raise ConfigError(
            f"pattern_time must be a whole number of steps, but {options.pattern_time} ms are "
            f"{options.pattern_time / options.dt:.6g} steps of {options.dt} ms. Choose {steps(options) * options.dt:g}."
        )
    if options.n_neurons**options.ngram >= 2**62:
        raise ConfigError(
            f"There are too many {options.ngram}-grams of {options.n_neurons} neurons. Choose a shorter ngram."
        )
    presets, som = (Options(), Options(**THESIS)), options.inhibition != "uniform"  # whose values nobody asked for
    uses = {
        "target": options.rule == "post", "soft_bound": options.rule == "post", "lr_pre": options.rule != "post",
        "power": options.rule in ("post", "weight_dependent"), "tau_slow": options.rule == "triplet",
        "excite": options.topology == "two_layer", "som_start": som, "som_most": som, "som_scaling": som,
        "inhibit": options.inhibition in ("uniform", "two_level"),
    }  # fmt: skip
    given = {name: getattr(options, name) for name, used in uses.items() if not used}
    if idle := [name for name, value in given.items() if value not in (getattr(preset, name) for preset in presets)]:
        raise ConfigError(
            f"With rule {options.rule}, topology {options.topology} and inhibition {options.inhibition} there is no "
            f"use for {', '.join(idle)}. Leave out what changes nothing."
        )


def repeats_of(options: Options, learns: bool) -> Repeats:
    """When a sample is shown again."""
    gain = options.gain if learns else options.gain_test or options.gain
    return Repeats(options.min_spikes, options.max_repeats, gain, options.growth, options.carry)


def chosen_for_training(options: Options, run: Run, count: int) -> Tensor:
    """The training samples that are used."""
    if options.n_train > count:
        raise ConfigError(f"n_train is {options.n_train:,}, but there are {count:,} training samples. Ask for fewer.")
    draw = run.fresh().generator("training samples", shared=True)
    return torch.randperm(count, generator=draw)[: options.n_train or count]


def network(options: Options, run: Run, size: int, done: float = 0.0) -> DiehlCookNetwork:
    """The network of these options, its weights drawn from the run's generator, inhibited as when this was trained."""
    check(options)
    common: dict[str, Any] = {"dt": options.dt}
    neurons = DiehlCook(
        options.n_neurons, rest=options.rest, reset=options.reset, threshold=options.threshold,
        refractory=options.refractory, tau_mem=options.tau_mem, homeostasis_step=options.homeostasis_step,
        tau_homeostasis=options.tau_homeostasis, lowest=options.lowest or -math.inf, one_winner=options.one_winner,
        generator=run.generator("winners"), **common,
    )  # fmt: skip
    settings: dict[str, Any] = {"lr": options.lr, "w_min": options.w_min, "w_max": options.w_max}
    settings |= {"decay": options.weight_decay, "tau_pre": options.tau_trace, "tau_post": options.tau_trace}
    settings |= {"tau_slow": options.tau_slow, "trace": options.trace, "trace_delay": options.trace_delay}
    settings |= {"reduction": options.reduction, **common}
    if options.rule == "post":
        settings |= {"target": options.target, "power": options.power, "soft_bound": options.soft_bound}
    else:
        settings["lr_pre"] = options.lr_pre
        settings |= {"power": options.power} if options.rule == "weight_dependent" else {}
    net = DiehlCookNetwork(
        size, neurons, RULES[options.rule](**settings),
        inhibitory=MembraneLIF(options.n_neurons, **common) if options.topology == "two_layer" else None,
        excite=options.excite, inhibit=options.inhibit, total=options.total * size, w_init=options.w_init,
        generator=run.generator("weights", shared=True),
    )  # fmt: skip
    net.set_lateral(lateral(options, done))
    return net.to(run.device)


def level(options: Options, done: float) -> int:
    """How far inhibition has come after this share of training: 0, or the number of its level."""
    if options.inhibition == "two_level":
        return int(done >= 0.1)
    return min(int(done * options.intervals), options.intervals - 1) if options.inhibition == "growing" else 0


def lateral(options: Options, done: float) -> Tensor | None:
    """Inhibition [N, N] after this share of training; None: uniform."""
    now = level(options, done)
    if options.inhibition == "uniform" or (options.inhibition == "two_level" and now == 1):
        return None
    start = options.som_start
    if options.inhibition == "growing":
        start = growing_starts(options.som_start, options.som_most, options.intervals)[now]
    return som_inhibition(options.n_neurons, start, options.som_most, options.som_scaling)


class Known:
    """What is known of the neurons while they learn: what they answer to, and their spikes in each interval."""

    def __init__(self, size: int, classes: int) -> None:
        self.rates = torch.zeros(size, classes, dtype=torch.float64)
        self.spikes = torch.zeros(0, size)
        self.presented = 0

    def assignment(self) -> Assignment:
        """As it is now."""
        none = torch.zeros(0, len(self.rates)), torch.zeros(0, dtype=torch.int64)
        classes = self.rates.shape[1]
        return assign(*none, classes, assign(*none, classes)._replace(rates=self.rates))

    def add(self, counts: Tensor, labels: Tensor, alpha: float) -> None:
        """The samples of an interval, [M, N]."""
        self.rates = assign(counts, labels, self.rates.shape[1], self.assignment(), alpha).rates
        self.spikes = torch.cat([self.spikes, counts.sum(0, keepdim=True)])
        self.presented += len(counts)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"rates": self.rates, "spikes": self.spikes, "presented": self.presented}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.rates, self.spikes, self.presented = state["rates"], state["spikes"], int(state["presented"])


def encoder(source: Source, samples: Tensor, generator: torch.Generator) -> Callable[[Tensor, int], Events]:
    """The inputs of some samples; every presentation draws new keys."""

    def encode(rows: Tensor, attempt: int) -> Events:
        return source.events(samples[rows], attempt, keys(len(rows), torch.device("cpu"), generator))

    return encode


def tell(news: str) -> None:
    """Print at once."""
    print(news, flush=True)


def check_test(options: Options, splits: Splits) -> None:
    """Raise ConfigError where the test could not be made."""
    repeats_of(options, learns=False)
    if options.n_test > len(splits.test.labels):
        raise ConfigError(f"n_test is {options.n_test:,}, but there are {len(splits.test.labels):,} test samples.")
