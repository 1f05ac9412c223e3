"""Parts of the options of tasks: a task's `Config` inherits those it needs; the help shows each under a heading.

@dataclass(frozen=True)
class Config(LearningRateOptions, CheckpointOptions):
    updates: PositiveInt = 1000
    lr: NonNegative = 0.01  # another default; the help text is that of the part

The annotation of an option states its range, which every part checks when it is built.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from annotated_types import Ge, GroupedMetadata, Gt, Interval, Le, Lt, MultipleOf

from ..errors import ConfigError

Positive = Annotated[float, Gt(0)]
"""A finite number above 0."""
NonNegative = Annotated[float, Ge(0)]
"""A finite number of at least 0."""
Fraction = Annotated[float, Interval(ge=0, le=1)]
"""A number from 0 to 1."""
PositiveInt = Annotated[int, Ge(1)]
"""A whole number of at least 1."""
NonNegativeInt = Annotated[int, Ge(0)]
"""A whole number of at least 0."""


@dataclass(frozen=True)
class Options:
    """Base class of options that check themselves.

    Each is checked when the object is built, so also by `dataclasses.replace`: a number against the range in its
    annotation, an int for being whole, a `Literal` against its values, a float for NaN. A float with a range is
    finite. A subclass with its own `__post_init__` calls this one first.

    Raises:
        ConfigError: an option is outside its range.

    >>> @dataclass(frozen=True)
    ... class Config(Options):
    ...     rate: Annotated[float, Gt(0), Le(9)] = 5.0
    >>> Config(rate=0.0)
    Traceback (most recent call last):
    spikeloom.errors.ConfigError: --rate must be a finite number above 0 and at most 9, but is 0.0. Choose such a value.
    """

    def __post_init__(self) -> None:
        cls: Any = type(self)
        for name, (kind, bounds) in _ranges(cls).items():
            _check(f"--{name.replace('_', '-')}", kind, bounds, getattr(self, name))


@dataclass(frozen=True)
class LearningRateOptions(Options):
    """Learning rate of an optimiser, with its decay in steps."""

    lr: NonNegative = 0.003
    """Initial learning rate of Adam."""
    lr_decay: Positive = 0.85
    """Factor of the learning rate at each decay."""
    lr_decay_every: PositiveInt = 720
    """Updates between two decays of the learning rate."""


@dataclass(frozen=True)
class CheckpointOptions(Options):
    """Validations and checkpoints of a training run."""

    validate_every: PositiveInt = 36
    """Updates between two validations."""
    select: Literal["best", "last"] = "best"
    """Weights to test: those with the best validation result, or the last ones."""
    checkpoint_every: PositiveInt = 100
    """Updates between two checkpoints."""


_BOUNDS: dict[type[Any], tuple[str, str, Callable[[Any, Any], bool]]] = {
    Gt: ("gt", "above", operator.gt), Ge: ("ge", "of at least", operator.ge),
    Lt: ("lt", "below", operator.lt), Le: ("le", "at most", operator.le),
    MultipleOf: ("multiple_of", "a multiple of", lambda value, factor: value % factor == 0),
}  # fmt: skip
"""Attribute, words and comparison of each kind of bound."""


@cache
def _ranges(cls: type[Any]) -> dict[str, tuple[Any, list[tuple[str, Any]]]]:
    """Return the type of each option without its metadata, and its bounds as words and a test."""
    hints, ranges = get_type_hints(cls, include_extras=True), {}
    for field in fields(cls):
        kind, *metadata = get_args(hint) if get_origin(hint := hints[field.name]) is Annotated else [hint]
        bounds = [bound for item in metadata for bound in (item if isinstance(item, GroupedMetadata) else [item])]
        ranges[field.name] = kind, [_bound(bound) for bound in bounds if type(bound) in _BOUNDS]
    return ranges


def _bound(bound: Any) -> tuple[str, Callable[[float], bool]]:
    """Return a bound of annotated_types as words and a test."""
    name, words, compare = _BOUNDS[type(bound)]
    limit = getattr(bound, name)
    return f"{words} {limit:g}", lambda value: compare(value, limit)


def _check(option: str, kind: Any, bounds: list[tuple[str, Any]], value: Any) -> None:
    """Raise ConfigError unless a value has the type and lies within the bounds."""
    if get_origin(kind) is Literal and value not in get_args(kind):
        names = ", ".join(map(str, get_args(kind)))
        raise ConfigError(f"{option} must be one of {names}, but is {value!r}. Choose one of them.")
    if kind not in (int, float):
        return
    number = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    finite = number and math.isfinite(value)
    if (finite and all(test(value) for _, test in bounds)) or (number and not bounds and math.isinf(value)):
        return
    sort = "a whole number" if kind is int else "a finite number" if bounds else "a number"
    needs = " ".join([sort, " and ".join(words for words, _ in bounds)]).strip()
    raise ConfigError(f"{option} must be {needs}, but is {value!r}. Choose such a value.")
