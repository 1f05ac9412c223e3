"""The worked traces of rate neurons and their spiking partners, to 1e-6, on every engine of the CPU."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from spikeloom import kernels
from spikeloom.layers import Sequential
from spikeloom.neurons import LIFCurve, Lowpass, QCFSCurve, RateNeuron, ReLUCurve, SigmoidCurve, TanhCurve

D = torch.float64
HARD = LIFCurve(smoothing=0.0)
CURRENTS = [0, 0.5, 0.9, 1, 1.01, 1.1, 1.5, 2, 3.033, 5, 10]
RATES = {
    0.0: [0, 0, 0, 0, 10.604183, 20.016852, 41.714907, 63.040002, 99.992062, 154.729995, 243.474262],
    0.1: [
        4.031409, 6.750721, 13.911507, 17.629744, 18.053373, 22.188085, 41.746064, 63.040183, 99.992062, 154.729995,
        243.474262,
    ],
    1.0: [
        32.610888, 40.504932, 48.224641, 50.347298, 50.563655, 52.543638, 62.006592, 75.058775, 103.940757, 155.163975,
        243.475888,
    ],
    0.02: [0.925720, 1.723423, 5.545994, 11.383548, 12.322609, 20.026634, 41.714907],
}  # fmt: skip
SLOPES = {
    0.0: {1.01: 222.670680, 1.1: 72.849884, 1.5: 46.403559, 2: 39.740419, 5: 23.941371},
    0.1: dict(
        zip(
            CURRENTS,
            [
                3.250363, 9.077817, 32.220532, 41.933491, 42.786063, 48.448763, 46.079322, 39.738571, 32.430321,
                23.941371, 13.173270,
            ],
            strict=True,
        )
    ),
}  # fmt: skip


@pytest.fixture(params=["torch", "numba"], autouse=True)
def engine(request: pytest.FixtureRequest) -> Iterator[None]:
    with kernels.use(request.param):
        yield


def constant(value: float, steps: int) -> Tensor:
    return torch.full((steps, 1, 1), value, dtype=D)


def near(found: Tensor, wanted: list[float], tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(found.flatten(), torch.tensor(wanted, dtype=D), rtol=0, atol=tolerance)


@pytest.mark.parametrize("smoothing", RATES)
def test_rate_table(smoothing: float) -> None:
    wanted = [float(rate) for rate in RATES[smoothing]]
    near(LIFCurve(smoothing=smoothing).rate(torch.tensor(CURRENTS[: len(wanted)], dtype=D)), wanted)


@pytest.mark.parametrize("smoothing", SLOPES)
def test_slope_table(smoothing: float) -> None:
    table = SLOPES[smoothing]
    current = torch.tensor(list(table), dtype=D, requires_grad=True)
    (slope,) = torch.autograd.grad(LIFCurve(smoothing=smoothing).rate(current).sum(), current)
    near(slope, list(table.values()))


def test_gain_and_bias() -> None:
    wanted = {
        (100, 0): (2.033245, 1),
        (100, -0.5): (1.355497, 1.677748),
        (200, 0): (6.179162, 1),
        (250, 0): (9.508332, 1),
    }
    for (rate, intercept), (gain, bias) in wanted.items():
        found = HARD.tune(float(rate), float(intercept))
        assert found == pytest.approx((gain, bias), abs=1e-6)
        neuron = RateNeuron(HARD, gain=found[0], bias=found[1], mode="rate").double()
        ends = torch.tensor([1.0, intercept - 1e-9], dtype=D).view(1, 2, 1)
        near(neuron(ends)[0], [rate, 0], 1e-5)
    assert RateNeuron(HARD, gain=2.033245, bias=1.0).drive(constant(0.5, 1)).item() == pytest.approx(2.016622, abs=1e-6)


def test_a_lif_neuron_step_by_step() -> None:
    neuron, state = RateNeuron(HARD, amplitude=0.01, mode="spiking"), None
    voltages, fired, waits = [], [], []
    for step in range(1, 41):
        out, state = neuron(constant(3.0, 1), state)
        voltages.append(state.voltage)
        waits.append(20 * math.log(state.wait.item()))
        if out.item():
            assert out.item() == pytest.approx(10.0)
            fired.append(step)
    assert fired == [9, 19, 29, 39]
    near(
        torch.stack(voltages[:20]),
        [
            0.146312, 0.285488, 0.417876, 0.543808, 0.663598, 0.777545, 0.885936, 0.989040, 0, 0, 0.130673, 0.270612,
            0.403726, 0.530348, 0.650794, 0.765366, 0.874351, 0.978020, 0, 0,
        ],
    )  # fmt: skip
    near(torch.tensor([*waits[8:11], *waits[18:20]]).to(D), [2.109, 1.109, 0.109, 2.219, 1.219], 5e-4)


def test_its_filtered_output() -> None:
    net = Sequential(RateNeuron(HARD, amplitude=0.01, mode="spiking"), Lowpass(100.0, delay=False))
    out = net(constant(3.0, 30))[0].flatten()
    near(out[[8, 18, 28, 29]], [0.099502, 0.189534, 0.271000, 0.268303])
    delayed = Sequential(net.layers[0], Lowpass(100.0))(constant(3.0, 30))[0].flatten()
    near(delayed[29:], [0.271000])


def two_layers(smoothing: float, mode: str) -> Sequential:
    first, last = nn.Linear(2, 3, bias=False).double(), nn.Linear(3, 2).double()
    first.weight.data = torch.tensor([[0.8, -0.4], [0.3, 0.6], [-0.5, 0.2]], dtype=D)
    last.weight.data = torch.tensor([[1.0, 0, -1], [0.5, -1, 2]], dtype=D)
    last.bias.data = torch.tensor([0.1, -0.2], dtype=D)
    curve = LIFCurve(smoothing=smoothing)
    gain, bias = curve.tune(100.0, 0.0)
    return Sequential(first, RateNeuron(curve, gain=gain, bias=bias, amplitude=0.01, mode=mode), last)  # type: ignore[arg-type]


def test_two_layers() -> None:
    x = torch.tensor([[[1.0, 0.5]]], dtype=D)
    hard = two_layers(0.0, "rate")
    near(hard.layers[1].drive(hard.layers[0](x)), [2.219947, 2.219947, 0.186702])  # type: ignore[operator]
    near(hard.layers[1](hard.layers[0](x))[0], [0.715639, 0.715639, 0])
    near(hard(x)[0], [0.815639, -0.557820])
    soft = two_layers(0.1, "rate")
    near(soft.layers[1](soft.layers[0](x))[0], [0.715640, 0.715640, 0.047458])
    near(soft(x)[0], [0.768182, -0.462905])
    out = two_layers(0.0, "spiking")(x.expand(30, 1, 2))[0]
    near(out[[0, 11, 25, 29]], [0.1, -0.2, 10.1, -5.2, 10.1, -5.2, 0.1, -0.2])
    filtered = Lowpass(100.0)(out)[0]
    near(
        filtered[[0, 1, 9, 19, 29]],
        [0, 0, 0.000995, -0.001990, 0.008607, -0.017214, 0.110079, -0.080996, 0.205681, -0.140601],
    )
    near(Lowpass(100.0, debias=True)(out)[0][29], [0.817048, -0.558524])


def test_spikes_of_a_rectified_unit() -> None:
    neuron, state, voltages = RateNeuron(ReLUCurve(), mode="spiking"), None, []
    out = neuron(constant(250.0, 12))[0].flatten()
    assert out.nonzero().flatten().tolist() == [3, 7, 11]
    for _ in range(4):
        _, state = neuron(constant(250.0, 1), state)
        voltages.append(state.voltage.item())
    assert voltages == [0.25, 0.5, 0.75, 0.0]
    thousand = RateNeuron(ReLUCurve(), mode="spiking", scale=1000.0)(constant(0.7, 10))[0].flatten()
    assert thousand.tolist() == [0, 1, 1, 0, 1, 1, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("scale", "mean", "count"), [(1, 0, 0), (2, 0, 0), (5, 0, 0), (10, 0, 0), (100, 2.333333, 7), (1000, 2.5, 75)]
)
def test_why_naive_conversion_fails(scale: int, mean: float, count: int) -> None:
    neuron = RateNeuron(ReLUCurve(), mode="spiking", scale=float(scale))
    out = neuron(constant(2.5, 30))[0]
    assert out.mean().item() == pytest.approx(mean, abs=1e-6)
    assert (out / neuron.height).sum().item() == pytest.approx(count)


def test_random_and_quantised_values() -> None:
    for rate, whole in ((730.0, 0), (2730.0, 2)):
        neuron = RateNeuron(
            ReLUCurve(), partner="stochastic", mode="spiking", generator=torch.Generator().manual_seed(0)
        )
        made = neuron(constant(rate, 5000))[0] / neuron.height
        assert set(made.flatten().tolist()) == {whole, whole + 1}
        assert (made - whole).mean().item() == pytest.approx(0.73, abs=0.03)
    counter = RateNeuron(ReLUCurve(), partner="integrate_and_fire", mode="spiking")
    out, state = counter(constant(0.37, 10))
    assert out.sum().item() == 3.0
    assert state.voltage.item() == pytest.approx(0.7)
    z = torch.tensor([-0.1, 0.1, 0.12, 0.13, 0.37, 0.38, 0.9, 1.2], dtype=D)
    assert QCFSCurve(4).rate(z).tolist() == [0, 0, 0, 0.25, 0.25, 0.5, 1, 1]
    near(SigmoidCurve().rate(z[:1]), [400 / (1 + math.exp(0.1))])
    near(TanhCurve().rate(z[:1]), [400 * math.tanh(-0.1)])
