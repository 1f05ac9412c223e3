"""Activity of a network in one call: mean rate, silent and saturated neurons of each spiking layer, and its gradient.

rate = mean over T, B, N of s[t, b, n]
gradient = || dL / ds ||, the Euclidean norm over all steps, samples and neurons of the layer's output s

print(activity(net, xs, loss=lambda out: cross_entropy(out.mean(0), labels)))
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..arguments import explained
from ..errors import ConfigError
from .counting import FiringCounter, LayerActivity, is_binary, of_counts
from .table import html_table, text_table
from .unchanged import output_of, requiring, unchanged


class ActivityTable(list[LayerActivity]):
    """Activity of the layers of a network, in the order of their calls: a list that prints as a table.

    >>> ActivityTable([LayerActivity("layers.1", 8, 0.25, 0.5, 0.0)])
    layer     neurons  spikes per step  silent  saturated
    layers.1        8           0.2500   50.0%       0.0%
    """

    __slots__ = ()

    def __str__(self) -> str:
        return text_table(*_cells(self)) if self else "no layer that spikes"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(*_cells(self)) if self else "no layer that spikes"


def _cells(layers: Sequence[LayerActivity]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of the table; a column appears if a layer has something to say in it."""
    gradients, states = any(layer.gradient is not None for layer in layers), any(layer.state for layer in layers)
    head = ["layer", "neurons", "spikes per step", "silent", "saturated"]
    rows = []
    for layer in layers:
        row = [layer.name, f"{layer.neurons:,}", f"{layer.rate:.4f}", f"{layer.silent:.1%}", f"{layer.saturated:.1%}"]
        row += [f"{layer.gradient or 0.0:.1e}"] * gradients + [layer.state] * states
        rows.append(row)
    return [*head, *["gradient"] * gradients, *[""] * states], rows


@explained
def activity(network: nn.Module, *inputs: Any, loss: Callable[[Any], Tensor] | None = None) -> ActivityTable:
    """Run a network once and return the activity of each of its spiking layers.

    Parameters, their gradients, buffers, generators, hooks and the mode (training or evaluation) are unchanged.

    Args:
        network: any module with spiking layers, or one that returns spikes itself.
        inputs: arguments of the network, for example a sequence [T, B, *N].
        loss: function of the network's output (without the state) that returns one number; the table then has the norm
            of its gradient with respect to the spikes of each layer.

    Raises:
        ConfigError: the loss is not one number with a gradient.

    >>> from spikeloom.neurons import LIF
    >>> from spikeloom.layers import Sequential
    >>> net = Sequential(nn.Linear(4, 8), LIF(threshold=0.1), nn.Linear(8, 2))
    >>> activity(net, torch.zeros(10, 3, 4), loss=lambda out: out.square().mean())
    layer     neurons  spikes per step  silent  saturated  gradient
    layers.1        8           ...
    """
    counter = FiringCounter({"": network})
    gradients = None
    with unchanged(network), counter.counting():
        if loss is None:
            with torch.no_grad():
                out = network(*inputs)
        else:
            with torch.enable_grad(), outputs_of(counter) as outputs:
                out = network(*requiring(inputs))
                gradients = _norms(outputs, one_number("activity", loss(output_of(out))))
    spikes = out[0] if isinstance(out, tuple) else out
    if not counter.counts and isinstance(spikes, Tensor) and spikes.dim() > 2 and is_binary(spikes):
        columns = spikes.detach().flatten(0, 1).flatten(1)
        return ActivityTable([of_counts(type(network).__name__, columns.sum(0), len(columns))])
    return ActivityTable(counter.layers(gradients))


@contextlib.contextmanager
def outputs_of(counter: FiringCounter) -> Iterator[list[tuple[str, Tensor]]]:
    """Collect the outputs of the layers of a counter in the calls inside this block, with the layers' names."""
    outputs = list[tuple[str, Tensor]]()

    def keep(layer: nn.Module, _: Any, out: Any) -> None:
        spikes = out[0] if isinstance(out, tuple) else out
        if isinstance(spikes, Tensor) and spikes.dim() > 2:
            outputs.append((counter.watched[layer], spikes))

    hooks = [layer.register_forward_hook(keep) for layer in counter.watched]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def one_number(owner: str, loss: Any) -> Tensor:
    """Return a loss; raise ConfigError unless it is one number with a gradient."""
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        shown = type(loss).__name__
        if isinstance(loss, Tensor):
            shown = f"a tensor {list(loss.shape)}{'' if loss.requires_grad else ' without a gradient'}"
        raise ConfigError(
            f"{owner} needs loss as a function of the output that returns one number with a gradient, but it returned "
            f"{shown}. Return, for example, out.square().mean()."
        )
    return loss.reshape(())


def _norms(outputs: list[tuple[str, Tensor]], loss: Tensor) -> dict[tuple[str, int], float]:
    """Return the norm of the gradient of a loss by layer and number of neurons, over all calls of the layer."""
    pairs = [(name, spikes) for name, spikes in outputs if spikes.requires_grad]
    found = torch.autograd.grad(loss, [spikes for _, spikes in pairs], allow_unused=True) if pairs else ()
    squares = dict[tuple[str, int], float]()
    for (name, spikes), gradient in zip(pairs, found, strict=True):
        if gradient is not None:
            key = name, spikes[0, 0].numel()
            squares[key] = squares.get(key, 0.0) + float(gradient.double().square().sum())
    return {key: square**0.5 for key, square in squares.items()}
