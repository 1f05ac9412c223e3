"""Recurrence for neurons that are computed for a whole sequence at once: two passes instead of a loop.

    u0 = K(x)                             the membrane of the feed-forward input, K being linear
    h[0] = 0,  h[t] = fire(u0)[t - 1]     hidden spikes, or relu(u0)[t - 1]
    s = fire(u0 + K(x + W h + b)) = fire(K(2 x + W h + b))

So hidden spikes come from the feed-forward membrane, never from s, and the input enters twice. Source: Yarga and Wood,
2024 (ParaLIF). `RectifiedRecurrent` is the authors' recurrence by voltage for LIF neurons: x[t] + W relu(v'[t - 1]), a
true recurrence, step by step.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..arguments import explained
from ..core import State, Stateful, Whole
from ..errors import ConfigError, ShapeError, check_like, check_sequence, check_state
from ..neurons import ParaLIF, SynapticLIF
from ..neurons.neuron import full_precision
from ..neurons.synaptic import SynapticLIFState, WaitingLIFState
from .sparse import SignedSparseLinear

Synapse = nn.Linear | SignedSparseLinear


class TwoPassState(NamedTuple):
    """State of a `TwoPass` population."""

    hidden: State  # of the neurons in the first pass
    out: State  # of the neurons in the second pass
    last: Tensor  # [B, N], hidden spikes (or voltages) of the step before


class Both(NamedTuple):
    """Spikes of both passes."""

    hidden: Tensor  # [T, B, N]
    spikes: Tensor  # [T, B, N]


@explained
class TwoPass(Whole):
    """Recurrent population of parallel neurons, computed in two passes.

    Shapes: currents [T, B, N] -> spikes [T, B, N].

    Args:
        neuron: the population; both passes use its time constants, threshold and firing function, with random numbers
            of their own.
        synapse: Synapse(N, N); its bias enters in every step.
        by_voltage: recurrence by relu(u0) instead of spikes.

    Raises:
        ConfigError: the synapse is not square.
        ShapeError: currents or state of a wrong shape, dtype or device.

    >>> layer = TwoPass(ParaLIF("D"), nn.Linear(5, 5))
    >>> layer(torch.rand(20, 2, 5))[0].shape
    torch.Size([20, 2, 5])
    """

    def __init__(self, neuron: ParaLIF, synapse: Synapse, *, by_voltage: bool = False) -> None:
        super().__init__()
        check_square("TwoPass", synapse)
        if not isinstance(neuron, ParaLIF):
            raise ConfigError(
                f"TwoPass needs a ParaLIF, but got {type(neuron).__name__}. Use Recurrent for other neurons."
            )
        self.neuron, self.synapse, self.by_voltage = neuron, synapse, by_voltage

    def structure(self) -> dict[str, float | str | bool | None]:
        return {"by_voltage": self.by_voltage}

    def initial_state(self, x: Tensor) -> TwoPassState:
        return TwoPassState(self.neuron.initial_state(x), self.neuron.initial_state(x), torch.zeros_like(x))

    def forward(self, xs: Tensor, state: TwoPassState | None = None) -> tuple[Tensor, TwoPassState]:
        both, state = self.passes(xs, state)
        return both.spikes, state

    def passes(self, xs: Tensor, state: TwoPassState | None = None) -> tuple[Both, TwoPassState]:
        """Return hidden and final spikes (for a cost on both), and the next state."""
        check_sequence("TwoPass", xs, self.synapse.in_features)
        if xs.dim() != 3:
            raise ShapeError(f"TwoPass needs currents [T, B, N], but got {list(xs.shape)}. Flatten the neurons first.")
        xs = full_precision("TwoPass", xs)
        check_like("TwoPass", "weight", self.synapse.weight, tuple(self.synapse.weight.shape), xs)
        state = self.initial_state(xs[0]) if state is None else state
        check_state("TwoPass", state, TwoPassState)
        check_like("TwoPass", "last", state.last, tuple(xs.shape[1:]), xs)
        if self.by_voltage:
            self.neuron.moving(xs, state.hidden)  # checks the state; `integrate` does not
            voltages, (syn_current, voltage) = self.neuron.integrate(xs, state.hidden)
            hidden, moved = torch.relu(voltages), state.hidden._replace(syn_current=syn_current, voltage=voltage)
        else:
            hidden, moved = self.neuron(xs, state.hidden)
        delayed = torch.cat([state.last.unsqueeze(0), hidden[:-1]])
        spikes, out = self.neuron(2 * xs + self.synapse(delayed), state.out)
        return Both(hidden, spikes), TwoPassState(moved, out, hidden[-1])


@explained
class RectifiedRecurrent(Stateful):
    """Recurrent population of LIF neurons that receive one another's rectified voltages, step by step.

    Shapes: currents [T, B, N] -> spikes [T, B, N].

    Args:
        neuron: the population.
        synapse: Synapse(N, N); its bias enters in every step.

    Raises:
        ConfigError: the synapse is not square.
        ShapeError: currents or state of a wrong shape, dtype or device.

    >>> layer = RectifiedRecurrent(SynapticLIF(), nn.Linear(5, 5))
    >>> layer(torch.rand(20, 2, 5))[0].shape
    torch.Size([20, 2, 5])
    """

    def __init__(self, neuron: SynapticLIF, synapse: Synapse) -> None:
        super().__init__()
        check_square("RectifiedRecurrent", synapse)
        if not isinstance(neuron, SynapticLIF):
            raise ConfigError(
                f"RectifiedRecurrent needs a SynapticLIF, but got {type(neuron).__name__}. Use Recurrent for "
                "other neurons."
            )
        self.neuron, self.synapse = neuron, synapse

    def initial_state(self, x: Tensor) -> State:
        return self.neuron.initial_state(x)

    def forward(self, xs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        check_sequence("RectifiedRecurrent", xs, self.synapse.in_features)
        xs = full_precision("RectifiedRecurrent", xs)
        check_like("RectifiedRecurrent", "weight", self.synapse.weight, tuple(self.synapse.weight.shape), xs)
        return super().forward(xs, state)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        waits = len(self.neuron.program.equation.states) == 3
        check_state("RectifiedRecurrent", state, WaitingLIFState if waits else SynapticLIFState)
        check_like("RectifiedRecurrent", "voltage", state.voltage, tuple(x.shape), x)
        check_like("RectifiedRecurrent", "spikes", state.spikes, tuple(x.shape), x)
        after_reset = state.voltage * (1 - state.spikes.detach())
        return self.neuron.step(x + self.synapse(torch.relu(after_reset)), state)


def check_square(owner: str, synapse: Synapse) -> None:
    """Raise ConfigError unless a synapse is a square linear layer without delays."""
    if not isinstance(synapse, nn.Linear | SignedSparseLinear):
        raise ConfigError(
            f"{owner} needs a synapse without time, nn.Linear or SignedSparseLinear, but got {type(synapse).__name__}."
        )
    if synapse.in_features != synapse.out_features:
        raise ConfigError(
            f"{owner} needs a square synapse, but got one from {synapse.in_features} to {synapse.out_features} "
            "neurons. Pass nn.Linear(n, n)."
        )
