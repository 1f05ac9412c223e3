"""Rate encoding: firing rates or values between 0 and 1 as random spikes, and values as constant currents.

    poisson    spikes[t] = 1 with probability rate dt           rate in Hz
    rate       spikes[t] = 1 with probability value             value from 0 to 1
    repeat     currents[t] = value

Steps are independent. A Bernoulli draw per step is the discrete form of a Poisson process: the two differ where rate dt
is not small, because a step holds one spike at most.
Sources: Gerstner, Kistler, Naud, Paninski, Neuronal Dynamics, 2014, section 7.2.1; Eshraghian et al., Training spiking
neural networks using lessons from deep learning, Proc. IEEE 111, 2023 (`rate`, as `spikegen.rate` of snnTorch).
"""

import torch
from torch import Tensor

from ..arguments import explained
from ..errors import ConfigError, ShapeError, check_count, check_dense, check_positive
from ..kernels.noise import draw

MOST = 1 << 40
"""Limit of the numbers that a call returns; more than any memory holds."""


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
    check_samples("poisson", rates, "rates", steps)
    _check_generator("poisson", rates, "rates", generator)
    chance = rates.to(_exact(rates)) * (float(dt) / 1000)
    if not bool(((chance >= 0) & (chance <= 1)).all()):
        raise ConfigError(
            f"poisson needs rates from 0 to {1000 / dt} Hz at dt {dt} ms, but got rates from {float(rates.min())} to "
            f"{float(rates.max())} Hz."
        )
    return _bernoulli(chance, int(steps), kind_of(rates), generator)


@explained
def rate(values: Tensor, steps: int, *, generator: torch.Generator) -> Tensor:
    """Sample independent spikes whose probability in each step is the value.

    Shapes: values [B, *N] -> spikes [steps, B, *N], 0 or 1; there may be no samples.

    Args:
        values: probabilities from 0 to 1, such as the grey values of an image; `poisson` takes rates in Hz instead.
            The dtype of the spikes is that of the values, the default dtype for integers.

    Raises:
        ConfigError: a value is NaN or not between 0 and 1, or steps < 1.
        ShapeError: values are not a real tensor, or on another type of device than the generator.

    >>> spikes = rate(torch.tensor([[0.0, 0.5, 1.0]]), 100, generator=torch.Generator().manual_seed(0))
    >>> never, sometimes, always = spikes.sum(0)[0].tolist()
    >>> spikes.shape, never, 30 < sometimes < 70, always
    (torch.Size([100, 1, 3]), 0.0, True, 100.0)
    """
    check_samples("rate", values, "values", steps)
    _check_generator("rate", values, "values", generator)
    check_unit("rate", values)
    return _bernoulli(values.to(_exact(values)), int(steps), kind_of(values), generator)


@explained
def repeat(values: Tensor, steps: int) -> Tensor:
    """Present values as a constant current: the same slice in every step.

    Shapes: values [B, *N] -> currents [steps, B, *N], a view that takes no memory; `.contiguous()` makes a copy, which
    can be written to.

    Args:
        values: the currents have their dtype, the default dtype for integers. Gradients pass through.

    Raises:
        ConfigError: steps < 1.
        ShapeError: values are not a real tensor [B, *N].

    >>> repeat(torch.tensor([[0.5, 2.0]]), 3).tolist()
    [[[0.5, 2.0]], [[0.5, 2.0]], [[0.5, 2.0]]]
    """
    check_samples("repeat", values, "values", steps)
    return values.to(kind_of(values)).expand(int(steps), *values.shape)


def check_samples(owner: str, values: Tensor, name: str, steps: int) -> None:
    """Raise unless `values` are real numbers [B, *N] that can be presented for `steps` steps.

    Raises:
        ConfigError: steps < 1, or there would be more than 2^40 numbers.
        ShapeError: the values are not a dense tensor of real numbers, or have no dimension.
    """
    check_count(owner, steps=steps)
    if not isinstance(values, Tensor) or values.is_complex() or values.dim() < 1:
        found = f"{values.dtype} {list(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise ShapeError(f"{owner} needs a tensor of {name} [B, *N], but got {found}. Convert it with torch.as_tensor.")
    check_dense(owner, values, name)
    if steps * max(1, values.numel()) > MOST:
        raise ConfigError(
            f"{owner} would draw {steps:,} steps of {values.numel():,} {name}, more than {MOST:,} numbers. Ask for "
            "fewer."
        )


def check_unit(owner: str, values: Tensor) -> None:
    """Raise ConfigError unless all values are between 0 and 1."""
    if not bool(((values >= 0) & (values <= 1)).all()):
        raise ConfigError(
            f"{owner} needs values from 0 to 1, but got values from {float(values.min())} to {float(values.max())}. "
            "Scale them, bytes of an image by 1 / 255."
        )


def kind_of(values: Tensor) -> torch.dtype:
    """Return the dtype of the spikes of these values: their own, or the default dtype for integers."""
    return values.dtype if values.is_floating_point() else torch.get_default_dtype()


def _exact(values: Tensor) -> torch.dtype:
    """Return the dtype in which probabilities are compared: at least float32."""
    return torch.promote_types(kind_of(values), torch.float32)


def _check_generator(owner: str, values: Tensor, name: str, generator: torch.Generator) -> None:
    if values.device.type != generator.device.type:
        raise ShapeError(
            f"{owner} got {name} on {values.device} but a generator on {generator.device}. Make the generator with "
            f"torch.Generator({values.device.type!r})."
        )


def _bernoulli(chance: Tensor, steps: int, kind: torch.dtype, generator: torch.Generator) -> Tensor:
    """Sample spikes [steps, *chance.shape] with the given probabilities."""
    draws = draw("uniform", [steps, *chance.shape], chance.dtype, chance.device, generator)
    return (draws < chance).to(kind)
