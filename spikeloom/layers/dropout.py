"""Dropout with one mask for a whole sequence."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..arguments import explained
from ..core import Stateful
from ..errors import ConfigError, check_like, check_sequence, check_state
from ..kernels.noise import keys, uniform


class SequenceDropoutState(NamedTuple):
    """State of a `SequenceDropout`."""

    mask: Tensor  # [B, *N], 0 or 1 / (1 - p)


@explained
class SequenceDropout(Stateful):
    """Dropout with one mask for the whole sequence: a value that is dropped in one step is dropped in all.

    nn.Dropout in a `Sequential` samples a new mask in every step. In training mode a sample's mask is sampled with its
    initial state and kept there, so a sequence in chunks gives the same output as a whole one; in evaluation mode the
    input is returned unchanged.

    Shapes: xs [T, B, *N] -> [T, B, *N].

    Args:
        p: probability that a value is dropped, in [0, 1); the others are scaled by 1 / (1 - p).
        generator: random generator of a key for each sample; by default torch's default one.

    Raises:
        ConfigError: p is out of range.
        ShapeError: the input is not a sequence, or the state has another shape, dtype or device.

    >>> out, _ = SequenceDropout(0.5, generator=torch.Generator().manual_seed(0))(torch.ones(3, 1, 6))
    >>> out[:, 0].tolist()
    [[...], [...], [...]]
    >>> bool((out == out[0]).all())
    True
    """

    def __init__(self, p: float = 0.5, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ConfigError(f"SequenceDropout needs p in [0, 1), but got {p}.")
        self.p, self.generator = p, generator

    def initial_state(self, x: Tensor) -> SequenceDropoutState:
        if not self.training or not self.p:
            return SequenceDropoutState(torch.ones_like(x, requires_grad=False))
        drawn = uniform(keys(len(x), x.device, self.generator), x[:1].numel(), torch.float32).view(x.shape)
        return SequenceDropoutState((drawn >= self.p).to(x.dtype) / (1.0 - self.p))

    def step(self, x: Tensor, state: SequenceDropoutState) -> tuple[Tensor, SequenceDropoutState]:
        check_state("SequenceDropout", state, SequenceDropoutState)
        check_like("SequenceDropout", "mask", state.mask, tuple(x.shape), x)
        return x * state.mask if self.training else x, state

    def forward(self, xs: Tensor, state: SequenceDropoutState | None = None) -> tuple[Tensor, SequenceDropoutState]:
        check_sequence("SequenceDropout", xs)
        state = self.initial_state(xs[0]) if state is None else state
        check_state("SequenceDropout", state, SequenceDropoutState)
        check_like("SequenceDropout", "mask", state.mask, tuple(xs.shape[1:]), xs)
        return xs * state.mask if self.training else xs, state

    def extra_repr(self) -> str:
        return f"p={self.p}"
