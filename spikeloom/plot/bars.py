"""Bar charts of accuracies, and accuracy against noise."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from .style import CYCLE, INK, WIDTH, Array, legend, tidy

Values = Sequence[float] | Sequence[Sequence[float]] | Array


def grouped(
    rows: Sequence[str],
    columns: Sequence[str],
    mean: Values,
    sd: Values | None = None,
    published: Values | None = None,
    ylabel: str = "accuracy [%]",
    title: str = "Accuracy",
) -> Figure:
    """Plot one group of bars per row, with one colour per column and standard deviations as error bars.

    Args:
        rows, columns: names of the groups and of the bars in a group.
        mean: height of the bars, [rows, columns]; NaN omits a bar.
        sd: standard deviations, likewise; NaN or None for a single run.
        published: published values, likewise, marked at the left of the bar; NaN for none.

    >>> figure = grouped(["LIF", "SB"], ["basic"], [[71.4], [77.2]], published=[[71.0], [np.nan]])
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
    ['LIF', 'SB']
    """
    shape = len(rows), len(columns)
    heights, spread, reference = (
        np.full(shape, np.nan) if values is None else np.asarray(values, dtype=float).reshape(shape)
        for values in (mean, sd, published)
    )
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    axes = figure.add_subplot()
    tidy(axes)
    width = 0.8 / len(columns)
    for column, name in enumerate(columns):
        places = np.arange(len(rows)) + (column - (len(columns) - 1) / 2) * width
        there = ~np.isnan(heights[:, column])
        axes.bar(places[there], heights[there, column], 0.94 * width, color=CYCLE[column % len(CYCLE)], label=name)
        with_sd = there & ~np.isnan(spread[:, column])
        axes.errorbar(
            places[with_sd],
            heights[with_sd, column],
            spread[with_sd, column],
            fmt="none",
            ecolor=INK,
            elinewidth=1,
            capsize=3,
        )
        marked = ~np.isnan(reference[:, column])
        first = marked.any() and np.isnan(reference[:, :column]).all()
        axes.scatter(
            places[marked] - 0.3 * width, reference[marked, column], s=36, marker="D", facecolor="white", edgecolor=INK,
            zorder=3, label="published" if first else None,
        )  # fmt: skip
    axes.set_xticks(range(len(rows)), rows)
    if sum(len(row) for row in rows) > 100:
        for label in axes.get_xticklabels():
            label.set(rotation=50, ha="right", rotation_mode="anchor")
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel(ylabel)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    axes.set_title(title, fontsize=13)
    legend(axes)
    return figure


def robustness(
    snr: Sequence[float],
    curves: Mapping[str, tuple[Sequence[float] | Array, Sequence[float] | Array]],
    ylabel: str = "accuracy [%]",
    title: str = "Robustness to noise",
) -> Figure:
    """Plot mean and standard deviation against the signal-to-noise ratio, more noise to the right.

    Units: snr in dB; infinity means no noise and is set apart at the left.

    >>> robustness([np.inf, 20.0, 0.0], {"SB": ([90.0, 88.0, 60.0], [1.0, 1.0, 2.0])}).axes[0].get_xlabel()
    'signal-to-noise ratio [dB]'
    """
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    axes = figure.add_subplot()
    tidy(axes)
    order = np.argsort(-np.asarray(snr, dtype=float), kind="stable")
    levels = np.asarray(snr, dtype=float)[order]
    places = np.arange(len(levels))
    for number, (name, (mean, sd)) in enumerate(curves.items()):
        middle, spread = (np.asarray(values, dtype=float)[order] for values in (mean, sd))
        colour = CYCLE[number % len(CYCLE)]
        axes.fill_between(places, middle - spread, middle + spread, color=colour, alpha=0.18, linewidth=0)
        axes.plot(places, middle, color=colour, linewidth=1.6, marker="o", markersize=4, label=name)
    axes.set_xticks(places, ["no noise" if np.isinf(level) else f"{level:g}" for level in levels])
    axes.set_xlabel("signal-to-noise ratio [dB]")
    axes.set_ylabel(ylabel)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.set_title(title, fontsize=13)
    legend(axes)
    return figure
