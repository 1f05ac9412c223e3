"""Costs of activity, to add to a loss."""

from collections.abc import Callable

from torch import Tensor

from ..errors import check_positive, check_sequence


def rate_cost(
    spikes: Tensor, target: float, dt: float = 1.0, across: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """How far neurons are from a firing rate: sum_j (rate_j - target)^2, rates in kHz, averaged over time and batch.

    Shapes: spikes [T, B, *N] -> scalar.
    Units: target in Hz, dt in ms.

    Args:
        across: the mean of a tensor over processes that share a batch, for example `spikeloom.train.ranks.mean_of`;
            the cost then is that of the whole batch.

    Raises:
        ConfigError: dt is not positive.
        ShapeError: spikes are not a sequence.

    Source: Bellec et al., 2018; multiply with a coefficient (0.1 for sequential MNIST, 0.01 for store-recall).

    >>> import torch
    >>> round(rate_cost(torch.full((10, 2, 3), 0.02), target=10.0).item(), 6)
    0.0003
    """
    check_positive("rate_cost", dt=dt)
    check_sequence("rate_cost", spikes)
    rates = spikes.mean((0, 1)) / dt
    if across is not None:
        rates = across(rates)
    return ((rates - target / 1000) ** 2).sum()
