"""Two-pass recurrence against its definition, and recurrence by rectified voltages."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeloom.errors import ConfigError, ShapeError
from spikeloom.layers import RectifiedRecurrent, TwoPass
from spikeloom.neurons import ParaLIF, SynapticLIF


def filtered(xs: Tensor, tau_mem: float = 20.0, tau_syn: float = 20.0) -> Tensor:
    """The membrane, step by step in Python."""
    a, b = math.exp(-1 / tau_syn), math.exp(-1 / tau_mem)
    i = u = torch.zeros_like(xs[0])
    out = []
    for x in xs:
        i = a * i + x
        u = b * u + (1 - b) * i
        out.append(u)
    return torch.stack(out)


def differences(u: Tensor, threshold: float) -> Tensor:
    return (torch.diff(u, dim=0, prepend=torch.zeros_like(u[:1])) > threshold).to(u.dtype)


@pytest.mark.parametrize("by_voltage", [False, True])
def test_the_definition(by_voltage: bool) -> None:
    random = torch.Generator().manual_seed(0)
    xs = torch.randn(50, 3, 6, generator=random, dtype=torch.float64) * 3
    synapse = nn.Linear(6, 6).double()
    layer = TwoPass(ParaLIF("D", threshold=0.1), synapse, by_voltage=by_voltage)
    both, _ = layer.passes(xs)
    u0 = filtered(xs)
    hidden = torch.relu(u0) if by_voltage else differences(u0, 0.1)
    delayed = torch.cat([torch.zeros_like(hidden[:1]), hidden[:-1]])  # h[0] = 0
    u = u0 + filtered(xs + delayed @ synapse.weight.t() + synapse.bias)
    torch.testing.assert_close(both.hidden, hidden, rtol=1e-12, atol=1e-12)
    assert torch.equal(both.spikes, differences(u, 0.1))
    assert both.spikes.any()


def test_nothing_is_heard_in_the_first_step_though_an_empty_membrane_would_fire() -> None:
    synapse = nn.Linear(3, 3).double()
    layer = TwoPass(ParaLIF("ST", threshold=0.4), synapse)  # sigmoid(0) = 0.5 is above 0.4
    xs = torch.full((4, 2, 3), -0.1, dtype=torch.float64)
    both, state = layer.passes(xs)
    assert bool(both.hidden.all())
    delayed = torch.ones_like(xs)
    delayed[0] = 0.0
    u = filtered(2 * xs + delayed @ synapse.weight.t() + synapse.bias)
    torch.testing.assert_close(state.out.voltage, u[-1], rtol=1e-12, atol=1e-12)
    stepwise = layer.initial_state(xs[0])
    for x, voltage in zip(xs, u, strict=True):
        _, stepwise = layer.step(x, stepwise)
        torch.testing.assert_close(stepwise.out.voltage, voltage, rtol=1e-12, atol=1e-12)


def test_rectified_voltages_of_the_step_before() -> None:
    random = torch.Generator().manual_seed(0)
    xs = torch.randn(40, 2, 4, generator=random, dtype=torch.float64) * 4
    synapse = nn.Linear(4, 4).double()
    spikes, _ = RectifiedRecurrent(SynapticLIF(threshold=0.5), synapse)(xs)
    a = b = math.exp(-1 / 20)
    i = u = torch.zeros(2, 4, dtype=torch.float64)
    for x, found in zip(xs, spikes, strict=True):
        i = a * i + x + torch.relu(u) @ synapse.weight.t() + synapse.bias
        u = b * u + (1 - b) * i
        fired = (u > 0.5).double()
        assert torch.equal(found, fired)
        u = u * (1 - fired)
    assert spikes.any()


def test_errors() -> None:
    kinds: tuple[tuple[Any, nn.Module], ...] = ((TwoPass, ParaLIF("D")), (RectifiedRecurrent, SynapticLIF()))
    for kind, neuron in kinds:
        with pytest.raises(ConfigError, match=r"needs a square synapse, but got one from 3 to 4"):
            kind(neuron, nn.Linear(3, 4))
    layer = TwoPass(ParaLIF("D"), nn.Linear(4, 4))
    with pytest.raises(ShapeError, match=r"TwoPass needs currents \[T, B, N\], but got \[5, 2, 3, 4\]"):
        layer(torch.rand(5, 2, 3, 4))
    _, state = layer(torch.rand(5, 2, 4))
    with pytest.raises(ShapeError, match="Pass state=None to start afresh"):
        layer(torch.rand(5, 3, 4), state)
    with pytest.raises(ShapeError, match=r"TwoPass got a state whose last has shape \[3, 4\]"):
        layer(torch.rand(5, 2, 4), state._replace(last=torch.zeros(3, 4)))
