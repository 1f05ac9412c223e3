"""The GPU kernels at the size of real use, on a GPU: equal to the definition, deterministic, lean when asked."""

import pytest
import torch

from spikeloom import kernels
from spikeloom.layers import DelayedLinear, Recurrent
from spikeloom.models import LSNN
from spikeloom.neurons import ALIF, LIF
from tests.kernels.test_triton import Case, compare, label, outcome

pytestmark = pytest.mark.gpu

LARGE = [
    Case("lif", 300, 64, 512, refractory=2),
    Case("alif_standard", 300, 33, 300, memory="lean", learns=True, per_neuron=True),
    Case("all_words", 50, 64, 64, learns=True),
    *(Case("alif_standard", 100, 40, size, recurrent=True, delays=3, refractory=2) for size in (100, 220, 600)),
    Case("alif_legacy", 100, 128, 220, recurrent=True, delays=10, memory="lean", learns=True),
    Case("lif", 20, 3, 1000, recurrent=True),
]


@pytest.fixture(autouse=True)
def _exact_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


@pytest.mark.parametrize("case", LARGE, ids=label)
def test_float64(case: Case) -> None:
    compare(case, 1e-9)


@pytest.mark.parametrize("case", [case for case in LARGE if not case.recurrent], ids=label)
def test_float32_of_neurons(case: Case) -> None:
    want = outcome(case._replace(dtype=torch.float32), "torch")
    got = outcome(case._replace(dtype=torch.float32), "triton")
    if case.equation == "all_words":  # whose words differ in the last bit
        assert float((want.spikes != got.spikes).float().mean()) < 1e-3
        return
    assert torch.equal(want.spikes, got.spikes)
    for a, b in zip(want.grads, got.grads, strict=True):
        assert float((a - b).abs().max()) <= 1e-4 * max(float(a.abs().max()), 1.0)


@pytest.mark.parametrize("case", [case for case in LARGE if case.recurrent], ids=label)
def test_float32_of_recurrence(case: Case) -> None:
    case = case._replace(dtype=torch.float32, steps=20)
    want, got = outcome(case, "torch"), outcome(case, "triton")
    assert float((want.spikes != got.spikes).float().mean()) < 1e-3  # sums in another order flip few


@pytest.mark.parametrize("case", [LARGE[1], LARGE[-2]], ids=label)
def test_twice_the_same(case: Case) -> None:
    one, two = (outcome(case._replace(dtype=torch.float32), "triton") for _ in range(2))
    for a, b in zip([one.spikes, *one.finals, *one.grads], [two.spikes, *two.finals, *two.grads], strict=True):
        assert torch.equal(a, b)


def test_cuda_tensors_take_these_kernels_unasked() -> None:
    assert kernels.engine_for(torch.zeros(1, device="cuda")) == "triton"
    layer = Recurrent(LIF(), DelayedLinear(50, 50, delays=3)).cuda()
    xs = torch.rand(30, 7, 50, device="cuda", requires_grad=True)
    spikes, state = layer(xs)
    spikes.sum().backward()
    assert spikes.is_cuda
    assert state.history.is_cuda
    assert xs.grad is not None
    assert bool(torch.isfinite(xs.grad).all())


def test_lean_memory_is_lean() -> None:
    xs = torch.rand(2000, 8, 512, device="cuda", requires_grad=True)
    kept = {}
    for memory in ("fast", "lean"):
        neuron = ALIF(memory=memory)
        before = torch.cuda.memory_allocated()
        spikes, _ = neuron(xs)
        kept[memory] = torch.cuda.memory_allocated() - before - spikes.nbytes
    assert kept["lean"] < 0.05 * kept["fast"]


def test_a_model_learns() -> None:
    torch.manual_seed(0)
    model = LSNN(20, 30, 30, 2, delays=5).cuda()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    xs = (torch.rand(50, 32, 20, device="cuda") < 0.3).float()
    labels = torch.arange(32, device="cuda") % 2
    losses = []
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(model(xs)[0].logits[-1], labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
