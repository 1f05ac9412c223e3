"""What people do with layers beside calling them: buffers that are used again, layers in two places, pruning, meta."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune, weight_norm

from spikeloom.errors import CheckpointError, ConfigError, ShapeError
from spikeloom.firing import SigmoidBernoulli
from spikeloom.layers import (
    Branches,
    DelayedLinear,
    Recurrent,
    Residual,
    Sequential,
    SparseDelayedLinear,
)
from spikeloom.layers.hebbian_memory.layer import HebbianRead, HebbianWrite
from spikeloom.models import LSNN
from spikeloom.neurons import LIF, FromEquation, LeakyReadout, MaskedPSN, SlidingPSN


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DelayedLinear(3, 2, delays=4, generator=seeded()),
        lambda: SparseDelayedLinear(3, 2, delays=4, connectivity=0.7, generator=seeded()),
        lambda: LSNN(3, 4, 4, 2, delays=4, generator=seeded()),
    ],
)
def test_chunks_may_share_one_buffer(make: Callable[[], nn.Module]) -> None:
    layer, xs = make(), torch.rand(12, 2, 3, generator=seeded()) * 3
    with torch.no_grad():
        whole, _ = layer(xs)
        buffer, state, parts = torch.empty(6, 2, 3), None, []
        for start in (0, 6):
            out, state = layer(buffer.copy_(xs[start : start + 6]), state)
            parts.append(out if isinstance(out, Tensor) else out.logits)
    torch.testing.assert_close(torch.cat(parts), whole if isinstance(whole, Tensor) else whole.logits)


def test_a_layer_may_stand_in_two_places() -> None:
    neuron = LIF(3.0, 0.3)
    net = Sequential(nn.Linear(4, 4), neuron, nn.Linear(4, 4), neuron)
    xs = torch.rand(9, 2, 4, generator=seeded()) * 3
    torch.testing.assert_close(net[:4](xs)[0], net(xs)[0])
    assert net[3] is net[1] is neuron
    net.append(LeakyReadout())
    assert [type(layer).__name__ for layer in net] == ["Linear", "LIF", "Linear", "LIF", "LeakyReadout"]
    named = Sequential(OrderedDict([("2", nn.Linear(4, 4)), ("x", LIF())])).append(nn.Linear(4, 2))
    assert [type(layer).__name__ for layer in named] == ["Linear", "LIF", "Linear"]
    with pytest.raises(ConfigError, match="cannot hold itself"):
        net.append(net)


def test_a_pruned_synapse_weighs_what_is_loaded() -> None:
    def pruned(seed: int) -> Recurrent:
        torch.manual_seed(seed)
        layer = Recurrent(LIF(3.0, 0.3), nn.Linear(4, 4, bias=False))
        prune.l1_unstructured(layer.synapse, "weight", 0.5)  # type: ignore[no-untyped-call]
        return layer

    one, other = pruned(0), pruned(1)
    other.load_state_dict(one.state_dict())
    xs = torch.rand(20, 2, 4, generator=seeded()) * 2
    assert torch.equal(one(xs)[0], other(xs)[0])
    for _ in range(2):
        one(xs)[0].sum().backward()


@pytest.mark.parametrize(
    "hook",
    [
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),  # type: ignore[no-untyped-call]
        lambda layer: weight_norm(layer, "weight"),
    ],
)
@pytest.mark.parametrize(
    ("make", "inner"),
    [
        (lambda: Recurrent(LIF(3.0, 0.3), nn.Linear(4, 4, bias=False)), "synapse"),
        (lambda: Recurrent(LIF(3.0, 0.3), DelayedLinear(4, 4, delays=3)), "synapse"),
        (lambda: DelayedLinear(4, 4, delays=3), ""),
        (lambda: Sequential(DelayedLinear(4, 4, delays=3), LeakyReadout()), "layers.0"),
        (lambda: HebbianWrite(4, 4), ""),
        (lambda: HebbianRead(4, 4), ""),
        (lambda: SlidingPSN(3), ""),
        (lambda: MaskedPSN(9, 3), ""),
    ],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_a_weight_that_a_hook_computes_is_that_of_now_step_by_step_too(
    make: Callable[[], Any], inner: str, hook: Callable[[nn.Module], object]
) -> None:
    torch.manual_seed(0)
    layer, xs = make(), torch.rand(9, 2, 4, generator=seeded()) * 2
    hook(layer.get_submodule(inner))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    for _ in range(2):
        state, out = layer.initial_state(xs[0]), []
        for x in xs[:3]:
            y, state = layer.step(x, state)
            out.append(y)
        torch.autograd.backward(torch.stack(out).sum())
        optimizer.step()
    with torch.no_grad():
        state, out = layer.initial_state(xs[0]), []
        for x in xs:
            y, state = layer.step(x, state)
            out.append(y)
        torch.testing.assert_close(torch.stack(out), layer(xs)[0])


def test_samples_do_not_attend_to_one_another() -> None:
    with pytest.raises(ConfigError, match="Build it with batch_first=True"):
        Sequential(nn.TransformerEncoderLayer(4, 2))(torch.rand(6, 8, 4))
    attention = nn.TransformerEncoderLayer(4, 2, dropout=0.0, batch_first=True)
    with pytest.raises(ShapeError, match="steps and samples it would mix"):
        Sequential(attention)(torch.rand(6, 8, 4))
    xs = torch.rand(6, 8, 5, 4, generator=seeded())
    net = Sequential(attention).eval()
    torch.testing.assert_close(net(xs)[0][:, :1], net(xs[:, :1])[0])
    with pytest.raises(ShapeError, match="Conv2d needs a sequence of 5 dimensions"):
        Sequential(nn.Conv2d(6, 6, 3, padding=1))(torch.rand(3, 2, 5, 5))
    with pytest.raises(ShapeError, match="Sequential needs a sequence of 4 dimensions"):
        Sequential(nn.Sequential(nn.Conv1d(6, 6, 3)))(torch.rand(3, 2, 5))
    for layer in (nn.MultiheadAttention(4, 2), nn.Bilinear(4, 4, 4), nn.ModuleList([nn.Linear(4, 4)])):
        with pytest.raises(ConfigError, match=r"one tensor into one tensor, but got"):
            Sequential(layer)


class Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


def test_what_may_draw_is_not_computed_once_for_a_constant_input() -> None:
    constant = torch.zeros(2, 4).expand(300, 2, 4)
    for net in (Sequential(Noise()).eval(), Sequential(nn.Sequential(nn.Linear(4, 4), nn.Dropout())).eval()):
        for part in net.modules():
            part.train(isinstance(part, nn.Dropout))
        assert float(net(constant)[0].detach().std(0).max()) > 0.05
    assert Sequential(nn.Linear(4, 4)).eval()(constant)[0].stride(0) == 0


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Recurrent(LIF(3.0, 0.3), DelayedLinear(6, 6, delays=3)), "diagonal"),
        (lambda: MaskedPSN(8, 3), "band"),
    ],
)
def test_a_layer_made_on_meta_is_whole_once_loaded(make: Callable[[], nn.Module], name: str) -> None:
    whole = make()
    with torch.device("meta"):
        empty = make()
    empty.to_empty(device="cpu")
    with torch.no_grad():
        for buffer in empty.buffers():
            buffer.fill_(1)
    empty.load_state_dict(whole.state_dict())
    assert torch.equal(empty.get_buffer(name), whole.get_buffer(name))
    xs = torch.rand(8, 2, 6, generator=seeded()) * 2
    assert torch.equal(empty(xs)[0], whole(xs)[0])


def test_sparse_places_are_computed_again() -> None:
    layer = SparseDelayedLinear(5, 5, connectivity=0.5, autapses=False, generator=seeded())
    saved = layer.state_dict()
    assert layer.allowed is not None
    layer.allowed.fill_(False)
    layer.load_state_dict(saved)
    assert torch.equal(layer.allowed, ~torch.eye(5, dtype=torch.bool))


def leak_one(current: Tensor, voltage: Tensor, reset: Tensor, decay_mem: float) -> tuple[Tensor, Tensor]:
    voltage = decay_mem * voltage + current - reset
    return voltage - 1, voltage


def leak_two(current: Tensor, voltage: Tensor, reset: Tensor, decay_mem: float) -> tuple[Tensor, Tensor]:
    voltage = decay_mem * voltage + 2 * current - reset
    return voltage - 1, voltage


def test_another_equation_or_firing_is_no_place_for_a_state_dict() -> None:
    for saved, made in (
        (LIF(3.0, 0.3, surrogate=SigmoidBernoulli()), LIF(3.0, 0.3)),
        (LIF(3.0, 0.3), LIF(3.0, 0.3, surrogate=SigmoidBernoulli())),
        (FromEquation(leak_one, tau_mem=5.0), FromEquation(leak_two, tau_mem=5.0)),
        (Branches(LIF(), LIF()), Branches(LIF(), LIF(), reduce="concatenate")),
    ):
        with pytest.raises(CheckpointError, match="was saved with"):
            made.load_state_dict(saved.state_dict())
        saved.load_state_dict(saved.state_dict())


def test_what_is_part_of_an_equation_cannot_be_set() -> None:
    layer = LIF(3.0, 0.3)
    with pytest.raises(ConfigError, match="reset of LIF is part of its equation"):
        layer.reset = "zero"
    layer.tau_mem = 5.0
    assert layer.tau_mem == 5.0


def named_forward(current: Tensor, voltage: Tensor, reset: Tensor, forward: float) -> tuple[Tensor, Tensor]:
    voltage = 0.7 * voltage + forward * current - reset
    return voltage - 0.5, voltage


def test_a_value_cannot_have_a_name_that_the_layer_needs() -> None:
    with pytest.raises(ConfigError, match="cannot have a value named 'forward'"):
        FromEquation(named_forward, forward=1.5)


def test_initial_states_of_containers_in_containers_leave_batch_norms_alone() -> None:
    norm = nn.BatchNorm1d(4)
    inner = Sequential(nn.Linear(4, 4), norm, LIF())
    for net in (Sequential(inner, nn.Linear(4, 2)), Sequential(Residual(inner), nn.Linear(4, 2))):
        net.initial_state(torch.rand(3, 4))
        assert int(norm.num_batches_tracked or 0) == 0
        assert float(norm.running_mean.abs().sum()) == 0.0  # type: ignore[union-attr]


def test_a_synapse_that_is_set_later_is_checked_as_at_first() -> None:
    layer = Recurrent(LIF(3.0, 0.3), DelayedLinear(4, 4))
    for wrong, message in (
        (DelayedLinear(4, 4, bias=True), "square synapse without bias"),
        (DelayedLinear(5, 5), "has 4 neurons, but the synapse is"),
        (nn.ReLU(), "needs a synapse that is a DelayedLinear"),
    ):
        with pytest.raises(ConfigError, match=message):
            layer.synapse = wrong  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="needs a neuron that fires"):
        layer.neuron = LeakyReadout()
    layer.synapse = DelayedLinear(4, 4, delays=2)
    assert layer(torch.rand(5, 2, 4))[1].history.shape == (1, 2, 4)


def test_a_structure_that_was_halved_is_read_and_one_that_was_mixed_is_told() -> None:
    saved = LIF().state_dict()
    LIF().load_state_dict({name: value.half() for name, value in saved.items()})
    LIF().load_state_dict({name: (value.float() + value) / 2 for name, value in saved.items()})
    with pytest.raises(CheckpointError, match='The key "structure" holds text as bytes'):
        LIF().load_state_dict({name: value / 3 for name, value in saved.items()})
