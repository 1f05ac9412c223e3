"""Layers one after the other, those that live in time and those that do not."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ..core import State, Stateful
from ..errors import ShapeError


def folded(function: Callable[..., Any], *xs: Tensor, place: str = "") -> Any:
    """A module or function without time on sequences: all steps as one batch; what is constant in time, once.

    Shapes: xs [T, B, *N], each constant or not -> [T, B, *M]. What is no tensor, such as a size, comes back as it is.

    Raises:
        ShapeError: the function does not keep the samples apart.

    >>> import torch
    >>> ys = folded(torch.add, torch.ones(2, 3).expand(5, 2, 3), torch.ones(2, 3).expand(5, 2, 3))
    >>> ys.shape, ys.stride(0)
    (torch.Size([5, 2, 3]), 0)
    """
    steps, batch = xs[0].shape[:2]
    random = isinstance(function, nn.Module) and function.training
    once = steps > 1 and not random and all(x.stride(0) == 0 for x in xs)
    out = function(*(x[0] if once else x.flatten(0, 1) for x in xs))
    if not isinstance(out, Tensor):
        return out
    samples = batch if once else steps * batch
    if out.dim() == 0 or len(out) != samples:
        raise ShapeError(
            f"{place or 'A function'} turned {samples} samples into {list(out.shape)}. The first dimension must stay "
            "that of the samples: reduce, reshape and join along the others."
        )
    return out.expand(steps, *out.shape) if once else out.reshape(steps, batch, *out.shape[1:])


class Sequential(Stateful):
    """Layers in a row. A module without time, such as nn.Linear or nn.Conv2d, gets all steps folded into its batch.

    Shapes: those of the first layer in, those of the last out; the state is a tuple with `()` for modules without time.

    Args:
        layers: `Stateful` layers and ordinary modules.

    >>> import torch
    >>> from spikeloom.neurons import LIF
    >>> net = Sequential(nn.Linear(4, 8), LIF(), nn.Linear(8, 2))
    >>> out, state = net(torch.rand(10, 3, 4))
    >>> out.shape, len(state)
    (torch.Size([10, 3, 2]), 3)
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def initial_state(self, x: Tensor) -> tuple[State, ...]:
        states: list[State] = []
        for layer in self.layers:
            states.append(layer.initial_state(x) if isinstance(layer, Stateful) else ())
            x = layer.step(x, states[-1])[0] if isinstance(layer, Stateful) else layer(x)
        return tuple(states)

    def step(self, x: Tensor, state: tuple[State, ...]) -> tuple[Tensor, tuple[State, ...]]:
        new: list[State] = []
        for layer, old in zip(self.layers, state, strict=True):
            x, old = layer.step(x, old) if isinstance(layer, Stateful) else (layer(x), old)
            new.append(old)
        return x, tuple(new)

    def forward(self, xs: Tensor, state: tuple[State, ...] | None = None) -> tuple[Tensor, tuple[State, ...]]:
        new: list[State] = []
        for index, layer in enumerate(self.layers):
            if isinstance(layer, Stateful):
                xs, moved = layer(xs, None if state is None else state[index])
                new.append(moved)
            else:
                xs = folded(layer, xs)
                new.append(())
        return xs, tuple(new)
