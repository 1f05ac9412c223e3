"""One sample from input to answer: panels below each other along the same time."""

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
    """A store-recall sequence: input, hidden spikes, answers, thresholds of the most varying adaptive neurons.

    Args:
        inputs: spikes [T, n_in], the groups one after the other.
        groups: which group is active at each symbol, bool [S, G].
        hidden: spikes [T, N] by name of the population; none for a network without spikes.
        logits, averages, targets, asked: see `traces.draw_answers`.
        thresholds: of the adaptive neurons, [T, N]; the panel is left out without them.
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
        chosen = most_varying(thresholds, 10)
        draw_thresholds(axes[-1], thresholds[:, chosen], dt)
        axes[-1].set_title(
            _of("thresholds of the most varying adaptive neurons", chosen, thresholds), fontsize=10, loc="left"
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
    """An image read pixel by pixel: input, hidden spikes, thresholds, class probabilities.

    Args:
        image: what is shown, [H, W].
        inputs: [T, n_in]; spikes, or one analog channel.
        hidden: spikes [T, N] by name of the population, one panel each; none for a network without spikes.
        logits: [T, K].
        thresholds: of the adaptive neurons, [T, N].
        answer_from: when the steps begin whose mean is the answer [ms].
    """
    heights = [1.8] + [min(max(1.0, 0.016 * spikes.shape[1]), 3.0) for spikes in hidden.values()]
    heights += ([1.2] if thresholds is not None else []) + [1.6]
    figure = Figure(figsize=(WIDTH, sum(heights) + 1.2), layout="constrained")
    figure.suptitle(f"Digit {label}, read as {answer}", fontsize=13, color=INK if label == answer else RED)
    grid = GridSpec(len(heights), 2, figure, width_ratios=[8, 1], height_ratios=heights)
    axes = [figure.add_subplot(grid[0, 0])]
    axes += [figure.add_subplot(grid[row, 0], sharex=axes[0]) for row in range(1, len(heights))]
    for one in axes:
        tidy(one)
    picture = figure.add_subplot(grid[0, 1])
    picture.imshow(image, cmap="gray_r", interpolation="nearest")
    picture.set_axis_off()
    _input(axes[0], inputs, dt)
    for one, (name, spikes) in zip(axes[1:], hidden.items(), strict=False):
        _hidden(one, {name: spikes}, dt)
    if thresholds is not None:
        chosen = most_adapting(thresholds)
        draw_thresholds(axes[-2], thresholds[:, chosen], dt)
        axes[-2].set_title(_of("thresholds of the most adapting neurons", chosen, thresholds), fontsize=10, loc="left")
    heat = draw_softmax(axes[-1], logits, dt)
    axes[-1].axvline(answer_from, color="white", linewidth=1.2, linestyle="--")
    axes[-1].set_title("class probabilities; the answer is the mean from the dashed line on", fontsize=10, loc="left")
    axes[-1].set_xlabel("time [ms]")
    side = figure.add_subplot(grid[-1, 1])
    side.set_axis_off()
    figure.colorbar(heat, ax=side, label="probability", fraction=0.9, aspect=9, location="left", panchor=False)
    for one in axes[:-1]:
        one.tick_params(labelbottom=False)
    return figure


def _input(axes: Axes, inputs: Array, dt: float) -> None:
    """Spikes of all channels, or the brightness of the only one."""
    if inputs.shape[1] > 1:
        draw(axes, [Rows(f"{inputs.shape[1]} channels", inputs)], dt)
        axes.set_title("input spikes", fontsize=10, loc="left")
    else:
        axes.plot(time_axis(len(inputs), dt), inputs[:, 0], color=INK, linewidth=0.8)
        axes.set_ylabel("brightness")
        axes.set_title("input", fontsize=10, loc="left")


def _hidden(axes: Axes, hidden: dict[str, Array], dt: float) -> None:
    """Populations below each other, with their mean rates."""
    rates = [f"{name} {1000 * spikes.mean() / dt:.1f} Hz" for name, spikes in hidden.items()]
    draw(axes, [Rows(name, spikes, POPULATION.get(name, INK)) for name, spikes in hidden.items()], dt)
    axes.set_title(f"hidden spikes, mean rate: {', '.join(rates)}", fontsize=10, loc="left")


def _of(what: str, chosen: Array, values: Array) -> str:
    return f"{what}, {len(chosen)} of {values.shape[1]}"
