"""Figures of the tasks with a Hebbian memory. Imported only for plotting, since matplotlib is slow to load."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.babi import Question, Sentence, StoryBatch
from ...plot.curves import accuracy_by_length
from ...plot.images import labelled
from ...train.figures import plot_learning_curves, to_numpy
from ...train.run import Run
from . import draw_memory
from .networks import Recollection
from .pairs import Associations


def associations(config: Any, run: Run, batch: Associations, outputs: Recollection, lengths: list[int]) -> None:
    """Plot the first sample in detail, all memories, and accuracy by length if several were tested."""
    names = [str(label) for label in range(config.classes)]
    labels, target = batch.labels[:, 0].tolist(), int(batch.target[0])
    values = {"stored": to_numpy(batch.features[:, 0].T), "asked": to_numpy(batch.query[:1].T)}
    title = f"Labels {', '.join(map(str, labels))}; asked for {target}"
    run.figure("input", draw_memory.matrices(values, "feature", ["item", ""], title), "Vectors of a test sample.")
    predicted = int(outputs.logits[0].argmax())
    title = f"Answered {predicted}, stored was {target}"
    figure = draw_memory.answer(to_numpy(outputs.logits[0]), target, names, title)
    run.figure("answer", figure, "What the network says; red is right.")
    if config.model in ("spiking", "frozen", "recurrent"):
        rasters(config, run, outputs, [f"item {number + 1}: {label}" for number, label in enumerate(labels)])
    elif outputs.written.numel():
        heat(run, outputs, "items")
    if outputs.memory.numel():
        memories(run, outputs)
    learning_curves(run, "Learning associations", outputs, 1 / config.classes)
    if lengths and (run.folder / "result.json").exists():
        test = run.read_json("result.json")["test"]
        by_length = {config.length: test["accuracy"]}
        for length in lengths:
            value = test.get(f"accuracy_{length}_items")
            by_length |= {} if value is None else {length: value}
        ordered = dict(sorted(by_length.items()))
        figure = accuracy_by_length(
            {config.model: ordered}, dict.fromkeys(ordered, 1 / config.classes), f"Trained with {config.length} items"
        )
        run.figure("accuracy_by_length", figure, "Accuracy on samples of other lengths than in training.")


def stories(
    config: Any, run: Run, question: Question, statements: list[Sentence], batch: StoryBatch, outputs: Recollection,
    words: tuple[str, ...], position: Tensor,
) -> None:  # fmt: skip
    """Plot one story in detail, the weights of all memories, position weights, learning curves, accuracy by length."""
    asked, target = " ".join(question.words), int(batch.target[0])
    predicted = words[int(outputs.logits[0].argmax())]
    matrix = to_numpy(torch.cat([batch.statements, batch.query]))
    figure = draw_memory.sentences([*statements, question.words], matrix, f"A test story: {asked}? {question.answer}")
    run.figure("input", figure, "Words of a test story and of the question, by their place in the sentence.")
    figure = draw_memory.answer(
        to_numpy(outputs.logits[0]), target, words, f"{asked}? Answered {predicted}, right is {words[target]}"
    )
    run.figure("answer", figure, "What the network says; red is right.")
    every = max(len(statements) // 20, 1)
    rasters(config, run, outputs, [f"{n + 1}" if n % every == 0 else "" for n in range(len(statements))])
    memories(run, outputs)
    figure = draw_memory.matrices(
        {"weights": to_numpy(position)}, "place in the sentence, first: 0", ["current"], "Weights of places"
    )
    run.figure("places", figure, "How much the embedding of a word counts in each place, for each current.")
    learning_curves(run, "Learning to answer questions", outputs)
    if (run.folder / "lengths.json").exists():
        curve = {length: accuracy for length, _, accuracy in run.read_json("lengths.json")}
        figure = accuracy_by_length(
            {config.model: curve}, title="Test questions by the length of the story", items="statements"
        )
        run.figure("accuracy_by_length", figure, "Accuracy on test questions; neighbouring lengths together.")


CURVES = {"loss": {"training": "loss"}, "accuracy": {"training": "accuracy", "validation": "validation_accuracy"}}
"""Charts of a classification task, and metrics by their names in the legend."""


def learning_curves(run: Run, title: str, outputs: Recollection, chance: float | None = None) -> None:
    """Plot loss, accuracy and firing rates during training."""
    charts = {**CURVES, "rate [Hz]": {name: f"rate_{name.replace(' ', '_')}" for name in outputs.layers}}
    levels = {} if chance is None else {"accuracy": {"chance": round(chance, 3)}}
    plot_learning_curves(run, title, charts, levels)


def rasters(config: Any, run: Run, outputs: Recollection, items: list[str]) -> None:
    """Plot the spikes of the first sample while writing and while reading."""
    spikes = {name: to_numpy(part[:, 0]) for name, part in outputs.layers.items()}
    stored = {name: part for name, part in spikes.items() if name == "storage encoder" or name.startswith("write")}
    read = {name: part for name, part in spikes.items() if name not in stored}
    parts = [(name, config.item_ms) for name in items]
    run.figure(
        "writing", draw_memory.populations(stored, config.dt, parts, "While items are stored"), "Spikes of a sample."
    )
    run.figure(
        "reading", draw_memory.populations(read, config.dt, [("query", config.item_ms)], "While the memory is read"),
        "Spikes of the same sample.",
    )  # fmt: skip


def memories(run: Run, outputs: Recollection) -> None:
    """Plot the memory of the first sample, and a histogram of the weights of all samples."""
    one = to_numpy(outputs.memory[0])
    figure = draw_memory.matrices({"from keys to values": one}, "value neuron", ["key neuron"], "The memory", "weight")
    run.figure("memory", figure, "What the network wrote of a sample.")
    everything: Any = torch.as_tensor(outputs.memory).detach().cpu().numpy()
    run.figure("memory_weights", draw_memory.weights(np.asarray(everything)), "Weights after all items are stored.")


def one_shot(
    config: Any, run: Run, pixels: Tensor, target: int, inside: Mapping[str, Tensor], outputs: Recollection,
    phases: Mapping[str, list[dict[str, Any]]],
) -> None:  # fmt: skip
    """Plot the first episode in detail, all memories, and the learning curves of encoder and memory.

    Args:
        pixels: images of the episode, the query last, [S + 1, H, W].
        target: position of the class of the query.
        inside: spikes of the pixels and blocks of the encoder during the query, [T, 1, N]; may be empty.
        phases: lines of metrics of pretraining and tuning; may be empty.
    """
    names = [str(number + 1) for number in range(config.ways)]
    titles = [f"stored as {name}" for name in names] + [f"asked: {names[target]}"]
    run.figure("episode", labelled(to_numpy(pixels), titles, "A test episode"), "Images of a test episode.")
    predicted = int(outputs.logits[0].argmax())
    title = f"Answered {names[predicted]}, right is {names[target]}"
    run.figure(
        "answer", draw_memory.answer(to_numpy(outputs.logits[0]), target, names, title), "What it says; red is right."
    )
    if inside:
        seen = {name: to_numpy(part[:, 0]) for name, part in inside.items()}
        figure = draw_memory.populations(seen, config.dt, [("query", config.item_ms)], "The encoder while it is asked")
        run.figure("encoder", figure, "Spikes of the pixels and of each block before its pool.")
    if config.model in ("spiking", "frozen"):
        rasters(config, run, outputs, [f"stored as {name}" for name in names])
    elif outputs.encoder.numel():
        heat(run, outputs)
    if outputs.memory.numel():
        memories(run, outputs)
    learning_curves(run, "Learning episodes", outputs, 1 / config.ways)
    for name, lines in phases.items():
        title = "Pre-training of the encoder" if name == "pretraining" else "Training of the encoder by its spikes"
        plot_learning_curves(run, title, CURVES, {}, name=name, lines=lines)


def heat(run: Run, outputs: Recollection, what: str = "images") -> None:
    """Plot the activity of a network of rates while writing and while reading.

    Args:
        what: name of the stored items in the title.
    """
    stored = {"encoder": to_numpy(outputs.encoder[:, 0].T)}
    read = {"encoder": to_numpy(outputs.query[:, 0].T)}
    for parts, both in ((stored, outputs.written), (read, outputs.read)):
        keys, values = both[:, 0].chunk(2, -1)
        parts |= {"keys": to_numpy(keys.T), "values": to_numpy(values.T)}
    figure = draw_memory.matrices(stored, "neuron", ["item"] * 3, f"While {what} are stored", "activity")
    run.figure("writing", figure, "Activities in a test sample: one column for each item.")
    run.figure(
        "reading", draw_memory.matrices(read, "neuron", [""] * 3, "While the memory is read", "activity"),
        "Activities of the same sample.",
    )  # fmt: skip
