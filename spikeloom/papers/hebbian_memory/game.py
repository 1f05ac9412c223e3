"""The game Concentration: cards are face down; turn over two; a matching pair is removed, others are turned back.

    step         turn over the card of a cell (no effect on an empty cell)
    reward       flip_penalty, plus match_reward if two equal cards are up
    shown        the image of that card if it is up now, else zeros
    then         if two cards are up: remove them if they are equal, else turn both down
    observation  for each cell down, up, empty (3 n); for each cell whether it was the last one (n); shown image (F)

Every step counts as a flip, also if it turns a card back or chooses an empty cell; a game ends when all cards are
removed. With an odd number of cells, one has no card. All functions work on the states of B tables at once.
Source: Limbacher, Özdenizci, Legenstein, Memory-enriched computation and learning in spiking neural networks through
Hebbian plasticity, 2022 (arXiv:2205.11276).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ...arguments import explained
from ...errors import ConfigError, ShapeError

DOWN, UP, EMPTY = range(3)
MANY = 200
"""Largest number of cells for which optimal play is computed."""
Play = Literal["optimal", "face down", "any cell"]


class Cards(NamedTuple):
    """State of B games: cards on the tables and the last action."""

    deck: Tensor  # int64 [B, n], the image of each cell; -1: a cell without card
    images: Tensor  # [B, n // 2, F]
    face: Tensor  # int64 [B, n]: DOWN, UP or EMPTY
    position: Tensor  # int64 [B], the last chosen cell
    shown: Tensor  # [B, F]
    flips: Tensor  # int64 [B], of this game


@explained
@dataclass(frozen=True, eq=False)
class Concentration:
    """Rules of the game for B tables at once.

    Shapes: actions int64 [B] -> cards, rewards [B], whether the game is over [B]; observations [B, 4 n + F].

    Args:
        cells: n, at least 2.
        features: F, features of an image, each from 0 to 1.
        images: [n // 2, F], for all games; None: new images for every game.
        match_reward, flip_penalty: reward of a pair, and (negative) reward of every flip.

    Raises:
        ConfigError: fewer than two cells, or fewer than one feature.
        ShapeError: images or actions have a wrong shape, or an action is not a cell.

    >>> game = Concentration(4)
    >>> cards = game.deal(8, torch.Generator().manual_seed(0))
    >>> cards, reward, over = game.step(cards, torch.zeros(8, dtype=torch.int64))
    >>> game.observe(cards).shape, reward[0].item(), bool(over.any())
    (torch.Size([8, 26]), -0.5, False)
    """

    cells: int = 4
    features: int = 10
    images: Tensor | None = None
    match_reward: float = 25.0
    flip_penalty: float = -0.5

    def __post_init__(self) -> None:
        if self.cells < 2 or self.features < 1:
            raise ConfigError(
                f"Concentration needs at least 2 cells and 1 feature, but got {self.cells} and {self.features}."
            )
        if self.images is not None and tuple(self.images.shape) != (self.pairs, self.features):
            raise ShapeError(
                f"Concentration with {self.cells} cells needs images [{self.pairs}, {self.features}], but got "
                f"{list(self.images.shape)}. Leave them out for new images in every game."
            )

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return self.cells // 2

    @property
    def observed(self) -> int:
        """Size of an observation."""
        return 4 * self.cells + self.features

    def deal(self, count: int, generator: torch.Generator) -> Cards:
        """Return `count` shuffled tables, all cards face down."""
        order = torch.arange(self.cells) // 2
        order[2 * self.pairs :] = -1
        deck = order[torch.rand(count, self.cells, generator=generator).argsort(1)]
        if self.images is None:
            images = torch.rand(count, self.pairs, self.features, generator=generator)
        else:
            images = self.images.expand(count, -1, -1).clone()
        face = torch.where(deck < 0, EMPTY, DOWN)
        none = torch.zeros(count, dtype=torch.int64)
        return Cards(deck, images, face, none, torch.zeros(count, self.features), none.clone())

    def step(self, cards: Cards, actions: Tensor) -> tuple[Cards, Tensor, Tensor]:
        """Flip a card on every table; return cards, rewards and whether each game is over."""
        count = len(cards.deck)
        if tuple(actions.shape) != (count,) or actions.dtype != torch.int64:
            raise ShapeError(
                f"Concentration needs actions int64 [{count}], but got {actions.dtype} {[*actions.shape]}."
            )
        if count and not 0 <= int(actions.min()) <= int(actions.max()) < self.cells:
            raise ShapeError(
                f"Concentration has cells 0 to {self.cells - 1}, but actions are {int(actions.min())} to "
                f"{int(actions.max())}."
            )
        cell, rows = actions.unsqueeze(1), torch.arange(count)
        here = cards.face.gather(1, cell)
        turned = torch.where(here == EMPTY, EMPTY, UP - here)
        face = cards.face.scatter(1, cell, turned)
        image = cards.images[rows, cards.deck.gather(1, cell).squeeze(1)]
        up = face == UP
        two = up.sum(1) == 2
        high, low = (torch.where(up, cards.deck, other) for other in (-1, self.cells))
        equal = two & (high.amax(1) == low.amin(1))
        after = torch.where(equal, EMPTY, DOWN).unsqueeze(1)
        face = torch.where(two.unsqueeze(1) & up, after, face)
        reward = self.flip_penalty + self.match_reward * equal.float()
        shown = image * (turned == UP)
        now = cards._replace(face=face, position=actions, shown=shown, flips=cards.flips + 1)
        return now, reward, (face == EMPTY).all(1)

    def observe(self, cards: Cards) -> Tensor:
        """Return the observations [B, 4 n + F]."""
        faces = torch.nn.functional.one_hot(cards.face, 3).flatten(1)
        place = torch.nn.functional.one_hot(cards.position, self.cells)
        return torch.cat([faces.float(), place.float(), cards.shown], 1)

    def renew(self, cards: Cards, over: Tensor, generator: torch.Generator) -> Cards:
        """Replace the games that are over by new ones."""
        if not bool(over.any()):
            return cards
        new = self.deal(int(over.sum()), generator)
        parts = [old.clone() for old in cards]
        for tensor, fresh in zip(parts, new, strict=True):
            tensor[over] = fresh
        return Cards(*parts)


@explained
def play_out(
    game: Concentration, cards: Cards, choose: Callable[[Tensor, Tensor], Tensor], longest: int
) -> tuple[Tensor, Tensor]:
    """Play all games to the end; return their flips, int64 [B], and whether they were stopped at `longest`, [B].

    `choose(observations [B, O], begins [B])` returns actions [B]. Games that are over stay in the batch, so
    that every game counts once.

    >>> game, draws = Concentration(2), torch.Generator().manual_seed(0)
    >>> def choose(seen, begins):
    ...     return torch.randint(2, (len(seen),), generator=draws)
    >>> flips, stopped = play_out(game, game.deal(9, draws), choose, longest=99)
    >>> int(flips.min()), bool(stopped.any())
    (2, False)
    """
    flips = torch.full((len(cards.deck),), longest)
    running = torch.ones(len(flips), dtype=torch.bool)
    begins = running.clone()
    for turn in range(1, longest + 1):
        cards, _, over = game.step(cards, choose(game.observe(cards), begins))
        flips[running & over] = turn
        running, begins = running & ~over, torch.zeros_like(begins)
        if not bool(running.any()):
            break
    return flips, running


@explained
def face_down(observations: Tensor, cells: int, generator: torch.Generator) -> Tensor:
    """Return actions of a player without memory, [B, O] -> [B]: a random cell whose card is down, or any if none is.

    >>> game, draws = Concentration(2), torch.Generator().manual_seed(0)
    >>> face_down(game.observe(game.deal(3, draws)), 2, draws).shape
    torch.Size([3])
    """
    if cells < 1 or observations.dim() != 2 or observations.shape[1] < 3 * cells:
        raise ShapeError(
            f"face_down needs observations [B, O] of at least one of cells, with O >= 3 cells, but got "
            f"{list(observations.shape)} and {cells} cells. Pass what Concentration.observe returns."
        )
    down = observations[:, : 3 * cells : 3].float().contiguous()
    if not bool(((down == 0) | (down == 1)).all()):
        raise ShapeError("face_down needs observations of 0 and 1. Pass what Concentration.observe returns.")
    return torch.multinomial(torch.where(down.any(1, keepdim=True), down, 1.0), 1, generator=generator).squeeze(1)


@explained
def expected_flips(cells: int, play: Play = "optimal") -> float:
    """Return the exact mean number of flips of a game, with optimal play and perfect memory, or with random play.

    Raises:
        ConfigError: fewer than two cells, or an unknown way to play.

    >>> [round(expected_flips(cells), 6) for cells in (4, 6, 8)]
    [5.333333, 8.666667, 11.847619]
    >>> expected_flips(4, "face down"), round(expected_flips(4, "any cell"), 6)
    (8.0, 16.0)
    """
    if cells < 2:
        raise ConfigError(f"A game needs at least 2 cells, but got {cells}.")
    pairs = cells // 2
    if play == "optimal":
        return _mean(optimal_flips(cells))
    if play == "face down":  # of m cards the second is the twin of the first with probability 1 / (m - 1)
        return float(sum(2 * (2 * left - 1) for left in range(1, pairs + 1)))
    if play == "any cell":  # a card turns up after n/m flips, then its twin with 1/m, else both are down: 2 n a pair
        return float(2 * cells * pairs)
    raise ConfigError(f'There is no play {play!r}. Choose "optimal", "face down" or "any cell".')


@explained
def optimal_flips(cells: int) -> dict[int, float]:
    """Return the distribution of the flips of a game with optimal play and perfect memory, {flips: probability}.

    >>> {flips: round(share, 4) for flips, share in optimal_flips(4).items()}
    {4: 0.3333, 6: 0.6667}
    """
    if not 0 <= cells <= MANY:
        raise ConfigError(f"optimal_flips needs cells from 0 to {MANY}, but got {cells}.")
    return dict(sorted(_best(cells - cells % 2, 0).items()))


@cache
def _best(unseen: int, seen: int) -> dict[int, float]:
    """Return the distribution of the remaining flips.

    `unseen` cells were never up; `seen` cells were, but their twins were not. A pair of known cells costs two flips
    whenever it is taken, so it is counted at once.
    """
    if unseen == 0:
        return {0: 1.0}
    new = unseen - seen  # unseen cells whose twins are unseen
    moves = []
    if new:
        turned_back, rest = _mix((1.0, 2, _best(unseen - 1, seen + 1))), unseen - 1
        both = [(1 / rest, 2, _best(unseen - 2, seen)), (seen / rest, 4, _best(unseen - 2, seen))]
        if new > 2:
            both.append(((new - 2) / rest, 2, _best(unseen - 2, seen + 2)))
        moves.append(min(turned_back, _mix(*both), key=_mean))
        if seen:
            moves[0] = _mix((seen / unseen, 2, _best(unseen - 1, seen - 1)), (new / unseen, 0, moves[0]))
            hits = [(1 / unseen, 2, _best(unseen - 1, seen - 1)), ((seen - 1) / unseen, 4, _best(unseen - 1, seen - 1))]
            moves.append(_mix(*hits, (new / unseen, 2, _best(unseen - 1, seen + 1))))
    else:
        moves.append(_mix((1.0, 2, _best(unseen - 1, seen - 1))))
    return min(moves, key=_mean)


def _mix(*parts: tuple[float, int, dict[int, float]]) -> dict[int, float]:
    """Mix distributions, each with a probability and flips to add."""
    mixture: dict[int, float] = {}
    for weight, flips, after in parts:
        for more, chance in after.items() if weight else ():
            mixture[flips + more] = mixture.get(flips + more, 0.0) + weight * chance
    return mixture


def _mean(flips: dict[int, float]) -> float:
    return sum(count * share for count, share in flips.items())
