"""PSN, masked PSN, sliding PSN: the equations, the contract where it holds, and the errors where it does not."""

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from spikeloom.core import Stateful, map_state
from spikeloom.errors import ConfigError, ShapeError
from spikeloom.neurons.psn import PSN, MaskedPSN, SlidingPSN

STEPS = 130
LAYERS: dict[str, Callable[[], Stateful]] = {
    "MaskedPSN": lambda: masked(STEPS, 7),
    "MaskedPSN order 1": lambda: masked(STEPS, 1),
    "MaskedPSN whole past": lambda: masked(STEPS, STEPS),
    "SlidingPSN": lambda: SlidingPSN(7),
    "SlidingPSN order 1": lambda: SlidingPSN(1),
    "SlidingPSN long": lambda: SlidingPSN(80),
}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def masked(steps: int, order: int) -> MaskedPSN:
    """With weights that make about half of the neurons fire."""
    layer = MaskedPSN(steps, order, generator=seeded())
    with torch.no_grad():
        layer.weight.mul_((6 * steps) ** 0.5 / order**0.5)
        layer.bias.copy_(0.5 * torch.randn(steps, generator=seeded()))
    return layer


def inputs(steps: int = STEPS, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(steps, 3, 2, 2, generator=seeded(), dtype=dtype)


def same(a: object, b: object) -> None:
    """Spikes and states alike."""
    map_state(lambda x, y: (torch.testing.assert_close(x, y), x)[1], a, b)


@pytest.fixture(params=list(LAYERS))
def layer(request: pytest.FixtureRequest) -> Stateful:
    return LAYERS[request.param]().double()


def test_whole_equals_step_by_step_and_chunks(layer: Stateful) -> None:
    xs = inputs()
    whole, final = layer(xs)
    assert 0.05 < whole.mean() < 0.95
    steps, state = [], layer.initial_state(xs[0])
    for x in xs:
        out, state = layer.step(x, state)
        steps.append(out)
    same(torch.stack(steps), whole)
    same(state, final)
    state, parts = None, []
    for part in torch.split(xs, [1, 49, 3, 77]):
        out, state = layer(part, state)
        parts.append(out)
    same(torch.cat(parts), whole)
    same(state, final)


def test_gradients_flow_through_the_carried_state(layer: Stateful) -> None:
    xs = inputs().requires_grad_()
    whole, _ = layer(xs)
    first, state = layer(xs[:60])
    second, _ = layer(xs[60:], state)
    pull = torch.linspace(0, 1, whole.numel(), dtype=whole.dtype).reshape(whole.shape)
    wanted, found = (
        torch.autograd.grad((out * pull).sum(), [xs, *layer.parameters()])
        for out in (whole, torch.cat([first, second]))
    )
    assert all(bool(grad.abs().sum() > 0) for grad in wanted)
    same(found, wanted)


def test_the_future_does_not_change_the_past_and_samples_do_not_touch(layer: Stateful) -> None:
    changed = inputs()
    changed[70:] = 1.7
    changed[:, 1] = -0.3
    whole, again = layer(inputs())[0], layer(changed)[0]
    assert torch.equal(whole[:70, [0, 2]], again[:70, [0, 2]])
    assert not torch.equal(whole, again)


def test_a_layer_pickles_and_its_call_changes_nothing(layer: Stateful) -> None:
    xs = inputs()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    same(pickle.loads(pickle.dumps(layer))(xs), layer(xs))
    after = layer.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_psn_weighs_all_steps() -> None:
    layer, xs = PSN(6, generator=seeded()).double(), 6 * inputs(6)
    with torch.no_grad():
        layer.bias.copy_(torch.linspace(-1, 1, 6))
    wanted = torch.zeros_like(xs)
    for t in range(6):
        total = layer.bias[t] + sum(layer.weight[t, j] * xs[j] for j in range(6))
        wanted[t] = (total >= 0).double()
    assert torch.equal(layer(xs), wanted)
    assert 0.2 < wanted.mean() < 0.8


def test_psns_start_as_the_paper_says() -> None:
    for layer in (PSN(64, generator=seeded()), MaskedPSN(64, 5, generator=seeded())):
        assert layer.bias.tolist() == [-1.0] * 64
        assert 0.95 / 8 < layer.weight.abs().max() <= 1 / 8
        assert abs(layer.weight.mean()) < 0.01
    sliding = SlidingPSN(4)
    assert (sliding.weight.tolist(), sliding.bias.item()) == ([0.125, 0.25, 0.5, 1.0], -1.0)
    assert torch.equal(PSN(5, generator=seeded()).weight, PSN(5, generator=seeded()).weight)


@pytest.mark.parametrize("masking", [0.0, 0.3, 1.0])
def test_masking_takes_the_other_weights_away(masking: float) -> None:
    layer = MaskedPSN(5, 2, masking=masking, generator=seeded())
    for t in range(5):
        for j in range(5):
            share = 1.0 if t - 2 < j <= t else 1 - masking
            assert layer.masked()[t, j].item() == pytest.approx(share * layer.weight[t, j].item())


def test_without_masking_it_is_a_psn_and_masking_can_be_changed_and_is_saved() -> None:
    plain, layer = PSN(6, generator=seeded()), MaskedPSN(6, 2, masking=0.0, generator=seeded())
    xs = 9 * inputs(6, torch.float32)
    assert torch.equal(layer(xs)[0], plain(xs))
    layer.set_masking(0.25)
    assert layer.state_dict()["masking"].item() == 0.25
    other = MaskedPSN(6, 2)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(xs)[0], layer(xs)[0])
    assert "masking=0.25" in repr(other)


