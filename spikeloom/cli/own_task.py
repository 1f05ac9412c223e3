"""Last group: say which of two groups of input neurons fired last.

Half of the input neurons fire in the first half of a sample, the others in the second; chance decides which are first.
Hidden LIF neurons and a leaky readout forget, so that the output at the end of a sample tells the groups apart. The
data is made up and costs nothing: every batch is drawn anew.

`spikeloom new` wrote this file. The first line above is the title of the task, and the whole text stands in the report
of every run. To make the task your own, change one part after the other; the smoke preset tells in seconds whether all
of it still runs:

    Config     the options: each has a default, a range and a help text, and is an option of the command line
    PRESETS    named options; the first is the default, and `smoke` is for a quick test
    PUBLISHED  numbers to compare with, by the name of the test value; here there are none
    build      the network
    draw       the data; whatever is random comes from a generator of the run, so that the seed determines a run
    train      one update and one validation, which `fit` calls; it also logs, saves checkpoints and resumes
    evaluate   the test values of the trained network
    plot       the figures of the report
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from annotated_types import Ge, Interval, MultipleOf
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spikeloom import LIF, LeakyReadout, Sequential, poisson
from spikeloom.train import metrics
from spikeloom.train.parts import NonNegative, Options, Positive, PositiveInt
from spikeloom.train.run import Run
from spikeloom.train.step import descend
from spikeloom.train.supervised import fit


@dataclass(frozen=True)
class Config(Options):
    n_in: Annotated[int, Ge(2), MultipleOf(2)] = 40
    """Number of input neurons, half of them in each group."""
    hidden: PositiveInt = 50
    """Number of hidden LIF neurons."""
    tau_mem: Positive = 20.0
    """Time constant of the hidden neurons and of the readout [ms]."""
    gain: Positive = 20.0
    """Scale of the initial input weights; too small, and no hidden neuron ever fires."""
    rate: Annotated[float, Interval(gt=0, le=1000)] = 50.0
    """Firing rate of the input neurons of the current group [Hz]."""
    group_ms: PositiveInt = 50
    """Time for which a group fires [ms]."""
    batch: PositiveInt = 64
    """Samples per update, and per validation."""
    test_samples: PositiveInt = 1000
    """Samples of the test."""
    updates: PositiveInt = 300
    """Number of optimiser updates."""
    lr: NonNegative = 0.003
    """Learning rate of Adam."""
    validate_every: PositiveInt = 20
    """Updates between two validations; the weights of the best one are tested."""


DEFAULT = Config()
PRESETS = {
    "default": DEFAULT,
    "long": replace(DEFAULT, group_ms=150, tau_mem=50.0),
    "smoke": replace(DEFAULT, hidden=10, batch=8, test_samples=20, updates=4, validate_every=2),
}
PUBLISHED: Mapping[str, Any] = {}  # such as {"accuracy": {"value": 0.9, "source": "A. Author, 2020", "note": "..."}}


def build(config: Config, run: Run) -> Sequential:
    """Return the network: [T, B, n_in] spikes -> [T, B, 2] voltages, one for each group."""
    first, last = nn.Linear(config.n_in, config.hidden), nn.Linear(config.hidden, 2)
    for layer, gain in ((first, config.gain), (last, 1.0)):
        nn.init.normal_(layer.weight, std=gain / layer.in_features**0.5, generator=run.generator("weights"))
        nn.init.zeros_(layer.bias)
    net = Sequential(first, LIF(tau_mem=config.tau_mem), last, LeakyReadout(tau_mem=config.tau_mem))
    return net.to(run.device)


def draw(config: Config, run: Run, purpose: str, samples: int) -> tuple[Tensor, Tensor]:
    """Return input spikes [T, B, n_in], 1 ms a step, and the group that fires last in each sample [B]."""
    generator = run.generator(purpose)
    last = torch.randint(2, (samples,), generator=generator)
    group = torch.arange(config.n_in) % 2
    fires = group == last[:, None]  # [B, n_in], in the second half
    halves = [poisson(config.rate * now, config.group_ms, generator=generator) for now in (~fires * 1.0, fires * 1.0)]
    return torch.cat(halves).to(run.device), last.to(run.device)


def train(config: Config, run: Run) -> None:
    """Train with Adam."""
    net = build(config, run)
    optimizer = torch.optim.Adam(net.parameters(), lr=config.lr)

    def step(finished: int) -> dict[str, float]:
        spikes, last = draw(config, run, "training", config.batch)
        voltages, _ = net(spikes)
        loss = cross_entropy(voltages[-1], last)
        descend(loss, optimizer, net)
        return {"loss": loss.item(), "accuracy": metrics.accuracy(voltages[-1], last)}

    @torch.no_grad()
    def validate(finished: int) -> dict[str, float]:
        spikes, last = draw(config, run, "validation", config.batch)
        voltages, _ = net(spikes)
        loss = cross_entropy(voltages[-1], last)
        return {"validation_loss": loss.item(), "validation_accuracy": metrics.accuracy(voltages[-1], last)}

    fit(
        run,
        parts={"model": net, "optimizer": optimizer},  # all that must survive an interruption
        updates=config.updates,
        step=step,
        validate=validate,
        validate_every=config.validate_every,
        best="validation_loss",
        headline=("loss", "accuracy", "validation_accuracy"),  # shown while it trains; metrics.jsonl has all values
    )


@torch.no_grad()
def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Return the test accuracy of the weights with the lowest validation loss."""
    net = build(config, run)
    update = run.load_best(model=net)
    spikes, last = draw(config, run, "test", config.test_samples)
    voltages, _ = net(spikes)
    return {"accuracy": metrics.accuracy(voltages[-1], last), "update": float(update)}


@torch.no_grad()
def plot(config: Config, run: Run) -> None:
    """Plot the spikes of one sample, and learning curves."""
    from spikeloom.plot.raster import Rows, layered  # matplotlib is slow to import
    from spikeloom.train.figures import plot_learning_curves, to_numpy

    net = build(config, run)
    run.load_best(model=net)
    spikes, last = draw(config, run, "figure", 1)
    hidden, _ = net[:2](spikes)  # the first two layers
    voltages, _ = net[2:](hidden)
    said, asked = int(voltages[-1, 0].argmax()) + 1, int(last[0]) + 1
    rows = [Rows(f"group {group + 1}", to_numpy(spikes[:, 0, group::2])) for group in (0, 1)]
    rows.append(Rows("hidden", to_numpy(hidden[:, 0])))
    figure = layered(rows, title=f"Group {asked} fires last; the network says group {said}")
    run.figure("spikes", figure, "One sample after training: input spikes of both groups, and hidden spikes.")
    charts = {
        "loss": {"training": "loss", "validation": "validation_loss"},
        "accuracy": {"training": "accuracy", "validation": "validation_accuracy"},
    }
    plot_learning_curves(run, "Learning which group fires last", charts, {"accuracy": {"chance": 0.5}})


def network_of(config: Config, run: Run) -> tuple[nn.Module, tuple[int, ...]]:
    """Return the network and the shape of one input, for `spikeloom export RUN --format nir`; may be left out."""
    return build(config, run), (config.n_in,)
