"""Figures of cross-modal recall. Imported only for plotting, since matplotlib is slow to load."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...train.figures import plot_learning_curves, to_numpy
from ...train.run import Run
from . import draw_images, draw_memory
from .digit_pairs import Pairs
from .encoders import SpikingConvEncoder
from .figures import heat, memories
from .pretraining import phase
from .recall import CrossModalNetwork, Recall

FEW = 150
"""Largest number of neurons of a population in a figure."""
GALLERY = 12


def draw(config: Any, run: Run, model: CrossModalNetwork, part: Any, pairs: Pairs, outputs: Recall) -> None:
    """Plot the first sample in detail, all memories, the test errors, a gallery, learning curves."""
    first = Pairs(*(values[..., 0] for values in pairs))
    stored = part.word_labels[first.sounds].tolist()
    asked = int(part.word_labels[first.query])
    targets = part.pictures[pairs.target, 0]
    names = [str(digit) for digit in [*stored, asked]]
    figure = draw_images.recalled(
        to_numpy(part.words[first.sounds, 0]), to_numpy(part.pictures[first.images, 0]),
        to_numpy(part.words[first.query, 0]), to_numpy(targets[0]), to_numpy(outputs.picture[0]), names,
        f"{len(stored)} spoken digits are stored with pictures; then {asked} is heard again, said otherwise",
    )  # fmt: skip
    run.figure(
        "recall", figure,
        "A test sample. A word is what the network hears, the MFCC of each frame: red is above the mean of the frame, "
        f"blue below. Brightness of a pixel that is drawn: {brightness(config)}.",
    )  # fmt: skip
    count = min(GALLERY, len(targets))
    titles = [f"asked for {digit}" for digit in part.word_labels[pairs.query[:count]].tolist()]
    figure = draw_images.gallery(to_numpy(targets[:count]), to_numpy(outputs.picture[:count]), titles)
    run.figure(
        "gallery", figure,
        "The first samples of the test, none left out: above the very picture that was stored with the word that is "
        "asked for, below what the network drew when it heard another recording of it.",
    )  # fmt: skip
    if config.model == "relu":
        heat(run, outputs.recollection, "pairs of a word and a picture")
    else:
        rasters(config, run, outputs, stored)
        encoders(config, run, model, part, first)
    if outputs.recollection.memory.numel():
        memories(run, outputs.recollection)
    charts = {
        "mean squared error": {"training": "loss", "validation": "validation_loss"},
        "right picture nearest": {"validation": "validation_accuracy"},
        "rate [Hz]": {name: f"rate_{name.replace(' ', '_')}" for name in outputs.layers if name != "query"},
    }
    levels = {"right picture nearest": {"chance": round(1 / config.length, 3)}}
    plot_learning_curves(run, "Learning to draw what was stored", charts, levels)
    curves = {
        "loss": {"training": "loss", "validation": "validation_loss"},
        "accuracy": {"training": "accuracy", "validation": "validation_accuracy"},
        "error of drawing again": {"training": "error", "validation": "validation_error"},
    }
    for name in ("words", "pictures"):
        lines = phase(run, name).metrics()
        plot_learning_curves(run, f"Pre-training on {name}", curves, {}, name=f"pretraining_{name}", lines=lines)
    if (run.folder / "errors.json").exists():
        rows = np.array(run.read_json("errors.json"))
        others = [f"to the picture of another word ({place} of {len(rows) - 1})" for place in range(1, len(rows))]
        keys = ["to the picture that was stored with the word", *others]
        title = f"How far drawings are from the pictures of their sample: {rows.shape[1]:,} test samples"
        run.figure(
            "errors", draw_images.errors(dict(zip(keys, rows, strict=True)), title),
            "If the network recalled nothing, the first histogram would look like the others.",
        )  # fmt: skip


def brightness(config: Any) -> str:
    """Return the text about the brightness of a pixel."""
    if config.model == "relu":
        return "the output of its unit, 1 being white"
    return f"spikes of its neuron, {config.white:g} being white"


def rasters(config: Any, run: Run, outputs: Recall, labels: list[int]) -> None:
    """Plot the spikes of the first sample while writing, reading and decoding."""
    spikes = {name: to_numpy(part[:, 0]) for name, part in outputs.layers.items()}
    stored = {name: spikes[name] for name in ("words", "pictures", "write keys", "write values")}
    parts = [(f"a spoken {digit}", config.item_ms) for digit in labels]
    title = "While pairs of a word and a picture are stored"
    run.figure(
        "writing", draw_memory.populations(stored, config.dt, parts, title),
        "Spikes in a test sample: what the encoders make of words and pictures, and keys and values of the memory.",
    )  # fmt: skip
    read = {name: spikes[name] for name in ("query", "read keys", "read values")}
    parts = [("query", config.item_ms)]
    title = "While another recording of a word asks"
    run.figure("reading", draw_memory.populations(read, config.dt, parts, title), "The same sample.")
    decoded = {"decoder": spikes["decoder"], "pixels drawn": spikes["pixels"]}
    run.figure(
        "decoding", draw_memory.populations(decoded, config.dt, parts, "While the picture is drawn"), "The same sample."
    )


@torch.no_grad()
def encoders(config: Any, run: Run, model: CrossModalNetwork, part: Any, first: Pairs) -> None:
    """Plot the spikes of all layers of both encoders, for the query word and the picture stored with its digit."""
    place = int(first.asked)
    for name, net, image in (
        ("words", model.words, part.words[first.query]),
        ("pictures", model.pictures, part.pictures[first.images[place]]),
    ):
        assert isinstance(net, SpikingConvEncoder)
        layers = net.populations(image.unsqueeze(0).to(run.device), round(config.item_ms / config.dt))
        spikes = {layer: to_numpy(some(run, values[:, 0])) for layer, values in layers.items()}
        named = {f"{layer}\nof {layers[layer].shape[2]:,}": values for layer, values in spikes.items()}
        title = f"Encoder of {name} in a test sample: up to {FEW} neurons of each layer"
        lot = any(values.shape[2] > FEW for values in layers.values())
        caption = "Pixels are those of what is shown; blocks spike before their pool."
        caption = f"{caption} Of larger layers, {FEW} neurons were drawn by lot." if lot else caption
        run.figure(f"encoder_{name}", draw_memory.populations(named, config.dt, title=title), caption)


def some(run: Run, spikes: Tensor) -> Tensor:
    """Return up to `FEW` random neurons of spikes [T, N], in order; every n-th could be one column of the image."""
    order = torch.randperm(spikes.shape[1], generator=run.fresh().generator("neurons that are shown", shared=True))
    return spikes[:, order[:FEW].sort().values]
