"""Delays, recurrence, costs and encoders (P7, P10, P12), and their errors."""

from typing import Any

import pytest
import torch
from torch import nn

from spikeloom import kernels
from spikeloom.encoding import poisson
from spikeloom.errors import ConfigError, ShapeError
from spikeloom.layers import DelayedLinear, Recurrent, Sequential, rate_cost
from spikeloom.neurons import ALIF, LIF, LeakyReadout


@pytest.mark.parametrize("engine", ["torch", "numba"])
def test_p7_an_input_arrives_after_its_delay(engine: str) -> None:
    layer = DelayedLinear(3, 2, delays=6)
    layer.delay = torch.tensor([[0, 3, 5], [1, 2, 4]])
    xs = torch.zeros(12, 1, 3)
    xs[2, 0, 1] = 1.0
    with kernels.use(engine):
        currents, _ = layer(xs)
    assert [int(currents[:, 0, n].nonzero()[0]) for n in (0, 1)] == [2 + 3, 2 + 2]
    assert currents[5, 0, 0] == layer.weight[0, 1]
    assert int((currents != 0).sum()) == 2


@pytest.mark.parametrize("delay", [0, 1, 4])
def test_p7_a_spike_arrives_one_step_and_its_delay_later(delay: int) -> None:
    synapse = DelayedLinear(2, 2, delays=5)
    synapse.weight.data = torch.tensor([[0.0, 0.0], [100.0, 0.0]])
    synapse.delay = torch.full((2, 2), delay)
    layer = Recurrent(LIF(), synapse)
    xs = torch.zeros(15, 1, 2)
    xs[3, 0, 0] = 30.0
    spikes, _ = layer(xs)
    assert int(spikes[:, 0, 0].nonzero()[0]) == 3
    assert int(spikes[:, 0, 1].nonzero()[0]) == 3 + 1 + delay


def test_one_delay_slot_means_no_delay() -> None:
    layer = DelayedLinear(3, 2, delays=1)
    assert layer.delay is None
    xs = torch.rand(5, 2, 3)
    torch.testing.assert_close(layer(xs)[0], nn.functional.linear(xs, layer.weight))


def test_p10_the_diagonal_has_no_effect_and_no_gradient() -> None:
    synapse = DelayedLinear(5, 5, delays=3, generator=torch.Generator().manual_seed(0))
    layer = Recurrent(ALIF(threshold=0.1), synapse)
    xs = torch.rand(30, 2, 5, generator=torch.Generator().manual_seed(1))
    before, _ = layer(xs)
    before.sum().backward()
    assert synapse.weight.grad is not None
    assert float(synapse.weight.grad.diagonal().abs().sum()) == 0
    assert float(synapse.weight.grad.abs().sum()) > 0
    with torch.no_grad():
        synapse.weight.fill_diagonal_(1e3)
    assert torch.equal(layer(xs)[0], before)
    loose = Recurrent(ALIF(threshold=0.1), synapse, autapses=True)
    assert not torch.equal(loose(xs)[0], before)


def test_p12_rate_cost() -> None:
    z = torch.tensor([[[1, 0], [0, 0]], [[0, 0], [1, 0]], [[0, 1], [0, 0]], [[0, 0], [1, 0]]], dtype=torch.float64)
    z = z.clone().requires_grad_()
    assert z.mean((0, 1)).tolist() == [0.375, 0.125]
    loss = 0.1 * rate_cost(z, 10.0)
    assert loss.item() == pytest.approx(0.014645)
    (grad,) = torch.autograd.grad(loss, z)
    assert grad[0, 0].tolist() == pytest.approx([0.009125, 0.002875])
    assert 0.1 * rate_cost(z.detach(), 20.0, dt=0.5).item() == pytest.approx(0.1 * (0.73**2 + 0.23**2))


def test_poisson_has_its_rate_and_its_generator() -> None:
    rates = torch.tensor([[0.0, 50.0, 400.0]])
    spikes = poisson(rates, 20_000, generator=torch.Generator().manual_seed(0))
    assert spikes.mean((0, 1)).tolist() == pytest.approx([0.0, 0.05, 0.4], rel=0.1)
    assert torch.equal(spikes, poisson(rates, 20_000, generator=torch.Generator().manual_seed(0)))


def test_convolutions_get_all_steps_in_their_batch() -> None:
    net = Sequential(nn.Conv2d(1, 2, 3), LIF(), nn.Flatten(), nn.Linear(2 * 4 * 4, 3), LeakyReadout())
    out, state = net(torch.rand(7, 2, 1, 6, 6) * 4)
    assert out.shape == (7, 2, 3)
    assert state[1].voltage.shape == (2, 2, 4, 4)
    first, _ = net.step(torch.rand(2, 1, 6, 6), net.initial_state(torch.rand(2, 1, 6, 6)))
    assert first.shape == (2, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: DelayedLinear(0, 3), ConfigError, "n_in, n_out and delays of at least 1"),
        (lambda: DelayedLinear(3, 2)(torch.rand(4, 2, 5)), ShapeError, "has 3 inputs but got"),
        (lambda: DelayedLinear(3, 2)(torch.rand(4, 2, 3).double()), ShapeError, "weight of torch.float32"),
        (lambda: Recurrent(LIF(), DelayedLinear(3, 2)), ConfigError, "square synapse without bias"),
        (lambda: Recurrent(LIF(), nn.Linear(3, 3)), ConfigError, "square synapse without bias"),
        (lambda: Recurrent(LeakyReadout(), DelayedLinear(3, 3)), ConfigError, "LeakyReadout never does"),
        (lambda: Recurrent(LIF(), DelayedLinear(3, 3))(torch.rand(4, 2, 3, 3)), ShapeError, "Flatten the neurons"),
        (lambda: rate_cost(torch.rand(4, 2, 3), 10.0, dt=0.0), ConfigError, "dt > 0"),
        (
            lambda: poisson(torch.tensor([[2000.0]]), 5, generator=torch.Generator()),
            ConfigError,
            "rates from 0 to 1000",
        ),
        (lambda: LIF()(torch.rand(3, 2, 2).half()), ShapeError, "computes in float32 or float64"),
    ],
)
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_state_of_another_batch_size_is_refused() -> None:
    layer = Recurrent(LIF(), DelayedLinear(3, 3, delays=4))
    _, state = layer(torch.rand(5, 64, 3))
    with pytest.raises(ShapeError, match=r"history has shape \[3, 64, 3\].*Pass state=None"):
        layer(torch.rand(5, 32, 3), state)
    inputs = DelayedLinear(3, 3, delays=4)
    _, past = inputs(torch.rand(5, 64, 3))
    with pytest.raises(ShapeError, match="state whose past"):
        inputs(torch.rand(5, 32, 3), past)
