"""Learning curves of a run. Imported only for plotting, because matplotlib is slow to import."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..plot.curves import Panel, learning_curves, window
from . import metrics
from .run import Run


def to_numpy(tensor: Tensor) -> Any:
    """Convert a tensor on any device to a numpy array, without gradient history."""
    return tensor.detach().cpu().numpy()


def plot_learning_curves(
    run: Run,
    title: str,
    charts: Mapping[str, Mapping[str, str]],
    levels: Mapping[str, Mapping[str, float]],
    smooth: int = 0,
    name: str = "learning_curves",
    lines: list[dict[str, Any]] | None = None,
) -> None:
    """Plot learning curves from metrics.jsonl and save them among the figures of a run.

    Args:
        charts: for each axis label, the metric of each curve by curve name; charts without data are left out.
        levels: horizontal dashed lines of some charts, by name.
        smooth: length of the moving average in updates; 0: a sixtieth of the logged ones.
        name: name of the figure.
        lines: metrics to plot; None for those of the run.
    """
    lines = run.metrics() if lines is None else lines
    smooth = smooth or max(len(lines) // 60, 1)
    panels = []
    for label, names in charts.items():
        curves = {curve: metrics.column(lines, key) for curve, key in names.items()}
        logged = {curve: values for curve, values in curves.items() if values[0]}
        if logged:
            panels.append(Panel(label, logged, levels.get(label), smooth=smooth))
    if panels:
        smoothed = any(window(updates, one.smooth) > 1 for one in panels for updates, _ in one.curves.values())
        caption = "Thin: values as they were logged. Bold: their moving average." if smoothed else "Values as logged."
        run.figure(name, learning_curves(panels, title), caption)
