"""Store-recall: store a bit on one command and output it on another, some time later.

The network receives a sequence of symbols: two values and the commands store and recall. At a recall, it must output
the value that came with the last store. The state is carried from batch to batch. In an LSNN, the adaptive thresholds
are the memory. Training ends when the mean of the last validation errors is below `stop_error`, checked every
`report_every` updates, or after `updates`.

Paper: Bellec, Salaj, Subramoney, Legenstein, Maass, Long short-term memory and learning-to-learn in networks of spiking
neurons, NeurIPS 2018. The paper gives no error for this task; an independent re-implementation of the authors' code
has a test error of 3 to 4 %, and a network without adaptation stays at chance level.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from annotated_types import Ge, MultipleOf
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...core import detach
from ...errors import ConfigError
from ...train import metrics
from ...train.parts import NonNegative, Positive, PositiveInt
from ...train.run import Carry, Run
from ...train.schedule import set_learning_rate, step_decay
from ...train.step import descend
from ...train.supervised import fit
from .network import LSNN
from .options import LSNNOptions, build, layers, populations, rate_values, rates, regularised
from .symbols import GROUPS, Buffer, Sequences, check_length, draw, encode, spike_chance, symbol_steps

WINDOW = 20
"""Number of latest validation errors whose mean is the stop criterion."""


@dataclass(frozen=True)
class Config(LSNNOptions):
    batch_train: PositiveInt = 128
    """Sequences per update."""
    batch_validation: PositiveInt = 128
    """Sequences per validation; a new batch is drawn after every update."""
    batch_test: PositiveInt = 128
    """Sequences per test batch; must equal batch_validation, since the test continues from the validation state."""
    test_batches: PositiveInt = 16
    """Number of test batches."""
    n_in: Annotated[int, Ge(4), MultipleOf(4)] = 100
    """Number of input neurons, a quarter for each symbol."""
    input_rate: Positive = 50.0
    """Firing rate of the input neurons of the current symbol [Hz]."""
    rate_cost: NonNegative = 0.01
    updates: PositiveInt = 200
    """Maximum number of optimiser updates."""
    report_every: PositiveInt = 20
    """Updates between two checks of the stop criterion."""
    stop_error: NonNegative = 0.05
    """Training ends when the mean of the last 20 validation errors is below this value."""
    symbols: PositiveInt = 12
    """Symbols per sequence."""
    recall_delay: PositiveInt = 6
    """Typical delay from store to recall [symbols]: each symbol is a command with probability 1 / (1 + recall_delay);
    recall_delay + 4 < symbols."""
    symbol_ms: Positive = 200.0
    """Duration of a symbol [ms]."""
    lr_decay: Positive = 0.3
    lr_decay_every: PositiveInt = 100
    checkpoint_every: PositiveInt = 20
    """Updates between two checkpoints."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_length(self.symbols, self.recall_delay)
        symbol_steps(self.symbol_ms, self.dt)
        spike_chance(self.input_rate, self.dt)
        if self.batch_test != self.batch_validation:
            raise ConfigError(
                "The test carries on the states of the validation, so --batch-test must equal --batch-validation, but "
                f"they are {self.batch_test} and {self.batch_validation}. Set both."
            )


PAPER = Config()
PRESETS = {
    "paper": PAPER,
    "quick": replace(PAPER, batch_train=64, batch_validation=64, batch_test=64, report_every=5),
    "lif": replace(PAPER, model="lif"),
    "lstm": replace(PAPER, model="lstm"),
    "smoke": replace(
        PAPER, batch_train=4, batch_validation=4, batch_test=4, test_batches=2, updates=4, report_every=2, symbols=7,
        recall_delay=2, symbol_ms=20.0, n_in=20, checkpoint_every=2,
    ),
}  # fmt: skip

_SOURCE = "independent re-implementation of the authors' code, not a published number"
_ROWS = {
    "error": (
        0.036,
        "standard dynamics, 1 seed; sd 0.015 over 16 batches; mean of the last 20 validation errors 0.035",
    ),
    "updates": (41, "standard dynamics, 1 seed; stopped at update 40, counted from 0"),
    "error_legacy_seed_1": (0.032, "legacy dynamics; sd 0.017; stopped at update 40"),
    "error_legacy_seed_2": (0.034, "legacy dynamics; sd 0.009; stopped at update 80"),
    "validation_error_lif": (0.501, "legacy dynamics without adaptation: chance; halted after 100 updates, no test"),
}
PUBLISHED = {name: {"value": value, "source": _SOURCE, "note": note} for name, (value, note) in _ROWS.items()}


