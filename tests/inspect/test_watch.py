"""Recordings are what the network computed, with the gradients that autograd gives."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from examples.own_neuron import neurons as own_neurons
from spikeloom import LSNN, kernels, watch
from spikeloom.core import record
from spikeloom.errors import ConfigError
from spikeloom.inspect import Watch
from spikeloom.layers import DelayedLinear, RectifiedRecurrent, Recurrent, Sequential, TwoPass
from spikeloom.layers.hebbian_memory.layer import HebbianRead, HebbianWrite
from spikeloom.neurons import (
    ALIF,
    LIF,
    PSN,
    DiehlCook,
    IntegrateAndFire,
    LeakyReadout,
    MaskedPSN,
    ParaLIF,
    RateNeuron,
    SlidingPSN,
    SynapticLIF,
)  # fmt: skip


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "LIF": lambda: LIF(20.0, threshold=0.3),
    "LIF lean": lambda: LIF(20.0, threshold=0.3, memory="lean", learn=("tau_mem", "threshold")),
    "ALIF": lambda: ALIF(20.0, threshold=0.1, refractory=2.0),
    "IntegrateAndFire": IntegrateAndFire,
    "SynapticLIF": lambda: SynapticLIF(20.0, 5.0, threshold=0.3),
    "ParaLIF": lambda: ParaLIF("SB", generator=seeded()),
    "ParaLIF D": lambda: ParaLIF("D"),
    "LeakyReadout": lambda: LeakyReadout(20.0),
    "own": lambda: own_neurons(5),
    "Recurrent": lambda: Recurrent(ALIF(20.0, threshold=0.1), DelayedLinear(5, 5, delays=3, generator=seeded())),
    "RectifiedRecurrent": lambda: RectifiedRecurrent(SynapticLIF(20.0, 5.0, threshold=0.3), nn.Linear(5, 5)),
    "SlidingPSN": lambda: SlidingPSN(3),
    "MaskedPSN": lambda: MaskedPSN(120, 3, generator=seeded()),
    "RateNeuron": lambda: RateNeuron(mode="spiking", gain=50.0),
    "HebbianWrite": lambda: HebbianWrite(5, 4, generator=seeded()),
    "HebbianRead": lambda: HebbianRead(5, 4, generator=seeded()),
    "DiehlCook": lambda: DiehlCook(5, generator=seeded()),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_watched_layer_gives_the_numbers_of_one_that_is_not(name: str) -> None:
    xs = 2 * torch.rand(60, 3, 5, generator=seeded(1))
    results = []
    for watched in (False, True):
        torch.manual_seed(0)
        layer = LAYERS[name]()
        own = xs.clone().requires_grad_()
        context: Any = watch(layer) if watched else kernels.use("numba")
        with context as seen:
            out, state = layer(own)
            again, state = layer(own, state)
        gradient = torch.autograd.grad(out.sum() + again.square().sum(), own)[0] if out.requires_grad else own
        results.append((out, again, gradient))
        assert "forward" not in vars(layer)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert isinstance(seen, Watch)
    assert len(seen[""].calls) == 2
    assert seen[""].outputs.shape == again.shape


@pytest.mark.parametrize("name", ["LIF", "ALIF", "Recurrent", "SynapticLIF"])
def test_voltages_are_those_of_the_run_and_of_the_definition(name: str) -> None:
    xs = 2 * torch.rand(60, 3, 5, generator=seeded(1))
    torch.manual_seed(0)
    layer: Any = LAYERS[name]()
    fast = layer(xs)[0]
    with torch.no_grad(), watch(layer) as seen:
        layer(xs)
    assert torch.equal(seen[""].spikes, fast)
    with torch.no_grad(), kernels.use("torch"):
        spikes, states = record(layer.step, xs, layer.initial_state(xs[0]))
    inner = states.neuron if name == "Recurrent" else states
    assert torch.equal(seen[""].spikes, spikes)
    torch.testing.assert_close(seen[""].voltage, inner.voltage, rtol=1e-5, atol=1e-6)
    assert seen[""].state("spikes").shape == xs.shape


@pytest.mark.parametrize("name", ["LIF", "LIF lean", "ALIF", "Recurrent"])
def test_the_gradient_of_a_voltage_is_that_of_a_run_that_goes_on_from_it(name: str) -> None:
    torch.manual_seed(0)
    layer, xs = LAYERS[name]().double(), torch.rand(30, 2, 5, generator=seeded(), dtype=torch.float64)
    net, xs = Sequential(layer, nn.Linear(5, 1).double()), xs.requires_grad_()
    with watch(net) as seen:
        net(xs)[0].square().sum().backward()
    found = seen["layers.0"].voltage.grad
    assert found is not None
    assert seen["layers.0"].spikes.grad is not None
    for place in (0, 7, 28):
        _, state = layer(xs[: place + 1])
        neuron = getattr(state, "neuron", state)
        voltage = neuron.voltage.detach().requires_grad_()
        going = neuron._replace(voltage=voltage)
        out, _ = layer(xs[place + 1 :], state._replace(neuron=going) if name == "Recurrent" else going)
        (wanted,) = torch.autograd.grad(net[1](out).square().sum(), voltage)
        torch.testing.assert_close(found[place], wanted)
    assert found[28].abs().sum() > 0
    assert found[29].abs().sum() == 0


def test_recorded_voltages_can_be_part_of_the_loss_and_gradients_add_up() -> None:
    net, xs = Sequential(nn.Linear(5, 4), LIF()), torch.rand(20, 3, 5, generator=seeded())
    with watch(net, "layers.1") as seen:
        net(xs)
        torch.autograd.backward(seen["layers.1"].voltage.square().mean(), retain_graph=True)
        first = seen["layers.1"].voltage.grad
        assert first is not None
        first = first.clone()
        torch.autograd.backward(seen["layers.1"].voltage.square().mean())
    assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in net[0].parameters())
    torch.testing.assert_close(seen["layers.1"].voltage.grad, 2 * first)


def test_layers_are_chosen_and_named() -> None:
    lsnn, xs = LSNN(5, 4, 2, 3, generator=seeded()), torch.rand(10, 2, 5, generator=seeded())
    with watch(lsnn) as seen:
        lsnn(xs)
    assert list(seen) == ["hidden", "readout"]
    assert len(seen) == 2
    assert seen["hidden"].state("adaptation").shape == (10, 2, 6)
    assert seen["readout"].voltage.shape == (10, 2, 3)
    assert "readout" in seen
    assert "readout" in str(seen)
    assert "[10, 2, 3]" in repr(seen)
    assert "<td>hidden</td>" in seen._repr_html_()
    net = Sequential(nn.Linear(5, 5), TwoPass(ParaLIF("D"), nn.Linear(5, 5)))
    with watch(net, ["layers.0", "layers.1.neuron", ""]) as seen:
        net(xs)
    assert seen["layers.0"].outputs.shape == (20, 5)  # all steps in one batch
    assert len(seen["layers.1.neuron"].calls) == 2
    assert seen[""].outputs.shape == (10, 2, 5)
    with watch(PSN(10)) as seen:
        seen[""].layer(xs)
    assert seen[""].spikes.shape == (10, 2, 5)


def test_only_outputs_on_request_and_nothing_outside_the_block() -> None:
    net, xs = Sequential(nn.Linear(5, 4), LIF()), torch.rand(20, 3, 5, generator=seeded())
    seen = watch(net, states=False)
    with seen:
        net(xs)
    net(xs)
    assert len(seen["layers.1"].calls) == 1
    with pytest.raises(ConfigError, match=r"layers\.1 \(LIF\) has no recorded states\. Watch a layer with a state"):
        _ = seen["layers.1"].voltage
    with seen:
        assert len(seen["layers.1"].calls) == 0
    with pytest.raises(ConfigError, match=r"layers\.1 \(LIF\) was not called while it was watched"):
        _ = seen["layers.1"].spikes


def test_what_is_not_there_is_said() -> None:
    net, xs = Sequential(nn.Linear(5, 4), HebbianWrite(4, 3, generator=seeded())), torch.rand(20, 3, 5)
    with pytest.raises(ConfigError, match=r"watch needs layers by name, but the network has no 'layer'\. There is: 'l"):
        watch(net, "layer")
    with watch(net) as seen, pytest.raises(ConfigError, match="this Watch is recording already"):
        seen.__enter__()
    with watch(net, ["layers.0", "layers.1"]) as seen:
        net(xs)
    with pytest.raises(ConfigError, match=r"layers\.0 \(Linear\) is no layer of spikes"):
        _ = seen["layers.0"].spikes
    with pytest.raises(ConfigError, match=r"HebbianWrite\) has 2 states named 'voltage'\. Look at states"):
        _ = seen["layers.1"].voltage
    assert seen["layers.1"].states.key.voltage.shape == (20, 3, 3)
    with pytest.raises(ConfigError, match=r"has no state 'adaptation', but memory, voltage, spikes"):
        seen["layers.1"].state("adaptation")
    with pytest.raises(ConfigError, match=r"Watch has no layer 'a'\. There is: 'layers\.0', 'layers\.1'"):
        _ = seen["a"]
