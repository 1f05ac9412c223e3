"""Recurrent population of any neuron.

    i[t] = x[t] + sum_j weight[:, j] s[t - 1 - delay[:, j], j]
    s[t] = neuron(i[t])

A spike reaches other neurons after one step and the delay of the synapse. On the CPU the cost of the synapses in the
forward pass is proportional to the number of spikes.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .. import kernels
from ..arguments import explained
from ..core import State, Whole, renew_weights
from ..errors import ConfigError, ShapeError, check_like, check_sequence, check_state
from ..neurons import Neuron
from ..neurons.neuron import full_precision
from .delay import DelayedSynapses
from .sparse import SignedSparseLinear, SparseDelayedLinear


class RecurrentState(NamedTuple):
    """State of a `Recurrent` population."""

    neuron: State
    history: Tensor  # [D - 1, B, N], spikes before those in the neuron's state, oldest first


def _check_population(neuron: Any, synapse: Any, autapses: bool) -> None:
    """Raise ConfigError unless this neuron and this synapse make a recurrent population."""
    if not isinstance(neuron, Neuron):
        raise ConfigError(
            f"Recurrent needs a Neuron such as LIF(), but got {type(neuron).__name__}. Neurons come first, "
            "then their "
            "synapse; torch.compile the whole network, not its neurons."
        )
    if not isinstance(synapse, DelayedSynapses | nn.Linear | SignedSparseLinear):
        raise ConfigError(
            f"Recurrent needs a synapse that is a DelayedLinear, SparseDelayedLinear or nn.Linear, but got "
            f"{type(synapse).__name__}. Only its weight is used, nothing that it computes beside."
        )
    if synapse.weight.shape[0] != synapse.weight.shape[1] or synapse.bias is not None:
        raise ConfigError(
            f"Recurrent needs a square synapse without bias, but got {synapse}. Pass DelayedLinear(n, n) or "
            "nn.Linear(n, n, bias=False)."
        )
    if neuron.program.equation.fires == "never":
        raise ConfigError(f"Recurrent needs a neuron that fires, but {type(neuron).__name__} never does.")
    if isinstance(synapse, SparseDelayedLinear) and synapse.allowed is None and not autapses:
        raise ConfigError(
            "Recurrent without autapses needs a SparseDelayedLinear without them: pass it autapses=False, or pass "
            "Recurrent autapses=True. Else its budget is spent on synapses that have no effect."
        )


@explained
class Recurrent(Whole):
    """Population of neurons that are connected with one another.

    Shapes: currents [T, B, N] -> spikes [T, B, N]; synapse weight [N, N].

    Args:
        neuron: the population, any `Neuron` that fires.
        synapse: `DelayedLinear(N, N)`, `SparseDelayedLinear(N, N)`, or an `nn.Linear(N, N, bias=False)` without
            delays.
        autapses: whether a neuron may have a synapse with itself; if not, the diagonal of the weight has no effect and
            no gradient.

    Raises:
        ConfigError: the synapse is not square, has a bias, or has autapses although `autapses` is False; or the neuron
            never fires.
        ShapeError: currents or state of a wrong shape, dtype or device.

    >>> from spikeloom.neurons import ALIF
    >>> from spikeloom.layers import DelayedLinear
    >>> layer = Recurrent(ALIF(), DelayedLinear(5, 5, delays=3))
    >>> spikes, state = layer(torch.rand(20, 2, 5))
    >>> spikes.shape, state.history.shape
    (torch.Size([20, 2, 5]), torch.Size([2, 2, 5]))
    """

    def __init__(
        self, neuron: Neuron, synapse: DelayedSynapses | nn.Linear | SignedSparseLinear, *, autapses: bool = False
    ) -> None:
        super().__init__()
        _check_population(neuron, synapse, autapses)
        self.neuron, self.synapse, self.autapses = neuron, synapse, autapses
        self.register_buffer("diagonal", torch.eye(len(synapse.weight), dtype=torch.bool), persistent=False)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("neuron", "synapse") and name in self.__dict__.get("_modules", ()):
            parts: dict[str, Any] = {"neuron": self.neuron, "synapse": self.synapse, name: value}
            _check_population(**parts, autapses=self.autapses)
            if len(parts["synapse"].weight) != len(self.get_buffer("diagonal")):
                raise ConfigError(
                    f"Recurrent has {len(self.get_buffer('diagonal'))} neurons, but the synapse is {value}. Build a "
                    "new Recurrent for another size."
                )
        super().__setattr__(name, value)

    def refill(self) -> None:
        self.get_buffer("diagonal").copy_(torch.eye(len(self.get_buffer("diagonal")), dtype=torch.bool))

    @property
    def delays(self) -> int:
        """Number of delay slots of the synapses."""
        return self.synapse.delays if isinstance(self.synapse, DelayedSynapses) else 1

    def structure(self) -> dict[str, float | str | bool | None]:
        return {"autapses": self.autapses}

    def weight(self) -> Tensor:
        """Return the effective weight [N, N]; without autapses its diagonal is zero."""
        renew_weights(self.synapse)
        weight = self.synapse.weight
        diagonal = self.get_buffer("diagonal")
        return weight if self.autapses else weight.masked_fill(diagonal, 0.0)

    def initial_state(self, x: Tensor) -> RecurrentState:
        return RecurrentState(self.neuron.initial_state(x), x.new_zeros(self.delays - 1, *x.shape))

    def forward(self, xs: Tensor, state: RecurrentState | None = None) -> tuple[Tensor, RecurrentState]:
        size = self.get_buffer("diagonal").shape[0]
        check_sequence("Recurrent", xs, size)
        if xs.dim() != 3:
            raise ShapeError(
                f"Recurrent needs currents [T, B, {size}], but got {list(xs.shape)}. Flatten the neurons first."
            )
        xs = full_precision("Recurrent", xs)
        weight = self.weight()
        check_like("Recurrent", "weight", weight, (size, size), xs)
        state = self.initial_state(xs[0]) if state is None else state
        check_state("Recurrent", state, RecurrentState)
        check_like("Recurrent", "history", state.history, (self.delays - 1, *xs.shape[1:]), xs)
        moving = self.neuron.moving(xs, state.neuron)._replace(history=state.history.unbind(0))
        delayed = self.synapse if isinstance(self.synapse, DelayedSynapses) else None
        out, moving = kernels.recurrent(
            self.neuron.program,
            xs,
            moving,
            self.neuron.parameters_for(xs),
            weight,
            delayed.delay if delayed else None,
            delayed.sparse if delayed else False,
        )
        history = torch.stack(moving.history) if moving.history else state.history
        return out, RecurrentState(self.neuron.settle(moving, xs.shape[1:]), history)
