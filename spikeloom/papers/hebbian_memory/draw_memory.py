"""Figures of a network with a memory: inputs, spikes, memory weights, outputs."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ...plot.raster import Rows, draw, numbered
from ...plot.style import CYCLE, GREY, INK, RED, WIDTH, Array, colours, tidy


def populations(
    spikes: Mapping[str, Array], dt: float = 1.0, parts: Sequence[tuple[str, float]] = (), title: str = "Spikes"
) -> Figure:
    """Plot a raster of each population [T, N], and beside it the mean rate of each neuron.

    Units: dt in ms; `parts` are names of time intervals with their lengths [ms].

    >>> figure = populations({"keys": np.eye(6)}, parts=[("item 1", 4.0), ("item 2", 2.0)])
    >>> [axes.get_xlabel() for axes in figure.axes]
    ['time [ms]', 'rate [Hz]']
    """
    heights = [min(max(0.016 * values.shape[1], 1.1), 2.4) for values in spikes.values()]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.9), layout="constrained")
    figure.suptitle(title, fontsize=13)
    grid = figure.subplots(
        len(heights), 2, squeeze=False, sharex="col", gridspec_kw={"height_ratios": heights, "width_ratios": [6, 1]}
    )
    for row, ((name, values), colour) in enumerate(zip(spikes.items(), colours(len(heights)), strict=True)):
        axes, beside = grid[row]
        tidy(axes)
        tidy(beside)
        draw(axes, [Rows(name, values, colour)], dt)
        numbered(axes, values.shape[1])
        axes.set_ylabel(name)
        start = 0.0
        for number, (part, length) in enumerate(parts):
            if number:
                axes.axvline(start, color=GREY, linewidth=0.8, linestyle=":")
            if row == 0:
                axes.text(start + length / 2, 1.02, part, ha="center", fontsize=9, transform=axes.get_xaxis_transform())
            start += length
        hertz = values.mean(0) * 1000 / dt
        beside.stairs(hertz, np.arange(len(hertz) + 1) - 0.5, orientation="horizontal", fill=True, color=colour)
        beside.set_ylim(len(hertz) - 0.5, -0.5)
        beside.set_yticks([])
        beside.set_title(f"mean {hertz.mean():.1f} Hz", fontsize=9)
    grid[-1][0].set_xlabel("time [ms]")
    grid[-1][1].set_xlabel("rate [Hz]")
    return figure


def matrices(values: Mapping[str, Array], rows: str, columns: Sequence[str], title: str, label: str = "") -> Figure:
    """Plot matrices side by side, on the same colour scale.

    Shapes: each [rows, columns].

    Args:
        rows: label of the y axis.
        columns: label of the x axis of each matrix.
        label: label of the colour bar.

    >>> matrices({"features": np.eye(3)}, "feature", ["item"], "Input").axes[0].get_ylabel()
    'feature'
    """
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    figure.suptitle(title, fontsize=13)
    widths = [max(float(np.sqrt(matrix.shape[1])), 1.5) for matrix in values.values()]
    panels = figure.subplots(1, len(values), squeeze=False, gridspec_kw={"width_ratios": widths})[0]
    low = min(0.0, *(float(matrix.min()) for matrix in values.values()))
    high = max(float(matrix.max()) for matrix in values.values())
    for axes, (name, matrix), below in zip(panels, values.items(), columns, strict=True):
        image = axes.imshow(matrix, aspect="auto", cmap="viridis", vmin=low, vmax=high or 1.0, interpolation="nearest")
        axes.set_title(name, fontsize=10, loc="left")
        axes.set_xlabel(below)
        if matrix.shape[1] <= 12:
            axes.set_xticks(range(matrix.shape[1]), [str(number + 1) for number in range(matrix.shape[1])])
    panels[0].set_ylabel(rows)
    figure.colorbar(image, ax=list(panels), label=label, shrink=0.8)
    return figure


def weights(memory: Array, title: str = "Weights of the memory") -> Figure:
    """Plot a histogram of the weights of many memories [B, N, N], with a logarithmic count axis.

    >>> weights(np.random.default_rng(0).random((2, 4, 4))).axes[0].get_yscale()
    'log'
    """
    figure = Figure(figsize=(0.7 * WIDTH, 3.6), layout="constrained")
    axes = figure.add_subplot()
    tidy(axes)
    axes.hist(memory.ravel(), bins=60, color=CYCLE[0], log=True)
    axes.set_xlabel("weight")
    axes.set_ylabel(f"of {memory.size:,} weights")
    zero = float((memory == 0).mean())
    axes.set_title(f"{title}: {len(memory):,} samples, mean {memory.mean():.4f}, {zero:.1%} are 0", fontsize=12)
    return figure


def answer(logits: Array, target: int, names: Sequence[str], title: str = "Answer") -> Figure:
    """Plot the logits of one sample; the correct class is red.

    >>> len(answer(np.array([0.1, 2.0]), 1, ["a", "b"]).axes[0].patches)
    2
    """
    figure = Figure(figsize=(0.7 * WIDTH, 2.8), layout="constrained")
    axes = figure.add_subplot()
    tidy(axes)
    colours = [RED if number == target else INK for number in range(len(logits))]
    axes.bar(range(len(logits)), logits, color=colours)
    axes.axhline(0.0, color=GREY, linewidth=0.8)
    axes.set_xticks(range(len(logits)), list(names), rotation=90 if len(names) > 12 else 0)
    axes.set_ylabel("logit")
    axes.set_title(title, fontsize=12)
    return figure


def sentences(lines: Sequence[Sequence[str]], numbers: Array, title: str = "Story") -> Figure:
    """Plot sentences as a matrix of word numbers [lines, places], 0 for none, with the words if there is room.

    >>> figure = sentences([["mary", "left"], ["who", "left"]], np.array([[1, 2], [3, 2]]))
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['mary', 'left', 'who', 'left']
    """
    room = len(lines) <= 30
    figure = Figure(figsize=(WIDTH, min(0.28 * len(lines), 8.4) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(
        np.where(numbers > 0, numbers, np.nan), aspect="auto", cmap="viridis", alpha=0.35, interpolation="nearest"
    )
    if room:
        for row, words in enumerate(lines):
            for place, word in enumerate(words):
                axes.text(place, row, word, ha="center", va="center", fontsize=9, color=INK)
        axes.set_yticks(range(len(lines)), [*(str(number + 1) for number in range(len(lines) - 1)), "question"])
    axes.set_xticks(range(numbers.shape[1]), [str(number + 1) for number in range(numbers.shape[1])])
    axes.set_xlabel("place")
    axes.set_ylabel("sentence")
    axes.set_title(title, fontsize=12)
    figure.colorbar(image, ax=axes, label="number of the word", shrink=0.8)
    return figure
