"""What a loop runs: an equation with the frame around it, known to the operators by a key."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from ..firing import Firing
from ..surrogate import Surrogate
from .derive import Equation

_PROGRAMS: dict[str, "Program"] = {}


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

    @property
    def draws(self) -> str:
        """Where a random neuron takes its noise from: "drawn" numbers, "half", or "none"."""
        return "none" if not isinstance(self.surrogate, Firing) else "half" if self.still else "drawn"

    @property
    def key(self) -> str:
        """A name for this program; operators take strings, not objects. Asking for it makes the program known."""
        _PROGRAMS[self._key] = self
        return self._key

    @cached_property
    def _key(self) -> str:
        equation = self.equation
        parts = (equation.function.__module__, equation.function.__qualname__, id(equation.function), equation.fires)
        text = repr((parts, equation.choices, type(self.surrogate).__qualname__, self.surrogate, self.refractory))
        return hashlib.sha256((text + repr((self.detach_reset, self.memory, self.still))).encode()).hexdigest()[:16]


def find(key: str) -> Program:
    """The program with this key."""
    return _PROGRAMS[key]
