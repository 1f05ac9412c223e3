"""What the tasks of the LSNN paper share: learning rate, sizes, activity."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spikeloom.core import detach
from spikeloom.errors import ConfigError
from spikeloom.papers.lsnn import sequential_mnist, store_recall
from spikeloom.papers.lsnn.network import LSNN, Activity, LSTMBaseline
from spikeloom.papers.lsnn.options import build, layers, lstm_units, populations, rate_values, rates
from spikeloom.papers.lsnn.symbols import encode
from spikeloom.train.run import Run
from spikeloom.train.schedule import set_learning_rate, step_decay


def weights(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("update", "expected"),
    [(0, 0.01), (2_499, 0.01), (2_500, 0.008), (12_500, 0.0032768), (25_000, 0.00107374), (35_000, 0.00043980)],
)
def test_the_learning_rate_follows_the_paper(update: int, expected: float) -> None:
    config = sequential_mnist.PAPER
    rate = step_decay(update, config.lr, config.lr_decay, config.lr_decay_every)
    assert rate == pytest.approx(expected, abs=1e-8)


def test_the_learning_rate_of_store_recall_drops_once() -> None:
    config = store_recall.PAPER
    drawn = [step_decay(update, config.lr, config.lr_decay, config.lr_decay_every) for update in (0, 99, 100, 199)]
    assert drawn == pytest.approx([0.01, 0.01, 0.003, 0.003])


def test_the_optimiser_gets_the_learning_rate() -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0.0, 0.5, 10), r"The learning rate needs lr > 0 and finite, but got 0\.0"),
        ((0, 0.1, -1.0, 10), r"The learning rate needs lr_decay > 0 and finite, but got -1\.0"),
        ((0, 0.1, 0.5, 0), "The learning rate needs lr_decay_every >= 1, but got 0"),
    ],
)
def test_a_learning_rate_that_makes_no_sense_is_refused(arguments: tuple[int, float, float, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        step_decay(*arguments)


def test_the_papers_networks_have_the_papers_number_of_weights(tmp_path: Path) -> None:
    run = Run(tmp_path, "task", "paper", 0)
    assert weights(build(sequential_mnist.PAPER, run, 80, 10, bias=True)) == 68_210
    assert weights(build(store_recall.PAPER, run, 100, 2, bias=False)) == 2_440


@pytest.mark.parametrize(("n_in", "neurons", "n_out", "tolerance"), [(100, 20, 2, 0.08), (80, 220, 10, 0.01)])
def test_the_lstm_has_as_many_weights(n_in: int, neurons: int, n_out: int, tolerance: float) -> None:
    units = lstm_units(n_in, neurons, n_out, bias=True)
    wanted = n_in * neurons + neurons * neurons + neurons * n_out + n_out
    assert weights(LSTMBaseline(n_in, units, n_out)) == pytest.approx(wanted, rel=tolerance)
    for other in (units - 1, units + 1):
        assert abs(weights(LSTMBaseline(n_in, other, n_out)) - wanted) >= abs(
            weights(LSTMBaseline(n_in, units, n_out)) - wanted
        )


def test_the_control_has_as_many_neurons_and_none_adapts(tmp_path: Path) -> None:
    model = build(store_recall.PRESETS["lif"], Run(tmp_path, "task", "lif", 0), 100, 2, bias=False)
    assert isinstance(model, LSNN)
    assert weights(model) == 2_440
    threshold = model.trace(torch.ones(30, 1, 100)).threshold
    assert threshold.shape[-1] == 20
    assert torch.unique(threshold).numel() == 1
    adaptive = build(store_recall.PAPER, Run(tmp_path, "task", "paper", 0), 100, 2, bias=False)
    assert isinstance(adaptive, LSNN)
    moving = adaptive.trace(torch.ones(30, 1, 100)).threshold
    assert torch.unique(moving[..., :10]).numel() == 1
    assert torch.unique(moving[..., 10:]).numel() > 1


def test_a_carried_state_survives_its_batch_being_overwritten(tmp_path: Path) -> None:
    model = build(store_recall.PRESETS["smoke"], Run(tmp_path, "task", "smoke", 0), 20, 2, bias=False)
    groups = torch.ones(3, 2, 4, dtype=torch.bool)
    spikes = encode(groups, 20, symbol_ms=20.0, generator=torch.Generator().manual_seed(1))
    _, state = model(spikes)
    kept = detach(state, copy=True)
    before = model(spikes.clone(), kept)[0].logits
    again = spikes.clone()
    spikes.fill_(1.0)
    assert torch.equal(model(again, kept)[0].logits, before)
    assert not any(part.requires_grad for part in kept.inputs)


def test_rates_are_in_hertz() -> None:
    spikes = torch.zeros(100, 2, 3)
    spikes[::10, :, 0] = 1
    spikes[0, 0, 1] = 1
    assert rates(spikes, dt=0.5).tolist() == pytest.approx([200.0, 10.0, 0.0])
    activity = Activity(spikes, spikes)
    values = rate_values(activity, replace(store_recall.PAPER, dt=0.5))
    assert rate_values(activity, store_recall.PRESETS["lstm"]) == {}
    assert values == pytest.approx({"rate": 70.0, "rate_min": 0.0, "rate_max": 200.0, "rate_sd": 92.0145}, rel=1e-4)


def test_populations_are_columns_in_order() -> None:
    values = torch.arange(20)
    found = populations(store_recall.PAPER, values)
    assert found["regular"].tolist() == list(range(10))
    assert found["adaptive"].tolist() == list(range(10, 20))
    assert list(populations(store_recall.PRESETS["lif"], values)) == ["regular"]
    assert populations(store_recall.PRESETS["lstm"], values) == {}


def test_activity_counts_every_synapse_once(tmp_path: Path) -> None:
    config = store_recall.PAPER
    hidden, readout = layers(build(config, Run(tmp_path, "t", "p", 0), 100, 2, bias=False), config, 100, 2, 20.0, 14.0)
    assert hidden["synapses"] + readout["synapses"] == 2_440 - 20  # no neuron reaches itself
    assert hidden["recurrent_synapses"] == 380
    assert (hidden["rate_hz"], hidden["input_rate_hz"], readout["input_rate_hz"]) == (20.0, 14.0, 20.0)
    lstm = store_recall.PRESETS["lstm"]
    entries = layers(build(lstm, Run(tmp_path, "t", "l", 0), 100, 2, bias=False), lstm, 100, 2, 0.0, 14.0)
    assert [entry["synapses"] for entry in entries] == [4 * 6 * 100, 4 * 6 * 6, 2 * 6]
    assert [entry["input_rate_hz"] for entry in entries] == [14.0, None, None]
