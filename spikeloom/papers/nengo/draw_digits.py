"""Figures of input images and of the output of a spiking network at every step."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...plot.images import CLASS_COLOURS, show_image
from ...plot.style import CYCLE, INK, WIDTH, Array, legend, panels, tidy, time_axis


def answers_over_time(
    images: Array, probabilities: Array, labels: Sequence[int], dt: float = 1.0, title: str = "Answers over time"
) -> Figure:
    """Plot each image beside the class probabilities at every step.

    Shapes: images [N, height, width], probabilities [T, N, K].
    Units: dt in ms.

    >>> figure = answers_over_time(np.zeros((2, 28, 28)), np.full((5, 2, 10), 0.1), [3, 7])
    >>> len(figure.axes)
    4
    """
    count = len(images)
    figure = Figure(figsize=(WIDTH, 1.9 * count + 0.7), layout="constrained")
    figure.suptitle(title, fontsize=13)
    grid = figure.subplots(count, 2, squeeze=False, width_ratios=[1, 4])
    for number, (picture, curves) in enumerate(grid):
        show_image(picture, images[number])
        picture.set_title(f"a {labels[number]}", fontsize=10)
        draw_probabilities(curves, probabilities[:, number], dt)
        if number == 0:
            legend(curves)
        curves.set_xlabel("timesteps [ms]" if number == count - 1 else "")
    return figure


def draw_probabilities(axes: Axes, probabilities: Array, dt: float = 1.0) -> None:
    """Draw the probabilities [T, K] of all classes into axes."""
    tidy(axes)
    for number, values in enumerate(probabilities.T):
        colour = CLASS_COLOURS[number % len(CLASS_COLOURS)]
        axes.plot(time_axis(len(values), dt) + dt, values, color=colour, linewidth=1.4, label=str(number))
    axes.set_ylabel("probability")
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlim(0, len(probabilities) * dt)


def activity(image: Array, spikes: Array, probabilities: Array, dt: float = 1.0, title: str = "Activity") -> Figure:
    """Plot an image, the spikes of sampled neurons with their mean and highest rate, and the class probabilities.

    Shapes: image [height, width], spikes [T, N] (counts), probabilities [T, K].
    Units: dt in ms.

    >>> figure = activity(np.zeros((28, 28)), np.eye(8), np.full((8, 10), 0.1))
    >>> figure.axes[0].get_title(loc="left")
    '8 neurons: mean 125 Hz, highest 125 Hz'
    """
    figure, (raster, answer) = panels([3.4, 1.8], title)
    hertz = np.abs(spikes).mean(0) * 1000 / dt
    times, neurons = np.nonzero(spikes)
    raster.scatter((times + 1) * dt, neurons, s=36 * 60 / max(len(hertz), 60), marker="|", color=INK, linewidths=0.7)
    raster.set_ylim(len(hertz), -1)
    raster.set_ylabel("neuron")
    summary = f"{len(hertz):,} neurons: mean {hertz.mean():.3g} Hz, highest {hertz.max():.3g} Hz"
    raster.set_title(summary, fontsize=10, loc="left")
    inset = raster.inset_axes((1.02, 0.62, 0.16, 0.38))
    show_image(inset, image)
    draw_probabilities(answer, probabilities, dt)
    legend(answer, 2)
    answer.set_xlabel("time [ms]")
    return figure


def accuracy_over_steps(
    curves: Mapping[str, Sequence[float] | Array],
    levels: Mapping[str, float] | None = None,
    dt: float = 1.0,
    title: str = "Accuracy if one stops after a step",
) -> Figure:
    """Plot the accuracy against the number of steps, and a close-up of its final values.

    Args:
        curves: accuracy, 0 to 1, at each step, by name.
        levels: accuracies to compare with, by name, such as that with rates or a published one.

    >>> figure = accuracy_over_steps({"spikes": [0.1, 0.8, 0.98]}, {"rates": 0.99})
    >>> figure.axes[0].get_ylabel()
    'accuracy [%]'
    """
    figure, axes = panels([2.4, 2.4], title)
    ends = [100 * float(np.asarray(values)[-1]) for values in curves.values()] + [
        100 * level for level in (levels or {}).values()
    ]
    for panel in axes:
        for number, (name, values) in enumerate(curves.items()):
            steps = time_axis(len(values), dt) + dt
            panel.plot(steps, 100 * np.asarray(values), color=CYCLE[number % len(CYCLE)], linewidth=1.6, label=name)
        for name, level in (levels or {}).items():
            panel.axhline(
                100 * level, color="#555555", linestyle="--", linewidth=1.1, label=f"{name} {100 * level:.2f} %"
            )
        panel.set_ylabel("accuracy [%]")
        panel.grid(alpha=0.25)
    axes[1].set_ylim(min(ends) - 3, min(max(ends) + 0.5, 100.2))
    axes[1].set_title("the same, close up", fontsize=10, loc="left")
    legend(axes[0])
    axes[1].set_xlabel("time shown [ms]")
    return figure
