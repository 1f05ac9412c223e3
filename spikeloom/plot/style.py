"""Common style of all figures: size, colours, panels.

A figure is 10 inches wide: 1200 pixels at the 120 dots per inch with which runs save it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

Array = NDArray[Any]

ArrayLike = Any
"""An array, a list of numbers, or a tensor of torch on any device, with or without a gradient."""

WIDTH = 10.0
"""Width in inches."""

INK, GREY = "#222222", "#8a8a8a"
RED, BLUE, YELLOW, GREEN, PURPLE = "#c23b34", "#2a6cb0", "#b58900", "#2e8b57", "#7a4fa3"
POPULATION = {"regular": INK, "adaptive": BLUE, "inhibitory": RED}
"""Colours of neuron populations, the same in every figure; others use CYCLE."""
CYCLE = (BLUE, RED, GREEN, PURPLE, YELLOW, "#17829a", "#a0522d", GREY)


def as_array(values: ArrayLike) -> Array:
    """Return values as an array: a tensor of torch is detached, and copied to the CPU if it is elsewhere.

    >>> as_array([1.0, 2.0]).tolist()
    [1.0, 2.0]
    >>> import torch
    >>> as_array(torch.ones(2, dtype=torch.bfloat16, requires_grad=True)).tolist()
    [1.0, 1.0]
    """
    if hasattr(values, "detach"):  # torch is not imported here
        values = values.detach().cpu()
        values = values.float() if str(values.dtype) == "torch.bfloat16" else values  # which NumPy does not have
    return np.asarray(values)


def panels(heights: Sequence[float], title: str, share_time: bool = True) -> tuple[Figure, list[Axes]]:
    """Create a figure with panels of the given heights [inches] below each other."""
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.8), layout="constrained")
    grid = figure.subplots(len(heights), 1, sharex=share_time, squeeze=False, gridspec_kw={"height_ratios": heights})
    figure.suptitle(title, fontsize=13)
    axes: list[Axes] = list(grid[:, 0])
    for one in axes:
        tidy(one)
    return figure, axes


def tidy(axes: Axes) -> None:
    """Remove the frame on top and right."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    axes.xaxis.label.set_fontsize(10)
    axes.yaxis.label.set_fontsize(10)


def time_axis(steps: int, dt: float) -> Array:
    """Return the time of every step [ms]."""
    return np.arange(steps) * dt


def legend(axes: Axes, columns: int = 1) -> None:
    """Place the legend right of the panel, where it hides nothing."""
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.0, 1.02), ncols=columns, frameon=False, fontsize=9, borderaxespad=0.3
    )


def colours(count: int) -> list[str]:
    """Return one colour per curve, repeating those of CYCLE."""
    return [CYCLE[number % len(CYCLE)] for number in range(count)]