def train(config: Config, run: Run) -> None:
    """Train until the stop criterion is met; the last weights are tested."""
    model = build(config, run, config.n_in, 2, bias=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    carry = Carry(train=None, validation=None)
    training, validation = (source(config, run, purpose) for purpose in ("train", "validation"))

    def step(finished: int) -> dict[str, float]:
        lr = step_decay(finished, config.lr, config.lr_decay, config.lr_decay_every)
        set_learning_rate(optimizer, lr)
        spikes, sequences = training(config.batch_train)
        activity, state = model(spikes, carry.train)
        averages = per_symbol(activity.logits, config)
        loss = cross_entropy(averages[sequences.recalls], sequences.targets[sequences.recalls])
        loss = regularised(loss, activity, config)
        descend(loss, optimizer, model)
        carry.train = detach(state, copy=True)
        values = {"loss": loss.item(), "error": error(averages, sequences), "lr": lr}
        return {**values, **rate_values(activity, config)}

    @torch.no_grad()
    def validate(finished: int) -> dict[str, float]:
        spikes, sequences = validation(config.batch_validation)
        activity, state = model(spikes, carry.validation)
        carry.validation = detach(state, copy=True)
        return {"validation_error": error(per_symbol(activity.logits, config), sequences)}

    def stop(finished: int, history: list[dict[str, Any]]) -> bool:
        return finished > 0 and (finished - 1) % config.report_every == 0 and recent(history) < config.stop_error

    fit(
        run,
        parts={"model": model, "optimizer": optimizer, "carry": carry},
        updates=config.updates,
        step=step,
        validate=validate,
        checkpoint_every=config.checkpoint_every,
        stop=stop,
    )


@torch.no_grad()
def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Test the last weights on new batches, starting from the validation state."""
    model = build(config, run, config.n_in, 2, bias=False)
    carry = Carry(train=None, validation=None)
    updates = run.load_best(model=model, carry=carry)
    batches = source(config, run, "test")
    errors, hertz, input_hertz = [], [], []
    for _ in range(config.test_batches):
        spikes, sequences = batches(config.batch_test)
        activity, state = model(spikes, carry.validation)
        carry.validation = detach(state, copy=True)
        errors.append(error(per_symbol(activity.logits, config), sequences))
        hertz.append(float(rates(activity.spikes, config.dt).mean()))
        input_hertz.append(float(rates(spikes, config.dt).mean()))
    entries = layers(model, config, config.n_in, 2, metrics.mean(hertz), metrics.mean(input_hertz))
    steps = config.symbols * symbol_steps(config.symbol_ms, config.dt)
    run.write_json("activity.json", {"dt_ms": config.dt, "steps": steps, "layers": entries, "data": []})
    run.logged(updates, "validation_error")
    last = recent(run.metrics())
    return {
        "error": metrics.mean(errors),
        "error_sd": metrics.sd(errors),
        "validation_error": last,
        "updates": float(updates),
        "solved": float(last < config.stop_error),
    }


@torch.no_grad()
def plot(config: Config, run: Run) -> None:
    """Plot one sequence in detail, the learning curves, and the firing rates."""
    from ...train.figures import plot_learning_curves, to_numpy
    from .draw_episode import recall
    from .figures import firing_rates

    model = build(config, run, config.n_in, 2, bias=False)
    carry = Carry(train=None, validation=None)
    run.load_best(model=model, carry=carry)
    spikes, sequences = source(config, run, "figure")(config.batch_validation)
    state = carry.validation
    activity: Any = model.trace(spikes, state) if isinstance(model, LSNN) else model(spikes, state)[0]
    averages = per_symbol(activity.logits, config)
    b = int(sequences.recalls.sum(0).argmax())  # the first sequence with the most recalls
    asked = sequences.recalls[:, b]
    correct = int((averages.argmax(-1) == sequences.targets)[:, b][asked].sum())
    figure = recall(
        to_numpy(spikes[:, b]),
        to_numpy(sequences.groups[:, b]),
        GROUPS,
        populations(config, to_numpy(activity.spikes[:, b])),
        to_numpy(activity.logits[:, b]),
        to_numpy(averages[:, b]),
        to_numpy(sequences.targets[:, b]),
        to_numpy(asked),
        to_numpy(activity.threshold[:, b, config.n_regular :]) if config.model == "lsnn" else None,
        config.dt,
        f"Store-recall, {config.model.upper()}: {correct} of {int(asked.sum())} recalls right",
    )
    holds = " The adaptive thresholds can hold it in between." if config.model == "lsnn" else ""
    caption = "A sequence after training. The value shown at a store (yellow) is asked for at the next recall (green)."
    run.figure("sequence", figure, caption + holds)
    charts = {
        "loss": {"training": "loss"},
        "share of wrong recalls": {"validation": "validation_error", "training": "error"},
        "rate [Hz]": {"mean": "rate", "highest": "rate_max"},
    }
    levels = {
        "share of wrong recalls": {"chance": 0.5, "solved below": config.stop_error},
        "rate [Hz]": {"target": config.target_rate},
    }
    plot_learning_curves(run, "Learning store-recall", charts, levels, WINDOW)
    firing_rates(run, config, activity.spikes)


def source(config: Config, run: Run, purpose: str) -> Callable[[int], tuple[Tensor, Sequences]]:
    """Return a function that draws a batch: spikes [T, B, n_in] and sequences. Its next call overwrites the spikes."""
    buffer = Buffer()

    def batch(size: int) -> tuple[Tensor, Sequences]:
        sequences = draw(size, config.symbols, config.recall_delay, generator=run.generator(f"{purpose} sequences"))
        spikes = encode(
            sequences.groups,
            config.n_in,
            config.input_rate,
            config.symbol_ms,
            config.dt,
            generator=run.generator(f"{purpose} spikes"),
            buffer=buffer,
        )
        return spikes.to(run.device), Sequences(*(tensor.to(run.device) for tensor in sequences))

    return batch


def per_symbol(logits: Tensor, config: Config) -> Tensor:
    """Average the logits over each symbol: [T, B, 2] -> [S, B, 2]."""
    return logits.view(config.symbols, -1, *logits.shape[1:]).mean(1)


def error(averages: Tensor, sequences: Sequences) -> float:
    """Return the fraction of wrong outputs at recalls."""
    wrong = averages.detach().argmax(-1) != sequences.targets
    return float(wrong[sequences.recalls].double().mean())


def recent(history: list[dict[str, Any]]) -> float:
    """Return the mean of the last validation errors; 1 before the first."""
    errors = metrics.column(history[-WINDOW:], "validation_error")[1]
    return metrics.mean(errors) if errors else 1.0
