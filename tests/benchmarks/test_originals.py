"""The originals' networks: their equations, their gradients, and their wrap-around."""

import math

import pytest
import torch
from torch import Tensor

from benchmarks.originals import DECAY, NAMES, FastSigmoidSpike, FourierNeuron, LoopedLIF, bernoulli, build, gumbel


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def batch(steps: int = 60) -> tuple[Tensor, Tensor]:
    """Inputs strong enough for LIF neurons to fire in every layer."""
    inputs = (torch.rand(4, steps, 700, generator=seeded()) < 0.3).float() * 20
    return inputs, torch.tensor([0, 7, 19, 3])


@pytest.mark.parametrize("name", NAMES)
def test_shapes_parameters_and_gradients(name: str) -> None:
    network, (inputs, labels) = build(name, seeded()), batch()
    assert network.traces(inputs).shape == (4, 60, 20)
    assert sum(part.numel() for part in network.parameters()) == 125_332
    loss = network(inputs, labels)
    assert loss.shape == ()
    for grad in torch.autograd.grad(loss, list(network.parameters())):
        assert bool(torch.isfinite(grad).all())
        assert float(grad.abs().sum()) > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_settles_weights_and_draws(name: str) -> None:
    losses = [build(name, seeded())(*batch()).item() for _ in range(2)]
    assert losses[0] == losses[1]
    weight = build(name, seeded()).get_parameter("layers.0.weight").detach()
    assert 0.99 * math.sqrt(3 / 700) < float(weight.abs().max()) <= math.sqrt(3 / 700)


def test_slices_and_unbound_slices_give_the_same() -> None:
    first, second = build("original_lif", seeded()), build("lif_unbind", seeded())
    inputs, labels = batch()
    assert first.layers[:2](inputs).detach().mean() > 0.05
    losses = [network(inputs, labels) for network in (first, second)]
    assert torch.equal(*losses)
    pairs = (
        torch.autograd.grad(loss, list(net.parameters())) for loss, net in zip(losses, (first, second), strict=True)
    )
    for a, b in zip(*pairs, strict=True):
        torch.testing.assert_close(a, b)


def test_lif_trace() -> None:
    xs = torch.tensor([0.0, 0, 6, 6, 6, 6, 6, 6, 0, 0, 10, 0], dtype=torch.float64).reshape(1, -1, 1)
    for unbind in (False, True):
        assert LoopedLIF(True, unbind)(xs).flatten().tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    silent = LoopedLIF(False, True)(xs[:, :4]).flatten().tolist()
    assert silent == pytest.approx([0, 0, 0.292623, 0.849328], abs=6e-7)
    distance = torch.tensor([0.849328 - 1, 1.643657 - 1], dtype=torch.float64, requires_grad=True)
    spikes = FastSigmoidSpike.apply(distance)  # type: ignore[no-untyped-call]
    (slope,) = torch.autograd.grad(spikes.sum(), distance)
    assert slope.tolist() == pytest.approx([0.003874, 0.000234], abs=6e-7)


def test_the_transform_is_too_short_as_in_the_originals() -> None:
    xs = torch.tensor([1.0, 0, 0, 2, 0, 0, -1, 0], dtype=torch.float64).reshape(1, -1, 1)
    voltages = FourierNeuron(None)(xs).flatten().tolist()
    wrapped = [0.002708, 0.028669, 0.052091, 0.214529, 0.360999]
    assert voltages == pytest.approx([*wrapped, 0.492672, 0.539958, 0.581460], abs=6e-7)
    neuron = FourierNeuron(None)
    longer = torch.rand(1, 600, 1, generator=seeded(), dtype=torch.float64)
    neuron(xs)
    torch.testing.assert_close(neuron(longer), LoopedLIF(False, True)(longer), atol=1e-6, rtol=0)
    assert pytest.approx(0.951229, abs=6e-7) == DECAY


@pytest.mark.parametrize("u", [0.0, 0.7])
def test_rates(u: float) -> None:
    voltages = torch.full((100_000,), u)
    for fire, probability in ((bernoulli, 1 / (1 + math.exp(-u))), (gumbel, 1 / (1 + math.exp(-2 * u)))):
        spikes = fire(seeded())(voltages)
        assert set(torch.unique(spikes).tolist()) == {0.0, 1.0}
        deviation = math.sqrt(probability * (1 - probability) / len(voltages))
        assert abs(float(spikes.mean()) - probability) < 4 * deviation


def test_gradients_of_the_draws() -> None:
    u = torch.tensor([-2, -0.5, 0, 0.5, 1, 2], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(bernoulli(seeded())(u).sum(), u)
    assert slope.tolist() == pytest.approx([0.012516, 0.088723, 0.125, 0.146280, 0.143735, 0.092478], abs=6e-7)
    (slope,) = torch.autograd.grad(gumbel(seeded())(u).sum(), u)
    uniform = torch.rand(6, 2, generator=seeded(), dtype=torch.float64)
    gumbels = -torch.log(-torch.log(uniform))
    y = torch.sigmoid(2 * u.detach() + gumbels[:, 0] - gumbels[:, 1])
    torch.testing.assert_close(slope, 2 * y * (1 - y))


def test_an_unknown_name() -> None:
    with pytest.raises(ValueError, match="build needs a name from original_lif, lif_unbind, original_sb"):
        build("magic")
