"""Encoders of numbers: mean rates, times of single spikes, reconstruction, receptive fields, and what is refused."""

import math

import pytest
import torch
from torch import Tensor

from spikeloom import LIF, delta, latency, population, rate, repeat
from spikeloom.errors import ConfigError, ShapeError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def values(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=seeded(1))


def test_mean_rates_are_the_values() -> None:
    x = torch.tensor([[0.0, 0.1, 0.5, 0.9, 1.0]])
    spikes = rate(x, 20_000, generator=seeded())
    assert spikes.shape == (20_000, 1, 5)
    assert set(spikes.flatten().tolist()) == {0.0, 1.0}
    assert (spikes.mean(0) - x).abs().max() < 4 * 0.5 / math.sqrt(20_000)
    assert (spikes[1:] * spikes[:-1]).mean(0)[0, 2] == pytest.approx(0.25, abs=0.015)  # steps are independent
    assert rate(x, 50, generator=seeded(3)).equal(rate(x, 50, generator=seeded(3)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool])
def test_spikes_have_the_dtype_of_the_values(dtype: torch.dtype) -> None:
    x = torch.tensor([[0, 1]]).to(dtype)
    expected = dtype if dtype.is_floating_point else torch.float32
    for spikes in (rate(x, 3, generator=seeded()), repeat(x, 3), latency(x, 3), delta(x[None]), population(x, 4)):
        assert spikes.dtype == expected
    assert rate(x, 3, generator=seeded()).tolist() == [[[0.0, 1.0]]] * 3


def test_a_constant_current_repeats_its_values_and_passes_gradients() -> None:
    x = values(2, 3, 4).requires_grad_()
    currents = repeat(x, 5)
    assert currents.shape == (5, 2, 3, 4)
    assert all(step.equal(x) for step in currents)
    (gradient,) = torch.autograd.grad(currents.sum(), x)
    assert gradient.equal(torch.full_like(x, 5.0))


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("tau", [None, 5.0])
def test_every_value_fires_exactly_once_and_larger_ones_not_later(linear: bool, tau: float | None) -> None:
    x = values(3, 50)
    spikes = latency(x, 40, linear=linear, tau=tau)
    assert spikes.sum(0).equal(torch.ones(3, 50))
    times = spikes.argmax(0)
    for row, order in zip(times, x.argsort(1, descending=True), strict=True):
        assert (row[order].diff() >= 0).all()
        assert row[order[0]] == row.min()


def test_linear_times_are_those_of_snntorch() -> None:
    x = torch.tensor([[0.02, 0.5, 1.0]])  # the example of spikegen.latency(normalize=True, linear=True)
    assert latency(x, 5, linear=True).argmax(0).tolist() == [[4, 2, 0]]
    assert latency(x, 20, linear=True, tau=10.0).argmax(0).tolist() == [[10, 5, 0]]
    assert latency(x, 20, linear=True, tau=10.0, dt=2.0).argmax(0).tolist() == [[5, 2, 0]]


def test_logarithmic_times_are_those_at_which_a_leaky_neuron_reaches_the_threshold() -> None:
    x, tau, dt = torch.linspace(0.25, 1.0, 7).view(1, 7), 20.0, 0.1
    fired = latency(x, 1000, tau=tau, threshold=0.2, dt=dt).argmax(0)
    spikes, _ = LIF(tau_mem=tau, threshold=0.2, dt=dt)(repeat(x, 1000))
    assert (spikes.argmax(0) + 1 - fired).abs().max() <= 1  # spikes come at the end of a step, and never early


def test_the_logarithmic_code_fills_all_steps_whatever_the_batch() -> None:
    x = torch.tensor([[1.0, 0.02], [0.5, 0.0]])
    spikes = latency(x, 30)
    assert spikes.argmax(0)[0, 0] == 0
    assert spikes.argmax(0)[1, 1] == 29
    assert latency(x[:1], 30).equal(spikes[:, :1])
    assert latency(x, 1).sum() == 4


def test_values_below_the_threshold_fire_last_or_not_at_all() -> None:
    x = torch.tensor([[0.0, 0.29, 0.3, 1.0]], dtype=torch.float64)
    for linear in (False, True):
        assert latency(x, 10, threshold=0.3, linear=linear).sum(0).tolist() == [[1.0] * 4]
        spikes = latency(x, 10, threshold=0.3, linear=linear, clip=True)
        assert spikes.sum(0).tolist() == [[0.0, 0.0, 1.0, 1.0]]
    assert latency(x, 10, threshold=0.3).argmax(0)[0, :3].tolist() == [9, 9, 9]


@pytest.mark.parametrize("threshold", [0.05, 0.2])
def test_spikes_of_changes_reconstruct_a_sequence_to_within_the_threshold(threshold: float) -> None:
    steps = (values(500, 4, 3) * 2 - 1) * threshold
    x = 0.3 + steps.cumsum(0)
    spikes = delta(x, threshold, off=True, start=0.3)
    assert spikes.shape == (500, 4, 2, 3)
    followed = 0.3 + threshold * (spikes[:, :, 1] - spikes[:, :, 0]).cumsum(0)
    assert (followed - x).abs().max() < threshold * 1.001
    assert spikes[:, :, 1].equal(delta(x, threshold, start=0.3))
    assert (spikes.sum(2) <= 1).all()


