"""Associations: store random vectors with labels, then recall the label of one of them.

The network receives the pairs one by one and stores them in a Hebbian memory, or in the state of another `model`. The
query is one of the vectors. Samples are not repeated, so the training accuracy is that of unseen samples, unless a
fixed training set is used (`stored`).

Paper: Limbacher, Ozdenizci, Legenstein, Memory-enriched computation and learning in spiking neural networks through
Hebbian plasticity, 2022 (arXiv:2205.11276). Its numbers for this task are not known to us, so there is no comparison.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from ...errors import ConfigError
from ...layers.hebbian_memory.layer import align_weights_
from ...train import metrics
from ...train.parts import (
    CheckpointOptions,
    LearningRateOptions,
    NonNegativeInt,
    Positive,
    PositiveInt,
    TimeLimitOptions,
)
from ...train.run import Run
from ...train.schedule import set_learning_rate, step_decay, time_limit
from ...train.step import descend
from ...train.supervised import fit
from ...train.table import Table
from .networks import AssociationNetwork, Kind, LSTMCore, MemoryCore, RateMemory, Recollection, RecurrentCore
from .options import (
    TEST_BATCH,
    BatchOptions,
    InputOptions,
    LateRateCostOptions,
    Populations,
    SampleOptions,
    Silence,
    accuracy_of,
    activity_of,
    layers_of,
    memory_of,
    memory_populations,
    neuron_of,
    of_data,
    rates,
    squared_rates,
    steps,
)
from .pairs import Associations, draw


@dataclass(frozen=True)
class Config(
    LearningRateOptions, CheckpointOptions, SampleOptions, InputOptions, LateRateCostOptions, BatchOptions,
    TimeLimitOptions,
):  # fmt: skip
    model: Kind = "spiking"
    """Network: spiking, with a Hebbian memory; relu, its rate version; frozen, with a memory that stays at zero;
    recurrent, recurrent LIF neurons; lstm."""
    classes: PositiveInt = 10
    """Number of different labels."""
    features: PositiveInt = 10
    """Dimension of the vectors."""
    centred: bool = False
    """Scale the vectors from [0, 1] to [-1, 1]."""
    test_lengths: str = ""
    """Additional sample lengths to test, for example 1,2,5; at most the number of classes."""
    batch: PositiveInt = 512
    lr: Positive = 0.003
    lr_decay_every: PositiveInt = 360
    rate_cost_after: NonNegativeInt = 18
    validate_every: PositiveInt = 100
    test_samples: PositiveInt = 2000

    def __post_init__(self) -> None:
        super().__post_init__()
        for length in [self.length, *lengths(self)]:
            if not 1 <= length <= self.classes:
                raise ConfigError(f"Samples of {length} items need as many classes, but there are {self.classes}.")
        if self.initial == "aligned" and self.model not in ("spiking", "frozen", "relu"):
            raise ConfigError(f'initial "aligned" is for networks with a memory, not for {self.model}. Choose "paper".')


def lengths(config: Config) -> list[int]:
    """Return the additional lengths to test."""
    try:
        return [int(word) for word in config.test_lengths.split(",") if word.strip()]
    except ValueError as error:
        raise ConfigError(
            f"--test-lengths takes whole numbers with commas, such as 1,2,5, but got {config.test_lengths!r}."
        ) from error


PAPER = Config(validate_every=18)
RATES: dict[str, Any] = {
    "model": "relu", "initial": "paper", "input_gain": 1.0, "potentiation": 0.1, "depression": 0.1, "rate_cost": 0.0,
}  # fmt: skip
CPU = Config(
    length=3, classes=3, centred=True, window=100.0, memory_size=40, input_gain=5.0, initial="aligned",
    readout_scale=0.3, dt=5.0, delay=5.0, threshold=0.4, refractory=5.0, batch=64, updates=150, validate_every=50,
    checkpoint_every=50, rate_cost=0.0,
)  # fmt: skip
PRESETS = {
    "cpu": CPU,
    "cpu_8": replace(CPU, length=8, classes=8, memory_size=64, updates=200),
    "paper_5": replace(
        PAPER, length=5, classes=5, centred=True, initial="aligned", input_gain=5.0, readout_scale=0.3, batch=64,
        updates=120, validate_every=20, checkpoint_every=20,
    ),
    "paper": PAPER,
    "paper_relu": replace(PAPER, lr=0.001, **RATES),
    "relu": replace(CPU, updates=2000, **RATES),
    "lstm": replace(CPU, model="lstm", initial="paper", updates=2000),
    "recurrent": replace(CPU, model="recurrent", initial="paper", updates=600),
    "frozen": replace(CPU, model="frozen"),
    "smoke": replace(
        CPU, length=2, classes=3, embedding=8, memory_size=8, item_ms=50.0, window=50.0, threshold=0.1, batch=8,
        updates=4, validation_samples=20, validate_every=2, test_samples=20, test_lengths="1,3", checkpoint_every=2,
    ),
}  # fmt: skip
PUBLISHED: Mapping[str, Mapping[str, Any]] = {}
NETWORKS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "spiking memory": ("paper_5", {}),
    "rate memory": ("relu", {"memory_size": 100, "updates": 1000}),
    "LSTM": ("lstm", {"memory_size": 100, "updates": 4000}),
    "recurrent LIF": ("recurrent", {"memory_size": 100, "updates": 300}),
    "memory at zero": ("paper_5", {"model": "frozen", "updates": 40}),
}
SHORTER = {"LSTM": {"updates": 1000}}
"""Changed options in the table of learning rates, where a quarter of the updates suffices."""
LENGTHS, RATES_TRIED = (1, 2, 3, 5, 8, 12, 20), (0.001, 0.003, 0.01)
TABLES = {
    "lengths": Table(
        "Accuracy on associations by the number of items, as many classes",
        {
            name: {str(n): (preset, {**own, "length": n, "classes": n}) for n in LENGTHS}
            for name, (preset, own) in NETWORKS.items()
        },
    ),
    "tuning": Table(
        "Accuracy on associations of five items by the learning rate",
        {
            name: {
                f"{lr:g}": (preset, {**own, **SHORTER.get(name, {}), "length": 5, "classes": 5, "lr": lr})
                for lr in RATES_TRIED
            }
            for name, (preset, own) in NETWORKS.items()
            if name != "memory at zero"
        },
    ),
}


def train(config: Config, run: Run) -> None:
    """Train on new samples, or on a fixed training set (`stored`)."""
    model = network(config, run)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    validation = samples(
        config, of_data(config, run, "validation", shared=True), config.length, config.validation_samples
    )
    drawn = of_data(config, run, "training", shared=bool(config.stored))
    stored = samples(config, drawn, config.length, config.stored) if config.stored else None
    silent = Silence()

    def step(finished: int) -> dict[str, float]:
        lr = step_decay(finished, config.lr, config.lr_decay, config.lr_decay_every)
        set_learning_rate(optimizer, lr)
        batch = samples(config, drawn, config.length, config.batch)
        if stored is not None:
            rows = torch.randint(config.stored, (config.batch,), generator=of_data(config, run, "batches"))
            batch = stored.select(rows)
        outputs = answer(config, model, batch, run.device)
        target = batch.target.to(run.device)
        loss = cross_entropy(outputs.logits, target)
        values = {"loss": loss.item(), "accuracy": metrics.accuracy(outputs.logits, target), "lr": lr}
        if config.rate_cost and config.spikes and finished >= config.rate_cost_after:
            loss = loss + config.rate_cost * sum(squared_rates(config, tensor) for tensor in outputs.layers.values())
        descend(loss, optimizer, model, config.clip)
        silent.look(run, outputs, finished)
        return values | rates(config, outputs.layers)

    @torch.no_grad()
    def validate(finished: int) -> dict[str, float]:
        return {"validation_accuracy": accuracy(config, model, validation, run)}

    fit(
        run,
        parts={"model": model, "optimizer": optimizer, "silence": silent},
        updates=config.updates,
        step=step,
        validate=validate,
        validate_every=config.validate_every,
        checkpoint_every=config.checkpoint_every,
        stop=time_limit(config.minutes, run),
        best="validation_accuracy" if config.select == "best" else None,
        better="higher",
    )


@torch.no_grad()
def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Return the accuracy on new samples, with the length of training and with test_lengths."""
    model = network(config, run)
    update = run.load_best(model=model)
    values = {}
    for length in dict.fromkeys([config.length, *lengths(config)]):
        draws = of_data(config, run, f"test {length}", shared=True)
        value = accuracy(config, model, samples(config, draws, length, config.test_samples), run)
        values["accuracy" if length == config.length else f"accuracy_{length}_items"] = value
    values |= {"chance": 1.0 / config.classes, "update": float(update), "test_samples": float(config.test_samples)}
    values["parameters"] = float(sum(parameter.numel() for parameter in model.parameters()))
    batch = samples(config, of_data(config, run, "activity", shared=True), config.length, TEST_BATCH)
    outputs = answer(config, model, batch, run.device)
    run.write_json("activity.json", activity(config, outputs))
    return values | rates(config, outputs.layers)


