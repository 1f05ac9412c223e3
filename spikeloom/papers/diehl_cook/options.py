"""Options of the tasks of unsupervised learning. `training` has the loop, `readout` the evaluation.

    events of a sample -> DiehlCookNetwork -> spikes of each neuron;  labels are assigned to neurons afterwards

Training runs in intervals. Each sample is presented, and weights and homeostasis adapt. At the end of an interval, its
samples assign labels to the neurons, with which the samples of the next interval are classified. Labels have no other
use.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Interval, Le

from ...errors import ConfigError
from ...neurons.diehl_cook import DiehlCook
from ...rules import STDP, hebbian_stdp, pair_stdp, post_stdp, triplet_stdp, weight_dependent_stdp
from ...train.parts import Fraction, NonNegative, NonNegativeInt, Options, Positive, PositiveInt
from .presentation import Repeats

Rule = Literal["post", "pair", "weight_dependent", "triplet", "hebbian"]
RULES: dict[Rule, Callable[..., STDP]] = {
    "post": post_stdp, "pair": pair_stdp, "weight_dependent": weight_dependent_stdp, "triplet": triplet_stdp,
    "hebbian": hebbian_stdp,
}  # fmt: skip


@dataclass(frozen=True)
class ExcitatoryNeuronOptions(Options):
    """Excitatory neurons."""

    n_neurons: PositiveInt = 400
    """Number of excitatory neurons."""
    threshold: float = -52.0
    """Firing threshold of excitatory neurons, without homeostasis [mV]."""
    rest: float = -65.0
    """Resting voltage of excitatory neurons [mV]."""
    reset: float = -60.0
    """Voltage of excitatory neurons after a spike [mV]."""
    refractory: NonNegative = 5.0
    """Refractory period of excitatory neurons [ms]."""
    tau_mem: Positive = 100.0
    """Membrane time constant of excitatory neurons [ms]."""
    lowest: float = 0.0
    """Lowest voltage of excitatory neurons [mV]; 0: none."""
    one_winner: bool = True
    """Allow at most one spike per step, of a random neuron above its threshold."""


@dataclass(frozen=True)
class HomeostasisOptions(Options):
    """Adaptation of the thresholds."""

    homeostasis_step: NonNegative = 0.05
    """Increase of the threshold of a neuron at each of its spikes [mV]."""
    tau_homeostasis: Positive = 1e7
    """Time constant with which this increase decays [ms]."""


@dataclass(frozen=True)
class InhibitionOptions(Options):
    """Lateral inhibition."""

    topology: Literal["two_layer", "one_layer"] = "two_layer"
    """Inhibition through a second layer of inhibitory partner neurons, two steps later (two_layer), or direct, one step
    later (one_layer)."""
    inhibition: Literal["uniform", "som", "growing", "two_level"] = "uniform"
    """Lateral inhibition. uniform: the same between all neurons; som: grows with the distance on a grid; growing: som
    whose strength grows from interval to interval; two_level: som for a tenth of training, then uniform."""
    excite: NonNegative = 22.5
    """Weight from an excitatory neuron to its inhibitory partner [mV]; two_layer only."""
    inhibit: NonNegative = 120.0
    """Strength of uniform inhibition [mV]."""
    som_start: Annotated[float, Le(0)] = -5.0
    """Weight of som inhibition at distance 1, before scaling [mV]."""
    som_most: Annotated[float, Le(0)] = -17.5
    """Strongest weight of som inhibition [mV]."""
    som_scaling: Positive = 0.75
    """Factor of som_start."""


@dataclass(frozen=True)
class STDPRuleOptions(Options):
    """Spike-timing-dependent plasticity of the input synapses."""

    rule: Rule = "pair"
    """Learning rule of the input synapses (STDP)."""
    lr: NonNegative = 0.01
    """Initial learning rate at postsynaptic spikes."""
    lr_pre: float = 1e-4
    """Initial learning rate at presynaptic spikes; not used by rule post."""
    lr_end: Fraction = 0.1
    """Final learning rates as a fraction of the initial ones, 0 to 1; linear decay, interval by interval."""
    target: float = 0.4
    """Presynaptic trace above which rule post strengthens a synapse."""
    power: NonNegative = 0.2
    """Exponent of soft bounds; rules post and weight_dependent only."""
    soft_bound: Literal["none", "post", "both", "original"] = "both"
    """Soft bounds of rule post; post: upper bound only; both: upper and lower; original: weights that reach w_max
    stay there."""
    trace: Literal["set", "add"] = "set"
    """Effect of a spike on its trace: set it to 1, or add 1."""
    tau_trace: Positive = 20.0
    """Time constant of the traces [ms]."""
    tau_slow: Positive = 40.0
    """Time constant of the slow trace of rule triplet [ms]."""
    trace_delay: Literal[0, 1] = 0
    """1: the trace at a postsynaptic spike excludes the input spikes of the same step; 0: it includes them."""
    reduction: Literal["sum", "mean", "max"] = "sum"
    """Reduction of the weight changes of the samples of a batch."""


@dataclass(frozen=True)
class InputWeightOptions(Options):
    """Weights of the input synapses."""

    w_min: float = 0.0
    """Lower bound of the weights."""
    w_max: float = 1.0
    """Upper bound of the weights."""
    w_init: NonNegative = 0.3
    """Initial weights are uniform between 0 and this value."""
    weight_decay: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Weight decay per step [fraction]."""
    total: NonNegative = 0.1
    """Mean weight of a neuron, to which its weights are normalised after each sample; 0: no normalisation."""


