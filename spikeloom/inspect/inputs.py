"""Findings about the input: its scale, and axes of time and batch that were exchanged."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..core import Stateful
from ..neurons import PSN
from .diagnosis import Symptom
from .probe import ProbedRun, probe, threshold_of

SMALL = 0.01
"""Largest value of an input below which it may have been scaled twice."""
IDLE = 0.01
"""Fraction of the spikes of the first layer that an input must change to have an effect."""
SMOOTH, ROUGH = 0.3, 4.0
"""Correlation of neighbours along the samples that is suspicious if that along time is ROUGH times smaller."""

Loss = Callable[[Any], Tensor]


def exchanged_axes(
    network: nn.Module, inputs: tuple[Any, ...], loss: Loss, labels: Tensor | None, found: ProbedRun
) -> list[Symptom]:
    """Return a finding if the input fits better with its first two axes exchanged: samples first, then time."""
    xs = next((x for x in inputs if isinstance(x, Tensor) and x.dim() > 2), None)
    in_time = any(isinstance(layer, Stateful | PSN) for layer in network.modules())
    if xs is None or xs.shape[0] == xs.shape[1] or not in_time:
        return []
    first, second = xs.shape[:2]
    why = ""
    if labels is not None and labels.dim() == 1:
        if len(labels) == first:
            why = f"there are {first} labels, which is its first size; the second, that of the samples, is {second}"
        elif len(labels) == second:
            return []
    if not why and found.failure is not None:
        turned = tuple(_turned(x, first, second) for x in inputs)
        try:
            again = probe(network, turned, loss)
        except (RuntimeError, ValueError):
            return []
        if again.failure is None:
            why = "the loss cannot be computed from its output, but can with both axes exchanged"
    if not why and labels is None:
        along_time, along_samples = (_smoothness(xs, dim) for dim in (0, 1))
        if along_samples >= SMOOTH and ROUGH * max(along_time, 0.0) <= along_samples:
            why = (
                f"neighbours along its second axis, that of the samples, are alike (correlation {along_samples:.2f}), "
                f"those along the first, time, are not ({along_time:.2f})"
            )
    if not why:
        return []
    return [
        Symptom(
            "time and batch", "input", f"its shape {list(xs.shape)} looks like [B, T, ...]: {why}.",
            "Sequences are [T, B, ...], time first: pass xs.transpose(0, 1).",
        )
    ]  # fmt: skip


def _turned(x: Any, first: int, second: int) -> Any:
    fits = isinstance(x, Tensor) and x.dim() > 2 and tuple(x.shape[:2]) == (first, second)
    return x.transpose(0, 1) if fits else x


def _smoothness(xs: Tensor, dim: int) -> float:
    """Return the correlation of neighbours along a dimension, without the mean of each feature; 0 if there is none.

    >>> wave = torch.sin(torch.arange(100.0) / 9).reshape(-1, 1, 1) * torch.randn(1, 30, 5).sign()
    >>> _smoothness(wave, 0) > 0.9, abs(_smoothness(wave, 1)) < 0.5
    (True, True)
    """
    part = xs.detach()[:256, :256].flatten(2)[:, :, :256].double()
    if part.shape[dim] < 4:
        return 0.0
    rest = part - part.mean((0, 1))
    scale = float(rest.square().mean())
    length = part.shape[dim] - 1
    alike = float((rest.narrow(dim, 0, length) * rest.narrow(dim, 1, length)).mean())
    return alike / scale if scale > 0 else 0.0


def too_small(network: nn.Module, inputs: tuple[Any, ...], found: ProbedRun) -> list[Symptom]:
    """Return a finding if the input is so small that it has no effect on the spikes of the first layer."""
    xs = next((x for x in inputs if isinstance(x, Tensor) and x.is_floating_point() and x.numel()), None)
    if xs is None or not found.seen:
        return []
    largest = float(xs.detach().abs().max())
    if largest >= SMALL:
        return []
    zero = tuple(torch.zeros_like(x) if x is xs else x for x in inputs)
    name, seen = next(iter(found.seen.items()))
    without = probe(network, zero, None).seen.get(name)
    if without is None or without.spikes.shape != seen.spikes.shape:
        return []
    differing = int((without.spikes != seen.spikes).sum())
    if differing > IDLE * max(int((seen.spikes != 0).sum()), 1):
        return []
    threshold = threshold_of(dict(network.named_modules()).get(name, network))
    moved = float((without.currents - seen.currents).detach().abs().max())
    against = "" if threshold is None else f", whose threshold is {threshold:.3g}"
    return [
        Symptom(
            "input scale", "input",
            f"its largest value is {largest:.2g}, and it moves the currents of {name} by at most {moved:.2g}{against}: "
            "the spikes are as good as those without input.",
            "Bytes divided by 255 twice look like this: divide once. Otherwise multiply the input, or standardise it.",
        )
    ]  # fmt: skip
