"""Parallel neurons and their LIF baseline: time constants, thresholds, refractory steps, integration, errors."""

import math
import time

import pytest
import torch
from torch import Tensor, nn

from spikeloom import kernels
from spikeloom.errors import ConfigError, ShapeError
from spikeloom.neurons import LIF, ParaLIF, SynapticLIF, SynapticReadout
from spikeloom.neurons.parallel import INTEGRATION
from spikeloom.surrogate import Arctan


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def currents(steps: int = 60, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(steps, 3, 5, generator=seeded(), dtype=dtype) * 3


@pytest.mark.parametrize("engine", ["torch", "numba"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_p11_learned_time_constants_start_exactly_where_they_say(engine: str, dtype: torch.dtype) -> None:
    xs = currents(dtype=dtype)
    pairs = [
        (ParaLIF("D", tau_mem=13.0, tau_syn=7.0, learn_tau=learn).to(dtype), SynapticLIF(learn_tau=learn).to(dtype))
        for learn in (False, True)
    ]
    with kernels.use(engine):
        for fixed, learned in zip(*pairs, strict=True):
            assert torch.equal(fixed(xs)[0], learned(xs)[0])
            loss = (learned(xs)[0] * torch.rand(xs.shape, generator=seeded(1), dtype=dtype)).sum()
            grads = torch.autograd.grad(loss, list(learned.parameters()))
            assert all(grad.abs() > 0 for grad in grads)


def test_learned_time_constants_stay_positive_whatever_the_step() -> None:
    layer = SynapticReadout(learn_tau=True)
    for log in layer.parameters():
        nn.init.constant_(log, -5.0)
    tau_mem = layer.time_constants()["tau_mem"]
    assert isinstance(tau_mem, float)
    assert 0 < tau_mem < 0.2
    for log in layer.parameters():
        nn.init.constant_(log, 8.0)
    voltages, _ = layer(currents(dtype=torch.float32))
    assert bool(torch.isfinite(voltages).all())
    assert layer.time_constants()["tau_syn"] == pytest.approx(20 * math.exp(8.0))


def test_no_time_constant_is_no_filter() -> None:
    xs = currents()
    assert torch.equal(SynapticReadout(None, None)(xs)[0], xs)
    alone, _ = SynapticReadout(20.0, None)(xs)
    decay = math.exp(-1 / 20)
    voltage = torch.zeros_like(xs[0])
    for x, found in zip(xs, alone, strict=True):
        voltage = decay * voltage + (1 - decay) * x
        torch.testing.assert_close(found, voltage, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("refractory", [0, 1, 3])
def test_lif_by_an_independent_loop(refractory: int) -> None:
    xs, a, b = currents() + 1.0, math.exp(-1 / 7), math.exp(-1 / 20)
    layer = SynapticLIF(20.0, 7.0, 0.8, refractory=float(refractory))
    spikes, _ = layer(xs)
    for n in range(5):
        i = u = 0.0
        wait = 0
        for t in range(len(xs)):
            i = a * i + float(xs[t, 1, n])
            if wait > 0:
                wait -= 1
            else:
                u = b * u + (1 - b) * i
            fired = u > 0.8
            if fired:
                u, wait = 0.0, refractory
            assert float(spikes[t, 1, n]) == fired, (n, t)
    assert spikes.any()


def test_thresholds_per_neuron_are_learned_and_negative_ones_count_as_zero() -> None:
    xs = torch.full((40, 2, 3), 0.3, dtype=torch.float64)
    threshold = nn.Parameter(torch.tensor([0.2, 0.8, 2.0], dtype=torch.float64))
    lif, parallel = SynapticLIF(threshold=threshold), ParaLIF("T", threshold=threshold)
    for layer in (lif, parallel):
        spikes, _ = layer(xs)
        counts = spikes.detach().sum((0, 1))
        assert counts[0] > counts[1] > counts[2]
        (grad,) = torch.autograd.grad(spikes.sum(), threshold)
        assert bool((grad < 0).all())
    with torch.no_grad():
        threshold[0] = -5.0
    assert torch.equal(lif(xs)[0][..., 0], torch.ones(40, 2, dtype=torch.float64))
    assert not parallel(-xs)[0].any()


@pytest.mark.parametrize("firing", ["SB", "GS", "D", "SD", "TRT"])
def test_all_integrations_agree(firing: str) -> None:
    xs = currents(37).requires_grad_()
    weight = torch.rand(xs.shape, generator=seeded(2), dtype=xs.dtype)
    results = []
    for integration in INTEGRATION:
        threshold = None if firing in ("SB", "GS") else 0.05
        layer = ParaLIF(
            firing, 20.0, 5.0, threshold, integration=integration, generator=seeded(4), learn_tau=True
        ).double()
        spikes, state = layer(xs)
        loss = (spikes * weight).sum() + state.voltage.square().sum()
        results.append([spikes, state.voltage, *torch.autograd.grad(loss, [xs, *layer.parameters()])])
    for other in results[1:]:
        assert torch.equal(other[0], results[0][0])
        for a, b in zip(results[0][1:], other[1:], strict=True):
            torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9)


def membrane_by_loop(xs: Tensor, decay_mem: Tensor, decay_syn: Tensor) -> Tensor:
    """The two leaky integrators, one step after the other."""
    syn_current, voltage = torch.zeros_like(xs[0]), torch.zeros_like(xs[0])
    voltages = []
    for x in xs:
        syn_current = decay_syn * syn_current + x
        voltage = decay_mem * voltage + (1 - decay_mem) * syn_current
        voltages.append(voltage)
    return torch.stack(voltages)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("integration", INTEGRATION)
@pytest.mark.parametrize("steps", [1, 2, 7, 8, 20, 50, 100, 1370])
def test_p1_the_layer_gives_what_the_loop_gives_and_nothing_wraps_around(
    steps: int, integration: str, dtype: torch.dtype
) -> None:
    xs = currents(steps, dtype)
    for tau_mem, tau_syn in ((20.0, 20.0), (20.0, 5.0), (0.1, 200.0)):
        layer = ParaLIF("D", tau_mem, tau_syn, integration=integration)
        decays = layer.parameters_for(xs)
        wanted = membrane_by_loop(xs, decays["decay_mem"], decays["decay_syn"])
        for engine in ("torch", "numba"):
            with kernels.use(engine):
                found, _ = layer.integrate(xs, layer.initial_state(xs[0]))
                spikes, _ = layer(xs)
            if integration == "kernel":  # the default, bit by bit
                fired = wanted - torch.cat([torch.zeros_like(wanted[:1]), wanted[:-1]]) - decays["threshold"] > 0
                assert torch.equal(found, wanted)
                assert torch.equal(spikes, fired.to(dtype))
            tolerance = 1e-10 if dtype == torch.float64 else 2e-5 * float(wanted.abs().max())
            torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance)


@pytest.mark.parametrize("integration", INTEGRATION)
@pytest.mark.parametrize("firing", ["SB", "GS", "D", "ST"])
@pytest.mark.parametrize("start", [1, 20, 49])
def test_p2_the_future_does_not_change_the_past(start: int, firing: str, integration: str) -> None:
    xs = currents(50)
    changed = xs.clone()
    changed[start:] += 7.0
    results = []
    for given in (xs, changed):
        layer = ParaLIF(firing, integration=integration, generator=seeded(4))
        voltages, _ = layer.integrate(given, layer.initial_state(given[0]))
        results.append((voltages, layer(given)[0]))
    (before, spikes), (after, others) = results
    if integration == "fft":
        torch.testing.assert_close(before[:start], after[:start], rtol=0, atol=1e-6)
    else:
        assert torch.equal(before[:start], after[:start])
    assert torch.equal(spikes[:start], others[:start])
    assert not torch.equal(before[start], after[start])


@pytest.mark.parametrize("weighted", [0.0, 1.0])
def test_p5_both_gradient_rules_can_be_chosen(weighted: float) -> None:
    xs = torch.linspace(-2, 2, 9, dtype=torch.float64).reshape(1, 1, 9).requires_grad_()
    spikes, _ = ParaLIF("SB", None, None, weighted=weighted)(xs)
    (grad,) = torch.autograd.grad(spikes.sum(), xs)
    p = torch.sigmoid(xs.detach())
    torch.testing.assert_close(grad, p * (1 - p) * (p if weighted else 1.0))


def test_the_arctan_surrogate_and_the_gradient_through_the_reset_can_be_chosen() -> None:
    xs = currents().requires_grad_()
    neurons = (
        SynapticLIF(),
        SynapticLIF(surrogate=Arctan(steepness=2.0)),
        SynapticLIF(surrogate=Arctan(steepness=2.0), detach_reset=False),
    )
    grads = [torch.autograd.grad(neuron(xs)[0].sum(), xs)[0] for neuron in neurons]
    assert not torch.allclose(grads[0], grads[1])
    assert not torch.allclose(grads[1], grads[2])


@pytest.mark.slow
def test_p12_the_cost_of_lif_is_linear_in_the_length() -> None:
    torch.set_num_threads(1)
    layer, best = SynapticLIF(), dict.fromkeys((500, 2000), math.inf)
    inputs = {steps: torch.rand(steps, 32, 128, requires_grad=True) for steps in best}
    for turn in range(9):
        for steps, xs in inputs.items():
            start = time.process_time()
            torch.autograd.grad(layer(xs)[0].sum(), xs)
            best[steps] = min(best[steps], time.process_time() - start) if turn else math.inf
    assert best[2000] / best[500] < 8.0  # linear: 4, quadratic: 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"firing": "XY"}, "ParaLIF needs firing from SB, TRB"),
        ({"integration": "magic"}, "ParaLIF needs integration from kernel, scan"),
        ({"evaluation": "never"}, "ParaLIF needs evaluation from sample, mean"),
        ({"firing": "GS", "threshold": 1.0}, "spikes at random and has no threshold"),
        ({"firing": "D", "p_max": 0.5}, "ParaLIF D makes no use of p_max"),
        ({"firing": "SB", "temperature": 2.0}, "ParaLIF SB makes no use of temperature"),
        ({"firing": "GS", "weighted": 0.0}, "ParaLIF GS makes no use of weighted"),
        ({"firing": "T", "evaluation": "mean"}, "ParaLIF T makes no use of evaluation"),
        ({"tau_mem": -1.0}, "needs tau_mem > 0"),
        ({"tau_mem": nn.Parameter(torch.tensor(20.0)), "learn_tau": True}, "learn='tau_mem' and an nn.Parameter"),
        ({"dt": 0.0}, "needs dt > 0"),
        ({"firing": "GS", "temperature": -1.0}, "TemperedGumbelSoftmax needs temperature > 0"),
        ({"p_max": 1.5}, r"SigmoidBernoulli needs p_max in \(0, 1\], but got 1\.5"),
        ({"tau_syn": torch.tensor([20])}, "ParaLIF needs tau_syn finite and of a floating point type"),
        ({"tau_syn": math.nan}, "needs tau_syn finite, but got nan. Pass a finite number"),
        ({"tau_mem": "20"}, "ParaLIF needs tau_mem as a number or a tensor, but got '20'. Pass a number such as 20.0"),
        ({"memory": "small"}, 'ParaLIF needs memory "fast" or "lean"'),
    ],
)
def test_options_that_make_no_sense(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ParaLIF(**arguments)  # type: ignore[arg-type]


def test_whole_numbers_are_numbers() -> None:
    xs = currents(dtype=torch.float32)
    pairs = [
        (SynapticLIF(tau_mem=13, threshold=2), SynapticLIF(tau_mem=13.0, threshold=2.0)),
        (ParaLIF("D", tau_syn=1, learn_tau=True), ParaLIF("D", tau_syn=1.0, learn_tau=True)),
        (LIF(tau_mem=20), LIF(tau_mem=20.0)),
    ]
    for whole, floating in pairs:
        assert torch.equal(whole(xs)[0], floating(xs)[0])
        assert whole.constants() == floating.constants()


@pytest.mark.parametrize("refractory", [-1.0, 0.5, math.inf])
def test_refractory_time_is_whole_steps(refractory: float) -> None:
    with pytest.raises(ConfigError, match=r"SynapticLIF needs refractory >= 0 in whole steps of 1\.0 ms"):
        SynapticLIF(refractory=refractory)


def test_shapes_are_checked_on_every_path() -> None:
    for integration in INTEGRATION:
        layer = ParaLIF("D", integration=integration)
        with pytest.raises(ShapeError, match=r"ParaLIF needs input \[T, B, \*N\]"):
            layer(torch.rand(4, 3))
        _, state = layer(torch.rand(4, 3, 2))
        with pytest.raises(ShapeError, match="Pass state=None to start afresh"):
            layer(torch.rand(4, 2, 2), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_membranes_are_float32_under_autocast_and_never_shorter(dtype: torch.dtype) -> None:
    xs = currents(dtype=torch.float32).to(dtype)
    for layer in (ParaLIF("D"), ParaLIF("SD", integration="scan"), SynapticLIF(), SynapticReadout()):
        with torch.autocast("cpu", dtype=dtype):
            found, state = layer(xs)
        assert found.dtype == state[0].dtype == torch.float32
        assert torch.equal(found, layer(xs.float())[0])
        with pytest.raises(ShapeError, match=rf"computes in float32 or float64, but got {dtype}. Call .float\(\)"):
            layer(xs)
