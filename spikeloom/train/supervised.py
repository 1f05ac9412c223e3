"""Loop of supervised training.

    while fewer than `updates` are finished and not stop(finished, history):
        one step; sometimes a validation; one line of metrics; sometimes a checkpoint

`step` is defined by the task: batch, forward, backward, `ranks.average_gradients(model)`, optimiser. All decisions of
the loop depend only on the number of finished updates, the best value and the logged history, so a resumed run takes
the same path. SIGTERM (the time limit of a cluster) ends the loop after the current update, with a checkpoint.

Spiking layers of the parts are observed in the first update and in every validation. A layer that never fires, or fires
in every step, causes one warning with advice; `layers.json` holds the rates. If kernels have to be compiled, one line
says so.
"""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from .. import compiled
from ..errors import CheckpointError, ConfigError, unusual
from . import metrics, ranks, saved, termination
from .firing import FiringMonitor
from .run import Checkpointable, Run, check_numbers

History = list[dict[str, Any]]


def fit(
    run: Run,
    *,
    parts: Mapping[str, Checkpointable],
    updates: int,
    step: Callable[[int], Mapping[str, float]],
    validate: Callable[[int], Mapping[str, float]] | None = None,
    validate_every: int = 1,
    checkpoint_every: int = 100,
    stop: Callable[[int, History], bool] | None = None,
    best: str | None = None,
    better: Literal["lower", "higher"] = "lower",
    headline: Sequence[str] = (),
) -> int:
    """Train until `updates` are finished or `stop` returns true; return the number of finished updates.

    Args:
        parts: objects to save in checkpoints, by name; `restore` is called first.
        step: `step(finished)` performs one update and returns its values, for example `{"loss": ...}`.
        validate: `validate(finished)`, called after every `validate_every`-th update and after the last; the names that
            it returns begin with `validation_`, or at least differ from those of `step`.
        checkpoint_every: updates between two saves of `checkpoints/last.pt`; it is also saved at the end.
        stop: `stop(finished, history)`, called before each update with all lines of metrics.jsonl.
        best: value that selects `checkpoints/best.pt`; without it, the last update is the best.
        headline: names of the two or three values to show while the run trains; by default the loss, accuracy or error,
            and one more. metrics.jsonl has all values.

    Raises:
        TrainingError: a value or a parameter is not finite; earlier checkpoints are kept.
        ConfigError: a period is not positive, or `best` is not among the values, or `headline` is not names.
        CheckpointError: a file of the run is damaged or missing, or was saved with other options.
        Terminated: SIGTERM was received; a checkpoint was saved.

    >>> import torch
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from spikeloom.train.step import descend
    >>> model = nn.Linear(4, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> def step(finished):
    ...     loss = model(torch.ones(3, 4)).square().mean()
    ...     descend(loss, optimizer, model)
    ...     return {"loss": loss.item()}
    >>> with TemporaryDirectory() as folder:
    ...     run = Run(Path(folder) / "run", "my_task", "default", seed=0, quiet=True)
    ...     fit(run, parts={"model": model, "optimizer": optimizer}, updates=5, step=step)
    5
    """
    _check_arguments(parts, updates, validate_every, checkpoint_every, better, headline)
    finished = run.restore(**parts)
    history = _history(run, finished)
    sign = 1.0 if better == "lower" else -1.0
    if best is not None and run.best is None:  # a new run, or one saved by an earlier version
        run.best = min((line[best] for line in history if best in line), key=lambda value: sign * value, default=None)
    check_numbers(parts, finished, run.kept())
    firing = FiringMonitor(run, {name: part for name, part in parts.items() if isinstance(part, nn.Module)})
    try:
        with termination.waits() as asked, compiled.announced(run.tell):
            while finished < updates and not (stop is not None and stop(finished, history)):
                with contextlib.nullcontext() if finished else firing.watching(finished, "training"):
                    values = _numbers("step", step(finished))
                finished += 1
                validated = validate is not None and (finished % validate_every == 0 or finished == updates)
                if validate is not None and validated:
                    with firing.watching(finished, "validation"):
                        values = _together(values, _numbers("validate", validate(finished)))
                values = ranks.mean({**values, TERMINATED: float(asked())})
                terminated = values.pop(TERMINATED) > 0  # on whichever rank: all end at the same update
                metrics.check_finite(values, finished, _where(parts, values), run.kept())
                if validated:
                    check_numbers(parts, finished, run.kept())
                run.log(finished, **values)
                history.append({"update": finished, **values})
                if best in values and (run.best is None or sign * values[best] < sign * run.best):
                    run.best = values[best]
                    run.save_best(finished, **parts)
                if finished % checkpoint_every == 0 or terminated:
                    run.save(finished, **parts)
                run.progress(finished, updates, headline, **values)
                if terminated:
                    raise termination.Terminated(f"A checkpoint of update {finished} was written.", finished)
            if best is not None and run.best is None and finished > 0:
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


