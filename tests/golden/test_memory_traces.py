"""Worked numbers of the Hebbian memory, from independent float64 calculations: traces A to F."""

import pytest
import torch
from torch import Tensor

from spikeloom import kernels
from spikeloom.core import record
from spikeloom.layers.hebbian_memory.layer import HebbianRead, HebbianWrite, memory_neuron
from spikeloom.papers.hebbian_memory.game import Concentration, expected_flips
from spikeloom.rules import Hebbian, inverted_oja
from spikeloom.surrogate import Triangle

ENGINES = pytest.mark.parametrize("engine", ["torch", "numba"])
# voltage, distance, spike, steps left of a constant current of 0.5
A = [
    (0.024385, -0.756147, 0, 0), (0.047581, -0.524187, 0, 0), (0.069646, -0.303540, 0, 0), (0.090635, -0.093654, 0, 0),
    (0.110600, 0.105996, 1, 3), (0.029591, -0.704091, 0, 2), (0.052533, -0.474670, 0, 1), (0.074356, -0.256438, 0, 0),
    (0.095115, -0.048849, 0, 0), (0.114862, 0.148616, 1, 3), (0.033645, -0.663550, 0, 2), (0.056389, -0.436106, 0, 1),
]  # fmt: skip


def close(found: Tensor, wanted: object, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=tolerance)


@ENGINES
def test_trace_a_a_neuron_and_its_slope(engine: str) -> None:
    neuron, xs = memory_neuron(), torch.full((12, 1, 1), 0.5, dtype=torch.float64)
    with kernels.use(engine):
        spikes, states = record(neuron.step, xs, neuron.initial_state(xs[0]))
    voltage = states.voltage.flatten()
    close(voltage, [row[0] for row in A])
    close((voltage - 0.1) / 0.1, [row[1] for row in A], 1e-5)
    assert spikes.flatten().tolist() == [row[2] for row in A]
    assert states.refractory.flatten().tolist() == [row[3] for row in A]
    close(Triangle.slope((voltage[[0, 4, 8, 9]] - 0.1) / 0.1), [0.243853, 0.894004, 0.951151, 0.851384])
    neuron = memory_neuron(reset="zero")
    with kernels.use(engine):
        spikes, states = record(neuron.step, xs, neuron.initial_state(xs[0]))
    close(states.voltage.flatten()[[4, 5, 8, 9]], [0.110600, 0.024385, 0.090635, 0.110600])
    assert spikes.flatten().nonzero().flatten().tolist() == [4, 9]


@ENGINES
def test_trace_a_no_gradient_through_a_spike_while_refractory(engine: str) -> None:
    xs = torch.full((8, 1, 1), 0.5, dtype=torch.float64, requires_grad=True)
    with kernels.use(engine):
        spikes, _ = memory_neuron()(xs)
    (slope,) = torch.autograd.grad(spikes[5:8].sum(), xs, allow_unused=True)
    assert slope.abs().max() == 0  # the three steps after the spike


def test_trace_b_the_rule_with_traces() -> None:
    rule, one = inverted_oja(), torch.float64
    keys = torch.tensor([[1, 0], [0, 0], [1, 1], [0, 0]], dtype=one)
    values = torch.tensor([[1, 0], [0, 1], [1, 0], [0, 0]], dtype=one)
    wanted = [
        ((0.048771, 0), (0.048771, 0), (0.000713571, 0, 0, 0)),
        ((0.046392, 0), (0.046392, 0.048771), (0.001358315, 0, 0.000678769, 0)),
        ((0.092900, 0.048771), (0.092900, 0.046392), (0.003940405, 0.001359236, 0.001969080, 0.000678769)),
        ((0.088369, 0.046392), (0.088369, 0.044129), (0.006264679, 0.002586575, 0.003132069, 0.001292090)),
    ]
    weight, traces = torch.zeros(1, 2, 2, dtype=one), rule.initial_traces(keys[:1], values[:1])
    for key, value, (pre, post, weights) in zip(keys, values, wanted, strict=True):
        weight, traces = rule.update(weight, key[None], value[None], traces)
        close(traces.pre[0], pre)
        close(traces.post[0], post)
        close(weight.flatten(), weights, 1e-9)


def test_trace_c_large_signals() -> None:
    rule = Hebbian(potentiation=0.1, depression=0.1, tau_trace=0.0)
    key, value = torch.tensor([[2, 0.5]], dtype=torch.float64), torch.tensor([[1, 3]], dtype=torch.float64)
    weight = torch.tensor([[[0, 0.2], [0.5, 1]]], dtype=torch.float64)
    traces = rule.initial_traces(key, value)
    for wanted in ([[[0.2, 0.235], [0.6, 0.975]]], [[[0.28, 0.267375], [0.6, 0.954375]]]):
        weight, traces = rule.update(weight, key, value, traces)
        close(weight, wanted, 1e-12)


