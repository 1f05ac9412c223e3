"""Raster plots: one row per neuron, one tick per spike.

Spikes are arrays, or tensors of torch, as layers return them: [T, N], or [T, B, *N], of which one sample is drawn.

>>> import torch
>>> from spikeloom import LIF
>>> spikes, _ = LIF()(torch.rand(100, 4, 20) * 3)
>>> int(raster(spikes).axes[0].get_xlim()[1])
100
>>> len(layered({"input": torch.rand(100, 4, 5) < 0.1, "hidden": spikes}).axes)
2
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import CYCLE, INK, POPULATION, WIDTH, ArrayLike, as_array, panels, tidy

LIMIT = 60
"""Number of rows above which single neurons cannot be distinguished; ticks then fill their row."""

FEW = 300
"""Number of spikes below which ticks may be longer than their row, to be visible."""


@dataclass(frozen=True)
class Rows:
    """Group of neurons in a raster.

    Args:
        name: label of the rows.
        spikes: 0/1, an array or a tensor [T, N] or [T, B, *N]; kept as an array [T, N].
        colour: colour of the ticks.
        bands: time spans to shade, (start, end) in ms.
        sample: sample of a batch [T, B, *N] to draw.

    Raises:
        ValueError: spikes of another shape, or no such sample.

    >>> Rows("hidden", np.ones((10, 4, 2, 3)), sample=3).spikes.shape
    (10, 6)
    """

    name: str
    spikes: ArrayLike
    colour: str = INK
    bands: Sequence[tuple[float, float]] = field(default_factory=tuple)
    sample: int = 0

    def __post_init__(self) -> None:
        spikes = as_array(self.spikes)
        if spikes.ndim < 2:
            raise ValueError(f"Rows needs spikes [T, N] or [T, B, *N], but got {list(spikes.shape)}. Add a dimension.")
        if spikes.ndim > 2:
            if not -spikes.shape[1] <= self.sample < spikes.shape[1]:
                raise ValueError(f"Rows has {spikes.shape[1]} samples, but was asked for {self.sample}. Count from 0.")
            spikes = spikes[:, self.sample].reshape(len(spikes), -1)
        object.__setattr__(self, "spikes", spikes)


Groups = Sequence[Rows] | Mapping[str, ArrayLike] | ArrayLike
"""Groups of neurons: a list of `Rows`, spikes by name, or the spikes of one group."""


def as_rows(groups: Groups) -> list[Rows]:
    """Return groups of neurons as a list of `Rows`.

    >>> [group.name for group in as_rows({"input": np.eye(5), "hidden": np.eye(5)})]
    ['input', 'hidden']
    """
    if isinstance(groups, Mapping):
        return [Rows(name, spikes) for name, spikes in groups.items()]
    if isinstance(groups, list | tuple) and groups and all(isinstance(group, Rows) for group in groups):
        return list(groups)
    return [Rows("", groups)]


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


def raster(groups: Groups, dt: float = 1.0, title: str = "Spikes") -> Figure:
    """Plot one raster of a list of `Rows`, of spikes by name, or of one array or tensor [T, N] or [T, B, *N].

    Units: dt in ms.

    >>> raster([Rows("hidden", np.eye(5))]).axes[0].get_xlabel()
    'time [ms]'
    """
    groups = as_rows(groups)
    total = sum(group.spikes.shape[1] for group in groups)
    figure, (axes,) = panels([min(max(0.09 * total, 1.5), 6.0)], title)
    draw(axes, groups, dt)
    axes.set_xlabel("time [ms]")
    return figure


def rate_histogram(rates: Mapping[str, ArrayLike], target: float | None = None, title: str = "Firing rates") -> Figure:
    """Plot a histogram of the firing rates in each group.

    Args:
        rates: mean rate of each neuron [Hz], by group; arrays or tensors.
        target: target rate of the training [Hz], drawn as a line.

    >>> import torch
    >>> rate_histogram({"hidden": torch.tensor([5.0, 20.0])}).axes[0].get_ylabel()
    'neurons'
    """
    rates = {name: as_array(values) for name, values in rates.items()}
    figure = Figure(figsize=(WIDTH * 0.7, 3.6), layout="constrained")
    axes = figure.add_subplot()
    tidy(axes)
    highest = max([float(np.max(values, initial=0.0)) for values in rates.values()] + [target or 0.0, 1.0])
    edges = np.linspace(0, 1.05 * highest, 26)
    axes.hist(
        list(rates.values()),
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


def layered(groups: Groups, dt: float = 1.0, title: str = "Spikes") -> Figure:
    """Plot one panel per group below each other, for groups of very different sizes.

    Units: dt in ms.

    >>> [axes.get_ylabel() for axes in layered([Rows("input", np.eye(5)), Rows("hidden", np.eye(5))]).axes]
    ['input', 'hidden']
    """
    groups = as_rows(groups)
    heights = [min(max(0.02 * group.spikes.shape[1], 1.2), 3.0) for group in groups]
    figure, axes = panels(heights, title)
    for panel, group in zip(axes, groups, strict=True):
        draw(panel, [group], dt)
        numbered(panel, group.spikes.shape[1])
        panel.set_ylabel(group.name)
    axes[-1].set_xlabel("time [ms]")
    return figure
