"""Layers one after the other, those that live in time and those that do not."""

from torch import Tensor, nn

from ..core import State, Stateful


def folded(layer: nn.Module, xs: Tensor) -> Tensor:
    """A module without time on a sequence: all steps are folded into its batch.

    An input that is constant in time, as `x.expand(T, *x.shape)` makes it, is computed once in eval mode and stays so.

    >>> import torch
    >>> ys = folded(nn.Linear(4, 2).eval(), torch.rand(3, 4).expand(10, 3, 4))
    >>> ys.shape, ys.stride(0)
    (torch.Size([10, 3, 2]), 0)
    """
    if len(xs) > 1 and xs.stride(0) == 0 and not layer.training:
        once: Tensor = layer(xs[0])
        return once.expand(len(xs), *once.shape)
    result: Tensor = layer(xs.flatten(0, 1)).unflatten(0, xs.shape[:2])
    return result


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