def test_a_sliding_psn_is_a_sum_over_the_last_inputs() -> None:
    layer, xs = SlidingPSN(3).double(), inputs(120)
    past = torch.cat([xs.new_zeros(2, *xs.shape[1:]), xs])
    wanted = (past[2:] + past[1:-1] / 2 + past[:-2] / 4 - 1 >= 0).double()
    assert torch.equal(layer(xs)[0], wanted)
    at_threshold = SlidingPSN(1)(torch.ones(1, 1, 1))[0]
    assert at_threshold.item() == 1.0


@pytest.mark.parametrize("layer", [PSN(6, generator=seeded()), masked(6, 3), SlidingPSN(3)])
def test_the_surrogate_is_the_slope_at_the_distance(layer: Any) -> None:
    layer = layer.double()
    xs = inputs(6).requires_grad_()
    out = layer(xs)
    spikes = out if isinstance(out, Tensor) else out[0]
    found = torch.autograd.grad(spikes[4].sum(), xs)[0]
    rows: dict[type, Callable[[], Tensor]] = {PSN: lambda: layer.weight[4], MaskedPSN: lambda: layer.masked()[4]}
    weights = rows.get(type(layer), lambda: torch.cat([xs.new_zeros(2), layer.weight, xs.new_zeros(1)]))()
    bias = layer.bias if layer.bias.dim() == 0 else layer.bias[4]
    distance = torch.einsum("j,j...->...", weights, xs) + bias
    slope = 1 / (1 + (torch.pi * distance) ** 2)
    torch.testing.assert_close(found, torch.einsum("j,...->j...", weights, slope))


def test_membranes_stay_long_under_autocast() -> None:
    for layer in (PSN(40, generator=seeded()), masked(40, 5), SlidingPSN(5)):
        short = inputs(40).bfloat16()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = layer(short)
        same(found, layer(short.float()))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: PSN(0), ConfigError, "PSN needs steps as a whole number of at least 1, but got 0"),
        (lambda: PSN(4)(torch.ones(5, 1, 1)), ShapeError, r"all of its 4 steps at once, but got \[5, 1, 1\]"),
        (lambda: PSN(4)(torch.ones(4, 1)), ShapeError, r"PSN needs input \[T, B, \*N\], time first"),
        (lambda: PSN(4)(torch.ones(4, 1, 1).bfloat16()), ShapeError, "PSN computes in float32 or float64"),
        (lambda: PSN(4)(torch.ones(4, 1, 1).double()), ShapeError, "but weight of torch.float32"),
        (lambda: MaskedPSN(4, 0), ConfigError, "MaskedPSN needs order as a whole number of at least 1"),
        (lambda: MaskedPSN(4, 5), ConfigError, "order of at most steps=4, but got 5"),
        (lambda: MaskedPSN(4, 2, masking=1.5), ConfigError, "masking from 0 to 1, but got 1.5"),
        (lambda: MaskedPSN(4, 2).set_masking(-1.0), ConfigError, "masking from 0 to 1, but got -1.0"),
        (lambda: MaskedPSN(4, 2)(torch.ones(5, 1, 1)), ShapeError, "weights for 4 steps, but got 5 after 0"),
        (lambda: carried(MaskedPSN(4, 2)), ShapeError, "weights for 4 steps, but got 3 after 3"),
        (lambda: carried(MaskedPSN(3, 2, masking=0.5)), ConfigError, "only with masking 1, but it is 0.5"),
        (lambda: step(MaskedPSN(3, 2, masking=0.5)), ConfigError, "only with masking 1, but it is 0.5"),
        (lambda: MaskedPSN(4, 2, masking=0.5)(torch.ones(3, 1, 1)), ShapeError, "masking below 1 needs all of its 4"),
        (lambda: carried(MaskedPSN(9, 2), 2), ShapeError, "MaskedPSN got a state whose past has shape"),
        (lambda: SlidingPSN(0), ConfigError, "SlidingPSN needs order as a whole number of at least 1"),
        (lambda: carried(SlidingPSN(3), 2), ShapeError, "SlidingPSN got a state whose past has shape"),
    ],
)
def test_errors(call: Callable[[], object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def carried(layer: Stateful, batch: int = 1) -> object:
    _, state = layer(torch.ones(3, 1, 1))
    return layer(torch.ones(3, batch, 1), state)


def step(layer: Stateful) -> object:
    x = torch.ones(1, 1)
    return layer.step(x, layer.initial_state(x))
