"""Sequential, Residual, Branches and SequenceDropout: against plain loops, and what they refuse."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeloom.errors import ConfigError, ShapeError
from spikeloom.layers import Branches, Residual, SequenceDropout, Sequential, folded
from spikeloom.models import LSNN
from spikeloom.neurons import LIF, PSN, LeakyReadout


class Block(nn.Module):
    """What a user writes first."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lif = nn.Conv2d(2, 2, 3, padding=1), LIF(5.0)

    def forward(self, x: Tensor) -> Any:
        return x + self.lif(self.conv(x))[0]


class Hidden(nn.Module):
    """Layers in a list that torch does not see."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = [LIF()]

    def forward(self, x: Tensor) -> Any:
        return self.parts[0](x)[0]


def compiled(layer: nn.Module) -> Any:
    return torch.compile(layer, backend="eager")


IN_TIME: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "block": (Block, r"got Block, which holds a layer that lives in time, lif \(LIF\), .*samples would mix.*Residual"),
    "hidden": (Hidden, r"got Hidden, .*parts \(LIF\)"),
    "nn.Sequential": (
        lambda: nn.Sequential(nn.Linear(2, 2), LIF()),
        r"got Sequential, .*1 \(LIF\).*Sequential of spike",
    ),
    "deep": (lambda: nn.Sequential(nn.ModuleList([nn.Linear(2, 2), LIF()])), r"0\.1 \(LIF\)"),
    "wrapper": (lambda: nn.DataParallel(LIF()), r"got DataParallel, .*module \(LIF\)"),
    "compiled": (lambda: compiled(LIF()), r"_orig_mod \(LIF\).*compile the whole"),
    "PSN": (lambda: PSN(5), "got PSN, which lives in time but is not Stateful itself.*SlidingPSN"),
    "LSTM": (lambda: nn.LSTM(2, 2), "got LSTM, which lives in time.*as LSTMBaseline does"),
    "GRUCell inside": (lambda: nn.Sequential(nn.GRUCell(2, 2)), r"0 \(GRUCell\)"),
}
ENTRIES: dict[str, Callable[[nn.Module], object]] = {
    "construction": lambda layer: Sequential(nn.Linear(2, 2), layer),
    "names": lambda layer: Sequential(OrderedDict(first=nn.Linear(2, 2), second=layer)),
    "append": lambda layer: Sequential(nn.Linear(2, 2)).append(layer),
    "insert": lambda layer: Sequential(nn.Linear(2, 2)).insert(0, layer),
    "extend": lambda layer: Sequential(nn.Linear(2, 2)).extend([LIF(), layer]),
    "set": lambda layer: Sequential(nn.Linear(2, 2)).__setitem__(0, layer),
    "layers.append": lambda layer: Sequential(nn.Linear(2, 2)).layers.append(layer),
    "layers.insert": lambda layer: Sequential(nn.Linear(2, 2)).layers.insert(0, layer),
    "layers.set": lambda layer: Sequential(nn.Linear(2, 2)).layers.__setitem__(0, layer),
    "Residual": lambda layer: Residual(layer),
    "shortcut": lambda layer: Residual(nn.Linear(2, 2), layer),
    "Branches": lambda layer: Branches(nn.Linear(2, 2), layer),
    "nested": lambda layer: Sequential(Sequential(layer)),
}


@pytest.mark.parametrize("name", IN_TIME)
def test_what_lives_in_time_is_not_folded_into_the_batch(name: str) -> None:
    make, message = IN_TIME[name]
    with pytest.raises(ConfigError, match=message):
        Sequential(make())


@pytest.mark.parametrize("entry", ENTRIES)
def test_no_way_in_is_left_open(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"got Block, which holds a layer that lives in time, lif \(LIF\)"):
        ENTRIES[entry](Block())


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (torch.relu, "needs modules as its layers, but got builtin_function_or_method"),
        (LIF, "got the class LIF"),
        ([LIF()], "got a list of 1 parts"),
    ],
)
def test_what_is_no_module_is_refused(layer: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Sequential(layer)


def test_layers_without_time_still_enter() -> None:
    parts = [nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Dropout()]
    assert Sequential(*parts)(torch.rand(3, 2, 4))[0].shape == (3, 2, 4)
    assert len(Sequential(*parts, compiled(nn.Linear(4, 4)))) == 5


def test_residual_is_the_input_plus_what_the_layer_makes_of_it() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 2, 3, padding=1).double()
    net = Residual(Sequential(conv, LIF(5.0, threshold=0.1)))
    xs = torch.rand(20, 8, 2, 6, 6, dtype=torch.float64)
    out, _ = net(xs)
    currents = torch.stack([conv(x) for x in xs])
    spikes, _ = LIF(5.0, threshold=0.1)(currents)
    assert torch.equal(out, xs + spikes)
    assert spikes.any()
    alone, _ = net(xs[:, 3:4])
    torch.testing.assert_close(alone, out[:, 3:4], rtol=1e-12, atol=1e-12)


def test_residual_with_a_shortcut_that_lives_in_time() -> None:
    torch.manual_seed(0)
    layer, around = nn.Linear(4, 3), Sequential(nn.Linear(4, 3), LeakyReadout(5.0))
    xs = torch.rand(10, 2, 4)
    out, state = Residual(layer, around)(xs)
    torch.testing.assert_close(out, torch.stack([layer(x) for x in xs]) + around(xs)[0])
    assert state.layer == ()
    assert state.shortcut[1].voltage.shape == (2, 3)


@pytest.mark.parametrize("reduce", ["sum", "concatenate"])
def test_branches_against_their_layers_one_by_one(reduce: Any) -> None:
    torch.manual_seed(0)
    layers = [Sequential(nn.Conv2d(2, 3, 3), LIF(5.0, threshold=0.05)), nn.Conv2d(2, 3, 3)]
    xs = torch.rand(9, 2, 2, 6, 6)
    out, _ = Branches(*layers, reduce=reduce)(xs)
    first, second = layers[0](xs)[0], torch.stack([layers[1](x) for x in xs])
    torch.testing.assert_close(out, first + second if reduce == "sum" else torch.cat([first, second], 2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Residual(nn.Linear(4, 1))(torch.rand(3, 2, 4)), ShapeError, r"output \[3, 2, 1\] to \[3, 2, 4\]"),
        (lambda: Branches(nn.Linear(4, 1), nn.Linear(4, 2))(torch.rand(3, 2, 4)), ShapeError, "cannot sum outputs"),
        (
            lambda: Branches(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 2), reduce="concatenate")(torch.rand(3, 2, 1, 6, 6)),
            ShapeError,
            r"cannot concatenate outputs \[3, 2, 1, 4, 4\], \[3, 2, 1, 5, 5\].*differ in dimension 2 alone",
        ),
        (lambda: Branches(LIF(), reduce="mean"), ConfigError, 'needs reduce "sum" or "concatenate"'),  # type: ignore[arg-type]
        (lambda: Branches(), ConfigError, "at least one layer"),
        (lambda: SequenceDropout(1.0), ConfigError, r"needs p in \[0, 1\), but got 1.0"),
        (lambda: SequenceDropout()(torch.ones(3, 2, 4).long()), ShapeError, "SequenceDropout needs floating point"),
        (
            lambda: Sequential(LIF())(torch.ones(0, 2, 4)),
            ShapeError,
            r"Sequential needs input .*T >= 1, but got \[0, 2",
        ),
        (lambda: Sequential(LIF())([1.0]), ShapeError, "Sequential needs a tensor .*but got list"),
        (
            lambda: Sequential(nn.Linear(4, 2))(torch.ones(3, 2, 4).long()),
            ShapeError,
            "Linear has parameters of .*int64",
        ),
        (
            lambda: Sequential(nn.Linear(4, 2))(torch.ones(3, 2, 4).double()),
            ShapeError,
            r"Convert its input with .to\(",
        ),
        (
            lambda: Sequential(LSNN(4, 3, 2, 2, delays=2), nn.Linear(2, 2))(torch.ones(3, 2, 4)),
            ShapeError,
            "Linear needs a tensor .*but got Activity",
        ),
        (
            lambda: Sequential(nn.MaxPool1d(2, return_indices=True))(torch.rand(3, 2, 4, 4)),
            ShapeError,
            "returned a tuple",
        ),
        (lambda: folded(lambda x: x.sum(), torch.rand(3, 2, 4)), ShapeError, r"A function turned 6 samples into \[\]"),
    ],
)
def test_errors(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


STATES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "too short": (lambda state: state[:-1], r"got a tuple of 2 parts.*tuple of 3 parts.*\(\(\), LIF, LeakyReadout\)"),
    "too long": (lambda state: (*state, ()), "got a tuple of 4 parts"),
    "turned round": (lambda state: state[::-1], "as part 0 of its state, but layer 0 .*Linear.* has none"),
    "a layer's own": (lambda state: state[1], "got a LIFState"),
    "a tensor": (lambda state: state[1].voltage, r"got a tensor \[2, 4\] as its state"),
    "a list": (list, "got a list of 3 parts"),
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_of_another_network_is_refused(name: str) -> None:
    net, xs = Sequential(nn.Linear(4, 4), LIF(), LeakyReadout()), torch.rand(5, 2, 4)
    change, message = STATES[name]
    wrong = change(net(xs)[1])
    for call in (lambda: net(xs, wrong), lambda: net.step(xs[0], wrong)):
        with pytest.raises(ShapeError, match=message):
            call()


def test_residual_and_branches_refuse_states_too() -> None:
    xs = torch.rand(5, 2, 4)
    _, state = Residual(LIF())(xs)
    with pytest.raises(ShapeError, match=r"Residual needs a state ResidualState\(layer, shortcut\), but got a tuple"):
        Residual(LIF())(xs, state[:1])
    with pytest.raises(ShapeError, match=r"part 1 of its state, but layer 1 \(Identity\) has none"):
        Residual(LIF())(xs, state._replace(shortcut=state.layer))
    with pytest.raises(ShapeError, match="Branches got a ResidualState"):
        Branches(LIF(), LIF())(xs, state)
    with pytest.raises(ShapeError, match=r"SequenceDropout needs a state .*but got LIFState"):
        SequenceDropout()(xs, state.layer)
    with pytest.raises(ShapeError, match=r"whose mask has shape \[3, 4\]"):
        SequenceDropout()(xs, SequenceDropout().initial_state(torch.ones(3, 4)))


def test_reached_by_number_slice_name_and_iteration() -> None:
    parts = [nn.Linear(4, 3), LIF(threshold=0.1), nn.Linear(3, 2)]
    net = Sequential(*parts)
    assert len(net) == 3
    assert list(net) == parts
    assert net[-1] is parts[2]
    assert isinstance(net[:2], Sequential)
    assert net[:2][0] is parts[0]
    assert [name for name, _ in net.named_parameters()] == [
        "layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias"
    ]  # fmt: skip
    assert {name for name, _ in net.named_parameters()} < set(net.state_dict())
    xs = torch.rand(6, 2, 4)
    whole, (_, state, _) = net(xs)
    assert torch.equal(net[2:](net[:2](xs)[0])[0], whole)
    named = Sequential(OrderedDict(first=parts[0], fire=parts[1], last=parts[2]))
    assert named["fire"] is parts[1]
    assert torch.equal(named(xs)[0], whole)
    named["fire"] = LIF(threshold=2.0)
    assert named[1] is not parts[1]
    assert [name for name, _ in named.named_children()] == ["layers"]
    assert [name for name, _ in named[1:].named_parameters()] == ["layers.last.weight", "layers.last.bias"]
    assert state.voltage.shape == (2, 3)


def test_append_extend_insert_and_replace() -> None:
    net = Sequential(nn.Linear(4, 3))
    assert net.append(LIF()) is net
    net.extend([nn.Linear(3, 2), LeakyReadout()]).insert(1, nn.BatchNorm1d(3))
    net[0] = nn.Linear(5, 3)
    assert [type(layer).__name__ for layer in net] == ["Linear", "BatchNorm1d", "LIF", "Linear", "LeakyReadout"]
    assert list(net.state_dict())[:3] == ["layers.0.weight", "layers.0.bias", "layers.1.weight"]
    assert net(torch.rand(4, 3, 5))[0].shape == (4, 3, 2)


def kinds(net: Any) -> list[str]:
    return [f"{name} {type(layer).__name__}" for name, layer in net.layers.named_children()]


def test_layers_are_taken_out_by_number_name_or_slice() -> None:
    def net() -> Sequential:
        return Sequential(nn.Linear(4, 3), nn.ReLU(), LIF())

    one, other, third = net(), net(), net()
    del one[0]
    assert kinds(one) == ["0 ReLU", "1 LIF"]
    del other[-2:]
    assert kinds(other) == ["0 Linear"]
    assert isinstance(third.pop(1), nn.ReLU)
    assert kinds(third) == ["0 Linear", "1 LIF"]
    named = Sequential(OrderedDict(a=nn.ReLU(), b=nn.Linear(2, 2), c=LIF()))
    del named["b"]
    named.add_module("d", nn.Tanh())
    named.add_module("a", nn.Sigmoid())
    assert kinds(named) == ["a Sigmoid", "c LIF", "d Tanh"]


PLACES: dict[str, tuple[Callable[[Sequential], object], str]] = {
    "a number that is not whole": (lambda net: net[1.0], r"a place as a whole number, but got 1.0 \(float\)"),  # type: ignore[call-overload]
    "nothing": (lambda net: net[None], "a place as a whole number, but got None"),  # type: ignore[call-overload]
    "too high": (lambda net: net[9], "Sequential has 2 layers, 0 to 1, but was asked for place 9"),
    "too low": (lambda net: net[-3], "asked for place -3"),
    "no name": (lambda net: net[""], r"has no layer '', but \['0', '1'\]"),
    "another name": (lambda net: net["x"], "has no layer 'x'"),
    "no layer of a layer": (lambda net: net["0.weight"], "has no layer '0.weight'"),
    "a slice": (lambda net: net[0.5:2], "cannot take slice"),
    "set beyond": (lambda net: net.__setitem__(9, nn.ReLU()), "asked for place 9"),
    "set a new name": (lambda net: net.__setitem__("forward", nn.ReLU()), "has no layer 'forward'"),
    "set a slice": (lambda net: net.__setitem__(slice(1), nn.ReLU()), "a place as a whole number"),  # type: ignore[index]
    "take out": (lambda net: net.__delitem__(2), "asked for place 2"),
    "insert beyond": (lambda net: net.insert(9, nn.ReLU()), "asked for place 9"),
    "insert between": (lambda net: net.insert(0.5, nn.ReLU()), "a place as a whole number"),  # type: ignore[arg-type]
    "extend by a number": (lambda net: net.extend(3), "layers as a list, but got int"),  # type: ignore[arg-type]
    "a name that is taken": (lambda net: net.add_module("forward", nn.ReLU()), "attribute 'forward' already exists"),
    "a key that is no text": (lambda net: Sequential(OrderedDict([(1, nn.ReLU())])), "should be a string"),  # type: ignore[list-item]
    "a key with a dot": (lambda net: Sequential(OrderedDict({"a.b": nn.ReLU()})), 'contain "."'),
    "an empty key": (lambda net: Branches(OrderedDict({"": nn.ReLU()})), "Branches cannot call a layer so"),
}


@pytest.mark.parametrize("name", PLACES)
def test_places_that_a_container_has_not_are_refused(name: str) -> None:
    call, message = PLACES[name]
    net = Sequential(nn.Linear(4, 3), LIF())
    with pytest.raises(ConfigError, match=message):
        call(net)
    assert kinds(net) == ["0 Linear", "1 LIF"]


def test_a_first_state_leaves_a_batch_norm_as_it_was() -> None:
    net = Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), LIF())
    before = {key: value.clone() for key, value in net.state_dict().items()}
    net.initial_state(torch.rand(5, 4))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_an_empty_batch_passes() -> None:
    net = Sequential(nn.Conv2d(1, 2, 3), LIF(), Residual(LIF()), nn.Flatten(), SequenceDropout(), nn.Linear(32, 3))
    assert net(torch.rand(5, 0, 1, 6, 6))[0].shape == (5, 0, 3)


def test_one_mask_per_sequence() -> None:
    layer = SequenceDropout(0.3, generator=torch.Generator().manual_seed(0))
    xs = torch.ones(7, 50, 4000)
    out, state = layer(xs)
    assert torch.equal(out, out[:1].expand_as(out))
    assert 0.295 < float((out[0] == 0).float().mean()) < 0.305
    torch.testing.assert_close(out[out > 0], torch.full_like(out[out > 0], 1 / 0.7))
    assert torch.equal(layer(xs[:3], state)[0], out[:3])
    assert not torch.equal(layer(xs)[0], out)
    alone = SequenceDropout(0.3, generator=torch.Generator().manual_seed(0))(xs[:, :1])[0]
    assert torch.equal(alone, out[:, :1])
    assert torch.equal(layer.eval()(xs, state)[0], xs)
    assert torch.equal(SequenceDropout(0.0)(xs)[0], xs)
