"""BindsNET's DiehlAndCook2015 beside ours: the same spikes, thresholds and weights, presentation by presentation.

Where several neurons cross in a step, both let one spike, each by draws of its own: here all of them may.
BindsNET is AGPL-3: an optional peer, never a dependency.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from spikeloom.neurons.diehl_cook import DiehlCook, MembraneLIF
from spikeloom.papers.diehl_cook.network import DiehlCookNetwork
from spikeloom.rules import normalise, pair_stdp

pytestmark = pytest.mark.peers
INPUTS, SIZE, STEPS = 784, 40, 250


@pytest.fixture(scope="module")
def theirs() -> Any:
    """The class, and its monitor."""
    # its compiled operators fit another torch; none is used here
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d"):
        library.define(f"{name}(Tensor x) -> Tensor")  # type: ignore[no-untyped-call]
    models = pytest.importorskip("bindsnet.models")
    return models.DiehlAndCook2015, pytest.importorskip("bindsnet.network.monitors").Monitor, library


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", [0, 1])
def test_spikes_thresholds_and_weights_are_theirs(theirs: Any, seed: int) -> None:
    model, monitor, _ = theirs
    torch.manual_seed(seed)
    net = model(n_inpt=INPUTS, n_neurons=SIZE, exc=22.5, inh=120, dt=1.0, norm=78.4, theta_plus=0.05)
    layer, weight = net.layers["Ae"], net.connections[("X", "Ae")].pipeline[0].value
    layer.one_spike = False
    spikes = monitor(layer, ["s"], time=STEPS)
    net.add_monitor(spikes, name="spikes")
    neurons = DiehlCook(SIZE, homeostasis_step=0.05, one_winner=False)
    ours = DiehlCookNetwork(
        INPUTS, neurons, pair_stdp(lr=1e-2, lr_pre=1e-4), inhibitory=MembraneLIF(SIZE), inhibit=120.0, total=78.4
    )
    ours.weight.copy_(normalise(weight.detach().T, 78.4))
    with torch.no_grad():
        weight.copy_(ours.weight.T)
    rates = torch.zeros(INPUTS)
    rates[torch.randperm(INPUTS)[:150]] = 0.128 * torch.rand(150)
    state = ours.initial_state(torch.zeros(1, INPUTS))
    made = 0
    for _ in range(4):
        xs = (torch.rand(STEPS, 1, INPUTS) < rates).float()
        net.run(inputs={"X": xs.byte()}, time=STEPS)
        wanted: Tensor = spikes.get("s").view(STEPS, SIZE).float()
        net.reset_state_variables()
        state = ours.fresh(state)
        found, state = ours(xs, state)
        ours.normalise_(state)
        assert torch.equal(found[:, 0], wanted)
        assert torch.equal(state.neurons.homeostasis, layer.theta)
        torch.testing.assert_close(state.weight, weight.detach().T, rtol=0, atol=1e-6)
        made += int(wanted.sum())
    assert made > 60