def test_a_slow_change_is_noticed_only_since_the_last_spike() -> None:
    x = torch.linspace(0.0, 1.0, 101).view(101, 1, 1)
    assert delta(x, 0.1).sum() == pytest.approx(10, abs=1)
    assert delta(x, 0.1, level="last_step").sum() == 0


def test_changes_since_the_last_step_are_those_of_snntorch() -> None:
    x = torch.tensor([1.0, 2.0, 0.0, 2.0, 2.9]).view(5, 1, 1)
    both = delta(x, 1.0, off=True, level="last_step")[:, 0, :, 0]
    assert (both[:, 1] - both[:, 0]).tolist() == [1.0, 1.0, -1.0, 1.0, 0.0]
    quiet = delta(x, 1.0, off=True, level="last_step", start=None)[:, 0, :, 0]
    assert (quiet[:, 1] - quiet[:, 0]).tolist() == [0.0, 1.0, -1.0, 1.0, 0.0]
    assert delta(torch.zeros(0, 2, 3)).shape == (0, 2, 3)


def test_changes_go_on_where_a_sequence_was_cut() -> None:
    x = values(60, 2, 3).cumsum(0) - 0.5 * torch.arange(60).view(-1, 1, 1)
    both = delta(x, 0.2, off=True, level="last_step")
    assert delta(x[:30], 0.2, off=True, level="last_step").equal(both[:30])


def test_receptive_fields_cover_the_range_and_peak_at_their_centres() -> None:
    x = torch.linspace(-2.0, 6.0, 81, dtype=torch.float64)
    activity = population(x.view(1, 81), 6, low=-2.0, high=6.0)
    assert activity.shape == (1, 81, 6)
    assert ((activity > 0) & (activity <= 1)).all()
    assert activity.max(-1).values.min() > math.exp(-0.5 * 0.75**2) - 1e-9  # half a spacing is 0.75 sigma
    spacing, i = 8.0 / 4, torch.arange(1, 7)
    centres = -2.0 + (2 * i - 3) / 2 * spacing  # as Bohte et al. write them
    expected = torch.exp(-0.5 * ((x[:, None] - centres) / (spacing / 1.5)) ** 2)
    torch.testing.assert_close(activity[0], expected)
    assert population(torch.rand(7, 2, 3), 4).shape == (7, 2, 3, 4)


def test_values_that_make_no_sense_are_refused() -> None:
    for wrong in (-0.1, 1.1, float("nan")):
        x = torch.tensor([[wrong]])
        with pytest.raises(ConfigError, match=r"rate needs values from 0 to 1, but got values from .* bytes of an"):
            rate(x, 5, generator=seeded())
        with pytest.raises(ConfigError, match=r"latency needs values from 0 to 1, but got"):
            latency(x, 5)
        with pytest.raises(ConfigError, match=r"population needs values from low=0.0 to high=1.0, but got"):
            population(x, 5)
    with pytest.raises(ConfigError, match=r"delta needs finite values, but got some that are NaN"):
        delta(torch.tensor([[float("inf")]]))
    with pytest.raises(ShapeError, match=r"rate got values on meta but a generator on cpu"):
        rate(torch.ones(1, 1, device="meta"), 5, generator=seeded())


def test_options_that_make_no_sense_are_refused() -> None:
    x = torch.ones(1, 2)
    for threshold in (0.0, 1.0, -0.5, float("nan")):
        with pytest.raises(ConfigError, match=r"latency needs threshold between 0 and 1, but got"):
            latency(x, 5, threshold=threshold)
    with pytest.raises(ConfigError, match=r"latency needs tau > 0"):
        latency(x, 5, tau=0.0)
    with pytest.raises(ConfigError, match=r"repeat needs steps as a whole number of at least 1, but got 0"):
        repeat(x, 0)
    with pytest.raises(ConfigError, match=r"repeat would draw 1,000,000,000,000 steps of 2 values"):
        repeat(x, 10**12)
    with pytest.raises(ShapeError, match=r"repeat needs a tensor of values \[B, \*N\], but got torch.float32 \[\]"):
        repeat(torch.tensor(1.0), 5)
    with pytest.raises(ConfigError, match=r"delta needs threshold > 0"):
        delta(x, 0.0)
    with pytest.raises(ConfigError, match=r'delta needs level "last_spike" or "last_step", but got \'first\''):
        delta(x, level="first")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"delta needs start as a finite number, but got nan"):
        delta(x, start=float("nan"))
    with pytest.raises(
        ShapeError, match=r"delta needs a sequence of values \[T, B, \*N\], but got torch.float32 \[1\]"
    ):
        delta(torch.ones(1))
    with pytest.raises(ConfigError, match=r"population needs neurons as a whole number of at least 3, but got 2"):
        population(x, 2)
    with pytest.raises(ConfigError, match=r"population needs low < high, but got low=1.0 and high=1.0"):
        population(x, 4, low=1.0)
    with pytest.raises(ConfigError, match=r"population would return 1,000,000,000,000 neurons for 2 values"):
        population(x, 10**12)
    with pytest.raises(ShapeError, match=r"population needs a tensor of values \[B, \*N\], but got list"):
        population([0.5], 4)  # type: ignore[arg-type]
