"""Regularisation terms on firing activity, to add to a loss."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..arguments import explained
from ..errors import ConfigError, ShapeError, check_positive, check_sequence
from .answer import check_valid


@explained
def rate_cost(
    spikes: Tensor, target: float, dt: float = 1.0, across: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Return sum_j (rate_j - target)^2, the distance from a target rate; rates are in kHz, means over time and batch.

    Shapes: spikes [T, B, *N] -> scalar.
    Units: target in Hz, dt in ms.

    Args:
        across: function that averages a tensor over the processes that share a batch, for example
            `spikeloom.train.ranks.mean_of`; the cost then is that of the whole batch.

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


@explained
def activity_cost(layers: Sequence[Tensor], allowed: float, valid: Tensor | None = None) -> Tensor:
    """Return a penalty on activity above a limit: relu(sum_l sum_i r_li - allowed sum_l N_l)^2.

    r_li is the mean number of spikes per step of neuron i of layer l, over the valid steps of all samples.

    Shapes: each layer [T, B, N_l]; valid [T, B], true up to the last step of a sample; -> scalar.

    Args:
        layers: spikes of the spiking layers.
        allowed: spikes per step and neuron that are free, > 0.
        valid: mask of the steps that count; None for all.

    Raises:
        ConfigError: no layer, or `allowed` is not positive.
        ShapeError: `valid` does not fit.

    Source: Yarga and Wood, 2023; no coefficient.

    >>> activity_cost([torch.full((10, 2, 128), rate) for rate in (0.5, 0.2, 0.3)], allowed=0.3).item()
    163.8...
    """
    check_positive("activity_cost", allowed=allowed)
    if not layers:
        raise ConfigError("activity_cost needs the spikes of at least one layer, but got none.")
    total, neurons = layers[0].new_zeros(()), 0
    for spikes in layers:
        check_sequence("activity_cost", spikes)
        if valid is not None:
            check_valid("activity_cost", valid, spikes)
            if not bool(valid.any()):
                raise ShapeError("activity_cost needs at least one valid step, but `valid` is false everywhere.")
        rows = spikes.flatten(0, 1).flatten(1)
        weights = rows.new_ones(len(rows)) if valid is None else valid.flatten().to(rows.dtype)
        total = total + (weights @ rows).sum() / weights.sum()
        neurons += rows.shape[1]
    return torch.relu(total - allowed * neurons).square()
