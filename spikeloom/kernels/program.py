"""What a loop runs: an equation with the frame around it, known to the operators by a key."""

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from weakref import WeakValueDictionary

from ..arguments import explained
from ..errors import ConfigError
from ..firing import Firing
from ..surrogate import Surrogate
from .derive.equation import Equation, slope_source

_KNOWN: WeakValueDictionary[str, "Program"] = WeakValueDictionary()
_TRACED: dict[str, "Program"] = {}
"""Programs of compiled graphs, which may outlive the layers they were made from."""


@explained
@dataclass(frozen=True)
class Program:
    """An equation, its surrogate, and what the frame does for it.

    Args:
        equation: the neuron.
        surrogate: slope of its spike; a `Firing` also decides at random whether there is one.
        refractory: steps that a neuron cannot spike after a spike.
        detach_reset: no gradient through `reset`.
        memory: "fast" keeps what the backward pass reads, "lean" one state in 32 steps and computes the rest again.
    """

    equation: Equation
    surrogate: Surrogate
    refractory: int = 0
    detach_reset: bool = False
    memory: str = "fast"
    still: bool = False
    """A `Firing` draws nothing: it spikes where a spike is more likely than not."""

    draws: str = field(init=False, compare=False, repr=False)
    """Where a random neuron takes its noise from: "drawn" numbers, "half", or "none"."""
    key: str = field(init=False, compare=False, repr=False)
    """The name of this program in compiled graphs, whose operators take strings, not objects. It follows from the texts
    of the equation and the surrogate and from all numbers, never from the address of an object."""
    known: "Program | None" = field(init=False, compare=False, repr=False)
    """The first program of this key that is alive, if this is another one: it stays while any of them does."""

    def __post_init__(self) -> None:
        if self.memory not in ("fast", "lean") or self.refractory < 0:
            raise ConfigError(
                f'Program needs memory "fast" or "lean" and refractory >= 0, but got {self.memory!r} and '
                f"{self.refractory}."
            )
        draws = "none" if not isinstance(self.surrogate, Firing) else "half" if self.still else "drawn"
        numbers = (
            self.surrogate,
            self.surrogate.numbers(),
            self.refractory,
            self.detach_reset,
            self.memory,
            self.still,
        )
        text = self.equation.text + slopes_of(type(self.surrogate), draws) + repr(numbers)
        object.__setattr__(self, "draws", draws)
        object.__setattr__(self, "key", hashlib.sha256(text.encode()).hexdigest()[:16])
        first = _KNOWN.setdefault(self.key, self)
        object.__setattr__(self, "known", None if first is self else first)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()  # makes the program known to this process


def find(program: Program | str) -> Program:
    """The program with this key; a program is found as it is."""
    return program if isinstance(program, Program) else _TRACED.get(program) or _KNOWN[program]


def trace(key: str) -> Program:
    """The program with this key, kept for as long as the process lives: a graph names it."""
    return _TRACED.setdefault(key, find(key))


@lru_cache(maxsize=64)
def slopes_of(surrogate: type[Surrogate], draws: str) -> str:
    """The functions of a surrogate as source: its slope, and for random spikes their probability."""
    parts = [surrogate.slope, *([surrogate.probability] if issubclass(surrogate, Firing) and draws != "none" else [])]
    return "".join(slope_source(part, repr) for part in parts)
