"""Figures of membrane voltages with thresholds and spikes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...plot.style import CYCLE, GREY, Array, legend, panels, time_axis
from ...plot.traces import most_varying


@dataclass(frozen=True)
class Membrane:
    """Voltages of a layer.

    Args:
        name: name of the layer.
        voltage: membrane voltage [T, n], in mV.
        threshold: in mV; one for all neurons, or one per neuron [n], or one per step and neuron [T, n].
        spikes: 0/1, [T, n]; drawn at the threshold, since the voltage of that step is already reset.
    """

    name: str
    voltage: Array
    threshold: float | Array | None = None
    spikes: Array | None = None


def voltages(layers: Sequence[Membrane], dt: float = 1.0, most: int = 4, title: str = "Voltages") -> Figure:
    """Plot the voltages of the most active or most varying neurons per layer, with thresholds (dashed) and spikes.

    Units: dt in ms.

    >>> figure = voltages([Membrane("excitatory", np.zeros((9, 30)), -52.0), Membrane("inhibitory", np.zeros((9, 2)))])
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['excitatory, 4 of 30 neurons', 'inhibitory, 2 of 2 neurons']
    """
    figure, axes = panels([2.2] * len(layers), title)
    for panel, layer in zip(axes, layers, strict=True):
        _membranes(panel, layer, dt, most)
    axes[-1].set_xlabel("time [ms]")
    axes[-1].set_xlim(0, max(len(layer.voltage) for layer in layers) * dt)
    return figure


def _membranes(axes: Axes, layer: Membrane, dt: float, most: int) -> None:
    shape = layer.voltage.shape
    indices = most_varying(layer.voltage, most)
    if layer.spikes is not None and layer.spikes.any():
        indices = np.sort(np.lexsort((-np.ptp(layer.voltage, axis=0), -layer.spikes.sum(0)))[:most])
    time = time_axis(shape[0], dt)
    level = None if layer.threshold is None else np.broadcast_to(layer.threshold, shape)
    shared = not isinstance(layer.threshold, np.ndarray)
    for number, n in enumerate(indices):
        colour = CYCLE[number % len(CYCLE)]
        axes.plot(time, layer.voltage[:, n], color=colour, linewidth=1.0, label=f"neuron {n}")
        if level is not None and (number == 0 or not shared):
            axes.plot(time, level[:, n], color=GREY if shared else colour, linestyle="--", linewidth=0.9)
        if layer.spikes is not None:
            fired = np.flatnonzero(layer.spikes[:, n])
            heights = layer.voltage[:, indices].max() if level is None else level[fired, n]
            axes.scatter(time[fired], np.broadcast_to(heights, fired.shape), marker="^", s=22, color=colour, zorder=3)
    axes.set_title(f"{layer.name}, {len(indices)} of {shape[1]} neurons", fontsize=10, loc="left")
    axes.set_ylabel("voltage [mV]")
    legend(axes)
