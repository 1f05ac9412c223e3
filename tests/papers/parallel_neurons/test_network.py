"""The networks of the parallel-neuron papers."""

from typing import Any

import numpy as np
import pytest
import torch

from spikeloom.data.spike_trains import SpikeTrains, raster
from spikeloom.errors import ConfigError
from spikeloom.layers import activity_cost, answer, answer_loss
from spikeloom.models import NEURONS, NeuronOptions, ParallelNetwork


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weights(net: ParallelNetwork) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize("neuron", ["LIF", "SB", "GS", "non_spiking"])
def test_p13_the_defaults_have_125_332_parameters(neuron: str) -> None:
    assert weights(ParallelNetwork(700, 128, 20, neuron=neuron)) == 125_332


def test_weights_start_kaiming_uniform_and_biases_at_zero() -> None:
    net = ParallelNetwork(700, 128, 20, generator=seeded())
    for layer in [*net.synapses, net.readout.layers[0]]:
        bound = (3 / layer.n_in) ** 0.5
        assert 0.98 * bound < layer.weight.abs().max() <= bound
        assert not layer.bias.any()


def words(samples: int = 6) -> SpikeTrains:
    random = np.random.default_rng(0)
    lengths = [20 + 13 * n for n in range(samples)]
    times = [np.sort(random.uniform(0, length, 60)) for length in lengths]
    units = [random.integers(0, 40, 60) for _ in lengths]
    return SpikeTrains.of(times, units, [n % 3 for n in range(samples)], 40, ("a", "b", "c"))


@pytest.mark.parametrize("neuron", ["LIF", "D", "non_spiking"])
def test_p7_the_answer_to_a_sample_does_not_depend_on_its_batch(neuron: str) -> None:
    trains = words()
    net = ParallelNetwork(40, 16, 3, layers=2, neuron=neuron, generator=seeded())
    batch = raster(trains, range(6))
    together = {
        mode: answer(net(batch.spikes)[0].logits, mode, batch.valid) for mode in ("last", "max", "mean", "cumsum")
    }
    for n in range(6):
        alone = raster(trains, [n])
        logits = net(alone.spikes)[0].logits
        for mode, all_of_them in together.items():
            torch.testing.assert_close(answer(logits, mode, alone.valid)[0], all_of_them[n], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("neuron", NEURONS)
def test_every_neuron_learns(neuron: str) -> None:
    trains = words()
    net = ParallelNetwork(40, 12, 3, layers=2, neuron=neuron, generator=seeded())
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    batch, losses = raster(trains, range(6)), []
    for _ in range(40):
        loss = answer_loss(net(batch.spikes)[0].logits, batch.labels, "mean", batch.valid)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_p6_a_seed_repeats_three_updates() -> None:
    runs = []
    for _ in range(2):
        net = ParallelNetwork(40, 12, 3, layers=2, neuron="SB", generator=seeded(3), noise=seeded(4))
        optimizer = torch.optim.Adamax(net.parameters(), lr=0.01)
        batch, losses = raster(words(), range(6)), []
        for _ in range(3):
            loss = answer_loss(net(batch.spikes)[0].logits, batch.labels, "mean", batch.valid)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(loss.item())
        runs.append(losses)
    assert runs[0] == runs[1]


@pytest.mark.parametrize("neuron", ["LIF", "SB", "D"])
@pytest.mark.parametrize("recurrent", ["none", "spikes", "voltage"])
def test_p10_a_cost_of_activity_reaches_every_layer_and_the_hidden_spikes(neuron: str, recurrent: Any) -> None:
    options = NeuronOptions(recurrent=recurrent, threshold=0.0 if neuron == "SB" else 0.05)
    net = ParallelNetwork(40, 12, 3, layers=2, neuron=neuron, options=options, generator=seeded())
    batch = raster(words(), range(6))
    activity, _ = net(batch.spikes)
    assert len(activity.spikes) == 2
    assert len(activity.hidden) == (2 if neuron != "LIF" and recurrent != "none" else 0)
    cost = activity_cost(activity.spikes, 1e-4, batch.valid)
    if activity.hidden:
        cost = cost + activity_cost(activity.hidden, 1e-4, batch.valid)
    assert cost > 0
    grads = torch.autograd.grad(cost, [synapse.get_parameter("weight") for synapse in net.synapses])
    assert all(grad.any() for grad in grads)


@pytest.mark.parametrize(
    ("neuron", "options", "message"),
    [
        ("non_spiking", {"learn_tau": True}, "non_spiking makes no use of learn_tau"),
        ("SB", {"threshold": 0.5}, "SB makes no use of threshold"),
        ("SB", {"temperature": 2.0}, "SB makes no use of temperature"),
        ("LIF", {"p_max": 0.5}, "LIF makes no use of p_max"),
        ("D", {"refractory": 2.0}, "D makes no use of refractory"),
        ("D", {"evaluation": "mean", "weighted": 0.0}, "D makes no use of evaluation, weighted"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(neuron: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ParallelNetwork(4, 5, 3, neuron=neuron, options=NeuronOptions(**options))  # type: ignore[arg-type]


def test_sizes_and_names_are_checked() -> None:
    with pytest.raises(ConfigError, match="sizes and layers of at least 1"):
        ParallelNetwork(4, 0, 3)
    with pytest.raises(ConfigError, match="needs neuron from LIF, non_spiking, SB"):
        ParallelNetwork(4, 5, 3, neuron="ReLU")
