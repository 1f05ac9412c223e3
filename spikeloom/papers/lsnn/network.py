"""The LSNN: a recurrent population, some of whose neurons have adaptive thresholds, and a leaky readout.

    i[t]      = sum_d W_in_d x[t - d] + sum_d W_rec_d s[t - 1 - d]
    s[t]      = ALIF(i[t]),          adapt_strength 0 for the regular neurons
    logits[t] = k logits[t-1] + (1 - k) (W_out s[t] + b_out)

Source: Bellec, Salaj, Subramoney, Legenstein, Maass, NeurIPS 2018.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...arguments import explained
from ...core import State, Stateful, record
from ...errors import ConfigError, ShapeError, check_like, check_sequence, check_state
from ...kernels.noise import normal
from ...layers import (
    DelayedLinear,
    DelayedSynapses,
    DelayState,
    Recurrent,
    RecurrentState,
    SignedSparse,
    SignedSparseLinear,
    SparseDelayedLinear,
)
from ...neurons import ALIF, Dynamics, LeakyReadout, LeakyState
from ...surrogate import Surrogate, Triangle


class Activity(NamedTuple):
    """Output of an `LSNN` or `LSTMBaseline`: logits and hidden activity."""

    logits: Tensor  # [T, B, n_out]
    spikes: Tensor  # [T, B, n]


class Trace(NamedTuple):
    """Output of `LSNN.trace`: logits and internal variables of every step."""

    logits: Tensor  # [T, B, n_out]
    spikes: Tensor  # [T, B, n]
    voltage: Tensor  # [T, B, n]
    threshold: Tensor  # [T, B, n]


class LSNNState(NamedTuple):
    """State of an `LSNN`."""

    inputs: DelayState
    hidden: RecurrentState
    readout: LeakyState


@explained
class LSNN(Stateful):
    """A recurrent network of regular and adaptive spiking neurons with a leaky readout.

    Shapes: xs [T, B, n_in] -> Activity(logits [T, B, n_out], spikes [T, B, n_regular + n_adaptive]).
    Units: time constants, refractory and dt in ms; delays in steps; threshold and adapt_strength as in `ALIF`.

    Args:
        n_in, n_regular, n_adaptive, n_out: sizes; n_adaptive = 0 gives a network of LIF neurons.
        tau_mem, tau_adapt, adapt_strength, threshold, refractory, dynamics, detach_reset, surrogate: see `ALIF`.
        delays: delay slots of input and recurrent synapses; 1 means no delays.
        tau_out: time constant of the readout.
        bias: whether the readout has a bias.
        current_noise: standard deviation of a Gaussian current added at every step, drawn from `generator`.
        dt: length of one step.
        connectivity: fraction of existing synapses in the input, recurrent and readout layers. They have fixed signs,
            and `rules.DeepR` rewires them: `DeepR(optimizer, net.sparse_layers())`. None: dense, with any sign.
        excitatory: fraction of the inputs and of the neurons whose synapses are all positive; those of the others are
            negative (Dale's law). None: signs by synapse. The first neurons are the inhibitory ones, so adaptive
            neurons are excitatory as long as there are enough regular ones; inhibitory inputs are drawn at random.
            Requires connectivity.
        dormant_gradients: see `SignedSparseLinear`.
        memory: "lean" or "fast"; see `ALIF`. A recurrent population recomputes its whole current in the backward pass
            in any case, so "lean" is also the faster one.
        generator: source of the weights, the delays and the noise.

    Raises:
        ConfigError: a size or a value is out of range.
        ShapeError: input or state has a wrong shape, dtype or device.

    >>> net = LSNN(4, 6, 2, 3, generator=torch.Generator().manual_seed(0))
    >>> activity, state = net(torch.rand(20, 5, 4))
    >>> activity.logits.shape, activity.spikes.shape
    (torch.Size([20, 5, 3]), torch.Size([20, 5, 8]))
    """

    def __init__(
        self,
        n_in: int,
        n_regular: int,
        n_adaptive: int,
        n_out: int,
        *,
        tau_mem: float = 20.0,
        tau_adapt: float = 700.0,
        adapt_strength: float = 1.8,
        threshold: float = 0.01,
        refractory: float = 5.0,
        delays: int = 10,
        tau_out: float = 20.0,
        bias: bool = True,
        dynamics: str | Dynamics = "standard",
        surrogate: Surrogate = Triangle(),
        detach_reset: bool = False,
        current_noise: float = 0.0,
        dt: float = 1.0,
        connectivity: float | None = None,
        excitatory: float | None = None,
        dormant_gradients: bool = False,
        memory: str = "lean",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if min(n_regular, n_adaptive) < 0 or n_regular + n_adaptive < 1 or n_out < 1:
            raise ConfigError(
                f"LSNN needs n_regular and n_adaptive >= 0, at least one neuron and n_out >= 1, but got {n_regular}, "
                f"{n_adaptive} and {n_out}."
            )
        if not 0.0 <= current_noise < math.inf:
            raise ConfigError(f"LSNN needs current_noise >= 0, but got {current_noise}.")
        size = n_regular + n_adaptive
        self.current_noise, self.generator = current_noise, generator
        strength = torch.cat([torch.zeros(n_regular), torch.full((n_adaptive,), float(adapt_strength))])
        neuron = ALIF(
            tau_mem, tau_adapt, strength, threshold, dynamics=dynamics, refractory=refractory,
            detach_reset=detach_reset, surrogate=surrogate, dt=dt, memory=memory,
        )  # fmt: skip
        self.inputs: DelayedSynapses
        synapse: DelayedSynapses
        self.output: nn.Linear | SignedSparseLinear
        if connectivity is None:
            if excitatory is not None or dormant_gradients:
                raise ConfigError("LSNN has signs of neurons and dormant_gradients only with a connectivity. Pass one.")
            self.inputs = DelayedLinear(n_in, size, delays=delays, generator=generator)
            synapse = DelayedLinear(size, size, delays=delays, generator=generator)
            self.output = nn.Linear(size, n_out, bias=bias)
            nn.init.xavier_uniform_(self.output.weight, generator=generator)
            if bias:
                nn.init.zeros_(self.output.bias)
        else:
            sparse: dict[str, Any] = {"connectivity": connectivity, "dormant_gradients": dormant_gradients}
            sparse["generator"] = generator
            order = torch.randperm(n_in, generator=generator)
            input_signs, signs = neuron_signs(n_in, excitatory), neuron_signs(size, excitatory)
            input_signs = None if input_signs is None else input_signs[order]
            self.inputs = SparseDelayedLinear(n_in, size, delays=delays, neuron_sign=input_signs, **sparse)
            synapse = SparseDelayedLinear(size, size, delays=delays, neuron_sign=signs, autapses=False, **sparse)
            self.output = SignedSparseLinear(size, n_out, bias=bias, neuron_sign=signs, **sparse)
        self.hidden = Recurrent(neuron, synapse)
        self.readout = LeakyReadout(tau_out, dt=dt, memory=memory)

    def sparse_layers(self) -> dict[str, SignedSparse]:
        """Return the layers that `rules.DeepR` rewires, by name; empty if the network is dense."""
        layers = {"inputs": self.inputs, "recurrent": self.hidden.synapse, "output": self.output}
        return {name: layer for name, layer in layers.items() if isinstance(layer, SignedSparse)}

    def initial_state(self, x: Tensor) -> LSNNState:
        size, outputs = self.output.in_features, self.output.out_features
        hidden = self.hidden.initial_state(x.new_zeros(x.shape[0], size))
        return LSNNState(
            self.inputs.initial_state(x), hidden, self.readout.initial_state(x.new_zeros(x.shape[0], outputs))
        )

    def step(self, x: Tensor, state: LSNNState) -> tuple[Activity, LSNNState]:
        out, state = self.forward(x.unsqueeze(0), state)
        return Activity(out.logits[0], out.spikes[0]), state

    def forward(self, xs: Tensor, state: LSNNState | None = None) -> tuple[Activity, LSNNState]:
        state = self._begin(xs, state)
        currents, inputs = self.inputs(xs, state.inputs)
        if self.current_noise:
            noise = normal(currents.shape, xs.dtype, xs.device, self.generator)
            currents = currents + self.current_noise * noise
        spikes, hidden = self.hidden(currents, state.hidden)
        logits, readout = self.readout(self.output(spikes), state.readout)
        return Activity(logits, spikes), LSNNState(inputs, hidden, readout)

    def _begin(self, xs: Tensor, state: LSNNState | None) -> LSNNState:
        """Return the initial state; raise ShapeError if the input or the state does not fit."""
        check_sequence("LSNN", xs, self.inputs.n_in)
        if state is None:
            return self.initial_state(xs[0])
        check_state("LSNN", state, LSNNState)
        return state

    @torch.no_grad()
    def trace(self, xs: Tensor, state: LSNNState | None = None) -> Trace:
        """Run `forward` step by step and return voltages and thresholds too; without gradients."""
        state = self._begin(xs, state)
        currents, _ = self.inputs(xs, state.inputs)
        spikes, states = record(self.hidden.step, currents, state.hidden)
        logits, _ = self.readout(self.output(spikes), state.readout)
        neuron = self.hidden.neuron
        assert isinstance(neuron, ALIF)
        return Trace(logits, spikes, states.neuron.voltage, neuron.moving_threshold(states.neuron.adaptation))


def neuron_signs(count: int, excitatory: float | None) -> Tensor | None:
    """Return -1 for the first of `count` neurons, +1 for the last round(excitatory * count); None without `excitatory`.

    Raises:
        ConfigError: `excitatory` is not in [0, 1].

    >>> neuron_signs(4, 0.75)
    tensor([-1.,  1.,  1.,  1.])
    """
    if excitatory is None:
        return None
    if not 0.0 <= excitatory <= 1.0:
        raise ConfigError(f"The share of excitatory neurons must be in [0, 1], but is {excitatory}.")
    signs = torch.ones(count)
    signs[: count - round(excitatory * count)] = -1.0
    return signs


class LSTMBaseline(Stateful):
    """An LSTM with a linear readout: the baseline without spikes.

    Shapes: xs [T, B, n_in] -> Activity(logits [T, B, n_out], spikes = hidden activity [T, B, n_hidden]).

    Args:
        n_in, n_hidden, n_out: sizes.
        generator: source of the weights, uniform in +-1 / sqrt(n_hidden).

    >>> activity, state = LSTMBaseline(4, 8, 3)(torch.rand(20, 5, 4))
    >>> activity.logits.shape
    torch.Size([20, 5, 3])
    """

    def __init__(self, n_in: int, n_hidden: int, n_out: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if min(n_in, n_hidden, n_out) < 1:
            raise ConfigError(f"LSTMBaseline needs sizes of at least 1, but got {n_in}, {n_hidden}, {n_out}.")
        self.hidden = nn.LSTM(n_in, n_hidden)
        self.output = nn.Linear(n_hidden, n_out)
        with torch.no_grad():
            for weight in self.parameters():
                nn.init.uniform_(weight, -1 / math.sqrt(n_hidden), 1 / math.sqrt(n_hidden), generator=generator)

    def initial_state(self, x: Tensor) -> tuple[Tensor, Tensor]:
        zeros = x.new_zeros(1, x.shape[0], self.hidden.hidden_size)
        return zeros, zeros

    def step(self, x: Tensor, state: State) -> tuple[Activity, State]:
        out, state = self.forward(x.unsqueeze(0), state)
        return Activity(out.logits[0], out.spikes[0]), state

    def forward(self, xs: Tensor, state: State | None = None) -> tuple[Activity, State]:
        check_sequence("LSTMBaseline", xs, self.hidden.input_size)
        if xs.dim() != 3:
            raise ShapeError(f"LSTMBaseline needs xs [T, B, {self.hidden.input_size}], but got {list(xs.shape)}.")
        check_like("LSTMBaseline", "weight", self.output.weight, tuple(self.output.weight.shape), xs)
        if state is not None:
            check_state("LSTMBaseline", state, tuple, 2)
            for name, tensor in zip(("hidden", "cell"), state, strict=True):
                check_like("LSTMBaseline", name, tensor, (1, xs.shape[1], self.hidden.hidden_size), xs)
        hidden, state = self.hidden(xs, self.initial_state(xs[0]) if state is None else state)
        return Activity(self.output(hidden), hidden), state
