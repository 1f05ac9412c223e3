"""Cross-modal recall: reconstruct the picture of a digit that was stored together with a spoken digit.

The network stores pairs of a spoken digit and a picture in a Hebbian memory, one by one. The query is another recording
of one of the digits, and the output is a picture: the brightness of a pixel is the activity of a neuron. In training,
the pictures of the digits are permuted, so that the word alone does not determine the picture; in the test, they match.
Words and pictures are encoded by convolutional encoders (`pretraining`, `conversion`).

Paper: Limbacher, Ozdenizci, Legenstein, Memory-enriched computation and learning in spiking neural networks through
Hebbian plasticity, 2022 (arXiv:2205.11276). Its numbers for this task are not known to us, so there is no comparison.
Data: Jackson et al., Free Spoken Digit Dataset; LeCun et al., MNIST.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from ...data import fsdd, mnist
from ...data.batches import in_order
from ...errors import ConfigError, check_positive
from ...layers.hebbian_memory.layer import align_weights_, centre_
from ...train import ranks
from ...train.run import Run
from ...train.schedule import set_learning_rate, step_decay
from ...train.step import descend
from ...train.supervised import fit
from .cross_modal_options import (
    Config,
    Senses,
    WordsAndPictures,
    encoder_of,
    load,
    numbers,
    perceive,
    prepared,
    spiking_of,
)
from .digit_pairs import SIDE, DigitPairs, Pairs
from .encoders import SpikingConvEncoder
from .networks import MemoryCore, RateMemory
from .options import (
    SPIKING,
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
from .pretraining import keep_above
from .recall import CrossModalNetwork, RateDecoder, Recall, SpikingDecoder

TEST_BATCH = 100


PAPER = Config(test_samples=10_000)
RATES: dict[str, Any] = {
    "model": "relu", "initial": "paper", "conversion": "balanced", "potentiation": 0.1, "depression": 0.1,
    "rate_cost": 0.0,
}  # fmt: skip
CPU = Config(
    images=12_000, channels=32, freeze_encoders=True, conversion="bounded", words_updates=700, pictures_updates=1200,
    pretrain_batch=128, pretrain_decay=0.65, redraw=50.0, initial="centred", readout_scale=0.3, dt=5.0, delay=5.0,
    refractory=0.0, threshold=0.1, rate_cost=1e-8, batch=64, stored=0, updates=1200, validate_every=100,
    checkpoint_every=50, lr_decay_every=300,
)  # fmt: skip
PRESETS = {
    "cpu": CPU,
    "paper": PAPER,
    "paper_relu": replace(PAPER, **RATES, batch_norm=True, pretraining="none"),
    "relu": replace(CPU, **(RATES | {"initial": "centred"}), normalise=True),
    "frozen": replace(CPU, model="frozen", updates=100),  # a memory at zero recalls nothing to reconstruct
    "smoke": replace(
        CPU, made_up=True, images=0, channels=6, words_updates=4, pictures_updates=4, pretrain_batch=20,
        calibration_batches=2, calibration_batch=8, validation_share=0.3, item_ms=50.0, memory_size=10, hidden=12,
        threshold=0.05, batch=8, updates=4, validation_samples=20, validate_every=2, test_samples=20,
        checkpoint_every=2,
    ),
}  # fmt: skip
PUBLISHED: Mapping[str, Mapping[str, Any]] = {}


def train(config: Config, run: Run) -> None:
    """Pre-train the encoders, convert them to spikes, and train the rest or the whole network."""
    check(config)
    training, held, _ = load(config, run)
    model = network(config, run, *(prepared(config, run, name, training, held) for name in ("words", "pictures")))
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=config.lr)
    senses = [perceive(config, run, model, *part) for part in ((training, "training"), (held, "validation"))]
    digits = numbers(config, "train_digits")
    among = DigitPairs(training.said, training.shown, digits, config.length)
    drawn = of_data(config, run, "training", shared=bool(config.stored))
    stored = among.draw(config.stored, False, drawn) if config.stored else None
    validation = DigitPairs(held.said, held.shown, digits, config.length).draw(
        config.validation_samples, False, of_data(config, run, "validation", shared=True)
    )
    silent = Silence()
    nets = [net for net in (model.words, model.pictures) if isinstance(net, SpikingConvEncoder)]
    lowest = [[0.001 * value for value in net.thresholds] for net in nets]

    def step(finished: int) -> dict[str, float]:
        lr = step_decay(finished, config.lr, config.lr_decay, config.lr_decay_every)
        set_learning_rate(optimizer, lr)
        if stored is None:
            batch = among.draw(config.batch, False, drawn)
        else:
            indices = torch.randint(config.stored, (config.batch,), generator=of_data(config, run, "batches"))
            batch = Pairs(*(part[..., indices] for part in stored))
        model.train()
        outputs = answer(model, senses[0], batch, run.device)
        loss = mse_loss(outputs.picture, target(training, batch).to(run.device))
        values = {"loss": loss.item(), "lr": lr}
        if config.rate_cost and config.model in SPIKING:
            loss = loss + config.rate_cost * sum(squared_rates(config, part) for part in outputs.layers.values())
        descend(loss, optimizer, learned, config.clip)
        if config.batch_norm:
            ranks.average_buffers(model)
        for net, least in zip(nets, lowest, strict=True):
            keep_above(net, least)
        silent.look(run, outputs, finished)
        return values | rates(config, outputs)

    def validate(finished: int) -> dict[str, float]:
        errors = errors_of(model, senses[1], held, validation, run.device)
        return {"validation_loss": float(errors[0].mean()), "validation_accuracy": nearest(errors)}

    fit(
        run,
        parts={"model": model, "optimizer": optimizer, "silence": silent},
        updates=config.updates,
        step=step,
        validate=validate,
        validate_every=config.validate_every,
        checkpoint_every=config.checkpoint_every,
        best="validation_loss" if config.select == "best" else None,
        better="lower",
    )


@torch.no_grad()
def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Return the errors of the output to the target and to the other pictures, and how often the target is nearest."""
    check(config)
    training, _, part = load(config, run)
    model = network(config, run)
    update = run.load_best(model=model)
    pairs = pairs_of_the_test(config, run, part)
    senses = perceive(config, run, model, part, "test", pairs)
    errors = errors_of(model, senses, part, pairs, run.device)
    values = {"accuracy": nearest(errors), "chance": 1 / config.length}
    for place, row in enumerate(errors):
        name = "mse" if place == 0 else f"mse_other_{place}"
        low, middle, high = row.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=row.dtype)).tolist()
        values |= {
            name: float(row.mean()),
            f"{name}_sd": float(row.std()) if len(row) > 1 else 0.0,
            f"{name}_median": middle,
        }
        values[f"{name}_iqr"] = high - low
    values["mse_mean_digit"] = mean_digits(training, part, pairs)
    values |= {"update": float(update), "test_samples": float(config.test_samples)}
    values["parameters"] = float(sum(parameter.numel() for parameter in model.parameters()))
    run.write_json("errors.json", errors.tolist())
    few = Pairs(*(part[..., :TEST_BATCH] for part in pairs))
    outputs = answer(model, senses, few, run.device)
    run.write_json("activity.json", activity(config, outputs))
    return values | rates(config, outputs)


