"""Gallery of the behaviours of single neurons: input, membrane voltage and spikes, one panel per behaviour."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...plot.style import BLUE, GREY, RED, WIDTH, Array, tidy

COLUMNS = 4


@dataclass(frozen=True)
class Behaviour:
    """Response of one neuron to one stimulus; all arrays are [T].

    Args:
        name: name of the behaviour.
        time: time of each step [ms].
        current: input current.
        voltage: membrane voltage, or the value that is compared with the threshold.
        spikes: 0/1.
        threshold: drawn as a line; None: no line.
    """

    name: str
    time: Array
    current: Array
    voltage: Array
    spikes: Array
    threshold: float | None = None


def gallery(behaviours: Sequence[Behaviour], title: str = "Behaviours") -> Figure:
    """Plot behaviours in rows of four: spikes as ticks above the membrane voltage, the input current below.

    >>> trace = np.arange(5.0)
    >>> gallery([Behaviour("tonic spiking", trace, trace, trace, trace > 3)]).axes[0].get_title(loc="left")
    'tonic spiking'
    """
    columns = min(COLUMNS, len(behaviours))
    rows = -(-len(behaviours) // columns)
    figure = Figure(figsize=(WIDTH * columns / COLUMNS, 1.9 * rows + 0.8), layout="constrained")
    figure.suptitle(title, fontsize=13)
    outer = figure.add_gridspec(rows, columns)
    for place, behaviour in enumerate(behaviours):
        inner = outer[divmod(place, columns)].subgridspec(2, 1, height_ratios=(3, 1), hspace=0.0)
        top = figure.add_subplot(inner[0])
        bottom = figure.add_subplot(inner[1], sharex=top)
        _membrane(top, behaviour)
        bottom.plot(behaviour.time, behaviour.current, color=GREY, linewidth=1.0)
        bottom.set_xlim(behaviour.time[0], behaviour.time[-1])
        for axes in (top, bottom):
            tidy(axes)
            axes.tick_params(labelsize=7)
            axes.yaxis.set_major_locator(MaxNLocator(3 if axes is top else 2))
        if place % columns == 0:
            top.set_ylabel("membrane", fontsize=8)
            bottom.set_ylabel("input", fontsize=8)
    figure.supxlabel("time [ms]", fontsize=9)
    figure.align_ylabels()
    return figure


def _membrane(axes: Axes, behaviour: Behaviour) -> None:
    """Draw the voltage, the threshold, and the spikes as ticks above both."""
    voltage, level = behaviour.voltage, behaviour.threshold
    axes.plot(behaviour.time, voltage, color=BLUE, linewidth=1.1)
    if level is not None:
        axes.axhline(level, color=GREY, linestyle="--", linewidth=0.8)
    lines = np.append(voltage, [] if level is None else [level])
    low, high = float(lines.min()), float(lines.max())
    room = (high - low) or 1.0
    axes.eventplot(
        behaviour.time[np.asarray(behaviour.spikes, dtype=bool)],
        lineoffsets=high + 0.2 * room,
        linelengths=0.2 * room,
        linewidths=0.9,
        colors=RED,
    )
    axes.set_ylim(low - 0.05 * room, high + 0.35 * room)
    axes.tick_params(labelbottom=False)
    axes.set_title(behaviour.name, fontsize=9, loc="left")
