"""The GPU kernels equal the definition: on CUDA where there is one, else in Triton's interpreter."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from spikeloom import kernels
from spikeloom.errors import ConfigError
from spikeloom.firing import GumbelSoftmax, SigmoidBernoulli, TanhBernoulli, TemperedGumbelSoftmax
from spikeloom.kernels import Moving, Program
from spikeloom.kernels.engines import cache, gpu, operators
from spikeloom.kernels.noise import keys
from spikeloom.layers import DelayedLinear, Recurrent
from spikeloom.models import LSNN
from spikeloom.neurons import ALIF, LIF, LeakyReadout
from spikeloom.surrogate import Arctan, Surrogate, Triangle
from tests.kernels.test_triton_compile import CASES

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
READY = find_spec("triton") is not None and (DEVICE == "cuda" or os.environ.get("TRITON_INTERPRET") == "1")
pytestmark = pytest.mark.skipif(
    not READY, reason="triton is not installed, or was imported as a compiler without a GPU"
)

VALUES = {
    "decay_mem": 0.9, "decay_adapt": 0.95, "decay_dendrite": 0.8, "adapt_strength": 0.5, "threshold": 0.7, "gain": 0.6,
    "decay_syn": 0.8, "steps": 3.0,
}  # fmt: skip


class Case(NamedTuple):
    equation: str = "alif_standard"
    steps: int = 70
    batch: int = 3
    size: int = 5
    recurrent: bool = False
    delays: int = 1
    refractory: int = 0
    memory: str = "fast"
    detach: bool = False
    learns: bool = False
    per_neuron: bool = False
    scale: float = 2.5
    dtype: torch.dtype = torch.float64
    surrogate: Surrogate = Triangle()


class Outcome(NamedTuple):
    spikes: Tensor
    finals: list[Tensor]
    grads: list[Tensor]


def outcome(case: Case, engine: str, device: str = DEVICE) -> Outcome:
    """Spikes, final states, and the gradients of a random functional of them."""
    equation = CASES[case.equation].equation
    random = torch.Generator().manual_seed(3)
    shape = (case.batch, case.size)

    def draw(*sizes: int) -> Tensor:
        return torch.rand(*sizes, generator=random, dtype=torch.float64).to(device, case.dtype)

    def some(*sizes: int) -> Tensor:
        return (draw(*sizes) < 0.3).to(case.dtype).requires_grad_()

    xs = (draw(case.steps, *shape) * case.scale).requires_grad_()
    states = tuple((draw(*shape) * 0.5).requires_grad_() for _ in equation.states)
    left = torch.floor(draw(*shape) * (case.refractory + 1))
    past = tuple(some(*shape) for _ in range(case.delays - 1))
    moving = Moving(states, some(*shape), left, past, keys(case.batch, xs.device, random))
    parameters = {}
    for name in equation.parameters:
        spread = 1 + 0.1 * draw(case.size) if case.per_neuron else 1.0
        value = torch.as_tensor(VALUES[name] * spread, dtype=case.dtype, device=device)
        parameters[name] = value.requires_grad_(case.learns)
    weight = (draw(case.size, case.size) - 0.5).requires_grad_()
    delay = torch.floor(draw(case.size, case.size) * case.delays).long() if case.delays > 1 else None
    program = Program(equation, case.surrogate, case.refractory, case.detach, case.memory)
    with kernels.use(engine):
        if case.recurrent:
            spikes, new = kernels.recurrent(program, xs, moving, parameters, weight, delay)
        else:
            spikes, new = kernels.neurons(program, xs, moving, parameters)
    finals = [*new.states, *([] if equation.fires == "never" else [new.spikes, *new.history])]
    loss = sum((part * draw(*part.shape)).sum() for part in (spikes, *finals))
    wanted = [xs, *states, *([] if equation.fires == "never" else [moving.spikes]), *moving.history]
    wanted += [weight] if case.recurrent else []
    wanted += list(parameters.values()) if case.learns else []
    assert isinstance(loss, Tensor)
    grads = torch.autograd.grad(loss, wanted, allow_unused=True)
    zeros = [torch.zeros_like(source) if grad is None else grad for source, grad in zip(wanted, grads, strict=True)]
    return Outcome(spikes, finals if equation.fires == "never" else [*finals, new.left], zeros)


def compare(case: Case, tolerance: float) -> None:
    want, got = outcome(case, "torch"), outcome(case, "triton")
    if CASES[case.equation].equation.fires == "never":
        torch.testing.assert_close(got.spikes, want.spikes, rtol=tolerance, atol=tolerance)
    else:
        assert torch.equal(got.spikes, want.spikes)
    for a, b in zip(want.finals, got.finals, strict=True):
        torch.testing.assert_close(b, a, rtol=tolerance, atol=tolerance)
    for a, b in zip(want.grads, got.grads, strict=True):
        assert a.shape == b.shape
        assert float((a - b).abs().max()) <= tolerance * max(float(a.abs().max()), 1.0)
    assert case.scale == 0 or any(grad.any() for grad in want.grads)


def label(case: Case) -> str:
    """What differs from the default."""
    changed = [f"{name}={value}" for name, value in case._asdict().items() if value != Case._field_defaults[name]]
    return ",".join([case.equation, *changed[case.equation != Case().equation :]])


NEURONS = [name for name in CASES if name not in ("leak", "leak_fixed")]
FLOAT64 = [
    *(Case(name, 20, learns=True, per_neuron=True) for name in NEURONS),
    *(Case(name, 35, refractory=3, memory="lean") for name in NEURONS if name != "all_words"),
    *(Case(name, 20, 19, 21, recurrent=True, refractory=3) for name in ("lif", "lif_zero", "alif_legacy")),
    *(Case("alif_eprop", 37, 3, 5, recurrent=True, delays=4, memory=m, learns=True) for m in ("fast", "lean")),
    Case("all_words", 7, recurrent=True, learns=True),
    Case("two_compartments", 35, 3, 21, recurrent=True, delays=4, memory="lean", learns=True, per_neuron=True),
    Case("leak", learns=True),
    Case("leak", learns=True, per_neuron=True, memory="lean"),
    Case("leak_fixed"),
    Case("lif", 70, 19, 21, refractory=2, surrogate=Arctan()),
    Case("lif", 1, 1, 1),
    Case("lif", 7, 1, 1, memory="lean", learns=True),
    Case("lif", 7, 3, 1, detach=True, refractory=1),
    Case("alif_standard", 20, detach=True, refractory=1, learns=True),
    Case("alif_standard", 1, 1, 1, recurrent=True, refractory=1),
    Case("alif_standard", 1, 19, 5, recurrent=True, delays=4),
    Case("alif_standard", 3, 2, 3, recurrent=True, delays=7, refractory=6, detach=True),
    Case("alif_standard", 64, 16, 16, recurrent=True, memory="lean"),
    Case("alif_standard", 33, 1, 17, recurrent=True, refractory=40, memory="lean"),
    Case("lif", 20, scale=0.0),
    Case("lif", 20, scale=1e3, recurrent=True, delays=2),
    Case("alif_standard", 20, scale=0.0, recurrent=True, delays=2),
    Case("alif_standard", 35, scale=1e3, memory="lean"),
]
RANDOM = (
    SigmoidBernoulli(),
    TanhBernoulli(p_max=0.8, weighted=0.0),
    GumbelSoftmax(),
    TemperedGumbelSoftmax(temperature=0.5),
)
FLOAT64 += [
    *(Case("membrane", 20, surrogate=surrogate, learns=True) for surrogate in RANDOM),
    Case("membrane", 20, 19, 21, recurrent=True, surrogate=RANDOM[0]),
    Case("lif", 35, 3, 21, refractory=2, memory="lean", surrogate=RANDOM[1]),
    Case("synaptic_lif", 20, detach=True, surrogate=Arctan()),
    Case("synaptic_lif", 20, 3, 5, recurrent=True, detach=True),
]
FLOAT32 = [
    Case("lif", 50, 7, 21, learns=True),
    Case("alif_standard", 50, refractory=3, memory="lean", learns=True, per_neuron=True),
    Case("two_compartments", 50),
    Case("membrane", 30, surrogate=RANDOM[2]),
    Case("lif", 20, 19, 5, recurrent=True, refractory=3),
    Case("alif_standard", 20, 3, 21, recurrent=True, delays=4, learns=True),
]


@pytest.fixture
def _untraced() -> Iterator[None]:
    """Triton's interpreter is Python: a tracer of coverage makes it three times as slow; the other tests are traced."""
    trace = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(trace)