@torch.no_grad()
def plot(config: Config, run: Run) -> None:
    """Plot a sample in detail, the memory and its weights, accuracy by length, learning curves."""
    from .figures import associations

    model = network(config, run)
    run.load_best(model=model)
    batch = samples(config, of_data(config, run, "activity", shared=True), config.length, TEST_BATCH)
    associations(config, run, batch, answer(config, model, batch, run.device), lengths(config))


def network(config: Config, run: Run) -> AssociationNetwork:
    """Build the network of these options, with weights drawn from the run's generator."""
    draws, width = run.generator("weights", shared=True), config.memory_size
    n_in, n_query = 2 * config.embedding, config.embedding
    core: torch.nn.Module
    if config.model == "lstm":
        core = LSTMCore(n_in, n_query, width, generator=draws)
    elif config.model == "recurrent":
        width = 2 * config.memory_size
        core = RecurrentCore(
            n_in, n_query, width, neuron_of(config), steps=steps(config, "item_ms"), window=steps(config, "window"),
            generator=draws,
        )  # fmt: skip
    else:
        core = memory_of(config, n_in, n_query, draws)
    if config.initial == "aligned" and isinstance(core, MemoryCore | RateMemory):
        align_weights_(*core.weights, n_query)
    model = AssociationNetwork(
        core, config.features, config.classes, config.embedding, width, input_gain=config.input_gain,
        rectify=config.model == "relu", readout_scale=config.readout_scale, generator=draws,
    )  # fmt: skip
    return model.to(run.device)


