"""Images that a spiking network is shown, and what it says about them step by step."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...plot.images import CLASS_COLOURS, show_image
from ...plot.style import CYCLE, INK, WIDTH, Array, legend, panels, tidy, time_axis


def answers_over_time(
    images: Array, probabilities: Array, labels: Sequence[int], dt: float = 1.0, title: str = "Answers over time"
) -> Figure:
    """Each image beside the probability of every class at every step.

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
    """Curves of all classes [T, K] in a panel."""
    tidy(axes)
    for number, values in enumerate(probabilities.T):
        colour = CLASS_COLOURS[number % len(CLASS_COLOURS)]
        axes.plot(time_axis(len(values), dt) + dt, values, color=colour, linewidth=1.4, label=str(number))
    axes.set_ylabel("probability")
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlim(0, len(probabilities) * dt)


def activity(image: Array, spikes: Array, probabilities: Array, dt: float = 1.0, title: str = "Activity") -> Figure:
    """An image, the spikes of sampled neurons with their mean and highest rate, and the answer, along the same time.

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
    said = f"{len(hertz):,} neurons: mean {hertz.mean():.3g} Hz, highest {hertz.max():.3g} Hz"
    raster.set_title(said, fontsize=10, loc="left")
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
    """Accuracy against the steps that were shown, and close up what it ends with.

    Args:
        curves: shares from 0 to 1 for each step, by name.
        levels: to compare with, by name: the accuracy as rates, a published one.

    >>> figure = accuracy_over_steps({"spikes": [0.1, 0.8, 0.98]}, {"rates": 0.99})
    >>> figure.axes[0].get_ylabel()
    'accuracy [%]'
    """
    figure, axes = panels([2.4, 2.4], title)
    ends = [100 * float(np.asarray(values)[-1]) for values in curves.values()] + [
        100 * level for level in (levels or {}).values()
    ]
    for one in axes:
        for number, (name, values) in enumerate(curves.items()):
            steps = time_axis(len(values), dt) + dt
            one.plot(steps, 100 * np.asarray(values), color=CYCLE[number % len(CYCLE)], linewidth=1.6, label=name)
        for name, level in (levels or {}).items():
            one.axhline(
                100 * level, color="#555555", linestyle="--", linewidth=1.1, label=f"{name} {100 * level:.2f} %"
            )
        one.set_ylabel("accuracy [%]")
        one.grid(alpha=0.25)
    axes[1].set_ylim(min(ends) - 3, min(max(ends) + 0.5, 100.2))
    axes[1].set_title("the same, close up", fontsize=10, loc="left")
    legend(axes[0])
    axes[1].set_xlabel("time shown [ms]")
    return figure
