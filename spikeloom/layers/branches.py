"""Layers in parallel: the sum or the concatenation of branches, and residual connections."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..arguments import explained
from ..core import State, Stateful
from ..errors import ConfigError, ShapeError, check_state
from .inner import check_layer, check_parts, check_timed, run, start, step
from .sequential import Container


class Branches(Container):
    """Parallel layers: each gets the same input, and their outputs are summed or concatenated.

    Shapes: xs [T, B, *N]; outputs [T, B, *M], of one shape to be summed; to be concatenated they may differ in the
    first dimension after the batch (the features, or the channels of an image). The state is a tuple, an item per
    layer.

    Args:
        layers: `Stateful` layers and ordinary modules; or one OrderedDict of them by name.
        reduce: "sum" or "concatenate".

    Raises:
        ConfigError: no layer, an unknown `reduce`, or a layer that `Sequential` would refuse.
        ShapeError: outputs that do not fit together, or the state of another network.

    >>> from spikeloom.layers import Sequential
    >>> from spikeloom.neurons import LIF
    >>> fast, slow = (Sequential(nn.Linear(4, 3), LIF(tau_mem)) for tau_mem in (5.0, 50.0))
    >>> Branches(fast, slow, reduce="concatenate")(torch.rand(10, 2, 4))[0].shape
    torch.Size([10, 2, 6])
    """

    def __init__(self, *layers: Any, reduce: Literal["sum", "concatenate"] = "sum") -> None:
        super().__init__(layers)
        if reduce not in ("sum", "concatenate"):
            raise ConfigError(f'Branches needs reduce "sum" or "concatenate", but got {reduce!r}.')
        if not len(self):
            raise ConfigError("Branches needs at least one layer, but got none.")
        self.reduce = reduce

    def structure(self) -> dict[str, float | str | bool | None]:
        return {"reduce": self.reduce}

    def initial_state(self, x: Tensor) -> tuple[State, ...]:
        return tuple(start(layer, x)[1] for layer in self.layers)

    def step(self, x: Tensor, state: tuple[State, ...]) -> tuple[Tensor, tuple[State, ...]]:
        check_parts("Branches", state, self.layers)
        outs, new = zip(*(step(layer, x, old) for layer, old in zip(self.layers, state, strict=True)), strict=True)
        return self._joined(outs, 1), new

    def forward(self, xs: Tensor, state: tuple[State, ...] | None = None) -> tuple[Tensor, tuple[State, ...]]:
        check_timed("Branches", xs)
        if state is not None:
            check_parts("Branches", state, self.layers)
        old = (None,) * len(self) if state is None else state
        outs, new = zip(*(run(layer, xs, part) for layer, part in zip(self.layers, old, strict=True)), strict=True)
        return self._joined(outs, 2), new

    def _joined(self, outs: tuple[Tensor, ...], dim: int) -> Tensor:
        """Return the outputs summed, or concatenated along `dim`, that of the features."""
        add_up = self.reduce == "sum"
        shapes = [out.shape if add_up else (*out.shape[:dim], *out.shape[dim + 1 :]) for out in outs]
        if len(set(shapes)) > 1:
            raise ShapeError(
                f"Branches cannot {self.reduce} outputs {', '.join(str(list(out.shape)) for out in outs)}. They must "
                f"{'be of one shape' if add_up else f'differ in dimension {dim} alone'}: end each branch with a "
                "layer that "
                "makes them so."
            )
        return sum(outs[1:], outs[0]) if add_up else torch.cat(outs, dim)

    def extra_repr(self) -> str:
        return f"reduce={self.reduce!r}"


class ResidualState(NamedTuple):
    """State of a `Residual`."""

    layer: State
    shortcut: State


@explained
class Residual(Stateful):
    """Layer with a residual connection: `x + layer(x)`, or `shortcut(x) + layer(x)`.

    Shapes: xs [T, B, *N] -> [T, B, *M]; without a shortcut M = N.

    Args:
        layer: for example `Sequential(conv, LIF())`.
        shortcut: module on the residual connection, for example nn.Conv2d(8, 16, 1); None for the identity.

    Raises:
        ConfigError: a layer that `Sequential` would refuse.
        ShapeError: layer and shortcut return different shapes, or the state is that of another network.

    >>> from spikeloom.layers import Sequential
    >>> from spikeloom.neurons import LIF
    >>> block = Residual(Sequential(nn.Conv2d(2, 2, 3, padding=1), LIF()))
    >>> block(torch.rand(5, 1, 2, 8, 8))[0].shape
    torch.Size([5, 1, 2, 8, 8])
    """

    def __init__(self, layer: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        shortcut = nn.Identity() if shortcut is None else shortcut
        for part in (layer, shortcut):
            check_layer("Residual", part)
        self.layer, self.shortcut = layer, shortcut

    def initial_state(self, x: Tensor) -> ResidualState:
        return ResidualState(start(self.layer, x)[1], start(self.shortcut, x)[1])

    def step(self, x: Tensor, state: ResidualState) -> tuple[Tensor, ResidualState]:
        self._check(state)
        out, layer = step(self.layer, x, state.layer)
        around, shortcut = step(self.shortcut, x, state.shortcut)
        return self._sum(around, out), ResidualState(layer, shortcut)

    def forward(self, xs: Tensor, state: ResidualState | None = None) -> tuple[Tensor, ResidualState]:
        check_timed("Residual", xs)
        if state is not None:
            self._check(state)
        old = ResidualState(None, None) if state is None else state
        out, layer = run(self.layer, xs, old.layer)
        around, shortcut = run(self.shortcut, xs, old.shortcut)
        return self._sum(around, out), ResidualState(layer, shortcut)

    def _check(self, state: ResidualState) -> None:
        check_state("Residual", state, ResidualState)
        check_parts("Residual", tuple(state), (self.layer, self.shortcut))

    def _sum(self, around: Tensor, out: Tensor) -> Tensor:
        if around.shape != out.shape:
            raise ShapeError(
                f"Residual adds its layer's output {list(out.shape)} to {list(around.shape)}, which differ. "
                "Pass a shortcut "
                "that makes the second like the first, for example nn.Linear or nn.Conv2d(..., kernel_size=1, "
                "stride=...)."
            )
        return around + out
