"""Properties of the neurons (P2, P4, P6, P8, P9, P11) and their errors."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeloom.errors import ConfigError, ShapeError
from spikeloom.neurons import ALIF, LIF, Dynamics, FromEquation, LeakyReadout
from spikeloom.neurons.readout import leak
from spikeloom.surrogate import Arctan, FastSigmoid, Gaussian, Sigmoid, Surrogate, Triangle, spike


def test_p2_triangle() -> None:
    s = torch.tensor([-1.5, -1.0, -0.75, -0.5, 0.0, 0.25, 0.5, 1.0, 2.0], requires_grad=True)
    for gain in (0.3, 0.6):
        (grad,) = torch.autograd.grad(spike(s, Triangle(gain)).sum(), s)
        expected = [0, 0, 0.075, 0.15, 0.3, 0.225, 0.15, 0, 0]
        assert grad.tolist() == pytest.approx([value * gain / 0.3 for value in expected])


@pytest.mark.parametrize("surrogate", [Triangle(1.0), FastSigmoid(), Arctan(), Sigmoid(), Gaussian()])
def test_surrogates_are_even_and_fall_from_their_middle(surrogate: Surrogate) -> None:
    x = torch.linspace(-2, 2, 401, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(spike(x, surrogate).sum(), x)
    torch.testing.assert_close(grad, grad.flip(0))
    assert bool((grad[200:-1] >= grad[201:]).all())
    assert grad[200] == grad.max() > 0


def test_smooth_surrogates_are_the_slopes_of_their_functions() -> None:
    x = torch.linspace(-3, 3, 25, dtype=torch.float64, requires_grad=True)
    cases: tuple[tuple[Callable[[Tensor], Tensor], Surrogate], ...] = (
        (lambda x: torch.sigmoid(4 * x), Sigmoid(steepness=4.0)),
        (lambda x: torch.atan(math.pi / 2 * 2 * x) / math.pi, Arctan(steepness=2.0)),
        (lambda x: torch.erf(x / (0.5 * 2**0.5)) / 2, Gaussian(width=0.5)),
    )
    for function, surrogate in cases:
        (slope,) = torch.autograd.grad(function(x).sum(), x)
        (found,) = torch.autograd.grad(spike(x, surrogate).sum(), x)
        torch.testing.assert_close(found, slope)


def test_a_surrogate_needs_positive_numbers() -> None:
    with pytest.raises(ConfigError, match="Arctan needs steepness > 0"):
        Arctan(steepness=-1.0)


@pytest.mark.parametrize("dynamics", ["standard"])
def test_p4_without_strength_adaptive_neurons_are_lif_neurons(dynamics: str) -> None:
    xs = torch.rand(300, 4, 6, generator=torch.Generator().manual_seed(0)) * 0.06
    plain = LIF(20.0, 0.01, refractory=3.0)(xs)
    adaptive = ALIF(20.0, 100.0, 0.0, 0.01, refractory=3.0, dynamics=dynamics)(xs)
    assert torch.equal(plain[0], adaptive[0])
    assert torch.equal(plain[1].voltage, adaptive[1].voltage)
    assert float(plain[0].sum()) > 0


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_p5_p6_spikes_are_ones_with_the_refractory_time_between(steps: int) -> None:
    xs = torch.rand(400, 3, 5, generator=torch.Generator().manual_seed(0)) * 0.2
    spikes, _ = ALIF(refractory=float(steps), adapt_strength=0.1)(xs)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    times = [spikes[:, b, n].nonzero().flatten() for b in range(3) for n in range(5)]
    assert min(int(t.diff().min()) for t in times) == steps + 1


def test_p8_charging_and_forgetting_without_spikes() -> None:
    xs = torch.full((100, 1, 1), 0.5, dtype=torch.float64)
    _, state = LIF(20.0)(xs)
    assert float(state.voltage) == pytest.approx(0.5 * (1 - math.exp(-100 / 20)), rel=1e-12)
    neuron = ALIF(20.0, 150.0)
    start = neuron.initial_state(xs[0])._replace(adaptation=torch.ones(1, 1, dtype=torch.float64))
    _, state = neuron(torch.zeros_like(xs), start)
    assert float(state.adaptation) == pytest.approx(math.exp(-100 / 150), rel=1e-12)


@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_p9_sustained_firing_raises_the_threshold_by_strength_times_rate(dt: float) -> None:
    neuron = ALIF(20.0, 200.0, 1.7, 0.01, refractory=4.0, dt=dt)
    xs = torch.full((6000, 1, 1), 50.0, dtype=torch.float64)
    spikes, state = neuron(xs)
    period = int(spikes[-200:, 0, 0].nonzero().flatten().diff()[0])
    assert period == 4.0 / dt + 1
    thresholds = []
    for x in xs[:period]:
        _, state = neuron.step(x, state)
        thresholds.append(float(neuron.moving_threshold(state.adaptation)))
    assert sum(thresholds) / period == pytest.approx(0.01 + 1.7 / (period * dt), rel=1e-6)


def test_p11_exponential_filter() -> None:
    z = torch.tensor([0, 1, 0, 0, 1, 1], dtype=torch.float64).reshape(6, 1, 1)
    voltages, _ = LeakyReadout(20.0)(z)
    assert voltages.flatten().tolist() == pytest.approx([0, 0.048771, 0.046392, 0.044129, 0.090748, 0.135093], abs=1e-6)
    impulse = torch.zeros(200, 1, 1, dtype=torch.float64)
    impulse[0] = 1.0
    mass, _ = LeakyReadout(20.0)(impulse)
    assert float(mass.sum()) == pytest.approx(0.999955, abs=1e-6)
    decay = math.exp(-1 / 20)
    matrix = torch.tensor([[(1 - decay) * decay ** (t - s) if t >= s else 0.0 for s in range(6)] for t in range(6)])
    torch.testing.assert_close(voltages.flatten(), matrix.double() @ z.flatten(), rtol=1e-7, atol=1e-7)


def test_learned_values_are_parameters_and_move() -> None:
    neuron = LIF(nn.Parameter(torch.full((5,), 20.0)), nn.Parameter(torch.tensor(1.0)))
    assert {name for name, _ in neuron.named_parameters()} == {"tau_mem", "threshold"}
    neuron(torch.rand(60, 4, 5) * 3)[0].sum().backward()
    assert neuron.tau_mem.grad.shape == (5,)
    assert bool((neuron.tau_mem.grad != 0).all())
    assert float(neuron.threshold.grad) != 0


def test_spatial_populations_broadcast_their_values() -> None:
    neuron = LIF(torch.linspace(5.0, 30.0, 3).reshape(3, 1, 1))
    spikes, state = neuron(torch.rand(20, 2, 3, 4, 5) * 4)
    assert spikes.shape == (20, 2, 3, 4, 5)
    flat, _ = LIF(torch.linspace(5.0, 30.0, 3).repeat_interleave(20))(torch.rand(20, 2, 60))
    assert flat.shape == (20, 2, 60)
    assert state.voltage.shape == (2, 3, 4, 5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LIF(tau_mem=-1.0), "LIF needs tau_mem > 0"),
        (lambda: LIF(tau_mem=torch.tensor([20.0, 0.0])), "LIF needs tau_mem > 0"),
        (lambda: LIF(tau_mem=float("nan")), "LIF needs tau_mem finite"),
        (lambda: LIF(threshold=0.0), "LIF needs threshold > 0"),
        (lambda: LIF(dt=0.0), "LIF needs dt > 0"),
        (lambda: LIF(refractory=-1.0), "LIF needs refractory >= 0 in whole steps of 1.0 ms"),
        (lambda: LIF(refractory=0.5), "LIF needs refractory >= 0 in whole steps of 1.0 ms"),
        (lambda: LIF(reset="soft"), '"subtract" or "zero"'),
        (lambda: LIF(memory="small"), '"fast" or "lean"'),
        (lambda: ALIF(dynamics="paper"), "ALIF needs dynamics from standard, legacy, eprop"),
        (lambda: ALIF(tau_adapt=0.0), "ALIF needs tau_adapt > 0"),
        (lambda: Dynamics(reset_by="nothing"), "Dynamics needs reset_by from"),
        (lambda: FromEquation(leak, fires="never"), r"FromEquation needs values for \['tau_mem'\]"),
    ],
)
def test_wrong_values(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("xs", "message"),
    [
        (torch.rand(5, 3), r"time first, with T >= 1, but got \[5, 3\]"),
        (torch.rand(0, 2, 3), "T >= 1"),
        (torch.ones(5, 2, 3, dtype=torch.int64), "needs floating point input, but got torch.int64"),
        ([[[1.0]]], "but got list"),
    ],
)
def test_wrong_input(xs: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        LIF()(xs)


def test_wrong_state_and_dtype() -> None:
    neuron = LIF()
    _, state = neuron(torch.rand(5, 64, 3))
    with pytest.raises(ShapeError, match=r"state whose voltage has shape \[64, 3\].*Pass state=None"):
        neuron(torch.rand(5, 32, 3), state)
    with pytest.raises(ShapeError, match=r"torch.float64 on cpu but voltage of torch.float32"):
        neuron(torch.rand(5, 64, 3, dtype=torch.float64), state)
    with pytest.raises(ShapeError, match=r"tau_mem|decay_mem of torch.float32"):
        LIF(torch.full((3,), 20.0))(torch.rand(5, 2, 3, dtype=torch.float64))
    with pytest.raises(ShapeError, match=r"has decay_mem of shape \[4\].*broadcasts to the neurons"):
        LIF(torch.full((4,), 20.0))(torch.rand(5, 2, 3))
    with pytest.raises(ShapeError, match="meta"):
        neuron(torch.rand(5, 64, 3, device="meta"), state)


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_lif_is_the_equation_of_its_docstring(reset: str) -> None:
    """A plain loop in Python floats, written from the docstring and from nothing else."""
    currents = (torch.rand(60, 1, 1, generator=torch.Generator().manual_seed(0)) * 4).double()
    decay, voltage, spike, wanted = math.exp(-1.0 / 5.0), 0.0, 0.0, []
    for current in currents.flatten().tolist():
        held = voltage if reset == "subtract" else voltage * (1 - spike)
        voltage = decay * held + (1 - decay) * current - (0.8 * spike if reset == "subtract" else 0.0)
        spike = float(voltage > 0.8)
        wanted.append(spike)
    layer = LIF(5.0, 0.8, reset=reset).double()
    assert layer(currents)[0].flatten().tolist() == wanted
    assert 3 < sum(wanted) < 57
