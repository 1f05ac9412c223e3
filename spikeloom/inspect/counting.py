"""Firing statistics of layers: counts of spikes over the calls of a network.

A layer that never fires outputs zeros, and one that fires in every step outputs a constant: in both cases nothing is
learned through it, although the loss looks normal.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core import Stateful
from ..layers.hebbian_memory.layer import HebbianRead, HebbianWrite
from ..layers.recurrent import Recurrent
from ..layers.two_pass import RectifiedRecurrent
from ..neurons import DiehlCook, MaskedPSN, MembraneLIF, RateNeuron, SlidingPSN
from ..neurons.neuron import Neuron
from ..neurons.psn import PSN

SATURATED = 0.95
"""A neuron that spikes in more than this fraction of the steps is saturated, as is a layer of a higher mean rate."""
SILENT = 0.99
"""A layer with at least this fraction of silent neurons is silent."""


@dataclass(frozen=True)
class LayerActivity:
    """Firing statistics of a layer in a batch.

    Args:
        name: name of the layer, as in `named_modules`.
        neurons: number of neurons in the layer.
        rate: mean spikes per neuron and step.
        silent: fraction of the neurons that never spiked.
        saturated: fraction of the neurons that spiked in more than 95 % of the steps.
        gradient: Euclidean norm of the gradient of a loss with respect to the spikes; None if no loss was given.
    """

    name: str
    neurons: int
    rate: float
    silent: float
    saturated: float
    gradient: float | None = None

    @property
    def state(self) -> str:
        """Diagnosis: "silent", "saturated", or "" for a working layer."""
        if self.silent >= SILENT:
            return "silent"
        return "saturated" if self.rate > SATURATED else ""

    @property
    def advice(self) -> str:
        """Description of the problem and how to fix it; "" for a working layer."""
        if self.state == "silent":
            never = "none of its" if self.silent == 1.0 else f"only {1 - self.silent:.1%} of its"
            return (
                f"layer {self.name} is silent: {never} {self.neurons:,} neurons spiked, so almost nothing is learned "
                "through it. Try larger inputs or weights, a lower threshold, or a longer time constant."
            )
        if self.state == "saturated":
            return (
                f"layer {self.name} is saturated: its {self.neurons:,} neurons spike in {self.rate:.1%} of the steps, "
                "so it passes on almost nothing but a constant. Try smaller inputs or weights, a higher threshold, or "
                "a shorter time constant."
            )
        return ""

    def __str__(self) -> str:
        gradient = "" if self.gradient is None else f", gradient {self.gradient:.1e}"
        return (
            f"{self.name}: {self.neurons:,} neurons, {self.rate:.4f} spikes per step, {self.silent:.1%} silent, "
            f"{self.saturated:.1%} saturated{gradient}"
        )


class FiringCounter:
    """Counter of the spikes of the spiking layers of some modules, by forward hooks.

    Shapes: a spiking layer returns spikes [T, B, *N]; they are counted per neuron over all steps, samples and calls.

    Args:
        modules: modules by name; a name that is not empty becomes the prefix of the names of their layers.

    >>> from spikeloom.neurons import LIF
    >>> from spikeloom.layers import Sequential
    >>> net = Sequential(nn.Linear(4, 8), LIF())
    >>> counter = FiringCounter({"": net})
    >>> with counter.counting():
    ...     _ = net(torch.zeros(10, 3, 4))
    >>> [(layer.name, layer.neurons, layer.silent) for layer in counter.layers()]
    [('layers.1', 8, 1.0)]
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self.watched: dict[nn.Module, str] = {}
        for prefix, module in modules.items():
            for name, layer in module.named_modules():
                if may_spike(layer) and layer not in self.watched:
                    self.watched[layer] = ".".join(part for part in (prefix, name) if part) or type(layer).__name__
        self.counts: dict[tuple[str, int], tuple[Tensor, int]] = {}

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Count in the calls inside this block; earlier counts are dropped."""
        self.counts = {}
        hooks = [layer.register_forward_hook(self._see) for layer in self.watched]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def layers(self, gradients: Mapping[tuple[str, int], float] | None = None) -> list[LayerActivity]:
        """Return the activity of each layer in the order of the calls; one entry per number of neurons it had.

        Args:
            gradients: norm of the gradient of a layer, by its name and number of neurons.
        """
        several = [name for name, _ in self.counts]
        return [
            of_counts(
                key[0] if several.count(key[0]) == 1 else f"{key[0]} ({key[1]})", fired, cells,
                None if gradients is None else gradients.get(key, 0.0),
            )
            for key, (fired, cells) in self.counts.items()
        ]  # fmt: skip

    @torch.no_grad()
    def _see(self, layer: nn.Module, _: Any, out: Any) -> None:
        spikes = out[0] if isinstance(out, tuple) else out
        if torch.compiler.is_compiling() or not isinstance(spikes, Tensor) or spikes.dim() < 3:
            return
        columns = spikes.detach().flatten(0, 1).flatten(1)
        if isinstance(layer, RateNeuron):
            if not layer.spikes:
                return
            columns = (columns != 0).float()  # spikes of rate neurons have an amplitude
        elif not always_spikes(layer) and not is_binary(columns):
            return
        fired = (columns.new_ones(len(columns)) @ columns).double()  # a matrix product is faster than a sum
        key = self.watched[layer], columns.shape[1]
        before, cells = self.counts.get(key, (torch.zeros((), device=fired.device), 0))
        self.counts[key] = before + fired, cells + len(columns)


def of_counts(name: str, fired: Tensor, cells: int, gradient: float | None = None) -> LayerActivity:
    """Return the activity of a layer from the spike count of each neuron [N] over `cells` = steps * samples."""
    fraction = fired.double() / max(cells, 1)
    return LayerActivity(
        name,
        fraction.numel(),
        float(fraction.mean()),
        float((fraction == 0).double().mean()),
        float((fraction > SATURATED).double().mean()),
        gradient,
    )


def advice(layers: Iterable[LayerActivity]) -> list[str]:
    """Return the problems of these layers and how to fix them, one text per layer; empty if all layers work."""
    return [layer.advice for layer in layers if layer.advice]


def always_spikes(layer: nn.Module) -> bool:
    """Return whether a layer of the library returns spikes."""
    if isinstance(layer, Neuron):
        return layer.program.equation.fires != "never"
    spiking = (Recurrent, RectifiedRecurrent, HebbianWrite, HebbianRead, PSN, MaskedPSN, SlidingPSN, RateNeuron)
    return isinstance(layer, (*spiking, DiehlCook, MembraneLIF))


def may_spike(layer: nn.Module) -> bool:
    """Return whether a layer returns spikes, or is a custom `Stateful` layer that might."""
    own = isinstance(layer, Stateful) and not type(layer).__module__.startswith("spikeloom.")
    return always_spikes(layer) or (own and not any(isinstance(part, Stateful) for part in list(layer.modules())[1:]))


def is_binary(values: Tensor) -> bool:
    """Return whether all values are 0 or 1."""
    return bool(((values == 0) | (values == 1)).all())
