"""Concentration: a game of pairs, played by an agent that remembers where it saw a card.

An agent turns cards over, one per step, and is trained by proximal policy optimisation. It knows earlier flips only
from its memory, if its `model` has one, whose output is the only input of the actor. Optimal play with perfect memory,
calculated exactly, needs 5.33 flips of four cards and 8.67 of six; a random card that is down each time, 8 and 18. Four
cards of two fixed images can be played perfectly without memory (preset reactive): the chosen cell encodes the image.

Paper: Limbacher, Ozdenizci, Legenstein, Memory-enriched computation and learning in spiking neural networks through
Hebbian plasticity, 2022 (arXiv:2205.11276). Its numbers for this task are not known to us, so there is no comparison.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, NamedTuple

import torch
from annotated_types import Ge
from torch import Tensor

from ...core import Stateful
from ...errors import ConfigError
from ...train import ppo, ranks
from ...train.parts import (
    CheckpointOptions,
    Fraction,
    LearningRateOptions,
    NonNegative,
    Positive,
    PositiveInt,
    TimeLimitOptions,
)
from ...train.ppo import PPO, RolloutState
from ...train.run import Carry, Run
from ...train.schedule import set_learning_rate, step_decay, time_limit
from ...train.supervised import fit
from ...train.vector import as_vector
from .agent import Agent, Core, Inside, RateRecall, Reactive, SpikingRecall
from .game import Cards, Concentration, expected_flips, face_down, play_out
from .options import (
    DataSeedOptions,
    InputOptions,
    Populations,
    UpdateOptions,
    activity_of,
    layers_of,
    memory_populations,
    neuron_of,
    of_data,
    rule_of,
    steps,
)
from .options import rates as rates_of

TEST_BATCH = 250
WATCHED = 20
"""Number of games in which firing rates are measured."""


@dataclass(frozen=True)
class PPOOptions(LearningRateOptions, UpdateOptions):
    """Proximal policy optimisation.

    Raises:
        ConfigError: there are fewer games than minibatches.
    """

    games: PositiveInt = 64
    """Number of parallel games per process."""
    flips: PositiveInt = 10
    """Rollout length: flips of each game per update."""
    discount: Fraction = 0.99
    """Discount factor of rewards (gamma), per flip."""
    trace: Fraction = 1.0
    """Lambda of generalised advantage estimation (gae_lambda); 1: the discounted sum of rewards."""
    epochs: PositiveInt = 4
    """Passes over the rollout per update."""
    batches: PositiveInt = 16
    """Number of minibatches per pass; they hold whole games."""
    ratio_clip: Positive = 0.2
    """PPO clipping range of the probability ratio."""
    value_clip: NonNegative = 0.2
    """PPO clipping range of the value function; 0: no clipping."""
    value_coefficient: NonNegative = 0.1
    """Coefficient of the value loss."""
    value_loss: Literal["squared", "smooth_l1"] = "squared"
    """Value loss function."""
    entropy_coefficient: NonNegative = 0.01
    """Coefficient of the entropy bonus."""
    normalise: bool = True
    """Normalise advantages to mean 0 and standard deviation 1; not for games that all end alike if played well, such as
    those of two cells."""
    optimizer: Literal["adam", "rmsprop"] = "adam"
    """Optimiser."""
    optimizer_eps: Positive = 1e-5
    """Epsilon in the denominator of the optimiser."""
    rmsprop_alpha: Fraction = 0.99
    """Smoothing constant of the squared gradients of rmsprop, per optimiser step."""
    lr_linear: bool = False
    """Decay the learning rate linearly to 0."""
    updates: PositiveInt = 156_250
    clip: NonNegative = 0.5
    lr: Positive = 3e-4
    """Initial learning rate."""
    lr_decay: Positive = 1.0
    lr_decay_every: PositiveInt = 2000

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ppo().check_games(self.games)

    def ppo(self) -> PPO:
        """Return the options of PPO."""
        return PPO(
            gamma=self.discount, gae_lambda=self.trace, epochs=self.epochs, batches=self.batches, clip=self.ratio_clip,
            value_clip=self.value_clip, value_coefficient=self.value_coefficient,
            entropy_coefficient=self.entropy_coefficient, max_norm=self.clip, normalise=self.normalise,
            value_loss=self.value_loss,
        )  # fmt: skip

    def learning_rate(self, finished: int) -> float:
        """Return the learning rate of the next update."""
        lr = step_decay(finished, self.lr, self.lr_decay, self.lr_decay_every)
        return lr * (1 - finished / self.updates) if self.lr_linear else lr


@dataclass(frozen=True)
class Config(PPOOptions, CheckpointOptions, DataSeedOptions, InputOptions, TimeLimitOptions):
    model: Core = "spiking"
    """Agent: spiking, with a Hebbian memory; relu, its rate version, without times and thresholds; reactive, without
    memory: the actor receives the observation instead."""
    cells: Annotated[int, Ge(2)] = 4
    """Number of cells of the table; with an odd number, one has no card."""
    features: PositiveInt = 10
    """Number of features of an image."""
    fresh_images: bool = False
    """Draw new images for every game, instead of fixed ones."""
    match_reward: float = 25.0
    """Reward of a matching pair."""
    flip_penalty: float = -0.5
    """Reward (negative: penalty) of every flip."""
    hidden: PositiveInt = 100
    """Neurons of each hidden layer of actor and critic."""
    validation_games: PositiveInt = 200
    """Number of validation games, the same in every validation, played with the most likely action."""
    test_games: PositiveInt = 1000
    """Number of test games."""
    longest: PositiveInt = 100
    """Maximum number of flips of a validation or test game, which counts if the game is stopped."""
    validate_every: PositiveInt = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.longest < 2 * (self.cells // 2):
            raise ConfigError(f"A game of {self.cells} cells cannot end within {self.longest} flips. Raise longest.")
        if self.initial == "aligned" and self.model == "reactive":
            raise ConfigError('initial "aligned" is for a memory, not for reactive. Choose "paper".')


PAPER = Config()
RATES: dict[str, Any] = {"model": "relu", "input_gain": 1.0, "potentiation": 0.1, "depression": 0.1}
SCALED: dict[str, Any] = {"match_reward": 1.0, "flip_penalty": -0.2, "value_coefficient": 0.5, "value_clip": 0.0}
"""Rewards that give returns of about 1, so that the critic does not have to learn large values."""
CPU = replace(
    PAPER, games=128, flips=16, updates=100, trace=0.9, batches=4, lr=1e-3, lr_linear=True, initial="aligned",
    validate_every=25, checkpoint_every=25, **RATES, **SCALED,
)  # fmt: skip
SPIKING = replace(
    CPU, model="spiking", games=64, batches=2, memory_size=40, item_ms=100.0, window=100.0, dt=5.0, delay=5.0,
    threshold=0.4, refractory=5.0, input_gain=5.0, potentiation=0.3, depression=0.3, updates=80, validate_every=10,
    checkpoint_every=10,
)  # fmt: skip
SIX: dict[str, Any] = {"cells": 6, "flips": 24, "updates": 200, "longest": 150}
SIX_SPIKING = SIX | {"updates": 1000, "batches": 4, "validate_every": 20, "checkpoint_every": 20}
PAPER_SIX: dict[str, Any] = {"cells": 6, "flips": 100, "updates": 15_625, "longest": 150}
PRESETS = {
    "cpu": CPU,
    "spiking": SPIKING,
    "six": replace(CPU, **SIX),
    "six_spiking": replace(SPIKING, **SIX_SPIKING),
    "reactive": replace(CPU, model="reactive", initial="paper"),
    "paper": PAPER,
    "paper_six": replace(PAPER, **PAPER_SIX),
    "paper_relu": replace(PAPER, **RATES),
    "paper_relu_six": replace(PAPER, **RATES, **PAPER_SIX),
    "smoke": replace(
        SPIKING, games=8, flips=6, updates=4, epochs=2, batches=2, embedding=8, memory_size=8, hidden=8, item_ms=50.0,
        window=50.0, threshold=0.1, validation_games=10, validate_every=2, test_games=12, longest=20,
        checkpoint_every=2, lr_linear=False,
    ),
}  # fmt: skip
PUBLISHED: Mapping[str, Mapping[str, Any]] = {}


def train(config: Config, run: Run) -> None:
    """Train with PPO: collect rollouts, compute advantages, update."""
    game, agent = rules(config, run), network(config, run)
    optimizer, options = optimizer_of(config, agent), config.ppo()
    validation = game.deal(config.validation_games, of_data(config, run, "validation", shared=True))
    draws, deals, order = run.generator("actions"), of_data(config, run, "deals"), run.generator("mini-batches")
    carry = Carry(at=None)

    def step(finished: int) -> dict[str, float]:
        lr = config.learning_rate(finished)
        set_learning_rate(optimizer, lr)
        at = carry.at or begin(config, game, agent, deals, run.device)
        rollout, carry.at = ppo.collect_rollout(agent, game, at, config.flips, draws, deals, run.device)
        values = ppo.update(agent, optimizer, rollout, options, order)
        return values | {"lr": lr, "reward": float(rollout.rewards.mean())} | played(at, rollout.over)

    @torch.no_grad()
    def validate(finished: int) -> dict[str, float]:
        flips, _ = play_out(game, validation, Player(agent, run.device).choose, config.longest)
        values = {"validation_flips": float(flips.float().mean())}
        if config.spikes:
            seen = watch(agent, game, Cards(*(part[:WATCHED] for part in validation)), 6, run.device)
            values |= rates(config, seen)
            if not values["rate_read_values"] and run.rank == 0:
                print(
                    f"update {finished}: the values read are silent, so the actor sees nothing. Try a lower threshold "
                    "or learning rate, or --initial aligned.", flush=True,
                )  # fmt: skip
        return values

    fit(
        run,
        parts={"model": agent, "optimizer": optimizer, "carry": carry},
        updates=config.updates,
        step=step,
        validate=validate,
        validate_every=config.validate_every,
        checkpoint_every=config.checkpoint_every,
        stop=time_limit(config.minutes, run),
        best="validation_flips" if config.select == "best" else None,
        headline=("loss", "flips", "validation_flips"),
    )


@torch.no_grad()
def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Return the flips of games with greedy, sampled and random actions; write those of every game to games.json."""
    game, agent = rules(config, run), network(config, run)
    update = run.load_best(model=agent)
    deals, draws = of_data(config, run, "test", shared=True), run.generator("test actions", shared=True)
    flips_by_player: dict[str, list[int]] = {"greedy": [], "drawn": [], "any card that is down": [], "any cell": []}
    stopped = 0
    for start in range(0, config.test_games, TEST_BATCH):
        cards = game.deal(min(TEST_BATCH, config.test_games - start), deals)
        players: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "greedy": Player(agent, run.device).choose, "drawn": Player(agent, run.device, draws).choose,
            "any card that is down": lambda seen, begins: face_down(seen, config.cells, draws),
            "any cell": lambda seen, begins: torch.randint(config.cells, (len(seen),), generator=draws),
        }  # fmt: skip
        for name, choose in players.items():
            flips, cut = play_out(game, cards, choose, config.longest if name in ("greedy", "drawn") else 100_000)
            flips_by_player[name] += flips.tolist()
            stopped += int(cut.sum()) if name == "greedy" else 0
    run.write_json("games.json", flips_by_player)
    greedy = torch.tensor(flips_by_player["greedy"]).float()
    values = {
        "flips": float(greedy.mean()), "flips_min": float(greedy.min()), "flips_max": float(greedy.max()),
        "flips_sd": float(greedy.std()) if len(greedy) > 1 else 0.0, "stopped": stopped / len(greedy),
        "drawn_flips": float(torch.tensor(flips_by_player["drawn"]).float().mean()),
        "optimal_flips": expected_flips(config.cells), "face_down_flips": expected_flips(config.cells, "face down"),
        "random_flips": expected_flips(config.cells, "any cell"), "update": float(update),
        "games": float(config.test_games), "parameters": float(sum(part.numel() for part in agent.parameters())),
    }  # fmt: skip
    hertz: dict[str, float] = {}
    if config.spikes:
        hertz = rates(config, watch(agent, game, game.deal(WATCHED, of_data(config, run, "activity")), 6, run.device))
    run.write_json("activity.json", activity(config, hertz))
    return values | hertz


