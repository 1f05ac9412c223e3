"""Code shared by the tasks of unsupervised learning: options, samples, network. `readout` has the evaluation.

    events of a sample -> DiehlCookNetwork -> spikes of each neuron;  labels are assigned to neurons afterwards

Training runs in intervals. Each sample is presented, and weights and homeostasis adapt. At the end of an interval, its
samples assign labels to the neurons, with which the samples of the next interval are classified. Labels have no other
use.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...data.spike_trains import SpikeTrains
from ...encoding.events import Events, poisson_events
from ...errors import ConfigError, check_positive
from ...kernels.noise import keys
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
class STDPOptions:
    """Options of all tasks of unsupervised learning."""

    n_neurons: int = 400
    """Number of excitatory neurons."""
    topology: Literal["two_layer", "one_layer"] = "two_layer"
    """Inhibition through a second layer of inhibitory partner neurons, two steps later (two_layer), or direct, one step
    later (one_layer)."""
    inhibition: Literal["uniform", "som", "growing", "two_level"] = "uniform"
    """Lateral inhibition. uniform: the same between all neurons; som: grows with the distance on a grid; growing: som
    whose strength grows from interval to interval; two_level: som for a tenth of training, then uniform."""
    excite: float = 22.5
    """Weight from an excitatory neuron to its inhibitory partner [mV]; two_layer only."""
    inhibit: float = 120.0
    """Strength of uniform inhibition [mV]."""
    som_start: float = -5.0
    """Weight of som inhibition at distance 1, before scaling [mV]."""
    som_most: float = -17.5
    """Strongest weight of som inhibition [mV]."""
    som_scaling: float = 0.75
    """Factor of som_start."""
    threshold: float = -52.0
    """Firing threshold of excitatory neurons, without homeostasis [mV]."""
    rest: float = -65.0
    """Resting voltage of excitatory neurons [mV]."""
    reset: float = -60.0
    """Voltage of excitatory neurons after a spike [mV]."""
    refractory: float = 5.0
    """Refractory period of excitatory neurons [ms]."""
    tau_mem: float = 100.0
    """Membrane time constant of excitatory neurons [ms]."""
    homeostasis_step: float = 0.05
    """Increase of the threshold of a neuron at each of its spikes [mV]."""
    tau_homeostasis: float = 1e7
    """Time constant with which this increase decays [ms]."""
    lowest: float = 0.0
    """Lowest voltage of excitatory neurons [mV]; 0: none."""
    one_winner: bool = True
    """Allow at most one spike per step, of a random neuron above its threshold."""
    rule: Rule = "pair"
    """Learning rule of the input synapses (STDP)."""
    lr: float = 0.01
    """Initial learning rate at postsynaptic spikes."""
    lr_pre: float = 1e-4
    """Initial learning rate at presynaptic spikes; not used by rule post."""
    lr_end: float = 0.1
    """Final learning rates as a fraction of the initial ones, 0 to 1; linear decay, interval by interval."""
    target: float = 0.4
    """Presynaptic trace above which rule post strengthens a synapse."""
    power: float = 0.2
    """Exponent of soft bounds; rules post and weight_dependent only."""
    soft_bound: Literal["none", "post", "both", "original"] = "both"
    """Soft bounds of rule post; post: upper bound only; both: upper and lower; original: weights that reach w_max
    stay there."""
    w_min: float = 0.0
    """Lower bound of the weights."""
    w_max: float = 1.0
    """Upper bound of the weights."""
    w_init: float = 0.3
    """Initial weights are uniform between 0 and this value."""
    weight_decay: float = 0.0
    """Weight decay per step [fraction]."""
    total: float = 0.1
    """Mean weight of a neuron, to which its weights are normalised after each sample; 0: no normalisation."""
    trace: Literal["set", "add"] = "set"
    """Effect of a spike on its trace: set it to 1, or add 1."""
    tau_trace: float = 20.0
    """Time constant of the traces [ms]."""
    tau_slow: float = 40.0
    """Time constant of the slow trace of rule triplet [ms]."""
    trace_delay: Literal[0, 1] = 0
    """1: the trace at a postsynaptic spike excludes the input spikes of the same step; 0: it includes them."""
    reduction: Literal["sum", "mean", "max"] = "sum"
    """Reduction of the weight changes of the samples of a batch."""
    batch: int = 1
    """Samples presented at once; within a batch, samples do not benefit from the weight changes of the others."""
    pattern_time: float = 250.0
    """Duration of a presentation [ms]."""
    dt: float = 1.0
    """Length of a step [ms]."""
    min_spikes: int = 5
    """Spikes of the layer below which a sample is presented again."""
    max_repeats: int = 5
    """Maximum number of presentations of a sample."""
    gain: float = 1.0
    """Factor of the input currents at the first presentation in training."""
    gain_test: float = 0.0
    """Factor of the input currents at the first presentation in evaluation; 0: the value of gain."""
    growth: float = 1.0
    """Growth factor of the input currents from one presentation of a sample to the next."""
    carry: bool = False
    """Keep voltages and traces from one presentation of a sample to the next, instead of a reset."""
    epochs: int = 1
    """Passes over the training samples."""
    n_train: int = 0
    """Number of training samples, drawn at random, also for the label assignment; 0: all."""
    n_test: int = 0
    """Number of test samples, drawn at random; 0: all."""
    held_out: int = 0
    """Number of training samples, the same for every seed, that are held out and replace the test samples, for
    hyperparameter search; 0: none."""
    intervals: int = 60
    """Number of intervals of training."""
    alpha: float = 1.0
    """Weight of the responses in earlier intervals for the label assignment in training, 0 to 1."""
    label_share: float = 1.0
    """Fraction of the training samples whose labels are used for the final label assignment, above 0, up to 1."""
    vote: Literal["all", "proportion", "soft"] = "all"
    """Readout whose accuracy is the result; the accuracies of the others are reported too."""
    ngram: int = 0
    """Length of the n-grams of an additional readout [spikes]; 0: none."""
    checkpoint_every: int = 1
    """Intervals between two checkpoints."""
    live: int = 0
    """Intervals between two plots of the receptive fields in training; 0: none."""
    plot: bool = False
    """Plot the receptive fields in every interval of training."""
    figures: int = 3
    """Number of test samples to plot in detail."""


THESIS: dict[str, Any] = {
    "tau_mem": 215.0, "inhibit": 17.5, "homeostasis_step": 0.2, "rule": "post", "lr": 0.05, "lr_end": 1.0,
    "soft_bound": "original", "total": 0.0, "min_spikes": 2, "growth": 1.2, "gain_test": 1.2, "carry": True,
}  # fmt: skip
"""Options of Lopez Gordillo's network for N-MNIST, for all tasks."""


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
    if not 0 < options.held_out < count:
        raise ConfigError(f"held_out must be from 0 to below the {count:,} training samples, not {options.held_out:,}.")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    aside, kept = order[: options.held_out], order[options.held_out :]
    return splits._replace(training=part(splits.training, kept), test=part(splits.training, aside))


