"""Figures that the tasks of the LSNN paper share. Imported when a task plots: matplotlib is slow to load."""

from torch import Tensor

from ...plot.raster import rate_histogram
from ...train.figures import to_numpy
from ...train.run import Run
from .options import NetworkOptions, populations


def firing_rates(run: Run, config: NetworkOptions, hertz: Tensor, target: float, inhibitory: int = 0) -> None:
    """The distribution of the rates [N] over neurons; nothing for a model without spikes."""
    found = populations(config, to_numpy(hertz), inhibitory)
    if found:
        run.figure(
            "rates",
            rate_histogram(found, target),
            "Firing rates of the hidden neurons, with the weights that are tested.",
        )
