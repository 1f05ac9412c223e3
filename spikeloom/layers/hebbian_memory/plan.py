"""Constants of the memory loops, by their index in arrays, and the interface of an engine."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

Array = Any

# Indices into the array of numbers, whose dtype is that of the voltages. CHARGE is 1 - DECAY, RISE_TRACE is
# 1 - DECAY_TRACE; SOFT is 1 with a soft bound, whose value is TOP.
(
    DECAY, CHARGE, THRESHOLD, GAIN, RECALL, DECAY_TRACE, RISE_TRACE, POTENTIATION, DEPRESSION_PRE, DEPRESSION_POST,
    SOFT, TOP,
) = range(12)  # fmt: skip
# Indices into the array of choices.
REFRACTORY, SUBTRACT, DETACH = range(3)
# First rows in a stacked state: 3 each for keys and values (voltage, spikes, refractory steps left), then the traces.
KEY, VALUE, PRE, POST = 0, 3, 6, 7


class Constants(NamedTuple):
    """Constants of neurons and rule, for the loops of both engines."""

    numbers: Array
    choices: Array

    @classmethod
    def of(cls, neuron: Any, dtype: torch.dtype, rule: Any = None, recall: float = 0.0) -> "Constants":
        """Return the constants of neurons and, for writing, of a `Hebbian` rule; without one the memory is constant."""
        kind = np.dtype(str(dtype).removeprefix("torch.")).type
        decay = kind(neuron.constants()["decay_mem"])
        values = [decay, kind(1) - decay, neuron.threshold, neuron.program.surrogate.gain, recall]
        if rule is None:
            values += [0.0] * 7
        else:
            trace, bound = rule.decay_trace, rule.soft_bound
            values += [
                trace, 1 - trace, rule.potentiation, rule.depression * (rule.forgets == "pre"),
                rule.depression * (rule.forgets == "post"), float(bound), rule.w_max if bound else 1.0,
            ]  # fmt: skip
        program = neuron.program
        choices = [program.refractory, dict(program.equation.choices)["subtract"], program.detach_reset]
        return cls(np.array(values, kind), np.array(choices, np.int64))


class Loops(NamedTuple):
    """Functions of an engine; on the CPU these are `write_all`, `back_write_all`, `read_all` and `back_read_all`."""

    write: Callable[..., tuple[Tensor, list[Tensor]]]
    back_write: Callable[..., Tensor]
    read: Callable[..., tuple[Tensor, list[Tensor]]]
    back_read: Callable[..., tuple[Tensor, Tensor, Tensor]]
