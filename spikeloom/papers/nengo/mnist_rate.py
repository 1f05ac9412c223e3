"""MNIST, trained on firing rates and tested with spikes.

A convolutional network of LIF neurons is trained on their rate curve, one step per image. The same parameters then run
as spiking neurons: an image is presented for `steps` steps, and the class with the highest low-passed output at the
last step is the prediction. With `ann`, an ordinary ReLU network is trained and converted.

Source: Rasmussen, NengoDL, Neuroinformatics, 2019; its documentation reports 98.74 % after training, 10.68 % before.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from ...convert import Probe, accuracy_over_steps, to_rate
from ...data.batches import Batches
from ...errors import ConfigError
from ...train import metrics
from ...train.run import Run
from ...train.schedule import set_learning_rate
from ...train.step import descend
from ...train.supervised import fit
from .experiment import (
    Hidden,
    activations,
    brightness,
    confusions,
    costs,
    load,
    network,
    network_output,
    ordinary,
    rate_answers,
    run_spiking,
    spiking,
)
from .options import Config

NENGO = Config(smoothing=0.0)
SOFT = Config(smoothing=0.02, optimizer="adam", cosine=True, shift=1, epochs=15, batch=100)
CONVERT = Config(ann=True, optimizer="adam", cosine=True, epochs=6, shift=1, untrained_images=0)
DATA = ("mnist",)
PRESETS = {
    "nengo": NENGO,
    "soft": SOFT,
    "convert_relu": CONVERT,
    "convert_relu_250_hz": Config(ann=True, rate_weight=0.001, untrained_images=0),
    "smoke": replace(
        SOFT, samples=40, width=4, batch=10, epochs=2, steps=5, untrained_images=20, checkpoint_every=2, figures=2
    ),
}
_DOCS = "NengoDL 3.6 documentation, Optimizing a spiking neural network"
_PAPER = "Rasmussen, NengoDL, 2019"
PUBLISHED: Mapping[str, Any] = {
    "accuracy": {"value": 0.9874, "source": _DOCS, "note": "spiking, 30 steps, all 10,000 test images"},
    "untrained_accuracy": {"value": 0.1068, "source": _DOCS, "note": "spiking, 30 steps, before training"},
    "accuracy_paper": {
        "value": "0.9841-0.9887", "of": "accuracy", "source": _PAPER, "note": "spiking, 95 % confidence interval",
    },
    "calibrated_accuracy": {
        "value": 0.9848,
        "source": "SpikingJelly, ann2snn",
        "note": "99.9 %, 50 steps; their network, 98.70 % before",
    },
    "rate_accuracy": {"value": "0.9905-0.9909", "source": _PAPER, "note": "as rates, 95 % confidence interval"},
}  # fmt: skip


def train(config: Config, run: Run) -> None:
    """Train on rates, one step per image, or train the ordinary network."""
    images, labels = load("train", config, run.device)
    held = config.validation
    if held >= len(images):
        raise ConfigError(f"--validation {held} leaves none of the {len(images)} images for training. Set fewer aside.")
    training = images[: len(images) - held], labels[: len(images) - held]
    validation = images[len(images) - held :], labels[len(images) - held :]
    model = ordinary(config, run) if config.ann else to_rate(network(config, run))
    optimizer = make_optimizer(config, model)
    batches = Batches(len(training[0]), config.batch, run.generator("batches", shared=True), run.rank, run.world)
    epoch = -(-len(training[0]) // (config.batch * run.world))
    updates = config.epochs * epoch
    hidden = Hidden(activations(model))

    def step(finished: int) -> dict[str, float]:
        lr = config.lr * (0.5 + 0.5 * math.cos(math.pi * finished / updates) if config.cosine else 1.0)
        set_learning_rate(optimizer, lr)
        model.train()
        indices = batches.next().to(run.device)
        batch = shifted(training[0][indices], config.shift, run.generator("augmentation"))
        with hidden:
            logits = network_output(model, brightness(batch, config))
        targets = training[1][indices]
        loss = cross_entropy(logits, targets)
        rates = hidden.hertz()
        if config.rate_weight:
            loss = loss + config.rate_weight * sum((layer - config.rate_target).square().mean() for layer in rates)
        descend(loss, optimizer, model)
        values = {"accuracy": metrics.accuracy(logits, targets), "lr": lr, "epoch": float(batches.epoch)}
        hertz = {f"rate_{i + 1}": float(layer.detach().mean()) for i, layer in enumerate(rates)}
        return {"loss": loss.item(), **values, **hertz}

    def validate(finished: int) -> dict[str, float]:
        logits = rate_answers(config, model, validation[0])
        return {
            "validation_accuracy": metrics.accuracy(logits, validation[1]),
            "validation_loss": cross_entropy(logits, validation[1]).item(),
        }

    fit(
        run,
        parts={"model": model, "optimizer": optimizer, "batches": batches},
        updates=updates,
        step=step,
        validate=validate if held else None,
        validate_every=epoch,
        checkpoint_every=config.checkpoint_every,
    )


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Return the test accuracy of the last weights with rates and with spikes, and with spikes before training."""
    if config.ann:
        from .conversion import compare

        return compare(config, run)
    images, labels = load("test", config, run.device)
    probe = Probe(tau_syn=config.tau_probe, debias=config.debias)
    before = run_spiking(
        config, spiking(config, network(config, run.fresh())), images[: config.untrained_images], probe
    )
    model = network(config, run)
    update = run.load_best(model=model)
    rate = metrics.accuracy(rate_answers(config, model, images), labels)
    result = run_spiking(config, spiking(config, model), images, probe)
    curve = accuracy_over_steps(result.outputs, labels)
    run.write_json("confusion.json", confusions(result.outputs[-1], labels))
    run.write_json("steps.json", {"accuracy": curve.tolist(), "rate_accuracy": rate})
    run.write_json("activity.json", costs(model, result))
    accuracy = float(curve[-1])
    first = before.outputs[-1]
    values = {
        "accuracy": accuracy, "rate_accuracy": rate, "gap": rate - accuracy,
        "untrained_accuracy": metrics.accuracy(first, labels[: len(first)]), "update": float(update),
        "test_images": float(len(images)), "spikes_per_image": sum(result.spikes),
    }  # fmt: skip
    return values | {f"silent_{i + 1}": silent for i, silent in enumerate(result.silent)}


