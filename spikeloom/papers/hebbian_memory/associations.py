"""Associations: store random vectors with labels, then recall the label of one of them.

The network receives the pairs one by one and stores them in a Hebbian memory, or in the state of another `model`. The
query is one of the vectors. Samples are not repeated, so the training accuracy is that of unseen samples, unless a
fixed training set is used (`stored`).

Paper: Limbacher, Ozdenizci, Legenstein, Memory-enriched computation and learning in spiking neural networks through
Hebbian plasticity, 2022 (arXiv:2205.11276). Its numbers for this task are not known to us, so there is no comparison.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...errors import ConfigError, check_positive
from ...layers.hebbian_memory.layer import align_weights_
from ...train.parts import CheckpointOptions, LearningRateOptions
from ...train.run import Run
from ...train.schedule import time_limit
from ...train.step import descend
from ...train.supervised import fit
from ...train.table import Table
from .networks import AssociationNetwork, Kind, LSTMCore, MemoryCore, RateMemory, Recollection, RecurrentCore
from .options import (
    SPIKING,
    LayerOptions,
    RateCostOptions,
    Silence,
    check_data_seed,
    check_layers,
    neuron_of,
    of_data,
    populations,
    rates,
    rule_of,
    squared_rates,
    steps,
)
from .pairs import Associations, draw

TEST_BATCH = 100


@dataclass(frozen=True)
class Config(LearningRateOptions, CheckpointOptions, LayerOptions, RateCostOptions):
    model: Kind = "spiking"
    """Network: spiking, with a Hebbian memory; relu, its rate version; frozen, with a memory that stays at zero;
    recurrent, recurrent LIF neurons; lstm."""
    length: int = 10
    """Number of items (vector and label) of a sample."""
    classes: int = 10
    """Number of different labels."""
    features: int = 10
    """Dimension of the vectors."""
    centred: bool = False
    """Scale the vectors from [0, 1] to [-1, 1]."""
    data_seed: int = -1
    """Seed of the samples, so that runs with different seeds share them; -1: the seed of the run."""
    test_lengths: str = ""
    """Additional sample lengths to test, for example 1,2,5; at most the number of classes."""
    item_ms: float = 100.0
    """Duration of an item, and of the query [ms]."""
    window: float = 30.0
    """Final part of the query in which value spikes are counted [ms]."""
    embedding: int = 80
    """Embedding dimension of a vector, and of a label."""
    input_gain: float = 80.0
    """Factor of the input currents of the encoders."""
    initial: Literal["paper", "aligned"] = "paper"
    """Initial weights: paper, independent; aligned, equal key weights for writing and reading."""
    readout_scale: float = 1.0
    """Factor of the initial weights of the readout."""
    batch: int = 512
    """Samples per update."""
    updates: int = 4500
    """Number of optimiser updates."""
    stored: int = 0
    """Size of a fixed training set, drawn once; 0: new samples in every update."""
    minutes: float = 0.0
    """Time limit of training [min]; 0: none."""
    lr_decay_every: int = 360
    clip: float = 40.0
    """Gradient clipping: largest norm of the gradient; 0: no clipping."""
    rate_cost_after: int = 18
    """Number of initial updates without the rate regularisation."""
    validation_samples: int = 1000
    """Number of validation samples, the same in every validation."""
    validate_every: int = 100
    test_samples: int = 2000
    """Number of test samples for each length."""


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
    check(config)
    model = network(config, run)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    validation = samples(
        config, of_data(config, run, "validation", shared=True), config.length, config.validation_samples
    )
    drawn = of_data(config, run, "training", shared=bool(config.stored))
    stored = samples(config, drawn, config.length, config.stored) if config.stored else None
    silent = Silence()

    def step(finished: int) -> dict[str, float]:
        lr = config.lr * config.lr_decay ** (finished // config.lr_decay_every)
        for group in optimizer.param_groups:
            group["lr"] = lr
        batch = samples(config, drawn, config.length, config.batch)
        if stored is not None:
            rows = torch.randint(config.stored, (config.batch,), generator=of_data(config, run, "batches"))
            batch = Associations(
                *(tensor[..., rows, :] if tensor.dtype.is_floating_point else tensor[..., rows] for tensor in stored)
            )
        outputs = answer(config, model, batch, run.device)
        loss = cross_entropy(outputs.logits, batch.target.to(run.device))
        values = {"loss": loss.item(), "accuracy": share(outputs.logits, batch.target), "lr": lr}
        if config.rate_cost and config.model in SPIKING and finished >= config.rate_cost_after:
            loss = loss + config.rate_cost * sum(squared_rates(config, tensor) for tensor in outputs.layers.values())
        descend(loss, optimizer, model, config.clip)
        silent.look(run, outputs, finished)
        return values | rates(config, outputs)

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
    check(config)
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
    return values | rates(config, outputs)


@torch.no_grad()
def plot(config: Config, run: Run) -> None:
    """Plot a sample in detail, the memory and its weights, accuracy by length, learning curves."""
    from .figures import associations

    model = network(config, run)
    run.load_best(model=model)
    batch = samples(config, of_data(config, run, "activity", shared=True), config.length, TEST_BATCH)
    associations(config, run, batch, answer(config, model, batch, run.device), lengths(config))


def check(config: Config) -> None:
    """Raise ConfigError if options contradict each other, are out of range, or have no effect."""
    check_positive(
        "associations", batch=config.batch, updates=config.updates, item_ms=config.item_ms, window=config.window,
        dt=config.dt, lr=config.lr, embedding=config.embedding, memory_size=config.memory_size,
        lr_decay_every=config.lr_decay_every, validation_samples=config.validation_samples,
        test_samples=config.test_samples, input_gain=config.input_gain, delay=config.delay,
    )  # fmt: skip
    check_data_seed(config)
    check_layers(config, "item_ms", "window", "delay", spikes=config.model in SPIKING)
    for length in [config.length, *lengths(config)]:
        if not 1 <= length <= config.classes:
            raise ConfigError(f"Samples of {length} items need as many classes, but there are {config.classes}.")
    if min(config.clip, config.rate_cost, config.target_rate, config.stored, config.minutes) < 0:
        raise ConfigError("clip, rate_cost, target_rate, stored and minutes must not be below 0.")
    if config.initial == "aligned" and config.model not in ("spiking", "frozen", "relu"):
        raise ConfigError(f'initial "aligned" is for networks with a memory, not for {config.model}. Choose "paper".')


def lengths(config: Config) -> list[int]:
    """Return the additional lengths to test."""
    try:
        return [int(word) for word in config.test_lengths.split(",") if word.strip()]
    except ValueError as error:
        raise ConfigError(f"test_lengths are whole numbers with commas, not {config.test_lengths!r}.") from error


def network(config: Config, run: Run) -> AssociationNetwork:
    """Build the network of these options, with weights drawn from the run's generator."""
    draws, width = run.generator("weights", shared=True), config.memory_size
    n_in, n_query = 2 * config.embedding, config.embedding
    rule = rule_of(config, rates=config.model == "relu")
    core: torch.nn.Module
    if config.model == "relu":
        core = RateMemory(n_in, n_query, width, rule, generator=draws)
    elif config.model == "lstm":
        core = LSTMCore(n_in, n_query, width, generator=draws)
    else:
        neuron = neuron_of(config)
        time: dict[str, Any] = {
            "steps": steps(config, "item_ms"),
            "window": steps(config, "window"),
            "generator": draws,
        }
        if config.model == "recurrent":
            width = 2 * config.memory_size
            core = RecurrentCore(n_in, n_query, width, neuron, **time)
        else:
            core = MemoryCore(
                n_in, n_query, width, neuron, rule if config.model == "spiking" else None, recall=config.recall,
                delay=steps(config, "delay"), **time,
            )  # fmt: skip
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


