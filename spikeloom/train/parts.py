"""Parts of the options of tasks: a task's `Config` inherits those it needs; the help shows each under a heading.

@dataclass(frozen=True)
class Config(LearningRateOptions, CheckpointOptions):
    updates: PositiveInt = 1000
    lr: NonNegative = 0.01  # another default; the help text is that of the part

The annotation of an option states its range, which every part checks when it is built.
"""

import math
import operator
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

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
    annotation, an int for being whole, a bool for being one, a `Literal` against its values, a float for NaN. A float
    with a range is finite. So are the items of a tuple, and an option that may also be None. A subclass with its own
    `__post_init__` calls this one first.

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
        hints = _hints(cls)
        for field in fields(self):
            _check(f"--{field.name.replace('_', '-')}", hints[field.name], getattr(self, field.name))


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


@dataclass(frozen=True)
class TimeLimitOptions(Options):
    """Time limit of training."""

    minutes: NonNegative = 0.0
    """Time limit of training [min], without pre-training; 0: none. With a limit, the result depends on the machine."""


_BOUNDS: dict[type[Any], tuple[str, str, Callable[[Any, Any], bool]]] = {
    Gt: ("gt", "above", operator.gt), Ge: ("ge", "of at least", operator.ge),
    Lt: ("lt", "below", operator.lt), Le: ("le", "at most", operator.le),
    MultipleOf: ("multiple_of", "a multiple of", lambda value, factor: value % factor == 0),
}  # fmt: skip
"""Attribute, words and comparison of each kind of bound."""


@cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    """Return the annotations of all options."""
    return get_type_hints(cls, include_extras=True)


def _bounds(metadata: Sequence[Any]) -> list[tuple[str, Callable[[float], bool]]]:
    """Return bounds of annotated_types as words and a test each."""
    flat = [bound for item in metadata for bound in (item if isinstance(item, GroupedMetadata) else [item])]
    return [_bound(bound) for bound in flat if type(bound) in _BOUNDS]


def _bound(bound: Any) -> tuple[str, Callable[[float], bool]]:
    name, words, compare = _BOUNDS[type(bound)]
    limit = getattr(bound, name)
    return f"{words} {limit:g}", lambda value: compare(value, limit)


def _check(option: str, hint: Any, value: Any, metadata: Sequence[Any] = ()) -> None:
    """Raise ConfigError unless a value has the type and lies within the bounds of its annotation."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Annotated:
        _check(option, inside[0], value, [*inside[1:], *metadata])
    elif origin in (Union, UnionType):
        kinds = [kind for kind in inside if kind is not NoneType]
        if len(kinds) == 1 and value is not None:
            _check(option, kinds[0], value, metadata)
    elif origin is tuple and isinstance(value, tuple):
        for kind, item in zip(inside[:1] * len(value) if Ellipsis in inside else inside, value, strict=False):
            _check(option, kind, item)
    elif origin is Literal and value not in inside:
        names = ", ".join(map(str, inside))
        raise ConfigError(f"{option} must be one of {names}, but is {reprlib.repr(value)}. Choose one of them.")
    elif hint is bool and not isinstance(value, bool):
        raise ConfigError(f"{option} must be True or False, but is {reprlib.repr(value)}. Choose one of them.")
    elif hint in (int, float):
        _check_number(option, hint, _bounds(metadata), value)


def _check_number(option: str, kind: type[Any], bounds: list[tuple[str, Any]], value: Any) -> None:
    number = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    try:
        finite = number and math.isfinite(value)
    except OverflowError:  # an int beyond the floats
        finite = kind is int
        number = finite
    if (finite and all(test(value) for _, test in bounds)) or (number and not bounds and math.isinf(value)):
        return
    sort = "a whole number" if kind is int else "a finite number" if bounds else "a number"
    needs = " ".join([sort, " and ".join(words for words, _ in bounds)]).strip()
    raise ConfigError(f"{option} must be {needs}, but is {reprlib.repr(value)}. Choose such a value.")
