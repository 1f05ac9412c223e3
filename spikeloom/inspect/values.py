"""Findings about numbers: what is not finite, and learned values at the bounds of their ranges."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..neurons.values import FLOOR, Valued
from .diagnosis import Symptom

FORGETS, HOLDS = 3.0, 100.0
"""A learned time constant below dt / FORGETS has no memory, one above HOLDS sequences no leak."""


def not_finite(network: nn.Module, inputs: tuple[Any, ...]) -> Iterator[Symptom]:
    """Yield the parameters and inputs that are not finite."""
    for name, part in network.named_parameters():
        if not bool(torch.isfinite(part).all()):
            yield Symptom(
                "value", name, "this parameter is not finite.", "Load a checkpoint from before, or initialise it again."
            )
    for number, xs in enumerate(inputs):
        if isinstance(xs, Tensor) and not bool(torch.isfinite(xs).all()):
            bad = int((~torch.isfinite(xs)).sum())
            yield Symptom(
                "value", input_name(inputs, number), f"{bad:,} of its {xs.numel():,} values are not finite.",
                "Look at the reader or the encoder; a logarithm or a division by a standard deviation of 0 does this.",
            )  # fmt: skip


def input_name(inputs: tuple[Any, ...], number: int) -> str:
    return "input" if len(inputs) == 1 else f"input {number}"


def at_bounds(network: nn.Module, inputs: tuple[Any, ...]) -> Iterator[Symptom]:
    """Yield the learned values that are at or near the bound of their range."""
    steps = next((len(xs) for xs in inputs if isinstance(xs, Tensor) and xs.dim() > 2), 1)
    for place, layer in network.named_modules():
        if not isinstance(layer, Valued):
            continue
        where = place or type(layer).__name__
        for name in layer.values:
            learned = name in layer.starts
            if not learned and not isinstance(layer._parameters.get(name), nn.Parameter):
                continue
            value = torch.as_tensor(layer.value(name)).detach().double()
            if name.startswith("tau_"):
                yield from _time_constant(where, name, value, float(getattr(layer, "dt", 1.0)), steps)
            elif learned and layer.starts[name][0].startswith("raw_"):
                number = layer.starts[name][1]
                start = layer.get_buffer(name + "_start") if number is None else torch.tensor(number)
                low = (value.abs() <= 4 * FLOOR * start.abs().double()) & (start != 0)
                if bool(low.any()):
                    yield Symptom(
                        "bound", where,
                        f"the learned {name} of {_count(low)} is at its lower bound, {FLOOR:.4f} times its start, "
                        "where its gradient is almost 0.",
                        f"Start from another {name}, or lower its learning rate.",
                    )  # fmt: skip
            elif name == "threshold" and bool((value <= 0).any()):
                yield Symptom(
                    "bound", where,
                    f"the learned threshold of {_count(value <= 0)} is not above 0 and has no gradient.",
                    'Pass a number and learn=("threshold",) instead of an nn.Parameter: it then stays positive.',
                )  # fmt: skip


def _time_constant(where: str, name: str, value: Tensor, dt: float, steps: int) -> Iterator[Symptom]:
    short, long = value < dt / FORGETS, value > HOLDS * steps * dt
    if bool(short.any()):
        low = float(value.min())
        yield Symptom(
            "bound", where,
            f"the learned {name} of {_count(short)} is down to {low:.3g} ms with steps of {dt:g} ms: only "
            f"{math.exp(-dt / low):.1%} of a state is left after a step, and {name} has almost no gradient.",
            f"Start from a larger {name}, lower its learning rate, or take shorter steps (dt).",
        )  # fmt: skip
    if bool(long.any()):
        yield Symptom(
            "bound", where,
            f"the learned {name} of {_count(long)} is up to {float(value.max()):.3g} ms, but the sequence lasts "
            f"{steps * dt:g} ms: nothing leaks in that time, and {name} has almost no gradient.",
            f"Start from a smaller {name}, or lower its learning rate.",
        )  # fmt: skip


def _count(which: Tensor) -> str:
    return "all neurons" if bool(which.all()) else f"{int(which.sum()):,} of {which.numel():,} neurons"
