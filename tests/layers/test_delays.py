"""Delays that do not fit: from a `state_dict`, or set by hand. Every engine refuses them alike."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeloom import kernels
from spikeloom.core import STRUCTURE
from spikeloom.errors import CheckpointError, ShapeError
from spikeloom.layers import DelayedLinear, Recurrent, SparseDelayedLinear
from spikeloom.models import LSNN
from spikeloom.neurons import LIF

ENGINES = ("numba", "torch", "triton")
LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "DelayedLinear": lambda delays: DelayedLinear(6, 4, delays=delays),
    "SparseDelayedLinear": lambda delays: SparseDelayedLinear(6, 6, delays=delays, connectivity=0.5),
    "Recurrent": lambda delays: Recurrent(LIF(threshold=0.2), DelayedLinear(6, 6, delays=delays)),
    "LSNN": lambda delays: LSNN(6, 16, 16, 3, delays=delays),
    "LSNN sparse": lambda delays: LSNN(6, 16, 16, 3, delays=delays, connectivity=0.3),
}


def numbers(layer: nn.Module, xs: Tensor) -> Tensor:
    out = layer(xs)[0]
    result: Tensor = out if isinstance(out, Tensor) else out.logits
    return result


def without_structure(layer: nn.Module) -> dict[str, Tensor]:
    """As an earlier version saved it."""
    return {key: value for key, value in layer.state_dict().items() if not key.endswith(STRUCTURE)}


@pytest.mark.parametrize("name", LAYERS)
def test_longer_delays_do_not_load_and_the_error_names_both(name: str) -> None:
    for small in (5, 1):
        with pytest.raises(CheckpointError, match=rf"was saved with delays=10, but this one has delays={small}"):
            LAYERS[name](small).load_state_dict(LAYERS[name](10).state_dict())


@pytest.mark.parametrize("name", LAYERS)
def test_longer_delays_of_an_earlier_version_do_not_load(name: str) -> None:
    saved = LAYERS[name](10)
    for buffer in saved.modules():
        delay = getattr(buffer, "delay", None)
        if isinstance(delay, Tensor):
            delay[0, :2] = torch.tensor([0, 9])  # both ends, whatever was drawn
    with pytest.raises(CheckpointError, match=r"has delays=5, but the state_dict holds .* from 0 to 9.*at least 10"):
        LAYERS[name](5).load_state_dict(without_structure(saved))


@pytest.mark.parametrize("engine", ["numba", "torch"])
@pytest.mark.parametrize("slots", [1, 5])
@pytest.mark.parametrize("name", LAYERS)
def test_shorter_delays_load_and_give_the_numbers_of_the_saved_layer(name: str, slots: int, engine: str) -> None:
    saved, into = LAYERS[name](slots), LAYERS[name](10)
    assert str(into.load_state_dict(saved.state_dict())) == "<All keys matched successfully>"
    xs = (torch.rand(30, 2, 6, generator=torch.Generator().manual_seed(0)) < 0.3).float() * 5
    with kernels.use(engine):
        torch.testing.assert_close(numbers(into, xs), numbers(saved, xs))
    if slots > 1:
        into.load_state_dict(without_structure(saved))


@pytest.mark.parametrize("delay", [torch.tensor([[-1]]), torch.tensor([[0.5]])])
def test_delays_that_are_none_do_not_load(delay: Tensor) -> None:
    layer = DelayedLinear(1, 1, delays=5)
    with pytest.raises(CheckpointError, match="holds delays from"):
        layer.load_state_dict({**layer.state_dict(), "delay": delay})


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("delay", "message"),
    [
        (torch.full((3, 3), 7), r"from 0 to 4 steps in a layer with delays=5, but go from 7 to 7.*delays=8"),
        (torch.full((3, 3), -1), r"from 0 to 4 steps in a layer with delays=5, but go from -1 to -1. Set none below 0"),
        (torch.full((3, 3), 2.0), r"as many delays in whole steps, but got \[3, 3\] of torch.float32"),
        (torch.full((1, 3), 2), r"need as many delays in whole steps, but got \[1, 3\]"),
        (None, r"with 5 delay slots need a delay for each of \[3, 3\], but there is none"),
    ],
)
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_delays_set_by_hand_are_checked_by_every_engine(
    engine: str, recurrent: bool, sparse: bool, delay: Tensor | None, message: str
) -> None:
    synapse: Any = SparseDelayedLinear(3, 3, delays=5, connectivity=0.7) if sparse else DelayedLinear(3, 3, delays=5)
    layer = Recurrent(LIF(), synapse, autapses=True) if recurrent else synapse
    synapse.delay = delay
    with kernels.use(engine), pytest.raises(ShapeError, match=message):
        layer(torch.ones(9, 1, 3))


@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_a_change_after_the_first_call_is_seen_however_it_was_made(engine: str) -> None:
    layer = DelayedLinear(3, 3, delays=5)
    with kernels.use(engine):
        layer(torch.ones(9, 1, 3))
        assert layer.delay is not None
        for change in (layer.delay.fill_, layer.delay.data.fill_, layer.delay.numpy().fill):
            change(2)
            layer(torch.ones(9, 1, 3))
            change(5)
            with pytest.raises(ShapeError, match="but go from 5 to 5"):
                layer(torch.ones(9, 1, 3))


def test_the_longest_delay_that_fits_arrives() -> None:
    layer = DelayedLinear(1, 1, delays=5)
    layer.delay = torch.tensor([[4]])
    layer.weight.data.fill_(1.0)
    xs = torch.zeros(9, 1, 1)
    xs[2] = 1.0
    assert layer(xs)[0].flatten().tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 0]


@torch.no_grad()
def test_a_compiled_layer_refuses_them_too() -> None:
    layer = DelayedLinear(3, 3, delays=5)
    compiled = torch.compile(layer, backend="eager")
    compiled(torch.ones(9, 1, 3))
    assert layer.delay is not None
    layer.delay.fill_(9)
    with pytest.raises(ShapeError, match="but go from 9 to 9"):
        compiled(torch.ones(9, 1, 3))


def test_a_layer_with_delays_needs_whole_numbers() -> None:
    with pytest.raises(ValueError, match=r"DelayedLinear needs delays as a whole number, but got 2.5"):
        DelayedLinear(3, 3, delays=2.5)  # type: ignore[arg-type]