@pytest.mark.usefixtures("_untraced")
@pytest.mark.parametrize("case", FLOAT64, ids=label)
def test_float64(case: Case) -> None:
    compare(case, 1e-10)


@pytest.mark.usefixtures("_untraced")
@pytest.mark.parametrize("case", FLOAT32, ids=label)
def test_float32(case: Case) -> None:
    compare(case._replace(dtype=torch.float32), 1e-5)


@pytest.mark.parametrize("delays", [1, 4])
@pytest.mark.parametrize("memory", ["fast", "lean"])
def test_chunks_equal_the_whole(delays: int, memory: str) -> None:
    layer = Recurrent(ALIF(refractory=2.0, memory=memory), DelayedLinear(6, 6, delays=delays)).double().to(DEVICE)
    random = torch.Generator().manual_seed(5)
    xs = torch.rand(40, 2, 6, generator=random, dtype=torch.float64).to(DEVICE) * 0.1
    with kernels.use("triton"):
        whole, last = layer(xs)
        parts, state = [], None
        for part in torch.split(xs, [1, 2, 34, 3]):
            spikes, state = layer(part, state)
            parts.append(spikes)
    assert torch.equal(torch.cat(parts), whole)
    assert whole.any()
    assert state is not None
    for a, b in zip([*state.neuron[:4], state.history], [*last.neuron[:4], last.history], strict=True):
        assert torch.equal(a, b)


