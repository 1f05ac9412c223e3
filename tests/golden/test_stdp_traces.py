"""Worked numbers of the network of Diehl & Cook, from independent float64 calculations: traces A, B, D, E and G."""

import math

import pytest
import torch
from torch import Tensor

from spikeloom.core import record
from spikeloom.neurons.diehl_cook import DiehlCook, MembraneLIF
from spikeloom.rules import STDP, normalise, pair_stdp, post_stdp, triplet_stdp
from spikeloom.rules.stdp import STDPTraces

KINDS = [(torch.float64, 1e-6), (torch.float32, 1e-4)]

# voltage, homeostasis and refractory time after each step of a constant 4 mV
A = [
    (-61.0, 0.0, -1), (-57.195082, 0.0, -2), (-53.575733, 0.0, -3), (-60.0, 0.2, 5), (-60.243853, 0.19998, 4),
    (-60.475813, 0.19996, 3), (-60.696460, 0.19994, 2), (-60.906346, 0.19992, 1), (-61.105996, 0.1999, 0),
    (-57.295909, 0.19988, -1), (-53.671642, 0.19986, -2), (-60.0, 0.39984, 5), (-60.243853, 0.3998, 4),
    (-60.475813, 0.39976, 3),
]  # fmt: skip
B = [-45, -46.427439, -47.719039, -45, -46.427439, -47.719039, -48.887727, -49.945199]
D = [
    (0.3, 1.0, 0.327934), (0.3, 0.606531, 0.309616), (0.3, 0.0, 0.281377), (0.01, 0.0, 0.0), (0.99, 1.0, 1.0),
    (1.0, 0.0, 1.0), (0.9999, 0.0, 0.996730),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "tolerance"), KINDS)
@pytest.mark.parametrize("batch", [1, 3])
def test_trace_a_an_excitatory_neuron(dtype: torch.dtype, tolerance: float, batch: int) -> None:
    neurons = DiehlCook(1, tau_mem=20.0, homeostasis_step=0.2 / batch, tau_homeostasis=1e4).to(dtype)
    xs = torch.full((14, batch, 1), 4.0, dtype=dtype)
    spikes, states = record(neurons.step, xs, neurons.initial_state(xs[0]))
    found = (states.voltage[:, :, 0], states.homeostasis.expand(14, batch), states.refractory[:, :, 0])
    for values, wanted in zip(found, zip(*A, strict=True), strict=True):
        for b in range(batch):
            torch.testing.assert_close(values[:, b], torch.tensor(wanted, dtype=dtype), rtol=0, atol=tolerance)
    assert spikes[:, 0, 0].nonzero().flatten().tolist() == [3, 11]


@pytest.mark.parametrize(("dtype", "tolerance"), KINDS)
def test_trace_b_an_inhibitory_neuron(dtype: torch.dtype, tolerance: float) -> None:
    neurons = MembraneLIF(1)
    xs = torch.tensor([22.5] * 5 + [0.0] * 3, dtype=dtype).reshape(8, 1, 1)
    spikes, states = record(neurons.step, xs, neurons.initial_state(xs[0]))
    wanted = torch.tensor(B, dtype=dtype)
    torch.testing.assert_close(states.voltage.flatten(), wanted, rtol=0, atol=tolerance)
    assert spikes.flatten().nonzero().flatten().tolist() == [0, 3]


@pytest.mark.parametrize(("dtype", "tolerance"), KINDS)
@pytest.mark.parametrize(("weight", "trace", "wanted"), D)
def test_trace_d_the_original_rule(
    weight: float, trace: float, wanted: float, dtype: torch.dtype, tolerance: float
) -> None:
    one, none = torch.ones(1, 1, dtype=dtype), torch.zeros(1, 1, dtype=dtype)
    rule = post_stdp(lr=0.05, target=0.4, power=0.2, soft_bound="original")
    traces = STDPTraces(trace * math.exp(1 / 20) * one, none, none)
    found, _ = rule.update(weight * one, none, one, traces)
    assert float(found) == pytest.approx(wanted, abs=max(tolerance, 1e-6))


def through(rule: STDP, pre: set[int], post: set[int], steps: int, weight: float = 0.3) -> list[float]:
    """The weight after each step."""
    one = torch.ones(1, 1, dtype=torch.float64)
    w, traces, found = weight * one, rule.initial_traces(0 * one, 0 * one), list[float]()
    for t in range(steps):
        w, traces = rule.update(w, one * (t in pre), one * (t in post), traces)
        found.append(float(w))
    return found


def test_trace_e_pairs_of_spikes() -> None:
    found = through(pair_stdp(lr=1e-2, lr_pre=1e-4), pre={0, 5}, post={3}, steps=6)
    assert found[:3] == [0.3] * 3
    assert found[3] == pytest.approx(0.30860708, abs=1e-8)
    assert found[5] == pytest.approx(0.30851660, abs=1e-8)


def test_triplets_need_a_spike_before() -> None:
    found = through(triplet_stdp(lr=1e-2, lr_pre=1e-4), pre={0, 9}, post={3, 8}, steps=10)
    assert found[3] == 0.3  # the first spike finds no slow trace
    step = 1e-2 * math.exp(-8 / 20) * math.exp(-5 / 40)
    assert found[8] == pytest.approx(0.3 + step, abs=1e-12)
    assert found[9] == pytest.approx(0.3 + step - 1e-4 * math.exp(-1 / 20), abs=1e-12)


@pytest.mark.parametrize(("trace", "wanted"), [("set", [1.0, 0.951229, 1.0]), ("add", [1.0, 0.951229, 1.904837])])
def test_traces_of_inputs(trace: str, wanted: list[float]) -> None:
    rule, one = STDP(trace=trace), torch.ones(1, 1, dtype=torch.float64)  # type: ignore[arg-type]
    traces, found = rule.initial_traces(one, one), list[float]()
    for spike in (1, 0, 1):
        _, traces = rule.update(one, one * spike, 0 * one, traces)
        found.append(float(traces.pre))
    assert found == pytest.approx(wanted, abs=1e-6)


def test_trace_g_normalisation() -> None:
    weight = torch.tensor([[0.1, 0.2, 0.3], [0.0, 0.0, 0.0]], dtype=torch.float64)
    wanted = torch.tensor([[13.066667, 26.133333, 39.2], [0.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(normalise(weight, 78.4), wanted, rtol=0, atol=1e-6)


def test_weight_dependence_looks_at_the_weight_before_the_step() -> None:
    def weighed(weight: Tensor) -> Tensor:
        one = torch.ones(1, 1, dtype=torch.float64)
        rule = STDP(lr=0.1, lr_pre=0.2, soft_bound="both")
        return rule.update(weight, one, one, STDPTraces(0 * one, 0 * one, 0 * one))[0]

    found = weighed(torch.full((1, 1), 0.3, dtype=torch.float64))
    assert float(found) == pytest.approx(0.3 + 0.1 * 0.7 - 0.2 * 0.3, abs=1e-12)
