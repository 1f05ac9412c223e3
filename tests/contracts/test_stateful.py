"""One table, one row per layer: what everything that lives in time must obey."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from examples.own_neuron import neurons
from spikeloom.core import Stateful, detach, map_state, record, scan
from spikeloom.layers import (
    Branches,
    DelayedLinear,
    RectifiedRecurrent,
    Recurrent,
    Residual,
    SequenceDropout,
    Sequential,
    SparseDelayedLinear,
    TwoPass,
)
from spikeloom.layers.hebbian_memory.layer import HebbianRead, HebbianWrite, memory_neuron
from spikeloom.models import LSNN, DiehlCookNetwork, LSTMBaseline, NeuronOptions, ParallelNetwork
from spikeloom.neurons import (
    ALIF,
    LIF,
    DiehlCook,
    IntegrateAndFire,
    LeakyReadout,
    LeakyReLUCurve,
    LIFCurve,
    Lowpass,
    MaskedPSN,
    MembraneLIF,
    ParaLIF,
    RateNeuron,
    ReLUCurve,
    SlidingPSN,
    SynapticLIF,
    SynapticReadout,
)
from spikeloom.papers.hebbian_memory.agent import RateRecall, SpikingRecall
from spikeloom.rules import Hebbian, pair_stdp


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def linear(n_in: int, n_out: int) -> nn.Linear:
    layer = nn.Linear(n_in, n_out)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(torch.randn(weight.shape, generator=seeded()))
    return layer


LAYERS: dict[str, Callable[[], Stateful]] = {
    "LIF": lambda: LIF(refractory=2.0),
    "LIF zero": lambda: LIF(reset="zero", memory="lean"),
    "IntegrateAndFire": lambda: IntegrateAndFire(2.0, refractory=2.0),
    "IntegrateAndFire zero": lambda: IntegrateAndFire(2.0, reset="zero", memory="lean"),
    "ALIF": lambda: ALIF(adapt_strength=0.5, threshold=0.3, refractory=1.0),
    "ALIF legacy": lambda: ALIF(adapt_strength=0.5, threshold=0.3, dynamics="legacy"),
    "ALIF eprop": lambda: ALIF(adapt_strength=0.5, threshold=3.0, dynamics="eprop", memory="lean"),
    "HebbianWrite": lambda: HebbianWrite(6, 4, generator=seeded()),
    "HebbianRead": lambda: HebbianRead(6, 4, delay=3, generator=seeded()),
    "SpikingRecall": lambda: SpikingRecall(
        5, 4, 3, memory_neuron(), Hebbian(), steps=6, window=4, delay=4, input_gain=3.0, generator=seeded()
    ),
    "RateRecall": lambda: RateRecall(5, 4, 3, Hebbian(tau_trace=0.0), generator=seeded()),
    "LeakyReadout": lambda: LeakyReadout(),
    "FromEquation": lambda: neurons(6),
    "DelayedLinear": lambda: DelayedLinear(6, 4, delays=5, generator=seeded()),
    "Recurrent": lambda: Recurrent(LIF(threshold=0.4), DelayedLinear(6, 6, generator=seeded())),
    "Recurrent delays": lambda: Recurrent(
        ALIF(threshold=0.1, refractory=1.0), DelayedLinear(6, 6, delays=4, generator=seeded())
    ),
    "SparseDelayedLinear": lambda: SparseDelayedLinear(6, 4, delays=5, connectivity=0.4, generator=seeded()),
    "Recurrent sparse": lambda: Recurrent(
        ALIF(threshold=0.1, refractory=1.0),
        SparseDelayedLinear(6, 6, delays=4, connectivity=0.4, autapses=False, generator=seeded()),
    ),
    "Sequential": lambda: Sequential(linear(6, 8), LIF(threshold=0.2), linear(8, 3), LeakyReadout()),
    "Sequential nested": lambda: Sequential(
        Residual(Sequential(linear(6, 6), LIF(threshold=0.2)), linear(6, 6)),
        SequenceDropout(0.3, generator=seeded()),
        Branches(Sequential(linear(6, 4), ALIF(threshold=0.2)), linear(6, 3), reduce="concatenate"),
    ),
    "Residual": lambda: Residual(LIF(threshold=0.2)),
    "Branches": lambda: Branches(LIF(5.0, threshold=0.2), LIF(50.0, threshold=0.2)),
    "SequenceDropout": lambda: SequenceDropout(0.5, generator=seeded()),
    "LSNN": lambda: LSNN(6, 5, 4, 3, delays=3, refractory=2.0, generator=seeded()),
    "LSNN sparse": lambda: LSNN(
        6, 5, 4, 3, delays=3, refractory=2.0, connectivity=0.4, excitatory=0.7, generator=seeded()
    ),
    "LSTMBaseline": lambda: LSTMBaseline(6, 5, 3, generator=seeded()),
    "DelayedLinear bias": lambda: DelayedLinear(6, 4, bias=True, generator=seeded()),
    "SynapticReadout": lambda: SynapticReadout(),
    "SynapticLIF": lambda: SynapticLIF(),
    "SynapticLIF refractory": lambda: SynapticLIF(refractory=2.0, memory="lean"),
    "ParaLIF SB": lambda: ParaLIF("SB", generator=seeded()),
    "ParaLIF GS": lambda: ParaLIF("GS", generator=seeded(), memory="lean"),
    "ParaLIF TRB": lambda: ParaLIF("TRB", generator=seeded(), learn_tau=True),
    "ParaLIF T": lambda: ParaLIF("T"),
    "ParaLIF SD": lambda: ParaLIF("SD", threshold=0.01),
    "ParaLIF TRD": lambda: ParaLIF("TRD", threshold=0.01, memory="lean"),
    "ParaLIF scan": lambda: ParaLIF("D", threshold=0.05, integration="scan"),
    "TwoPass": lambda: TwoPass(ParaLIF("D", threshold=0.05), linear(6, 6)),
    "TwoPass random": lambda: TwoPass(ParaLIF("SB", generator=seeded()), linear(6, 6)),
    "TwoPass by voltage": lambda: TwoPass(ParaLIF("D", threshold=0.05), linear(6, 6), by_voltage=True),
    "RectifiedRecurrent": lambda: RectifiedRecurrent(SynapticLIF(), linear(6, 6)),
    "Recurrent synaptic": lambda: Recurrent(SynapticLIF(), DelayedLinear(6, 6, generator=seeded()), autapses=True),
    "MaskedPSN": lambda: MaskedPSN(60, 3, generator=seeded()),
    "SlidingPSN": lambda: SlidingPSN(3),
    "ParallelNetwork SB": lambda: ParallelNetwork(6, 5, 3, layers=2, generator=seeded()),
    "ParallelNetwork LIF": lambda: ParallelNetwork(6, 5, 3, layers=2, neuron="LIF", generator=seeded()),
    "ParallelNetwork recurrent": lambda: ParallelNetwork(
        6, 5, 3, layers=1, neuron="D", options=NeuronOptions(recurrent="spikes"), generator=seeded()
    ),
    "RateNeuron rate": lambda: RateNeuron(LIFCurve(), mode="rate"),
    "RateNeuron lif": lambda: RateNeuron(LIFCurve(), mode="hybrid", v_init="uniform"),
    "RateNeuron regular": lambda: RateNeuron(ReLUCurve(), mode="hybrid", scale=200.0),
    "RateNeuron signed": lambda: RateNeuron(LeakyReLUCurve(), mode="hybrid", gain=-200.0),
    "RateNeuron counts": lambda: RateNeuron(ReLUCurve(), partner="integrate_and_fire", mode="hybrid", max_spikes=2),
    "RateNeuron stochastic": lambda: RateNeuron(
        ReLUCurve(), partner="stochastic", mode="hybrid", gain=300.0, generator=seeded()
    ),
    "RateNeuron poisson": lambda: RateNeuron(
        ReLUCurve(), partner="poisson", mode="hybrid", gain=300.0, generator=seeded()
    ),
    "Lowpass": lambda: Lowpass(10.0),
    "Lowpass debias": lambda: Lowpass(10.0, delay=False, debias=True),
    "DiehlCook": lambda: DiehlCook(6, generator=seeded()).eval(),
    "DiehlCook all": lambda: DiehlCook(6, one_winner=False, lowest=-80.0).eval(),
    "MembraneLIF": lambda: MembraneLIF(6),
    "DiehlCookNetwork": lambda: DiehlCookNetwork(
        6, DiehlCook(5, generator=seeded()), pair_stdp(), inhibitory=MembraneLIF(5), scale=9.0, generator=seeded()
    ).eval(),
}
NO_GRADIENT = ("DiehlCook", "DiehlCook all", "MembraneLIF", "DiehlCookNetwork")
"""What learns by local rules alone."""
FOLDED = ("LSNN", "LSTM", "Sequential", "DelayedLinear", "SparseDelayedLinear", "ParallelNetwork", "TwoPass")
ROUNDED = (
    *FOLDED, "DiehlCookNetwork", "Rectified", "MaskedPSN", "SlidingPSN", "ParaLIF scan", "RateNeuron rate",
    "RateRecall", "HebbianWrite", "HebbianRead", "SpikingRecall",
)  # fmt: skip
EXACT = {name for name in LAYERS if not name.startswith(ROUNDED)}
"""Where no matrix product folds time: bit for bit."""


def rewound(layer: Stateful) -> Stateful:
    """The layer with generators as on the first day: what draws, draws the same again."""
    for part in layer.modules():
        generator = getattr(part, "generator", None)
        if generator is not None:
            generator.manual_seed(0)
    return layer


def inputs(steps: int = 40, batch: int = 5) -> Tensor:
    values = torch.rand(steps, batch, 6, generator=seeded()) * 3
    return values * (torch.rand(values.shape, generator=seeded()) < 0.7)


def close(name: str, a: object, b: object) -> None:
    def compare(x: Tensor, y: Tensor) -> Tensor:
        assert x.dtype == y.dtype
        if name in EXACT:
            assert torch.equal(x, y)
        else:
            torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5)
        return x

    map_state(compare, a, b)


def tensors(*parts: object) -> list[Tensor]:
    """All tensors of outputs and states."""
    found: list[Tensor] = []

    def note(x: Tensor) -> Tensor:
        found.append(x)
        return x

    map_state(note, parts)
    return found


@pytest.fixture(params=list(LAYERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_whole_equals_step_by_step_and_chunks(name: str) -> None:
    layer, xs = LAYERS[name](), inputs()
    start = layer.initial_state(xs[0])
    whole, final = layer(xs, start)
    state = start
    steps = []
    for x in xs:
        out, state = layer.step(x, state)
        steps.append(out)
    close(name, map_state(lambda *parts: torch.stack(parts), *steps), whole)
    close(name, state, final)
    first, state = layer(xs[:13], start)
    second, state = layer(xs[13:14], state)
    third, state = layer(xs[14:], state)
    close(name, map_state(lambda *parts: torch.cat(parts), first, second, third), whole)
    close(name, state, final)


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in NO_GRADIENT])
def test_gradients_flow_through_the_carried_state(name: str) -> None:
    layer, xs = LAYERS[name](), inputs().requires_grad_()
    whole, _ = rewound(layer)(xs)
    first, state = rewound(layer)(xs[:20])
    second, _ = layer(xs[20:], state)
    parts = map_state(lambda *parts: torch.cat(parts), first, second)
    grads = []
    for result in (whole, parts):
        out = result if isinstance(result, Tensor) else result[0]
        wanted = [xs, *layer.parameters()]
        grads.append(torch.autograd.grad((out * torch.linspace(0, 1, out.numel()).reshape(out.shape)).sum(), wanted))
    for a, b in zip(*grads, strict=True):
        assert bool(torch.isfinite(a).all())
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_the_future_does_not_change_the_past_and_samples_do_not_touch(name: str) -> None:
    layer, xs = LAYERS[name](), inputs()
    whole, _ = rewound(layer)(xs)
    changed = xs.clone()
    changed[25:, :] = 1.7
    changed[:, 3] = 0.9
    again, _ = rewound(layer)(changed)

    def compare(x: Tensor, y: Tensor) -> Tensor:
        others = [0, 1, 2, 4]
        torch.testing.assert_close(x[:25, others], y[:25, others], rtol=1e-5, atol=1e-5)
        return x

    map_state(compare, whole, again)


def test_a_call_leaves_the_module_as_it_was(name: str) -> None:
    layer, xs = LAYERS[name](), inputs()
    before = copy.deepcopy(layer.state_dict())
    close("LIF", rewound(layer)(xs)[0], rewound(layer)(xs)[0])
    for key, value in layer.state_dict().items():
        assert torch.equal(value, before[key])


def test_float64_is_kept(name: str) -> None:
    layer = LAYERS[name]().double()
    out, state = layer(inputs().double())
    assert {x.dtype for x in tensors(out, state)} - {torch.int64} == {torch.float64}  # keys and counts are whole


def test_it_pickles(name: str) -> None:
    layer, xs = LAYERS[name](), inputs()
    copied = pickle.loads(pickle.dumps(layer))
    close(name, copied(xs)[0], layer(xs)[0])


def test_carrying_values_only() -> None:
    layer = LAYERS["LSNN"]()
    _, state = layer(inputs())
    assert any(x.requires_grad for x in tensors(state))
    assert not any(x.requires_grad for x in tensors(detach(state)))


def test_scan_and_record() -> None:
    out, last = scan(lambda x, s: (x + s, s + x), torch.ones(4, 2), torch.zeros(2))
    _, states = record(lambda x, s: (x, s + x), torch.ones(4, 2), torch.zeros(2))
    assert out[:, 0].tolist() == [1, 2, 3, 4]
    assert torch.equal(states[-1], last)