def test_a_whole_model_has_the_gradients_of_the_definition() -> None:
    random = torch.Generator().manual_seed(1)
    model = LSNN(4, 3, 3, 2, delays=3, generator=random).double().to(DEVICE)
    xs = (torch.rand(25, 2, 4, generator=random, dtype=torch.float64) < 0.5).double().to(DEVICE)
    grads = []
    for engine in ("torch", "triton"):
        with kernels.use(engine):
            activity, _ = model(xs)
        assert activity.spikes.any()
        grads.append(torch.autograd.grad(activity.logits.square().sum(), list(model.parameters())))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_inputs_need_not_be_contiguous() -> None:
    xs = torch.rand(3, 4, 20, dtype=torch.float64, device=DEVICE).permute(2, 0, 1) * 3
    neuron = LIF()
    with kernels.use("triton"):
        got = neuron(xs)[0]
    with kernels.use("torch"):
        assert torch.equal(neuron(xs)[0], got)


def test_operators_are_sound() -> None:
    neuron = ALIF(refractory=1.0)
    zeros = torch.zeros(2, 4, device=DEVICE)
    parameters = [torch.tensor(value, device=DEVICE) for value in (0.9, 0.99, 1.7, 0.01)]
    weight = torch.randn(4, 4, device=DEVICE, requires_grad=True)
    delays = torch.randint(0, 3, (4, 4), device=DEVICE)
    xs = torch.rand(6, 2, 4, device=DEVICE, requires_grad=True)
    recurrence = (torch.zeros(3, 2, 4, device=DEVICE), weight, delays)
    for extra, memory in (((None, None, None), "fast"), (recurrence, "lean")):
        arguments = (
            xs,
            [zeros, zeros],
            zeros,
            zeros,
            parameters,
            *extra,
            None,
            False,
            memory,
            "",
            neuron.program.key,
            "triton",
        )
        opcheck(operators.spikes, arguments)


def test_no_samples() -> None:
    xs = torch.rand(5, 0, 3, dtype=torch.float64, device=DEVICE, requires_grad=True)
    with kernels.use("triton"):
        spikes, state = LIF()(xs)
        spikes.sum().backward()
    assert xs.grad is not None
    assert spikes.shape == xs.shape == xs.grad.shape
    assert state.voltage.shape == (0, 3)


def test_a_readout_runs_without_gradients() -> None:
    xs = torch.rand(30, 2, 3, device=DEVICE)
    with kernels.use("triton"), torch.no_grad():
        got = LeakyReadout()(xs)[0]
    with kernels.use("torch"):
        torch.testing.assert_close(LeakyReadout()(xs)[0], got)


def test_without_triton_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    with kernels.use("triton"), pytest.raises(ConfigError, match=r"pip install 'spikeloom\[triton\]'"):
        LIF()(torch.rand(5, 2, 3, device=DEVICE))


def test_cpu_tensors_need_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "load", lambda plan, write: SimpleNamespace(INTERPRETED=False))
    with kernels.use("triton"), pytest.raises(ConfigError, match="set TRITON_INTERPRET=1 before Python starts"):
        LIF()(torch.rand(5, 2, 3))


def test_triton_may_be_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "release", lambda: "3.4.0")
    with kernels.use("triton"), pytest.raises(ConfigError, match=r"needs Triton 3.6 or newer, but 3.4.0 is installed"):
        LIF()(torch.rand(5, 2, 3))


def test_a_population_may_be_too_large() -> None:
    with pytest.raises(ConfigError, match=r"at most 2048 neurons in torch.float32, but got 2049"):
        gpu.lists(torch.empty(2049, 1), None)


def test_triton_is_imported_at_the_first_kernel() -> None:
    code = "import sys, spikeloom, spikeloom.kernels.engines.gpu; print('triton' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