def part(source: Source, chosen: Tensor) -> Source:
    """Return the samples with these indices."""

    def events(samples: Tensor, attempt: int, noise: Tensor) -> Events:
        return source.events(chosen[samples], attempt, noise)

    return Source(events, source.labels[chosen], source.size)


def from_images(images: Tensor, labels: Tensor, rate: float, boost: float, options: STDPOptions) -> Source:
    """Encode images as Poisson spikes: a white pixel has rate + attempt * boost [Hz], attempt 0 being the first."""
    flat = images.flatten(1)

    def events(samples: Tensor, attempt: int, noise: Tensor) -> Events:
        return poisson_events(
            flat[samples].float() * ((rate + attempt * boost) / 255), steps(options), noise, dt=options.dt
        )

    return Source(events, labels, flat.shape[1])


def from_trains(trains: SpikeTrains, counts: bool, options: STDPOptions) -> Source:
    """Encode recorded spikes: a spike at time t is an event of step floor(t / dt).

    Spikes after the end of the presentation are left out. Several spikes of a channel in a step count as one, unless
    `counts` is True.
    """
    total = steps(options)

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


def steps(options: STDPOptions) -> int:
    """Return the number of steps of a presentation."""
    return max(1, round(options.pattern_time / options.dt))


def check(options: STDPOptions) -> None:
    """Raise ConfigError if options contradict each other, are out of range, or have no effect."""
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
    presets, som = (
        (STDPOptions(), STDPOptions(**THESIS)),
        options.inhibition != "uniform",
    )  # not set by the user
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


