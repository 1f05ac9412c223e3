"""Figures of a single sample, from input to output: stacked panels that share the time axis."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from ...plot.raster import Rows, draw
from ...plot.style import BLUE, GREEN, INK, POPULATION, RED, WIDTH, YELLOW, Array, panels, tidy, time_axis
from ...plot.traces import draw_answers, draw_softmax, draw_thresholds, most_adapting, most_varying

SYMBOL_COLOURS = (RED, BLUE, YELLOW, GREEN)
SHOWN_PER_GROUP = 5


def recall(
    inputs: Array,
    groups: Array,
    group_names: tuple[str, ...],
    hidden: dict[str, Array],
    logits: Array,
    averages: Array,
    targets: Array,
    asked: Array,
    thresholds: Array | None = None,
    dt: float = 1.0,
    title: str = "Store and recall",
) -> Figure:
    """Plot a store-recall sequence: input, hidden spikes, output, thresholds of the most varying adaptive neurons.

    Args:
        inputs: input spikes [T, n_in], ordered by group.
        groups: True where a group is active during a symbol, bool [S, G].
        hidden: spikes [T, N] of each population, by name; empty for a network without spikes.
        logits, averages, targets, asked: see `traces.draw_answers`.
        thresholds: firing thresholds [T, N] of the adaptive neurons; None leaves the panel out.
    """
    heights = [1.9] + ([1.9] if hidden else []) + [1.3] + ([1.3] if thresholds is not None else [])
    figure, axes = panels(heights, title)
    symbols, count = groups.shape
    length = len(inputs) * dt / symbols
    size = inputs.shape[1] // count
    shown = min(size, SHOWN_PER_GROUP)
    rows = [
        Rows(
            group_names[g],
            inputs[:, g * size : g * size + shown],
            SYMBOL_COLOURS[g % len(SYMBOL_COLOURS)],
            [(s * length, (s + 1) * length) for s in np.flatnonzero(groups[:, g])],
        )
        for g in range(count)
    ]
    draw(axes[0], rows, dt)
    axes[0].set_title(f"input spikes, {shown} of {size} neurons per group", fontsize=10, loc="left")
    if hidden:
        _hidden(axes[1], hidden, dt)
    answer = axes[2 if hidden else 1]
    draw_answers(answer, logits, averages, targets, asked, dt)
    answer.set_title("answer", fontsize=10, loc="left")
    if thresholds is not None:
        indices = most_varying(thresholds, 10)
        draw_thresholds(axes[-1], thresholds[:, indices], dt)
        axes[-1].set_title(
            _of("thresholds of the most varying adaptive neurons", indices, thresholds), fontsize=10, loc="left"
        )
    axes[-1].set_xlabel("time [ms]")
    return figure


def digit(
    image: Array,
    inputs: Array,
    hidden: dict[str, Array],
    logits: Array,
    label: int,
    answer: int,
    thresholds: Array | None = None,
    answer_from: float = 0.0,
    dt: float = 1.0,
) -> Figure:
    """Plot an image that is read pixel by pixel: input, hidden spikes, thresholds, class probabilities.

    Args:
        image: the image [H, W].
        inputs: input spikes [T, n_in], or one analog channel [T, 1].
        hidden: spikes [T, N] of each population, by name, one panel each; empty for a network without spikes.
        logits: logits [T, K].
        label, answer: correct and predicted class.
        thresholds: firing thresholds [T, N] of the adaptive neurons; None leaves the panel out.
        answer_from: start of the steps whose mean logits are the prediction [ms].
    """
    heights = [1.8] + [min(max(1.0, 0.016 * spikes.shape[1]), 3.0) for spikes in hidden.values()]
    heights += ([1.2] if thresholds is not None else []) + [1.6]
    figure = Figure(figsize=(WIDTH, sum(heights) + 1.2), layout="constrained")
    figure.suptitle(f"Digit {label}, read as {answer}", fontsize=13, color=INK if label == answer else RED)
    grid = GridSpec(len(heights), 2, figure, width_ratios=[8, 1], height_ratios=heights)
    axes = [figure.add_subplot(grid[0, 0])]
    axes += [figure.add_subplot(grid[row, 0], sharex=axes[0]) for row in range(1, len(heights))]
    for panel in axes:
        tidy(panel)
    picture = figure.add_subplot(grid[0, 1])
    picture.imshow(image, cmap="gray_r", interpolation="nearest")
    picture.set_axis_off()
    _input(axes[0], inputs, dt)
    for panel, (name, spikes) in zip(axes[1:], hidden.items(), strict=False):
        _hidden(panel, {name: spikes}, dt)
    if thresholds is not None:
        indices = most_adapting(thresholds)
        draw_thresholds(axes[-2], thresholds[:, indices], dt)
        axes[-2].set_title(_of("thresholds of the most adapting neurons", indices, thresholds), fontsize=10, loc="left")
    heat = draw_softmax(axes[-1], logits, dt)
    axes[-1].axvline(answer_from, color="white", linewidth=1.2, linestyle="--")
    axes[-1].set_title("class probabilities; the answer is the mean from the dashed line on", fontsize=10, loc="left")
    axes[-1].set_xlabel("time [ms]")
    side = figure.add_subplot(grid[-1, 1])
    side.set_axis_off()
    figure.colorbar(heat, ax=side, label="probability", fraction=0.9, aspect=9, location="left", panchor=False)
    for panel in axes[:-1]:
        panel.tick_params(labelbottom=False)
    return figure


def _input(axes: Axes, inputs: Array, dt: float) -> None:
    """Draw the input: spikes of all channels, or the brightness if there is only one channel."""
    if inputs.shape[1] > 1:
        draw(axes, [Rows(f"{inputs.shape[1]} channels", inputs)], dt)
        axes.set_title("input spikes", fontsize=10, loc="left")
    else:
        axes.plot(time_axis(len(inputs), dt), inputs[:, 0], color=INK, linewidth=0.8)
        axes.set_ylabel("brightness")
        axes.set_title("input", fontsize=10, loc="left")


def _hidden(axes: Axes, hidden: dict[str, Array], dt: float) -> None:
    """Draw the spikes of all populations, stacked, with their mean rates in the title."""
    rates = [f"{name} {1000 * spikes.mean() / dt:.1f} Hz" for name, spikes in hidden.items()]
    draw(axes, [Rows(name, spikes, POPULATION.get(name, INK)) for name, spikes in hidden.items()], dt)
    axes.set_title(f"hidden spikes, mean rate: {', '.join(rates)}", fontsize=10, loc="left")


def _of(what: str, indices: Array, values: Array) -> str:
    return f"{what}, {len(indices)} of {values.shape[1]}"
