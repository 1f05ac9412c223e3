"""Raster plots: one row per neuron, one tick per spike."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import CYCLE, INK, POPULATION, WIDTH, Array, panels, tidy

LIMIT = 60
"""Number of rows above which single neurons cannot be distinguished; ticks then fill their row."""

FEW = 300
"""Number of spikes below which ticks may be longer than their row, to be visible."""


@dataclass(frozen=True)
class Rows:
    """Group of neurons in a raster.

    Args:
        name: label of the rows.
        spikes: 0/1, [T, N].
        colour: colour of the ticks.
        bands: time spans to shade, (start, end) in ms.
    """

    name: str
    spikes: Array
    colour: str = INK
    bands: Sequence[tuple[float, float]] = field(default_factory=tuple)


def draw(axes: Axes, groups: Sequence[Rows], dt: float = 1.0) -> None:
    """Draw groups of neurons from top to bottom into a panel; spikes are drawn at the start of their step."""
    total = sum(group.spikes.shape[1] for group in groups)
    top = 0
    centres = []
    for group in groups:
        count = group.spikes.shape[1]
        for start, end in group.bands:
            axes.fill_between([start, end], top - 0.5, top + count - 0.5, color=group.colour, alpha=0.16, linewidth=0)
        few = total / LIMIT if (group.spikes != 0).sum() < FEW else 1.0
        rows, times = np.nonzero(group.spikes.T)
        half = (0.8 if total <= LIMIT else max(few, 1.0)) / 2
        axes.vlines(  # one artist for all spikes, as one per neuron takes seconds
            times * dt, top + rows - half, top + rows + half,
            linewidth=0.9 if total <= LIMIT else 1.2, color=group.colour,
        )  # fmt: skip
        if top:
            axes.axhline(top - 0.5, color="white", linewidth=1.5)
            axes.axhline(top - 0.5, color=INK, linewidth=0.4, alpha=0.5)
        centres.append(top + (count - 1) / 2)
        top += count
    axes.set_ylim(total - 0.5, -0.5)
    axes.set_yticks(centres, [group.name for group in groups])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, len(groups[0].spikes) * dt)


def numbered(axes: Axes, count: int) -> None:
    """Label the first and the last row with neuron numbers instead of the name of the group."""
    axes.set_yticks([0, count - 1], ["1", str(count)])


def raster(groups: Sequence[Rows], dt: float = 1.0, title: str = "Spikes") -> Figure:
    """Plot one raster.

    Units: dt in ms.

    >>> raster([Rows("hidden", np.eye(5))]).axes[0].get_xlabel()
    'time [ms]'
    """
    total = sum(group.spikes.shape[1] for group in groups)
    figure, (axes,) = panels([min(max(0.09 * total, 1.5), 6.0)], title)
    draw(axes, groups, dt)
    axes.set_xlabel("time [ms]")
    return figure


def rate_histogram(rates: dict[str, Array], target: float | None = None, title: str = "Firing rates") -> Figure:
    """Plot a histogram of the firing rates in each group.

    Args:
        rates: mean rate of each neuron [Hz], by group.
        target: target rate of the training [Hz], drawn as a line.
    """
    figure = Figure(figsize=(WIDTH * 0.7, 3.6), layout="constrained")
    axes = figure.add_subplot()
    tidy(axes)
    highest = max([float(np.max(values, initial=0.0)) for values in rates.values()] + [target or 0.0, 1.0])
    edges = np.linspace(0, 1.05 * highest, 26)
    axes.hist(
        [np.asarray(values) for values in rates.values()],
        bins=list(edges),
        label=[f"{name} ({len(values)}), mean {np.mean(values):.1f} Hz" for name, values in rates.items()],
        color=[POPULATION.get(name, CYCLE[i % len(CYCLE)]) for i, name in enumerate(rates)],
        stacked=True,
        edgecolor="white",
        linewidth=0.5,
    )
    if target is not None:
        axes.axvline(target, color=INK, linestyle="--", linewidth=1, label=f"target {target:g} Hz")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("mean firing rate [Hz]")
    axes.set_ylabel("neurons")
    axes.set_title(title, fontsize=13)
    axes.legend(frameon=False, fontsize=9)
    return figure


def layered(groups: Sequence[Rows], dt: float = 1.0, title: str = "Spikes") -> Figure:
    """Plot one panel per group below each other, for groups of very different sizes.

    Units: dt in ms.

    >>> [axes.get_ylabel() for axes in layered([Rows("input", np.eye(5)), Rows("hidden", np.eye(5))]).axes]
    ['input', 'hidden']
    """
    heights = [min(max(0.02 * group.spikes.shape[1], 1.2), 3.0) for group in groups]
    figure, axes = panels(heights, title)
    for panel, group in zip(axes, groups, strict=True):
        draw(panel, [group], dt)
        numbered(panel, group.spikes.shape[1])
        panel.set_ylabel(group.name)
    axes[-1].set_xlabel("time [ms]")
    return figure
