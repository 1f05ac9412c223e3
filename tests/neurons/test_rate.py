"""Rate neurons and their partners: the properties that hold for any current, and what goes wrong."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spikeloom import kernels
from spikeloom.errors import ConfigError, ShapeError
from spikeloom.neurons import (
    LeakyReLUCurve,
    LIFCurve,
    Lowpass,
    QCFSCurve,
    RateNeuron,
    ReLUCurve,
    SigmoidCurve,
    TanhCurve,
    rate_neurons,
)

D = torch.float64
CURVES = [LIFCurve(smoothing=0.0), LIFCurve(), ReLUCurve(), LeakyReLUCurve(), SigmoidCurve(), TanhCurve()]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def currents(*shape: int, dtype: torch.dtype = D) -> Tensor:
    return torch.randn(shape, generator=seeded(), dtype=dtype) * 3


@pytest.mark.parametrize("curve", CURVES, ids=str)
def test_gradients_are_right(curve: Any) -> None:
    x = (currents(40) + 1.05).requires_grad_()
    assert torch.autograd.gradcheck(curve.rate, (x,), eps=1e-7, atol=1e-3)


@pytest.mark.parametrize("curve", CURVES, ids=str)
def test_no_gradient_is_ever_nan(curve: Any) -> None:
    for dtype in (torch.float32, D):
        x = torch.tensor([-1e4, -1000.0, -1.0, 0.0, 1.0, 1.0000001, 1.01, 1e4], dtype=dtype, requires_grad=True)
        rate = curve.rate(x)
        (slope,) = torch.autograd.grad(rate.sum(), x)
        assert bool(torch.isfinite(rate).all() and torch.isfinite(slope).all())


def test_a_smoothed_curve_far_below_threshold() -> None:
    wanted = 1000 / (2 + 20 * (1001 / 0.01 - torch.log(torch.tensor(0.01, dtype=D)).item()))
    found = LIFCurve(smoothing=0.01).rate(torch.tensor([-1000.0]))
    assert found.item() == pytest.approx(wanted, rel=1e-5)
    assert found.item() == pytest.approx(0.0004995, abs=1e-6)


def test_little_smoothing_is_no_smoothing() -> None:
    sharp, hard = LIFCurve(smoothing=1e-4), LIFCurve(smoothing=0.0)
    above = torch.linspace(1.02, 20, 500, dtype=D)
    torch.testing.assert_close(sharp.rate(above), hard.rate(above), rtol=1e-6, atol=0)
    assert bool((sharp.rate(torch.linspace(-5, 0.98, 500, dtype=D)) < 0.3).all())


@pytest.mark.parametrize(("current", "dt"), list(itertools.product([1.2, 2.0, 3.0, 5.0, 10.0], [0.5, 1.0, 2.0])))
def test_the_long_run_rate_is_the_curve(current: float, dt: float) -> None:
    neuron = RateNeuron(LIFCurve(), mode="spiking", dt=dt)
    out = neuron(torch.full((round(10_000 / dt), 1, 1), current, dtype=D))[0]
    wanted = 10 * LIFCurve(smoothing=0.0).rate(torch.tensor(current, dtype=D)).item()
    assert abs((out > 0).sum().item() - wanted) <= 1
    assert neuron.hertz(out).item() == pytest.approx((out > 0).sum().item() / 10)


@given(st.floats(0, 1), st.integers(1, 64), st.sampled_from([0.0, 0.5]))
@settings(max_examples=40, deadline=None)
def test_integrate_and_fire_is_right_within_one_spike(activation: float, steps: int, v_init: float) -> None:
    neuron = RateNeuron(ReLUCurve(), partner="integrate_and_fire", mode="spiking", v_init=v_init)
    out = neuron(torch.full((steps, 1, 1), activation, dtype=D))[0]
    assert abs(out.mean().item() - activation) <= (1 - v_init if v_init else 1) / steps + 1e-9


def test_a_quantised_neuron_is_exact_after_as_many_steps_as_levels() -> None:
    neuron = RateNeuron(QCFSCurve(8), threshold=0.7, v_init=0.5)
    x = torch.rand(1, 4, 50, generator=seeded(), dtype=D) * 1.2 - 0.2
    spikes = neuron.eval()(x.expand(8, 4, 50))[0].mean(0)
    torch.testing.assert_close(spikes, neuron.train()(x)[0][0], rtol=0, atol=1e-12)


def test_a_learned_threshold_gets_a_gradient() -> None:
    neuron = RateNeuron(QCFSCurve(4), threshold=nn.Parameter(torch.tensor(0.5)), mode="rate")
    neuron(torch.tensor([[[0.2, 0.9]]]))[0].sum().backward()
    assert isinstance(neuron.threshold, nn.Parameter)
    assert neuron.threshold.grad is not None
    assert neuron.threshold.grad.item() >= 1.0  # the unit above it follows it one to one


@pytest.mark.parametrize("scale", [1.0, 10.0, 1000.0])
@pytest.mark.parametrize("curve", [ReLUCurve(), LeakyReLUCurve(), SigmoidCurve(1000.0), TanhCurve(1000.0)], ids=str)
def test_a_scale_changes_no_rate_but_makes_spikes_finer(curve: Any, scale: float) -> None:
    x = currents(1, 3, 5)
    neuron = RateNeuron(curve, scale=scale, mode="rate")
    torch.testing.assert_close(neuron(x)[0], RateNeuron(curve, mode="rate")(x)[0], rtol=1e-12, atol=0)
    assert "scale" not in neuron.state_dict()
    spikes = RateNeuron(curve, scale=1000.0, mode="spiking")(x.expand(10, 3, 5))[0]
    assert (spikes - neuron(x)[0]).abs().max().item() <= 1.0 + 1e-9
    assert (spikes.mean(0) - neuron(x)[0][0]).abs().max().item() <= 0.1 + 1e-9


@pytest.mark.parametrize("partner", ["stochastic", "poisson"])
@pytest.mark.parametrize("rate", [50.0, 730.0, 2730.0, -400.0])
def test_random_partners_have_the_right_mean(partner: str, rate: float) -> None:
    neuron = RateNeuron(TanhCurve(1e-3), partner=partner, mode="spiking", generator=seeded())
    current = torch.atanh(torch.tensor(rate / 1e6, dtype=D))
    steps, neurons = 1000, 100
    made = neuron(current.expand(steps, 1, neurons))[0] / neuron.height
    mean = abs(rate) / 1000
    variance = mean if partner == "poisson" else (mean % 1) * (1 - mean % 1)
    assert abs(made.mean().item() - rate / 1000) < 4 * (variance / (steps * neurons)) ** 0.5


@pytest.mark.parametrize("partner", ["stochastic", "poisson"])
def test_random_partners_are_the_same_in_chunks(partner: str) -> None:
    x = currents(30, 3, 4).abs() * 300
    neuron = RateNeuron(ReLUCurve(), partner=partner, mode="spiking", generator=seeded())
    start = neuron.initial_state(x[0])
    whole, _ = neuron(x, start)
    first, state = neuron(x[:11], start)
    assert torch.equal(torch.cat([first, neuron(x[11:], state)[0]]), whole)
    with pytest.raises(ShapeError, match="noise"):
        neuron(x[:, :2], start)


@pytest.mark.parametrize("curve", CURVES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_the_kernel_is_the_definition(curve: Any, dtype: torch.dtype) -> None:
    x = currents(50, 3, 7, dtype=dtype) * (1 if isinstance(curve, LIFCurve) else 200)
    neuron = RateNeuron(curve, mode="spiking", gain=torch.linspace(0.5, 2, 7, dtype=dtype), bias=0.3, v_init=0.2)
    found, state = neuron(x)
    with kernels.use("torch"):
        wanted, last = neuron(x)
    same = (found == wanted).float().mean().item()
    assert same == 1.0 if dtype == D else same > 0.999
    if dtype == D:
        torch.testing.assert_close(state.voltage, last.voltage, rtol=1e-9, atol=1e-9)


def test_modes() -> None:
    x = currents(5, 2, 3, dtype=torch.float32) + 3
    neuron = RateNeuron(LIFCurve())
    assert torch.equal(neuron.train()(x)[0], RateNeuron(LIFCurve(), mode="rate")(x)[0])
    assert torch.equal(neuron.eval()(x)[0], RateNeuron(LIFCurve(), mode="spiking")(x)[0])
    assert neuron.train()(x)[1] == ()
    never = RateNeuron(LIFCurve(), partner="none").eval()
    assert torch.equal(never(x)[0], neuron.train()(x)[0])
    with pytest.raises(ConfigError, match="mode"):
        neuron.mode = "both"


def test_hybrid_is_spiking_forward_and_rate_backward() -> None:
    neuron = RateNeuron(LIFCurve(), gain=nn.Parameter(torch.tensor(2.0)), bias=nn.Parameter(torch.ones(3)))
    grads = []
    for mode in ("hybrid", "rate"):
        neuron.mode = mode
        x = currents(20, 2, 3, dtype=torch.float32).requires_grad_()
        out, _ = neuron(x)
        weights = torch.linspace(-1, 1, out.numel()).view_as(out)
        grads.append(torch.autograd.grad((out * weights).sum(), [x, *neuron.parameters()]))
        if mode == "hybrid":
            neuron.mode = "spiking"
            assert torch.equal(out, neuron(x)[0])
    for one, other in zip(*grads, strict=True):
        assert torch.equal(one, other)


def test_spiking_leaves_no_trace_in_training() -> None:
    neuron = RateNeuron(LIFCurve(), bias=nn.Parameter(torch.ones(3)))
    x = currents(4, 2, 3, dtype=torch.float32)
    before, saved = neuron(x)[0], {key: value.clone() for key, value in neuron.state_dict().items()}
    neuron.eval()(x)
    assert torch.equal(neuron.train()(x)[0], before)
    assert list(saved) == ["bias", "structure"]
    assert torch.equal(saved["bias"], neuron.state_dict()["bias"])


def test_initial_voltages() -> None:
    x = torch.zeros(1, 4, 6)
    drawn = RateNeuron(LIFCurve(), mode="spiking", v_init="uniform", v_seed=3)
    state = drawn.initial_state(x[0])
    assert torch.equal(state.voltage[0], state.voltage[3])  # a neuron's, not a sample's
    assert 0 < state.voltage.min() < state.voltage.max() < 1
    assert torch.equal(drawn.initial_state(x[0]).voltage, state.voltage)
    assert bool((RateNeuron(ReLUCurve(), mode="spiking", v_init=0.5).initial_state(x[0]).voltage == 0.5).all())


def test_a_voltage_has_a_floor() -> None:
    pushed = torch.full((50, 1, 1), -5.0, dtype=D)
    assert RateNeuron(LIFCurve(), mode="spiking")(pushed)[1].voltage.item() == 0.0
    assert RateNeuron(LIFCurve(), mode="spiking", min_voltage=-2.0)(pushed)[1].voltage.item() == -2.0
    free = RateNeuron(ReLUCurve(), partner="integrate_and_fire", mode="spiking")
    assert free(pushed)[1].voltage.item() == pytest.approx(-250)
    bound = RateNeuron(ReLUCurve(), partner="integrate_and_fire", mode="spiking", min_voltage=-1.0, max_spikes=1)
    assert bound(pushed)[1].voltage.item() == -1.0
    assert bound(-pushed)[0].max().item() == 1.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"partner": "izhikevich"}, "partner"),
        ({"curve": ReLUCurve(), "partner": "lif"}, "no partner"),
        ({"partner": "integrate_and_fire"}, "no partner"),
        ({"curve": SigmoidCurve(), "partner": "integrate_and_fire"}, "ReLU or QCFS"),
        ({"curve": QCFSCurve(), "partner": "regular"}, "QCFS"),
        ({"curve": ReLUCurve(), "max_spikes": 2}, "no use"),
        ({"curve": ReLUCurve(), "min_voltage": 0.0}, "no use"),
        ({"threshold": 0.0}, "threshold > 0"),
        ({"gain": float("nan")}, "finite"),
        ({"scale": -1.0}, "scale"),
        ({"dt": 0.0}, "dt"),
        ({"v_init": "normal"}, "v_init"),
    ],
)
def test_wrong_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        RateNeuron(**options)


def test_wrong_curves_and_inputs() -> None:
    curves: tuple[Callable[[], LIFCurve], ...] = (
        lambda: LIFCurve(tau_mem=0.0), lambda: LIFCurve(smoothing=-1.0), lambda: LIFCurve(refractory=1e9),
    )  # fmt: skip
    for wrong in curves:
        with pytest.raises(ConfigError):
            wrong()
    with pytest.raises(ConfigError, match="less than 500 Hz"):
        LIFCurve().tune(500.0, 0.0)
    with pytest.raises(ConfigError, match="intercept < 1"):
        ReLUCurve().tune(100.0, 1.0)
    with pytest.raises(ConfigError, match="no onset"):
        SigmoidCurve().tune(100.0, 0.0)
    with pytest.raises(ShapeError, match="bias of shape"):
        RateNeuron(bias=torch.zeros(3), mode="rate")(torch.zeros(1, 1, 2))
    with pytest.raises(ShapeError, match=r"float32 .* bias of torch.float64"):
        RateNeuron(bias=torch.zeros(2, dtype=D), mode="spiking")(torch.zeros(1, 1, 2))
    neuron = RateNeuron(mode="spiking")
    with pytest.raises(ShapeError, match="state whose voltage"):
        neuron(torch.zeros(1, 2, 2), neuron.initial_state(torch.zeros(3, 2)))
    with pytest.raises(ConfigError, match="no RateNeuron"):
        rate_neurons(nn.Linear(1, 1))


def test_tuning_with_one_rate_per_neuron() -> None:
    rates = torch.tensor([100.0, 200.0])
    neuron = RateNeuron.tuned(LIFCurve(smoothing=0.0), 2, max_rate=rates, intercept=0.0, mode="rate")
    torch.testing.assert_close(neuron(torch.ones(1, 1, 2))[0].flatten(), rates)
    assert [name for name, _ in neuron.named_parameters()] == ["bias"]


def test_lowpass() -> None:
    assert Lowpass(100.0).decay == pytest.approx(0.990050, abs=1e-6)
    assert Lowpass(10.0).decay == pytest.approx(0.904837, abs=1e-6)
    assert Lowpass(5.0).decay == pytest.approx(0.818731, abs=1e-6)
    assert Lowpass(1.0).decay == pytest.approx(0.367879, abs=1e-6)
    assert Lowpass(0.03).decay == 0.0
    x = currents(20, 2, 3)
    assert torch.equal(Lowpass(0.02, delay=False)(x)[0], x)
    assert torch.equal(Lowpass(0.02)(x)[0][1:], x[:-1])
    slow = Lowpass(50.0, delay=False)(x)[0]
    torch.testing.assert_close(Lowpass(50.0)(x)[0][1:], slow[:-1])
    constant = torch.full((30, 1, 1), 2.0, dtype=D)
    assert Lowpass(100.0)(constant)[0][-1].item() == pytest.approx(2 * 0.25174, abs=1e-4)
    torch.testing.assert_close(Lowpass(100.0, debias=True)(constant)[0][1:], constant[1:])
    for wrong in (-1.0, float("inf")):
        with pytest.raises(ConfigError, match="tau_syn"):
            Lowpass(wrong)


def test_the_tuning_is_saved() -> None:
    slow, fast = (RateNeuron.tuned(LIFCurve(), 3, max_rate=rate, intercept=0.0) for rate in (100.0, 200.0))
    assert sorted(slow.state_dict()) == ["bias", "gain", "structure"]
    fast.load_state_dict(slow.state_dict())
    x = currents(5, 2, 3, dtype=torch.float32)
    assert torch.equal(fast.eval()(x)[0], slow.eval()(x)[0])
    assert torch.equal(fast.train()(x)[0], slow.train()(x)[0])
    old = slow.state_dict()
    del old["gain"]  # as checkpoints were before
    again = RateNeuron.tuned(LIFCurve(), 3, max_rate=200.0, intercept=0.0)
    again.load_state_dict(old)
    assert float(torch.as_tensor(again.gain)) == pytest.approx(6.179162)
    each = RateNeuron.tuned(LIFCurve(), 3, max_rate=torch.full((3,), 100.0), intercept=0.0)
    with pytest.raises(RuntimeError, match="gain"):
        each.load_state_dict(old)


def test_a_limit_on_spikes_below_the_scale_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"At scale 2 .*max_spikes=1 per step would cut off what is above\. Pass"):
        RateNeuron(ReLUCurve(), partner="integrate_and_fire", max_spikes=1, scale=2.0)
    neuron = RateNeuron(QCFSCurve(4))
    with pytest.raises(ConfigError, match="would cut off"):
        neuron.scale = 10.0
    assert neuron.scale == 1.0
    RateNeuron(ReLUCurve(), partner="integrate_and_fire", max_spikes=2, scale=2.0).scale = 0.5
