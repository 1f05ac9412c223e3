"""Values of neurons: what is learned stays in its range, and what has left it is an error."""

import copy
import math
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikeloom import kernels
from spikeloom.core import STRUCTURE, Stateful, check_values
from spikeloom.errors import CheckpointError, ConfigError
from spikeloom.neurons import (
    ALIF,
    LIF,
    DiehlCook,
    FromEquation,
    IntegrateAndFire,
    LeakyReadout,
    LIFCurve,
    Lowpass,
    MaskedPSN,
    MembraneLIF,
    ParaLIF,
    QCFSCurve,
    RateNeuron,
    ReLUCurve,
    SlidingPSN,
    SynapticLIF,
    SynapticReadout,
)
from spikeloom.vocabulary import Value

Make = Callable[..., Any]
THREE: Any = 3
YES: Any = "yes"
FIXED: dict[str, tuple[Make, tuple[str, ...]]] = {
    "LIF": (lambda **k: LIF(4.3, 0.7, **k), ("tau_mem", "threshold")),
    "LIF lean": (lambda **k: LIF(4.3, 0.7, reset="zero", memory="lean", dt=0.5, **k), ("tau_mem", "threshold")),
    "IntegrateAndFire": (lambda **k: IntegrateAndFire(2.3, **k), ("threshold",)),
    "ALIF": (
        lambda **k: ALIF(4.3, 21.7, 1.3, 0.7, dt=0.3, **k),
        ("tau_mem", "tau_adapt", "adapt_strength", "threshold"),
    ),
    "ALIF eprop": (lambda **k: ALIF(4.3, 21.7, -0.3, 2.7, dynamics="eprop", **k), ("adapt_strength", "threshold")),
    "LeakyReadout": (lambda **k: LeakyReadout(7.7, **k), ("tau_mem",)),
    "SynapticReadout": (lambda **k: SynapticReadout(7.7, 3.3, **k), ("tau_mem", "tau_syn")),
    "SynapticLIF": (lambda **k: SynapticLIF(7.7, 3.3, 0.9, **k), ("tau_mem", "tau_syn", "threshold")),
    "SynapticLIF waits": (lambda **k: SynapticLIF(7.7, None, 0.9, refractory=2.0, **k), ("tau_mem", "threshold")),
    "ParaLIF": (lambda **k: ParaLIF("SD", 7.7, 3.3, 0.013, **k), ("tau_mem", "tau_syn", "threshold")),
    "ParaLIF scan": (lambda **k: ParaLIF("T", 7.7, 3.3, 0.9, integration="scan", **k), ("tau_syn", "threshold")),
    "RateNeuron": (lambda **k: RateNeuron(ReLUCurve(), gain=1.7, bias=0.3, **k), ("gain", "bias")),
    "RateNeuron QCFS": (lambda **k: RateNeuron(QCFSCurve(), threshold=1.3, **k), ("threshold",)),
    "FromEquation": (lambda **k: FromEquation(lif_with_rest, tau_mem=4.3, threshold=0.7, rest=0.1, **k),
                     ("tau_mem", "threshold", "rest")),
}  # fmt: skip
PER_NEURON: dict[str, tuple[Make, tuple[str, ...]]] = {
    "LIF": (lambda **k: LIF(torch.linspace(2, 9, 5), torch.linspace(0.5, 1.5, 5), **k), ("tau_mem", "threshold")),
    "ALIF": (
        lambda **k: ALIF(4.3, torch.linspace(9, 30, 5), torch.tensor([0.0, 0, 1, 2, 3]), 0.7, **k),
        ("tau_adapt", "adapt_strength"),
    ),
    "ParaLIF": (lambda **k: ParaLIF("T", torch.linspace(2, 9, 5), 3.3, 0.9, **k), ("tau_mem", "tau_syn")),
    "RateNeuron": (lambda **k: RateNeuron(ReLUCurve(), gain=torch.linspace(1, 2, 5), **k), ("gain",)),
}


def lif_with_rest(
    current: Value, voltage: Value, reset: Value, decay_mem: Value, threshold: Value, rest: Value
) -> Value:  # fmt: skip
    voltage = decay_mem * voltage + (1 - decay_mem) * (current + rest) - threshold * reset
    return voltage - threshold, voltage