@ENGINES
def test_trace_d_a_whole_writing_layer(engine: str) -> None:
    layer = HebbianWrite(2, 2).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.9, 0], [0, 0.9], [0, 0.9], [0.9, 0]]))
    xs = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(40, 1, 2)
    with kernels.use(engine):
        whole, last = layer(xs)
        spikes, states = record(layer.step, xs, layer.initial_state(xs[0]))
    assert torch.equal(whole, spikes)
    assert torch.equal(last.memory, states.memory[-1])
    assert spikes[:, 0, 0].nonzero().flatten().tolist() == list(range(2, 40, 4))
    assert spikes[:, 0, 3].nonzero().flatten().tolist() == list(range(2, 40, 4))
    assert spikes[:, 0, 1:3].sum() == 0
    rows = {
        3: (0.125363, 0.125363, 0.048771, 0.000714), 4: (0.063142, None, 0.046392, 0.001358),
        7: (0.179710, 0.179734, 0.088701, 0.004816), 10: (0.189557, 0.189578, None, 0.010555),
        40: (0.301193, 0.306316, 0.221293, 0.221500),
    }  # fmt: skip
    for step, wanted in rows.items():
        t = step - 1
        key, value = states.key.voltage[t, 0, 0], states.value.voltage[t, 0, 1]
        found = (key, value, states.traces.pre[t, 0, 0], states.memory[t, 0, 1, 0])
        for part, number in zip(found, wanted, strict=True):
            if number is not None:
                close(part, number)
    assert states.memory[-1].count_nonzero() == 1


@ENGINES
@pytest.mark.parametrize(
    ("delay", "second", "early", "final"),
    [
        (1, [1, 5, 9], (0.043894, 0.016384, 0.015585), (0.124975, 0.036900)),
        (2, [2, 6, 10], (0.043894, 0.001753, 0.016298), (0.131382, 0.038589)),
    ],
)
def test_trace_e_a_reading_layer(
    engine: str, delay: int, second: list[int], early: tuple[float, ...], final: tuple[float, float]
) -> None:
    layer = HebbianRead(2, 2, memory_neuron(threshold=0.04), delay=delay).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.2, 0, 0, 0], [0, 0.5, 0, 2]]))
    memory = torch.tensor([[[0, 0], [0.9, 0.3]]], dtype=torch.float64)
    xs = torch.tensor([2.0, 0.0], dtype=torch.float64).expand(12, 1, 2)
    with kernels.use(engine):
        spikes, states = record(layer.step, xs, layer.begin(memory))
        assert torch.equal(layer(xs, layer.begin(memory))[0], spikes)
    assert spikes[:, 0, 0].nonzero().flatten().tolist() == [0, 4, 8]
    assert spikes[:, 0, 3].nonzero().flatten().tolist() == [0, 4, 8]
    assert spikes[:, 0, 1].nonzero().flatten().tolist() == second
    close(states.value.voltage[:3, 0, 1], early)
    close(torch.stack([states.key.voltage[-1, 0, 1], states.value.voltage[-1, 0, 1]]), final)
    if delay == 1:
        close(states.key.voltage[-1, 0, 0], 0.992765)


def test_trace_f_a_game() -> None:
    game = Concentration(4, images=torch.rand(2, 10, generator=torch.Generator().manual_seed(0)))
    cards = game.deal(1, torch.Generator().manual_seed(1))._replace(deck=torch.tensor([[0, 1, 0, 1]]))
    first = game.observe(cards)[0].tolist()
    assert first == [1.0, 0.0, 0.0] * 4 + [1.0, 0.0, 0.0, 0.0] + [0.0] * 10
    rewards, ends = [], []
    for number, action in enumerate((0, 1, 1, 3, 0, 0, 0, 2), 1):
        cards, reward, over = game.step(cards, torch.tensor([action]))
        rewards.append(reward.item())
        ends.append(over.item())
        if number == 6:  # the card is turned back
            assert game.observe(cards)[0, :3].tolist() == [1, 0, 0]
            assert cards.shown.count_nonzero() == 0
    assert rewards == [-0.5, -0.5, -0.5, 24.5, -0.5, -0.5, -0.5, 24.5]
    assert sum(rewards) == 46
    assert ends == [False] * 7 + [True]
    assert int(cards.flips) == 8


def test_trace_f_flips_of_the_best_play() -> None:
    wanted = {2: 2.0, 4: 5.333333, 6: 8.666667, 8: 11.847619, 10: 15.104762, 12: 18.324964}
    assert {cells: round(expected_flips(cells), 6) for cells in wanted} == wanted
    assert [expected_flips(cells, "any cell") for cells in (4, 6)] == [16.0, 36.0]
    assert [expected_flips(cells, "face down") for cells in (4, 6)] == [8.0, 18.0]
