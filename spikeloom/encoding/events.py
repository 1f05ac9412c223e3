"""Spikes as event lists, the input of layers without dense inputs, and Poisson processes that generate them.

    t_0 = 0,   t_k = t_(k-1) - log(U_k) / rate      spike k falls into the step floor(t_k / dt)

Inter-spike intervals are exponential in continuous time, so a step may hold several spikes. The k-th random number of
input i of a sample is a function of (key, k, i): the same in every batch and call.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..arguments import explained
from ..errors import ConfigError, ShapeError, check_count, check_dense, check_positive, unusual
from ..kernels.noise import later, uniform

MOST = 100_000_000
"""Limit of the expected number of spikes of a call: about 2 GB."""


class Events(NamedTuple):
    """Spikes in compressed sparse row format: row t B + b has the events first[row] to first[row + 1] - 1."""

    first: Tensor  # int64 [T B + 1]
    unit: Tensor  # int32 [E], input of each event, at most once in a row
    times: Tensor  # [E], number of spikes of each event


def events_of(xs: Tensor) -> Events:
    """Return the events of a sequence [T, B, I] of spikes or counts.

    Raises:
        ShapeError: it is not a sequence of real numbers on the CPU, or has more inputs than an int32 can count.

    >>> events_of(torch.tensor([[[0.0, 2.0]], [[1.0, 0.0]]]))
    Events(first=tensor([0, 1, 2]), unit=tensor([1, 0], dtype=torch.int32), times=tensor([2., 1.]))
    """
    odd = unusual(xs) if isinstance(xs, Tensor) else type(xs).__name__
    if odd or xs.dim() != 3 or xs.device.type != "cpu":
        actual = odd or f"{xs.dtype} {list(xs.shape)} on {xs.device}"
        raise ShapeError(
            f"events_of needs real numbers [T, B, I] on the CPU, but got {actual}. Convert or move them first."
        )
    if xs.shape[-1] > 1 << 31:
        raise ShapeError(f"events_of numbers inputs from 0 to {(1 << 31) - 1:,}, but got {xs.shape[-1]:,}. Use fewer.")
    short = xs.dtype in (torch.float16, torch.bfloat16, torch.bool)  # dtypes that Numba does not support
    rows = (xs.float() if short else xs).detach().reshape(-1, xs.shape[-1]).contiguous()
    kernels = _kernels()
    many = kernels.count_events(rows.numpy())
    kind = rows.dtype if rows.is_floating_point() else torch.float32
    first = torch.empty(len(rows) + 1, dtype=torch.int64)
    events = Events(first, torch.empty(many, dtype=torch.int32), torch.empty(many, dtype=kind))
    kernels.list_events(rows.numpy(), *(part.numpy() for part in events))
    return events


@explained
def sequence_of(events: Events, batch: int, size: int) -> Tensor:
    """Return the sequence [T, B, I] of events.

    Raises:
        ShapeError: the rows are not whole steps of `batch` samples, or a unit is not 0 to size - 1.

    >>> sequence_of(events_of(torch.tensor([[[0.0, 2.0]], [[1.0, 0.0]]])), 1, 2).tolist()
    [[[0.0, 2.0]], [[1.0, 0.0]]]
    """
    count, unit = len(events.first) - 1, events.unit
    if batch < 1 or count % batch or (len(unit) and not bool(((unit >= 0) & (unit < size)).all())):
        units = f"units {int(unit.min())} to {int(unit.max())}" if len(unit) else "no units"
        raise ShapeError(
            f"sequence_of was asked for samples [T, {batch}, {size}], but the events fill {count:,} steps and samples, "
            f"with {units}. Pass the batch and the number of inputs that they were made with."
        )
    rows = torch.repeat_interleave(torch.arange(count), events.first.diff())
    xs = events.times.new_zeros(len(events.first) - 1, size)
    xs.index_put_((rows, events.unit.long()), events.times, accumulate=True)
    return xs.view(-1, batch, size)


@explained
def poisson_events(rates: Tensor, steps: int, noise: Tensor, *, dt: float = 1.0) -> Events:
    """Sample Poisson processes of given rates.

    Shapes: rates [B, I]; noise int64 [B, 2], a key for each sample and 0 (`kernels.noise.keys`).
    Units: rates in Hz, dt in ms.

    Raises:
        ConfigError: a rate is negative or not finite, steps < 1, or there would be more than 100 million spikes.
        ShapeError: rates or noise of a wrong shape.

    >>> from spikeloom.kernels.noise import keys
    >>> noise = keys(1, torch.device("cpu"), torch.Generator().manual_seed(0))
    >>> events = poisson_events(torch.full((1, 100), 50.0), 1000, noise)
    >>> 4700 < len(events.unit) < 5300
    True
    """
    _check("poisson_events", rates, steps, noise, dt)
    if rates.device.type != "cpu" or noise.device.type != "cpu":
        raise ShapeError(f"poisson_events needs the CPU, but got {rates.device}, {noise.device}. Use poisson_counts.")
    batch = len(rates)
    kernels, values = _kernels(), rates.detach().double().contiguous().numpy()
    room = int(float(rates.double().sum()) * steps * dt / 1000 * 1.5) + 1000
    while True:
        rows, units = torch.empty(room, dtype=torch.int64), torch.empty(room, dtype=torch.int32)
        first = torch.zeros(steps * batch + 1, dtype=torch.int64)
        arrays = (rows, units, first)
        many = kernels.poisson(values, steps, dt, noise.numpy(), *(part.numpy() for part in arrays))
        if many >= 0:
            break
        room *= 2
    unit, times = torch.empty(many, dtype=torch.int32), torch.empty(many)
    parts = (rows[:many], units[:many], first, unit, times)
    many = kernels.sort_rows(*(part.numpy() for part in parts))
    return Events(first, unit[:many], times[:many])


@explained
def poisson_counts(rates: Tensor, steps: int, noise: Tensor, *, dt: float = 1.0) -> Tensor:
    """Sample the spikes of `poisson_events` as counts [steps, B, I], on any device; this is the definition.

    Raises:
        ConfigError, ShapeError: see `poisson_events`.
    """
    _check("poisson_counts", rates, steps, noise, dt)
    counts = rates.new_zeros(steps, *rates.shape, dtype=None if rates.is_floating_point() else torch.float32)
    exact = rates.double()
    when, number = torch.zeros_like(exact), 0
    while True:
        when = when - uniform(later(noise, number), rates.shape[1], torch.float64).log() * (1000.0 / exact)
        place = (when / dt).floor()
        inside = place < steps
        if not bool(inside.any()):
            return counts
        samples, units = inside.nonzero(as_tuple=True)
        ones = counts.new_ones(len(samples))
        counts.index_put_((place[inside].long(), samples, units), ones, accumulate=True)
        number += 1


def _check(owner: str, rates: Tensor, steps: int, noise: Tensor, dt: float) -> None:
    check_positive(owner, dt=dt)
    check_dense(owner, rates, "rates")
    if rates.dim() != 2 or tuple(noise.shape) != (len(rates), 2) or noise.dtype != torch.int64:
        raise ShapeError(
            f"{owner} needs rates [B, I] and noise int64 [B, 2], got {rates.dtype} {list(rates.shape)} and "
            f"{noise.dtype} {list(noise.shape)}. Make it by keys(B, device, generator)."
        )
    check_count(owner, steps=steps)
    exact = rates.double()
    if not bool(((exact >= 0) & exact.isfinite()).all()):
        raise ConfigError(
            f"{owner} needs rates >= 0 Hz, but got rates from {float(exact.min())} to {float(exact.max())} Hz."
        )
    expected = float(exact.sum()) * steps * dt / 1000
    if expected > MOST:
        raise ConfigError(
            f"{owner} would draw about {expected:.2g} spikes, more than {MOST:,}. Lower the rates, which go up to "
            f"{float(exact.max()):g} Hz, or ask for fewer samples or steps at a time."
        )


def _kernels() -> Any:
    """Return the module of compiled loops, imported late: numba takes half a second to load."""
    from ..kernels.synapses import events

    return events