def repeats_of(options: STDPOptions, learns: bool) -> Repeats:
    """Return when and how a sample is presented again."""
    gain = options.gain if learns else options.gain_test or options.gain
    return Repeats(options.min_spikes, options.max_repeats, gain, options.growth, options.carry)


def chosen_for_training(options: STDPOptions, run: Run, count: int) -> Tensor:
    """Return the indices of the training samples to use."""
    if options.n_train > count:
        raise ConfigError(f"n_train is {options.n_train:,}, but there are {count:,} training samples. Ask for fewer.")
    draw = run.fresh().generator("training samples", shared=True)
    return torch.randperm(count, generator=draw)[: options.n_train or count]


def network(options: STDPOptions, run: Run, size: int, done: float = 0.0) -> DiehlCookNetwork:
    """Build the network of these options, with weights drawn from the run's generator.

    Args:
        size: number of inputs.
        done: fraction of training that is over, for the lateral inhibition.
    """
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


def level(options: STDPOptions, done: float) -> int:
    """Return the level of inhibition, 0 at first, after this fraction of training."""
    if options.inhibition == "two_level":
        return int(done >= 0.1)
    return min(int(done * options.intervals), options.intervals - 1) if options.inhibition == "growing" else 0


def lateral(options: STDPOptions, done: float) -> Tensor | None:
    """Return the inhibition [N, N] after this fraction of training; None: uniform."""
    now = level(options, done)
    if options.inhibition == "uniform" or (options.inhibition == "two_level" and now == 1):
        return None
    start = options.som_start
    if options.inhibition == "growing":
        start = growing_starts(options.som_start, options.som_most, options.intervals)[now]
    return som_inhibition(options.n_neurons, start, options.som_most, options.som_scaling)


class Known:
    """Responses of the neurons during training: rates by class, and spikes in each interval."""

    def __init__(self, size: int, classes: int) -> None:
        self.rates = torch.zeros(size, classes, dtype=torch.float64)
        self.spikes = torch.zeros(0, size)
        self.presented = 0

    def assignment(self) -> Assignment:
        """Return the current label assignment."""
        none = torch.zeros(0, len(self.rates)), torch.zeros(0, dtype=torch.int64)
        classes = self.rates.shape[1]
        return assign(*none, classes, assign(*none, classes)._replace(rates=self.rates))

    def add(self, counts: Tensor, labels: Tensor, alpha: float) -> None:
        """Add the spike counts [M, N] and labels [M] of the samples of an interval."""
        self.rates = assign(counts, labels, self.rates.shape[1], self.assignment(), alpha).rates
        self.spikes = torch.cat([self.spikes, counts.sum(0, keepdim=True)])
        self.presented += len(counts)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"rates": self.rates, "spikes": self.spikes, "presented": self.presented}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the state from a checkpoint."""
        self.rates, self.spikes, self.presented = state["rates"], state["spikes"], int(state["presented"])


def encoder(source: Source, samples: Tensor, generator: torch.Generator) -> Callable[[Tensor, int], Events]:
    """Return a function that encodes rows of these samples; every presentation draws new keys."""

    def encode(rows: Tensor, attempt: int) -> Events:
        return source.events(samples[rows], attempt, keys(len(rows), torch.device("cpu"), generator))

    return encode


def tell(news: str) -> None:
    """Print a message and flush."""
    print(news, flush=True)


def check_test(options: STDPOptions, splits: Splits) -> None:
    """Raise ConfigError if the options of the evaluation are not valid."""
    repeats_of(options, learns=False)
    if options.n_test > len(splits.test.labels):
        raise ConfigError(f"n_test is {options.n_test:,}, but there are {len(splits.test.labels):,} test samples.")
