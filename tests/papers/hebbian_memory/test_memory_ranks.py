"""Tasks with a memory in two processes: gradients are those of one process with the batch of both.

Run as a program, this file is one of the processes: it asserts, and the test reads how it ended.
"""

import dataclasses
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from spikeloom.data.omniglot import Episodes
from spikeloom.papers.hebbian_memory import (
    associations,
    babi,
    cross_modal,
    cross_modal_options,
    omniglot,
    omniglot_episodes,
)
from spikeloom.papers.hebbian_memory import options as _memory
from spikeloom.papers.hebbian_memory.digit_pairs import DigitPairs, Pairs
from spikeloom.papers.hebbian_memory.pairs import Associations
from spikeloom.train import ranks
from spikeloom.train.run import Run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
COST = 1e-4


def gradient(model: nn.Module, loss: Tensor) -> Tensor:
    model.zero_grad()
    torch.autograd.backward(loss)
    ranks.average_gradients(model)
    return torch.cat([part.grad.flatten() for part in model.parameters() if part.grad is not None])


def of_associations(model: Any, config: associations.Config, shown: Associations) -> Tensor:
    found = associations.answer(config, model, shown, torch.device("cpu"))
    costs = sum(_memory.squared_rates(config, part) for part in found.layers.values())
    return gradient(model, cross_entropy(found.logits, shown.target) + COST * costs)


def of_stories(model: Any, config: babi.Config, stories: Any, chosen: Tensor) -> Tensor:
    shown = stories.batch(stories.of(chosen) if config.whole_stories else chosen)
    found = model(shown.statements, shown.lengths, shown.query, shown.first)
    loss, _ = babi.losses(config, found, shown.target, COST)
    return gradient(model, loss)


Pair = tuple[Tensor, Callable[[], Tensor]]
"""The gradient of both processes, and how to find it alone."""


def of_pictures(run: Run) -> Pair:
    """Omniglot: the encoder learns too."""
    config = dataclasses.replace(omniglot.PRESETS["smoke"], pretraining="none", tune_updates=0, freeze_encoder=False)
    images, _ = omniglot_episodes.split(config, run)
    _, learner = omniglot.build(config, run)
    source = omniglot_episodes.EpisodeSource(config, images, None)
    mine = omniglot_episodes.draw(config, images, 6, run.generator("training"))
    every = [Episodes(*parts) for parts in ranks.gather(tuple(mine))]

    def of(shown: Episodes) -> Tensor:
        found = omniglot_episodes.answer(learner, source, shown, run.device)
        costs = sum(_memory.squared_rates(config, part) for part in found.layers.values())
        return gradient(learner, cross_entropy(found.logits, shown.target) + COST * costs)

    return of(mine), lambda: of(Episodes(*(torch.cat(parts, -1) for parts in zip(*every, strict=True))))


def of_words(run: Run) -> Pair:
    """Cross-modal recall: encoders learn too."""
    config = dataclasses.replace(
        cross_modal.PRESETS["smoke"], pretraining="none", freeze_encoders=False, conversion="balanced"
    )
    training, _, _ = cross_modal_options.load(config, run)
    model = cross_modal.network(config, run)
    senses = cross_modal_options.perceive(config, run, model, training, "training")
    among = DigitPairs(training.word_labels, training.picture_labels, list(range(10)), config.length)
    mine = among.draw(6, False, run.generator("training"))
    every = [Pairs(*parts) for parts in ranks.gather(tuple(mine))]

    def of(shown: Pairs) -> Tensor:
        found = cross_modal.answer(model, senses, shown, run.device)
        costs = sum(_memory.squared_rates(config, part) for part in found.layers.values())
        error = mse_loss(found.picture, cross_modal.target(training, shown))
        return gradient(model, error + COST * costs)

    return of(mine), lambda: of(Pairs(*(torch.cat(parts, -1) for parts in zip(*every, strict=True))))


def main(folder: Path) -> None:
    """One of the processes."""
    with ranks.joined() as (rank, world):

        def new(name: str, task: str) -> Run:
            return Run(folder / name, task, "smoke", 1, rank=rank, world=world, quiet=True)

        config = dataclasses.replace(associations.PRESETS["smoke"], threshold=0.05)
        run = new("associations", "associations")
        pairs = associations.samples(config, run.generator("training"), config.length, 6)
        every = [Associations(*parts) for parts in ranks.gather(tuple(pairs))]
        model = associations.network(config, run)
        here: list[Pair] = [
            (of_associations(model, config, pairs), lambda: of_associations(model, config, joined(every)))
        ]
        for whole in (False, True):
            options = dataclasses.replace(babi.PRESETS["smoke"], whole_stories=whole, batch=16)
            run = new(f"babi-{whole}", "babi")
            files = babi.read(options)
            known = babi.vocabulary(options, run, files)
            ranks.barrier()
            stories, _ = babi.splits(options, run, known.encode(files.train))
            chosen = babi.drawn(options, run, stories).next()
            reader = babi.network(options, run, known)
            mine = of_stories(reader, options, stories, chosen)
            both = torch.cat(ranks.gather(chosen))
            here.append((mine, partial(of_stories, reader, options, stories, both)))
        here += [of_pictures(new("omniglot-spikes", "omniglot")), of_words(new("cross-modal", "cross_modal"))]
        rates: dict[str, Any] = {"model": "relu", "batch_norm": True, "pretraining": "none", "tune_updates": 0}
        drawings = dataclasses.replace(omniglot.PRESETS["smoke"], **rates, key_gain=1.0, freeze_encoder=False)
        omniglot.train(drawings, new("omniglot", "omniglot"))  # statistics are those of both, or saving would refuse
    if rank:
        return
    for one, alone in here:
        two = alone()
        largest = float(two.abs().max())
        assert largest > 1e-3, "a gradient of nothing"
        torch.testing.assert_close(one, two, rtol=0.0, atol=1e-6 * max(1.0, largest))  # float32 sums in another order


def joined(parts: list[Associations]) -> Associations:
    """The samples of all processes."""
    features, labels, query, target = zip(*parts, strict=True)
    return Associations(torch.cat(features, 1), torch.cat(labels, 1), torch.cat(query), torch.cat(target))


def test_two_processes_are_as_one_with_both_batches(tmp_path: Path) -> None:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = str(found.getsockname()[1])
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    shared |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    started = [
        subprocess.Popen([sys.executable, __file__, str(tmp_path)], env={**shared, "RANK": str(rank)}, cwd=ROOT)
        for rank in range(2)
    ]
    assert [process.wait(timeout=300) for process in started] == [0, 0]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
