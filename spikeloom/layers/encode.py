"""Numbers into spikes."""

import torch
from torch import Tensor

from ..errors import ConfigError


def poisson(rates: Tensor, steps: int, *, generator: torch.Generator, dt: float = 1.0) -> Tensor:
    """Independent spikes with probability rate x dt in each step.

    Shapes: rates [B, *N] -> spikes [steps, B, *N], 0 or 1.
    Units: rates in Hz, dt in ms.

    Raises:
        ConfigError: a rate is negative or too high for one spike a step, or steps < 1.

    >>> spikes = poisson(torch.full((2, 3), 50.0), 1000, generator=torch.Generator().manual_seed(0))
    >>> spikes.shape, bool((spikes.mean() - 0.05).abs() < 0.01)
    (torch.Size([1000, 2, 3]), True)
    """
    chance = rates * (dt / 1000)
    if steps < 1 or not bool(((chance >= 0) & (chance <= 1)).all()):
        raise ConfigError(
            f"poisson needs steps >= 1 and rates from 0 to {1000 / dt} Hz at dt {dt} ms, but got {steps} steps and "
            f"rates from {float(rates.min())} to {float(rates.max())} Hz."
        )
    draws = torch.rand(steps, *rates.shape, generator=generator, dtype=rates.dtype, device=rates.device)
    return (draws < chance).to(rates.dtype)