@torch.no_grad()
def plot(config: Config, run: Run) -> None:
    """Plot a sample in detail, the memory and its weights, errors, a gallery of outputs, learning curves."""
    from .cross_modal_figures import draw

    _, _, part = load(config, run)
    model = network(config, run)
    run.load_best(model=model)
    pairs = pairs_of_the_test(config, run, part)
    few = Pairs(*(values[..., :TEST_BATCH] for values in pairs))
    model.eval()
    senses = perceive(config, run, model, part, "test", pairs)
    draw(config, run, model, part, few, answer(model, senses, few, run.device))


def check(config: Config) -> None:
    """Raise ConfigError if options contradict each other, are out of range, or have no effect."""
    check_positive(
        "cross_modal", length=config.length, item_ms=config.item_ms, dt=config.dt, channels=config.channels,
        calibration_batches=config.calibration_batches, calibration_batch=config.calibration_batch,
        threshold_share=config.threshold_share, words_updates=config.words_updates,
        pictures_updates=config.pictures_updates, pretrain_batch=config.pretrain_batch, pretrain_lr=config.pretrain_lr,
        memory_size=config.memory_size, delay=config.delay, hidden=config.hidden, white=config.white,
        batch=config.batch, updates=config.updates, lr=config.lr, validation_samples=config.validation_samples,
        test_samples=config.test_samples,
    )  # fmt: skip
    check_data_seed(config)
    check_layers(config, "item_ms", "delay", spikes=config.model in SPIKING)
    for name in ("train_digits", "test_digits"):
        digits = numbers(config, name)
        if len(set(digits)) < len(digits):
            raise ConfigError(f"{name} names a digit twice: {getattr(config, name)}. Name each once.")
        if config.length > len(digits):
            raise ConfigError(f"Samples of {config.length} pairs need as many digits, but {name} are {len(digits)}.")
    if min(config.clip, config.rate_cost, config.target_rate, config.stored, config.redraw, config.images) < 0:
        raise ConfigError("clip, rate_cost, target_rate, stored, redraw and images must not be below 0.")
    if min(config.frames, config.coefficients) < 16:
        raise ConfigError(
            f"A word of {config.frames} frames and {config.coefficients} coefficients vanishes in four poolings. Use "
            "at least 16 of each."
        )
    if config.normalise and config.model != "relu":
        raise ConfigError(f"normalise is for relu, whose activity has no bound, not for {config.model}. Switch it off.")
    if config.model in SPIKING and config.batch_norm:
        raise ConfigError("Encoders that normalise cannot spike. Use --no-batch-norm, or --model relu.")
    if (
        config.model in SPIKING
        and config.conv_bias
        and config.pretraining == "digits"
        and config.conversion == "balanced"
    ):
        raise ConfigError('Balancing knows no biases. Switch conv_bias off, or choose conversion "bounded".')
    if config.learn_thresholds and (config.freeze_encoders or config.model not in SPIKING):
        raise ConfigError("learn_thresholds is for encoders in spikes that are not frozen.")
    if config.model == "relu" and config.conversion == "bounded":
        raise ConfigError('conversion "bounded" is for encoders that spike, not for relu. Choose "balanced".')
    if config.freeze_encoders and not (config.pretraining == "digits" or (config.words_from and config.pictures_from)):
        raise ConfigError(
            "Frozen encoders that were never trained are of no use. Use --pretraining digits, or --no-freeze-encoders."
        )


