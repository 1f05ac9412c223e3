"""Omniglot: one-shot classification of characters of unknown alphabets.

The network writes one drawing of each character with its position into a Hebbian memory and reads it with a drawing of
one of them by another person. Drawings are encoded by a convolutional encoder (`pretraining`), with spikes if the
`model` is spiking. Training uses the background alphabets, the test the evaluation alphabets; rotations by quarter
turns are additional classes (`turns`).

Paper: Limbacher, Ozdenizci, Legenstein, Memory-enriched computation and learning in spiking neural networks through
Hebbian plasticity, 2022 (arXiv:2205.11276). Its numbers for this task, which has another split, are not known to us.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...data import omniglot
from ...layers.hebbian_memory.layer import align_weights_, centre_
from ...train import metrics, ranks
from ...train.run import Run
from ...train.schedule import set_learning_rate, step_decay, time_limit
from ...train.step import descend
from ...train.supervised import fit
from .encoders import ConvEncoder, PackedSpikes, SpikingConvEncoder, prototype_logits
from .networks import OneShotNetwork, Recollection
from .omniglot_encoder import PHASE, TUNING, convert, convolutions, kept, pretrain, reference
from .omniglot_episodes import (
    EpisodeSource,
    Images,
    Learner,
    accuracy,
    answer,
    draw,
    named,
    nearest,
    of_runs,
    read,
    split,
    turned,
)
from .omniglot_options import Config
from .options import (
    TEST_BATCH,
    Silence,
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
from .pretraining import embed, keep_above, phase

PAPER = Config(validation_episodes=51_200, test_episodes=51_200)
RATES: dict[str, Any] = {
    "model": "relu", "initial": "paper", "key_gain": 1.0, "potentiation": 0.1, "depression": 0.1, "rate_cost": 0.0,
    "tune_updates": 0,
}  # fmt: skip
CPU = Config(
    pretrain_updates=2400, pretrain_lr=0.002, pretrain_decay_every=650, tune_updates=400, tune_lr=0.002,
    freeze_encoder=True, threshold_share=0.4, encoder_refractory=0.0, item_ms=200.0, window=200.0, embedding=32,
    memory_size=128, label_gain=8.0, initial="centred", key_gain=2.0, readout_scale=0.3, recall=0.0, dt=5.0, delay=5.0,
    threshold=0.4, refractory=5.0, batch=64, updates=1200, lr=0.003, lr_decay=0.5, lr_decay_every=350, rate_cost=0.0,
    validate_every=100, checkpoint_every=50,
)  # fmt: skip
DATA = ("omniglot",)
PRESETS = {
    "cpu": CPU,
    "paper": PAPER,
    "paper_relu": replace(PAPER, **RATES, pretraining="none", batch_norm=True),
    "relu": replace(
        CPU, **(RATES | {"initial": "centred"}), memory_size=64, embedding=32, label_gain=5.0, batch=64, updates=2000,
        lr=0.003, lr_decay=0.5, lr_decay_every=500,
    ),
    "frozen": replace(CPU, model="frozen", updates=100),
    "protonet": replace(CPU, model="protonet", tune_updates=0),
    "smoke": replace(
        CPU, turns=2, channels=4, hold_out="characters", validation_share=0.4, pretrain_updates=4,
        pretrain_ways=4, pretrain_queries=2, pretrain_validate_every=2, pretrain_episodes=4, tune_updates=4,
        tune_ways=4, tune_validate_every=2, tune_classes=8, calibration_batches=2, calibration_batch=8, ways=3,
        item_ms=50.0, window=50.0, embedding=6, memory_size=8, threshold=0.1, batch=8, updates=4,
        validation_episodes=20, validate_every=2, test_episodes=30, run_episodes=2, checkpoint_every=2,
    ),  # ten inputs do not reach a threshold of 0.4, and there is no gradient without spikes
}  # fmt: skip
PUBLISHED: Mapping[str, Mapping[str, Any]] = {}


def train(config: Config, run: Run) -> None:
    """Pre-train the encoder, convert it to spikes, then train the memory on episodes."""
    images, held = split(config, run)
    plain, learner = build(config, run)
    pretrain(config, run, plain, images, held)
    if config.model == "protonet":
        run.restore(model=learner)
        plain.load_state_dict(reference(config, run, plain).state_dict())
        run.save_best(config.pretrain_updates, model=learner)
        run.save(config.pretrain_updates, model=learner)
        return
    encoder = learner.encoder
    if isinstance(encoder, SpikingConvEncoder) and config.pretraining != "none":
        convert(config, run, encoder, images, held)
    encoder.requires_grad_(not config.freeze_encoder)
    lowest = [0.001 * value for value in encoder.thresholds] if isinstance(encoder, SpikingConvEncoder) else []
    optimizer = torch.optim.Adam([part for part in learner.parameters() if part.requires_grad], lr=config.lr)
    source = EpisodeSource(config, images, kept(config, run, learner.encoder, images, "training"))
    tests = EpisodeSource(config, held, kept(config, run, learner.encoder, held, "validation"))
    validation = draw(config, held, config.validation_episodes, of_data(config, run, "validation", shared=True))
    silent = Silence()

    def step(finished: int) -> dict[str, float]:
        lr = step_decay(finished, config.lr, config.lr_decay, config.lr_decay_every)
        set_learning_rate(optimizer, lr)
        learner.train()
        episodes = draw(config, images, config.batch, of_data(config, run, "training"))
        outputs = answer(learner, source, episodes, run.device)
        target = episodes.target.to(run.device)
        loss = cross_entropy(outputs.logits, target)
        values = {"loss": loss.item(), "accuracy": metrics.accuracy(outputs.logits, target), "lr": lr}
        if config.rate_cost and config.spikes and finished >= config.rate_cost_after:
            loss = loss + config.rate_cost * sum(squared_rates(config, part) for part in regularised(config, outputs))
        descend(loss, optimizer, learner, config.clip)
        ranks.average_buffers(learner)
        if isinstance(encoder, SpikingConvEncoder):
            keep_above(encoder, lowest)
        silent.look(run, outputs, finished)
        return values | rates(config, outputs.layers)

    def validate(finished: int) -> dict[str, float]:
        return {"validation_accuracy": accuracy(learner, tests, validation, run)}

    fit(
        run,
        parts={"model": learner, "optimizer": optimizer, "silence": silent},
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
    """Return the accuracy on characters of the evaluation alphabets, and in the one-shot runs of Lake et al."""
    plain, learner = build(config, run)
    update = run.load_best(model=learner)
    before = reference(config, run, plain)
    images = turned(config, read(config, "evaluation"))
    source = EpisodeSource(config, images, kept(config, run, learner.encoder, images, "evaluation"))
    upright = images._replace(pixels=images.pixels[: images.upright * images.drawings])
    values = dict[str, float]()
    for name, part in (("", images), ("_upright", upright)):
        episodes = draw(config, part, config.test_episodes, of_data(config, run, f"test{name}", shared=True))
        values |= named(f"accuracy{name}", accuracy(learner, source, episodes, run), config.test_episodes)
        if config.model != "protonet":
            features = embed(before, part.pixels, run.device)
            values[f"nearest{name}"] = nearest(features, episodes)
            if isinstance(source.kept, PackedSpikes):
                values[f"nearest_spikes{name}"] = nearest(source.kept.counts()[: len(part.pixels)], episodes)
    values |= of_runs(config, run, before, learner)
    values |= {
        "characters": float(images.upright), "classes": float(images.classes), "chance": 1.0 / config.ways,
        "test_episodes": float(config.test_episodes), "update": float(update),
        "parameters": float(sum(part.numel() for part in learner.parameters())),
    }  # fmt: skip
    outputs = None
    if config.model != "protonet":
        episodes = draw(config, images, TEST_BATCH, of_data(config, run, "activity", shared=True))
        outputs = answer(learner, source, episodes, run.device)
    run.write_json("activity.json", activity(config, learner, images, outputs))
    return values if outputs is None else values | rates(config, outputs.layers)


@torch.no_grad()
def plot(config: Config, run: Run) -> None:
    """Plot an episode in detail, the activity of the encoder, memories and their weights, learning curves."""
    from .figures import one_shot

    plain, learner = build(config, run)
    run.load_best(model=learner)
    learner.eval()
    images = turned(config, read(config, "evaluation"))
    episodes = draw(config, images, TEST_BATCH, of_data(config, run, "activity", shared=True))
    pixels = images.pixels[torch.cat([episodes.images[:, 0], episodes.query[:1]])]
    inside, outputs = dict[str, Tensor](), Recollection(*[torch.zeros(0)] * 6)
    if isinstance(learner.encoder, SpikingConvEncoder):
        inside = learner.encoder.populations(pixels[-1:].to(run.device).float(), steps(config, "item_ms"))
    if config.model == "protonet":
        features = embed(plain, pixels, run.device)
        outputs = outputs._replace(logits=prototype_logits(features[:-1].unsqueeze(1), features[-1:]))
    else:
        outputs = answer(learner, EpisodeSource(config, images, None), episodes, run.device)
    phases = {name: phase(run, folder).metrics() for name, folder in (("pretraining", PHASE), ("tuning", TUNING))}
    one_shot(config, run, pixels[:, 0], int(episodes.target[0]), inside, outputs, phases)


def build(config: Config, run: Run) -> tuple[ConvEncoder, Learner]:
    """Build the encoder with rates, and a `Learner` with the same weights, drawn from the run's generators."""
    plain = convolutions(config, run)
    if config.model == "protonet":
        return plain, Learner(plain, nn.Identity())
    encoder: nn.Module = plain
    if config.spikes:
        pixels = neuron_of(config, config.encoder_refractory)
        encoder = SpikingConvEncoder(plain, pixels, learn_thresholds=config.learn_thresholds)
    return plain, Learner(encoder, network(config, run, plain.features(config.side, config.side))).to(run.device)


