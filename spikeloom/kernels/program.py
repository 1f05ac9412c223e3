"""The program of a loop: an equation and what the loop does around it, looked up by the operators with a key."""

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
"""Programs of compiled graphs, which may outlive the layers that made them."""


@explained
@dataclass(frozen=True)
class Program:
    """An equation with its surrogate, refractory period and memory mode: everything that a loop runs.

    Args:
        equation: the equation of the neuron.
        surrogate: surrogate gradient of its spikes; a `Firing` also makes the spikes random.
        refractory: steps after a spike in which a neuron cannot spike.
        detach_reset: whether no gradient passes through `reset`.
        memory: "fast" saves all that the backward pass reads; "lean" saves the states of one step in 32 and recomputes
            the others.
    """

    equation: Equation
    surrogate: Surrogate
    refractory: int = 0
    detach_reset: bool = False
    memory: str = "fast"
    still: bool = False
    """Whether a `Firing` is deterministic: it spikes where the probability of a spike is above 1/2."""

    draws: str = field(init=False, compare=False, repr=False)
    """Noise of a stochastic neuron: "drawn" (sampled), "half" (constant 0.5) or "none" (not stochastic)."""
    key: str = field(init=False, compare=False, repr=False)
    """Name of this program in compiled graphs, whose operators take strings, not objects: a hash of the source of the
    equation and the surrogate and of all numbers, never of the address of an object."""
    known: "Program | None" = field(init=False, compare=False, repr=False)
    """The first living program of this key, if it is another object: this reference keeps it alive."""

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
        self.__post_init__()  # registers the program in this process


def find(program: Program | str) -> Program:
    """Return the program with this key; a `Program` is returned as it is."""
    return program if isinstance(program, Program) else _TRACED.get(program) or _KNOWN[program]


def trace(key: str) -> Program:
    """Return the program with this key and keep it for the life of the process: a compiled graph refers to it."""
    return _TRACED.setdefault(key, find(key))


@lru_cache(maxsize=64)
def slopes_of(surrogate: type[Surrogate], draws: str) -> str:
    """Return the source of a surrogate's functions: its slope and, for stochastic firing, its probability."""
    parts = [surrogate.slope, *([surrogate.probability] if issubclass(surrogate, Firing) and draws != "none" else [])]
    return "".join(slope_source(part, repr) for part in parts)
