"""Omniglot: one-shot classification of characters of unknown alphabets.

The network writes one drawing of each character with its position into a Hebbian memory and reads it with a drawing of
one of them by another person. Drawings are encoded by a convolutional encoder (`pretraining`), with spikes if the
`model` is spiking. Training uses the background alphabets, the test the evaluation alphabets; rotations by quarter
turns are additional classes (`turns`).

Paper: Limbacher, Ozdenizci, Legenstein, Memory-enriched computation and learning in spiking neural networks through
Hebbian plasticity, 2022 (arXiv:2205.11276). Its numbers for this task, which has another split, are not known to us.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...data import omniglot
from ...data.omniglot import HoldOut, Resize
from ...errors import ConfigError, check_positive
from ...layers.hebbian_memory.layer import align_weights_, centre_
from ...train import metrics, ranks
from ...train.parts import CheckpointOptions, LearningRateOptions
from ...train.run import Run
from ...train.schedule import set_learning_rate, step_decay, time_limit
from ...train.step import descend
from ...train.supervised import fit
from .encoders import ConvEncoder, PackedSpikes, SpikingConvEncoder, prototype_logits
from .networks import MemoryCore, OneShotNetwork, RateMemory, Recollection
from .omniglot_options import (
    TEST_BATCH,
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
from .pretraining import PretrainingEpisodes as PretrainingEpisodes
from .pretraining import Schedule, borrow, calibrate, embed, keep_above, phase, pretrain_prototypes, spikes, tell

ALIKE = ("channels", "batch_norm", "conv_bias", "side", "resize", "made_up", "hold_out", "validation_share")
"""Options that must be equal in a run whose encoder is reused."""


@dataclass(frozen=True)
class Config(LearningRateOptions, CheckpointOptions, LayerOptions, RateCostOptions):
    model: Literal["spiking", "relu", "frozen", "protonet"] = "spiking"
    """Network: spiking, with a Hebbian memory; relu, its rate version; frozen, with a memory that stays at zero;
    protonet, without memory, the nearest prototype by features of the encoder."""
    made_up: bool = False
    """Use a few made-up drawings in the format of the data set instead, to try the task without a download."""
    data_seed: int = -1
    """Seed of the validation split and of the episodes of the memory, so that runs with different seeds share them; -1:
    the seed of the run."""
    ways: int = 5
    """Number of characters per episode."""
    side: int = 28
    """Height and width of the images [pixels]."""
    resize: Resize = "nearest"
    """Downsampling of the images from 105 x 105 pixels; ink: 1 where there is any ink."""
    turns: int = 4
    """Number of orientations (quarter turns) used as separate classes, 1 to 4; 1: upright only."""
    hold_out: HoldOut = "alphabets"
    """Validation classes: whole background alphabets, or characters of each of them."""
    validation_share: float = 0.15
    """Fraction of the background set held out for validation."""
    channels: int = 64
    """Channels of each convolution."""
    batch_norm: bool = False
    """Batch normalisation in the encoder; relu and protonet only."""
    conv_bias: bool = False
    """Biases in the convolutions; not for a pre-trained encoder that is converted to spikes."""
    pretraining: Literal["prototypes", "none"] = "prototypes"
    """Pre-training of the encoder, as a prototypical network; none: untrained, with the threshold of other neurons."""
    encoder_from: str = ""
    """Folder of a run whose pre-trained encoder is reused; empty: train one."""
    freeze_encoder: bool = False
    """Do not train the encoder together with the memory; spikes of an image are then computed once."""
    learn_thresholds: bool = False
    """Train the thresholds of the encoder too; they stay above a thousandth of their initial values."""
    pretrain_updates: int = 10_000
    """Number of pre-training updates, one episode each."""
    pretrain_ways: int = 60
    """Classes per pre-training episode."""
    pretrain_shots: int = 1
    """Drawings per class for its prototype in pre-training."""
    pretrain_queries: int = 5
    """Drawings per class to be classified in pre-training."""
    pretrain_lr: float = 0.001
    """Initial learning rate of pre-training."""
    pretrain_decay: float = 0.5
    """Factor of the learning rate of pre-training at each decay."""
    pretrain_decay_every: int = 2_000
    """Updates between two decays."""
    pretrain_validate_every: int = 100
    """Updates between two validations of pre-training (5 classes, 15 queries each)."""
    pretrain_episodes: int = 200
    """Episodes per validation of pre-training, the same in every validation."""
    tune_updates: int = 0
    """Number of fine-tuning updates of the encoder with spikes, before the memory is trained."""
    tune_ways: int = 20
    """Classes per episode of fine-tuning; the other sizes are those of pre-training."""
    tune_lr: float = 0.001
    """Initial learning rate of fine-tuning; it decays to a quarter in two steps."""
    tune_validate_every: int = 50
    """Updates between two validations of fine-tuning."""
    tune_classes: int = 100
    """Classes of the validation of fine-tuning; 0: all."""
    calibration_batches: int = 10
    """Number of batches of training images for threshold balancing."""
    calibration_batch: int = 64
    """Images per batch of threshold balancing."""
    threshold_share: float = 1.0
    """Balanced thresholds as a fraction of the largest current; smaller values give more spikes."""
    encoder_refractory: float = 3.0
    """Refractory period of the neurons of the encoder [ms]."""
    item_ms: float = 100.0
    """Duration of an image, and of the query [ms]."""
    window: float = 30.0
    """Final part of the query in which value spikes are counted [ms]."""
    embedding: int = 64
    """Embedding dimension of a label."""
    label_gain: float = 1.0
    """Factor of the input currents of the label encoder."""
    initial: Literal["paper", "aligned", "centred"] = "paper"
    """Initial weights: paper, independent; aligned, equal key weights for writing and reading; centred, in addition the
    weights of each key sum to zero, so that keys respond to differences between images."""
    key_gain: float = 1.0
    """Factor of the initial weights onto keys."""
    normalise: bool = False
    """Divide every key and every value by its root mean square; relu only."""
    readout_scale: float = 1.0
    """Factor of the initial weights of the readout."""
    threshold: float = 0.1
    """Firing threshold of the neurons of the memory and of the pixels."""
    batch: int = 256
    """Episodes per update."""
    updates: int = 40_000
    """Number of training updates of the memory."""
    minutes: float = 0.0
    """Time limit of training the memory [min]; 0: none."""
    lr: float = 0.001
    lr_decay_every: int = 4_000
    """Updates between two decays."""
    clip: float = 40.0
    """Gradient clipping: largest norm of the gradient; 0: no clipping."""
    rate_cost: float = 1e-6
    rate_cost_after: int = 200
    """Number of initial updates without the rate regularisation."""
    validation_episodes: int = 2_000
    """Number of validation episodes, the same in every validation."""
    validate_every: int = 200
    test_episodes: int = 10_000
    """Number of test episodes."""
    run_episodes: int = 10
    """Number of test episodes per drawing of the one-shot runs of Lake et al., with characters of the same alphabet; 0:
    none."""


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
        CPU, made_up=True, turns=2, channels=4, hold_out="characters", validation_share=0.4, pretrain_updates=4,
        pretrain_ways=4, pretrain_queries=2, pretrain_validate_every=2, pretrain_episodes=4, tune_updates=4,
        tune_ways=4, tune_validate_every=2, tune_classes=8, calibration_batches=2, calibration_batch=8, ways=3,
        item_ms=50.0, window=50.0, embedding=6, memory_size=8, threshold=0.1, batch=8, updates=4,
        validation_episodes=20, validate_every=2, test_episodes=30, run_episodes=2, checkpoint_every=2,
    ),  # ten inputs do not reach a threshold of 0.4, and there is no gradient without spikes
}  # fmt: skip
PUBLISHED: Mapping[str, Mapping[str, Any]] = {}


def train(config: Config, run: Run) -> None:
    """Pre-train the encoder, convert it to spikes, then train the memory on episodes."""
    check(config)
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
    source = EpisodeSource(config, images, kept(config, run, learner, images, "training"))
    tests = EpisodeSource(config, held, kept(config, run, learner, held, "validation"))
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
        if config.rate_cost and config.model != "relu" and finished >= config.rate_cost_after:
            loss = loss + config.rate_cost * sum(squared_rates(config, part) for part in regularised(config, outputs))
        descend(loss, optimizer, learner, config.clip)
        ranks.average_buffers(learner)
        if isinstance(encoder, SpikingConvEncoder):
            keep_above(encoder, lowest)
        silent.look(run, outputs, finished)
        return values | rates(config, outputs)

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
    check(config)
    plain, learner = build(config, run)
    update = run.load_best(model=learner)
    before = reference(config, run, plain)
    images = turned(config, read(config, "evaluation"))
    source = EpisodeSource(config, images, kept(config, run, learner, images, "evaluation"))
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
    return values if outputs is None else values | rates(config, outputs)


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


def check(config: Config) -> None:
    """Raise ConfigError if options contradict each other, are out of range, or have no effect."""
    check_positive(
        "omniglot", ways=config.ways, channels=config.channels, pretrain_updates=config.pretrain_updates,
        pretrain_ways=config.pretrain_ways, pretrain_shots=config.pretrain_shots,
        pretrain_queries=config.pretrain_queries, pretrain_episodes=config.pretrain_episodes,
        calibration_batches=config.calibration_batches, calibration_batch=config.calibration_batch,
        threshold_share=config.threshold_share, item_ms=config.item_ms, window=config.window,
        embedding=config.embedding, label_gain=config.label_gain, memory_size=config.memory_size,
        key_gain=config.key_gain,
        delay=config.delay, dt=config.dt, batch=config.batch, updates=config.updates, lr=config.lr,
        pretrain_lr=config.pretrain_lr, validation_episodes=config.validation_episodes,
        test_episodes=config.test_episodes,
    )  # fmt: skip
    check_data_seed(config)
    check_layers(config, "item_ms", "window", "delay", spikes=config.model in SPIKING)
    ConvEncoder(config.channels).features(config.side, config.side)
    if min(config.clip, config.rate_cost, config.target_rate, config.minutes, config.run_episodes) < 0:
        raise ConfigError("clip, rate_cost, target_rate, minutes and run_episodes must not be below 0.")
    spiking, trained = config.model in ("spiking", "frozen"), config.pretraining != "none"
    if config.normalise and config.model != "relu":
        raise ConfigError(f"normalise is for relu, whose activity has no bound, not for {config.model}. Switch it off.")
    if spiking and config.batch_norm:
        raise ConfigError("An encoder with batch_norm cannot spike. Switch it off, or choose relu or protonet.")
    if spiking and config.conv_bias and trained:
        raise ConfigError('A converted encoder has no biases. Switch conv_bias off, or choose pretraining "none".')
    if not trained and (config.encoder_from or config.model == "protonet"):
        raise ConfigError('encoder_from and the model protonet need a pre-trained encoder, not pretraining "none".')
    if config.tune_updates and (not spiking or not trained):
        raise ConfigError(
            f'tune_updates are for an encoder in spikes that was pre-trained, but model is "{config.model}" and '
            f'pretraining "{config.pretraining}". Choose tune_updates 0.'
        )
    if config.freeze_encoder and not trained:
        raise ConfigError(
            "A frozen encoder that was never trained is of no use. Use another --pretraining, or --no-freeze-encoder."
        )
    if config.learn_thresholds and (config.freeze_encoder or not spiking):
        raise ConfigError("learn_thresholds is for an encoder in spikes that is not frozen.")


PHASE, TUNING = "encoder", "tuning"
"""Folders of pre-training and of fine-tuning with spikes, inside the run folder."""


def build(config: Config, run: Run) -> tuple[ConvEncoder, "Learner"]:
    """Build the encoder with rates, and a `Learner` with the same weights, drawn from the run's generators."""
    plain = convolutions(config, run)
    if config.model == "protonet":
        return plain, Learner(plain, nn.Identity())
    encoder: nn.Module = plain
    if config.model != "relu":
        pixels = neuron_of(config, config.encoder_refractory)
        encoder = SpikingConvEncoder(plain, pixels, learn_thresholds=config.learn_thresholds)
    return plain, Learner(encoder, network(config, run, plain.features(config.side, config.side))).to(run.device)


