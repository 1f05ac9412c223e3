"""Figures of cross-modal recall. Imported when it plots: matplotlib is slow to load."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.cross_modal import Pairs
from ..models.cross_modal import CrossModalNetwork, Recall
from ..models.encoders import SpikingConvEncoder
from ..plot import drawings
from ..plot import memory as drawn
from ..train.run import Run
from ._encoders import phase
from ._figures import learning, numbers
from ._memory_figures import heat, memories

FEW = 150
"""Neurons of a population that are drawn, if it has more."""
GALLERY = 12


def draw(config: Any, run: Run, model: CrossModalNetwork, part: Any, pairs: Pairs, found: Recall) -> None:
    """The first sample in detail, all memories, the errors of the test, a gallery, learning curves."""
    first = Pairs(*(values[..., 0] for values in pairs))
    said = part.said[first.sounds].tolist()
    asked = int(part.said[first.query])
    wanted = part.pictures[pairs.target, 0]
    names = [str(digit) for digit in [*said, asked]]
    figure = drawings.recalled(
        numbers(part.words[first.sounds, 0]), numbers(part.pictures[first.images, 0]),
        numbers(part.words[first.query, 0]), numbers(wanted[0]), numbers(found.picture[0]), names,
        "Words, as their MFCC, stored with pictures; then one of the words is said again",
    )  # fmt: skip
    run.figure("recall", figure, "A test sample. A white pixel is a neuron that spikes often.")
    count = min(GALLERY, len(wanted))
    titles = [f"asked for {digit}" for digit in part.said[pairs.query[:count]].tolist()]
    figure = drawings.gallery(numbers(wanted[:count]), numbers(found.picture[:count]), titles)
    run.figure("gallery", figure, "The first samples of the test, none left out.")
    if config.model == "relu":
        heat(run, found.recollection)
    else:
        rasters(config, run, found, said)
        encoders(config, run, model, part, first)
    if found.recollection.memory.numel():
        memories(run, found.recollection)
    charts = {
        "mean squared error": {"training": "loss", "validation": "validation_loss"},
        "right picture nearest": {"validation": "validation_accuracy"},
        "rate [Hz]": {name: f"rate_{name.replace(' ', '_')}" for name in found.layers},
    }
    levels = {"right picture nearest": {"chance": round(1 / config.length, 3)}}
    learning(run, "Learning to draw what was stored", charts, levels, max(len(run.metrics()) // 60, 1))
    curves = {
        "loss": {"training": "loss", "validation": "validation_loss"},
        "accuracy": {"training": "accuracy", "validation": "validation_accuracy"},
        "error of drawing again": {"training": "error", "validation": "validation_error"},
    }
    for name in ("words", "pictures"):
        lines = phase(run, name).metrics()
        learning(run, f"Pre-training on {name}", curves, {}, max(len(lines) // 60, 1), f"pretraining_{name}", lines)
    if (run.folder / "errors.json").exists():
        rows = np.array(run.read_json("errors.json"))
        keys = ["to the right picture", *(f"to another one, number {place}" for place in range(1, len(rows)))]
        figure = drawings.errors(dict(zip(keys, rows, strict=True)), f"Errors of {rows.shape[1]:,} test samples")
        run.figure("errors", figure, "Of each drawing to the picture that was meant, and to the others of its sample.")


def rasters(config: Any, run: Run, found: Recall, said: list[int]) -> None:
    """Spikes of the first sample while it is stored, read and drawn."""
    spikes = {name: numbers(part[:, 0]) for name, part in found.layers.items()}
    stored = {name: spikes[name] for name in ("words", "pictures", "write keys", "write values")}
    parts = [(f"a spoken {digit}", config.item_ms) for digit in said]
    run.figure("writing", drawn.populations(stored, config.dt, parts, "While pairs are stored"), "Spikes of a sample.")
    asked = {name: spikes[name] for name in ("query", "read keys", "read values")}
    parts = [("query", config.item_ms)]
    run.figure("reading", drawn.populations(asked, config.dt, parts, "While a word asks"), "The same sample.")
    shown = {"decoder": spikes["decoder"], "pixels": spikes["pixels"]}
    run.figure("decoding", drawn.populations(shown, config.dt, parts, "While it is drawn"), "The same sample.")


@torch.no_grad()
def encoders(config: Any, run: Run, model: CrossModalNetwork, part: Any, first: Pairs) -> None:
    """Spikes of all layers of both encoders: the word that asks, and the picture that was stored with it."""
    place = int(first.asked)
    for name, net, image in (
        ("words", model.words, part.words[first.query]),
        ("pictures", model.pictures, part.pictures[first.images[place]]),
    ):
        assert isinstance(net, SpikingConvEncoder)
        layers = net.populations(image.unsqueeze(0).to(run.device), round(config.item_ms / config.dt))
        spikes = {layer: numbers(some(values[:, 0])) for layer, values in layers.items()}
        title = f"Encoder of {name}: up to {FEW} neurons of each layer"
        run.figure(f"encoder_{name}", drawn.populations(spikes, config.dt, title=title), "What one test sample evokes.")


def some(spikes: Tensor) -> Tensor:
    """Evenly chosen neurons of many, [T, N]."""
    return spikes[:, :: max(-(-spikes.shape[1] // FEW), 1)]
