"""Which layers fire: counts against plain loops, nothing changed by looking, and what a run says about it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeloom import LSNN, ParallelNetwork
from spikeloom.core import Stateful
from spikeloom.errors import ConfigError
from spikeloom.inspect import FiringCounter, LayerActivity, activity, advice
from spikeloom.layers import DelayedLinear, RectifiedRecurrent, Recurrent, Sequential, TwoPass
from spikeloom.layers.hebbian_memory.layer import HebbianWrite
from spikeloom.neurons import (
    ALIF,
    LIF,
    PSN,
    LeakyReadout,
    MaskedPSN,
    ParaLIF,
    RateNeuron,
    ReLUCurve,
    SlidingPSN,
    SynapticLIF,
)  # fmt: skip
from spikeloom.train.firing import FiringMonitor
from spikeloom.train.run import Run
from spikeloom.train.supervised import fit


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "LIF": lambda: LIF(2.0, threshold=0.3),
    "ALIF": lambda: ALIF(2.0, threshold=0.3),
    "SynapticLIF": lambda: SynapticLIF(2.0, 2.0, threshold=0.3),
    "ParaLIF": lambda: ParaLIF("SB", generator=seeded()),
    "PSN": lambda: PSN(20, generator=seeded()),
    "MaskedPSN": lambda: MaskedPSN(20, 3, generator=seeded()),
    "SlidingPSN": lambda: SlidingPSN(3),
    "Recurrent": lambda: Recurrent(LIF(2.0, threshold=0.3), DelayedLinear(5, 5, delays=3, generator=seeded())),
    "RectifiedRecurrent": lambda: RectifiedRecurrent(SynapticLIF(2.0, 2.0, threshold=0.3), nn.Linear(5, 5)),
    "HebbianWrite": lambda: HebbianWrite(5, 5, generator=seeded()),
}


@pytest.mark.parametrize("name", LAYERS)
def test_counts_are_those_of_a_plain_loop(name: str) -> None:
    torch.manual_seed(0)
    layer, xs = LAYERS[name](), 9 * torch.rand(20, 3, 5, generator=seeded(1))
    own = [value for value in vars(layer).values() if isinstance(value, torch.Generator)]
    states = [generator.get_state() for generator in own]
    (found,) = activity(layer, xs)
    assert all(torch.equal(one.get_state(), state) for one, state in zip(own, states, strict=True))
    out = layer(xs)
    spikes = (out[0] if isinstance(out, tuple) else out).detach()
    rates = [float(spikes[:, :, n].sum()) / 60 for n in range(spikes.shape[2])]
    assert found.name == type(layer).__name__
    assert found.neurons == len(rates)
    assert found.rate == pytest.approx(sum(rates) / len(rates))
    assert found.silent == pytest.approx(sum(rate == 0 for rate in rates) / len(rates))
    assert found.saturated == pytest.approx(sum(rate > 0.95 for rate in rates) / len(rates))
    assert found.rate > 0


def test_every_spiking_layer_of_a_network_is_found_once() -> None:
    xs = torch.rand(10, 2, 5, generator=seeded())
    assert [layer.name for layer in activity(LSNN(5, 4, 2, 3, generator=seeded()), xs)] == ["hidden"]
    assert [layer.name for layer in activity(ParallelNetwork(5, 4, 3, generator=seeded()), xs)] == [
        "neurons.0", "neurons.1", "neurons.2",
    ]  # fmt: skip
    net = Sequential(nn.Linear(5, 7), LIF(), nn.Linear(7, 5), TwoPass(ParaLIF("D"), nn.Linear(5, 5)), LeakyReadout())
    assert [(layer.name, layer.neurons) for layer in activity(net, xs)] == [("layers.1", 7), ("layers.3.neuron", 5)]


def test_a_layer_with_inputs_of_two_sizes_has_two_lines() -> None:
    neuron = LIF()
    counter = FiringCounter({"net": neuron})
    with counter.counting():
        neuron(torch.full((10, 2, 3), 9.0))
        neuron(torch.zeros(10, 2, 4))
        neuron(torch.zeros(10, 2, 3))
    assert [(layer.name, layer.silent, layer.state) for layer in counter.layers()] == [
        ("net (3)", 0.0, ""), ("net (4)", 1.0, "silent"),
    ]  # fmt: skip
    neuron(torch.zeros(10, 2, 5))
    assert len(counter.layers()) == 2


def test_nothing_is_changed_by_looking() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(2), nn.BatchNorm1d(3), nn.Dropout(0.5))
    before, state = {name: part.clone() for name, part in net.state_dict().items()}, torch.get_rng_state()
    activity(net, torch.rand(4, 3, 5))
    torch.set_rng_state(state)
    assert net.training
    assert all(torch.equal(part, before[name]) for name, part in net.state_dict().items())
    lif = LIF()
    activity(lif, torch.rand(4, 3, 5))
    assert not lif._forward_hooks
    state = torch.get_rng_state()
    activity(nn.Sequential(nn.Dropout(0.5)), torch.ones(2, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)


class Threshold(Stateful):
    """A neuron of a user's own."""

    def initial_state(self, x: Tensor) -> tuple[()]:
        return ()

    def step(self, x: Tensor, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        return (x > 0.5).to(x.dtype), ()


class Half(Threshold):
    """No spikes."""

    def step(self, x: Tensor, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        return 0.5 * x, ()


def test_layers_of_the_users_own_count_if_they_give_spikes() -> None:
    xs = torch.tensor([0.0, 1.0]).expand(10, 3, 2)
    net = Sequential(Half(), nn.Linear(2, 2), Threshold())
    with torch.no_grad():
        net.layers[1].weight.copy_(torch.eye(2) * 2)  # type: ignore[operator]
        net.layers[1].bias.zero_()  # type: ignore[operator]
    (found,) = activity(net, xs)
    assert found == LayerActivity("layers.2", 2, 0.5, 0.5, 0.5)


def test_rate_neurons_count_only_while_they_spike() -> None:
    neuron, xs = RateNeuron(ReLUCurve(), amplitude=0.01), torch.full((50, 2, 3), 200.0)
    assert activity(neuron.train(), xs) == []
    (found,) = activity(neuron.eval(), xs)
    assert found.rate == pytest.approx(0.2, abs=0.03)


def test_what_is_wrong_is_said_with_what_to_try() -> None:
    working = LayerActivity("a", 1280, 0.1, 0.98, 0.02)
    dead, loud = LayerActivity("b", 1280, 0.0, 1.0, 0.0), LayerActivity("c", 1280, 0.99, 0.0, 1.0)
    nearly = LayerActivity("d", 1280, 0.001, 0.995, 0.0)
    assert advice([working]) == []
    silent, saturated, few = advice([working, dead, loud, nearly])
    assert silent.startswith("layer b is silent: none of its 1,280 neurons spiked")
    assert "Try larger inputs or weights, a lower threshold, or a longer time constant." in silent
    assert saturated.startswith("layer c is saturated: its 1,280 neurons spike in 99.0% of the steps")
    assert "Try smaller inputs or weights, a higher threshold" in saturated
    assert "only 0.5% of its 1,280 neurons spiked" in few
    assert str(working) == "a: 1,280 neurons, 0.1000 spikes per step, 98.0% silent, 2.0% saturated"


def network(kind: str) -> Sequential:
    net = Sequential(nn.Linear(5, 8), LIF(), nn.Linear(8, 2), LeakyReadout())
    scale = {"dead": 0.0, "loud": 0.0, "sound": 1.0}[kind]
    with torch.no_grad():
        net.layers[0].weight.mul_(scale)  # type: ignore[operator]
        net.layers[0].bias.fill_({"dead": -1.0, "loud": 99.0, "sound": 2.5}[kind])  # type: ignore[operator]
    return net


def train(run: Run, net: nn.Module, updates: int = 4) -> list[dict[str, object]]:
    optimizer, xs = torch.optim.SGD(net.parameters(), lr=1e-9), torch.rand(60, 3, 5, generator=seeded())

    def step(finished: int) -> dict[str, float]:
        loss = net(xs)[0].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss.item()}

    def validate(finished: int) -> dict[str, float]:
        with torch.no_grad():
            return {"validation_loss": net(xs)[0].square().mean().item()}

    fit(run, parts={"model": net, "optimizer": optimizer}, updates=updates, step=step, validate=validate)
    return list(run.read_json("layers.json")["observed"])


@pytest.mark.parametrize(("kind", "word"), [("dead", "silent"), ("loud", "saturated"), ("sound", "")])
def test_a_dead_layer_is_told_once(kind: str, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    run = Run(tmp_path / "run", task="t", preset="p", seed=0)
    observed = train(run, network(kind))
    said = [line for line in capsys.readouterr().out.splitlines() if "layer" in line]
    assert len(said) == bool(word)
    assert not word or said[0].startswith(f"Warning, at update 0 (training): layer layers.1 is {word}: ")
    assert [(one["update"], one["during"]) for one in observed] == [(0, "training"), (4, "validation")]
    train(run, network(kind), updates=6)  # goes on: what was seen first is kept
    observed = run.read_json("layers.json")["observed"]
    assert [(one["update"], one["during"]) for one in observed] == [(0, "training"), (6, "validation")]
    (run.folder / "layers.json").write_text("[")  # it only informs
    observed = train(run, network(kind), updates=7)
    assert [(one["update"], one["during"]) for one in observed] == [(7, "validation")]


def test_a_quiet_run_and_one_without_spikes_say_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(Run(tmp_path / "quiet", task="t", preset="p", seed=0, quiet=True), network("dead"))
    assert capsys.readouterr().out == ""
    FiringMonitor(Run(tmp_path / "none", task="t", preset="p", seed=0), {}).keep(0, "training", [])
    assert not (tmp_path / "none").exists()


def test_a_second_state_of_a_layer_is_told_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    firing = FiringMonitor(Run(tmp_path, task="t", preset="p", seed=0), {})
    for update, silent, rate in ((0, 1.0, 0.0), (1, 1.0, 0.0), (2, 0.0, 0.1), (3, 0.0, 1.0), (4, 1.0, 0.0)):
        firing.keep(update, "validation", [LayerActivity("a", 3, rate, silent, float(rate > 0.95))])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "Warning, at update 0 (validation)", "Warning, at update 3 (validation)",
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", ["network", None, 3])
def test_what_is_no_network_is_named(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="network"):
        activity(wrong, torch.zeros(2, 1, 3))


def quiet_and_busy() -> Sequential:
    torch.manual_seed(0)
    return Sequential(nn.Linear(5, 8), LIF(threshold=0.2), nn.Linear(8, 6), LIF(threshold=1e3), nn.Linear(6, 2))


def test_gradients_of_a_loss_are_those_of_autograd_and_none_is_kept() -> None:
    net, xs = quiet_and_busy(), torch.rand(20, 3, 5, generator=seeded())
    table = activity(net, xs, loss=lambda out: out.square().sum())
    assert all(part.grad is None for part in net.parameters())
    assert xs.grad is None
    assert not xs.requires_grad
    spikes = net[:2](xs)[0].detach().requires_grad_()
    (wanted,) = torch.autograd.grad(net[2:](spikes)[0].square().sum(), spikes)
    assert table[0].gradient == pytest.approx(float(wanted.norm()), rel=1e-5)
    assert [layer.name for layer in table] == ["layers.1", "layers.3"]
    assert all(layer.gradient is None for layer in activity(net, xs))
    (alone,) = activity(LIF(2.0, threshold=0.3), 9 * xs, loss=lambda out: out.sum())
    assert alone.gradient == pytest.approx(300**0.5)


def test_the_table_fits_a_terminal_and_a_notebook() -> None:
    name = "encoder.blocks.12.attention.population.of.neurons.with.a.long.name"
    table = activity(quiet_and_busy(), torch.rand(20, 3, 5), loss=lambda out: out.square().mean())
    lines = str(table).splitlines()
    assert lines[0].split() == ["layer", "neurons", "spikes", "per", "step", "silent", "saturated", "gradient"]
    assert lines[2].split()[0] == "layers.3"
    assert lines[2].split()[-1] == "silent"
    assert repr(table) == str(table)
    long = type(table)([LayerActivity(name, 123_456_789, 0.5, 0.0, 0.0, 1e-9), *table])
    assert max(map(len, str(long).splitlines())) <= 80
    assert "long.name" in str(long)
    html = table._repr_html_()
    assert html.startswith("<table><thead><tr><th>layer</th>")
    assert html.count("<tr>") == 3
    assert "<b>" not in type(table)([LayerActivity("<b>", 1, 0.5, 0.0, 0.0)])._repr_html_()
    assert str(activity(nn.Linear(2, 2), torch.rand(3, 2))) == "no layer that spikes"


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda out: out, r"it returned a tensor \[20, 3, 2\]\. Return"),
        (lambda out: out.sum().detach(), r"a tensor \[\] without a gradient"),
        (lambda out: 3.0, "it returned float"),
    ],
)
def test_a_loss_that_is_no_number_is_refused(loss: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        activity(quiet_and_busy(), torch.rand(20, 3, 5), loss=loss)
