"""The memory's GPU kernels at the size of real use, on a GPU: equal to the definition, deterministic, lean."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from spikeloom import kernels
from spikeloom.layers.hebbian_memory import autograd
from spikeloom.layers.hebbian_memory.layer import HebbianRead, HebbianWrite, memory_neuron
from spikeloom.papers.hebbian_memory.networks import AssociationNetwork, MemoryCore
from spikeloom.rules import inverted_oja
from tests.kernels.test_memory_triton import DEVICE, Case, Outcome, label, read_out, written

pytestmark = pytest.mark.gpu

WRITTEN = [
    Case(steps=300, batch=64, size=100),
    Case("oja", 120, 33, 128, reset="zero"),
    Case("hebb", 120, 16, 64, refractory=0.0),
    Case("frozen", 120, 16, 20, detach=True),
]
READ = [
    Case(steps=100, batch=64, size=100),
    Case(steps=100, batch=33, size=128, delay=30, reset="zero"),
    Case(steps=100, batch=16, size=20, delay=3, refractory=0.0),
]
BOTH = [*((written, case) for case in WRITTEN), *((read_out, case) for case in READ)]
NAMES = [f"{outcome.__name__},{label(case)}" for outcome, case in BOTH]


@pytest.fixture(autouse=True)
def _exact_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


@pytest.mark.parametrize(("outcome", "case"), BOTH, ids=NAMES)
def test_float64(outcome: Callable[..., Outcome], case: Case) -> None:
    want: Outcome = outcome(case, "torch")
    got: Outcome = outcome(case, "triton")
    assert bool(want.spikes.any())
    assert torch.equal(got.spikes, want.spikes)
    for a, b in zip([*want.finals, *want.grads], [*got.finals, *got.grads], strict=True):
        assert float((a - b).detach().abs().max()) <= 1e-9 * max(float(a.detach().abs().max()), 1.0)


@pytest.mark.parametrize(("outcome", "case"), BOTH, ids=NAMES)
def test_float32(outcome: Callable[..., Outcome], case: Case) -> None:
    case = case._replace(dtype=torch.float32, steps=case.steps if outcome is written else 20)
    want, got = outcome(case, "torch"), outcome(case, "triton")
    assert float((want.spikes != got.spikes).float().mean()) < 1e-3  # sums in another order flip few


@pytest.mark.parametrize(("outcome", "case"), [BOTH[0], BOTH[4], BOTH[5]], ids=[NAMES[0], NAMES[4], NAMES[5]])
def test_twice_the_same(outcome: Callable[..., Outcome], case: Case) -> None:
    one, two = (outcome(case._replace(dtype=torch.float32), "triton") for _ in range(2))
    for a, b in zip([one.spikes, *one.finals, *one.grads], [two.spikes, *two.finals, *two.grads], strict=True):
        assert torch.equal(a, b)


def test_the_cpu_says_the_same() -> None:
    case = Case(steps=100, batch=4, size=40, delay=2)
    for outcome in (written, read_out):
        want, got = outcome(case, "numba", "cpu"), outcome(case, "triton", "cuda")
        assert torch.equal(got.spikes.cpu(), want.spikes)
        for a, b in zip([*want.finals, *want.grads], [*got.finals, *got.grads], strict=True):
            assert float((a - b.cpu()).detach().abs().max()) <= 1e-9 * max(float(a.detach().abs().max()), 1.0)


def test_an_update_of_a_network_takes_these_kernels_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, really = [], autograd.loops_for

    def counted(like: torch.Tensor) -> Any:
        asked.append(1)
        return really(like)

    monkeypatch.setattr(autograd, "loops_for", counted)
    draw = torch.Generator().manual_seed(0)
    losses = {}
    for engine in ("", "torch"):
        draw.manual_seed(0)
        core = MemoryCore(16, 8, 40, memory_neuron(), inverted_oja(), steps=30, window=10, generator=draw)
        network = AssociationNetwork(core, 5, 3, 8, 40, input_gain=5.0, generator=draw).to(DEVICE)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        features = torch.rand(3, 16, 5, generator=draw.manual_seed(1)).to(DEVICE)
        labels = (torch.arange(3)[:, None] + torch.arange(16)[None, :]).to(DEVICE) % 3
        with kernels.use(engine) if engine else torch.enable_grad():
            found = network(features, labels, features[0])
            logits = found.logits
            loss = torch.nn.functional.cross_entropy(logits, labels[0])
        assert bool(found.read.any())
        torch.autograd.backward(loss)
        optimizer.step()
        losses[engine] = loss.item()
        grads = [parameter.grad for parameter in network.parameters()]
        assert all(grad is not None and bool(torch.isfinite(grad).all()) for grad in grads)
    assert kernels.engine_for(features) == "triton"
    assert len(asked) == 2
    assert losses[""] == pytest.approx(losses["torch"], rel=1e-3)


def test_what_is_kept_is_far_from_a_memory_a_step() -> None:
    layer = HebbianWrite(20, 100).cuda()
    xs = (torch.rand(500, 16, 20, device="cuda") < 0.2).float()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    out, state = layer(xs)
    (out.sum() + state.memory.sum()).backward()
    assert torch.cuda.max_memory_allocated() - before < 0.5 * 500 * state.memory.nbytes


def test_larger_memories_run_by_the_definition() -> None:
    xs = (torch.rand(5, 2, 20, device="cuda") < 0.5).float()
    for layer in (HebbianWrite(20, 130), HebbianRead(20, 130)):
        assert layer.cuda()(xs)[0].shape == (5, 2, 260)
