"""What neurons make of what they are given: states of others, surrogates, what is not a number, empty batches."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeloom import kernels
from spikeloom.core import record, scan
from spikeloom.errors import ConfigError, ShapeError
from spikeloom.firing import SigmoidBernoulli
from spikeloom.neurons import (
    ALIF,
    LIF,
    PSN,
    DiehlCook,
    FromEquation,
    IntegrateAndFire,
    LeakyReadout,
    LeakyReLUCurve,
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
from spikeloom.neurons.filters import integrate
from spikeloom.neurons.synaptic import synaptic_lif
from spikeloom.surrogate import Arctan, Triangle, spike

T, SIZE = 12, 3
Layer = Callable[[], Any]


def own(**options: Any) -> FromEquation:
    return FromEquation(synaptic_lif, tau_mem=20.0, tau_syn=5.0, threshold=1.0, **options)


NEURONS: dict[str, Layer] = {
    "LIF": LIF,
    "LIF refractory": lambda: LIF(refractory=2.0),
    "LIF random": lambda: LIF(surrogate=SigmoidBernoulli()),
    "ALIF": lambda: ALIF(threshold=0.5),
    "IntegrateAndFire": IntegrateAndFire,
    "LeakyReadout": LeakyReadout,
    "SynapticLIF": SynapticLIF,
    "SynapticLIF refractory": lambda: SynapticLIF(refractory=2.0),
    "SynapticReadout": SynapticReadout,
    "ParaLIF SB": lambda: ParaLIF("SB"),
    "ParaLIF TRD": lambda: ParaLIF("TRD"),
    "ParaLIF TRT": lambda: ParaLIF("TRT"),
    "ParaLIF mean": lambda: ParaLIF("TRB", evaluation="mean").eval(),
    "ParaLIF scan": lambda: ParaLIF("D", integration="scan"),
    "FromEquation": own,
    "MaskedPSN": lambda: MaskedPSN(T, 3),
    "SlidingPSN": lambda: SlidingPSN(3),
    "Lowpass": lambda: Lowpass(10.0, delay=False),
    "Lowpass debias": lambda: Lowpass(10.0, delay=False, debias=True),
    "RateNeuron rate": lambda: RateNeuron(LIFCurve(), mode="rate"),
    "RateNeuron lif": lambda: RateNeuron(LIFCurve(), mode="spiking"),
    "RateNeuron regular": lambda: RateNeuron(ReLUCurve(), mode="spiking"),
    "RateNeuron signed": lambda: RateNeuron(LeakyReLUCurve(), mode="spiking"),
    "RateNeuron counts": lambda: RateNeuron(ReLUCurve(), partner="integrate_and_fire", mode="spiking"),
    "RateNeuron qcfs": lambda: RateNeuron(QCFSCurve(), mode="spiking"),
    "RateNeuron stochastic": lambda: RateNeuron(ReLUCurve(), partner="stochastic", mode="spiking"),
    "RateNeuron poisson": lambda: RateNeuron(ReLUCurve(), partner="poisson", mode="spiking"),
    "DiehlCook": lambda: DiehlCook(SIZE),
    "MembraneLIF": lambda: MembraneLIF(SIZE),
}
COMPILED = ("LIF", "LIF refractory", "ParaLIF SB", "ParaLIF TRT", "RateNeuron lif", "RateNeuron signed")
ENGINES = [*(("torch", name) for name in NEURONS), *(("numba", name) for name in COMPILED)]


def inputs() -> Tensor:
    return torch.rand(T, 2, SIZE, generator=torch.Generator().manual_seed(0)) * 3


def output(layer: Any, xs: Tensor) -> Tensor:
    out = layer(xs)
    result: Tensor = out if isinstance(out, Tensor) else out[0]
    return result


@pytest.mark.parametrize("name", list(NEURONS))
def test_a_state_of_another_layer_is_refused(name: str) -> None:
    layer, xs = NEURONS[name](), inputs()
    state = layer.initial_state(xs[0])
    other = SynapticLIF().initial_state(xs[0]) if name != "SynapticLIF" else ALIF().initial_state(xs[0])
    wrong: list[Any] = [other, (*state, xs[0]), xs[0], {"voltage": xs[0]}, [*state], "state", 3, (xs[0],) * 9]
    if state:
        wrong += [tuple(state)[:-1], type(state)(*[None] * len(state)) if hasattr(state, "_fields") else (None,) * 3]
    with kernels.use("torch"):
        for bad in wrong:
            with pytest.raises(ShapeError, match=type(layer).__name__ + "|MembraneLIF"):
                layer(xs, bad)
            with pytest.raises(ShapeError):
                layer.step(xs[0], bad)


def test_the_message_says_which_state_was_expected() -> None:
    xs = inputs()
    with pytest.raises(
        ShapeError, match=r"state LIFState\(voltage, spikes, refractory, noise\), but got ALIFState\(vol"
    ):
        LIF()(xs, ALIF().initial_state(xs[0]))
    with pytest.raises(ShapeError, match="FromEquation needs a tuple of 4 tensors, but got a tuple of 2"):
        own()(xs, (xs[0], xs[0]))
    with pytest.raises(ShapeError, match="LIF got a state whose spikes is NoneType, not a tensor of shape"):
        LIF()(xs, LIF().initial_state(xs[0])._replace(spikes=None))
    psn = MaskedPSN(T, 3)
    with pytest.raises(ShapeError, match="whose seen is an int64 tensor"):
        psn(xs, psn.initial_state(xs[0])._replace(seen=torch.tensor(-1)))


@pytest.mark.parametrize(("engine", "name"), ENGINES)
def test_what_is_not_a_number_stays_so(engine: str, name: str) -> None:
    layer, xs = NEURONS[name](), inputs()
    xs[4, 1, 2] = math.nan
    with kernels.use(engine):
        found = output(layer, xs).isnan()
    assert found[4, 1, 2]
    assert not found[:, 0].any()
    assert not found[:, :, :2].any()
    if name not in ("RateNeuron rate", "RateNeuron stochastic", "RateNeuron poisson", "SlidingPSN", "MaskedPSN"):
        assert found[4:, 1, 2].sum() > T - 4 - 3  # but for the steps that a spike blocks


def test_a_psn_does_so_too() -> None:
    xs = inputs()
    xs[4, 1, 2] = math.nan
    assert PSN(T)(xs).isnan().any(0).nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize("strict", [True, False])
def test_a_spike_is_one_zero_or_not_a_number(strict: bool) -> None:
    tiny = 1e-45
    x = torch.tensor([math.nan, -0.0, 0.0, tiny, -tiny, 5.0, -5.0, math.inf, -math.inf])
    found = spike(x, Triangle(), strict)
    assert found[0].isnan()
    expected = [float(v > 0 if strict else v >= 0) for v in x[1:]]
    assert found[1:].tolist() == expected
    assert not torch.signbit(found[1:]).any()


@pytest.mark.parametrize(("engine", "name"), ENGINES)
def test_large_inputs_are_finite_and_empty_batches_empty(engine: str, name: str) -> None:
    layer, xs = NEURONS[name](), inputs()
    xs[4, 1, 2], xs[6, 0, 0] = 1e30, -1e30
    with kernels.use(engine):
        assert bool(torch.isfinite(output(layer, xs)).all())
        assert output(NEURONS[name](), torch.rand(T, 0, SIZE)).shape == (T, 0, SIZE)


@pytest.mark.parametrize("engine", ["torch", "numba"])
@pytest.mark.parametrize("partner", ["regular", "signed", "integrate_and_fire", "stochastic", "poisson", "none"])
def test_a_rate_of_1e30_is_1e30(engine: str, partner: str) -> None:
    layer = RateNeuron(ReLUCurve(), partner=partner, mode="spiking")
    with kernels.use(engine):
        out = layer(torch.full((1, 1, 1), 1e30))[0]
    assert out.item() == pytest.approx(1e30, rel=1e-6)


def test_an_empty_batch_of_a_psn() -> None:
    assert PSN(T)(torch.rand(T, 0, SIZE)).shape == (T, 0, SIZE)


@pytest.mark.parametrize("name", list(NEURONS))
def test_no_steps_and_no_tensor_are_refused(name: str) -> None:
    for wrong in (torch.rand(0, 2, SIZE), [[1.0]], torch.tensor(1.0)):
        with pytest.raises(ShapeError, match="needs"):
            NEURONS[name]()(wrong)
    with pytest.raises(ShapeError):
        NEURONS[name]()(torch.ones(T, 2, SIZE, dtype=torch.int64))


def test_no_steps_to_scan_or_record() -> None:
    for loop in (scan, record):
        with pytest.raises(ShapeError, match=f"{loop.__name__} needs input .* with T >= 1"):
            loop(lambda x, state: (x, state), torch.rand(0, 2), ())


def atan(x: Tensor) -> Tensor:
    return x


SPIKING: list[Callable[..., Any]] = [
    LIF, ALIF, IntegrateAndFire, SynapticLIF, own, SlidingPSN, PSN, MaskedPSN, ParaLIF,
]  # fmt: skip


@pytest.mark.parametrize("make", SPIKING)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("atan", r"but got 'atan'\. Pass Arctan\(\)"),
        ("fast_sigmoid", r"Pass FastSigmoid\(\)"),
        ("none of these", r"Pass one of Triangle\(\), FastSigmoid\(\)"),
        (Arctan, r"but got the class Arctan\. Pass Arctan\(\)"),
        (atan, "but got <function atan"),
        (nn.Sigmoid(), r"but got Sigmoid\(\)\. Pass"),
        (None, "but got None"),
    ],
)
def test_a_surrogate_is_an_instance(make: Callable[..., Any], wrong: Any, message: str) -> None:
    counts: dict[Any, tuple[Any, ...]] = {PSN: (T,), MaskedPSN: (T, 3), SlidingPSN: (3,), ParaLIF: ("T",)}
    with pytest.raises(ConfigError, match="needs surrogate as an instance of .*" + message):
        make(*counts.get(make, ()), surrogate=wrong)


@pytest.mark.parametrize(
    "make", [lambda **k: PSN(T, **k), lambda **k: MaskedPSN(T, 3, **k), lambda **k: SlidingPSN(3, **k)]
)
def test_a_psn_draws_nothing(make: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="does not spike at random, but got surrogate=SigmoidBernoulli"):
        make(surrogate=SigmoidBernoulli())


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf, True, "1"])
def test_the_numbers_of_surrogates(wrong: Any) -> None:
    for make, name in ((Triangle, "gain"), (Arctan, "steepness"), (SigmoidBernoulli, "p_max")):
        with pytest.raises(ConfigError, match=f"needs {name}"):
            make(**{name: wrong})
    if wrong != 0.0 or wrong is True:
        with pytest.raises(ConfigError, match="SigmoidBernoulli needs weighted"):
            SigmoidBernoulli(weighted=wrong)


def test_the_filter_behind_parallel_neurons_carries_what_is_not_a_number() -> None:
    xs = inputs()
    xs[4, 1, 2] = math.nan
    zero, decay = torch.zeros(2, SIZE), torch.tensor(0.5)
    for method in ("loop", "scan", "toeplitz", "fft"):
        found = integrate(xs, zero, zero, decay, decay, method)[0].isnan()
        assert found[4:, 1, 2].all()
        assert not found[:, 0].any()
