"""The game Concentration (`game`) as gymnasium environments, for agents of other libraries.

    env = environment(Concentration(4))                one game, gymnasium.Env
    envs = environments(Concentration(4), 64)          64 at once, gymnasium.vector.VectorEnv, in this process

Requires the extra `game`: pip install 'spikeloom[game]'. Nothing else in spikeloom does.
"""

import importlib
from functools import cache
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import torch

from ...arguments import explained
from ...data.spike_trains import whole
from ...errors import ConfigError
from .game import Cards, Concentration


@explained
def environment(game: Concentration) -> Any:
    """Return one game as a gymnasium.Env: Discrete(cells) actions, Box observations [4 n + F], 0 to 1, no time limit.

    Raises:
        ConfigError: gymnasium is not installed.
    """
    return _classes()[0](game)


@explained
def environments(game: Concentration, count: int) -> Any:
    """Return `count` games as a gymnasium.vector.VectorEnv.

    A game that is over is reset at the next step, the default of gymnasium: that step ignores its action and has no
    reward.

    Raises:
        ConfigError: gymnasium is not installed, or `count` is below 1.
    """
    if count < 1:
        raise ConfigError(f"environments needs at least one game, but got {count}.")
    return _classes()[1](game, count)


def _gymnasium() -> ModuleType:
    try:
        gymnasium = importlib.import_module("gymnasium")
        importlib.import_module("gymnasium.vector")
    except ImportError as error:
        raise ConfigError("gymnasium is not installed. Install it with: pip install 'spikeloom[game]'.") from error
    return gymnasium


@cache
def _classes() -> tuple[Any, Any]:
    """Return both classes, created at first use, since their bases are in an optional package."""
    gymnasium = _gymnasium()

    class ConcentrationEnv(gymnasium.Env):  # type: ignore[misc, name-defined]
        """Environment of one game; see `environment`."""

        metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"], "render_fps": 1}
        render_mode = "ansi"

        def __init__(self, game: Concentration) -> None:
            self.game = game
            self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (game.observed,))
            self.action_space = gymnasium.spaces.Discrete(game.cells)
            self.cards: Cards | None = None

        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> tuple[Any, dict[str, Any]]:
            super().reset(seed=seed)
            self.cards = self.game.deal(1, _generator(self.np_random))
            return self._seen(), {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            if self.cards is None:
                raise gymnasium.error.ResetNeeded("Call reset() before step().")
            self.cards, reward, over = self.game.step(self.cards, _actions(action).reshape(-1))
            return self._seen(), float(reward), bool(over), False, {"flips": int(self.cards.flips)}

        def render(self) -> str:
            """Return a letter for a card that is up, # for one that is down, . for none."""
            assert self.cards is not None, "reset() comes first"
            pairs = zip(self.cards.face[0].tolist(), self.cards.deck[0].tolist(), strict=True)
            return " ".join(("#", chr(ord("a") + card), ".")[face] for face, card in pairs)

        def _seen(self) -> Any:
            assert self.cards is not None
            return self.game.observe(self.cards)[0].numpy()

    class ConcentrationVectorEnv(gymnasium.vector.VectorEnv):  # type: ignore[misc, name-defined]
        """Environment of several games; see `environments`."""

        metadata: ClassVar[dict[str, Any]] = {"autoreset_mode": gymnasium.vector.AutoresetMode.NEXT_STEP}

        def __init__(self, game: Concentration, count: int) -> None:
            self.game, self.num_envs = game, count
            self.single_observation_space = gymnasium.spaces.Box(0.0, 1.0, (game.observed,))
            self.single_action_space = gymnasium.spaces.Discrete(game.cells)
            self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, count)
            self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, count)
            self.cards: Cards | None = None

        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> tuple[Any, dict[str, Any]]:
            super().reset(seed=seed)
            self.draws = _generator(self.np_random)
            self.cards = self.game.deal(self.num_envs, self.draws)
            self.over = torch.zeros(self.num_envs, dtype=torch.bool)
            return self.game.observe(self.cards).numpy(), {}

        def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
            if self.cards is None:
                raise gymnasium.error.ResetNeeded("Call reset() before step().")
            anew = self.over
            cells = _actions(actions)
            cards, reward, over = self.game.step(self.cards, cells)
            self.cards = self.game.renew(cards, anew, self.draws)
            reward, self.over = reward.masked_fill(anew, 0.0), over & ~anew
            flips = self.cards.flips.numpy()
            seen = self.game.observe(self.cards).numpy()
            return seen, reward.double().numpy(), self.over.numpy(), torch.zeros_like(over).numpy(), {"flips": flips}

    return ConcentrationEnv, ConcentrationVectorEnv


def _actions(actions: Any) -> torch.Tensor:
    """Return actions as integers; raise DataError for others, such as 1.5."""
    return torch.as_tensor(whole(actions, "actions").astype(np.int64))


def _generator(numpy_draws: Any) -> torch.Generator:
    """Return a torch generator, seeded by the numpy one that gymnasium seeds."""
    return torch.Generator().manual_seed(int(numpy_draws.integers(2**63 - 1)))
