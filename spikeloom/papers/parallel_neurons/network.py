"""Networks of the parallel-neuron papers: layers of Linear + neuron, and a readout membrane that never fires.

    x -> [Linear(n, hidden) + neuron] x layers -> Linear(hidden, n_out) + membrane
    non_spiking: Linear + ReLU at every step, and a plain Linear readout

Weights are initialised Kaiming-uniform (bound sqrt(3 / n)), biases with 0; biases are added at every step. Layers with
sparse input add the weight rows of the active inputs instead of a matrix product.
Sources: Yarga and Wood, 2023 (SPSN) and 2024 (ParaLIF).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn

from ...arguments import explained
from ...core import State, Stateful
from ...errors import ConfigError, check_state
from ...layers import DelayedLinear, RectifiedRecurrent, Recurrent, Sequential, TwoPass
from ...neurons import FIRING, ParaLIF, SynapticLIF, SynapticReadout
from ...neurons.parallel import RANDOM
from ...surrogate import Arctan, FastSigmoid, Surrogate
from ...train.parts import Fraction, NonNegative, Options, Positive

NEURONS = ("LIF", "non_spiking", *FIRING)


@explained
@dataclass(frozen=True)
class NeuronOptions(Options):
    """Options shared by all hidden layers of a `ParallelNetwork`.

    Raises:
        ConfigError: an option is outside its range.
    """

    tau_mem: NonNegative = 20.0
    """Membrane time constant [ms]; 0: no filter."""
    tau_syn: NonNegative = 20.0
    """Synaptic time constant [ms]; 0: no filter."""
    learn_tau: bool = False
    """Learn tau_mem and tau_syn, one pair per layer."""
    threshold: NonNegative = 0.0
    """Firing threshold; 0: 0.1 for neurons that fire on differences (D, SD, TD, TRD), else 1; SB, GS, TRB have none."""
    learn_threshold: bool = False
    """Learn a threshold per neuron."""
    refractory: NonNegative = 0.0
    """Refractory period of LIF neurons, during which the voltage stays 0 [ms]."""
    recurrent: Literal["none", "spikes", "voltage"] = "none"
    """Recurrent input of a layer: none, its spikes, or its rectified voltages."""
    surrogate: Literal["fast_sigmoid", "arctan"] = "fast_sigmoid"
    """Surrogate gradient of spikes at a threshold."""
    steepness: NonNegative = 0.0
    """Steepness of the surrogate gradient; 0: 100 for fast_sigmoid, 2 for arctan."""
    integration: Literal["kernel", "scan", "toeplitz", "fft"] = "kernel"
    """Algorithm that integrates the membrane of parallel neurons; all give the same result."""
    evaluation: Literal["sample", "mean", "threshold"] = "sample"
    """Output of random neurons in evaluation: sample, random spikes; mean, their probability; threshold, a spike if
    their probability is above one half."""
    p_max: Annotated[float, Gt(0), Le(1)] = 1.0
    """Largest spike probability of random neurons."""
    temperature: Positive = 1.0
    """Temperature of the Gumbel-softmax (GS)."""
    weighted: Fraction = 1.0
    """Gradient of SB and TRB; 1: as in SPSN; 0: straight-through."""


class ParallelActivity(NamedTuple):
    """Output of a `ParallelNetwork`: logits of every step and hidden activity."""

    logits: Tensor  # [T, B, n_out]
    spikes: tuple[Tensor, ...]  # [T, B, hidden] for each layer
    hidden: tuple[Tensor, ...]  # [T, B, hidden], first pass of recurrent parallel neurons


class Layer(NamedTuple):
    """State of one hidden layer."""

    synapse: State
    neuron: State


@explained
class ParallelNetwork(Stateful):
    """Feed-forward network of parallel neurons or, for comparison, of LIF neurons or rectified units.

    Shapes: xs [T, B, n_in] -> ParallelActivity(logits [T, B, n_out], spikes [T, B, hidden] a layer).
    Units: times in ms.

    Args:
        n_in, hidden, n_out: sizes.
        layers: number of hidden layers.
        neuron: "LIF", "non_spiking", or a firing function of `ParaLIF`.
        options: see `NeuronOptions`.
        dt: length of a step [ms].
        memory: memory for the backward pass: "fast" stores intermediate values, "lean" recomputes most of them.
        generator: source of the weights.
        noise: source of the keys of random neurons; by default `generator`.

    Raises:
        ConfigError: a size or an option is out of range.
        ShapeError: input or state has a wrong shape, dtype or device.

    >>> net = ParallelNetwork(700, 128, 20, generator=torch.Generator().manual_seed(0))
    >>> sum(parameter.numel() for parameter in net.parameters())
    125332
    >>> activity, state = net(torch.rand(10, 2, 700))
    >>> activity.logits.shape, len(activity.spikes)
    (torch.Size([10, 2, 20]), 3)
    """

    def __init__(
        self,
        n_in: int,
        hidden: int,
        n_out: int,
        *,
        layers: int = 3,
        neuron: str = "SB",
        options: NeuronOptions = NeuronOptions(),
        dt: float = 1.0,
        memory: str = "fast",
        generator: torch.Generator | None = None,
        noise: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if min(n_in, hidden, n_out, layers) < 1:
            raise ConfigError(
                f"ParallelNetwork needs sizes and layers of at least 1, but got n_in {n_in}, hidden {hidden}, n_out "
                f"{n_out}, layers {layers}."
            )
        if neuron not in NEURONS:
            raise ConfigError(f"ParallelNetwork needs neuron from {', '.join(NEURONS)}, but got {neuron!r}.")
        check_options(neuron, options)
        self.spiking = neuron != "non_spiking"
        noise = generator if noise is None else noise
        sizes = [n_in, *[hidden] * layers]
        self.synapses = nn.ModuleList(linear(a, b, generator) for a, b in pairwise(sizes))
        shared: dict[str, Any] = {
            "tau_mem": options.tau_mem or None, "tau_syn": options.tau_syn or None, "learn_tau": options.learn_tau,
            "dt": dt, "memory": memory,
        }  # fmt: skip
        self.neurons = nn.ModuleList(
            population(neuron, hidden, options, generator, generator=noise, **shared) for _ in range(layers)
        )
        output = linear(hidden, n_out, generator)
        self.readout = Sequential(output, SynapticReadout(**shared)) if self.spiking else Sequential(output)

    def initial_state(self, x: Tensor) -> State:
        parts = []
        for synapse, neuron in zip(self.synapses, self.neurons, strict=True):
            assert isinstance(synapse, DelayedLinear)
            before = synapse.initial_state(x)
            x = synapse.step(x, before)[0]
            parts.append(Layer(before, neuron.initial_state(x) if isinstance(neuron, Stateful) else ()))
        return (tuple(parts), self.readout.initial_state(x))

    def step(self, x: Tensor, state: State) -> tuple[ParallelActivity, State]:
        activity, state = self.forward(x.unsqueeze(0), state)
        first = [tuple(part[0] for part in parts) for parts in activity[1:]]
        return ParallelActivity(activity.logits[0], *first), state

    def forward(self, xs: Tensor, state: State | None = None) -> tuple[ParallelActivity, State]:
        if state is not None:
            check_state("ParallelNetwork", state, tuple, 2)
            check_state("ParallelNetwork (layers)", state[0], tuple, len(self.synapses))
            for part in state[0]:
                check_state("ParallelNetwork", part, Layer)
        layers, readout = (None, None) if state is None else state
        fired, hidden, moved = [], [], []
        for index, (synapse, neuron) in enumerate(zip(self.synapses, self.neurons, strict=True)):
            before = None if layers is None else layers[index]
            xs, arriving = synapse(xs, None if before is None else before.synapse)
            after: State = ()
            if isinstance(neuron, TwoPass):
                both, after = neuron.passes(xs, None if before is None else before.neuron)
                hidden.append(both.hidden)
                xs = both.spikes
            elif isinstance(neuron, Stateful):
                xs, after = neuron(xs, None if before is None else before.neuron)
            else:
                xs = neuron(xs)
            fired.append(xs)
            moved.append(Layer(arriving, after))
        logits, readout = self.readout(xs, readout)
        return ParallelActivity(logits, tuple(fired), tuple(hidden)), (tuple(moved), readout)


def linear(n_in: int, n_out: int, generator: torch.Generator | None) -> DelayedLinear:
    """Return feed-forward synapses without delays, initialised Kaiming-uniform."""
    layer = DelayedLinear(n_in, n_out, bias=True, generator=generator)
    with torch.no_grad():
        layer.weight.uniform_(-math.sqrt(3 / n_in), math.sqrt(3 / n_in), generator=generator)
    return layer


def population(
    name: str, size: int, options: NeuronOptions, weights: torch.Generator | None, **shared: Any
) -> nn.Module:
    """Build the neurons of one layer, with their recurrence; `shared` holds arguments that all spiking neurons take."""
    if name == "non_spiking":
        return nn.ReLU()
    shared["surrogate"] = surrogate(options)
    if name not in RANDOM:
        start = options.threshold or (0.1 if name in FIRING and "D" in name else 1.0)
        shared["threshold"] = nn.Parameter(torch.full((size,), start)) if options.learn_threshold else start
    if name == "LIF":
        neuron = SynapticLIF(refractory=options.refractory, **shared)
        if options.recurrent == "spikes":
            synapse = linear(size, size, weights)
            synapse.register_parameter("bias", None)  # the feed-forward synapses have one
            return Recurrent(neuron, synapse, autapses=True)
        return RectifiedRecurrent(neuron, square(size, weights)) if options.recurrent == "voltage" else neuron
    if name in RANDOM:
        shared |= {"evaluation": options.evaluation, "p_max": options.p_max}
        shared |= {"temperature": options.temperature} if name == "GS" else {"weighted": options.weighted}
    parallel = ParaLIF(name, integration=options.integration, **shared)
    if options.recurrent == "none":
        return parallel
    return TwoPass(parallel, square(size, weights), by_voltage=options.recurrent == "voltage")


def square(size: int, generator: torch.Generator | None) -> nn.Linear:
    """Return recurrent synapses, initialised Kaiming-uniform with bias 0."""
    layer = nn.Linear(size, size)
    with torch.no_grad():
        layer.weight.uniform_(-math.sqrt(3 / size), math.sqrt(3 / size), generator=generator)
        layer.bias.zero_()
    return layer


def surrogate(options: NeuronOptions) -> Surrogate:
    """Return the surrogate gradient."""
    if options.surrogate == "arctan":
        return Arctan(steepness=options.steepness or 2.0)
    return FastSigmoid(steepness=options.steepness or 100.0)


def check_options(neuron: str, options: NeuronOptions) -> None:
    """Raise ConfigError for an option that this neuron does not use, rather than ignore it."""
    defaults = NeuronOptions()
    names: Mapping[str, bool] = {
        "refractory": neuron == "LIF",
        "recurrent": neuron != "non_spiking",
        "integration": neuron in FIRING,
        "evaluation": neuron in RANDOM,
        "p_max": neuron in RANDOM,
        "temperature": neuron == "GS",
        "weighted": neuron in ("SB", "TRB"),
        "threshold": neuron not in ("non_spiking", *RANDOM),
        "learn_threshold": neuron not in ("non_spiking", *RANDOM),
        "learn_tau": neuron != "non_spiking",
    }
    unused = [name for name, used in names.items() if not used and getattr(options, name) != getattr(defaults, name)]
    if unused:
        raise ConfigError(f"Neuron {neuron} makes no use of {', '.join(unused)}. Leave out what it does not use.")
