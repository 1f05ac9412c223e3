"""One run of a network that shows what reaches its layers: input currents, activity, gradients at every step."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..neurons.values import Valued
from .counting import FiringCounter, LayerActivity
from .firing import outputs_of
from .unchanged import output_of, requiring, unchanged


@dataclass
class Seen:
    """Tensors of a spiking layer in its last call of a run."""

    currents: Tensor  # [T, B, *N], the layer's input
    spikes: Tensor  # [T, B, *N]
    profile: Tensor | None = None  # [T], norm of the gradient with respect to the currents of a step


@dataclass
class ProbedRun:
    """Result of a run.

    Args:
        out: the network's output, without the state.
        activity: activity of the layers, in the order of their calls.
        seen: tensors of each layer, likewise.
        loss: the loss; None if there was none.
        parameters: gradient of the loss with respect to each parameter that has one, by name.
        failure: error that the loss raised.
    """

    out: Any
    activity: list[LayerActivity]
    seen: dict[str, Seen]
    loss: Tensor | None = None
    parameters: dict[str, Tensor] = field(default_factory=dict)
    failure: Exception | None = None


def probe(network: nn.Module, inputs: tuple[Any, ...], loss: Callable[[Any], Tensor] | None) -> ProbedRun:
    """Run a network once, with gradients if there is a loss; nothing in the network changes."""
    counter = FiringCounter({"": network})
    with unchanged(network), counter.counting(), _inputs_of(counter) as seen, outputs_of(counter) as outputs:
        if loss is None:
            with torch.no_grad():
                out = output_of(network(*inputs))
        else:
            with torch.enable_grad():
                out = output_of(network(*requiring(inputs)))
        found = ProbedRun(out, counter.layers(), {})
        for name, spikes in outputs:
            if name in seen:
                found.seen[name] = Seen(seen[name], spikes)
        if loss is not None:
            _differentiate(network, counter, outputs, found, loss)
    return found


def _differentiate(
    network: nn.Module,
    counter: FiringCounter,
    outputs: list[tuple[str, Tensor]],
    found: ProbedRun,
    loss: Callable[[Any], Tensor],
) -> None:
    """Add the loss of a probe, and its gradients at the layers."""
    with torch.enable_grad():
        try:
            value = loss(found.out)
        except Exception as error:  # noqa: BLE001 - a function of the user's own; what it raised is reported
            found.failure = error
            return
        if not isinstance(value, Tensor) or value.numel() != 1:
            shown = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            found.failure = TypeError(f"it returned {shown}, not one number")
            return
        found.loss = value.detach().reshape(())
        if not value.requires_grad:
            return
        learned = [(name, part) for name, part in network.named_parameters() if part.requires_grad]
        layers = [(name, one) for name, one in found.seen.items() if one.currents.requires_grad]
        spikes = [(name, out) for name, out in outputs if out.requires_grad]
        wanted = [*(part for _, part in learned), *(one.currents for _, one in layers), *(out for _, out in spikes)]
        if not wanted:
            return
        gradients = iter(torch.autograd.grad(value.reshape(()), wanted, allow_unused=True))
    for name, _ in learned:
        if (gradient := next(gradients)) is not None:
            found.parameters[name] = gradient
    for _, one in layers:
        gradient = next(gradients)
        known = torch.zeros_like(one.currents) if gradient is None else gradient
        one.profile = torch.linalg.vector_norm(known.double().flatten(1), dim=1)
    squares = dict[tuple[str, int], float]()
    for (name, out), gradient in zip(spikes, gradients, strict=True):
        if gradient is not None:
            key = name, out[0, 0].numel()
            squares[key] = squares.get(key, 0.0) + float(gradient.double().square().sum())
    found.activity = counter.layers({key: square**0.5 for key, square in squares.items()})


@contextlib.contextmanager
def _inputs_of(counter: FiringCounter) -> Iterator[dict[str, Tensor]]:
    """Collect the inputs of the layers of a counter in the calls inside this block; of the last call each."""
    seen = dict[str, Tensor]()

    def keep(layer: nn.Module, arguments: tuple[Any, ...]) -> None:
        if arguments and isinstance(arguments[0], Tensor) and arguments[0].dim() > 2:
            seen[counter.watched[layer]] = arguments[0]

    hooks = [layer.register_forward_pre_hook(keep) for layer in counter.watched]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def threshold_of(layer: nn.Module) -> float | None:
    """Return the smallest threshold of a layer's neurons; None for neurons without one, or in units of their own.

    >>> from spikeloom.neurons import LIF
    >>> threshold_of(LIF(threshold=0.3))
    0.3
    """
    neuron = layer if isinstance(layer, Valued) else getattr(layer, "neuron", None)
    if not isinstance(neuron, Valued) or "threshold" not in neuron.values:
        return None
    return float(torch.as_tensor(neuron.value("threshold"), dtype=torch.float64).detach().min())
