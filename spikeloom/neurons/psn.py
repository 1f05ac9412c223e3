"""Parallel spiking neurons with learned weights over time (PSN, masked PSN, sliding PSN).

    h[t] = sum_j W[t, j] x[j] + bias[t],                    s[t] = 1 if h[t] >= 0 else 0       PSN
    W[t, j] (m M[t, j] + 1 - m) instead of W[t, j],         M[t, j] = 1 if t - k < j <= t      masked PSN
    h[t] = sum_d w[k - 1 - d] x[t - d] + bias, d < k                                           sliding PSN

There is no reset, so no step depends on the spikes before it. A PSN has one weight for every pair of steps: its length
is fixed, and a step receives later inputs, too. Masking m, raised from 0 to 1 in training, removes later and distant
inputs: at 1 a step receives the last k inputs, k being the order. A sliding PSN shares k weights among all steps and
accepts any length.
Source: Fang et al., Parallel spiking neurons with high efficiency and ability to learn long-term dependencies, NeurIPS
2023 (arXiv 2304.12760).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..arguments import explained
from ..core import Stateful, Structured, renew_weights
from ..errors import (
    ConfigError,
    ShapeError,
    as_number,
    check_count,
    check_generator,
    check_like,
    check_sequence,
    check_state,
)
from ..firing import Firing
from ..kernels.transforms import readable, without_autocast
from ..surrogate import Arctan, Surrogate, check_surrogate, spike
from .neuron import full_precision

ARCTAN = Arctan()
CHUNK = 50
"""Steps of a sliding PSN per matrix product."""


@explained
class PSN(Structured):
    """Parallel spiking neurons whose steps all receive the whole sequence; not `Stateful`, as there is no single step.

    Shapes: xs [T, B, *N] -> spikes [T, B, *N], 0 or 1; T = steps. weight [T, T], bias [T], shared by all neurons.

    Args:
        steps: length of every sequence.
        surrogate: surrogate gradient of the spikes.
        generator: random generator of the weights, uniform within +-1 / sqrt(T); the bias starts at -1.

    Raises:
        ConfigError: `steps` is below 1.
        ShapeError: input of another length, or of a wrong shape, dtype or device.

    >>> PSN(8, generator=torch.Generator().manual_seed(0))(torch.rand(8, 2, 3) * 9).shape
    torch.Size([8, 2, 3])
    """

    def __init__(self, steps: int, *, surrogate: Surrogate = ARCTAN, generator: torch.Generator | None = None) -> None:
        super().__init__()
        _check_arguments("PSN", surrogate, generator, steps=steps)
        self.steps, self.surrogate = int(steps), surrogate
        self.weight, self.bias = _matrix(self.steps, generator)

    def structure(self) -> dict[str, float | str | bool | None]:
        return {"steps": self.steps}

    def forward(self, xs: Tensor) -> Tensor:
        xs = _prepared("PSN", xs, self.weight)
        _check_length("PSN", xs, self.steps)
        return spike(_product(self.weight, xs, self.bias), self.surrogate, strict=False)

    def extra_repr(self) -> str:
        return f"steps={self.steps}, surrogate={self.surrogate}"


class MaskedPSNState(NamedTuple):
    """State of a `MaskedPSN`."""

    past: Tensor  # [k - 1, B, *N], inputs of the last steps, oldest first
    seen: Tensor  # int64 [], number of steps so far


@explained
class MaskedPSN(Stateful):
    """Parallel spiking neurons whose steps receive the last `order` inputs, each step with weights of its own.

    Shapes: xs [T, B, *N] -> spikes [T, B, *N], 0 or 1; T <= steps in all. weight [steps, steps], bias [steps].

    Args:
        steps: maximum length of a sequence.
        order: number of inputs that a step receives, its own included; 1 to `steps`.
        masking: degree to which the other weights are removed, 0 to 1. Below 1 a step receives later inputs: then only
            `forward` of all `steps` at once is defined. `set_masking` changes it during training.
        surrogate: surrogate gradient of the spikes.
        generator: random generator of the weights, uniform within +-1 / sqrt(steps); the bias starts at -1.

    Raises:
        ConfigError: a count or `masking` is out of range, or a sequence is continued with masking below 1.
        ShapeError: too many steps; input or state of a wrong shape, dtype or device.

    >>> layer = MaskedPSN(8, 3, generator=torch.Generator().manual_seed(0))
    >>> first, state = layer(torch.rand(5, 2, 4) * 9)
    >>> layer(torch.rand(3, 2, 4) * 9, state)[1].seen.item()
    8
    """

    masking: Tensor
    band: Tensor

    def __init__(
        self,
        steps: int,
        order: int,
        *,
        masking: float = 1.0,
        surrogate: Surrogate = ARCTAN,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check_arguments("MaskedPSN", surrogate, generator, steps=steps, order=order)
        steps, order = int(steps), int(order)
        if order > steps:
            raise ConfigError(f"MaskedPSN needs order of at most steps={steps}, but got {order}.")
        self.steps, self.order, self.surrogate = steps, order, surrogate
        self.weight, self.bias = _matrix(steps, generator)
        self.register_buffer("masking", torch.ones(()))
        self.register_buffer("band", torch.ones(steps, steps).tril().triu(1 - order), persistent=False)
        self.set_masking(masking)

    def set_masking(self, masking: float) -> None:
        """Set the degree to which weights outside the last `order` inputs are removed: 0 (kept) to 1 (removed)."""
        self.masking.fill_(as_number("MaskedPSN", "masking", masking, "from 0 to 1", lambda x: 0.0 <= x <= 1.0))

    def structure(self) -> dict[str, float | str | bool | None]:
        return {"steps": self.steps, "order": self.order}

    def refill(self) -> None:
        self.band.copy_(torch.ones(self.steps, self.steps).tril().triu(1 - self.order))

    def check(self) -> None:
        self._masking()

    def _masking(self) -> float:
        """Return the masking; while tracing, when it cannot be read, return 1 and assert this when the graph runs."""
        if not readable(self.masking):
            torch._assert_async(self.masking == 1, "MaskedPSN needs masking 1 for part of a sequence, or to carry on.")
            return 1.0
        masking = float(self.masking)
        if not 0.0 <= masking <= 1.0:
            raise ConfigError(f"MaskedPSN needs masking from 0 to 1, but it is {masking} now. Call set_masking(1.0).")
        return masking

    def masked(self) -> Tensor:
        """Return the weights after masking, [steps, steps]."""
        return self.weight * (self.masking * self.band + 1 - self.masking)

    def initial_state(self, x: Tensor) -> MaskedPSNState:
        past = x.new_zeros(self.order - 1, *x.shape)
        return MaskedPSNState(past, torch.zeros((), dtype=torch.int64, device=x.device))

    def step(self, x: Tensor, state: MaskedPSNState) -> tuple[Tensor, MaskedPSNState]:
        renew_weights(self)
        out, state = self.forward(x.unsqueeze(0), state)
        return out[0], state

    def forward(self, xs: Tensor, state: MaskedPSNState | None = None) -> tuple[Tensor, MaskedPSNState]:
        xs = _prepared("MaskedPSN", xs, self.weight)
        whole = state is None and len(xs) == self.steps  # then any masking is allowed
        masking = 1.0 if whole and not readable(self.masking) else self._masking()
        if masking < 1.0:
            if state is not None:
                raise ConfigError(
                    f"MaskedPSN goes step by step, or on from a state, only with masking 1, but it is {masking:g}: a "
                    "step sees its future. Pass the whole sequence and state=None, or call set_masking(1.0)."
                )
            _check_length("MaskedPSN with masking below 1", xs, self.steps)
        now = self.initial_state(xs[0]) if state is None else state
        check_state("MaskedPSN", now, MaskedPSNState)
        past, seen = now
        check_like("MaskedPSN", "past", past, (self.order - 1, *xs.shape[1:]), xs)
        if not isinstance(seen, Tensor) or seen.dim() or seen.dtype != torch.int64 or seen.device != xs.device:
            raise ShapeError(f"MaskedPSN needs a state whose seen is an int64 tensor of 0 or more, but got {seen!r}.")
        start = 0 if state is None or not readable(seen) else int(seen)
        if start < 0:
            raise ShapeError(f"MaskedPSN needs a state whose seen is an int64 tensor of 0 or more, but got {seen!r}.")
        end = start + len(xs)
        if end > self.steps:
            raise ShapeError(
                f"MaskedPSN has weights for {self.steps} steps, but got {len(xs)} after {start}. Build it with "
                f"steps={end}, start afresh with state=None, or use SlidingPSN, which takes any length."
            )
        window, weight = torch.cat([past, xs]), self.masked()
        if state is None:
            distance = _product(weight[:end, :end], xs, self.bias[:end])
        else:
            rows = seen + torch.arange(len(xs), device=xs.device)  # tensors, since `seen` cannot be read while tracing
            columns = seen + torch.arange(len(window), device=xs.device)
            weight = functional.pad(weight, (self.order - 1, 0))  # zeros for the steps before the first
            weight = weight.index_select(0, rows).index_select(1, columns)
            distance = _product(weight, window, self.bias.index_select(0, rows))
        spikes = spike(distance, self.surrogate, strict=False)
        return spikes, MaskedPSNState(window[len(xs) :], seen + len(xs))

    def extra_repr(self) -> str:
        return f"steps={self.steps}, order={self.order}, masking={float(self.masking):g}, surrogate={self.surrogate}"


class SlidingPSNState(NamedTuple):
    """State of a `SlidingPSN`."""

    past: Tensor  # [k - 1, B, *N], inputs of the last steps, oldest first


@explained
class SlidingPSN(Stateful):
    """Parallel spiking neurons whose steps share the weights of the last `order` inputs.

    Shapes: xs [T, B, *N] -> spikes [T, B, *N], 0 or 1. weight [order], oldest first; bias [].

    Args:
        order: number of inputs that a step receives, its own included. Their weights start at ... 1/4, 1/2, 1, the bias
            at -1.
        surrogate: surrogate gradient of the spikes.

    Raises:
        ConfigError: `order` is below 1.
        ShapeError: input or state of a wrong shape, dtype or device.

    >>> xs = torch.tensor([0.0, 0.5, 0.5, 0.5, 1.0, 0.0]).reshape(6, 1, 1)
    >>> SlidingPSN(3)(xs)[0].flatten().tolist()
    [0.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    """

    def __init__(self, order: int, *, surrogate: Surrogate = ARCTAN) -> None:
        super().__init__()
        _check_arguments("SlidingPSN", surrogate, None, order=order)
        self.order, self.surrogate = int(order), surrogate
        self.weight = nn.Parameter(0.5 ** torch.arange(self.order - 1, -1, -1.0))
        self.bias = nn.Parameter(torch.tensor(-1.0))

    def structure(self) -> dict[str, float | str | bool | None]:
        return {"order": self.order}

    def initial_state(self, x: Tensor) -> SlidingPSNState:
        return SlidingPSNState(x.new_zeros(self.order - 1, *x.shape))

    def step(self, x: Tensor, state: SlidingPSNState) -> tuple[Tensor, SlidingPSNState]:
        renew_weights(self)
        out, state = self.forward(x.unsqueeze(0), state)
        return out[0], state

    def forward(self, xs: Tensor, state: SlidingPSNState | None = None) -> tuple[Tensor, SlidingPSNState]:
        xs = _prepared("SlidingPSN", xs, self.weight)
        state = self.initial_state(xs[0]) if state is None else state
        check_state("SlidingPSN", state, SlidingPSNState)
        past = state.past
        check_like("SlidingPSN", "past", past, (self.order - 1, *xs.shape[1:]), xs)
        steps, chunk = len(xs), min(CHUNK, len(xs))
        window = torch.cat([past, xs, xs.new_zeros(-steps % chunk, *xs.shape[1:])])
        with without_autocast(xs):
            distance = self._weighed(window.flatten(1), chunk)[:steps].reshape(xs.shape) + self.bias
        spikes = spike(distance, self.surrogate, strict=False)
        return spikes, SlidingPSNState(window[steps : steps + self.order - 1])

    def _weighed(self, window: Tensor, chunk: int) -> Tensor:
        """Return the weighted sums; a product of a banded matrix and the inputs it reads computes `chunk` steps."""
        width = chunk + self.order - 1
        reads = window.unfold(0, width, chunk).transpose(1, 2)  # [n, width, B N], a view
        rows = functional.pad(self.weight, (chunk - 1, chunk - 1)).unfold(0, width, 1).flip(0)  # [chunk, width]
        return torch.bmm(rows.expand(len(reads), -1, -1), reads).flatten(0, 1)

    def extra_repr(self) -> str:
        return f"order={self.order}, surrogate={self.surrogate}"


def _matrix(steps: int, generator: torch.Generator | None) -> tuple[nn.Parameter, nn.Parameter]:
    """Return initial weights [T, T] and bias [T]."""
    weight = nn.init.kaiming_uniform_(torch.empty(steps, steps), a=math.sqrt(5), generator=generator)
    return nn.Parameter(weight), nn.Parameter(torch.full((steps,), -1.0))


def _product(weight: Tensor, xs: Tensor, bias: Tensor) -> Tensor:
    """Return weight [T, S] times xs [S, B, *N] plus bias [T], without autocast."""
    with without_autocast(xs):
        return torch.addmm(bias[:, None], weight, xs.flatten(1)).reshape(len(weight), *xs.shape[1:])


def _prepared(owner: str, xs: Tensor, weight: Tensor) -> Tensor:
    """Return the input in full precision, checked against the weights."""
    check_sequence(owner, xs)
    xs = full_precision(owner, xs)
    check_like(owner, "weight", weight, tuple(weight.shape), xs)
    return xs


def _check_arguments(owner: str, surrogate: Surrogate, generator: torch.Generator | None, **counts: int) -> None:
    """Raise ConfigError unless every count is an integer of at least 1, and the surrogate is not stochastic."""
    check_count(owner, **counts)
    check_surrogate(owner, surrogate)
    check_generator(owner, generator)
    if isinstance(surrogate, Firing):
        raise ConfigError(
            f"{owner} does not spike at random, but got surrogate={surrogate}. Pass a surrogate such as Arctan()."
        )


def _check_length(owner: str, xs: Tensor, steps: int) -> None:
    """Raise ShapeError unless a sequence has `steps` steps."""
    if len(xs) != steps:
        raise ShapeError(
            f"{owner} needs all of its {steps} steps at once, but got {list(xs.shape)}, which has {len(xs)}. Build it "
            f"with steps={len(xs)}, or use SlidingPSN, which takes any length."
        )