@dataclass(frozen=True)
class PresentationOptions(Options):
    """Presentation of the samples, repeated where the layer hardly responds."""

    batch: PositiveInt = 1
    """Samples presented at once; within a batch, samples do not benefit from the weight changes of the others."""
    pattern_time: Positive = 250.0
    """Duration of a presentation [ms]."""
    dt: Positive = 1.0
    """Length of a step [ms]."""
    min_spikes: NonNegativeInt = 5
    """Spikes of the layer below which a sample is presented again."""
    max_repeats: PositiveInt = 5
    """Maximum number of presentations of a sample."""
    gain: Positive = 1.0
    """Factor of the input currents at the first presentation in training."""
    gain_test: NonNegative = 0.0
    """Factor of the input currents at the first presentation in evaluation; 0: the value of gain."""
    growth: Positive = 1.0
    """Growth factor of the input currents from one presentation of a sample to the next."""
    carry: bool = False
    """Keep voltages and traces from one presentation of a sample to the next, instead of a reset."""

    def __post_init__(self) -> None:
        super().__post_init__()
        whole = self.steps or 1
        if self.pattern_time and abs(self.pattern_time / self.dt - whole) > 1e-6:
            raise ConfigError(
                f"--pattern-time must be a whole number of steps, but {self.pattern_time} ms are "
                f"{self.pattern_time / self.dt:.6g} steps of {self.dt} ms. Choose {whole * self.dt:g}."
            )
        for learns in (True, False):
            self.repeats(learns)

    @property
    def steps(self) -> int:
        """Number of steps of a presentation."""
        return round(self.pattern_time / self.dt)

    def repeats(self, learns: bool) -> Repeats:
        """Return when and how a sample is presented again, in training or in evaluation."""
        gain = self.gain if learns else self.gain_test or self.gain
        return Repeats(self.min_spikes, self.max_repeats, gain, self.growth, self.carry)


@dataclass(frozen=True)
class ReadoutOptions(Options):
    """Label assignment and votes."""

    alpha: Fraction = 1.0
    """Weight of the responses in earlier intervals for the label assignment in training, 0 to 1."""
    label_share: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """Fraction of the training samples whose labels are used for the final label assignment, above 0, up to 1."""
    vote: Literal["all", "proportion", "soft"] = "all"
    """Readout whose accuracy is the result; the accuracies of the others are reported too."""
    ngram: NonNegativeInt = 0
    """Length of the n-grams of an additional readout [spikes]; 0: none."""


@dataclass(frozen=True)
class UnsupervisedTrainingOptions(Options):
    """Samples and length of a training run."""

    epochs: PositiveInt = 1
    """Passes over the training samples."""
    n_train: NonNegativeInt = 0
    """Number of training samples, drawn at random, also for the label assignment; 0: all."""
    n_test: NonNegativeInt = 0
    """Number of test samples, drawn at random; 0: all."""
    held_out: NonNegativeInt = 0
    """Number of training samples, the same for every seed, that are held out and replace the test samples, for
    hyperparameter search; 0: none."""
    intervals: PositiveInt = 60
    """Number of intervals of training."""
    checkpoint_every: PositiveInt = 1
    """Intervals between two checkpoints."""


