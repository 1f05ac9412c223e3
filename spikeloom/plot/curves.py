"""Learning curves over updates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import CYCLE, GREY, WIDTH, Array, colours, panels, tidy

Curve = tuple[Sequence[float] | Array, Sequence[float] | Array]
"""Updates, and the values at these updates."""


@dataclass(frozen=True)
class Panel:
    """Panel of curves with a common unit.

    Args:
        label: axis label, with unit.
        curves: curves by name.
        lines: horizontal lines by name, such as a target, chance level, or a published value.
        logarithmic: use a logarithmic axis.
        smooth: length of the moving average drawn over the raw values, in updates; 1 for none.
        bands: lower and upper bounds of some of the curves, by name.
    """

    label: str
    curves: Mapping[str, Curve]
    lines: Mapping[str, float] | None = None
    logarithmic: bool = False
    smooth: int = 1
    bands: Mapping[str, tuple[Sequence[float] | Array, Sequence[float] | Array]] | None = None


def learning_curves(charts: Sequence[Panel], title: str = "Learning") -> Figure:
    """Plot one panel per quantity against updates.

    >>> learning_curves([Panel("loss", {"training": ([1, 2], [0.7, 0.6])})]).axes[0].get_ylabel()
    'loss'
    """
    figure, axes = panels([2.0] * len(charts), plain(title))
    for one, chart in zip(axes, charts, strict=True):
        for number, (key, (updates, values)) in enumerate(chart.curves.items()):
            name = plain(key)
            colour = CYCLE[number % len(CYCLE)]
            marker = "o" if len(updates) <= 40 else None
            together = window(updates, chart.smooth)
            smoothed = running_mean(values, together)
            band = (chart.bands or {}).get(key)
            if band is not None:
                low, high = (running_mean(edge, together) for edge in band)
                one.fill_between(updates, low, high, color=colour, alpha=0.2, linewidth=0)
            if together > 1:
                one.plot(updates, values, color=colour, linewidth=0.6, alpha=0.3)
                one.plot(
                    updates, smoothed, color=colour, linewidth=1.6, label=f"{name}, moving average of {together} points"
                )
            else:
                one.plot(updates, values, color=colour, linewidth=1.4, marker=marker, markersize=3, label=name)
        for dashes, (name, level) in zip(cycle(("--", ":", "-.")), (chart.lines or {}).items(), strict=False):
            one.axhline(level, color="#555555", linestyle=dashes, linewidth=1.1, label=f"{plain(name)} {level:g}")
        if chart.logarithmic:
            one.set_yscale("log")
        one.set_ylabel(plain(chart.label))
        one.grid(axis="y", alpha=0.25)
        one.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), frameon=False, fontsize=9)
    axes[-1].set_xlabel("update")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def plain(name: str) -> str:
    """Escape a name for matplotlib, so that dollars are not formulas and a leading _ does not hide a legend entry.

    >>> plain("$x_0$"), plain("_hidden")
    ('\\\\$x_0\\\\$', ' _hidden')
    """
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def window(updates: Sequence[float] | Array, smooth: int) -> int:
    """Return the number of values to average: those within `smooth` updates, or 1 if the curve is too short.

    >>> window(range(100), 3), window([1, 2, 3], 3)
    (3, 1)
    """
    together = points(updates, smooth)
    return together if len(updates) >= 2 * together else 1


def points(updates: Sequence[float] | Array, smooth: int) -> int:
    """Return the number of values within `smooth` updates, at least 1, so that rare validations are not smoothed.

    >>> points([1, 2, 3, 4], 3), points([25, 50, 75], 3)
    (3, 1)
    """
    return max(1, round(smooth / float(np.median(np.diff(updates))))) if len(updates) > 1 else 1


def running_mean(values: Sequence[float] | Array, window: int) -> Array:
    """Compute the mean of the last `window` values, or of all values at the beginning.

    >>> running_mean([1.0, 3.0, 5.0], 2).tolist()
    [1.0, 2.0, 4.0]
    """
    total = np.concatenate(([0.0], np.cumsum(np.asarray(values, dtype=float))))
    end = np.arange(1, len(total))
    start = np.maximum(end - window, 0)
    return np.asarray((total[end] - total[start]) / (end - start))


def accuracy_by_length(
    curves: Mapping[str, Mapping[Any, float]],
    chance: Mapping[int, float] | None = None,
    title: str = "Accuracy",
    items: str = "items",
    spread: Mapping[str, Mapping[Any, float]] | None = None,
) -> Figure:
    """Plot accuracy against the number of items, with one curve per network and an optional spread.

    >>> accuracy_by_length({"spiking": {1: 1.0, 3: 0.9}}).axes[0].get_xlabel()
    'items'
    """
    figure = Figure(figsize=(0.8 * WIDTH, 4.0), layout="constrained")
    axes = figure.add_subplot()
    tidy(axes)
    for (name, curve), colour in zip(curves.items(), colours(len(curves)), strict=True):
        heights = [100 * value for value in curve.values()]
        errors = None if spread is None else [100 * spread[name][length] for length in curve]
        axes.errorbar(list(curve), heights, errors, fmt="o-", color=colour, label=name, capsize=3)
    if chance:
        axes.plot(list(chance), [100 * value for value in chance.values()], ":", color=GREY, label="chance")
    axes.set_ylim(0, 102)
    if len(lengths := sorted({length for curve in curves.values() for length in curve})) <= 15:
        axes.set_xticks(lengths)
    axes.set_xlabel(items)
    axes.set_ylabel("accuracy [%]")
    axes.set_title(title, fontsize=12)
    axes.legend(frameon=False, fontsize=9)
    return figure
