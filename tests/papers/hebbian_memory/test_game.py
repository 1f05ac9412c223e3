"""The game: its rules for any number of tables, best and random play, gymnasium's interface."""

import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from spikeloom.errors import ConfigError, ShapeError
from spikeloom.papers.hebbian_memory import game_gym
from spikeloom.papers.hebbian_memory.game import (
    DOWN,
    EMPTY,
    UP,
    Cards,
    Concentration,
    expected_flips,
    face_down,
    optimal_flips,
    play_out,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Simple:
    """The rules once more, for one table, with lists."""

    def __init__(self, deck: list[int]) -> None:
        self.deck, self.face = deck, [EMPTY if card < 0 else DOWN for card in deck]

    def step(self, cell: int) -> tuple[float, bool, bool]:
        """Reward, whether the image is shown, whether the game is over."""
        if self.face[cell] != EMPTY:
            self.face[cell] = UP if self.face[cell] == DOWN else DOWN
        reward, seen = -0.5, self.face[cell] == UP
        up = [place for place, face in enumerate(self.face) if face == UP]
        if len(up) == 2:
            equal = self.deck[up[0]] == self.deck[up[1]]
            reward += 25.0 * equal
            for place in up:
                self.face[place] = EMPTY if equal else DOWN
        return reward, seen, all(face == EMPTY for face in self.face)


@pytest.mark.parametrize("cells", [2, 4, 5, 9])
def test_many_tables_follow_the_rules_of_one(cells: int) -> None:
    game, draws = Concentration(cells, features=3), seeded(cells)
    cards = game.deal(30, draws)
    tables = [Simple(deck) for deck in cards.deck.tolist()]
    for _ in range(60):
        actions = torch.randint(cells, (30,), generator=draws)
        cards, rewards, over = game.step(cards, actions)
        for number, (table, action) in enumerate(zip(tables, actions.tolist(), strict=True)):
            reward, seen, ended = table.step(action)
            assert (rewards[number].item(), over[number].item()) == (reward, ended)
            assert cards.face[number].tolist() == table.face
            shown = cards.images[number, table.deck[action]] if seen else torch.zeros(3)
            assert torch.equal(cards.shown[number], shown)
    assert bool((cards.face == EMPTY).all(1).any())


def test_a_deal_has_two_of_each_in_random_places() -> None:
    cards = Concentration(5).deal(3000, seeded())
    assert torch.equal(cards.deck.sort(1).values, torch.tensor([-1, 0, 0, 1, 1]).expand(3000, -1))
    for cell in range(5):
        assert 0.16 < float((cards.deck[:, cell] == -1).float().mean()) < 0.24
    assert torch.equal(cards.face == EMPTY, cards.deck == -1)
    assert torch.unique(cards.images.flatten(1), dim=0).shape[0] == 3000
    fixed = Concentration(4, images=torch.rand(2, 10)).deal(7, seeded())
    assert torch.unique(fixed.images.flatten(1), dim=0).shape[0] == 1


def test_an_observation_is_faces_place_and_image() -> None:
    game = Concentration(3, features=2)
    cards = game.deal(1, seeded())._replace(deck=torch.tensor([[0, -1, 0]]), face=torch.tensor([[DOWN, EMPTY, DOWN]]))
    cards, _, _ = game.step(cards, torch.tensor([2]))
    wanted = [1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, *cards.images[0, 0].tolist()]
    assert game.observe(cards)[0].tolist() == wanted


def test_only_games_that_are_over_are_dealt_anew() -> None:
    game, draws = Concentration(4), seeded()
    cards, _, _ = game.step(game.deal(6, draws), torch.zeros(6, dtype=torch.int64))
    over = torch.tensor([False, True, False, False, True, False])
    after = game.renew(cards, over, draws)
    for old, new in zip(cards, after, strict=True):
        assert torch.equal(old[~over], new[~over])
    assert after.flips[over].tolist() == [0, 0]
    assert bool((after.face[over] == DOWN).all())
    assert game.renew(cards, torch.zeros(6, dtype=torch.bool), draws) is cards


class Remembers:
    """A player with perfect memory and a simple plan: a known pair, else a cell never seen, then its twin if known."""

    def __init__(self, game: Concentration) -> None:
        self.game = game
        self.known: list[dict[int, tuple[float, ...]]] = []

    def choose(self, seen: Tensor, begins: Tensor) -> Tensor:
        if bool(begins.all()):
            self.known = [{} for _ in seen]
        return torch.tensor([self.one(known, row.tolist()) for known, row in zip(self.known, seen, strict=True)])

    def one(self, known: dict[int, tuple[float, ...]], row: list[float]) -> int:
        cells = self.game.cells
        faces = [row[3 * cell : 3 * cell + 3].index(1.0) for cell in range(cells)]
        image = tuple(row[4 * cells :])
        if any(image):
            known[row[3 * cells : 4 * cells].index(1.0)] = image
        down = [cell for cell in range(cells) if faces[cell] == DOWN]
        up = [cell for cell in range(cells) if faces[cell] == UP]
        if up:
            twins = [cell for cell in down if known.get(cell) == known[up[0]]]
        else:
            twins = [a for a in down for b in down if a != b and a in known and known.get(b) == known[a]]
        fresh = [cell for cell in down if cell not in known]
        return (twins or fresh or down or [0])[0]


@pytest.mark.parametrize("cells", [4, 5])
def test_a_player_that_remembers_needs_as_many_flips_as_calculated(cells: int) -> None:
    game, games = Concentration(cells), 3000
    flips, stopped = play_out(game, game.deal(games, seeded()), Remembers(game).choose, 50)
    shares = optimal_flips(cells)
    assert not bool(stopped.any())
    for count, share in shares.items():
        close = 4 * (share * (1 - share) / games) ** 0.5
        assert float((flips == count).float().mean()) == pytest.approx(share, abs=close)


def test_shares_add_up_and_no_game_is_shorter_than_its_cards() -> None:
    for cells in (2, 3, 6, 12):
        shares = optimal_flips(cells)
        assert sum(shares.values()) == pytest.approx(1.0)
        assert min(shares) == cells - cells % 2
        assert min(shares.values()) > 0


@pytest.mark.parametrize("cells", [4, 5])
def test_random_play_needs_as_many_flips_as_calculated(cells: int) -> None:
    game, draws, games = Concentration(cells), seeded(cells), 4000

    def any_cell(seen: Tensor, begins: Tensor) -> Tensor:
        return torch.randint(cells, (len(seen),), generator=draws)

    def down(seen: Tensor, begins: Tensor) -> Tensor:
        return face_down(seen, cells, draws)

    cards = game.deal(games, draws)
    for choose, wanted in ((any_cell, expected_flips(cells, "any cell")), (down, expected_flips(cells, "face down"))):
        flips = play_out(game, cards, choose, 9999)[0].double()
        assert float(flips.mean()) == pytest.approx(wanted, abs=4 * float(flips.std()) / games**0.5)


def test_a_game_that_does_not_end_is_stopped() -> None:
    game = Concentration(4)
    flips, stopped = play_out(game, game.deal(3, seeded()), lambda seen, begins: torch.zeros(3, dtype=torch.int64), 7)
    assert flips.tolist() == [7] * 3
    assert bool(stopped.all())


def test_what_is_wrong_is_said() -> None:
    for wrong in ({"cells": 1}, {"features": 0}):
        with pytest.raises(ConfigError, match="at least 2 cells"):
            Concentration(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"needs images \[2, 10\]"):
        Concentration(4, images=torch.rand(3, 10))
    game = Concentration(4)
    cards = game.deal(2, seeded())
    with pytest.raises(ShapeError, match=r"actions int64 \[2\]"):
        game.step(cards, torch.zeros(2))
    with pytest.raises(ShapeError, match="cells 0 to 3"):
        game.step(cards, torch.tensor([0, 4]))
    with pytest.raises(ConfigError, match="at least 2 cells"):
        expected_flips(1)
    with pytest.raises(ConfigError, match="no play 'best'"):
        expected_flips(4, "best")  # type: ignore[arg-type]


def test_gymnasium_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    game_gym._classes.cache_clear()
    with pytest.raises(ConfigError, match=r"pip install 'spikeloom\[game\]'"):
        game_gym.environment(Concentration(4))
    game_gym._classes.cache_clear()
    with pytest.raises(ConfigError, match="at least one game"):
        game_gym.environments(Concentration(4), 0)


def test_gymnasium_accepts_the_environment() -> None:
    pytest.importorskip("gymnasium", reason="gymnasium is not installed: pip install 'spikeloom[game]'")
    from gymnasium.utils.env_checker import check_env

    env = game_gym.environment(Concentration(4))
    with pytest.raises(Exception, match="reset"):
        env.step(0)
    check_env(env, skip_render_check=True)  # other ways to render need a registered name
    first, _ = env.reset(seed=3)
    deck = env.cards.deck[0].tolist()
    assert env.reset(seed=3)[0].tolist() == first.tolist()
    assert env.cards.deck[0].tolist() == deck
    assert env.render() == "# # # #"
    twin = deck.index(deck[0], 1)
    env.step(0)
    assert env.render().count("#") == 3
    seen, reward, over, cut, info = env.step(twin)
    assert (reward, over, cut, info["flips"]) == (24.5, False, False, 2)
    assert env.render().count(".") == 2
    assert seen.shape == env.observation_space.shape


def test_gymnasium_steps_many_games_and_begins_them_again() -> None:
    pytest.importorskip("gymnasium", reason="gymnasium is not installed: pip install 'spikeloom[game]'")
    game, count = Concentration(2), 5
    envs = game_gym.environments(game, count)
    with pytest.raises(Exception, match="reset"):
        envs.step([0] * count)
    seen, _ = envs.reset(seed=1)
    assert seen.shape == envs.observation_space.shape == (count, 18)
    results: list[Any] = [envs.step([cell] * count) for cell in (0, 1, 0, 1)]
    assert [list(one[1]) for one in results] == [[-0.5] * count, [24.5] * count, [0.0] * count, [-0.5] * count]
    assert [bool(one[2].all()) for one in results] == [False, True, False, False]
    assert [one[4]["flips"][0] for one in results] == [1, 2, 0, 1]
    assert isinstance(envs.cards, Cards)
