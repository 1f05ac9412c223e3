"""The LSNN as a whole: its definition, its trace, its baselines, and its errors."""

from typing import Any

import pytest
import torch

from spikeloom import kernels
from spikeloom.errors import ConfigError, ShapeError
from spikeloom.models import LSNN, LSTMBaseline


def net(**options: Any) -> LSNN:
    return LSNN(8, 6, 5, 3, generator=torch.Generator().manual_seed(0), **options)


def inputs(steps: int = 50) -> torch.Tensor:
    return (torch.rand(steps, 4, 8, generator=torch.Generator().manual_seed(1)) < 0.1).double()


@pytest.mark.parametrize("dynamics", ["standard", "legacy", "eprop"])
def test_kernels_equal_the_definition(dynamics: str) -> None:
    model = net(dynamics=dynamics, threshold=0.01 if dynamics != "eprop" else 0.2).double()
    results = []
    for engine in ("torch", "numba"):
        with kernels.use(engine):
            activity, _ = model(inputs())
        grads = torch.autograd.grad(activity.logits.square().sum(), list(model.parameters()))
        results.append((activity.spikes, activity.logits, *grads))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][0].sum().item() > 0
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_the_trace_is_the_run_itself() -> None:
    model = net().double()
    activity, _ = model(inputs())
    trace = model.trace(inputs())
    assert torch.equal(trace.spikes, activity.spikes)
    assert trace.threshold.shape == trace.voltage.shape == (50, 4, 11)
    assert bool((trace.threshold[..., :6] == 0.01).all())
    assert float(trace.threshold[..., 6:].max()) > 0.01
    free = torch.cat([torch.zeros_like(trace.spikes[:1]), trace.spikes[:-1]]) == 0
    above = trace.voltage > trace.threshold
    assert bool((above | (trace.spikes == 0)).all())
    assert float((above & free).sum()) >= float(trace.spikes.sum())


def test_noise_comes_from_the_generator_and_is_off_by_default() -> None:
    a, b = (net(current_noise=0.05)(inputs().float())[0].spikes for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, net()(inputs().float())[0].spikes)


def test_weights_are_reproducible_and_scaled() -> None:
    for a, b in zip(net().parameters(), net().parameters(), strict=True):
        assert torch.equal(a, b)
    model = LSNN(400, 100, 100, 10, generator=torch.Generator().manual_seed(0))
    assert model.inputs.weight.std().item() == pytest.approx(400**-0.5, rel=0.02)
    assert model.hidden.synapse.weight.std().item() == pytest.approx(200**-0.5, rel=0.02)
    assert model.inputs.delay is not None
    assert set(torch.unique(model.inputs.delay).tolist()) == set(range(10))


def test_time_steps_other_than_one_millisecond_keep_the_rates() -> None:
    rates = []
    for dt in (1.0, 0.5):
        model = net(dt=dt, delays=1, refractory=4.0, threshold=0.02).double()
        xs = torch.full((round(800 / dt), 1, 8), 0.4, dtype=torch.float64)
        rates.append(model(xs)[0].spikes.mean().item() / dt)
    assert rates[1] == pytest.approx(rates[0], rel=0.15)
    assert rates[0] > 0


def test_errors() -> None:
    with pytest.raises(ConfigError, match="at least one neuron"):
        LSNN(8, 0, 0, 3)
    with pytest.raises(ConfigError, match="current_noise >= 0"):
        net(current_noise=-1.0)
    with pytest.raises(ConfigError, match="sizes of at least 1"):
        LSTMBaseline(8, 0, 3)
    with pytest.raises(ShapeError, match="has 8 inputs"):
        net()(torch.rand(5, 2, 9))
