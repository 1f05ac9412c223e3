"""Rows of images with titles."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import CYCLE, WIDTH, ArrayLike, as_array

CLASS_COLOURS = (*CYCLE, "#e07ba8", "#c9b400")


def labelled(images: ArrayLike, titles: Sequence[str], title: str = "Training images") -> Figure:
    """Plot images in a row, each with its title.

    Shapes: images [N, height, width], an array or a tensor.

    >>> import numpy as np
    >>> len(labelled(np.zeros((3, 28, 28)), ["5", "0", "4"]).axes)
    3
    """
    figure = Figure(figsize=(WIDTH, WIDTH / max(len(images), 3) + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=13)
    for number, (image, name) in enumerate(zip(images, titles, strict=True)):
        axes = figure.add_subplot(1, max(len(images), 3), number + 1)
        show_image(axes, image)
        axes.set_title(name, fontsize=11)
    return figure


def show_image(axes: Axes, image: ArrayLike) -> None:
    axes.imshow(as_array(image), cmap="gray", interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
