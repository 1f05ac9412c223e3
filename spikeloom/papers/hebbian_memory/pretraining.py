"""Code shared by the tasks with images in a Hebbian memory: pre-training of an encoder, conversion, cached spikes.

    RUN/NAME/{metrics.jsonl, seconds.json, checkpoints/}    pre-training: a run inside the run
    RUN/NAME/spikes-SPLIT.npz     spikes of all images of a split, with a hash of everything they depend on

Pre-training continues when the run is resumed; once finished, its result is only loaded: the encoder with the best
validation result.
"""

import dataclasses
import hashlib
import math
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from ...data.batches import Batches, in_order
from ...errors import CheckpointError, ConfigError
from ...train import config, experiment, files, metrics, ranks
from ...train.run import Run
from ...train.schedule import set_learning_rate, step_decay
from ...train.step import descend
from ...train.supervised import fit
from .encoders import Balance, ConvEncoder, PackedSpikes, SpikingConvEncoder, balance, prototype_logits

AT_ONCE = 500
"""Batch size of images without gradients."""


@dataclass(frozen=True)
class Schedule:
    """Schedule of the pre-training of an encoder; periods are in updates."""

    updates: int
    lr: float = 0.001
    lr_decay: float = 0.5
    lr_decay_every: int = 2000
    validate_every: int = 100
    checkpoint_every: int = 100


@dataclass(frozen=True)
class PretrainingEpisodes:
    """Sizes of an episode of prototypical pre-training, and of its validation."""

    ways: int = 60
    shots: int = 1
    queries: int = 5
    validation_ways: int = 5
    validation_queries: int = 15
    validation_episodes: int = 200
    validation_classes: int = 0
    """Number of validation classes to use; 0: all."""


def phase(run: Run, name: str) -> Run:
    """Return a run inside the run, with its own folder, checkpoints and generators."""
    return dataclasses.replace(run, folder=run.folder / name)


def tell(run: Run, text: str) -> None:
    """Print a message on rank 0, unless the run is quiet."""
    if run.rank == 0 and not run.quiet:
        print(text, flush=True)