def samples(config: Config, generator: torch.Generator, length: int, count: int) -> Associations:
    """Draw new samples."""
    return draw(count, length, config.classes, config.features, generator=generator)


def answer(config: Config, model: AssociationNetwork, batch: Associations, device: torch.device) -> Recollection:
    """Run the network on a batch."""
    features, query = (2 * vectors - 1 if config.centred else vectors for vectors in (batch.features, batch.query))
    outputs: Recollection = model(features.to(device), batch.labels.to(device), query.to(device))
    return outputs


def accuracy(config: Config, model: AssociationNetwork, samples: Associations, run: Run) -> float:
    """Return the accuracy on all samples."""
    return accuracy_of(lambda batch: answer(config, model, batch, run.device).logits, samples, run.device)


def activity(config: Config, outputs: Recollection) -> dict[str, Any]:
    """Return the content of activity.json: sizes, synapses and rates [Hz] of each population."""
    size, n_in, n_query = config.memory_size, 2 * config.embedding, config.embedding
    encoders: Populations = {"storage encoder": (n_in, 1, None), "recall encoder": (n_query, 1, None)}
    populations = encoders | memory_populations(size, n_in, n_query)
    if config.model == "lstm":
        populations = {"LSTM": (size, 4 * (n_in + n_query + size), None)}
    elif config.model == "recurrent":
        size *= 2
        populations = encoders | {
            "write population": (size, n_in, "rate_storage_encoder"),
            "read population": (size, n_query, "rate_recall_encoder"),
        }
    layers = layers_of(rates(config, outputs.layers), populations)
    if config.model == "recurrent":
        for layer in layers[2:]:
            layer |= {"synapses": layer["synapses"] + size**2, "recurrent_synapses": size**2}
    return activity_of(config, config.length + 1, layers)


__all__ = ["PRESETS", "PUBLISHED", "TABLES", "Config", "evaluate", "plot", "train"]
