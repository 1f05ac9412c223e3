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
from .options import (
    TEST_BATCH,
    Populations,
    Silence,
    activity_of,
    layers_of,
    memory_of,
    memory_populations,
    neuron_of,
    of_data,
    rates,
    squared_rates,
)
from .pretraining import keep_above
from .recall import CrossModalNetwork, RateDecoder, Recall, SpikingDecoder

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
DATA = ("fsdd", "mnist")
PRESETS = {
    "cpu": CPU,
    "paper": PAPER,
    "paper_relu": replace(PAPER, **RATES, batch_norm=True, pretraining="none"),
    "relu": replace(CPU, **(RATES | {"initial": "centred"}), normalise=True),
    "frozen": replace(CPU, model="frozen", updates=100),  # a memory at zero recalls nothing to reconstruct
    "smoke": replace(
        CPU, images=120, channels=6, words_updates=4, pictures_updates=4, pretrain_batch=20,
        calibration_batches=2, calibration_batch=8, validation_share=0.3, item_ms=50.0, memory_size=10, hidden=12,
        threshold=0.05, batch=8, updates=4, validation_samples=20, validate_every=2, test_samples=20,
        checkpoint_every=2,
    ),
}  # fmt: skip
PUBLISHED: Mapping[str, Mapping[str, Any]] = {}


def train(config: Config, run: Run) -> None:
    """Pre-train the encoders, convert them to spikes, and train the rest or the whole network."""
    training, held, _ = load(config, run)
    model = network(config, run, *(prepared(config, run, name, training, held) for name in ("words", "pictures")))
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=config.lr)
    senses = [perceive(config, run, model, *part) for part in ((training, "training"), (held, "validation"))]
    digits = numbers(config, "train_digits")
    among = DigitPairs(training.word_labels, training.picture_labels, digits, config.length)
    drawn = of_data(config, run, "training", shared=bool(config.stored))
    stored = among.draw(config.stored, False, drawn) if config.stored else None
    validation = DigitPairs(held.word_labels, held.picture_labels, digits, config.length).draw(
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
            batch = stored.select(indices)
        model.train()
        outputs = answer(model, senses[0], batch, run.device)
        loss = mse_loss(outputs.picture, target(training, batch).to(run.device))
        values = {"loss": loss.item(), "lr": lr}
        if config.rate_cost and config.spikes:
            loss = loss + config.rate_cost * sum(squared_rates(config, part) for part in outputs.layers.values())
        descend(loss, optimizer, learned, config.clip)
        if config.batch_norm:
            ranks.average_buffers(model)
        for net, least in zip(nets, lowest, strict=True):
            keep_above(net, least)
        silent.look(run, outputs, finished)
        return values | rates(config, outputs.layers)

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
    training, _, test = load(config, run)
    model = network(config, run)
    update = run.load_best(model=model)
    pairs = pairs_of_the_test(config, run, test)
    senses = perceive(config, run, model, test, "test", pairs)
    errors = errors_of(model, senses, test, pairs, run.device)
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
    values["mse_mean_digit"] = mean_digits(training, test, pairs)
    values |= {"update": float(update), "test_samples": float(config.test_samples)}
    values["parameters"] = float(sum(parameter.numel() for parameter in model.parameters()))
    run.write_json("errors.json", errors.tolist())
    few = pairs.select(slice(TEST_BATCH))
    outputs = answer(model, senses, few, run.device)
    run.write_json("activity.json", activity(config, outputs))
    return values | rates(config, outputs.layers)


@torch.no_grad()
def plot(config: Config, run: Run) -> None:
    """Plot a sample in detail, the memory and its weights, errors, a gallery of outputs, learning curves."""
    from .cross_modal_figures import draw

    _, _, test = load(config, run)
    model = network(config, run)
    run.load_best(model=model)
    pairs = pairs_of_the_test(config, run, test)
    few = pairs.select(slice(TEST_BATCH))
    model.eval()
    senses = perceive(config, run, model, test, "test", pairs)
    draw(config, run, model, test, few, answer(model, senses, few, run.device))


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
    core = memory_of(config, n_in, n_query, draws, window="item_ms", normalise=config.normalise)
    decoder: SpikingDecoder | RateDecoder
    if config.spikes:
        decoder = SpikingDecoder(
            size, config.hidden, SIDE, SIDE, neuron_of(config), white=config.white, scale=config.readout_scale,
            generator=draws,
        )  # fmt: skip
    else:
        decoder = RateDecoder(size, config.hidden, SIDE, SIDE, generator=draws)
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


def target(data: WordsAndPictures, pairs: Pairs) -> Tensor:
    """Return the pictures that were stored with the digits of the queries, [B, 28, 28]."""
    return data.pictures[pairs.target, 0]


@torch.no_grad()
def errors_of(
    model: CrossModalNetwork, senses: Senses, data: WordsAndPictures, pairs: Pairs, device: torch.device
) -> Tensor:
    """Return the mean squared errors [S, B] of the output to the target, then to the others in order of storage."""
    errors, model_trains = [], model.training
    model.eval()
    for rows in in_order(len(pairs.asked), TEST_BATCH):
        batch = pairs.select(rows)
        pictures = answer(model, senses, batch, device).picture.cpu()
        order = (batch.asked + torch.arange(len(batch.images)).unsqueeze(1)) % len(batch.images)
        stored = data.pictures[batch.images.gather(0, order), 0]
        errors.append((pictures - stored).square().mean((2, 3)))
    model.train(model_trains)
    return torch.cat(errors, 1)


def nearest(errors: Tensor) -> float:
    """Return the fraction of samples whose output is nearer to the target than to all others."""
    return float((errors[0] < errors[1:]).all(0).double().mean()) if len(errors) > 1 else 1.0


def mean_digits(training: WordsAndPictures, data: WordsAndPictures, pairs: Pairs) -> float:
    """Return the mean squared error of the mean training picture of the target digit, a baseline without memory."""
    means = torch.stack([training.pictures[training.picture_labels == digit, 0].mean(0) for digit in range(10)])
    targets = pairs.target
    return float((means[data.picture_labels[targets]] - data.pictures[targets, 0]).square().mean())


def pairs_of_the_test(config: Config, run: Run, data: WordsAndPictures) -> Pairs:
    """Return the test samples: words with pictures of the same digits."""
    members = DigitPairs(data.word_labels, data.picture_labels, numbers(config, "test_digits"), config.length)
    return members.draw(config.test_samples, True, of_data(config, run, "test", shared=True))


def activity(config: Config, outputs: Recall) -> dict[str, Any]:
    """Return the content of activity.json: sizes, synapses and rates [Hz] of each population, and the data files."""
    data = [entry for module in (fsdd, mnist) for split in ("train", "test") for entry in module.describe(split)]
    size, hertz, layers = config.memory_size, rates(config, outputs.layers), outputs.layers
    words, n_in = layers["words"].shape[-1], layers["words"].shape[-1] + layers["pictures"].shape[-1]
    populations: Populations = {
        "words": (words, 1, None), "pictures": (n_in - words, 1, None), "query": (words, 1, None),
        **memory_populations(size, n_in, words, "rate_words", "rate_query"),
        "decoder": (config.hidden, size, "rate_read_values"), "pixels": (SIDE**2, config.hidden, "rate_decoder"),
    }  # fmt: skip
    populations["write values"] = (size, n_in, "rate_pictures")
    return activity_of(config, config.length + 1, layers_of(hertz, populations), data)


__all__ = ["PRESETS", "PUBLISHED", "Config", "evaluate", "plot", "train"]