def convolutions(config: Config, run: Run) -> ConvEncoder:
    """Build the encoder with rates, with weights drawn from the run's generator."""
    draws = run.generator("encoder", shared=True)
    encoder = ConvEncoder(config.channels, batch_norm=config.batch_norm, bias=config.conv_bias, generator=draws)
    return encoder.to(run.device)


def reference(config: Config, run: Run, plain: ConvEncoder) -> ConvEncoder:
    """Return the encoder as pre-trained, before conversion and further training; `plain` without pre-training."""
    if config.pretraining == "none":
        return plain
    encoder = convolutions(config, run)
    phase(run, PHASE).load_best(encoder=encoder)
    return encoder


def network(config: Config, run: Run, features: int) -> OneShotNetwork:
    """Build the network with the memory, with weights drawn from the run's generator."""
    draws, size = run.generator("weights", shared=True), config.memory_size
    rule = rule_of(config, rates=config.model == "relu")
    core: MemoryCore | RateMemory
    if config.model == "relu":
        core = RateMemory(
            features + config.embedding, features, size, rule, normalise=config.normalise, generator=draws
        )
    else:
        core = MemoryCore(
            features + config.embedding, features, size, neuron_of(config),
            rule if config.model == "spiking" else None, steps=steps(config, "item_ms"), window=steps(config, "window"),
            delay=steps(config, "delay"), recall=config.recall, generator=draws,
        )  # fmt: skip
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


