"""Signed sparse synapses: exact density, signs, and the same numbers as dense ones on every engine."""

from typing import Any

import pytest
import torch
from torch import Tensor

from spikeloom import kernels
from spikeloom.errors import ConfigError, ShapeError
from spikeloom.layers import DelayedLinear, Recurrent, SignedSparseLinear, SparseDelayedLinear
from spikeloom.models import LSNN
from spikeloom.neurons import ALIF


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("connectivity", [0.01, 0.12, 0.5, 1.0])
def test_the_number_of_synapses_is_exact(connectivity: float) -> None:
    assert SignedSparseLinear(80, 220, connectivity=connectivity, generator=seeded()).active() == int(
        connectivity * 17_600
    )


def test_without_autapses_the_diagonal_is_empty_and_the_number_still_exact() -> None:
    layer = SparseDelayedLinear(30, 30, connectivity=0.5, autapses=False, generator=seeded())
    assert layer.active() == 450
    assert not bool(layer.theta.diagonal().any())


def test_all_synapses_of_a_neuron_have_its_sign_and_cancel_at_first() -> None:
    sign = torch.where(torch.arange(40) < 10, -1.0, 1.0)
    weight = SignedSparseLinear(40, 200, connectivity=0.5, neuron_sign=sign, generator=seeded()).weight.detach()
    assert bool((weight[:, :10] <= 0).all())
    assert bool((weight[:, 10:] >= 0).all())
    both = (weight < 0).any(1) & (weight > 0).any(1)
    assert int(both.sum()) > 190
    torch.testing.assert_close(weight[both].sum(1), torch.zeros(int(both.sum())), atol=1e-5, rtol=0.0)
    assert float(weight[weight != 0].square().mean()) == pytest.approx(1 / 40, rel=0.1)


def twins(
    size: int, delays: int, connectivity: float, dormant_gradients: bool
) -> tuple[SparseDelayedLinear, DelayedLinear]:
    """A sparse layer and the dense one of the same weights and delays."""
    sparse = SparseDelayedLinear(
        size, size, delays=delays, connectivity=connectivity, autapses=False, dormant_gradients=dormant_gradients,
        generator=seeded(1),
    ).double()  # fmt: skip
    dense = DelayedLinear(size, size, delays=delays).double()
    with torch.no_grad():
        dense.weight.copy_(sparse.weight)
        if dense.delay is not None and sparse.delay is not None:
            dense.delay.copy_(sparse.delay)
    return sparse, dense


def close(a: Tensor | None, b: Tensor | None) -> None:
    assert a is not None
    assert b is not None
    torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("engine", ["numba", "torch"])
@pytest.mark.parametrize("dormant_gradients", [False, True])
@pytest.mark.parametrize("connectivity", [0.004, 0.03, 0.12, 0.5, 1.0])
@pytest.mark.parametrize("delays", [1, 4])
def test_sparse_equals_dense(delays: int, connectivity: float, dormant_gradients: bool, engine: str) -> None:
    size, steps, batch = 18, 33, 19
    sparse, dense = twins(size, delays, connectivity, dormant_gradients)
    xs = (torch.rand(steps, batch, size, generator=seeded(2)) < 0.2).double()
    target = torch.randn(steps, batch, size, generator=seeded(3), dtype=torch.float64)
    results = []
    for synapse in (sparse, dense):
        neuron = ALIF(threshold=0.05, tau_adapt=30.0, refractory=2.0)
        layer, inputs = Recurrent(neuron, synapse), xs.clone().requires_grad_()
        with kernels.use(engine):  # fewer steps than delays first, then the rest with what is on its way
            early, late = synapse(inputs[:2])
            rest, late = synapse(inputs[2:], late)
            currents = torch.cat([early, rest]) + 0.3 * inputs
            first, state = layer(currents[:2])
            second, state = layer(currents[2:], state)
        spikes = torch.cat([first, second])
        ((spikes * target).sum() + (late.past.sum() + state.neuron.voltage.sum())).backward()
        results.append((spikes.detach(), state, inputs.grad))
    (spikes, state, grad), (spikes_dense, state_dense, grad_dense) = results
    assert spikes.sum() > 20
    assert torch.equal(spikes, spikes_dense)
    close(state.neuron.voltage.detach(), state_dense.neuron.voltage.detach())
    close(grad, grad_dense)
    there = sparse.theta > 0
    assert dense.weight.grad is not None
    wanted = dense.weight.grad * sparse.sign
    close(sparse.theta.grad, wanted if dormant_gradients else wanted * there)


