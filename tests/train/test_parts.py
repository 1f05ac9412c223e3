"""Options check themselves when they are built: ranges, whole numbers, choices, numbers that are none."""

import math
import re
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Gt, Lt

from spikeloom.errors import ConfigError
from spikeloom.train.parts import Fraction, LearningRateOptions, NonNegativeInt, Options, Positive, PositiveInt


@dataclass(frozen=True)
class Config(LearningRateOptions):
    time: Positive = 1.0
    part: Fraction = 0.5
    open_ended: Annotated[float, Gt(1), Lt(2)] = 1.5
    free: float = 0.0
    count: PositiveInt = 3
    more: NonNegativeInt = 0
    kind: Literal["a", "b"] = "a"
    name: str = ""
    on: bool = False
    maybe: Positive | None = None
    sizes: tuple[PositiveInt, ...] = (3, 4)
    pair: tuple[PositiveInt, Positive] = (3, 0.5)
    lr: Annotated[float, Gt(0)] = 0.25


GOOD: list[dict[str, Any]] = [
    {"time": 1e-9}, {"time": 3}, {"part": 0.0}, {"part": 1}, {"open_ended": 1.0001}, {"free": math.inf}, {"free": -3},
    {"count": 1}, {"more": 0}, {"kind": "b"}, {"name": "anything"},
    {"on": True}, {"maybe": None}, {"maybe": 0.5}, {"sizes": ()}, {"sizes": (1,)},
    {"pair": (1, 0.25)},
]  # fmt: skip
BAD: list[tuple[dict[str, Any], str]] = [
    ({"time": 0.0}, "--time must be a finite number above 0, but is 0.0"),
    ({"time": math.inf}, "--time must be a finite number above 0, but is inf"),
    ({"time": "3"}, "--time must be a finite number above 0, but is '3'"),
    ({"part": 1.5}, "--part must be a finite number of at least 0 and at most 1, but is 1.5"),
    ({"open_ended": 2.0}, "--open-ended must be a finite number above 1 and below 2, but is 2.0"),
    ({"free": math.nan}, "--free must be a number, but is nan"),
    ({"count": 0}, "--count must be a whole number of at least 1, but is 0"),
    ({"count": 2.0}, "--count must be a whole number of at least 1, but is 2.0"),
    ({"more": True}, "--more must be a whole number of at least 0, but is True"),
    ({"kind": "c"}, "--kind must be one of a, b, but is 'c'"),
    ({"on": "no"}, "--on must be True or False, but is 'no'"),
    ({"maybe": 0.0}, "--maybe must be a finite number above 0, but is 0.0"),
    ({"sizes": (3, 0)}, "--sizes must be a whole number of at least 1, but is 0"),
    ({"pair": (3, -1.0)}, "--pair must be a finite number above 0, but is -1.0"),
    ({"lr": 0.0}, "--lr must be a finite number above 0, but is 0.0"),  # the subclass's range, not the part's
    ({"lr_decay_every": 0}, "--lr-decay-every must be a whole number of at least 1, but is 0"),
]


@pytest.mark.parametrize("options", GOOD, ids=str)
def test_values_within_their_ranges_are_kept(options: dict[str, Any]) -> None:
    config = Config(**options)
    assert {name: getattr(config, name) for name in options} == options


@pytest.mark.parametrize(("options", "message"), BAD, ids=str)
def test_others_are_refused_when_the_options_are_built_or_replaced(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Config(**options)
    with pytest.raises(ConfigError, match=re.escape(message)):
        replace(Config(), **options)


def test_a_class_with_its_own_check_keeps_that_of_the_ranges() -> None:
    @dataclass(frozen=True)
    class Ordered(Options):
        first: PositiveInt = 1
        last: PositiveInt = 2

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.last < self.first:
                raise ConfigError("last is before first")

    with pytest.raises(ConfigError, match="whole number"):
        Ordered(first=0)
    with pytest.raises(ConfigError, match="before"):
        Ordered(first=3)


@pytest.mark.parametrize("name", ["time", "free"])
def test_whole_numbers_beyond_the_floats_are_numbers_only_where_whole_ones_are_needed(name: str) -> None:
    assert Config(count=10**400).count == 10**400
    with pytest.raises(ConfigError, match=f"--{name} must be a .*number.*, but is 1000000"):
        Config(**{name: 10**400})  # type: ignore[arg-type]
