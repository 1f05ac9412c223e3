"""Lateral inhibition among the neurons of a layer that grows with their distance on a grid.

    som     w_ij = max(most, start scaling sqrt(|position_i - position_j|)),  0 on the diagonal

Neurons are arranged row by row on a grid of ceil(sqrt(size)) columns. Near neighbours inhibit each other little, so
they learn to respond to similar inputs: a self-organising map.
Source: Hazan et al., Unsupervised learning with self-organizing spiking neural networks, 2018; sizes from the network
for N-MNIST by Lopez Gordillo, 2021.
"""

import math

import torch
from torch import Tensor

from ..arguments import explained
from ..errors import ConfigError, check_count


@explained
def som_inhibition(size: int, start: float = -5.0, most: float = -17.5, scaling: float = 0.75) -> Tensor:
    """Return weights [post, pre] in mV that grow with the square root of the distance on the grid, up to `most`.

    Raises:
        ConfigError: start or most is above 0, or the scaling is not positive.

    >>> [round(w, 4) for w in som_inhibition(9)[0].tolist()]
    [0.0, -3.75, -5.3033, -3.75, -4.4595, -5.6076, -5.3033, -5.6076, -6.3067]
    """
    check_count("som_inhibition", size=size)
    if not (start <= 0.0 and most <= 0.0 and scaling > 0.0):
        raise ConfigError(
            f"som_inhibition needs start and most <= 0 and scaling > 0, but got {start}, {most}, {scaling}."
        )
    place = torch.arange(size)
    columns = math.ceil(math.sqrt(size))
    grid = torch.stack([place // columns, place % columns], 1).double()
    weight = (start * scaling * torch.cdist(grid, grid).sqrt()).clamp(min=most).float()
    return weight.fill_diagonal_(0.0)


@explained
def growing_starts(start: float = -5.0, most: float = -17.5, intervals: int = 60) -> list[float]:
    """Return `start` of `som_inhibition` for each interval of training, from weak to strong.

    >>> growing_starts(intervals=3)
    [-5.0, -11.25, -17.5]
    """
    check_count("growing_starts", intervals=intervals)
    if not (math.isfinite(start) and math.isfinite(most)) or intervals < 1:
        raise ConfigError(
            f"growing_starts needs finite start and most and intervals >= 1, got {start}, {most}, {intervals}."
        )
    values: list[float] = torch.linspace(start, most, intervals, dtype=torch.float64).tolist()
    return values
