"""The loop of supervised training.

    while fewer than `updates` are finished and not stop(finished, history):
        one step; sometimes a validation; one line of metrics; sometimes a checkpoint

`step` is the task's: batch, forward, backward, `ranks.average_gradients(model)`, optimiser. Everything the loop decides
depends on the number of finished updates and on the logged history only, so a resumed run takes the same path.

Spiking layers of the parts are observed in the first update and in every validation. One that never fires, or fires in
every step, is told once, with what to try; `layers.json` holds the rates.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import nn

from ..errors import ConfigError
from . import metrics, ranks
from .firing import Firing
from .run import Part, Run

History = list[dict[str, Any]]


def fit(
    run: Run,
    *,
    parts: Mapping[str, Part],
    updates: int,
    step: Callable[[int], Mapping[str, float]],
    validate: Callable[[int], Mapping[str, float]] | None = None,
    validate_every: int = 1,
    checkpoint_every: int = 100,
    stop: Callable[[int, History], bool] | None = None,
    best: str | None = None,
    better: Literal["lower", "higher"] = "lower",
) -> int:
    """Train until `updates` are finished or `stop` says so; the number of finished updates.

    Args:
        parts: what a checkpoint holds, by name; `restore` is called first.
        step: `step(finished)` does one update and returns its values, for example `{"loss": ...}`.
        validate: `validate(finished)`, called after every `validate_every`-th update and after the last;
            the names it returns begin with `validation_`.
        checkpoint_every: updates between two `checkpoints/last.pt`; one more is written at the end.
        stop: `stop(finished, history)` before each update, the history being all lines of metrics.jsonl.
        best: the value whose best update is kept in `checkpoints/best.pt`; without it, the last update is.

    Raises:
        TrainingError: a value is not finite; the last checkpoint is kept.
        ConfigError: a period is not positive, or `best` is not among the values.
    """
    for name, period in {"validate_every": validate_every, "checkpoint_every": checkpoint_every}.items():
        if period < 1:
            raise ConfigError(f"fit needs {name} >= 1, but got {period}. Pass a positive number of updates.")
    finished = run.restore(**parts)
    history = _history(run)
    sign = 1.0 if better == "lower" else -1.0
    lowest = min((sign * line[best] for line in history if best in line), default=float("inf"))
    firing = Firing(run, {name: part for name, part in parts.items() if isinstance(part, nn.Module)})
    try:
        while finished < updates and not (stop is not None and stop(finished, history)):
            with contextlib.nullcontext() if finished else firing.watching(finished, "training"):
                values = dict(step(finished))
            finished += 1
            if validate is not None and (finished % validate_every == 0 or finished == updates):
                with firing.watching(finished, "validation"):
                    values.update(validate(finished))
            values = ranks.mean(values)
            metrics.check_finite(values, finished)
            run.log(finished, **values)
            history.append({"update": finished, **values})
            if best in values and sign * values[best] < lowest:
                lowest = sign * values[best]
                run.save_best(finished, **parts)
            if finished % checkpoint_every == 0:
                run.save(finished, **parts)
            run.progress(finished, updates, **values)
        if best is not None and lowest == float("inf") and finished > 0:
            raise ConfigError(
                f"fit keeps the best {best!r}, but neither step nor validate returned it. Name one they do."
            )
        if run.last_saved != finished:
            run.save(finished, **parts)
        if best is None:
            run.save_best(finished, **parts)
    finally:
        run.close()
    return finished


def _history(run: Run) -> History:
    """The metrics of rank 0, on every rank."""
    lines: History = ranks.shared(run.metrics() if run.rank == 0 else [])
    return lines
