"""The worked traces of the LSNN specification (T1, T1b, T2, T3), to six decimals, on every engine."""

import pytest
import torch
from torch import Tensor, nn

from spikeloom import kernels
from spikeloom.layers import DelayedLinear, Recurrent
from spikeloom.neurons import ALIF, LIF, Neuron

LEGACY_T1 = [0.004877, 0.009516, 0.013929, 0.018127, 0.012120, 0.016406, 0.020483, 0.014361]
STANDARD_T1 = [0.004877, 0.009516, 0.013929, 0.008127, 0.012608, 0.016870, 0.010924, 0.015268]
LEGACY_T2 = {
    "v": [0.011705, 0.022839, 0.006515, 0.017902, 0.028734, 0.039037, 0.005671, 0.017100, 0.027971, 0.038311],
    "b": [0, 0, 0.009950, 0.009851, 0.009753, 0.009656, 0.019510, 0.019316, 0.019124, 0.018934],
    "A": [0.01, 0.01, 0.026915, 0.026747, 0.026580, 0.026415, 0.043167, 0.042837, 0.042511, 0.042187],
    "dz": [0, 1.213665, 0, 0.221686, 0.871058, 1.299545, 0, 0.093283, 0.362420, 0.686762],
    "spikes": [2, 6],
}
STANDARD_T2 = {
    "v": [0.011705, 0.012839, 0.023918, 0.034456, 0.017900, 0.028732, 0.039036, 0.048837, 0.015815, 0.026748],
    "b": [0, 0.009950, 0.009851, 0.009753, 0.019606, 0.019411, 0.019218, 0.019027, 0.028788, 0.028501],
    "A": [0.01, 0.026915, 0.026747, 0.026580, 0.043331, 0.042999, 0.042671, 0.042346, 0.058939, 0.058452],
    "dz": [1.213665, 0, 1.098987, 0.720440, 0, 0.625596, 0.812501, 0.612405, 0, 0.310228],
    "spikes": [1, 4, 8],
}
ENGINES = ["torch", "numba"]
DTYPES = [(torch.float64, 1e-6), (torch.float32, 1e-5)]


def played(
    neuron: Neuron, weight: float, steps: int, dtype: torch.dtype
) -> tuple[list[int], list[float], list[float], list[float]]:
    """Spike times from 1, voltages, adaptations, and the gradient of each step's spike by the weight."""
    w = torch.tensor(weight, dtype=dtype, requires_grad=True)
    xs = w * torch.ones(steps, 1, 1, dtype=dtype)
    spikes, _ = neuron(xs)
    grads = [float(torch.autograd.grad(spikes[t].sum(), w, retain_graph=True)[0]) for t in range(steps)]
    voltages, adaptations, state = [], [], neuron.initial_state(xs[0])
    for x in xs.detach():
        _, state = neuron.step(x, state)
        voltages.append(float(state.voltage))
        adaptations.append(float(getattr(state, "adaptation", torch.zeros(1))))
    return [t + 1 for t in range(steps) if spikes[t]], voltages, adaptations, grads


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
def test_t1(engine: str, dtype: torch.dtype, tolerance: float) -> None:
    for dynamics, voltages, total, times in (
        ("legacy", LEGACY_T1, 8.053677, [4, 7, 10]),
        ("standard", STANDARD_T1, 7.191890, [3, 6, 9, 12]),
    ):
        neuron = ALIF(20.0, 200.0, 0.0, 0.01, dynamics=dynamics, refractory=2.0)
        with kernels.use(engine):
            spikes, found, _, grads = played(neuron, 0.1, 8, dtype)
            assert found == pytest.approx(voltages, abs=tolerance)
            assert sum(grads) == pytest.approx(total, rel=tolerance)
            assert played(neuron, 0.1, 12, dtype)[0] == times
        assert spikes == [t for t in times if t <= 8]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
def test_t1b_without_refractory_steps(engine: str, dtype: torch.dtype, tolerance: float) -> None:
    legacy = [0.004877, 0.009516, 0.013929, 0.018127, 0.012120, 0.006406, 0.000971, 0.005800]
    standard = [0.004877, 0.009516, 0.013929, 0.008127, 0.012608, 0.006870, 0.011412, 0.005732]
    with kernels.use(engine):
        for neuron, voltages, times in (
            (ALIF(20.0, 200.0, 0.0, 0.01, dynamics="legacy"), legacy, [4, 5, 6]),
            (ALIF(20.0, 200.0, 0.0, 0.01), standard, [3, 5, 7]),
            (LIF(20.0, 0.01), standard, [3, 5, 7]),
        ):
            spikes, found, _, _ = played(neuron, 0.1, 8, dtype)
            assert spikes == times
            assert found == pytest.approx(voltages, abs=tolerance)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