@torch.no_grad()
def plot(config: Config, run: Run) -> None:
    """Plot a game as a film, its memory and spikes, flips compared with optimal and random play, learning curves."""
    from .game_figures import concentration

    game, agent = rules(config, run), network(config, run)
    run.load_best(model=agent)
    cards = game.deal(1, of_data(config, run, "film"))
    concentration(config, run, watch(agent, game, cards, config.longest, run.device))


def rules(config: Config, run: Run) -> Concentration:
    """Return the game, with the images of the run."""
    images = None
    if not config.fresh_images:
        images = torch.rand(config.cells // 2, config.features, generator=of_data(config, run, "images", shared=True))
    return Concentration(config.cells, config.features, images, config.match_reward, config.flip_penalty)


def network(config: Config, run: Run) -> Agent:
    """Build the agent of these options, with weights drawn from the run's generator."""
    draws, n_in, size = run.generator("weights", shared=True), 4 * config.cells + config.features, config.memory_size
    core: Stateful
    aligned = config.initial == "aligned"
    if config.model == "reactive":
        core = Reactive(n_in, size, generator=draws)
    elif config.model == "relu":
        core = RateRecall(n_in, config.embedding, size, rule_of(config), aligned=aligned, generator=draws)
    else:
        core = SpikingRecall(
            n_in, config.embedding, size, neuron_of(config), rule_of(config), steps=steps(config, "item_ms"),
            window=steps(config, "window"), delay=steps(config, "delay"), recall=config.recall,
            input_gain=config.input_gain, aligned=aligned, generator=draws,
        )  # fmt: skip
    return Agent(core, n_in, size, config.cells, hidden=config.hidden, generator=draws).to(run.device)


def optimizer_of(config: Config, agent: Agent) -> torch.optim.Optimizer:
    """Return Adam or RMSprop over all weights as one vector."""
    weights = [as_vector(agent)]
    if config.optimizer == "adam":
        return torch.optim.Adam(weights, lr=config.lr, eps=config.optimizer_eps, fused=True)
    return torch.optim.RMSprop(weights, lr=config.lr, alpha=config.rmsprop_alpha, eps=config.optimizer_eps)


def begin(
    config: Config, game: Concentration, agent: Agent, deals: torch.Generator, device: torch.device
) -> RolloutState:
    """Return the rollout state of new games and an agent in its initial state."""
    table, begins = game.deal(config.games, deals), torch.ones(config.games, dtype=torch.bool)
    return RolloutState(table, begins, agent.initial_state(ppo.inputs(game, table, begins, device)))


def played(at: RolloutState, over: Tensor) -> dict[str, float]:
    """Return the mean flips of the games that ended, over all ranks; empty if none did."""
    so_far, ended = at.table.flips.clone(), []
    for now in over.cpu():
        so_far += 1
        ended += so_far[now].tolist()
        so_far[now] = 0
    everywhere = [flips for one in ranks.gather(ended) for flips in one]
    return {"flips": sum(everywhere) / len(everywhere)} if everywhere else {}


class Player:
    """Player with an agent, from the start of a game: the most likely action, or a sampled one with `draws`."""

    def __init__(self, agent: Agent, device: torch.device, draws: torch.Generator | None = None) -> None:
        self.agent, self.device, self.draws, self.state = agent, device, draws, None

    def choose(self, seen: Tensor, begins: Tensor) -> Tensor:
        """Return actions, for `play_out`."""
        x = torch.cat([seen, begins.float().unsqueeze(1)], 1).to(self.device)
        choice, self.state = self.agent(x.unsqueeze(0), self.state)
        logits: Tensor = choice.logits[0].cpu()
        if self.draws is None:
            return logits.argmax(1)
        return torch.multinomial(logits.softmax(1), 1, generator=self.draws).squeeze(1)


class Turn(NamedTuple):
    """Record of one flip of B games."""

    before: Cards
    chances: Tensor  # [B, cells], probability of each action
    action: Tensor  # [B], the most likely
    after: Cards
    memory: Tensor  # [B, M, M]; empty without memory
    inside: Inside | None  # spikes, if there are any


def watch(agent: Agent, game: Concentration, cards: Cards, flips: int, device: torch.device) -> list[Turn]:
    """Play `flips` flips, or until all games are over, and record memory and spikes."""
    turns: list[Turn] = []
    begins = torch.ones(len(cards.deck), dtype=torch.bool)
    x = ppo.inputs(game, cards, begins, device)
    state, over = agent.initial_state(x), torch.zeros_like(begins)
    while len(turns) < flips and not bool(over.all()):
        inside = None
        if isinstance(agent.core, SpikingRecall):
            inside, state = agent.core.look(x, state)
            recalled, memory = agent.core.recalled(inside), state.write.memory
        else:
            recalled, state = agent.core.step(x, state)
            memory = state.memory if isinstance(agent.core, RateRecall) else recalled.new_zeros(0)
        chances = agent.choose(x, recalled).logits.softmax(1).cpu()
        after, _, over = game.step(cards, chances.argmax(1))
        turns.append(Turn(cards, chances, chances.argmax(1), after, memory, inside))
        cards, begins = after, torch.zeros_like(begins)
        x = ppo.inputs(game, cards, begins, device)
    return turns


def rates(config: Config, turns: list[Turn]) -> dict[str, float]:
    """Return the mean rates [Hz] by population."""
    layers = [turn.inside.layers for turn in turns if turn.inside is not None]
    return rates_of(
        config, {name: torch.stack([one[name] for one in layers]) for name in (layers[0] if layers else ())}
    )


def activity(config: Config, hertz: Mapping[str, float]) -> dict[str, Any]:
    """Return the content of activity.json: sizes, synapses and rates [Hz] of each population, for one observation."""
    size, width, n_in = config.memory_size, config.embedding, 4 * config.cells + config.features
    populations: Populations = {"encoder": (size, n_in, None)}
    if config.model != "reactive":
        populations = {
            "encoder": (width, n_in, None),
            **memory_populations(size, width, width, "rate_encoder", "rate_encoder"),
        }
    return activity_of(config, 1, layers_of(hertz, populations))


__all__ = ["PRESETS", "PUBLISHED", "Config", "evaluate", "plot", "train"]