def pretrain(config: Config, run: Run, encoder: ConvEncoder, images: Images, held: Images) -> None:
    """Pre-train the encoder or load it from another run, as the options say."""
    inner = phase(run, PHASE)
    if config.encoder_from:
        borrow(inner, config.encoder_from, encoder, config, ALIKE)
    elif config.pretraining != "none":
        schedule = Schedule(
            config.pretrain_updates, config.pretrain_lr, config.pretrain_decay, config.pretrain_decay_every,
            config.pretrain_validate_every, config.checkpoint_every,
        )  # fmt: skip
        tell(inner, "Pre-training the encoder.")
        sizes = sizes_of(config, images)
        pretrain_prototypes(inner, encoder, images.by_class, held.by_class, sizes, schedule)


def convert(config: Config, run: Run, encoder: SpikingConvEncoder, images: Images, held: Images) -> None:
    """Balance the thresholds of the pre-trained encoder, and fine-tune it with spikes if the options say so."""
    duration = steps(config, "item_ms")
    calibrate(
        phase(run, PHASE), encoder, images.pixels, duration, batches=config.calibration_batches,
        batch=config.calibration_batch, share=config.threshold_share,
    )  # fmt: skip
    if config.tune_updates:
        tell(run, "Training the encoder by its spikes.")
        sizes = replace(sizes_of(config, images), ways=config.tune_ways, validation_classes=config.tune_classes)
        schedule = Schedule(
            config.tune_updates, config.tune_lr, 0.5, max(1, config.tune_updates // 3), config.tune_validate_every,
            config.checkpoint_every,
        )  # fmt: skip
        pretrain_prototypes(phase(run, TUNING), encoder, images.by_class, held.by_class, sizes, schedule, duration)


def sizes_of(config: Config, images: Images) -> PretrainingEpisodes:
    """Return the sizes of the episodes of pre-training."""
    queries = min(15, images.drawings - config.pretrain_shots)
    return PretrainingEpisodes(
        config.pretrain_ways, config.pretrain_shots, config.pretrain_queries, 5, queries, config.pretrain_episodes
    )


def kept(config: Config, run: Run, learner: Learner, images: Images, part: str) -> PackedSpikes | Tensor | None:
    """Return the spikes or features of all images; None if the encoder is still trained."""
    encoder, changes = learner.encoder, not config.freeze_encoder and part != "evaluation"
    if changes:
        return None
    if isinstance(encoder, SpikingConvEncoder):
        return spikes(phase(run, PHASE), encoder, images.pixels, steps(config, "item_ms"), part)
    assert isinstance(encoder, ConvEncoder)
    return embed(encoder, images.pixels, run.device)


def regularised(config: Config, found: Recollection) -> list[Tensor]:
    """Return the activity for the rate regularisation, without that of a frozen encoder."""
    layers = dict(found.layers)
    if config.freeze_encoder:
        layers["storage encoder"] = layers["storage encoder"][..., -config.embedding :]
        del layers["recall encoder"]
    return list(layers.values())


def activity(config: Config, learner: Learner, images: Images, found: Recollection | None) -> dict[str, Any]:
    """Return activity.json: sizes, synapses and rates [Hz] of each population, and the data files."""
    about = [] if config.made_up else [*omniglot.describe("background"), *omniglot.describe("evaluation")]
    encoder = learner.encoder
    if found is None:
        return {"dt_ms": config.item_ms, "steps": 1, "layers": [], "data": about}
    size, features = config.memory_size, found.query.shape[2]
    n_in = features + config.embedding
    sources: dict[str, tuple[int, int, str | None]] = {
        "write keys": (size, n_in, "rate_storage_encoder"), "write values": (size, n_in, "rate_storage_encoder"),
        "read keys": (size, features, "rate_recall_encoder"), "read values": (size, size, "rate_read_keys"),
    }  # fmt: skip
    if not isinstance(encoder, SpikingConvEncoder):
        layers = populations({}, {"encoder": (features, 1, None)} | sources)
        return {"dt_ms": config.item_ms, "steps": config.ways + 1, "layers": layers, "data": about}
    duration = steps(config, "item_ms")
    blocks = encoder.populations(images.pixels[:TEST_BATCH].to(next(encoder.parameters()).device).float(), duration)
    layers, before, channels = [], None, 1
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
    layers += populations(rates(config, found), sources)
    return {"dt_ms": config.dt, "steps": (config.ways + 1) * duration, "layers": layers, "data": about}


__all__ = ["PRESETS", "PUBLISHED", "Config", "evaluate", "plot", "train"]
