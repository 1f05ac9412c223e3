"""Poisson encoding of firing rates as spikes."""

import torch
from torch import Tensor

from ..arguments import explained
from ..errors import ConfigError, ShapeError, check_count, check_dense, check_positive
from ..kernels.noise import draw

MOST = 1 << 40
"""Limit of the random numbers of a call; more than any memory holds."""


@explained
def poisson(rates: Tensor, steps: int, *, generator: torch.Generator, dt: float = 1.0) -> Tensor:
    """Sample independent spikes with probability rate x dt in each step.

    Shapes: rates [B, *N] -> spikes [steps, B, *N], 0 or 1; there may be no samples.
    Units: rates in Hz, dt in ms.

    Args:
        rates: integer rates, such as the bytes of an image, give spikes of the default dtype; other rates give spikes
            of their own dtype. Probabilities are compared in at least float32.

    Raises:
        ConfigError: a rate is negative, NaN or above one spike per step, steps < 1, or dt is not positive.
        ShapeError: rates are not a real tensor, or on another type of device than the generator.

    >>> spikes = poisson(torch.full((2, 3), 50.0), 1000, generator=torch.Generator().manual_seed(0))
    >>> spikes.shape, bool((spikes.mean() - 0.05).abs() < 0.01)
    (torch.Size([1000, 2, 3]), True)
    """
    check_positive("poisson", dt=dt)
    check_count("poisson", steps=steps)
    steps, dt = int(steps), float(dt)
    if not isinstance(generator, torch.Generator):
        raise ConfigError(f"poisson needs a torch.Generator, but got {type(generator).__name__}. Its draws are random.")
    if not isinstance(rates, Tensor) or rates.is_complex() or rates.dim() < 1:
        found = f"{rates.dtype} {list(rates.shape)}" if isinstance(rates, Tensor) else type(rates).__name__
        raise ShapeError(f"poisson needs a tensor of rates [B, *N], but got {found}. Convert it with torch.as_tensor.")
    check_dense("poisson", rates, "rates")
    if rates.device.type != generator.device.type:
        raise ShapeError(
            f"poisson got rates on {rates.device} but a generator on {generator.device}. Make the generator with "
            f"torch.Generator({rates.device.type!r})."
        )
    if steps * max(1, rates.numel()) > MOST:
        raise ConfigError(
            f"poisson would draw {steps:,} steps of {rates.numel():,} rates, more than {MOST:,} numbers. Ask for fewer."
        )
    kind = rates.dtype if rates.is_floating_point() else torch.get_default_dtype()
    exact = torch.promote_types(kind, torch.float32)
    chance = rates.to(exact) * (dt / 1000)
    if not bool(((chance >= 0) & (chance <= 1)).all()):
        raise ConfigError(
            f"poisson needs rates from 0 to {1000 / dt} Hz at dt {dt} ms, but got rates from {float(rates.min())} to "
            f"{float(rates.max())} Hz."
        )
    draws = draw("uniform", [steps, *rates.shape], exact, rates.device, generator)
    return (draws < chance).to(kind)