def answer(config: Config, model: AssociationNetwork, shown: Associations, device: torch.device) -> Recollection:
    """Run the network on a batch."""
    features, query = (2 * vectors - 1 if config.centred else vectors for vectors in (shown.features, shown.query))
    outputs: Recollection = model(features.to(device), shown.labels.to(device), query.to(device))
    return outputs


def accuracy(config: Config, model: AssociationNetwork, shown: Associations, run: Run) -> float:
    """Return the accuracy on all samples; the result does not depend on the batch size."""
    correct = 0.0
    for start in range(0, len(shown.target), TEST_BATCH):
        rows = slice(start, start + TEST_BATCH)
        batch = Associations(shown.features[:, rows], shown.labels[:, rows], shown.query[rows], shown.target[rows])
        correct += len(batch.target) * share(answer(config, model, batch, run.device).logits, batch.target)
    return correct / len(shown.target)


def share(logits: Tensor, target: Tensor) -> float:
    """Return the accuracy."""
    return float((logits.detach().argmax(-1).cpu() == target).float().mean())


def activity(config: Config, found: Recollection) -> dict[str, Any]:
    """Return activity.json: sizes, synapses and rates [Hz] of each population."""
    size, n_in, n_query = config.memory_size, 2 * config.embedding, config.embedding
    encoders: dict[str, tuple[int, int, str | None]] = {
        "storage encoder": (n_in, 1, None), "recall encoder": (n_query, 1, None),
    }  # fmt: skip
    if config.model == "lstm":
        sources: dict[str, tuple[int, int, str | None]] = {"LSTM": (size, 4 * (n_in + n_query + size), None)}
    elif config.model == "recurrent":
        size *= 2
        sources = encoders | {
            "write population": (size, n_in, "rate_storage_encoder"),
            "read population": (size, n_query, "rate_recall_encoder"),
        }
    else:
        sources = encoders | {
            "write keys": (size, n_in, "rate_storage_encoder"), "write values": (size, n_in, "rate_storage_encoder"),
            "read keys": (size, n_query, "rate_recall_encoder"), "read values": (size, size, "rate_read_keys"),
        }  # fmt: skip
    layers = populations(rates(config, found), sources)
    if config.model == "recurrent":
        for layer in layers[2:]:
            layer |= {"synapses": layer["synapses"] + size**2, "recurrent_synapses": size**2}
    dt, each = (config.dt, steps(config, "item_ms")) if config.model in SPIKING else (config.item_ms, 1)
    return {"dt_ms": dt, "steps": (config.length + 1) * each, "layers": layers, "data": []}


__all__ = ["PRESETS", "PUBLISHED", "TABLES", "Config", "evaluate", "plot", "train"]