@dataclass(frozen=True)
class FigureOptions(Options):
    """Figures of a run."""

    live: NonNegativeInt = 0
    """Intervals between two plots of the receptive fields in training; 0: none."""
    plot: bool = False
    """Plot the receptive fields in every interval of training."""
    figures: NonNegativeInt = 3
    """Number of test samples to plot in detail."""


THESIS: dict[str, Any] = {
    "tau_mem": 215.0, "inhibit": 17.5, "homeostasis_step": 0.2, "rule": "post", "lr": 0.05, "lr_end": 1.0,
    "soft_bound": "original", "total": 0.0, "min_spikes": 2, "growth": 1.2, "gain_test": 1.2, "carry": True,
}  # fmt: skip
"""Options of Lopez Gordillo's network for N-MNIST, for all tasks."""


@dataclass(frozen=True)
class STDPOptions(
    ExcitatoryNeuronOptions, HomeostasisOptions, InhibitionOptions, STDPRuleOptions, InputWeightOptions,
    PresentationOptions, ReadoutOptions, UnsupervisedTrainingOptions, FigureOptions,
):  # fmt: skip
    """Options of all tasks of unsupervised learning.

    Raises:
        ConfigError: options contradict each other, are out of range, or have no effect.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.neurons()
        self.stdp()
        if self.n_neurons**self.ngram >= 2**62:
            raise ConfigError(
                f"There are too many {self.ngram}-grams of {self.n_neurons} neurons. Choose a shorter --ngram."
            )
        som = self.inhibition != "uniform"
        uses = {
            "target": self.rule == "post", "soft_bound": self.rule == "post", "lr_pre": self.rule != "post",
            "power": self.rule in ("post", "weight_dependent"), "tau_slow": self.rule == "triplet",
            "excite": self.topology == "two_layer", "som_start": som, "som_most": som, "som_scaling": som,
            "inhibit": self.inhibition in ("uniform", "two_level"),
        }  # fmt: skip
        presets = {name: (getattr(STDPOptions, name), THESIS.get(name)) for name, used in uses.items() if not used}
        if idle := [name for name, values in presets.items() if getattr(self, name) not in values]:
            raise ConfigError(
                f"With rule {self.rule}, topology {self.topology} and inhibition {self.inhibition} there is no "
                f"use for {', '.join(idle)}. Leave out what changes nothing."
            )

    def neurons(self, generator: torch.Generator | None = None) -> DiehlCook:
        """Return the excitatory neurons; the generator draws the winners."""
        return DiehlCook(
            self.n_neurons, rest=self.rest, reset=self.reset, threshold=self.threshold, refractory=self.refractory,
            tau_mem=self.tau_mem, homeostasis_step=self.homeostasis_step, tau_homeostasis=self.tau_homeostasis,
            lowest=self.lowest or -math.inf, one_winner=self.one_winner, dt=self.dt, generator=generator,
        )  # fmt: skip

    def stdp(self) -> STDP:
        """Return the learning rule."""
        settings: dict[str, Any] = {"lr": self.lr, "w_min": self.w_min, "w_max": self.w_max}
        settings |= {"decay": self.weight_decay, "tau_pre": self.tau_trace, "tau_post": self.tau_trace}
        settings |= {"tau_slow": self.tau_slow, "trace": self.trace, "trace_delay": self.trace_delay}
        settings |= {"reduction": self.reduction, "dt": self.dt}
        if self.rule == "post":
            settings |= {"target": self.target, "power": self.power, "soft_bound": self.soft_bound}
        else:
            settings["lr_pre"] = self.lr_pre
            settings |= {"power": self.power} if self.rule == "weight_dependent" else {}
        return RULES[self.rule](**settings)


@dataclass(frozen=True)
class RecordingOptions(STDPOptions):
    """Options of the tasks on recorded events."""

    counts: bool = False
    """Count every event of an input within a step; otherwise several count as one."""
    t0: NonNegative = 0.0
    """Start of the presentation within the recording [ms]; earlier events are left out."""