def _check_arguments(
    parts: Mapping[str, Checkpointable],
    updates: Any,
    validate_every: Any,
    checkpoint_every: Any,
    better: Any,
    headline: Any,
) -> None:
    """Raise ConfigError for invalid arguments of `fit`."""
    if isinstance(headline, str) or not all(isinstance(name, str) for name in headline):
        raise ConfigError(f'fit needs headline=("loss", "accuracy"), names of values, but got {headline!r}.')
    if better not in ("lower", "higher"):
        raise ConfigError(f'fit needs better="lower" or "higher", but got {better!r}.')
    periods = {"validate_every": validate_every, "checkpoint_every": checkpoint_every}
    for name, number in {"updates": updates, **periods}.items():
        least = int(name in periods)
        if not isinstance(number, int) or isinstance(number, bool) or number < least:
            raise ConfigError(f"fit needs {name} >= {least}, a whole number of updates, but got {number!r}.")
    if not isinstance(parts, Mapping):
        raise ConfigError(f"fit needs parts by name, such as {{'model': model}}, but got {type(parts).__name__}.")
    for name, part in parts.items():
        if not isinstance(name, str) or name in ("self", "update"):
            raise ConfigError(f"fit cannot call a part {name!r}. Choose another name.")
        if not all(callable(getattr(part, method, None)) for method in ("state_dict", "load_state_dict")):
            raise ConfigError(
                f"fit keeps parts with a state_dict, such as modules and optimisers, but {name!r} is "
                f"{type(part).__name__}. Leave it out, or keep it in a Carry."
            )
        if isinstance(part, nn.Module):
            _check_tensors(name, part)


def _check_tensors(title: str, module: nn.Module) -> None:
    """Raise ConfigError for a parameter or a buffer that cannot be trained, saved and compared."""
    parts = module.named_modules()
    lost = {f"{path}.{name}".lstrip(".") for path, part in parts for name in part._non_persistent_buffers_set}
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        where = f"fit got {title!r}, whose {name}"
        if isinstance(tensor, (UninitializedParameter, UninitializedBuffer)):
            raise ConfigError(f"{where} has no shape yet. Call the module once with an example before fit.")
        if name in lost:
            continue
        if tensor.is_meta:
            raise ConfigError(
                f"{where} has no values, for it is on meta. Call to_empty(device=...) and set or load its values first."
            )
        if odd := unusual(tensor if not tensor.is_complex() else tensor.real):
            raise ConfigError(f"{where} is {odd}, which cannot be checked or saved. Make it dense, of a usual type.")


def _numbers(function: str, values: Any) -> dict[str, float]:
    """Return the values of `step` or `validate` as floats; raise ConfigError unless they are numbers by name."""
    example = "loss" if function == "step" else "validation_loss"
    if not isinstance(values, Mapping):
        raise ConfigError(
            f'{function}(finished) must return numbers by name, such as {{"{example}": 0.5}}, but returned '
            f"{type(values).__name__}."
        )
    for name in values:
        if not isinstance(name, str) or name in ("self", "update", TERMINATED):
            raise ConfigError(f"{function}(finished) returned a value named {name!r}. Choose another name.")
    try:
        if any(isinstance(value, str) for value in values.values()):
            raise TypeError("a text is no number")
        return {name: float(value) for name, value in values.items()}
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        types = ", ".join(f"{name}: {type(value).__name__}" for name, value in values.items())
        raise ConfigError(f"{function}(finished) must return one number per name, but returned {types}.") from error


def _together(values: dict[str, float], validated: dict[str, float]) -> dict[str, float]:
    """Merge training and validation values; raise ConfigError for a repeated name."""
    if both := sorted(values.keys() & validated.keys()):
        raise ConfigError(
            f"validate(finished) returned {both[0]!r}, which is the name of a value of training. Call it "
            f"'validation_{both[0]}'."
        )
    return {**values, **validated}


TERMINATED = "told to end"
"""Name of the value that tells all ranks about a SIGTERM at the same update."""


def _history(run: Run, finished: int) -> History:
    """Return the metrics of rank 0 on every rank: one line per finished update.

    Raises:
        CheckpointError: a line is missing.
    """

    def read() -> History:
        lines = run.metrics()
        if {line["update"] for line in lines} != set(range(1, finished + 1)):
            raise CheckpointError(
                f"{run.folder / 'metrics.jsonl'} is missing or lacks lines: it must have one for each of the "
                f"{finished} updates that are finished. {metrics.REMEDY}"
            )
        return lines

    lines: History = ranks.of_first(read)
    return lines


def _where(parts: Mapping[str, Checkpointable], values: Mapping[str, float]) -> str:
    """Return the name of the first parameter, or else gradient, that is not finite, for the message about a value."""
    if all(math.isfinite(value) for value in values.values()):
        return ""
    modules = {name: part for name, part in parts.items() if isinstance(part, nn.Module)}
    for name, part in modules.items():
        if wrong := saved.not_a_number(part):
            return f"; so is the parameter {name}.{wrong}"
    for name, part in modules.items():
        if wrong := saved.wrong_gradient(part):
            return f"; so is the gradient of {name}.{wrong}"
    return ""
