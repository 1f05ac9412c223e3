"""Metrics of a run in metrics.jsonl, one line of JSON per logged update, and statistics for reports."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import CheckpointError, TrainingError
from .files import append, read_bytes, reason


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the fraction of samples whose largest logit is that of the label; logits [N, K], labels [N]."""
    return float((logits.detach().argmax(-1) == labels).double().mean())


def line(update: int, values: Mapping[str, float]) -> str:
    """Return the line `{"update": update, **values}`.

    Raises:
        TrainingError: a value is not finite.
    """
    numbers = {name: float(value) for name, value in values.items()}
    check_finite(numbers, update)
    return json.dumps({"update": update, **numbers}) + "\n"


def write(path: Path, update: int, values: Mapping[str, float]) -> None:
    """Append one line to the file.

    Raises:
        TrainingError: a value is not finite.
    """
    append(path, line(update, values))


def check_finite(values: Mapping[str, float], update: int, where: str = "", kept: str = "") -> None:
    """Raise TrainingError if a value is infinite or not a number.

    Args:
        where: other non-finite quantities to name in the message.
        kept: a sentence about the existing checkpoints.
    """
    wrong = {name: value for name, value in values.items() if not math.isfinite(value)}
    if wrong:
        listed = ", ".join(f"{name} = {value}" for name, value in wrong.items())
        raise TrainingError(f"training stopped at update {update}: {listed}{where}. {kept}{AGAIN}")


def read(path: Path) -> list[dict[str, Any]]:
    """Return all lines; [] if there is no file. A last line that a crash cut off is left out.

    Raises:
        CheckpointError: the file cannot be read, or a line is invalid.
    """
    return parse(contents(path), path)


def contents(path: Path) -> bytes:
    """Return the bytes of the file; b"" if there is no file.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        return read_bytes(path)
    except FileNotFoundError:
        return b""
    except (OSError, MemoryError) as error:
        raise CheckpointError(f"{path} cannot be read: {reason(error)}. {REMEDY}") from error


def parse(data: bytes, path: Path) -> list[dict[str, Any]]:
    """Parse the content of a metrics file.

    Raises:
        CheckpointError: a line is not `{"update": N, name: number, ...}`.
    """
    lines = list[dict[str, Any]]()
    for number, text in enumerate(data.split(b"\n")[:-1], 1):
        try:
            values = json.loads(text.decode())
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} is damaged in line {number}: {reason(error)}. {REMEDY}") from error
        if not _is_line(values):
            raise CheckpointError(
                f'{path} is damaged in line {number}: it is not an object of "update" and finite numbers. {REMEDY}'
            )
        lines.append(values)
    return lines


AGAIN = "Train again with a lower learning rate, or look for a division by zero in the loss."
REMEDY = "Restore it from a copy, or train again in a new folder."


def _is_line(values: Any) -> bool:
    return (
        isinstance(values, dict)
        and type(values.get("update")) is int
        and all(type(value) in (int, float) and abs(value) < math.inf for value in values.values())
    )


def up_to(data: bytes, update: int, path: Path) -> bytes:
    """Return the lines up to an update, which a resumed run does not write again.

    Raises:
        CheckpointError: a line is invalid.
    """
    lines = parse(data, path)
    kept = [text for text, values in zip(data.split(b"\n"), lines, strict=False) if values["update"] <= update]
    return b"".join(text + b"\n" for text in kept)


def column(lines: Iterable[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Return updates and values of one metric, where it was logged.

    >>> column([{"update": 1, "loss": 0.5}, {"update": 2}], "loss")
    ([1], [0.5])
    """
    pairs = [(line["update"], line[name]) for line in lines if name in line]
    return [update for update, _ in pairs], [value for _, value in pairs]


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean; NaN for no values."""
    return math.fsum(values) / len(values) if values else math.nan


def sd(values: Sequence[float]) -> float:
    """Return the sample standard deviation (n - 1); 0 for one value, NaN for none.

    >>> sd([1.0, 2.0, 3.0])
    1.0
    """
    if len(values) < 2:
        return 0.0 if values else math.nan
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))
