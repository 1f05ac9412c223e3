"""Encoders beside those of snnTorch: the same spikes, where the codes are the same."""

import pytest
import torch

from spikeloom import delta, latency

pytestmark = pytest.mark.peers
spikegen = pytest.importorskip("snntorch.spikegen")


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("tau", [None, 5.0])
def test_latencies_are_those_of_snntorch(linear: bool, tau: float | None) -> None:
    x = torch.rand(4, 50, generator=torch.Generator().manual_seed(0))
    x[0, :2] = torch.tensor([0.0, 1.0])  # with a value below the threshold, snnTorch stretches as we do
    options = {"normalize": True} if tau is None else {"tau": tau}
    theirs = spikegen.latency(x, num_steps=300, threshold=0.05, linear=linear, clip=True, **options)
    assert latency(x, 300, tau=tau, threshold=0.05, linear=linear, clip=True).equal(theirs)


@pytest.mark.parametrize("padding", [False, True])
def test_changes_are_those_of_snntorch(padding: bool) -> None:
    x = torch.randn(100, 3, 5, generator=torch.Generator().manual_seed(0)).cumsum(0)
    both = delta(x, 0.5, off=True, level="last_step", start=None if padding else 0.0)
    assert (both[:, :, 1] - both[:, :, 0]).equal(spikegen.delta(x, threshold=0.5, padding=padding, off_spike=True))
    rises = delta(x, 0.5, level="last_step", start=None if padding else 0.0)
    assert rises.equal(spikegen.delta(x, threshold=0.5, padding=padding))
