"""Continuous traces, arrays or tensors of torch: thresholds, class probabilities."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from .style import BLUE, CYCLE, GREEN, PURPLE, Array, ArrayLike, as_array, legend, time_axis


def softmax(logits: ArrayLike) -> Array:
    """Compute the softmax along the last axis.

    >>> softmax(np.array([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    logits = as_array(logits)
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def most_varying(traces: ArrayLike, count: int) -> Array:
    """Return the `count` columns of `traces` [T, N] with the largest standard deviation, in order.

    >>> most_varying(np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 3.0]]), 2).tolist()
    [0, 2]
    """
    return np.sort(np.argsort(-np.std(as_array(traces), axis=0), kind="stable")[:count])


def most_adapting(traces: ArrayLike) -> Array:
    """Return the columns of `traces` [T, N] with a maximum above 1.5 times the mean maximum; else the largest one.

    >>> most_adapting(np.array([[1.0, 1.0, 4.0]])).tolist()
    [2]
    """
    highest = as_array(traces).max(0)
    columns = np.flatnonzero(highest > 1.5 * highest.mean())
    return columns if len(columns) else np.array([highest.argmax()])


def draw_thresholds(axes: Axes, thresholds: ArrayLike, dt: float = 1.0) -> None:
    """Draw thresholds [T, N], one line per neuron."""
    thresholds = as_array(thresholds)
    time = time_axis(len(thresholds), dt)
    for n in range(thresholds.shape[1]):
        axes.plot(time, thresholds[:, n], color=CYCLE[n % len(CYCLE)], linewidth=1.0, alpha=0.9)
    axes.set_ylabel("threshold")
    axes.margins(x=0)


def draw_softmax(axes: Axes, logits: ArrayLike, dt: float = 1.0) -> AxesImage:
    """Draw the probability of each class at each step as colour; logits [T, K].

    >>> import torch
    >>> from matplotlib.figure import Figure
    >>> draw_softmax(Figure().add_subplot(), torch.zeros(30, 10)).get_array().shape
    (10, 30)
    """
    logits = as_array(logits)
    classes = logits.shape[1]
    image = axes.imshow(
        softmax(logits).T,
        aspect="auto",
        origin="lower",
        extent=(0, len(logits) * dt, -0.5, classes - 0.5),
        cmap="viridis",
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    axes.set_yticks(range(0, classes, 1 if classes <= 10 else classes // 10))
    axes.set_ylabel("class")
    return image


def draw_answers(axes: Axes, logits: Array, averages: Array, targets: Array, asked: Array, dt: float = 1.0) -> None:
    """Draw the output of a two-class network at each step and averaged over each symbol, and the targets.

    Args:
        logits: outputs, [T, 2].
        averages: logits averaged over symbols, [S, 2].
        targets: correct class, [S]; used where `asked`.
        asked: symbols with a target, bool [S].
    """
    length = len(logits) * dt / len(averages)
    time = time_axis(len(logits), dt)
    axes.plot(time, softmax(logits)[:, 1], color=PURPLE, linewidth=0.8, alpha=0.75, label="each step")
    for number, symbol in enumerate(np.flatnonzero(asked)):
        span = (symbol * length, (symbol + 1) * length)
        axes.axvspan(*span, color=GREEN, alpha=0.10, linewidth=0)
        axes.hlines(
            softmax(averages)[symbol, 1], *span, color=BLUE, linewidth=2.5, label="_" if number else "mean of a symbol"
        )
        axes.hlines(targets[symbol], *span, color=GREEN, linewidth=4, label="_" if number else "target")
    axes.set_ylim(-0.06, 1.06)
    axes.set_yticks([0, 0.5, 1])
    axes.set_ylabel("P(value 1)")
    legend(axes)