def inputs(dtype: torch.dtype = torch.float32) -> Tensor:
    return (torch.rand(40, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3).to(dtype)


@pytest.fixture(autouse=True)
def definition() -> Iterator[None]:
    """Values come before the loops: the definition is enough, but where a test says otherwise."""
    with kernels.use("torch"):
        yield


@pytest.mark.parametrize(("engine", "dtype"), [("torch", torch.float64), ("numba", torch.float32)])
@pytest.mark.parametrize("name", list(FIXED))
def test_learned_values_start_exactly_where_they_say(name: str, dtype: torch.dtype, engine: str) -> None:
    make, names = FIXED[name]
    fixed, learned = make().to(dtype), make(learn=names).to(dtype)
    xs = inputs(dtype)
    with kernels.use(engine):
        assert torch.equal(fixed(xs)[0], learned(xs)[0])
    for value in names:
        assert getattr(learned, value).item() == pytest.approx(getattr(fixed, value), rel=1e-6)
    assert not any(bool(parameter.any()) for parameter in learned.parameters())  # all start at 0


@pytest.mark.parametrize("name", list(PER_NEURON))
def test_so_do_values_of_single_neurons(name: str) -> None:
    make, names = PER_NEURON[name]
    learned = make(learn=names)
    assert torch.equal(make()(inputs())[0], learned(inputs())[0])
    learned(inputs())[0].sum().backward()
    shapes = {tuple(parameter.shape) for parameter in learned.parameters()}
    assert (5,) in shapes
    again = make(learn=names)
    with torch.no_grad():
        for parameter in learned.parameters():
            parameter.add_(0.3)
    again.load_state_dict(learned.state_dict())
    assert torch.equal(again(inputs())[0], learned(inputs())[0])


@pytest.mark.parametrize("name", list(FIXED))
def test_gradients_of_learned_values_are_right(name: str) -> None:
    """Against differences, of a smooth function of the value: the constants that the equation reads."""
    make, names = FIXED[name]
    layer = make(learn=names).double()
    parameters = list(layer.parameters())

    def constants(*values: Tensor) -> tuple[Tensor, ...]:
        keys = [key for key, _ in layer.named_parameters()]
        state = dict(zip(keys, values, strict=True))
        return tuple(torch.func.functional_call(Reads(layer), {f"layer.{key}": state[key] for key in keys}, ()))

    for shift in (0.0, -1.3, 0.9):
        at = [(parameter.detach() + shift).requires_grad_() for parameter in parameters]
        assert torch.autograd.gradcheck(constants, at)


class Reads(nn.Module):
    """What a layer reads of its values."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self) -> list[Tensor]:
        if hasattr(self.layer, "constants"):
            return [value for value in self.layer.constants().values() if isinstance(value, Tensor)]
        return [self.layer.value(name) for name in self.layer.starts]


LEARNING: dict[str, tuple[Make, float]] = {
    "LIF tau": (lambda: LIF(4.0, 0.7, learn="tau_mem"), 0.8),
    "LIF threshold": (lambda: LIF(4.0, 1.5, learn="threshold"), 0.3),
    "LIF lean": (
        lambda: LIF(torch.full((5,), 4.0), torch.full((5,), 1.5), learn=("tau_mem", "threshold"), memory="lean"), 0.3
    ),
    "ALIF": (lambda: ALIF(4.0, 20.0, 1.0, 0.8, learn=("tau_mem", "tau_adapt", "adapt_strength", "threshold")), 0.3),
    "IntegrateAndFire": (lambda: IntegrateAndFire(4.0, learn="threshold"), 0.3),
    "SynapticLIF": (lambda: SynapticLIF(20.0, 2.0, 2.5, learn=("tau_mem", "tau_syn", "threshold")), 0.3),
}  # fmt: skip
"""Layers, and the share of the first loss that is left at most."""


@pytest.mark.parametrize(
    ("engine", "name"), [*(("torch", name) for name in LEARNING), ("numba", "LIF threshold"), ("numba", "ALIF")]
)
def test_large_steps_stay_in_range_and_learn(name: str, engine: str) -> None:
    make, left = LEARNING[name]
    with kernels.use(engine):
        learns(make(), left)


def learns(layer: Any, left: float) -> None:
    """A few large steps towards a rate of 0.8."""
    xs, wanted = inputs()[:20], 0.8
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.2)
    losses = []
    for _ in range(25):
        loss = (layer(xs)[0].mean() - wanted) ** 2
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        check_values(layer)
    assert min(losses) < left * losses[0]
    assert all(bool((torch.as_tensor(getattr(layer, name)) > 0).all()) for name in layer.values)
    assert math.isfinite(losses[-1])


@pytest.mark.parametrize("step", [-3e3, -90.0, 90.0, 3e3])
def test_no_step_makes_what_is_not_a_number(step: float) -> None:
    layer = LIF(4.0, 1.5, learn=("tau_mem", "threshold"))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(step)
    xs = inputs().requires_grad_()
    out = layer(xs)[0]
    out.sum().backward()
    assert bool(torch.isfinite(out).all())
    assert xs.grad is not None
    assert bool(torch.isfinite(xs.grad).all())


@pytest.mark.parametrize("name", list(FIXED))
def test_learned_layers_are_saved_copied_and_pickled(name: str) -> None:
    make, names = FIXED[name]
    layer, xs = make(learn=names), inputs()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.2)
    again = make(learn=names)
    again.load_state_dict(layer.state_dict())
    for other in (again, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(xs)[0], layer(xs)[0])
    assert not torch.equal(torch.as_tensor(getattr(layer, names[0])), torch.as_tensor(getattr(make(), names[0])))


def test_a_compiled_layer_learns() -> None:
    layer, xs = LIF(4.0, 0.7, learn=("tau_mem", "threshold")), inputs()[:5]
    compiled = torch.compile(layer.constants, backend="eager", fullgraph=True)
    assert {name: torch.as_tensor(value).item() for name, value in compiled().items()} == {
        name: torch.as_tensor(value).item() for name, value in layer.constants().items()
    }
    assert layer(xs)[0].requires_grad


def test_the_present_value_is_an_attribute_and_shown() -> None:
    layer = LIF(4.0, torch.full((5,), 1.5), learn=("tau_mem", "threshold"))
    with torch.no_grad():
        layer.log_tau_mem.fill_(math.log(2.0))
    assert layer.tau_mem.item() == pytest.approx(8.0)
    assert "tau_mem=8.0 (learned), threshold=(5,) (learned)" in repr(layer)
    assert SynapticLIF(5.0, learn_tau=True).time_constants() == {"tau_mem": 5.0, "tau_syn": 20.0}
    assert {name for name, _ in SynapticLIF(learn_tau=True, learn="threshold").named_parameters()} == {
        "log_tau_mem", "log_tau_syn", "raw_threshold",
    }  # fmt: skip


def test_the_kind_of_a_value_of_an_own_equation() -> None:
    make, _ = FIXED["FromEquation"]
    assert [name for name, _ in make(learn="rest").named_parameters()] == ["shift_rest"]
    assert [name for name, _ in make(learn={"rest": "positive"}).named_parameters()] == ["raw_rest"]
    layer = make(learn={"rest": "positive"})
    with torch.no_grad():
        layer.raw_rest.fill_(-1e4)
    assert 0 < layer.rest.item() < 2e-4


def test_strengths_of_zero_stay_zero() -> None:
    layer = ALIF(adapt_strength=torch.tensor([0.0, 2.0]), learn="adapt_strength")
    with torch.no_grad():
        layer.raw_adapt_strength.fill_(1.0)
    assert layer.adapt_strength[0] == 0
    assert layer.adapt_strength[1] > 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LIF(learn="tau"), "LIF can learn tau_mem, threshold, but got learn='tau'"),
        (lambda: LIF(learn=THREE), "LIF needs learn as names.*got 3"),
        (lambda: LIF(learn=("tau_mem", THREE)), "LIF needs learn as names"),
        (lambda: LIF(nn.Parameter(torch.tensor(4.0)), learn="tau_mem"), "learn='tau_mem' and an nn.Parameter"),
        (lambda: LIF(learn={"threshold": "real"}), "cannot be learned as a real number"),
        (lambda: RateNeuron(learn={"gain": "log"}), '"positive" or "real", but got gain=\'log\''),
        (lambda: RateNeuron(learn={"bias": "positive"}), "starts at 0"),
        (lambda: ALIF(adapt_strength=0.0, learn="adapt_strength"), "starts at 0"),
        (lambda: SynapticLIF(None, learn="tau_mem"), "SynapticLIF can learn threshold, tau_syn, but"),
        (lambda: SynapticLIF(refractory=2.0, learn="steps"), "SynapticLIF can learn threshold, tau_mem, tau_syn, but"),
        (lambda: SynapticLIF(learn_tau=YES), "learn_tau as True or False, but got 'yes'"),
        (lambda: ALIF(adapt_strength=-5.0), "ALIF needs adapt_strength >= 0, but got -5.0.*normalise_by"),
        (lambda: ALIF(adapt_strength=torch.tensor([1.0, -1.0]), dynamics="legacy"), "ALIF needs adapt_strength >= 0"),
    ],
)
def test_what_cannot_be_learned(make: Make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_negative_strengths_are_right_where_the_baseline_is_the_unit() -> None:
    """s = v > A, step by step in float64: from 0 the threshold may then fall below 0."""
    xs = inputs(torch.float64)
    layer = ALIF(2.0, 5.0, -5.0, 0.5, dynamics="eprop", dt=1.0)
    v = b = s = torch.zeros(3, 5, dtype=torch.float64)
    expected = []
    for x in xs:
        b = math.exp(-1 / 5) * b + s
        v = math.exp(-1 / 2) * v + x - 0.5 * s
        s = (v > 0.5 - 5.0 * b).double()
        expected.append(s)
    assert torch.equal(layer(xs)[0], torch.stack(expected))
    assert float(layer.moving_threshold(layer(xs)[1].adaptation).min()) < 0


def set_by_hand(layer: Any, name: str, value: Any) -> Any:
    setattr(layer, name, value)
    return layer


def filled(layer: Any, name: str, value: float) -> Any:
    getattr(layer, name).data.fill_(value)
    return layer


def loaded(layer: Any, name: str, value: float) -> Any:
    layer.load_state_dict({**layer.state_dict(), name: torch.tensor(value)})
    return layer


def p(value: float, *shape: int) -> nn.Parameter:
    return nn.Parameter(torch.full(shape, value))


BROKEN: list[tuple[Make, str]] = [
    (lambda: filled(LIF(p(4.0)), "tau_mem", -0.16), "LIF needs tau_mem > 0 and finite, but it is -0.1.*learn="),
    (lambda: filled(LIF(p(4.0)), "tau_mem", 0.0), "LIF needs tau_mem > 0"),
    (lambda: filled(LIF(p(4.0)), "tau_mem", math.nan), "LIF needs tau_mem > 0.*nan"),
    (lambda: filled(LIF(p(4.0)), "tau_mem", math.inf), "LIF needs tau_mem > 0.*inf"),
    (lambda: filled(LIF(p(4.0, 5)), "tau_mem", math.nan), "LIF needs tau_mem > 0.*nan"),
    (lambda: loaded(LIF(4.0, p(1.5)), "threshold", -0.02), "LIF needs threshold > 0.*-0.0"),
    (lambda: filled(LIF(torch.full((5,), 4.0)), "tau_mem", -1.0), "LIF needs tau_mem > 0.*Set it to such a"),
    (lambda: set_by_hand(LIF(), "tau_mem", -1), "LIF needs tau_mem > 0.*-1 now"),
    (lambda: set_by_hand(LIF(), "threshold", "high"), "LIF needs threshold as a number or a tensor, but got 'high'"),
    (lambda: set_by_hand(LIF(), "dt", -1.0), "LIF needs dt > 0"),
    (lambda: set_by_hand(LIF(learn="tau_mem"), "tau_mem", 5.0), "LIF.tau_mem was set, but it is learned"),
    (lambda: filled(LIF(learn="tau_mem"), "log_tau_mem", math.nan), "LIF needs log_tau_mem finite.*nan"),
    (lambda: filled(LIF(torch.full((5,), 4.0), learn="tau_mem"), "log_tau_mem", math.nan), "log_tau_mem finite"),
    (lambda: filled(ALIF(adapt_strength=p(1.0)), "adapt_strength", -0.1), "ALIF needs adapt_strength >= 0"),
    (lambda: filled(IntegrateAndFire(p(1.0)), "threshold", 0.0), "IntegrateAndFire needs threshold > 0"),
    (lambda: filled(LeakyReadout(p(1.0)), "tau_mem", -1.0), "LeakyReadout needs tau_mem > 0"),
    (lambda: filled(SynapticLIF(p(1.0)), "tau_mem", -1.0), "SynapticLIF needs tau_mem > 0"),
    (lambda: filled(SynapticLIF(threshold=p(1.0)), "threshold", math.nan), "SynapticLIF needs threshold finite"),
    (lambda: filled(ParaLIF("T", tau_syn=p(1.0)), "tau_syn", -1.0), "ParaLIF needs tau_syn > 0"),
    (lambda: filled(RateNeuron(QCFSCurve(), threshold=p(1.0)), "threshold", -1.0), "RateNeuron needs threshold > 0"),
    (lambda: filled(RateNeuron(bias=p(1.0)), "bias", math.nan), "RateNeuron needs bias finite"),
    (lambda: set_by_hand(Lowpass(10.0), "tau_syn", -1.0), "Lowpass needs tau_syn >= 0"),
    (lambda: set_by_hand(MembraneLIF(5), "tau_mem", -1.0), "MembraneLIF needs tau_mem > 0"),
    (lambda: set_by_hand(DiehlCook(5), "threshold", -70.0), "DiehlCook needs rest, reset and lowest below"),
]


@pytest.mark.parametrize(("make", "message"), BROKEN)
def test_a_value_that_has_left_its_range_is_an_error(make: Make, message: str) -> None:
    layer = make()
    with pytest.raises(ConfigError, match=message):
        layer(inputs())
    with pytest.raises(ConfigError, match="^inner.0: .*" + message):
        check_values(nn.ModuleDict({"inner": nn.Sequential(layer)}))


def test_values_in_range_pass_the_check() -> None:
    layers = [make(learn=names) for make, names in FIXED.values()]
    check_values(nn.ModuleList([*layers, MaskedPSN(4, 2), SlidingPSN(2), MembraneLIF(3), DiehlCook(3), Lowpass(5.0)]))


def test_a_masking_or_homeostasis_out_of_range_is_an_error() -> None:
    psn = MaskedPSN(40, 2)
    psn.masking.fill_(math.nan)
    with pytest.raises(ConfigError, match="MaskedPSN needs masking from 0 to 1, but it is nan now"):
        psn(inputs())
    neurons = DiehlCook(5)
    neurons.homeostasis.fill_(math.nan)
    with pytest.raises(ConfigError, match="DiehlCook needs a finite homeostasis"):
        check_values(neurons)


def test_the_originals_rule_for_thresholds_stays() -> None:
    """A bare threshold below 0 counts as 0 in SynapticLIF and ParaLIF."""
    for make in (SynapticLIF, lambda **k: ParaLIF("T", **k)):
        layer = filled(make(threshold=p(1.0)), "threshold", -3.0)
        at_zero = filled(make(threshold=p(1.0)), "threshold", 0.0)
        assert torch.equal(layer(inputs())[0], at_zero(inputs())[0])


SAVED: list[tuple[Make, Make, str]] = [
    (lambda: LIF(2.0, 0.5), lambda: LIF(20.0, 1.0), "LIF was saved with tau_mem=2.0, threshold=0.5, but this one has"),
    (lambda: LIF(reset="zero"), LIF, "reset=zero, but this one has reset=subtract"),
    (lambda: LIF(refractory=3.0), LIF, r"refractory=3.0, but this one has refractory=0.0"),
    (lambda: LIF(dt=0.5), LIF, "dt=0.5"),
    (lambda: LIF(learn="tau_mem"), lambda: LIF(5.0, learn="tau_mem"), "tau_mem=20.0, but this one has tau_mem=5.0"),
    (lambda: IntegrateAndFire(2.0), IntegrateAndFire, "threshold=2.0"),
    (lambda: ALIF(dynamics="legacy"), ALIF, "spike_from=old"),
    (lambda: LeakyReadout(5.0), LeakyReadout, "tau_mem=5.0"),
    (lambda: SynapticLIF(refractory=2.0), SynapticLIF, "steps=2.0"),
    (lambda: SynapticReadout(None), SynapticReadout, "tau_mem=0.001"),
    (lambda: ParaLIF("T"), lambda: ParaLIF("TT"), "firing=T, but this one has firing=TT"),
    (lambda: ParaLIF("SB", p_max=0.5), lambda: ParaLIF("SB"), "p_max=0.5"),
    (lambda: MaskedPSN(9, 6), lambda: MaskedPSN(9, 3), "order=6, but this one has order=3"),
    (lambda: SlidingPSN(6), lambda: SlidingPSN(3), "order=6"),
    (lambda: Lowpass(5.0), lambda: Lowpass(9.0), "tau_syn=5.0"),
    (lambda: RateNeuron(amplitude=0.01), RateNeuron, "amplitude=0.01"),
    (lambda: RateNeuron(LIFCurve(tau_mem=9.0)), RateNeuron, "tau_mem=9.0"),
    (lambda: MembraneLIF(3, threshold=-41.0), lambda: MembraneLIF(3), "threshold=-41.0"),
    (lambda: DiehlCook(3, refractory=2.0), lambda: DiehlCook(3), "refractory=2.0"),
    (lambda: FIXED["FromEquation"][0](dt=2.0), FIXED["FromEquation"][0], "dt=2.0"),
]


@pytest.mark.parametrize(("saved", "into", "message"), SAVED)
def test_numbers_travel_in_the_state_dict(saved: Make, into: Make, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        into().load_state_dict(saved().state_dict())
    saved().load_state_dict(saved().state_dict())
    older = {name: value for name, value in saved().state_dict().items() if name != STRUCTURE}
    if older.keys() == {name for name in into().state_dict() if name != STRUCTURE}:
        shapes = [into().state_dict()[name].shape == value.shape for name, value in older.items()]
        if all(shapes):
            into().load_state_dict(older)


def test_checkpoints_of_learn_tau_from_before_still_load() -> None:
    layer = SynapticReadout(13.0, 7.0, learn_tau=True)
    layer.load_state_dict({"log_tau_mem": torch.tensor(0.5), "log_tau_syn": torch.tensor(-0.5)})
    assert layer.tau_mem.item() == pytest.approx(13 * math.exp(0.5))


@pytest.mark.parametrize("wrong", [True, "20", None, [20.0], 1j, np.bool_(True), torch.tensor(20), torch.tensor(True)])
@pytest.mark.parametrize("name", ["tau_mem", "threshold"])
def test_what_is_no_number_is_refused(name: str, wrong: Any) -> None:
    with pytest.raises(ConfigError, match=f"LIF needs {name}"):
        LIF(**{name: wrong})


@pytest.mark.parametrize("number", [2, np.float32(2.0), np.int64(2), np.float64(2.0), torch.tensor(2.0)])
def test_numbers_of_all_kinds_are_numbers(number: Any) -> None:
    xs = inputs()
    for layer in (LIF(number, number, refractory=number, dt=number), Lowpass(number), ParaLIF("T", number, number)):
        assert isinstance(layer, Stateful)
        layer(xs)
    assert torch.equal(LIF(number)(xs)[0], LIF(2.0)(xs)[0])


NONSENSE: list[Any] = [-1.0, math.nan, math.inf, True, "1"]
ARGUMENTS: list[tuple[Make, str, list[Any]]] = [
    *((make, "dt", [0.0, *NONSENSE]) for make in (LIF, ALIF, IntegrateAndFire, LeakyReadout, SynapticLIF)),
    *((make, "dt", [0.0, *NONSENSE]) for make in (SynapticReadout, ParaLIF, RateNeuron)),
    *((make, "refractory", NONSENSE) for make in (LIF, ALIF, IntegrateAndFire, SynapticLIF)),
    *((make, "detach_reset", [1, "no", None]) for make in (LIF, ALIF, IntegrateAndFire, SynapticLIF)),
    *((make, "generator", [3, "seed"]) for make in (LIF, ALIF, IntegrateAndFire, SynapticLIF, ParaLIF, RateNeuron)),
    *((make, "tau_mem", [0.0, *NONSENSE]) for make in (ALIF, LeakyReadout, SynapticLIF, SynapticReadout, ParaLIF)),
    *((make, "threshold", [0.0, *NONSENSE]) for make in (ALIF, IntegrateAndFire, SynapticLIF, RateNeuron)),
    (ALIF, "adapt_strength", NONSENSE),
    (ALIF, "dynamics", ["paper", None, 3, {}]),
    (ParaLIF, "p_max", [0.0, *NONSENSE]),
    (ParaLIF, "weighted", NONSENSE),
    (lambda **k: ParaLIF("GS", **k), "temperature", [0.0, *NONSENSE]),
    (RateNeuron, "amplitude", [0.0, *NONSENSE]),
    (RateNeuron, "scale", [0.0, *NONSENSE]),
    (RateNeuron, "gain", [math.nan, math.inf, True, "1"]),
    (RateNeuron, "bias", [math.nan, math.inf, True, "1"]),
    (RateNeuron, "v_init", [math.nan, math.inf, True, "some"]),
    (RateNeuron, "v_seed", [-1, 0.5, True, "1"]),
    (RateNeuron, "curve", ["relu", None, ReLUCurve]),
    (RateNeuron, "min_voltage", [math.nan, 2.0, True, "1"]),
    (lambda **k: RateNeuron(ReLUCurve(), partner="integrate_and_fire", **k), "max_spikes", NONSENSE),
    (LIFCurve, "tau_mem", [0.0, *NONSENSE]),
    (LIFCurve, "refractory", NONSENSE),
    (LIFCurve, "smoothing", NONSENSE),
    (QCFSCurve, "levels", [0, 1.5, *NONSENSE]),
    (lambda **k: Lowpass(**{"tau_syn": 5.0, **k}), "tau_syn", NONSENSE),
    (lambda **k: Lowpass(5.0, **k), "dt", [0.0, *NONSENSE]),
    (lambda **k: Lowpass(5.0, **k), "delay", [1, None]),
    (lambda **k: Lowpass(5.0, **k), "debias", [1, None]),
    *((lambda make=make, **k: make(**{"size": 3, **k}), name, values) for make in (DiehlCook, MembraneLIF)
      for name, values in (("size", [0, 1.5, *NONSENSE]), ("tau_mem", [0.0, *NONSENSE]), ("refractory", NONSENSE),
                           ("rest", [math.nan, math.inf, True, "1"]), ("reset", [math.nan, True, "1"]),
                           ("threshold", [math.nan, math.inf, True, "1"]), ("lowest", [math.nan, math.inf, True, "1"]),
                           ("dt", [0.0, *NONSENSE]))),
    (lambda **k: DiehlCook(3, **k), "homeostasis_step", NONSENSE),
    (lambda **k: DiehlCook(3, **k), "tau_homeostasis", [0.0, *NONSENSE]),
    (lambda **k: DiehlCook(3, **k), "one_winner", [1, None]),
    (lambda **k: DiehlCook(3, **k), "generator", [3]),
    (lambda **k: MaskedPSN(**{"steps": 4, "order": 2, **k}), "order", [0, 1.5, *NONSENSE]),
    (lambda **k: MaskedPSN(**{"steps": 4, "order": 2, **k}), "steps", [0, 1.5, *NONSENSE]),
    (lambda **k: MaskedPSN(4, 2, **k), "masking", NONSENSE),
    (SlidingPSN, "order", [0, 1.5, *NONSENSE]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "name", "wrong"), [(make, name, wrong) for make, name, values in ARGUMENTS for wrong in values]
)
def test_every_argument_out_of_range_is_named(make: Make, name: str, wrong: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        make(**{name: wrong})


def test_a_learned_value_is_not_taken_for_its_start() -> None:
    learned, fixed = LIF(2.0, learn="tau_mem"), LIF(2.0)
    for strict in (True, False):
        with pytest.raises(CheckpointError, match=r"was saved with learn=tau_mem, but this one has learn=None"):
            fixed.load_state_dict(learned.state_dict(), strict=strict)
    assert learned.load_state_dict(fixed.state_dict(), strict=False).missing_keys == ["log_tau_mem"]
