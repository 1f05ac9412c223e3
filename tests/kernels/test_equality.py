"""The CPU kernels equal the definition: spikes, final states, and every gradient."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from examples.own_neuron import shunted
from spikeloom import kernels
from spikeloom.firing import GumbelSoftmax, SigmoidBernoulli, TanhBernoulli, TemperedGumbelSoftmax
from spikeloom.kernels import Equation, Moving, Program
from spikeloom.kernels.noise import keys
from spikeloom.neurons.alif import alif
from spikeloom.neurons.integrate_and_fire import integrate
from spikeloom.neurons.lif import lif
from spikeloom.neurons.parallel import difference
from spikeloom.neurons.readout import leak
from spikeloom.neurons.synaptic import membrane, synaptic_lif, waiting_lif
from spikeloom.surrogate import Arctan, FastSigmoid, Gaussian, Sigmoid, Surrogate, Triangle

STANDARD = {
    "from_new": True, "by_baseline": False, "by_current": False, "adaptive_unit": True, "current_gain": True,
    "adaptation_gain": True,
}  # fmt: skip
LEGACY = STANDARD | {"from_new": False, "by_current": True}
EPROP = STANDARD | {"by_baseline": True, "adaptive_unit": False, "current_gain": False, "adaptation_gain": False}
EQUATIONS = {
    "lif": Equation(lif, choices=(("subtract", True),)),
    "lif_zero": Equation(lif, "at", choices=(("subtract", False),)),
    "integrate": Equation(integrate, choices=(("subtract", True),)),
    "standard": Equation(alif, choices=tuple(STANDARD.items())),
    "legacy": Equation(alif, choices=tuple(LEGACY.items())),
    "eprop": Equation(alif, choices=tuple(EPROP.items())),
    "own": Equation(shunted),
    "membrane": Equation(membrane, choices=(("given", False),)),
    "change": Equation(
        difference, choices=(("given", False), ("by_sigmoid", False), ("by_tanh", True), ("rectified", True))
    ),
    "synaptic_lif": Equation(synaptic_lif),
    "waiting_lif": Equation(waiting_lif),
}
VALUES = {
    "decay_mem": 0.9,
    "decay_adapt": 0.95,
    "decay_slow": 0.95,
    "adapt_strength": 0.5,
    "strength": 0.5,
    "threshold": 0.7,
    "decay_syn": 0.8,
    "steps": 3.0,
}


class Case(NamedTuple):
    equation: str = "standard"
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
    still: bool = False


def outcome(case: Case, engine: str) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
    """Spikes, final states, what was differentiated, and gradients of a random functional of all outputs."""
    equation = EQUATIONS[case.equation]
    random = torch.Generator().manual_seed(3)
    shape = (case.batch, case.size)

    def draw(*sizes: int) -> Tensor:
        return torch.rand(*sizes, generator=random, dtype=case.dtype)

    def ones(*sizes: int) -> Tensor:
        return (draw(*sizes) < 0.3).to(case.dtype).requires_grad_()

    xs = (draw(case.steps, *shape) * case.scale).requires_grad_()
    states = tuple((draw(*shape) * 0.5).requires_grad_() for _ in equation.states)
    moving = Moving(
        states, ones(*shape), torch.floor(draw(*shape) * (case.refractory + 1)),
        tuple(ones(*shape) for _ in range(case.delays - 1)), keys(case.batch, xs.device, random),
    )  # fmt: skip
    parameters = {}
    for name in equation.parameters:
        value = torch.tensor(VALUES[name], dtype=case.dtype)
        if case.per_neuron:
            value = value * (1 + 0.1 * draw(case.size))
        parameters[name] = value.requires_grad_(case.learns)
    weight = (draw(case.size, case.size) - 0.5).requires_grad_()
    delay = torch.randint(0, case.delays, weight.shape, generator=random) if case.delays > 1 else None
    program = Program(equation, case.surrogate, case.refractory, case.detach, case.memory, case.still)
    with kernels.use(engine):
        if case.recurrent:
            out, new = kernels.recurrent(program, xs, moving, parameters, weight, delay)
        else:
            out, new = kernels.neurons(program, xs, moving, parameters)
    finals = [*new.states, new.spikes, *new.history]
    loss = sum((part * draw(*part.shape)).sum() for part in (out, *finals))
    wanted = [xs, *states, moving.spikes, *moving.history, *([weight] if case.recurrent else [])]
    wanted += list(parameters.values()) if case.learns else []
    assert isinstance(loss, Tensor)
    grads = torch.autograd.grad(loss, wanted, allow_unused=True)
    return (
        out,
        [*finals, new.left],
        wanted,
        [torch.zeros_like(w) if g is None else g for w, g in zip(wanted, grads, strict=True)],
    )


def check(case: Case, tolerance: float) -> None:
    out, finals, wanted, grads = outcome(case, "torch")
    again, other_finals, _, others = outcome(case, "numba")
    assert torch.equal(out, again)
    for a, b in zip(finals, other_finals, strict=True):
        torch.testing.assert_close(b, a, rtol=tolerance, atol=tolerance)
    for source, a, b in zip(wanted, grads, others, strict=True):
        scale = max(float(a.abs().max()) if a.numel() else 0.0, 1e-30)
        assert float((a - b).abs().max() if a.numel() else 0.0) <= tolerance * max(scale, 1.0), source.shape
    assert case.scale == 0.0 or any(float(grad.abs().max()) > 0 for grad in grads if grad.numel())


OWN = Case("own", learns=True, per_neuron=True)
LEAN = Case(memory="lean", refractory=2, learns=True, per_neuron=True)
HEARD = Case(batch=19, size=21, recurrent=True, refractory=3)
DELAYED = Case(batch=19, size=21, recurrent=True, delays=4, memory="lean", learns=True)
RANDOM = (
    SigmoidBernoulli(), TanhBernoulli(p_max=0.8, weighted=0.0), GumbelSoftmax(), TemperedGumbelSoftmax(temperature=0.5),
)  # fmt: skip
FLOAT64 = [
    # every equation, alone: one kernel each, compiled on first use
    Case("lif"), Case("lif", memory="lean", refractory=2), Case("lif", learns=True, refractory=1), Case("lif_zero"),
    Case("integrate", refractory=1), Case("integrate", memory="lean", learns=True),
    Case(), LEAN, Case("legacy", refractory=2), Case("eprop", refractory=2), Case(detach=True), OWN,
    OWN._replace(memory="lean", refractory=3),
    *(Case("lif", surrogate=s) for s in (FastSigmoid(), Arctan(), Sigmoid(gain=0.5), Gaussian())),
    # firing at random, and behind a synapse
    *(Case("membrane", surrogate=s, learns=True) for s in RANDOM), Case("membrane", surrogate=RANDOM[0], still=True),
    Case("lif", surrogate=RANDOM[1], memory="lean", refractory=2, size=700), Case("change", scale=0.5, learns=True),
    Case("synaptic_lif", detach=True), Case("synaptic_lif", learns=True), Case("waiting_lif", detach=True, learns=True),
    # and hearing one another
    HEARD._replace(equation="membrane", surrogate=RANDOM[0]), HEARD._replace(equation="synaptic_lif", detach=True),
    HEARD, DELAYED, HEARD._replace(equation="lif", detach=True), HEARD._replace(equation="legacy"),
    OWN._replace(batch=17, size=9, recurrent=True, delays=3),
    # the same kernels over odd shapes, silence, and spikes in every step that allows one
    Case("lif", steps=1, batch=1, size=1), Case("lif", steps=5, batch=40, size=700), Case("lif", steps=33, size=1),
    Case("lif", scale=0.0), Case("lif", scale=1e3), Case("lif", surrogate=Triangle(gain=1.0)),
    LEAN._replace(steps=1, batch=1, size=1), LEAN._replace(steps=64), LEAN._replace(refractory=40),
    HEARD._replace(steps=1, batch=1, size=1), HEARD._replace(steps=1, batch=2, size=3, delays=5),
    HEARD._replace(steps=3, batch=2, size=3, delays=7, refractory=6), HEARD._replace(batch=16, size=8),
    HEARD._replace(scale=0.0, delays=2), HEARD._replace(scale=1e3, delays=2), HEARD._replace(batch=33, size=17),
    DELAYED._replace(steps=64, batch=16, size=8), DELAYED._replace(steps=65, batch=33, delays=1),
]  # fmt: skip


@pytest.mark.parametrize("case", FLOAT64, ids=str)
def test_float64(case: Case) -> None:
    check(case, 1e-10)


FLOAT32 = [
    case._replace(dtype=torch.float32, steps=min(case.steps, 50))
    for case in (
        Case("lif"),
        Case("lif", steps=1, batch=1, size=1),
        LEAN,
        OWN,
        HEARD,
        HEARD._replace(delays=3),
        DELAYED,
    )
]


@pytest.mark.parametrize("case", FLOAT32, ids=str)
def test_float32(case: Case) -> None:
    check(case, 1e-5)


def test_a_filter_has_an_output_and_gradients() -> None:
    program = Program(Equation(leak, "never"), Triangle())
    results = []
    for engine in ("torch", "numba"):
        random = torch.Generator().manual_seed(0)
        xs = torch.rand(40, 3, 4, generator=random, dtype=torch.float64).requires_grad_()
        start = torch.rand(3, 4, generator=random, dtype=torch.float64).requires_grad_()
        decay = torch.linspace(0.5, 0.9, 4, dtype=torch.float64).requires_grad_()
        with kernels.use(engine):
            out, new = kernels.neurons(program, xs, Moving((start,), start, start), {"decay_mem": decay})
        grads = torch.autograd.grad(out.square().sum() + new.states[0].sum(), [xs, start, decay])
        results.append([out, new.states[0], *grads])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("delays", [1, 4])
@pytest.mark.parametrize("density", [0.0, 0.05, 1.0])
def test_projection(delays: int, density: float) -> None:
    results = []
    for engine in ("torch", "numba"):
        random = torch.Generator().manual_seed(1)
        keep = torch.rand(30, 18, 7, generator=random, dtype=torch.float64) < density
        xs = (torch.rand(30, 18, 7, generator=random, dtype=torch.float64) * keep).requires_grad_()
        past = torch.rand(delays - 1, 18, 7, generator=random, dtype=torch.float64).requires_grad_()
        weight = torch.randn(5, 7, generator=random, dtype=torch.float64).requires_grad_()
        delay = torch.randint(0, delays, (5, 7), generator=random) if delays > 1 else None
        with kernels.use(engine):
            out = kernels.project(xs, past, weight, delay)
        wanted = [xs, weight, *([past] if delays > 1 else [])]
        grads = torch.autograd.grad((out * torch.rand(out.shape, generator=random, dtype=torch.float64)).sum(), wanted)
        results.append([out, *grads])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", [DELAYED._replace(batch=70, size=50), Case("lif", batch=64, size=50)])
def test_the_number_of_threads_changes_nothing(case: Case) -> None:
    case = case._replace(dtype=torch.float32, steps=60)
    torch.set_num_threads(1)
    one = outcome(case, "numba")
    torch.set_num_threads(3)
    three = outcome(case, "numba")
    for a, b in zip([one[0], *one[1], *one[3]], [three[0], *three[1], *three[3]], strict=True):
        assert torch.equal(a, b)
