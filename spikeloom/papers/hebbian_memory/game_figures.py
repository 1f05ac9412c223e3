"""Figures of the game Concentration. Imported only for plotting, since matplotlib is slow to load."""

from typing import Any

import torch

from ...train.figures import plot_learning_curves, to_numpy
from ...train.run import Run
from . import draw_games, draw_memory
from .game import EMPTY, UP, expected_flips, optimal_flips

SCENES = 24
"""Largest number of flips in the film of a game."""
FACES: tuple[draw_games.Face, ...] = ("down", "up", "none")


def concentration(config: Any, run: Run, turns: Any) -> None:
    """Plot a game flip by flip, and the results of all test games and of training."""
    film(run, turns[:SCENES])
    if turns[0].memory.numel():
        last = {f"flip {number}": to_numpy(turn.memory[0]) for number, turn in enumerate(turns[:4], 1)}
        keys = ["key neuron"] * len(last)
        figure = draw_memory.matrices(last, "value neuron", keys, "The memory after each observation", "weight")
        run.figure("memory", figure, "The first flips of the same game.")
    if turns[0].inside is not None:
        rasters(config, run, turns[:8])
    if (run.folder / "games.json").exists():
        games = run.read_json("games.json")
        figure = draw_games.flips(games, optimal_flips(config.cells), f"Flips of a game of {config.cells} cells")
        run.figure("flips", figure, "The test: greedy takes the likeliest action, drawn draws it.")
    best, down = expected_flips(config.cells), expected_flips(config.cells, "face down")
    levels = {
        "perfect memory": round(best, 2),
        "random card": down,
        "random cell": expected_flips(config.cells, "any cell"),
    }
    charts = {
        "flips of a game": {"training": "flips", "validation": "validation_flips"},
        "entropy [nats]": {"training": "entropy"},
        "loss": {"value": "value_loss", "policy": "policy_loss"},
        "rate [Hz]": {name: f"rate_{name.replace(' ', '_')}" for name in turns[0].inside.layers}
        if turns[0].inside
        else {},
    }
    plot_learning_curves(run, "Learning to play Concentration", charts, {"flips of a game": levels})


def film(run: Run, turns: Any) -> None:
    """Write figures/game.gif."""
    largest = max([float(turn.memory.max()) for turn in turns if turn.memory.numel()], default=1.0) or 1.0
    scenes = []
    for number, turn in enumerate(turns, 1):
        cell, before = int(turn.action[0]), turn.before.face[0]
        face = before.clone()
        face[cell] = EMPTY if before[cell] == EMPTY else UP - before[cell]
        removed = bool((turn.after.face[0] == EMPTY).sum() > (before == EMPTY).sum())
        what = "nothing there" if before[cell] == EMPTY else "turned back" if before[cell] == UP else "turned over"
        if removed:
            what = "a pair"
        elif int((face == UP).sum()) == 2:
            what = "no pair"
        images = turn.before.images[0][turn.before.deck[0].clamp(min=0)]
        memory = to_numpy(turn.memory[0]) if turn.memory.numel() else None
        title = f"Flip {number}, cell {cell + 1}: {what}"
        scenes.append(
            draw_games.Scene(
                title,
                [FACES[int(one)] for one in face],
                to_numpy(images),
                cell,
                to_numpy(turn.chances[0]),
                memory,
                largest,
            )
        )
    caption = f"A game, up to {SCENES} flips. Blue: the probability of a cell; red: the likeliest, which is chosen."
    run.figure("game", draw_games.Film([draw_games.scene(one) for one in scenes], 1.2), caption, kind="gif")


def rasters(config: Any, run: Run, turns: Any) -> None:
    """Plot the spikes of the first flips."""
    layers = [turn.inside.layers for turn in turns]
    spikes = {name: to_numpy(torch.cat([one[name][:, 0] for one in layers])) for name in layers[0]}
    parts = [(f"flip {number}", config.item_ms) for number in range(1, len(turns) + 1)]
    run.figure(
        "spikes",
        draw_memory.populations(spikes, config.dt, parts, "Spikes of a game"),
        "The first flips of the same game.",
    )
