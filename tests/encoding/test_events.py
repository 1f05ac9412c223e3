"""Poisson processes as events: their statistics, the compiled loop against the definition."""

import pytest
import torch

from spikeloom.encoding.events import Events, events_of, poisson_counts, poisson_events, sequence_of
from spikeloom.errors import ConfigError, ShapeError
from spikeloom.kernels.noise import keys


def noise(batch: int, seed: int = 0) -> torch.Tensor:
    return keys(batch, torch.device("cpu"), torch.Generator().manual_seed(seed))


def test_intervals_are_those_of_a_poisson_process() -> None:
    counts = sequence_of(poisson_events(torch.full((1, 50), 100.0), 40_000, noise(1)), 1, 50)[:, 0]
    assert float(counts.mean()) * 1000 == pytest.approx(100.0, rel=0.01)
    intervals = []
    for train in counts.T:
        times = torch.repeat_interleave(torch.arange(len(train)), train.long())
        intervals.append(times.diff().double())
    together = torch.cat(intervals)
    assert float(together.std() / together.mean()) == pytest.approx(1.0, abs=0.05)
    per_second = counts.view(40, 1000, 50).sum(1)
    assert float(per_second.var() / per_second.mean()) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("dt", [0.5, 1.0, 2.5])
def test_the_compiled_loop_is_the_definition(dt: float) -> None:
    rates = torch.tensor([[0.0, 1.0, 50.0, 400.0], [3000.0, 0.0, 20.0, 5.0], [0.0] * 4])
    events = poisson_events(rates, 300, noise(3), dt=dt)
    rows = torch.repeat_interleave(torch.arange(900), events.first.diff())
    assert len(set(zip(rows.tolist(), events.unit.tolist(), strict=True))) == len(rows)
    assert float(events.times.max()) > 1
    assert torch.equal(sequence_of(events, 3, 4), poisson_counts(rates, 300, noise(3), dt=dt))


def test_a_sample_is_the_same_in_any_batch() -> None:
    rates, key = torch.rand(5, 7, generator=torch.Generator().manual_seed(0)) * 100, noise(5)
    whole = sequence_of(poisson_events(rates, 200, key), 5, 7)
    assert torch.equal(sequence_of(poisson_events(rates[3:4], 200, key[3:4]), 1, 7), whole[:, 3:4])
    assert torch.equal(sequence_of(poisson_events(rates, 90, key), 5, 7), whole[:90])
    assert not torch.equal(sequence_of(poisson_events(rates, 200, noise(5, 1)), 5, 7), whole)


def test_events_and_sequences_are_one() -> None:
    xs = (torch.rand(9, 3, 6, generator=torch.Generator().manual_seed(0)) < 0.3).double() * 2
    events = events_of(xs)
    assert torch.equal(sequence_of(events, 3, 6), xs)
    assert isinstance(events, Events)
    assert int(events.first[-1]) == len(events.unit) == int((xs > 0).sum())
    nothing = events_of(torch.zeros(2, 1, 3))
    assert torch.equal(sequence_of(nothing, 1, 3), torch.zeros(2, 1, 3))


def test_rates_and_keys_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="rates >= 0 Hz"):
        poisson_events(torch.full((1, 2), -1.0), 10, noise(1))
    with pytest.raises(ConfigError, match="rates >= 0 Hz"):
        poisson_events(torch.full((1, 2), float("nan")), 10, noise(1))
    for draw in (poisson_events, poisson_counts):
        with pytest.raises(
            ConfigError, match=r"would draw about 2e\+09 spikes, more than 100,000,000. Lower the rates"
        ):
            draw(torch.full((1, 2), 1e9), 1000, noise(1))
    with pytest.raises(ConfigError, match="needs steps as a whole number of at least 1"):
        poisson_events(torch.ones(1, 2), 0, noise(1))
    with pytest.raises(ConfigError, match="dt > 0"):
        poisson_events(torch.ones(1, 2), 5, noise(1), dt=0.0)
    with pytest.raises(ConfigError, match="poisson_counts needs"):
        poisson_counts(torch.full((1, 2), -5.0), 10, noise(1))
    with pytest.raises(ShapeError, match=r"noise int64 \[B, 2\]"):
        poisson_events(torch.ones(3, 2), 5, noise(1))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int64, torch.float16, torch.bfloat16, torch.float64])
def test_sequences_of_any_type_have_events(dtype: torch.dtype) -> None:
    xs = torch.tensor([[[0, 1, 0]], [[1, 0, 1]]]).to(dtype)
    events = events_of(xs)
    assert (events.first.tolist(), events.unit.tolist(), events.times.tolist()) == ([0, 1, 3], [1, 0, 2], [1.0] * 3)
    assert events.times.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_what_has_no_events_is_refused() -> None:
    for wrong, found in (
        (torch.ones(2, 3), r"\[2, 3\] on cpu"),
        ([[1.0]], "list"),
        (torch.ones(1, 1, 1).to("meta"), "on meta"),
    ):
        with pytest.raises(
            ShapeError, match=rf"events_of needs real numbers \[T, B, I\] on the CPU, but got .*{found}"
        ):
            events_of(wrong)  # type: ignore[arg-type]


def test_a_sequence_of_another_size_is_refused() -> None:
    events = events_of(torch.tensor([[[0.0, 2.0, 0.0]], [[1.0, 0.0, 3.0]], [[0.0, 0.0, 0.0]]]))
    with pytest.raises(
        ShapeError, match=r"samples \[T, 2, 3\], but the events fill 3 steps and samples, with units 0 to 2"
    ):
        sequence_of(events, 2, 3)
    with pytest.raises(ShapeError, match=r"samples \[T, 1, 2\]"):
        sequence_of(events, 1, 2)
    with pytest.raises(ShapeError, match=r"with units -1 to 2"):
        sequence_of(events._replace(unit=torch.tensor([-1, 0, 2], dtype=torch.int32)), 1, 3)


def test_rates_of_bytes_are_rates() -> None:
    rates, key = torch.tensor([[0, 50, 255]], dtype=torch.uint8), noise(1)
    expected = poisson_counts(rates.double(), 300, key)
    assert poisson_counts(rates, 300, key).dtype == torch.float32
    assert poisson_counts(rates, 300, key).double().equal(expected)
    assert sequence_of(poisson_events(rates, 300, key), 1, 3).double().equal(expected)
    with pytest.raises(ShapeError, match=r"noise int64 \[B, 2\], got"):
        poisson_events(torch.ones(1, 2), 5, noise(1).to(torch.int32))
    with pytest.raises(ShapeError, match=r"needs rates as a dense tensor of real numbers, but got torch\.complex64"):
        poisson_events(torch.ones(1, 2, dtype=torch.complex64), 5, noise(1))