def plot(config: Config, run: Run) -> None:
    """Plot training digits, predictions for test digits over time, activity, accuracy over steps, learning curves."""
    from .figures import draw

    draw(config, run)


def shifted(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Shift each image at random by up to `most` pixels in both directions; new pixels are black."""
    if most == 0:
        return images
    side = images.shape[-1]
    wide = pad(images, (most,) * 4)
    moves = torch.randint(2 * most + 1, (2, len(images), 1, 1), generator=generator).to(images.device)
    rows = moves[0] + torch.arange(side, device=images.device).view(1, side, 1)
    columns = moves[1] + torch.arange(side, device=images.device).view(1, 1, side)
    return wide[torch.arange(len(images), device=images.device).view(-1, 1, 1), 0, rows, columns].unsqueeze(1)


def make_optimizer(config: Config, model: nn.Module) -> torch.optim.Optimizer:
    """Return RMSprop with the constants of Keras, or Adam."""
    if config.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=config.lr)
    return torch.optim.RMSprop(model.parameters(), lr=config.lr, alpha=0.9, eps=1e-7)


def network_of(config: Config, run: Run) -> tuple[nn.Module, tuple[int, ...]]:
    """Return the network and the shape of one input, for export; an ordinary network in its best conversion."""
    if not config.ann:
        return network(config, run), (1, 28, 28)
    from .conversion import exported

    return exported(config, run), (1, 28, 28)
