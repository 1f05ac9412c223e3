"""The worked traces of parallel neurons: independent arithmetic, six decimals, tau 20 ms, dt 1 ms."""

import pytest
import torch
from torch import Tensor

from spikeloom import kernels
from spikeloom.core import record
from spikeloom.firing import GumbelSoftmax, SigmoidBernoulli, TanhBernoulli, TemperedGumbelSoftmax, fire
from spikeloom.neurons import ParaLIF, SynapticLIF, SynapticReadout
from spikeloom.neurons.parallel import FIRING, INTEGRATION
from spikeloom.surrogate import Arctan, FastSigmoid

A = [1.0, 0, 0, 2, 0, 0, -1, 0]
CURRENT = [1, 0.951229, 0.904837, 2.860708, 2.721190, 2.588476, 1.462234, 1.390920]
VOLTAGE = [0.048771, 0.092784, 0.132388, 0.265450, 0.385218, 0.492672, 0.539958, 0.581460]
WRAPPED = [0.002708, 0.028669, 0.052091, 0.214529, 0.360999]
"""What a convolution of three sequences in 2 T points gives: its tail falls on the first steps."""
B = [0.0, 0, 6, 6, 6, 6, 6, 6, 0, 0, 10, 0]
B_VOLTAGE = [
    0, 0, 0.292623, 0.849328, 1.643657, 1.087615, 1.327195, 1.555091, 1.479248, 1.407104, 1.826185, 1.737121,
]  # fmt: skip


def sequence(values: list[float], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(values, dtype=dtype).reshape(-1, 1, 1)


def near(found: Tensor, wanted: list[float], tolerance: float = 6e-7) -> None:
    torch.testing.assert_close(found.flatten(), torch.tensor(wanted, dtype=found.dtype), atol=tolerance, rtol=0)


def binary(spikes: Tensor) -> str:
    return "".join(str(int(s)) for s in spikes.flatten())


@pytest.mark.parametrize("engine", ["torch", "numba"])
def test_a_integration(engine: str) -> None:
    layer, xs = SynapticReadout(), sequence(A)
    with kernels.use(engine):
        voltages, _ = layer(xs)
        _, states = record(layer.step, xs, layer.initial_state(xs[0]))
    near(voltages, VOLTAGE)
    near(states.syn_current, CURRENT)


@pytest.mark.parametrize("integration", INTEGRATION)
def test_a_every_integration_gives_the_voltages_and_none_wraps_around(integration: str) -> None:
    layer, xs = ParaLIF("D", integration=integration), sequence(A)
    voltages, _ = layer.integrate(xs, layer.initial_state(xs[0]))
    near(voltages, VOLTAGE)
    assert (voltages.flatten()[:5] - torch.tensor(WRAPPED)).abs().min() > 0.01


@pytest.mark.parametrize("integration", INTEGRATION)
@pytest.mark.parametrize(
    ("firing", "threshold", "wanted"),
    [("D", 0.1, "00011100"), ("T", 0.3, "00001111"), ("SD", 0.02, "10011100")],
)
def test_a_spikes(firing: str, threshold: float, wanted: str, integration: str) -> None:
    spikes, _ = ParaLIF(firing, threshold=threshold, integration=integration)(sequence(A))
    assert binary(spikes) == wanted


@pytest.mark.parametrize("engine", ["torch", "numba"])
def test_b_lif_spikes_and_slopes(engine: str) -> None:
    layer, xs = SynapticLIF(), sequence(B)
    with kernels.use(engine):
        spikes, _ = layer(xs)
        _, states = record(layer.step, xs, layer.initial_state(xs[0]))
    assert binary(spikes) == "000011111111"
    near(states.voltage, B_VOLTAGE)
    distance = states.voltage.flatten() - 1
    slopes = [0.000098, 0.000098, 0.000194, 0.003874, 0.000234, 0.010495, 0.000880, 0.000313, 0.000418, 0.000575]
    near(FastSigmoid.slope(distance, 100.0), [*slopes, 0.000143, 0.000179])
    near(Arctan.slope(distance[2:6], 2.0), [0.168391, 0.816952, 0.196505, 0.929572])


def test_c_probability_and_both_gradients() -> None:
    u = torch.tensor([-2, -0.5, 0, 0.5, 1, 2], dtype=torch.float64)
    near(SigmoidBernoulli.probability(u, 1.0), [0.119203, 0.377541, 0.5, 0.622459, 0.731059, 0.880797])
    own = [0.012516, 0.088723, 0.125, 0.146280, 0.143735, 0.092478]
    straight = [0.104994, 0.235004, 0.25, 0.235004, 0.196612, 0.104994]
    near(SigmoidBernoulli.slope(u, 0.5, 1.0, 1.0), own)
    near(SigmoidBernoulli.slope(u, 0.5, 1.0, 0.0), straight)
    v = torch.tanh(u).clamp(min=0)
    near(TanhBernoulli.slope(u, 0.5, 1.0, 1.0), (v * (1 - v * v)).tolist())


@pytest.mark.parametrize(
    ("u", "first", "second", "y", "spike", "slope"),
    [
        (0.5, 0.3, 0.7, 0.446071, 0, 0.494183),
        (-0.5, 0.9, 0.2, 0.848932, 1, 0.256492),
        (1.0, 0.05, 0.99, 0.024190, 0, 0.047209),
    ],
)
def test_d_one_logistic_draw_stands_for_two_gumbels(
    u: float, first: float, second: float, y: float, spike: int, slope: float
) -> None:
    g1, g2 = (-torch.log(-torch.log(torch.tensor(draw, dtype=torch.float64))) for draw in (first, second))
    noise = torch.sigmoid(g2 - g1).reshape(1)
    x = torch.tensor([u], dtype=torch.float64, requires_grad=True)
    for firing in (GumbelSoftmax(), TemperedGumbelSoftmax(temperature=1.0)):
        spikes = fire(x, noise, firing)
        assert spikes.item() == spike
        near(torch.autograd.grad(spikes.sum(), x)[0], [slope])
    assert torch.sigmoid(2 * x + g1 - g2).item() == pytest.approx(y, abs=6e-7)


def test_every_name_fires() -> None:
    xs = torch.rand(200, 4, 5, generator=torch.Generator().manual_seed(0)) * 2
    for firing in FIRING:
        threshold = {"SB": None, "TRB": None, "GS": None, "ST": 0.6, "SD": 0.005}.get(firing, 0.01)
        spikes, _ = ParaLIF(firing, threshold=threshold)(xs)
        assert set(spikes.unique().tolist()) == {0.0, 1.0}, firing
