"""An update of the agents that play Concentration, and the game alone.

An update is 64 games for 10 flips each, played and then learned from: four passes of 16 mini-batches of whole games,
replayed from the stored state. The sizes are those of the paper unless the name says otherwise; the definition runs
step by step in torch. Weights are the initial ones, so that every round is the same work.

The original took 1.9 s an update as rates (one thread, some load) and about 300 CPU s in spikes, both on a Xeon at
2.5 GHz with two virtual CPUs: numbers handed down, not measured beside ours, so a ratio to them compares machines too.

Floor: the matrix products of the update, forward and backward, without the memory.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from spikeloom import kernels
from spikeloom.papers.hebbian_memory.concentration import (
    PRESETS,
    Config,
    begin,
    network,
    optimizer_of,
    rules,
)
from spikeloom.train import ppo
from spikeloom.train.run import Run

from . import measure

ORIGINAL_S = {"relu": 1.9, "spiking": 300.0}
FLIPS = 10_000


def update(config: Config, engine: str = "numba") -> Callable[[], None]:
    """Play and improve; the weights stay as they are, because the learning rate is as good as zero."""
    run = Run(Path("nowhere"), "concentration", "bench", 0, quiet=True)
    config = dataclasses.replace(config, lr=1e-30)
    game, agent = rules(config, run), network(config, run)
    optimizer, options = optimizer_of(config, agent), config.ppo()
    first = begin(config, game, agent, run.generator("deals"), run.device)
    states = {name: run.generator(name).get_state() for name in ("actions", "deals", "mini-batches")}

    def once() -> None:
        for name, state in states.items():
            run.generator(name).set_state(state)
        draws, deals, order = (run.generator(name) for name in states)
        with kernels.use(engine):
            rollout, _ = ppo.collect_rollout(agent, game, first, config.flips, draws, deals, run.device)
            ppo.update(agent, optimizer, rollout, options, order)

    return once


def floor(config: Config) -> Callable[[], None]:
    """Products of all layers: once to play, and three times (forward, both gradients) in every pass."""
    n_in, width, size, hidden = 4 * config.cells + config.features, config.embedding, config.memory_size, config.hidden
    pairs = [
        (n_in, width), (width, 3 * size), (size, hidden), (hidden, hidden), (hidden, config.cells),
        (n_in + size, hidden), (hidden, hidden), (hidden, 1),
    ]  # fmt: skip
    played = [(config.games, a, b) for a, b in pairs]
    rows = config.games // config.batches * config.flips
    learned = [shape for a, b in pairs for shape in ((rows, a, b), (rows, b, a), (a, rows, b))]
    return measure.together(
        measure.products(*played, steps=config.flips),
        measure.products(*learned, steps=config.epochs * config.batches),
    )


def flips(config: Config) -> Callable[[], None]:
    """The game alone, with actions drawn beforehand."""
    run = Run(Path("nowhere"), "concentration", "bench", 0, quiet=True)
    game, draws = rules(config, run), torch.Generator().manual_seed(0)
    actions = torch.randint(config.cells, (FLIPS // config.games, config.games), generator=draws)

    def once() -> None:
        cards = game.deal(config.games, draws)
        for action in actions:
            cards, _, over = game.step(cards, action)
            game.observe(cards)
            cards = game.renew(cards, over, draws)

    return once


def agents(given: Any) -> list[dict[str, Any]]:
    """One workload for each agent."""
    rates, spikes = PRESETS["paper_relu"], PRESETS["paper"]
    small = dataclasses.replace(PRESETS["spiking"], games=64, flips=10, batches=16)
    found = []
    for name, config, rounds in (("rates", rates, None), ("spikes", spikes, 3), ("spikes, 40 keys, 5 ms", small, None)):
        contenders = [measure.Contender(measure.OURS, "compiled loops", update(config), rounds)]
        if config.model == "relu":
            contenders.append(measure.Contender("definition", "torch, step by step", update(config, "torch"), 5))
        if config.model == "relu":
            contenders.append(measure.Contender("floor", "matrix products", floor(config)))
        timings = measure.interleave(measure.wanted(contenders, given.only), given.rounds)
        names = ("games", "flips", "epochs", "batches", "memory_size", "dt")
        settings = {name: getattr(config, name) for name in names}
        settings["original_s"] = ORIGINAL_S[config.model] if config is not small else None
        found.append(measure.workload(f"an update, {name}", settings, timings))
    return found


def tables(given: Any) -> dict[str, Any]:
    """The game."""
    contender = measure.Contender(measure.OURS, "64 tables at once", flips(PRESETS["paper"]))
    timings = measure.interleave([contender], given.rounds)
    return measure.workload("the game alone", {"flips": FLIPS, "games": 64}, timings)


if __name__ == "__main__":
    options = measure.options(__doc__, rounds=9)
    measure.save("concentration", __doc__, options, [*agents(options), tables(options)])
