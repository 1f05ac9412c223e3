"""What layers refuse at construction, from a `state_dict`, and as events."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeloom.convert.converted import Converted, Op, Ref
from spikeloom.core import Stateful
from spikeloom.encoding.events import Events, events_of, poisson_events
from spikeloom.errors import CheckpointError, ConfigError, ShapeError
from spikeloom.layers import (
    DelayedLinear,
    RectifiedRecurrent,
    Recurrent,
    SignedSparseLinear,
    SparseDelayedLinear,
    TwoPass,
)
from spikeloom.layers.hebbian_memory.layer import HebbianRead, HebbianWrite
from spikeloom.layers.lateral import growing_starts, som_inhibition
from spikeloom.models import DiehlCookNetwork
from spikeloom.neurons import LIF, DiehlCook, ParaLIF, SynapticLIF
from spikeloom.papers.hebbian_memory.encoders import ConvEncoder, SpikingConvEncoder
from spikeloom.rules import Hebbian


class Empty(Stateful):
    def initial_state(self, x: Tensor) -> tuple[()]:
        return ()

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, tuple[()]]:
        return x, ()


def network() -> DiehlCookNetwork:
    return DiehlCookNetwork(3, DiehlCook(2), None)


def shown(first: list[int], unit: list[int], **kinds: torch.dtype) -> None:
    """Events, to a network of three inputs."""
    times = torch.ones(len(unit))
    net = network()
    events = Events(
        torch.tensor(first, dtype=kinds.get("of_first", torch.int64)),
        torch.tensor(unit, dtype=kinds.get("of_unit", torch.int32)),
        times,
    )
    net.advance_(events, net.initial_state(torch.zeros(1, 3)))


def with_lateral(shape: int) -> None:
    net = network()
    net.lateral = torch.zeros(shape, shape)
    net(torch.ones(3, 1, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Recurrent(nn.Linear(3, 3), LIF()), ConfigError, "Recurrent needs a Neuron .*but got Linear"),  # type: ignore[arg-type]
        (
            lambda: Recurrent(torch.compile(LIF(), backend="eager"), DelayedLinear(3, 3)),  # type: ignore[arg-type]
            ConfigError,
            "but got OptimizedModule.*compile the whole network",
        ),
        (lambda: Recurrent(LIF(), nn.Conv2d(3, 3, 1)), ConfigError, "needs a synapse that is .*but got Conv2d"),  # type: ignore[arg-type]
        (lambda: TwoPass(LIF(), nn.Linear(3, 3)), ConfigError, "TwoPass needs a ParaLIF, but got LIF"),  # type: ignore[arg-type]
        (
            lambda: TwoPass(ParaLIF("D"), nn.Sequential(nn.Linear(3, 3), LIF())),  # type: ignore[arg-type]
            ConfigError,
            "needs a synapse without time, .*but got Sequential",
        ),
        (lambda: RectifiedRecurrent(LIF(), nn.Linear(3, 3)), ConfigError, "needs a SynapticLIF, but got LIF"),  # type: ignore[arg-type]
        (
            lambda: RectifiedRecurrent(SynapticLIF(), DelayedLinear(3, 3)),  # type: ignore[arg-type]
            ConfigError,
            "needs a synapse without time, .*but got DelayedLinear",
        ),
        (lambda: SignedSparseLinear(3, 2.5), ConfigError, "n_out as a whole number, but got 2.5"),  # type: ignore[arg-type]
        (
            lambda: SignedSparseLinear(3, 2, connectivity=0.5)(torch.ones(5, 4)),
            ShapeError,
            r"3 inputs, but got \[5, 4\]",
        ),
        (lambda: SignedSparseLinear(3, 2, connectivity=0.5)([1.0]), ShapeError, "3 inputs, but got list"),
        (lambda: SignedSparseLinear(3, 2, connectivity=0.5)(torch.ones(0, 2, 3)), ShapeError, r"got \[0, 2, 3\]"),
        (
            lambda: SignedSparseLinear(3, 2, connectivity=0.5)(torch.ones(2, 3).long()),
            ShapeError,
            "got input of torch.int64 .*theta is torch.float32",
        ),
        (lambda: HebbianRead(3, 2, delay=1.5), ConfigError, "a whole number, but got 1.5"),  # type: ignore[arg-type]
        (lambda: Empty()(torch.ones(0, 2, 3)), ShapeError, r"Empty needs input .*T >= 1, but got \[0, 2, 3\]"),
        (lambda: Empty()([1.0]), ShapeError, "Empty needs input .*but got list"),
        (
            lambda: events_of(torch.ones(3, 2)),
            ShapeError,
            r"events_of needs real numbers \[T, B, I\].* but got torch.float32 \[3, 2\]",
        ),
        (
            lambda: poisson_events(torch.ones(1, 3), 5, torch.zeros(1, 2)),
            ShapeError,
            r"noise int64 \[B, 2\], got torch.float32 \[1, 3\] and torch.float32 \[1, 2\]",
        ),
        (lambda: shown([0, 1, 3], [1, 2, 2]), ShapeError, "at most once in a step of a sample, but one comes twice"),
        (lambda: shown([0, 1], [1], of_first=torch.float32), ShapeError, "Events are first .int64.*got torch.float32"),
        (
            lambda: shown([0, 1], [1], of_unit=torch.float32),
            ShapeError,
            "got torch.int64, torch.float32, torch.float32",
        ),
        (lambda: with_lateral(1), ShapeError, r"Lateral inhibition of 2 neurons needs \[2, 2\], got \[1, 1\]"),
        (lambda: som_inhibition(0), ConfigError, "som_inhibition needs size"),
        (lambda: growing_starts(intervals=0), ConfigError, "growing_starts needs intervals"),
        (
            lambda: SpikingConvEncoder(ConvEncoder(4)).spikes(torch.ones(2, 1, 28, 28).half(), 5),
            ShapeError,
            "images of float32 or float64, but got torch.float16",
        ),
        (lambda: SpikingConvEncoder(ConvEncoder(4)).spikes(torch.ones(2, 1, 28, 28), 0), ConfigError, "needs steps"),
        (
            lambda: Converted((Op("y", "module", "r", (Ref("input"),)),), "y", {"r": nn.GRU(3, 3)}),
            ConfigError,
            "Converted got GRU, which lives in time",
        ),
    ],
)
def test_refused(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_units_in_another_order_are_fine() -> None:
    shown([0, 2, 4], [2, 0, 1, 0])


def sparse(**options: Any) -> SparseDelayedLinear:
    return SparseDelayedLinear(4, 4, **{"connectivity": 0.5, **options})


@pytest.mark.parametrize(
    ("saved", "into", "message"),
    [
        (sparse(connectivity=0.75), sparse(), "connectivity=0.75, but this one has connectivity=0.5"),
        (sparse(), sparse(autapses=False), "autapses=True, but this one has autapses=False|some on its diagonal"),
        (HebbianWrite(3, 2, recall=0.5), HebbianWrite(3, 2), "recall=0.5, but this one has recall=0.2"),
        (
            HebbianWrite(3, 2, rule=Hebbian(tau_trace=5.0)),
            HebbianWrite(3, 2),
            r"rule.tau_trace=5.0.* but this one has .*rule.tau_trace=20.0",
        ),
        (HebbianRead(3, 2, delay=4), HebbianRead(3, 2), "delay=4, but this one has delay=1"),
        (
            Recurrent(LIF(), DelayedLinear(3, 3), autapses=True),
            Recurrent(LIF(), DelayedLinear(3, 3)),
            "autapses=True, but this one has autapses=False",
        ),
        (
            TwoPass(ParaLIF("D"), nn.Linear(3, 3), by_voltage=True),
            TwoPass(ParaLIF("D"), nn.Linear(3, 3)),
            "by_voltage=True, but this one has by_voltage=False",
        ),
        (
            DiehlCookNetwork(3, DiehlCook(2), None, inhibit=10.0),
            network(),
            "inhibit=10.0, but this one has inhibit=17.5",
        ),
    ],
)
def test_a_state_dict_of_another_structure_does_not_load(saved: nn.Module, into: nn.Module, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        into.load_state_dict(saved.state_dict())


def test_signs_and_autapses_of_an_earlier_version_are_looked_at() -> None:
    layer = sparse(autapses=False)
    found = {key: value.clone() for key, value in layer.state_dict().items() if not key.endswith("structure")}
    layer.load_state_dict(found)
    with pytest.raises(CheckpointError, match="signs -1 and 1, but sign in the state_dict goes from 0 to 0"):
        layer.load_state_dict({**found, "sign": torch.zeros(4, 4)})
    with pytest.raises(CheckpointError, match="autapses=False, but theta in the state_dict has some on its diagonal"):
        layer.load_state_dict({**found, "theta": torch.ones(4, 4)})
