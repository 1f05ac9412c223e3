"""Figures of cross-modal recall: stored words and pictures, and outputs."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...plot.style import CYCLE, GREY, INK, RED, WIDTH, Array, tidy


def recalled(
    words: Array,
    pictures: Array,
    query: Array,
    target: Array,
    drawn: Array,
    names: Sequence[str],
    title: str = "Recall",
) -> Figure:
    """Plot stored words above their pictures, then the query word, the target picture, and the output.

    Shapes: words [S, frames, coefficients], pictures [S, H, W], query [frames, coefficients], target and drawn [H, W].

    Args:
        names: names of the stored words, then of the query word.

    >>> image, word = np.zeros((28, 28)), np.zeros((30, 20))
    >>> len(recalled(np.stack([word] * 3), np.stack([image] * 3), word, image, image, ["0", "1", "2", "1"]).axes)
    9
    """
    count = len(words)
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    figure.suptitle(title, fontsize=13)
    grid = figure.subplots(2, count + 2, squeeze=False)
    limit = float(max(np.abs(words).max(), np.abs(query).max(), 1e-9))
    for place in range(count):
        _word(grid[0][place], words[place], limit)
        grid[0][place].set_title(f"stored: {names[place]}", fontsize=10)
        _picture(grid[1][place], pictures[place])
        grid[1][place].set_title("with this", fontsize=10)
    grid[0][0].set_ylabel("coefficient", fontsize=9)
    _word(grid[0][count], query, limit)
    grid[0][count].set_title(f"asked with: {names[count]}", fontsize=10, color=RED)
    grid[0][count + 1].remove()
    _picture(grid[1][count], target)
    grid[1][count].set_title("stored with it", fontsize=10)
    _picture(grid[1][count + 1], drawn)
    grid[1][count + 1].set_title("drawn from memory", fontsize=10, color=RED)
    return figure


def gallery(targets: Array, drawn: Array, titles: Sequence[str], title: str = "Drawn from memory") -> Figure:
    """Plot target pictures, and below each the output.

    Shapes: both [N, H, W].

    >>> len(gallery(np.zeros((3, 28, 28)), np.zeros((3, 28, 28)), ["0", "1", "2"]).axes)
    6
    """
    columns = min(len(targets), 6)
    rows = -(-len(targets) // columns)
    figure = Figure(figsize=(WIDTH, 3.5 * rows + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=13)
    for place, name in enumerate(titles):
        row, column = divmod(place, columns)
        above = figure.add_subplot(2 * rows, columns, 2 * row * columns + column + 1)
        _picture(above, targets[place])
        above.set_title(name, fontsize=10)
        below = figure.add_subplot(2 * rows, columns, (2 * row + 1) * columns + column + 1)
        _picture(below, drawn[place])
        if column == 0:
            above.set_ylabel("stored", fontsize=10)
            below.set_ylabel("drawn", fontsize=10)
    return figure


def errors(values: Mapping[str, Array], title: str = "Mean squared error") -> Figure:
    """Plot histograms of the errors to each picture, with their mean and median.

    >>> len(errors({"right": np.ones(5), "other": 2 * np.ones(5)}).axes)
    2
    """
    figure = Figure(figsize=(0.8 * WIDTH, 1.5 * len(values) + 0.8), layout="constrained")
    figure.suptitle(title, fontsize=13)
    panels = figure.subplots(len(values), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    highest = max(float(np.max(row)) for row in values.values())
    edges = np.linspace(0, 1.02 * highest or 1.0, 50)
    for number, (axes, (name, row)) in enumerate(zip(panels, values.items(), strict=True)):
        tidy(axes)
        axes.hist(row, bins=list(edges), color=RED if number == 0 else CYCLE[0])
        axes.axvline(float(np.median(row)), color=INK, linewidth=1.2)
        axes.axvline(float(np.mean(row)), color=GREY, linewidth=1.2, linestyle="--")
        summary = f"{name}: mean {np.mean(row):.4f} ± {np.std(row):.4f} (dashed), median {np.median(row):.4f} (solid)"
        axes.set_title(summary, fontsize=10, loc="left")
        axes.set_ylabel("samples")
    panels[-1].set_xlabel("mean squared error of a pixel")
    return figure


def _picture(axes: Axes, image: Array) -> None:
    axes.imshow(image, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


def _word(axes: Axes, word: Array, limit: float) -> None:
    axes.imshow(word.T, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", origin="lower", interpolation="nearest")
    axes.set_xlabel("frame", fontsize=9)
    axes.tick_params(labelsize=8)
