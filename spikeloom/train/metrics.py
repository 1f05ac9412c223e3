"""metrics.jsonl: one line of JSON per logged update, and the few statistics that reports need."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, TrainingError
from .files import append, write_atomic


def write(path: Path, update: int, values: Mapping[str, float]) -> None:
    """Append `{"update": update, **values}`.

    Raises:
        TrainingError: a value is not finite.
    """
    numbers = {name: float(value) for name, value in values.items()}
    check_finite(numbers, update)
    append(path, json.dumps({"update": update, **numbers}) + "\n")


def check_finite(values: Mapping[str, float], update: int) -> None:
    """Raise TrainingError if a value is infinite or not a number."""
    wrong = {name: value for name, value in values.items() if not math.isfinite(value)}
    if wrong:
        listed = ", ".join(f"{name} = {value}" for name, value in wrong.items())
        raise TrainingError(
            f"training stopped at update {update}: {listed}. The last checkpoint is kept. "
            "Train again with a lower learning rate, or look for a division by zero in the loss."
        )


def read(path: Path) -> list[dict[str, Any]]:
    """Every line; none if there is no file. A last line that was cut off by a crash is left out.

    Raises:
        CheckpointError: another line is not JSON.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}. Restore it from a copy, or train again.") from error


def cut(path: Path, update: int) -> None:
    """Drop every line after `update`, so that a resumed run writes them again."""
    lines = read(path)
    kept = "".join(json.dumps(line) + "\n" for line in lines if line["update"] <= update)
    if path.exists() and kept != path.read_text(encoding="utf-8"):
        write_atomic(path, lambda stream: stream.write(kept.encode()))


def column(lines: Iterable[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Updates and values of one metric, where it was logged.

    >>> column([{"update": 1, "loss": 0.5}, {"update": 2}], "loss")
    ([1], [0.5])
    """
    found = [(line["update"], line[name]) for line in lines if name in line]
    return [update for update, _ in found], [value for _, value in found]


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean; NaN of nothing."""
    return math.fsum(values) / len(values) if values else math.nan


def sd(values: Sequence[float]) -> float:
    """The standard deviation of a sample (n - 1); 0 for one value, NaN for none.

    >>> sd([1.0, 2.0, 3.0])
    1.0
    """
    if len(values) < 2:
        return 0.0 if values else math.nan
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))
