"""Figures of an unsupervised layer: receptive fields, labels, spikes, accuracy during training."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ...plot.images import CLASS_COLOURS
from ...plot.style import CYCLE, GREY, INK, WIDTH, Array, legend, panels, tidy

EMPTY = "#e4e4e4"
"""Colour of tiles without a neuron."""
NAMED = 100
"""Largest number of neurons whose tiles have room for a label."""
ROWS = 300
"""Largest number of matrix rows that are at least two pixels high."""


def receptive_fields(
    weights: Array, highest: float = 1.0, labels: Array | None = None, title: str = "Receptive fields"
) -> Figure:
    """Plot the input weights of each neuron as an image; neurons are arranged in a square.

    Shapes: weights [n, height, width], [n, channels, height, width] (channels beside each other), or [n, inputs],
    folded into a square; labels [n], -1 for none, shown for up to 100 neurons.

    Args:
        highest: weight drawn in black; 0 is white.

    >>> figure = receptive_fields(np.random.default_rng(0).random((5, 4, 4)), labels=np.array([0, 1, 1, 0, -1]))
    >>> figure.axes[0].images[0].get_array().shape, [text.get_text() for text in figure.axes[0].texts]
    ((12, 12), ['0', '1', '1', '0', '–'])
    """
    tiles = np.stack([_picture(one) for one in weights])
    count, height, width = tiles.shape
    side = _side(count)
    figure, axes = _square(title, width / height)
    colours = mpl.colormaps["hot_r"].with_extremes(bad=EMPTY)
    padded = np.full((side * side, height, width), np.nan)
    padded[:count] = tiles
    mosaic = padded.reshape(side, side, height, width).swapaxes(1, 2).reshape(side * height, side * width)
    image = axes.imshow(mosaic, cmap=colours, vmin=0, vmax=highest)
    _separate(axes, side, width, height)
    if weights.ndim == 4:
        for place in range(side * weights.shape[1]):
            axes.axvline(place * weights.shape[3] - 0.5, color=GREY, linewidth=0.5, linestyle=":")
    if labels is not None and count <= NAMED:
        size = min(11.0, 90 / side)
        for number, label in enumerate(labels):
            row, column = divmod(number, side)
            corner = (column * width + 0.04 * width - 0.5, row * height + 0.04 * height - 0.5)
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
            axes.text(*corner, _name(label), ha="left", va="top", fontsize=size, color=INK, bbox=box)
    figure.colorbar(image, label="weight", fraction=0.046, pad=0.02)
    return figure


def assignments(labels: Array, names: Sequence[str] | None = None, title: str = "Labels of the neurons") -> Figure:
    """Plot the class of each neuron by colour, arranged as in `receptive_fields`, and count the neurons of each class.

    Shapes: labels [n], -1 for none.

    >>> figure = assignments(np.array([0, 2, 2, -1]), ["a", "b", "c"])
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['a: 1 neuron', 'b: 0 neurons', 'c: 2 neurons', 'none: 1 neuron']
    """
    count, side = len(labels), _side(len(labels))
    known = [str(k) for k in range(int(max(labels.max(initial=0), 0)) + 1)] if names is None else list(names)
    palette = [EMPTY, "white", *_colours(len(known))]
    padded = np.full(side * side, -2)
    padded[:count] = labels
    figure, axes = _square(title)
    axes.imshow(padded.reshape(side, side), cmap=ListedColormap(palette), vmin=-2.5, vmax=len(known) - 0.5)
    _separate(axes, side)
    for number, label in enumerate(labels[: count if side <= 20 else 0]):
        row, column = divmod(number, side)
        text = known[label] if label >= 0 else "–"
        colour = _readable(palette[label + 2])
        axes.text(column, row, text, ha="center", va="center", fontsize=min(11.0, 150 / side), color=colour)
    numbers = [int(np.sum(labels == k)) for k in (*range(len(known)), -1)]
    entries = [
        Patch(facecolor=colour, edgecolor=GREY, label=f"{name}: {number} neuron{'' if number == 1 else 's'}")
        for colour, name, number in zip([*palette[2:], "white"], [*known, "none"], numbers, strict=True)
    ]
    figure.legend(handles=entries, loc="outside right upper", frameon=False, fontsize=9)
    return figure


def input_image(counts: Array, title: str = "Input") -> Figure:
    """Plot the number of spikes of each input during a sample.

    Shapes: counts [height, width], or [2, height, width] for ON and OFF on a common scale.

    >>> [axes.get_title() for axes in input_image(np.ones((2, 4, 4))).axes[:2]]
    ['ON: 16 spikes', 'OFF: 16 spikes']
    """
    pictures = counts if counts.ndim == 3 else counts[None]
    names = {1: [""], 2: ["ON: ", "OFF: "]}.get(len(pictures), [f"channel {c}: " for c in range(len(pictures))])
    figure = Figure(figsize=(0.4 * WIDTH * len(pictures) + 1, 0.4 * WIDTH + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=13)
    grid = figure.subplots(1, len(pictures), squeeze=False)[0]
    for axes, picture, name in zip(grid, pictures, names, strict=True):
        image = axes.imshow(picture, cmap="hot_r", vmin=0, vmax=max(float(counts.max()), 1), interpolation="nearest")
        axes.set_title(f"{name}{picture.sum():,.0f} spikes", fontsize=10)
        tidy(axes)
    bar = figure.colorbar(image, ax=list(grid), label="spikes", fraction=0.046, pad=0.02)
    bar.locator = MaxNLocator(integer=True)
    return figure


def spikes_per_neuron(counts: Array, rows: str = "interval", title: str = "Spikes per neuron") -> Figure:
    """Plot the spike count of each neuron in each interval of training, or for each pattern; white is 0.

    Shapes: counts [rows, n]. More than 300 rows are summed in groups of neighbours.

    >>> figure = spikes_per_neuron(np.array([[3, 0], [2, 0]]))
    >>> figure.axes[0].get_title(loc="left")
    '5 spikes, 2.5 per neuron; 1 of 2 neurons silent'
    """
    height, neurons = counts.shape
    group = -(-height // ROWS)
    summed = np.add.reduceat(counts, np.arange(0, height, group), axis=0)
    figure = Figure(figsize=(WIDTH, min(max(0.09 * height, 2.2), 6.0) + 1), layout="constrained")
    figure.suptitle(title, fontsize=13)
    axes = figure.add_subplot()
    tidy(axes)
    colours = mpl.colormaps["magma_r"].with_extremes(under="white")
    image = axes.imshow(
        summed,
        cmap=colours,
        vmin=0.5,
        vmax=max(float(summed.max()), 1),
        aspect="auto",
        interpolation="nearest",
        extent=(-0.5, neurons - 0.5, len(summed) * group - 0.5, -0.5),
    )
    silent = int(np.sum(counts.sum(0) == 0))
    summary = f"{counts.sum():,.0f} spikes, {counts.sum() / neurons:,.1f} per neuron"
    axes.set_title(f"{summary}; {silent} of {neurons} neurons silent", fontsize=10, loc="left")
    axes.set_xlabel("neuron")
    axes.set_ylabel(rows if group == 1 else f"{rows}, sums of {group}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    bar = figure.colorbar(image, label="spikes", fraction=0.046, pad=0.02)
    bar.locator = MaxNLocator(integer=True)
    return figure


def accuracy_curve(
    samples: Sequence[int] | Array,
    curves: Mapping[str, Sequence[float] | Array],
    published: Mapping[str, float] | None = None,
    title: str = "Accuracy during training",
) -> Figure:
    """Plot the accuracy of each readout against the number of training samples.

    Args:
        samples: number of training samples at each point.
        curves: accuracy, 0 to 1, by name of the readout.
        published: accuracies to compare with, by name, drawn as lines.

    >>> axes = accuracy_curve([250, 500], {"all": [0.1, 0.7]}, {"Diehl and Cook, 2015": 0.829}).axes[0]
    >>> axes.get_ylabel(), axes.get_ylim() == (0, 100), [line.get_label() for line in axes.lines]
    ('accuracy [%]', True, ['all, last 70.0 %', 'Diehl and Cook, 2015 82.9 %'])
    """
    figure, (axes,) = panels([3.6], title)
    for number, (name, values) in enumerate(curves.items()):
        percent = 100 * np.asarray(values)
        label = f"{name}, last {percent[-1]:.1f} %"
        colour = CYCLE[number % len(CYCLE)]
        axes.plot(samples, percent, color=colour, marker="o", markersize=2.5, clip_on=False, label=label)
    for dashes, (name, level) in zip(cycle(("--", ":", "-.")), (published or {}).items(), strict=False):
        axes.axhline(100 * level, color="#555555", linestyle=dashes, linewidth=1.1, label=f"{name} {100 * level:.1f} %")
    axes.set_ylim(0, 100)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    axes.set_xlabel("training samples seen")
    axes.set_ylabel("accuracy [%]")
    legend(axes)
    return figure


def _side(count: int) -> int:
    """Return the side of the smallest square of tiles that holds `count` of them."""
    return int(np.ceil(np.sqrt(count)))


def _picture(weights: Array) -> Array:
    """Return the weights of one neuron, of any input shape, as an image [height, width]."""
    if weights.ndim == 1:
        side = _side(len(weights))
        folded = np.full(side * side, np.nan)
        folded[: len(weights)] = weights
        return folded.reshape(side, side)
    return weights if weights.ndim == 2 else np.concatenate(list(weights), axis=1)


def _square(title: str, shape: float = 1.0) -> tuple[Figure, Axes]:
    """Return a figure with one axes without ticks; `shape` is its width over its height."""
    figure = Figure(figsize=(WIDTH, (WIDTH - 1.8) / shape + 0.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=13)
    axes.set_xticks([])
    axes.set_yticks([])
    return figure, axes


def _separate(axes: Axes, side: int, width: int = 1, height: int = 1) -> None:
    """Draw thin lines between tiles."""
    style: dict[str, Any] = {"color": INK, "linewidth": 1.0} if side <= 10 else {"color": GREY, "linewidth": 0.4}
    for place in range(1, side):
        axes.axvline(place * width - 0.5, **style)
        axes.axhline(place * height - 0.5, **style)


def _name(label: int) -> str:
    return str(label) if label >= 0 else "–"


def _colours(classes: int) -> list[str]:
    """Return one colour per class."""
    if classes <= len(CLASS_COLOURS):
        return list(CLASS_COLOURS[:classes])
    return [to_hex(colour) for colour in mpl.colormaps["turbo"](np.linspace(0.05, 0.95, classes))]


def _readable(background: str) -> str:
    """Return black for a light background, white for a dark one."""
    red, green, blue = to_rgb(background)
    return INK if 0.3 * red + 0.59 * green + 0.11 * blue > 0.6 else "white"
