"""Synapses with delays.

    current[t, n] = sum_i weight[n, i] x[t - delay[n, i], i],   delay in whole steps, 0 .. delays - 1

Every synapse has a random, fixed delay of its own. On the CPU sparse inputs cost one addition per spike and synapse;
the state holds the inputs of the last delays - 1 steps.
Source: Bellec et al., 2018.
"""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from .. import kernels
from ..arguments import explained
from ..core import STRUCTURE, Stateful, renew_weights
from ..errors import CheckpointError, ConfigError, ShapeError, check_like, check_sequence, check_state
from ..neurons.neuron import full_precision


class DelayState(NamedTuple):
    """State of synapses with delays: the inputs that have not arrived yet."""

    past: Tensor  # [D - 1, B, I], inputs of the steps before, oldest first


class DelayedSynapses(Stateful):
    """Base class of synapses with delays; a subclass defines `weight` [n_out, n_in], then calls `draw_delays`.

    A `state_dict` with fewer delay slots can be loaded; one with more is an error.

    Raises:
        CheckpointError: a loaded `state_dict` has longer delays than this layer.
    """

    delay: Tensor | None
    bias: nn.Parameter | None
    if TYPE_CHECKING:

        @property
        def weight(self) -> Tensor: ...

    def __init__(self, n_in: int, n_out: int, delays: int) -> None:
        super().__init__()
        sizes = (n_in, n_out, delays)
        if not all(isinstance(size, int) for size in sizes) or min(sizes) < 1:
            raise ConfigError(
                f"{type(self).__name__} needs n_in, n_out and delays of at least 1, but got {n_in}, {n_out}, {delays}. "
                "They are counts: pass whole numbers."
            )
        self.n_in, self.n_out, self.delays = n_in, n_out, delays
        self.register_parameter("bias", None)

    @property
    def sparse(self) -> bool:
        """Whether synapses of weight zero do not exist."""
        return False

    def draw_delays(self, generator: torch.Generator | None) -> None:
        """Sample a fixed delay for every synapse, uniform in 0 .. delays - 1."""
        shape = self.n_out, self.n_in
        drawn = torch.randint(0, self.delays, shape, generator=generator) if self.delays > 1 else None
        self.register_buffer("delay", drawn)

    def structure(self) -> dict[str, float | str | bool | None]:
        return {**super().structure(), "delays": self.delays}

    def structure_fits(self, name: str, saved: Any, own: Any) -> bool:
        if name == "delays":
            return isinstance(saved, int) and saved <= self.delays
        return super().structure_fits(name, saved, own)

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, metadata: Any, strict: bool, missing: Any, unexpected: Any, errors: Any
    ) -> None:
        owner = f"{type(self).__name__}{f' ({prefix[:-1]})' * bool(prefix)}"
        key, structure = prefix + "delay", state_dict.get(prefix + STRUCTURE)
        if structure is not None:
            saved = self._check_structure(owner, structure, self.structure())
            if saved["delays"] == 1 and self.delay is not None:
                state_dict[key] = torch.zeros_like(self.delay)  # a layer without delays saves none
        delay = state_dict.get(key)
        if isinstance(delay, Tensor) and delay.numel():
            low, high = (float(value) for value in delay.aminmax())
            if delay.is_floating_point() or low < 0 or high >= self.delays:
                raise CheckpointError(
                    f"{owner} has delays={self.delays}, but the state_dict holds delays from {low:g} to {high:g} as "
                    f"{delay.dtype}. Build it with the delays it was saved with, at least {high + 1:g}, in whole steps."
                )
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing, unexpected, errors)

    def initial_state(self, x: Tensor) -> DelayState:
        return DelayState(x.new_zeros(self.delays - 1, *x.shape))

    def step(self, x: Tensor, state: DelayState) -> tuple[Tensor, DelayState]:
        renew_weights(self)
        out, state = self.forward(x.unsqueeze(0), state)
        return out[0], state

    def forward(self, xs: Tensor, state: DelayState | None = None) -> tuple[Tensor, DelayState]:
        owner, weight = type(self).__name__, self.weight
        check_sequence(owner, xs, self.n_in)
        if xs.dim() != 3:
            raise ShapeError(
                f"{owner} needs input [T, B, {self.n_in}], but got {list(xs.shape)}. Flatten the dimensions between."
            )
        xs = full_precision(owner, xs)
        check_like(owner, "weight", weight, (self.n_out, self.n_in), xs)
        state = self.initial_state(xs[0]) if state is None else state
        check_state(owner, state, DelayState)
        check_like(owner, "past", state.past, (self.delays - 1, *xs.shape[1:]), xs)
        out = kernels.project(xs, state.past, weight, self.delay, self.sparse)
        if self.bias is not None:
            out = out + self.bias
        return out, DelayState(_last(state.past, xs, self.delays - 1))

    def extra_repr(self) -> str:
        return f"n_in={self.n_in}, n_out={self.n_out}, delays={self.delays}"


@explained
class DelayedLinear(DelayedSynapses):
    """Linear layer whose synapses have delays; also usable as the synapses of `Recurrent`.

    Shapes: xs [T, B, n_in] -> currents [T, B, n_out]; weight and delay [n_out, n_in].
    Units: delays in steps.

    Args:
        n_in, n_out: number of presynaptic and postsynaptic neurons.
        delays: number of delay slots; each synapse's delay is uniform in 0 .. delays - 1; 1 means no delays.
        bias: whether a constant, learned current is added in every step, initially 0; not in `Recurrent`.
        generator: random generator of weights, N(0, 1) / sqrt(n_in), and delays.

    Raises:
        ConfigError: a size or the number of delays is not positive.
        ShapeError: input or state of a wrong shape, dtype or device.

    >>> layer = DelayedLinear(4, 3, delays=10, generator=torch.Generator().manual_seed(0))
    >>> layer(torch.ones(20, 2, 4))[0].shape
    torch.Size([20, 2, 3])
    """

    def __init__(
        self, n_in: int, n_out: int, *, delays: int = 1, bias: bool = False, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(n_in, n_out, delays)
        weight = torch.randn(n_out, n_in, generator=generator) / math.sqrt(n_in)
        self.register_parameter("weight", nn.Parameter(weight))
        if bias:
            self.register_parameter("bias", nn.Parameter(torch.zeros(n_out)))
        self.draw_delays(generator)


def _last(past: Tensor, xs: Tensor, count: int) -> Tensor:
    """Return the last `count` slices of past and xs together; a copy, as the input may be a reused buffer."""
    return xs[xs.shape[0] - count :].clone() if xs.shape[0] >= count else torch.cat([past[xs.shape[0] :], xs])