def test_an_lsnn_with_sparse_synapses_learns_on_every_path() -> None:
    net = LSNN(6, 8, 4, 3, connectivity=0.5, excitatory=0.75, delays=3, threshold=0.05, generator=seeded())
    assert [layer.active() for layer in net.sparse_layers().values()] == [36, 72, 18]
    activity, _ = net((torch.rand(30, 5, 6, generator=seeded(1)) < 0.3).float())
    activity.logits.square().sum().backward()
    for name, layer in net.sparse_layers().items():
        assert layer.theta.grad is not None
        assert bool(layer.theta.grad.any()), name
        assert not bool(layer.theta.grad[layer.theta <= 0].any()), name
    signs = net.sparse_layers()["recurrent"].sign[0]
    assert signs.tolist() == [-1.0] * 3 + [1.0] * 9  # the adaptive neurons, the last ones, excite
    assert not LSNN(6, 8, 4, 3).sparse_layers()


def test_wrong_arguments() -> None:
    with pytest.raises(ConfigError, match=r"connectivity in \(0, 1\], but got 0"):
        SignedSparseLinear(3, 3, connectivity=0.0)
    with pytest.raises(ConfigError, match="as many inputs as outputs, but got 3 and 4"):
        SparseDelayedLinear(3, 4, autapses=False)
    with pytest.raises(ShapeError, match=r"neuron_sign \[3\] of \+1 and -1, one for each input, but got \[2\]"):
        SignedSparseLinear(3, 3, connectivity=1.0, neuron_sign=torch.ones(2))
    with pytest.raises(ShapeError, match="neuron_sign"):
        SignedSparseLinear(2, 3, connectivity=1.0, neuron_sign=torch.tensor([1.0, 0.5]))
    with pytest.raises(ShapeError, match="neuron_sign as a tensor"):
        SignedSparseLinear(2, 3, connectivity=1.0, neuron_sign=[1, -1])  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"needs input \[T, B, 3\], but got \[5, 2, 2, 3\]"):
        SparseDelayedLinear(3, 4, connectivity=1.0)(torch.ones(5, 2, 2, 3))
    with pytest.raises(ShapeError, match="computes in float32 or float64"):
        SparseDelayedLinear(3, 4, connectivity=1.0)(torch.ones(5, 2, 3, dtype=torch.bfloat16))
    with pytest.raises(ConfigError, match="pass it autapses=False"):
        Recurrent(ALIF(), SparseDelayedLinear(4, 4, connectivity=0.5))
    with pytest.raises(ConfigError, match="only with a connectivity"):
        LSNN(3, 3, 3, 3, excitatory=0.5)
    with pytest.raises(ConfigError, match=r"in \[0, 1\], but is 75"):
        LSNN(3, 3, 3, 3, connectivity=0.5, excitatory=75.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("share", [0.1, 1.0])
@pytest.mark.parametrize("delays", [1, 3])
@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_an_input_that_no_synapse_reads_does_not_matter(engine: Any, delays: int, share: float, value: float) -> None:
    layer = SparseDelayedLinear(6, 4, delays=delays, connectivity=0.5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        layer.theta[:, 2] = 0.0
    draws = torch.rand(12, 2, 6, generator=torch.Generator().manual_seed(1))
    clean = draws * (draws < share)
    clean[..., 2] = 0.0
    odd = clean.clone()
    odd[1, 0, 2] = value
    results = []
    for xs in (clean, odd):
        xs.requires_grad_()
        with kernels.use(engine):
            out, state = layer(xs)
            more = layer(xs[:2].detach(), state)[0]
        results.append([out, more, *torch.autograd.grad((out.sum() + more.sum()), [layer.theta, xs])])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(other, one)
    assert bool(results[1][0].isfinite().all())
    with torch.no_grad():
        layer.theta[0, 2] = 0.5
        with kernels.use(engine):
            assert not bool(layer(odd)[0].isfinite().all())
