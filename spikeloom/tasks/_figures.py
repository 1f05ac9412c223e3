"""Figures that the tasks of the LSNN paper share. Imported when a task plots: matplotlib is slow to load."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..plot.curves import Panel, learning_curves, window
from ..plot.raster import rate_histogram
from ..train import metrics
from ..train.run import Run
from ._lsnn import NetworkOptions, populations


def numbers(tensor: Tensor) -> Any:
    """A tensor as a numpy array."""
    return tensor.detach().cpu().numpy()


def learning(
    run: Run,
    title: str,
    charts: Mapping[str, Mapping[str, str]],
    levels: Mapping[str, Mapping[str, float]],
    smooth: int,
    name: str = "learning_curves",
    lines: list[dict[str, Any]] | None = None,
) -> None:
    """Learning curves from metrics.jsonl.

    Args:
        charts: for each label, the metric of each curve by name; charts without a single value are left out.
        levels: dashed lines of some charts, by name.
        smooth: length of the moving average in updates.
        name: of the figure.
        lines: of the metrics; None: those of the run.
    """
    lines = run.metrics() if lines is None else lines
    panels = []
    for label, names in charts.items():
        curves = {curve: metrics.column(lines, key) for curve, key in names.items()}
        found = {curve: values for curve, values in curves.items() if values[0]}
        if found:
            panels.append(Panel(label, found, levels.get(label), smooth=smooth))
    if panels:
        smoothed = any(window(updates, one.smooth) > 1 for one in panels for updates, _ in one.curves.values())
        caption = "Thin: values as they were logged. Bold: their moving average." if smoothed else "Values as logged."
        run.figure(name, learning_curves(panels, title), caption)


def firing_rates(run: Run, config: NetworkOptions, hertz: Tensor, target: float, inhibitory: int = 0) -> None:
    """The distribution of the rates [N] over neurons; nothing for a model without spikes."""
    found = populations(config, numbers(hertz), inhibitory)
    if found:
        run.figure(
            "rates",
            rate_histogram(found, target),
            "Firing rates of the hidden neurons, with the weights that are tested.",
        )
