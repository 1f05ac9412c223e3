"""metrics.jsonl: one line of JSON per logged update, and the few statistics that reports need."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import CheckpointError, TrainingError
from .files import append, read_bytes, reason


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of samples whose largest logit is that of the label; logits [N, K], labels [N]."""
    return float((logits.detach().argmax(-1) == labels).double().mean())


def line(update: int, values: Mapping[str, float]) -> str:
    """The line `{"update": update, **values}`.

    Raises:
        TrainingError: a value is not finite.
    """
    numbers = {name: float(value) for name, value in values.items()}
    check_finite(numbers, update)
    return json.dumps({"update": update, **numbers}) + "\n"


def write(path: Path, update: int, values: Mapping[str, float]) -> None:
    """Append one line.

    Raises:
        TrainingError: a value is not finite.
    """
    append(path, line(update, values))


def check_finite(values: Mapping[str, float], update: int, where: str = "", kept: str = "") -> None:
    """Raise TrainingError if a value is infinite or not a number.

    Args:
        where: what else is not a number, to be named as well.
        kept: a sentence on which checkpoints there are.
    """
    wrong = {name: value for name, value in values.items() if not math.isfinite(value)}
    if wrong:
        listed = ", ".join(f"{name} = {value}" for name, value in wrong.items())
        raise TrainingError(f"training stopped at update {update}: {listed}{where}. {kept}{AGAIN}")


def read(path: Path) -> list[dict[str, Any]]:
    """Every line; none if there is no file. A last line that was cut off by a crash is left out.

    Raises:
        CheckpointError: the file cannot be read, or a line is not one of metrics.
    """
    return parse(contents(path), path)


def contents(path: Path) -> bytes:
    """The bytes of the file; none if there is no file.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        return read_bytes(path)
    except FileNotFoundError:
        return b""
    except (OSError, MemoryError) as error:
        raise CheckpointError(f"{path} cannot be read: {reason(error)}. {REMEDY}") from error


def parse(data: bytes, path: Path) -> list[dict[str, Any]]:
    """The lines in the contents of a file.

    Raises:
        CheckpointError: a line is not `{"update": N, name: number, ...}`.
    """
    found = list[dict[str, Any]]()
    for number, text in enumerate(data.split(b"\n")[:-1], 1):
        try:
            values = json.loads(text.decode())
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} is damaged in line {number}: {reason(error)}. {REMEDY}") from error
        if not _is_line(values):
            raise CheckpointError(
                f'{path} is damaged in line {number}: it is not an object of "update" and finite numbers. {REMEDY}'
            )
        found.append(values)
    return found


AGAIN = "Train again with a lower learning rate, or look for a division by zero in the loss."
REMEDY = "Restore it from a copy, or train again in a new folder."


def _is_line(values: Any) -> bool:
    return (
        isinstance(values, dict)
        and type(values.get("update")) is int
        and all(type(value) in (int, float) and abs(value) < math.inf for value in values.values())
    )


def up_to(data: bytes, update: int, path: Path) -> bytes:
    """The lines up to an update: what a resumed run does not write again.

    Raises:
        CheckpointError: a line is not one of metrics.
    """
    lines = parse(data, path)
    kept = [text for text, values in zip(data.split(b"\n"), lines, strict=False) if values["update"] <= update]
    return b"".join(text + b"\n" for text in kept)


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
