"""PPO: returns and advantages by hand, the clipped value, replays that agree with the play, a game that is learned."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, smooth_l1_loss

from spikeloom.errors import ConfigError
from spikeloom.train import ppo
from spikeloom.train.ppo import PPO, Minibatch, Rollout, RolloutState


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Table(NamedTuple):
    secret: Tensor  # [B]
    age: Tensor  # [B]


class Recall:
    """A game of three steps: a secret is shown first, and asked for last."""

    def deal(self, count: int, generator: torch.Generator) -> Table:
        return Table(torch.randint(2, (count,), generator=generator), torch.zeros(count, dtype=torch.int64))

    def observe(self, table: Table) -> Tensor:
        return torch.where(table.age == 0, 2.0 * table.secret - 1, 0.0).unsqueeze(1)

    def step(self, table: Table, actions: Tensor) -> tuple[Table, Tensor, Tensor]:
        last = table.age == 2
        return table._replace(age=table.age + 1), (last & (actions == table.secret)).float(), last

    def renew(self, table: Table, over: Tensor, generator: torch.Generator) -> Table:
        new = self.deal(len(over), generator)
        return Table(*(torch.where(over, fresh, old) for fresh, old in zip(new, table, strict=True)))


class Counter(nn.Module):
    """Remembers what it saw when its game began."""

    def __init__(self) -> None:
        super().__init__()
        self.actor = nn.Parameter(torch.zeros(2))
        self.critic = nn.Parameter(torch.zeros(2))

    def forward(self, xs: Tensor, state: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        found = []
        for x in xs:
            state = torch.where(x[:, 1] == 1, x[:, 0], state)
            found.append(state)
        known = torch.stack(found)
        return (known.unsqueeze(-1) * self.actor, self.critic[0] + self.critic[1] * known), state


def start(games: int = 16) -> tuple[Recall, Counter, RolloutState]:
    game = Recall()
    at = RolloutState(game.deal(games, seeded()), torch.ones(games, dtype=torch.bool), torch.zeros(games))
    return game, Counter(), at


def rollout_of(rewards: list[float], values: list[float], over: list[bool]) -> Rollout:
    column = torch.tensor(rewards).unsqueeze(1)
    none = torch.zeros_like(column)
    return Rollout(
        none, none.long(), none, torch.tensor(values).unsqueeze(1), column, torch.tensor(over).unsqueeze(1), ()
    )


def test_returns_are_discounted_sums_that_end_with_the_game() -> None:
    rollout = rollout_of([1.0, 2.0, 4.0, 8.0], [5.0, 6.0, 7.0, 8.0, 16.0], [False, True, False, False])
    advantages, returns = ppo.compute_gae(rollout, 0.5, 1.0)
    wanted = torch.tensor([1 + 0.5 * 2, 2.0, 4 + 0.5 * (8 + 0.5 * 16), 8 + 0.5 * 16])
    torch.testing.assert_close(returns.flatten(), wanted)
    torch.testing.assert_close(advantages.flatten(), wanted - torch.tensor([5.0, 6.0, 7.0, 8.0]))


def test_advantages_are_weighted_sums_of_the_errors_of_one_step() -> None:
    rollout = rollout_of([1.0, 2.0, 4.0], [5.0, 6.0, 7.0, 9.0], [False, False, False])
    errors = [1 + 0.9 * 6 - 5, 2 + 0.9 * 7 - 6, 4 + 0.9 * 9 - 7]
    wanted = [errors[0] + 0.45 * errors[1] + 0.45**2 * errors[2], errors[1] + 0.45 * errors[2], errors[2]]
    torch.testing.assert_close(ppo.compute_gae(rollout, 0.9, 0.5)[0].flatten(), torch.tensor(wanted))
    torch.testing.assert_close(ppo.compute_gae(rollout, 0.9, 0.0)[0].flatten(), torch.tensor(errors))


def judged(values: list[float], returns: list[float]) -> Minibatch:
    """One step of games that expected `values`, with advantages of nothing."""
    zero = torch.zeros(1, len(values))
    return Minibatch(zero, zero.long(), zero, torch.tensor([values]), zero, torch.tensor([returns]), ())


def test_the_value_is_clipped_to_the_worse_side() -> None:
    values, games = torch.tensor([[1.0, 3.0]]), judged([0.0, 3.0], [2.0, 3.0])

    def cost(values: Tensor, **options: Any) -> float:
        return float(ppo.loss(torch.zeros(1, 2, 2), values, games, PPO(**options))[0][1]) / 2

    assert cost(values, value_clip=0.2) == pytest.approx((0.5 * 1.8**2 + 0) / 2)
    assert cost(values, value_clip=0.0) == pytest.approx(0.25)
    assert cost(3 * values, value_clip=0.0, value_loss="smooth_l1") == pytest.approx((0.5 + 5.5) / 2)


@pytest.mark.parametrize("value_loss", ["squared", "smooth_l1"])
@pytest.mark.parametrize("value_clip", [0.0, 0.3])
def test_the_gradient_of_the_loss_is_that_of_the_formula(value_clip: float, value_loss: Any) -> None:
    options = PPO(value_clip=value_clip, value_loss=value_loss, value_coefficient=0.7, entropy_coefficient=0.3)
    draws, actions = seeded(), torch.randint(4, (30, 20), generator=seeded(1))

    def some(*shape: int) -> Tensor:
        return torch.randn(30, 20, *shape, dtype=torch.float64, generator=draws)

    logits, values = some(4).requires_grad_(), some().requires_grad_()
    old, advantages, returns = values.detach() + 0.5 * some(), some(), 2.0 * some()
    logs = torch.distributions.Categorical(logits=logits).log_prob(actions)  # type: ignore[no-untyped-call]
    before = logs.detach() + 0.3 * some()
    ratio = (logs - before).exp()
    clipped = ratio.clamp(0.8, 1.2)
    assert 0.2 < float((ratio != clipped).double().mean()) < 0.8
    gain = torch.minimum(ratio * advantages, clipped * advantages).mean()
    entropy = torch.distributions.Categorical(logits=logits).entropy().mean()  # type: ignore[no-untyped-call]
    form, scale = (mse_loss, 0.5) if value_loss == "squared" else (smooth_l1_loss, 1.0)
    cost = scale * form(values, returns, reduction="none")
    if value_clip:
        moved = old + (values - old).clamp(-value_clip, value_clip)
        other = scale * form(moved, returns, reduction="none")
        assert 0.1 < float((other > cost).double().mean()) < 0.9
        cost = torch.maximum(cost, other)
    wanted = torch.autograd.grad(0.7 * cost.mean() - gain - 0.3 * entropy, [logits, values])
    games = Minibatch(some(1), actions, before, old, advantages, returns, ())
    sums, *slopes = ppo.loss(logits.detach(), values.detach(), games, options)
    parts = torch.stack([gain, cost.mean(), entropy, (ratio != clipped).double().mean()])
    torch.testing.assert_close(sums / 600, parts.detach(), rtol=0, atol=1e-12)
    for one, two in zip(slopes, wanted, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-15)


def test_what_is_not_a_number_reaches_the_gradient() -> None:
    games = judged([0.0, 0.0], [float("nan"), 1.0])._replace(advantages=torch.tensor([[1.0, float("nan")]]))
    _, to_logits, to_values = ppo.loss(torch.zeros(1, 2, 2), torch.zeros(1, 2), games, PPO())
    assert to_values.isnan().tolist() == [[True, False]]
    assert to_logits.isnan().any(-1).tolist() == [[False, True]]


def test_a_replay_finds_the_probabilities_and_values_of_the_play() -> None:
    game, agent, at = start()
    with torch.no_grad():
        agent.actor.copy_(torch.tensor([0.3, -0.4]))
        agent.critic.copy_(torch.tensor([0.1, 0.7]))
    first, at = ppo.collect_rollout(agent, game, at, 4, seeded(), seeded(1), torch.device("cpu"))
    second, _ = ppo.collect_rollout(agent, game, at, 4, seeded(2), seeded(3), torch.device("cpu"))
    for rollout in (first, second):
        (logits, values), _ = agent(rollout.xs, rollout.state)
        taken = logits.log_softmax(-1).gather(-1, rollout.actions.unsqueeze(-1)).squeeze(-1)
        torch.testing.assert_close(taken, rollout.log_probs)
        torch.testing.assert_close(values, rollout.values[:-1])
    assert first.xs[:, :, 1].sum(0).tolist() == [2.0] * 16  # games begin at steps 0 and 3
    torch.testing.assert_close(first.values[-1], second.values[0])


def test_a_game_that_needs_memory_is_learned() -> None:
    game, agent, at = start()
    optimizer = torch.optim.Adam(agent.parameters(), lr=0.05)
    options, draws = PPO(batches=2, max_norm=0.0), seeded()
    for _ in range(30):
        rollout, at = ppo.collect_rollout(agent, game, at, 6, draws, draws, torch.device("cpu"))
        values = ppo.update(agent, optimizer, rollout, options, draws)
    assert {"loss", "policy_loss", "value_loss", "entropy", "clipped"} == set(values)
    assert float(rollout.rewards.sum()) > 0.9 * 32
    assert values["entropy"] < 0.5


@pytest.mark.parametrize("trace", [1.0, 0.9])
def test_one_step_is_the_gradient_of_the_formula(trace: float) -> None:
    game, agent, at = start(4)
    rollout, _ = ppo.collect_rollout(agent, game, at, 5, seeded(), seeded(1), torch.device("cpu"))
    options = PPO(epochs=1, batches=1, max_norm=0.0, value_clip=0.0, entropy_coefficient=0.02, value_coefficient=0.3)
    options = PPO(**{**vars(options), "gae_lambda": trace, "normalise": False})
    advantages, returns = ppo.compute_gae(rollout, options.gamma, trace)
    (logits, values), _ = agent(rollout.xs, rollout.state)
    probabilities = logits.softmax(-1)
    taken = probabilities.gather(-1, rollout.actions.unsqueeze(-1)).squeeze(-1)
    entropy = -(probabilities * probabilities.log()).sum(-1).mean()
    loss = -(taken / rollout.log_probs.exp() * advantages).mean() + 0.15 * (values - returns).square().mean()
    wanted = torch.autograd.grad(loss - 0.02 * entropy, list(agent.parameters()))
    before = [part.detach().clone() for part in agent.parameters()]
    ppo.update(agent, torch.optim.SGD(agent.parameters(), lr=1.0), rollout, options, seeded())
    for part, old, slope in zip(agent.parameters(), before, wanted, strict=True):
        torch.testing.assert_close(old - part.detach(), slope)


def test_what_is_wrong_is_said() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"epochs": 0}, "PPO needs epochs > 0"), ({"gae_lambda": 1.1}, "from 0 to 1"), ({"gamma": -0.1}, "from 0 to 1"),
        ({"value_clip": -1.0}, "at least 0"),
    ]  # fmt: skip
    for options, said in wrong:
        with pytest.raises(ConfigError, match=said):
            PPO(**options)
    game, agent, at = start(2)
    rollout, _ = ppo.collect_rollout(agent, game, at, 3, seeded(), seeded(), torch.device("cpu"))
    with pytest.raises(ConfigError, match="2 games cannot make 3 mini-batches"):
        ppo.update(agent, torch.optim.SGD(agent.parameters()), rollout, PPO(batches=3), seeded())