def choose(classes: int, drawings: int, ways: int, each: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw distinct classes [ways] and distinct drawings of each [ways, each].

    Raises:
        ConfigError: there are too few classes or drawings.
    """
    if ways > classes or each > drawings:
        raise ConfigError(
            f"An episode of {ways} classes with {each} images each cannot be drawn from {classes} classes with "
            f"{drawings} images each. Use smaller episodes, or hold out less."
        )
    indices = torch.randperm(classes, generator=generator)[:ways]
    return indices, torch.rand(ways, drawings, generator=generator).argsort(1)[:, :each]


def pretrain_prototypes(
    run: Run,
    encoder: ConvEncoder | SpikingConvEncoder,
    images: Tensor,
    validation: Tensor,
    episodes: PretrainingEpisodes,
    schedule: Schedule,
    steps: int = 0,
) -> None:
    """Train an encoder with the prototypical loss over episodes, so that images of a class have similar features.

    A spiking encoder is trained on its spike counts; see `SpikingConvEncoder.rates` for the backward pass. Distances
    are then squared distances of counts, divided by the number of steps.
    Shapes: images and validation [classes, drawings, 1, H, W], bytes or floats, of disjoint classes.

    Args:
        run: run of this phase; see `phase`.
        steps: steps per image for a spiking encoder.

    Raises:
        ConfigError: there are too few classes or drawings.
        TrainingError: the loss is not finite.
    """
    optimizer = torch.optim.Adam(encoder.parameters(), lr=schedule.lr)
    drawn, each = run.generator("pretraining"), episodes.shots + episodes.queries
    choose(len(images), images.shape[1], episodes.ways, each, torch.Generator())
    tests = run.generator("pretraining validation", shared=True)
    order = torch.randperm(len(validation), generator=tests)[: episodes.validation_classes or None]
    held, per_test = validation[order], episodes.shots + episodes.validation_queries
    fixed = [
        choose(len(held), held.shape[1], episodes.validation_ways, per_test, tests)
        for _ in range(episodes.validation_episodes)
    ]
    lowest = [0.001 * value for value in encoder.thresholds] if isinstance(encoder, SpikingConvEncoder) else []

    def features(images: Tensor) -> Tensor:
        if isinstance(encoder, SpikingConvEncoder):
            return encoder.rates(images, steps) * math.sqrt(steps)
        embedding: Tensor = encoder(images)
        return embedding

    def step(finished: int) -> dict[str, float]:
        lr = step_decay(finished, schedule.lr, schedule.lr_decay, schedule.lr_decay_every)
        set_learning_rate(optimizer, lr)
        classes, which = choose(len(images), images.shape[1], episodes.ways, each, drawn)
        batch = images[classes.unsqueeze(1), which].to(run.device).float()
        encoder.train()
        logits, target = _episode(features(batch.flatten(0, 1)).view(episodes.ways, each, -1), episodes.shots)
        loss = cross_entropy(logits, target)
        descend(loss, optimizer, encoder)
        ranks.average_buffers(encoder)
        if isinstance(encoder, SpikingConvEncoder):
            keep_above(encoder, lowest)
        return {"loss": loss.item(), "accuracy": metrics.accuracy(logits, target), "lr": lr}

    def validate(finished: int) -> dict[str, float]:
        if isinstance(encoder, SpikingConvEncoder):
            embedded = PackedSpikes.of(encoder, held.flatten(0, 1), steps).counts()
        else:
            embedded = embed(encoder, held.flatten(0, 1), run.device)
        embedded, total = embedded.view(*held.shape[:2], -1), 0.0
        for classes, which in fixed:
            total += metrics.accuracy(*_episode(embedded[classes.unsqueeze(1), which], episodes.shots))
        return {"validation_accuracy": total / len(fixed)}

    fit(
        run,
        parts={"encoder": encoder, "optimizer": optimizer},
        updates=schedule.updates,
        step=step,
        validate=validate,
        validate_every=schedule.validate_every,
        checkpoint_every=schedule.checkpoint_every,
        best="validation_accuracy",
        better="higher",
    )
    run.load_best(encoder=encoder)


@torch.no_grad()
def keep_above(encoder: SpikingConvEncoder, lowest: Sequence[float]) -> None:
    """Clamp learned thresholds to at least `lowest`, in place."""
    for neuron, least in zip(encoder.neurons, lowest, strict=True):
        if isinstance(neuron.threshold, nn.Parameter):
            neuron.threshold.clamp_(min=least)


def _episode(embedded: Tensor, shots: int) -> tuple[Tensor, Tensor]:
    """Return the logits of the queries and their classes, from features [ways, shots + queries, F]."""
    ways, each = embedded.shape[:2]
    logits = prototype_logits(embedded[:, :shots], embedded[:, shots:].flatten(0, 1))
    return logits, torch.arange(ways, device=embedded.device).repeat_interleave(each - shots)


def pretrain_classes(
    run: Run,
    encoder: ConvEncoder,
    images: Tensor,
    labels: Tensor,
    validation: tuple[Tensor, Tensor],
    classes: int,
    batch: int,
    schedule: Schedule,
    *,
    redraw: float = 0.0,
    transform: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Train an encoder as a classifier with a linear readout, which is discarded afterwards.

    Shapes: images [N, 1, H, W], bytes or floats, labels [N]; validation: images and labels likewise.

    Args:
        run: run of this phase; see `phase`.
        batch: images per update of each process.
        redraw: weight of the mean squared error of a decoder (dense 256, ReLU, dense, sigmoid) that reconstructs images
            with values from 0 to 1 from their features, so that these represent more than the class. The decoder is
            discarded too.
        transform: function applied to images before the encoder; None: identity.

    Raises:
        ConfigError: the batch is empty or larger than the data.
        TrainingError: the loss is not finite.
    """
    width = encoder.features(*images.shape[2:])
    parts = {"encoder": encoder, "head": _dense(width, classes, run)}
    if redraw:
        pixels = images[0].numel()
        parts["decoder"] = nn.Sequential(_dense(width, 256, run), nn.ReLU(), _dense(256, pixels, run), nn.Sigmoid())
    head, learned = parts["head"], [parameter for part in parts.values() for parameter in part.parameters()]
    optimizer = torch.optim.Adam(learned, lr=schedule.lr)
    order = run.generator("pretraining", shared=True)
    batches = Batches(len(images), batch, order, run.rank, run.world)

    def step(finished: int) -> dict[str, float]:
        lr = step_decay(finished, schedule.lr, schedule.lr_decay, schedule.lr_decay_every)
        set_learning_rate(optimizer, lr)
        indices = batches.next()
        target = labels[indices].to(run.device)
        encoder.train()
        pictures = images[indices].to(run.device).float()
        features = encoder(pictures if transform is None else transform(pictures))
        logits = head(features)
        loss = cross_entropy(logits, target)
        values = {"accuracy": metrics.accuracy(logits, target), "lr": lr}
        if redraw:
            error = mse_loss(parts["decoder"](features), pictures.flatten(1))
            loss, values = loss + redraw * error, values | {"error": error.item()}
        descend(loss, optimizer, learned)
        ranks.average_buffers(encoder)
        return {"loss": loss.item(), **values}

    @torch.no_grad()
    def validate(finished: int) -> dict[str, float]:
        features = embed(encoder, validation[0] if transform is None else transform(validation[0]), run.device)
        logits, targets = head(features), validation[1].to(run.device)
        loss = cross_entropy(logits, targets).item()
        values = {"validation_loss": loss, "validation_accuracy": metrics.accuracy(logits, targets)}
        if redraw:
            error = mse_loss(parts["decoder"](features), validation[0].to(run.device).float().flatten(1)).item()
            values |= {"validation_loss": loss + redraw * error, "validation_error": error}
        return values

    fit(
        run,
        parts={**parts, "optimizer": optimizer, "batches": batches},
        updates=schedule.updates,
        step=step,
        validate=validate,
        validate_every=schedule.validate_every,
        checkpoint_every=schedule.checkpoint_every,
        best="validation_loss",
        better="lower",
    )
    run.load_best(encoder=encoder)


@torch.no_grad()
def _dense(n_in: int, n_out: int, run: Run) -> nn.Module:
    """Return a dense layer with the initialisation of torch, drawn from the run's generator."""
    layer, bound = nn.Linear(n_in, n_out), n_in**-0.5
    for part in layer.parameters():
        part.uniform_(-bound, bound, generator=run.generator("readout", shared=True))
    return layer.to(run.device)


@torch.no_grad()
def embed(encoder: ConvEncoder, images: Tensor, device: torch.device) -> Tensor:
    """Return the features [N, F] of images [N, 1, H, W], in batches and in eval() mode."""
    training = encoder.training
    encoder.eval()
    features = [encoder(images[part].to(device).float()) for part in in_order(len(images), AT_ONCE)]
    encoder.train(training)
    return torch.cat(features)


def borrow(run: Run, source: str, encoder: ConvEncoder, options: Any, alike: Sequence[str]) -> None:
    """Load the pre-trained encoder of another run, and save a copy in this one.

    Args:
        run: run of this phase; the phase has the same name in the other run.
        source: folder of the other run.
        options: options of the task of this run.
        alike: names of options that must be equal in both. So must the data seed, which determines the validation
            split: validation data must not have been used in training.

    Raises:
        ConfigError: the folder is not a run, or options differ; the message names all of them.
        CheckpointError: the run has no such encoder.
    """
    other = config.read(Path(source))
    if other.task != run.task:
        raise ConfigError(f"{source} is a run of {other.task}, not of {run.task}. Name the folder of another run.")
    theirs: Mapping[str, Any] = other.options
    seeds = [
        seed if own < 0 else own
        for seed, own in ((other.seed, theirs.get("data_seed", -1)), (run.seed, options.data_seed))
    ]
    different = [f"the seed of the data is {seeds[0]} there and {seeds[1]} here"] if seeds[0] != seeds[1] else []
    different += [
        f"{name} is {theirs.get(name)!r} there and {getattr(options, name)!r} here"
        for name in alike
        if theirs.get(name) != getattr(options, name)
    ]
    if different:
        raise ConfigError(f"The encoder of {source} does not fit: {'; '.join(different)}. Change these options.")
    if not (Path(source) / run.folder.name / "checkpoints" / "best.pt").exists():
        raise CheckpointError(
            f"{source} has no pre-trained encoder: {run.folder.name}/checkpoints/best.pt is missing. "
            "Name the folder of a run that has pre-trained one."
        )
    there = phase(experiment.reopen(Path(source), run.device), run.folder.name)
    update = there.load_best(encoder=encoder)
    run.save_best(update, encoder=encoder)


def calibrate(
    run: Run, spiking: SpikingConvEncoder, images: Tensor, steps: int, *, batches: int, batch: int, share: float = 1.0
) -> Balance:
    """Balance thresholds with random images of [N, 1, H, W]; write the result to thresholds.json and print violations.

    Raises:
        ConfigError: there are too few images, or a layer is silent.
    """
    if batches * batch > len(images):
        raise ConfigError(
            f"Thresholds need {batches} batches of {batch} images, but there are {len(images)}. Use fewer."
        )
    order = torch.randperm(len(images), generator=run.generator("calibration", shared=True))[: batches * batch]
    groups = [images[part].to(run.device).float() for part in torch.split(order, batch)]
    balanced = balance(spiking, groups, steps, share=share)
    values = balanced._asdict() | {"share": share, "violations": balanced.violations}
    run.write_json("thresholds.json", values)
    if balanced.violations and share >= 1.0 and run.rank == 0:
        beyond = ", ".join(
            f"block {layer + 1} {balanced.largest[layer]:.4g} for {balanced.thresholds[layer]:.4g}"
            for layer in balanced.violations
        )
        print(f"Thresholds: a later batch raised one, and now the largest current is {beyond}.", flush=True)
    return balanced


def spikes(run: Run, spiking: SpikingConvEncoder, images: Tensor, steps: int, split: str) -> PackedSpikes:
    """Return the spikes of images [N, 1, H, W], from disk if the same encoder has computed them for the same images."""
    path = run.folder / f"spikes-{split}.npz"
    digest = hashlib.sha256(images.cpu().numpy().tobytes() + repr((images.dtype, images.shape, steps)).encode())
    key = digest.hexdigest() + spiking.fingerprint()
    features = spiking.features(*images.shape[2:])
    kept = _read_spikes(path, key)
    if kept is None:
        start = time.monotonic()
        computed = PackedSpikes.of(spiking, images, steps)
        if run.rank == 0:
            contents = {"key": np.array(key), "bits": computed.bits.numpy()}
            files.write_atomic(path, lambda stream: np.savez(stream, allow_pickle=False, **contents))
            tell(run, f"Spikes of {len(images):,} images ({split}): {time.monotonic() - start:.0f} s")
        return computed
    return PackedSpikes(kept, steps, features)


def _read_spikes(path: Path, key: str) -> Tensor | None:
    """Read the spikes saved with this key; None if there are none or the file is damaged."""
    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            return torch.from_numpy(file["bits"]) if str(file["key"]) == key else None
    except (OSError, EOFError, KeyError, ValueError, zlib.error, zipfile.BadZipFile):
        return None