def test_t2_with_adaptation(engine: str, dtype: torch.dtype, tolerance: float) -> None:
    for dynamics, expected, total in (("legacy", LEGACY_T2, 4.748419), ("standard", STANDARD_T2, 5.393822)):
        neuron = ALIF(20.0, 100.0, 1.7, 0.01, dynamics=dynamics, refractory=1.0)
        with kernels.use(engine):
            spikes, voltages, adaptations, grads = played(neuron, 0.24, 10, dtype)
        assert spikes == expected["spikes"]
        assert voltages == pytest.approx(expected["v"], abs=tolerance)
        assert adaptations == pytest.approx(expected["b"], abs=tolerance)
        thresholds = neuron.moving_threshold(torch.tensor(adaptations, dtype=torch.float64)).tolist()
        assert thresholds == pytest.approx(expected["A"], abs=tolerance)
        assert grads == pytest.approx(expected["dz"], abs=tolerance)
        assert sum(grads) == pytest.approx(total, rel=tolerance)


@pytest.mark.parametrize("engine", ENGINES)
def test_t3_delays(engine: str) -> None:
    expected = {
        "legacy": ([[3, 7], [7]], [0, 0.024385, 0.023196, 0.012065, 0.011476, 0.010917, 0.010384, 0.019386],
                   {6: 0.029262, 7: 0.027835, 8: 0.016478}),
        "standard": ([[2, 6, 10], [5, 9]], [0, 0.024385, 0.013196, 0.012552, 0.011940, 0.030866, 0.019361],
                     {5: 0.029262, 6: 0.017835, 7: 0.016965}),
    }  # fmt: skip
    for dynamics, (times, first, second) in expected.items():
        inputs, synapse = DelayedLinear(1, 2, delays=3).double(), DelayedLinear(2, 2, delays=3).double()
        inputs.weight.data = torch.tensor([[0.5], [0.0]], dtype=torch.float64)
        inputs.delay = torch.tensor([[1], [0]])
        synapse.weight.data = torch.tensor([[0.0, 0.4], [0.6, 0.0]], dtype=torch.float64)
        synapse.delay = torch.tensor([[0, 0], [2, 0]])
        hidden = Recurrent(ALIF(20.0, 200.0, 0.0, 0.01, dynamics=dynamics, refractory=3.0), synapse)
        xs = torch.zeros(10, 1, 1, dtype=torch.float64)
        xs[0] = 1.0
        with kernels.use(engine):
            currents, _ = inputs(xs)
            spikes, _ = hidden(currents)
            voltages, state = [], hidden.initial_state(currents[0])
            for current in currents:
                _, state = hidden.step(current, state)
                voltages.append(state.neuron.voltage[0].detach())
        trace = torch.stack(voltages)
        assert [[t + 1 for t in range(10) if spikes[t, 0, n]] for n in (0, 1)] == times
        assert trace[: len(first), 0].tolist() == pytest.approx(first, abs=1e-6)
        assert {t: trace[t - 1, 1].item() for t in second} == pytest.approx(second, abs=1e-6)


def test_p3_random_nets_autograd_equals_hand_written_backpropagation() -> None:
    """The gradient of the recurrent weight by the kernels and by a loop of scalar formulas, standard dynamics."""
    random = torch.Generator().manual_seed(0)
    steps, n, alpha, rho = 30, 4, torch.exp(torch.tensor(-1 / 20, dtype=torch.float64)).item(), 0.99
    weight = torch.randn(n, n, generator=random, dtype=torch.float64) * 0.3
    weight.fill_diagonal_(0.0)
    xs = torch.rand(steps, n, generator=random, dtype=torch.float64) * 0.5
    beta, threshold, gain = 1.7, 0.01, 0.3
    v, b, z = (torch.zeros(n, dtype=torch.float64) for _ in range(3))
    kept: list[tuple[Tensor, ...]] = []
    for x in xs:
        before = threshold + beta * b
        new_b = rho * b + (1 - rho) * z
        new_v = alpha * v + (1 - alpha) * (x + weight @ z) - z * before
        now = threshold + beta * new_b
        kept.append((z, b, before, new_v, now))
        v, b, z = new_v, new_b, ((new_v - now) / now > 0).double()
    total = torch.zeros_like(weight)
    g_v, g_b, g_z = (torch.zeros(n, dtype=torch.float64) for _ in range(3))
    for old_z, _, before, new_v, now in reversed(kept):
        slope = gain * torch.clamp(1 - ((new_v - now) / now).abs(), min=0)
        g_s = (g_z + 1.0) * slope  # the loss is the number of spikes
        g_v = g_v + g_s / now
        g_now = -g_s * new_v / now**2
        g_b = g_b + beta * g_now
        g_current = (1 - alpha) * g_v
        total += torch.outer(g_current, old_z)
        g_z = (1 - rho) * g_b - before * g_v + weight.t() @ g_current
        g_b = rho * g_b - beta * old_z * g_v
        g_v = alpha * g_v
    synapse = nn.Linear(n, n, bias=False, dtype=torch.float64)
    synapse.weight.data = weight.clone()
    hidden = Recurrent(
        ALIF(20.0, -1 / torch.log(torch.tensor(rho, dtype=torch.float64)).item(), beta, threshold), synapse
    )
    hidden(xs.unsqueeze(1))[0].sum().backward()
    total.fill_diagonal_(0.0)
    assert synapse.weight.grad is not None
    torch.testing.assert_close(synapse.weight.grad, total, rtol=1e-10, atol=1e-10)
