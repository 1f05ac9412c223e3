"""Proximal policy optimisation (PPO) for agents with a state, in three functions.

    collect_rollout   B games for T steps at once: observations, actions, rewards, and the state before the first step
    compute_gae       delta_t = r_t + gamma V_{t+1} - V_t,  A_t = delta_t + gamma lambda A_{t+1},  R_t = A_t + V_t
                      (nothing flows over the end of a game; lambda 1: the discounted sum of rewards, V_T at the end)
    update            some epochs of mini-batches of whole games, replayed from the stored state through all T steps;
                      with several ranks a mini-batch is those of all ranks, and advantages are normalised over all:
                      loss = value_coefficient L_V - mean min(ratio A, clip(ratio, 1 - c, 1 + c) A)
                             - entropy_coefficient H
                      L_V = 0.5 mean max((V - R)^2, (V_old + clip(V - V_old, -c, c) - R)^2)

The gradient of this loss for logits and values is written out (`loss`): agents are small, and the run time is dominated
by the number of operations. The last input of an agent is 1 where a game begins, so that the state is reset there
during a replay as well.
Sources: Schulman et al., Proximal policy optimization algorithms, 2017; Schulman et al., High-dimensional continuous
control using generalized advantage estimation, 2016.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from ..core import State, map_state
from ..errors import ConfigError, check_positive
from . import ranks


class Game(Protocol):
    """Environment of B parallel games without internal state; see `data.concentration.Concentration`."""

    def step(self, table: Any, actions: Tensor) -> tuple[Any, Tensor, Tensor]:
        """Return the next table, rewards [B], and whether each game is over, [B]."""

    def observe(self, table: Any) -> Tensor:
        """Return observations, [B, O]."""

    def renew(self, table: Any, over: Tensor, generator: torch.Generator) -> Any:
        """Start new games where `over` is True."""


class RolloutState(NamedTuple):
    """State of games and agent between two rollouts."""

    table: Any
    begins: Tensor  # bool [B], whether the game is at its first step
    state: State  # state of the agent; the batch is the first dimension of all its tensors


class Rollout(NamedTuple):
    """Observations, actions and rewards of T steps of B games."""

    xs: Tensor  # [T, B, O + 1]
    actions: Tensor  # int64 [T, B]
    log_probs: Tensor  # [T, B], of the actions under the policy that sampled them
    values: Tensor  # [T + 1, B], value estimates; the last is for the final observation
    rewards: Tensor  # [T, B]
    over: Tensor  # bool [T, B]
    state: State  # before the first step


class Minibatch(NamedTuple):
    """Subset of the games of a rollout, for one update."""

    xs: Tensor  # [T, B, O + 1]
    actions: Tensor  # int64 [T, B]
    log_probs: Tensor  # [T, B], under the policy that sampled the actions
    values: Tensor  # [T, B], value estimates at that time
    advantages: Tensor  # [T, B]
    returns: Tensor  # [T, B]
    state: State  # before the first step


@dataclass(frozen=True)
class PPO:
    """Options of proximal policy optimisation.

    Args:
        gamma: discount factor of rewards, 0 to 1.
        gae_lambda: factor of generalised advantage estimation, 0 to 1.
        epochs, batches: passes over a rollout, and mini-batches per pass.
        clip: clipping range c of the policy ratio.
        value_clip: clipping range c of the value; 0 disables clipping.
        value_coefficient, entropy_coefficient: weights of the terms of the loss.
        max_norm: maximum norm of the gradient; 0 disables clipping.
        normalise: normalise advantages to mean 0 and standard deviation 1 over the rollout.
        value_loss: "squared" as above, or "smooth_l1" instead of the squares.

    Raises:
        ConfigError: a number is out of range.
    """

    gamma: float = 0.99
    gae_lambda: float = 1.0
    epochs: int = 4
    batches: int = 16
    clip: float = 0.2
    value_clip: float = 0.2
    value_coefficient: float = 0.1
    entropy_coefficient: float = 0.01
    max_norm: float = 0.5
    normalise: bool = True
    value_loss: Literal["squared", "smooth_l1"] = "squared"

    def __post_init__(self) -> None:
        check_positive("PPO", epochs=self.epochs, batches=self.batches, clip=self.clip)
        if not (0.0 <= self.gamma <= 1.0 and 0.0 <= self.gae_lambda <= 1.0):
            raise ConfigError(
                f"PPO needs gamma and gae_lambda from 0 to 1, but got {self.gamma} and {self.gae_lambda}."
            )
        if min(self.value_clip, self.value_coefficient, self.entropy_coefficient, self.max_norm) < 0:
            raise ConfigError(
                "PPO needs value_clip, value_coefficient, entropy_coefficient and max_norm of at least 0."
            )

    def check_games(self, games: int) -> None:
        """Raise ConfigError if there are fewer games than mini-batches."""
        if games < self.batches:
            raise ConfigError(f"{games} games cannot make {self.batches} mini-batches of whole games. Use fewer.")


def inputs(game: Game, table: Any, begins: Tensor, device: torch.device) -> Tensor:
    """Return the input of an agent: the observation, and whether the game begins, [B, O + 1]."""
    return torch.cat([game.observe(table), begins.float().unsqueeze(1)], 1).to(device)


@torch.no_grad()
def collect_rollout(
    agent: Callable[[Tensor, State], tuple[Any, State]], game: Game, at: RolloutState, steps: int,
    draws: torch.Generator, deals: torch.Generator, device: torch.device,
) -> tuple[Rollout, RolloutState]:  # fmt: skip
    """Run the policy for `steps` steps with sampled actions; games that are over are restarted.

    Args:
        agent: xs [T, B, O + 1], state -> (logits [T, B, actions], values [T, B]), state.
        draws, deals: generators for the actions and for new games.
    """
    table, begins, state = at
    kept: list[tuple[Tensor, ...]] = []
    for _ in range(steps):
        x = inputs(game, table, begins, device)
        (logits, value), state = agent(x.unsqueeze(0), state)
        log_probs = torch.log_softmax(logits[0], -1)
        action = torch.multinomial(log_probs.exp().cpu(), 1, generator=draws)
        table, reward, over = game.step(table, action.squeeze(1))
        action = action.to(device)
        kept.append((x, action.squeeze(1), log_probs.gather(1, action).squeeze(1), value[0], reward, over))
        table, begins = game.renew(table, over, deals), over
    (_, value), _ = agent(inputs(game, table, begins, device).unsqueeze(0), state)
    xs, actions, log_probs, values, rewards, over = (torch.stack(parts) for parts in zip(*kept, strict=True))
    values = torch.cat([values, value])
    rollout = Rollout(xs, actions, log_probs, values, rewards.to(device), over.to(device), at.state)
    return rollout, RolloutState(table, begins, state)


def compute_gae(rollout: Rollout, gamma: float, gae_lambda: float) -> tuple[Tensor, Tensor]:
    """Return the advantages and returns of every step, [T, B], by generalised advantage estimation.

    >>> one, no = torch.ones(2, 1), torch.zeros(2, 1, dtype=torch.bool)
    >>> rollout = Rollout(one, one, one, torch.tensor([[5.0], [6.0], [8.0]]), one, no, ())
    >>> advantages, returns = compute_gae(rollout, 0.5, 1.0)
    >>> returns.flatten().tolist()  # 1 + 0.5 (1 + 0.5 8), 1 + 0.5 8
    [3.5, 5.0]
    """
    goes_on = (~rollout.over).to(rollout.rewards.dtype)
    deltas = rollout.rewards + gamma * goes_on * rollout.values[1:] - rollout.values[:-1]
    advantage, reversed_advantages = torch.zeros_like(deltas[0]), []
    for delta, on in zip(deltas.flip(0), goes_on.flip(0), strict=True):
        advantage = delta + gamma * gae_lambda * on * advantage
        reversed_advantages.append(advantage)
    advantages = torch.stack(reversed_advantages[::-1])
    return advantages, advantages + rollout.values[:-1]


def update(
    agent: nn.Module, optimizer: torch.optim.Optimizer, rollout: Rollout, options: PPO, order: torch.Generator
) -> dict[str, float]:
    """Update the agent from a rollout; return the mean of each loss term.

    Args:
        optimizer: optimiser of the agent's weights, or of their single vector (`as_vector`).
        order: generator used to shuffle games into mini-batches.

    Raises:
        ConfigError: there are fewer games than mini-batches.
    """
    games = rollout.actions.shape[1]
    options.check_games(games)
    advantages, returns = compute_gae(rollout, options.gamma, options.gae_lambda)
    if options.normalise:
        advantages = normal(advantages)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    total = advantages.new_zeros(4)
    for _ in range(options.epochs):
        for some in mini_batches(rollout, advantages, returns, options.batches, order):
            (logits, values), _ = agent(some.xs, some.state)
            sums, *gradients = loss(logits.detach(), values.detach(), some, options)
            total += sums
            optimizer.zero_grad(set_to_none=False)  # gradients may be views of one vector
            torch.autograd.backward((logits, values), gradients)
            ranks.average_gradients(weights)
            if options.max_norm:
                torch.nn.utils.clip_grad_norm_(weights, options.max_norm, foreach=True)
            optimizer.step()
    gain, value, entropy, clipped = (total / (options.epochs * advantages.numel())).tolist()
    whole = options.value_coefficient * value - gain - options.entropy_coefficient * entropy
    return {"loss": whole, "policy_loss": -gain, "value_loss": value, "entropy": entropy, "clipped": clipped}


def mini_batches(
    rollout: Rollout, advantages: Tensor, returns: Tensor, count: int, order: torch.Generator
) -> Iterator[Minibatch]:
    """Yield mini-batches that contain every game once, in random order."""
    indices = torch.randperm(rollout.actions.shape[1], generator=order).to(rollout.xs.device)
    steps = (rollout.xs, rollout.actions, rollout.log_probs, rollout.values[:-1], advantages, returns)
    shuffled = zip(*(part[:, indices].tensor_split(count, 1) for part in steps), strict=True)
    for some, parts in zip(indices.tensor_split(count), shuffled, strict=True):
        yield Minibatch._make([*parts, map_state(lambda part, some=some: part[some], rollout.state)])


@torch.no_grad()
def loss(logits: Tensor, values: Tensor, games: Minibatch, options: PPO) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the sums of min(..), L_V, H and clipped ratios, [4], and the gradients of the mean loss.

        d min(..)/d logits = ratio A (1_action - p), or 0 where the clipped term is smaller
        dH/d logits = -p (log p + H)
        dL_V/dV = V - R, or 0 where the clipped value counts; within -1 and 1 for smooth_l1

    Shapes: logits [T, B, actions], values [T, B]; gradients likewise.
    """
    logs = torch.log_softmax(logits, -1)
    chances, taken = logs.exp(), games.actions.unsqueeze(-1)
    entropy = torch.linalg.vecdot(chances, logs).neg_()
    ratio = logs.gather(-1, taken).squeeze(-1).sub_(games.log_probs).exp_()
    near = ratio.clamp(1 - options.clip, 1 + options.clip)
    gain = ratio * games.advantages
    least = torch.minimum(gain, near * games.advantages)
    grad_gain = torch.where(gain > least, 0.0, gain).unsqueeze_(-1)  # comparison keeps NaN as it is
    grad_logits = (logs + entropy.unsqueeze(-1)).mul_(options.entropy_coefficient).add_(grad_gain).mul_(chances)
    grad_logits.scatter_add_(-1, taken, grad_gain.neg_())
    cost, grad_values = value_cost(values, games.returns, options)
    if options.value_clip:
        moved = values.clamp(games.values - options.value_clip, games.values + options.value_clip)
        own, cost = cost, torch.maximum(cost, value_cost(moved, games.returns, options)[0])
        grad_values = torch.where(own < cost, 0.0, grad_values)
    sums = torch.stack([least, cost, entropy, ratio != near]).sum((1, 2))
    count = values.numel()
    return sums, grad_logits.div_(count), grad_values.mul_(options.value_coefficient / count)


def value_cost(values: Tensor, returns: Tensor, options: PPO) -> tuple[Tensor, Tensor]:
    """Compute half the squared error, or the smooth L1 loss, and its gradient with respect to the values."""
    error = values - returns
    if options.value_loss == "squared":
        return 0.5 * error.square(), error
    return smooth_l1_loss(values, returns, reduction="none"), error.clamp_(-1.0, 1.0)


def normal(advantages: Tensor) -> Tensor:
    """Normalise advantages to mean 0 and standard deviation 1 over the games of all ranks."""
    centred = advantages - ranks.mean_of(advantages.mean())
    count = centred.numel() * ranks.world()
    variance = ranks.mean_of(centred.square().mean()) * count / max(count - 1, 1)
    return centred / (variance.sqrt() + 1e-5)


__all__ = ["PPO", "Game", "Rollout", "RolloutState", "collect_rollout", "compute_gae", "inputs", "update"]
