"""Rates of every type into spikes, and what is refused."""

import pytest
import torch

from spikeloom.encoding import poisson
from spikeloom.errors import ConfigError, ShapeError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.float64, torch.float16, torch.bfloat16])
def test_rates_of_any_type_give_the_spikes_of_the_same_rates_as_float(dtype: torch.dtype) -> None:
    rates = torch.tensor([[0, 1, 7, 200]])
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    expected = poisson(rates.to(exact), 5000, generator=seeded())
    spikes = poisson(rates.to(dtype), 5000, generator=seeded())
    assert spikes.dtype == (dtype if dtype.is_floating_point else torch.float32)
    assert spikes.to(exact).equal(expected)
    assert spikes.double().mean((0, 1)).tolist() == pytest.approx([0.0, 0.001, 0.007, 0.2], abs=0.02)


def test_a_bool_is_a_rate_of_one() -> None:
    spikes = poisson(torch.tensor([[False, True]]), 20, generator=seeded(), dt=1000.0)
    assert spikes.sum((0, 1)).tolist() == [0.0, 20.0]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_no_samples_give_no_spikes(dtype: torch.dtype) -> None:
    assert poisson(torch.zeros(0, 3, dtype=dtype), 7, generator=seeded()).shape == (7, 0, 3)
    with pytest.raises(ConfigError, match=r"poisson needs steps as a whole number of at least 1, but got 0"):
        poisson(torch.zeros(0, 3), 0, generator=seeded())


def test_rates_that_make_no_sense_are_refused() -> None:
    for wrong in (-1.0, float("nan"), float("inf"), 1000.1):
        with pytest.raises(ConfigError, match=r"rates from 0 to 1000.0 Hz at dt 1.0 ms, but got rates from"):
            poisson(torch.tensor([[wrong]]), 5, generator=seeded())
    with pytest.raises(ConfigError, match=r"rates from -3.0 to -3.0 Hz"):
        poisson(torch.tensor([[-3]]), 5, generator=seeded())
    with pytest.raises(ConfigError, match=r"poisson needs dt > 0"):
        poisson(torch.ones(1, 1), 5, generator=seeded(), dt=0.0)
    for rates, found in ((torch.ones(1, 1, dtype=torch.complex64), "torch.complex64"), ([[1.0]], "list")):
        with pytest.raises(ShapeError, match=rf"needs a tensor of rates \[B, \*N\], but got {found}"):
            poisson(rates, 5, generator=seeded())  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"poisson got rates on meta but a generator on cpu"):
        poisson(torch.ones(1, 1, device="meta"), 5, generator=seeded())
    for steps in (0, 2.5, "five", None):
        with pytest.raises(ConfigError, match=r"poisson needs steps as a whole number"):
            poisson(torch.ones(1, 1), steps, generator=seeded())  # type: ignore[arg-type]
    with pytest.raises(
        ConfigError, match=r"would draw 1,000,000,000,000 steps of 2 rates, more than 1,099,511,627,776"
    ):
        poisson(torch.ones(1, 2), 10**12, generator=seeded())
    with pytest.raises(ConfigError, match=r"poisson needs generator as a torch.Generator, but got None"):
        poisson(torch.ones(1, 1), 5, generator=None)  # type: ignore[arg-type]