def network(config: Config, run: Run, features: int) -> OneShotNetwork:
    """Build the network with the memory, with weights drawn from the run's generator."""
    draws, size = run.generator("weights", shared=True), config.memory_size
    core = memory_of(config, features + config.embedding, features, draws, normalise=config.normalise)
    onto, read = core.weights
    with torch.no_grad():
        onto[:size].mul_(config.key_gain)
        read.mul_(config.key_gain)
    if config.initial == "centred":
        centre_(onto[:size, :features])
    if config.initial != "paper":
        align_weights_(onto, read, features)
    return OneShotNetwork(
        core, config.ways, config.embedding, size, label_gain=config.label_gain, readout_scale=config.readout_scale,
        generator=draws,
    )  # fmt: skip


def regularised(config: Config, outputs: Recollection) -> list[Tensor]:
    """Return the activity for the rate regularisation, without that of a frozen encoder."""
    layers = dict(outputs.layers)
    if config.freeze_encoder:
        layers["storage encoder"] = layers["storage encoder"][..., -config.embedding :]
        del layers["recall encoder"]
    return list(layers.values())


def activity(config: Config, learner: Learner, images: Images, outputs: Recollection | None) -> dict[str, Any]:
    """Return the content of activity.json: sizes, synapses and rates [Hz] of each population, and the data files."""
    data = [*omniglot.describe("background"), *omniglot.describe("evaluation")]
    encoder = learner.encoder
    if outputs is None:
        return activity_of(config, 1, [], data)
    features = outputs.query.shape[2]
    populations = memory_populations(config.memory_size, features + config.embedding, features)
    if not isinstance(encoder, SpikingConvEncoder):
        return activity_of(
            config, config.ways + 1, layers_of({}, {"encoder": (features, 1, None), **populations}), data
        )
    device = next(encoder.parameters()).device
    blocks = encoder.populations(images.pixels[:TEST_BATCH].to(device).float(), steps(config, "item_ms"))
    layers, before, channels = list[dict[str, Any]](), None, 1
    for name, part in blocks.items():
        hertz = float(part.mean()) * 1000.0 / config.dt
        inputs = 1 if before is None else 9 * channels
        layers.append(
            {
                "name": name, "neurons": part.shape[2], "inputs": inputs, "rate_hz": hertz, "input_rate_hz": before,
                "synapses": part.shape[2] * inputs,
            }
        )  # fmt: skip
        before, channels = hertz, config.channels if before is not None else 1
    layers += layers_of(rates(config, outputs.layers), populations)
    return activity_of(config, config.ways + 1, layers, data)


__all__ = ["PRESETS", "PUBLISHED", "Config", "evaluate", "plot", "train"]
