"""Concentration: resuming, every agent, figures, options; what is tested is what was played."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from spikeloom.core import map_state
from spikeloom.errors import ConfigError
from spikeloom.papers.hebbian_memory import concentration
from spikeloom.papers.hebbian_memory.concentration import (
    PRESETS,
    Config,
    Player,
    begin,
    network,
    optimizer_of,
    played,
    rules,
    watch,
)
from spikeloom.papers.hebbian_memory.game import Concentration, expected_flips
from spikeloom.train import ppo
from spikeloom.train.run import Run

SMOKE = PRESETS["smoke"]
SMALL = {name: getattr(SMOKE, name) for name in (
    "games", "flips", "updates", "epochs", "batches", "embedding", "memory_size", "hidden", "validation_games",
    "validate_every", "test_games", "longest", "checkpoint_every", "lr_linear",
)}  # fmt: skip


def change(config: Config = SMOKE, **options: Any) -> Config:
    return dataclasses.replace(config, **options)


def new_run(folder: Path, seed: int = 0) -> Run:
    return Run(folder, "concentration", "smoke", seed, quiet=True)


@pytest.mark.parametrize("options", [{}, {"model": "relu", "fresh_images": True, "lr_decay": 0.5, "cells": 5}])
def test_a_resumed_run_ends_with_the_same_bytes(options: dict[str, Any], tmp_path: Path) -> None:
    config = change(**options)
    concentration.train(config, new_run(tmp_path / "whole"))
    concentration.train(change(config, updates=2), new_run(tmp_path / "parts"))
    concentration.train(config, new_run(tmp_path / "parts"))
    for name in ("checkpoints/last.pt", "checkpoints/best.pt", "metrics.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


@pytest.mark.parametrize("preset", ["smoke", "cpu", "reactive", "six"])
def test_every_agent_plays_and_is_drawn(preset: str, tmp_path: Path) -> None:
    config, run = change(PRESETS[preset], **SMALL | {"longest": 8}), new_run(tmp_path)  # few pictures of a film
    concentration.train(config, run)
    values = concentration.evaluate(config, run.fresh())
    assert values == concentration.evaluate(config, run.fresh())
    games = json.loads((tmp_path / "games.json").read_text())
    assert {name: len(flips) for name, flips in games.items()} == dict.fromkeys(games, config.test_games)
    assert values["flips"] == pytest.approx(sum(games["greedy"]) / config.test_games)
    assert values["flips_min"] == min(games["greedy"]) <= values["flips"] <= values["flips_max"] == max(games["greedy"])
    assert values["optimal_flips"] == expected_flips(config.cells)
    run.write_json("result.json", {"test": values})
    concentration.plot(config, run.fresh())
    drawn = {path.name for path in (tmp_path / "figures").iterdir()} - {"captions.json"}
    memory = {"memory.png"} if config.model != "reactive" else set()
    spikes = {"spikes.png"} if config.model == "spiking" else set()
    assert drawn == {"game.gif", "flips.png", "learning_curves.png"} | memory | spikes
    assert ("rate_read_values" in values) == (config.model == "spiking")


def test_a_silent_memory_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    concentration.train(change(threshold=50.0, updates=2), new_run(tmp_path))
    assert capsys.readouterr().out.count("the values read are silent") == 1


def test_games_of_the_training_differ_from_those_of_the_test_but_not_their_images(tmp_path: Path) -> None:
    one, two = new_run(tmp_path), new_run(tmp_path)
    images = rules(SMOKE, one).images
    assert images is not None
    assert torch.equal(images, rules(SMOKE, two).images)  # type: ignore[arg-type]
    assert rules(change(fresh_images=True), one).images is None
    game = rules(SMOKE, one)
    decks = [game.deal(50, one.generator(name)).deck for name in ("deals", "validation", "test")]
    assert not any(torch.equal(decks[i], decks[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_flips_of_games_that_end_in_a_rollout_are_counted_from_their_beginning(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    config = change(games=2)
    at = begin(config, rules(config, run), network(config, run), run.generator("deals"), run.device)
    at = at._replace(table=at.table._replace(flips=torch.tensor([3, 0])))
    over = torch.tensor([[False, False], [True, False], [False, False], [True, False], [False, True]])
    assert played(at, over) == {"flips": (5 + 2 + 5) / 3}
    assert played(at, over[:1]) == {}


def test_a_player_and_a_rollout_agree(tmp_path: Path) -> None:
    """The probabilities of a rollout are those of a player who sees the same, from the beginning of its game on."""
    run = new_run(tmp_path)
    config = change(games=6, cells=2)
    game, agent = rules(config, run), network(config, run)
    at = begin(config, game, agent, run.generator("deals"), run.device)
    rollout, after = ppo.collect_rollout(agent, game, at, 9, run.generator("a"), run.generator("b"), run.device)
    rest, _ = ppo.collect_rollout(agent, game, after, 9, run.generator("a"), run.generator("b"), run.device)
    for part in (rollout, rest):
        with torch.no_grad():
            choice, _ = agent(part.xs, part.state)
        taken = choice.logits.log_softmax(-1).gather(-1, part.actions.unsqueeze(-1)).squeeze(-1)
        torch.testing.assert_close(taken, part.log_probs)
    assert bool(rollout.over.any())
    last = int(rollout.over[:, 0].nonzero()[-1]) + 1 if bool(rollout.over[:, 0].any()) else 0
    anew, _ = agent(torch.cat([rollout.xs[last:, :1], rest.xs[:, :1]]))
    torch.testing.assert_close(anew.value[:, 0], torch.cat([rollout.values[last:-1, 0], rest.values[:-1, 0]]))


def test_what_is_watched_is_what_a_player_does(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    game, agent = rules(SMOKE, run), network(SMOKE, run)
    cards = game.deal(3, run.generator("test"))
    turns = watch(agent, game, cards, 5, run.device)
    player, now = Player(agent, run.device), cards
    for number, turn in enumerate(turns):
        with torch.no_grad():
            actions = player.choose(game.observe(now), torch.full((3,), number == 0))
        assert torch.equal(actions, turn.action)
        map_state(lambda a, b: a if torch.equal(a, b) else pytest.fail("another table"), now, turn.before)
        now = turn.after
    assert len(turns) == 5


def test_the_learning_rate_falls_as_asked() -> None:
    config = change(lr=1.0, updates=10, lr_linear=True, lr_decay=1.0)
    assert [config.learning_rate(finished) for finished in (0, 5, 9)] == pytest.approx([1.0, 0.5, 0.1])
    config = change(config, lr_linear=False, lr_decay=0.5, lr_decay_every=4)
    assert [config.learning_rate(finished) for finished in (3, 4, 8)] == [1.0, 0.5, 0.25]


def test_options_of_the_optimiser_and_the_loss_do_something(tmp_path: Path) -> None:
    def ends(**options: Any) -> list[Tensor]:
        config, run = change(model="relu", games=16, flips=12, **options), new_run(tmp_path)
        game, agent = rules(config, run), network(config, run)
        at = begin(config, game, agent, run.generator("deals"), run.device)
        rollout, _ = ppo.collect_rollout(
            agent, game, at, config.flips, run.generator("a"), run.generator("b"), run.device
        )
        assert (rollout.rewards > config.flip_penalty).any(), "no pair was found: its reward cannot matter"
        ppo.update(agent, optimizer_of(config, agent), rollout, config.ppo(), run.generator("c"))
        return [part.detach() for part in agent.parameters()]

    base = ends()
    assert all(torch.equal(one, two) for one, two in zip(base, ends(), strict=True))
    for name, value in {
        "optimizer": "rmsprop", "value_loss": "smooth_l1", "normalise": False, "optimizer_eps": 1e-2, "trace": 0.5,
        "entropy_coefficient": 0.5, "value_coefficient": 1.0, "discount": 0.5, "ratio_clip": 1e-4, "value_clip": 1e-4,
        "clip": 1e-3, "match_reward": 5.0, "flip_penalty": -3.0, "lr": 1e-4, "epochs": 1, "batches": 4,
    }.items():  # fmt: skip
        assert getattr(SMOKE, name) != value, f"{name} is {value} anyhow"
        assert any(not torch.equal(one, two) for one, two in zip(base, ends(**{name: value}), strict=True)), name


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"longest": 3}, "cannot end within 3 flips"),
        ({"clip": -1.0}, "--clip must be a finite number of at least 0"),
        ({"minutes": -1.0}, "--minutes must be a finite number of at least 0"),
        ({"model": "reactive", "initial": "aligned"}, "is for a memory"),
        ({"window": 7.0}, "whole number of steps"),
        ({"batches": 9}, "cannot make 9 mini-batches"),
        ({"cells": 1}, "--cells must be a whole number of at least 2"),
        ({"games": 0}, "--games must be a whole number of at least 1"),
        ({"trace": 2.0}, "--trace must be a finite number of at least 0 and at most 1"),
    ],
)
def test_options_without_sense_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        change(**options)


def test_the_paper_has_the_sizes_of_the_paper(tmp_path: Path) -> None:
    config = PRESETS["paper"]
    agent = network(config, new_run(tmp_path))
    sizes = {name: tuple(part.shape) for name, part in agent.named_parameters() if part.dim() == 2}
    assert sizes == {
        "core.embedding": (80, 26), "core.write.weight": (200, 80), "core.read.weight": (100, 180),
        "actor.0.weight": (100, 100), "actor.2.weight": (100, 100), "actor.4.weight": (4, 100),
        "critic.0.weight": (100, 126), "critic.2.weight": (100, 100), "critic.4.weight": (1, 100),
    }  # fmt: skip
    assert config.updates * config.games * config.flips == 100_000_000
    assert Concentration(6).observed == 34


@pytest.mark.slow
def test_two_cards_are_learned(tmp_path: Path) -> None:
    """Every good game is the same here: normalised advantages would be noise alone once the best play is found."""
    config = change(
        PRESETS["cpu"], cells=2, games=32, updates=15, normalise=False, validate_every=5, validation_games=20,
        test_games=100, longest=30, memory_size=20, embedding=20,
    )  # fmt: skip
    run = new_run(tmp_path)
    concentration.train(config, run)
    assert concentration.evaluate(config, run.fresh())["flips"] == expected_flips(2) == 2.0


@pytest.mark.slow
def test_four_cards_are_learned(tmp_path: Path) -> None:
    """Fewer flips than cards that are down, chosen at random."""
    config = change(
        PRESETS["cpu"], games=64, flips=16, updates=30, validate_every=10, validation_games=50, test_games=500,
        longest=30, memory_size=40, embedding=40,
    )  # fmt: skip
    run = new_run(tmp_path)
    concentration.train(config, run)
    assert concentration.evaluate(config, run.fresh())["flips"] < 0.9 * expected_flips(4, "face down")