def network(
    config: Config, run: Run, words: nn.Module | None = None, pictures: nn.Module | None = None
) -> CrossModalNetwork:
    """Build the network of these options, with weights drawn from the run's generator."""
    words = spiking_of(config, encoder_of(config, run, "words")) if words is None else words
    pictures = spiking_of(config, encoder_of(config, run, "pictures")) if pictures is None else pictures
    if config.freeze_encoders:
        words.requires_grad_(False)
        pictures.requires_grad_(False)
    draws, size = run.generator("weights", shared=True), config.memory_size
    n_query = encoder_of(config, run.fresh(), "words").features(config.frames, config.coefficients)
    n_in = n_query + config.channels
    rule = rule_of(config, rates=config.model == "relu")
    core: MemoryCore | RateMemory
    decoder: SpikingDecoder | RateDecoder
    if config.model == "relu":
        core = RateMemory(n_in, n_query, size, rule, normalise=config.normalise, generator=draws)
        decoder = RateDecoder(size, config.hidden, SIDE, SIDE, generator=draws)
    else:
        neuron, length = neuron_of(config), steps(config, "item_ms")
        core = MemoryCore(
            n_in, n_query, size, neuron, rule if config.model == "spiking" else None, steps=length, window=length,
            delay=steps(config, "delay"), recall=config.recall, generator=draws,
        )  # fmt: skip
        decoder = SpikingDecoder(
            size, config.hidden, SIDE, SIDE, neuron, white=config.white, scale=config.readout_scale, generator=draws
        )
    onto, read = core.weights
    if config.initial == "centred":
        centre_(onto[:, :n_query], onto[:, n_query:])
    if config.initial != "paper":
        align_weights_(onto, read, n_query)
    return CrossModalNetwork(core, decoder, words, pictures).to(run.device)


