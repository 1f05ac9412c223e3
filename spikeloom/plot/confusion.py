"""Confusion matrices."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from .style import INK, ArrayLike, as_array


def confusion(counts: ArrayLike, names: Sequence[str] | None = None, title: str = "Confusion") -> Figure:
    """Plot a confusion matrix, counts [true class, predicted class], coloured by the fraction of the row.

    The counts are an array or a tensor. If there is one more column than classes, it counts the samples without a
    prediction.

    >>> confusion(np.eye(3)).axes[0].get_xlabel()
    'answer'
    """
    counts = as_array(counts)
    classes, columns = counts.shape
    labels = [str(k) for k in range(classes)] if names is None else list(names)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(4.0, 0.62 * classes)
    figure = Figure(figsize=(side + 1.4, side + 0.6), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(columns), [*labels, "none"][:columns])
    axes.set_yticks(range(classes), labels)
    if columns > classes:
        axes.axvline(classes - 0.5, color=INK, linewidth=0.8)
    axes.set_xlabel("answer")
    axes.set_ylabel("true class")
    axes.set_title(f"{title}: {np.trace(counts) / max(counts.sum(), 1):.1%} right", fontsize=13)
    for row in range(classes):
        for column in range(columns):
            if counts[row, column]:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", color=colour, fontsize=9)
    figure.colorbar(image, label="share of the true class", fraction=0.046)
    return figure
