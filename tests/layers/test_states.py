"""States of another layer, too long, too short or damaged, given to everything that holds other layers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeloom import kernels
from spikeloom.core import Stateful, map_state
from spikeloom.errors import ConfigError, ShapeError
from spikeloom.layers import DelayedLinear, RectifiedRecurrent, Recurrent, SparseDelayedLinear, TwoPass
from spikeloom.layers.hebbian_memory.layer import HebbianRead, HebbianWrite, memory_neuron
from spikeloom.models import LSNN, DiehlCookNetwork, LSTMBaseline, ParallelNetwork
from spikeloom.neurons import ALIF, LIF, DiehlCook, MembraneLIF, ParaLIF, SynapticLIF
from spikeloom.papers.hebbian_memory.agent import RateRecall, SpikingRecall
from spikeloom.rules import Hebbian, pair_stdp

LAYERS: dict[str, Callable[[], Stateful]] = {
    "DelayedLinear": lambda: DelayedLinear(6, 4, delays=5),
    "SparseDelayedLinear": lambda: SparseDelayedLinear(
        6, 4, delays=5, connectivity=0.4, generator=torch.Generator().manual_seed(0)
    ),
    "Recurrent": lambda: Recurrent(ALIF(), DelayedLinear(6, 6, delays=3)),
    "LSNN": lambda: LSNN(6, 5, 4, 3, delays=3),
    "LSTMBaseline": lambda: LSTMBaseline(6, 5, 3),
    "TwoPass": lambda: TwoPass(ParaLIF("D"), nn.Linear(6, 6)),
    "TwoPass by voltage": lambda: TwoPass(ParaLIF("D"), nn.Linear(6, 6), by_voltage=True),
    "RectifiedRecurrent": lambda: RectifiedRecurrent(SynapticLIF(), nn.Linear(6, 6)),
    "RectifiedRecurrent waits": lambda: RectifiedRecurrent(SynapticLIF(refractory=2.0), nn.Linear(6, 6)),
    "HebbianWrite": lambda: HebbianWrite(6, 4),
    "HebbianWrite without rule": lambda: HebbianWrite(6, 4, rule=None),
    "HebbianRead": lambda: HebbianRead(6, 4, delay=3),
    "SpikingRecall": lambda: SpikingRecall(5, 4, 3, memory_neuron(), Hebbian(), steps=6, window=4),
    "RateRecall": lambda: RateRecall(5, 4, 3, Hebbian(tau_trace=0.0)),
    "ParallelNetwork": lambda: ParallelNetwork(6, 5, 3, layers=2, neuron="LIF"),
    "DiehlCookNetwork": lambda: DiehlCookNetwork(
        6, DiehlCook(5), pair_stdp(), inhibitory=MembraneLIF(5), scale=9.0
    ).eval(),
    "DiehlCookNetwork one layer": lambda: DiehlCookNetwork(6, DiehlCook(5), pair_stdp(), scale=9.0).eval(),
}
XS = torch.rand(7, 2, 6, generator=torch.Generator().manual_seed(0))


def leaves(state: Any) -> list[Tensor]:
    found: list[Tensor] = []

    def note(part: Tensor) -> Tensor:
        found.append(part)
        return part

    map_state(note, state)
    return found


def with_leaf(state: Any, place: int, change: Callable[[Tensor], Any]) -> Any:
    """The state with one of its tensors changed."""
    count = iter(range(1_000))
    return map_state(lambda part: change(part) if next(count) == place else part, state)


@pytest.mark.parametrize("name", LAYERS)
def test_a_state_of_another_class_or_length_is_refused(name: str) -> None:
    layer = LAYERS[name]()
    _, state = layer(XS)
    others = [tuple(state)[:-1], (*state, *state), LIF()(XS)[1], XS[0], list(state), "state", 3]
    for wrong in others:
        with pytest.raises(ShapeError, match=r"needs a (state|tuple).*Pass state=None|got a state whose"):
            layer(XS, wrong)


@pytest.mark.parametrize("name", LAYERS)
def test_every_tensor_of_a_state_is_checked(name: str) -> None:
    layer = LAYERS[name]()
    _, state = layer(XS)
    changes: list[Callable[[Tensor], Any]] = [
        lambda part: part.new_zeros(*part.shape[:-1], part.shape[-1] + 1),
        lambda part: part[..., :-1] if part.dim() else part.new_zeros(2),
        lambda part: part.to(torch.float64 if part.is_floating_point() else torch.int32),
        lambda part: None,
    ]
    for place, part in enumerate(leaves(state)):
        if name == "HebbianWrite without rule" and place > 6:
            continue
        for change in changes:
            if part.numel():
                with pytest.raises(ShapeError):
                    layer(XS, with_leaf(state, place, change))


@pytest.mark.parametrize("name", LAYERS)
def test_a_state_of_other_samples_is_refused(name: str) -> None:
    layer = LAYERS[name]()
    _, state = layer(XS[:, :1])
    with pytest.raises(ShapeError):
        layer(XS, state)


@pytest.mark.parametrize("name", LAYERS)
def test_no_steps_are_refused_and_no_samples_pass(name: str) -> None:
    layer = LAYERS[name]()
    with pytest.raises(ShapeError, match=r"T >= 1, but got \[0, 2, 6\]"):
        layer(XS[:0])
    out, _ = layer(XS[:, :0])
    first = leaves(out if isinstance(out, Tensor) else tuple(out))[0]
    assert tuple(first.shape[:2]) == (7, 0)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", LAYERS)
def test_input_of_another_dtype_is_refused_by_name(name: str, dtype: torch.dtype) -> None:
    layer = LAYERS[name]()
    if name.startswith("DiehlCookNetwork") and dtype == torch.float64:
        return  # its weights follow the input
    with pytest.raises(ShapeError, match="float"):
        layer((XS > 0.5).to(dtype))


def test_messages_name_the_state_that_is_needed() -> None:
    layer = LAYERS["Recurrent"]()
    with pytest.raises(
        ShapeError, match=r"Recurrent needs a state RecurrentState\(neuron, history\), but got LIFState"
    ):
        layer(XS, LIF()(XS)[1])
    with pytest.raises(
        ShapeError, match=r"LSNN needs a state LSNNState\(inputs, hidden, readout\), but got a tuple of 2"
    ):
        LAYERS["LSNN"]()(XS, ((), ()))
    net = LAYERS["DiehlCookNetwork"]()
    _, state = net(XS)
    with pytest.raises(ShapeError, match=r"DiehlCookNetwork got a state whose traces.post has shape \[2, 6\]"):
        net(XS, state._replace(traces=state.traces._replace(post=torch.zeros(2, 6))))
    one, two = LAYERS["DiehlCookNetwork one layer"](), LAYERS["DiehlCookNetwork"]()
    with pytest.raises(ShapeError, match="without inhibitory neurons"):
        one(XS, two(XS)[1])
    with pytest.raises(ShapeError, match=r"\(inhibitory\) needs a state MembraneLIFState"):
        two(XS, one(XS)[1])
    recall = LAYERS["SpikingRecall"]()
    _, state = recall(XS)
    with pytest.raises(ShapeError, match=r"SpikingRecall got a state of 1 samples, but its input \[2, 6\] has 2"):
        recall(XS, state._replace(value=map_state(lambda part: part[:1], state.value)))
    with pytest.raises(ShapeError, match=r"HebbianRead of size 4 reads a memory \[B, 4, 4\], but got \[2, 5, 5\]"):
        HebbianRead(6, 4).begin(torch.zeros(2, 5, 5))


@pytest.mark.parametrize("engine", ["numba", "torch"])
@pytest.mark.parametrize("name", [name for name in LAYERS if not name.startswith("DiehlCook")])
def test_what_is_not_a_number_stays_so_in_its_sample(name: str, engine: str) -> None:
    xs = XS.clone()
    xs[3, 1, 2] = torch.nan
    with kernels.use(engine):
        out, _ = LAYERS[name]()(xs)
    first = leaves(out if isinstance(out, Tensor) else tuple(out))[0]
    assert bool(first[:, 1].isnan().any())
    assert not bool(first[:, 0].isnan().any())


def test_the_network_of_diehl_and_cook_refuses_what_is_not_a_number() -> None:
    with pytest.raises(ConfigError, match="0 or above and finite"):
        LAYERS["DiehlCookNetwork"]()(torch.full_like(XS, torch.nan))
