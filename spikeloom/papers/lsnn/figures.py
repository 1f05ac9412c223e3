"""Figures shared by the tasks of the LSNN paper. Imported only for plotting, since matplotlib is slow to load."""

from torch import Tensor

from ...plot.raster import rate_histogram
from ...train.figures import to_numpy
from ...train.run import Run
from .options import LSNNOptions, populations, rates


def firing_rates(run: Run, config: LSNNOptions, spikes: Tensor, inhibitory: int = 0) -> None:
    """Plot the distribution of the firing rates of spikes [T, B, N] over neurons; none for a model without spikes."""
    by_population = populations(config, to_numpy(rates(spikes, config.dt)), inhibitory)
    if by_population:
        run.figure(
            "rates",
            rate_histogram(by_population, config.target_rate),
            "Firing rates of the hidden neurons, with the weights that are tested.",
        )
