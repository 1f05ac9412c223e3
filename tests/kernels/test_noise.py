"""Draws as a function of counters: uniform, independent, and the same wherever they are computed."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from spikeloom import kernels
from spikeloom.errors import ConfigError, ShapeError
from spikeloom.firing import GumbelSoftmax, SigmoidBernoulli, TanhBernoulli, TemperedGumbelSoftmax
from spikeloom.kernels.noise import keys, later, uniform
from spikeloom.neurons import LIF, ParaLIF


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws(steps: int, batch: int, size: int, seed: int = 0) -> Tensor:
    noise = keys(batch, torch.device("cpu"), seeded(seed))
    return torch.stack([uniform(later(noise, t), size, torch.float64) for t in range(steps)])


def by_hand(key: int, step: int, neuron: int) -> float:
    """The definition in whole numbers of any size."""
    m64, m32 = 2**64 - 1, 2**32 - 1
    z = (key + (step + 1) * 0x9E3779B97F4A7C15) & m64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & m64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & m64
    z ^= z >> 31
    x = (neuron * 0x9E3779B9 + z) & m32
    x = (((x ^ (x >> 17)) * 0xED5AD4BB) & m32) ^ (z >> 32)
    x = ((x ^ (x >> 11)) * 0xAC4C1B51) & m32
    x = ((x ^ (x >> 15)) * 0x31848BAB) & m32
    x ^= x >> 14
    return (x // 512 + 0.5) / 2**23


def test_the_draws_are_those_of_the_definition() -> None:
    noise = torch.tensor([[7, 3], [-5, 2**40], [2**63 - 1, 0], [-(2**63), 10**6]])
    once = uniform(noise, 5, torch.float64)
    wanted = [[by_hand(key % 2**64, step, n) for n in range(5)] for key, step in noise.tolist()]
    assert once.tolist() == wanted
    assert torch.equal(uniform(noise, 5, torch.float32).double(), once)


def test_they_are_uniform_and_inside_the_unit_interval() -> None:
    values = draws(100, 50, 200).flatten().numpy()
    assert 0 < values.min() < 1e-5
    assert 1 - 1e-5 < values.max() < 1
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    counts = np.bincount((values * 256).astype(int), minlength=256)
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("lag", [1, 2, 16, 33])
def test_neighbours_in_time_batch_and_population_are_independent(axis: int, lag: int) -> None:
    values = draws(70, 60, 80).numpy() - 0.5
    first, second = (
        np.take(values, np.arange(a, b), axis) for a, b in ((0, values.shape[axis] - lag), (lag, values.shape[axis]))
    )
    pairs = first.size
    assert abs((first * second).mean() * 12) < 4.5 / math.sqrt(pairs)
    low = (first.astype(np.float64) * 2**20 % 1, second * 2**20 % 1)  # the last bits too
    assert abs(((low[0] - 0.5) * (low[1] - 0.5)).mean() * 12) < 4.5 / math.sqrt(pairs)
    cells = np.histogram2d(first.ravel(), second.ravel(), bins=16, range=[[-0.5, 0.5]] * 2)[0]
    assert stats.chisquare(cells.ravel()).pvalue > 1e-4


def test_keys_that_differ_in_one_bit_give_unrelated_draws() -> None:
    noise = torch.tensor([[0, 0]] + [[1 << bit, 0] for bit in range(63)])
    values = uniform(noise, 4000, torch.float64) - 0.5
    correlation = torch.corrcoef(values)
    assert float((correlation - torch.eye(64)).abs().max()) < 6 / math.sqrt(4000)


@pytest.mark.parametrize("u", [-2.0, -0.5, 0.0, 0.7, 2.0])
@pytest.mark.parametrize(
    "firing",
    [
        SigmoidBernoulli(),
        TanhBernoulli(),
        GumbelSoftmax(),
        *(TemperedGumbelSoftmax(temperature=t) for t in (0.5, 1.0, 2.0)),
    ],
    ids=str,
)
def test_p4_rates_are_the_probabilities(firing: SigmoidBernoulli, u: float) -> None:
    wanted = {SigmoidBernoulli: 1 / (1 + math.exp(-u)), TanhBernoulli: max(math.tanh(u), 0.0)}
    p = wanted.get(type(firing), 1 / (1 + math.exp(-2 * u)))
    name = {SigmoidBernoulli: "SB", TanhBernoulli: "TRB"}.get(type(firing), "GS")
    temperature = getattr(firing, "temperature", 1.0)
    layer = ParaLIF(name, None, None, temperature=temperature, generator=seeded(2))
    with torch.no_grad():
        spikes, _ = layer(torch.full((1000, 10, 100), u))
    assert abs(spikes.double().mean().item() - p) <= 4 * math.sqrt(p * (1 - p) / 1e6) + 1e-7


def test_p_max_caps_the_rate_and_stops_the_gradient() -> None:
    for firing in ("SB", "TRB", "GS"):
        layer = ParaLIF(firing, None, None, p_max=0.3, generator=seeded())
        xs = torch.full((2000, 2, 10), 3.0, requires_grad=True)
        spikes, _ = layer(xs)
        assert abs(spikes.detach().mean().item() - 0.3) < 0.01
        assert not torch.autograd.grad(spikes.sum(), xs)[0].any()


def test_every_call_draws_anew_and_a_seed_repeats_them() -> None:
    xs = torch.zeros(50, 3, 4)
    layer = ParaLIF("SB", generator=seeded(4))
    first, second = layer(xs)[0], layer(xs)[0]
    assert not torch.equal(first, second)
    layer = ParaLIF("SB", generator=seeded(4))
    assert torch.equal(layer(xs)[0], first)
    assert torch.equal(layer(xs)[0], second)


def test_a_sample_keeps_its_draws_wherever_it_stands_in_a_batch() -> None:
    layer, xs = ParaLIF("GS", generator=seeded()), torch.zeros(30, 5, 4)
    state = layer.initial_state(xs[0])
    whole, _ = layer(xs, state)
    chosen = torch.tensor([3, 1])
    part, _ = layer(xs[:, chosen], type(state)(*(entry[chosen] for entry in state)))
    assert torch.equal(part, whole[:, chosen])


@pytest.mark.parametrize("engine", ["torch", "numba"])
def test_any_neuron_may_fire_at_random(engine: str) -> None:
    xs = torch.full((400, 2, 50), 1.0)
    with kernels.use(engine):
        spikes, state = LIF(surrogate=SigmoidBernoulli(), generator=seeded(1))(xs)
    assert abs(spikes.mean().item() - 0.11) < 0.01  # the root of s = sigmoid((0.05 - s) / 0.05 - 1), about
    assert state.noise[:, 1].tolist() == [400, 400]


def test_evaluation() -> None:
    xs = torch.linspace(-2, 2, 9).reshape(1, 1, 9)
    for firing, p in (("SB", torch.sigmoid(xs)), ("GS", torch.sigmoid(2 * xs)), ("TRB", torch.tanh(xs).clamp(min=0))):
        mean = ParaLIF(firing, None, None, evaluation="mean").eval()
        torch.testing.assert_close(mean(xs)[0], p)
        torch.testing.assert_close(mean(xs.double())[0], p.double())
        still = ParaLIF(firing, None, None, evaluation="threshold").eval()
        assert torch.equal(still(xs)[0], (p > 0.5).float())
        assert set(still.train()(xs.expand(40, 1, 9))[0].unique().tolist()) == {0.0, 1.0}


def test_errors() -> None:
    with pytest.raises(ConfigError, match=r"p_max in \(0, 1\], but got 1.5"):
        SigmoidBernoulli(p_max=1.5)
    with pytest.raises(ConfigError, match="weighted from 0 to 1, but got 2"):
        TanhBernoulli(weighted=2.0)
    layer, xs = ParaLIF("SB"), torch.zeros(3, 2, 4)
    _, state = layer(xs)
    with pytest.raises(ShapeError, match=r"needs noise: int64 \[2, 2\]"):
        layer(xs, state._replace(noise=()))
    with pytest.raises(ShapeError, match=r"Pass state=None"):
        layer(xs, state._replace(noise=state.noise[:1]))