def answer(model: CrossModalNetwork, senses: Senses, pairs: Pairs, device: torch.device) -> Recall:
    """Run the network on a batch."""
    words = senses.words(torch.cat([pairs.sounds, pairs.query.unsqueeze(0)])).to(device)
    pictures = senses.pictures(pairs.images).to(device)
    outputs: Recall = model(in_a_row(words[:, :-1]), in_a_row(pictures), words[:, -1])
    return outputs


def in_a_row(activity: Tensor) -> Tensor:
    """Concatenate pairs in time: [T, S, B, F] -> [S T, B, F]."""
    return activity.transpose(0, 1).flatten(0, 1)


def target(part: WordsAndPictures, pairs: Pairs) -> Tensor:
    """Return the pictures that were stored with the digits of the queries, [B, 28, 28]."""
    return part.pictures[pairs.target, 0]


@torch.no_grad()
def errors_of(
    model: CrossModalNetwork, senses: Senses, part: WordsAndPictures, pairs: Pairs, device: torch.device
) -> Tensor:
    """Return the mean squared errors [S, B] of the output to the target, then to the others in order of storage."""
    errors, model_trains = [], model.training
    model.eval()
    for rows in in_order(len(pairs.asked), TEST_BATCH):
        batch = Pairs(*(values[..., rows] for values in pairs))
        pictures = answer(model, senses, batch, device).picture.cpu()
        order = (batch.asked + torch.arange(len(batch.images)).unsqueeze(1)) % len(batch.images)
        stored = part.pictures[batch.images.gather(0, order), 0]
        errors.append((pictures - stored).square().mean((2, 3)))
    model.train(model_trains)
    return torch.cat(errors, 1)


def nearest(errors: Tensor) -> float:
    """Return the fraction of samples whose output is nearer to the target than to all others."""
    return float((errors[0] < errors[1:]).all(0).double().mean()) if len(errors) > 1 else 1.0


def mean_digits(training: WordsAndPictures, part: WordsAndPictures, pairs: Pairs) -> float:
    """Return the mean squared error of the mean training picture of the target digit, a baseline without memory."""
    means = torch.stack([training.pictures[training.shown == digit, 0].mean(0) for digit in range(10)])
    targets = pairs.target
    return float((means[part.shown[targets]] - part.pictures[targets, 0]).square().mean())


def pairs_of_the_test(config: Config, run: Run, part: WordsAndPictures) -> Pairs:
    """Return the test samples: words with pictures of the same digits."""
    members = DigitPairs(part.said, part.shown, numbers(config, "test_digits"), config.length)
    return members.draw(config.test_samples, True, of_data(config, run, "test", shared=True))


def activity(config: Config, found: Recall) -> dict[str, Any]:
    """Return activity.json: sizes, synapses and rates [Hz] of each population, and the data files."""
    data = list[Any]()
    if not config.made_up:
        data = [entry for module in (fsdd, mnist) for split in ("train", "test") for entry in module.describe(split)]
    size, hertz, layers = config.memory_size, rates(config, found), found.layers
    words, n_in = layers["words"].shape[-1], layers["words"].shape[-1] + layers["pictures"].shape[-1]
    sources: dict[str, tuple[int, int, str | None]] = {
        "words": (words, 1, None), "pictures": (n_in - words, 1, None), "query": (words, 1, None),
        "write keys": (size, n_in, "rate_words"), "write values": (size, n_in, "rate_pictures"),
        "read keys": (size, words, "rate_query"), "read values": (size, size, "rate_read_keys"),
        "decoder": (config.hidden, size, "rate_read_values"), "pixels": (SIDE**2, config.hidden, "rate_decoder"),
    }  # fmt: skip
    dt, each = (config.dt, steps(config, "item_ms")) if config.model in SPIKING else (config.item_ms, 1)
    return {"dt_ms": dt, "steps": (config.length + 1) * each, "layers": populations(hertz, sources), "data": data}


__all__ = ["PRESETS", "PUBLISHED", "Config", "evaluate", "plot", "train"]
