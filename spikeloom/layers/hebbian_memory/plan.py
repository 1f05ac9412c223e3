"""What the loops of the memory are given: constants by their place in arrays, and what an engine has."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

Array = Any

# Places in the array of numbers; its dtype is that of the voltages.
(
    DECAY, CHARGE, THRESHOLD, GAIN, RECALL, DECAY_TRACE, RISE_TRACE, POTENTIATION, DEPRESSION_PRE, DEPRESSION_POST,
    SOFT, TOP,
) = range(12)  # fmt: skip
# Places in the array of choices.
REFRACTORY, SUBTRACT, DETACH = range(3)
# Rows of a state.
KEY, VALUE, PRE, POST = 0, 3, 6, 7  # voltage, spikes and steps left of each population, then the two traces


class Constants(NamedTuple):
    """What both loops are told."""

    numbers: Array
    choices: Array

    @classmethod
    def of(cls, neuron: Any, dtype: torch.dtype, rule: Any = None, recall: float = 0.0) -> "Constants":
        """Of neurons and, where something is written, a `Hebbian` rule; without one the memory stays as it is."""
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
    """What an engine has: `write_all` and the like, or those of the GPU."""

    write: Callable[..., tuple[Tensor, list[Tensor]]]
    back_write: Callable[..., Tensor]
    read: Callable[..., tuple[Tensor, list[Tensor]]]
    back_read: Callable[..., tuple[Tensor, Tensor, Tensor]]
