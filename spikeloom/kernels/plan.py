"""What a compiled loop is: the plan of a generated module, and the order of its arguments."""

from dataclasses import dataclass, field
from typing import Any

from ..surrogate import fields_of
from .derive.equation import Equation

SEGMENT = 32
"""Steps that the backward pass prepares at a time; in lean mode also the steps between kept states."""


@dataclass(frozen=True)
class Plan:
    """What a generated module is made for: an equation in a loop, and what the call wants of it."""

    equation: Equation
    surrogate: Any
    """The class of the surrogate."""
    detach_reset: bool
    dtype: str
    refractory: bool
    loop: str
    """elementwise or recurrent"""
    memory: str
    """none, fast or lean"""
    learns: tuple[str, ...] = ()
    vectors: frozenset[str] = field(default_factory=frozenset)
    """Parameters that have a value per neuron."""
    draws: str = "none"
    """Where a random neuron takes its noise from: drawn, half or none."""


_SYNAPSES = ["history", "dense", "first", "lead", "weight"]


def forward_arguments(plan: Plan, keep: str) -> list[str]:
    """Names of what `forward` takes, in order; the operator fills them by name."""
    states = plan.equation.states
    kept = {"nothing": [], "distance": ["kept_distance"], "states": [f"kept_{name}" for name in states]}[keep]
    synapses = _SYNAPSES if plan.loop == "recurrent" else []
    random = [] if plan.draws == "none" else surrogate_numbers(plan)
    return [
        "current", "out", *kept, "every", *(f"s_{name}" for name in states), "spikes", "left", "refractory",
        *(f"p_{name}" for name in plan.equation.parameters), *synapses, *random, *noise_arguments(plan),
    ]  # fmt: skip


def noise_arguments(plan: Plan) -> list[str]:
    return ["noise", "width"] if plan.draws == "drawn" else []


def backward_arguments(plan: Plan, keep: str) -> list[str]:
    """Names of what `backward` takes, in order."""
    states = plan.equation.states
    kept = {"nothing": [], "distance": ["kept_distance"], "states": [f"kept_{name}" for name in states]}[keep]
    synapses = [*_SYNAPSES, "line", "grad_history"] if plan.loop == "recurrent" else []
    return [
        "grad_out", "current", "out", *kept, "spikes", "left", "refractory", "count",
        *(f"g_{name}" for name in states), "g_spikes", "grad_current",
        *(f"p_{name}" for name in plan.equation.parameters), "gain", *surrogate_numbers(plan),
        *(f"gp_{name}" for name in plan.learns), *synapses, *noise_arguments(plan),
    ]  # fmt: skip


def surrogate_numbers(plan: Plan) -> list[str]:
    """Names of the numbers of the surrogate's slope, prefixed."""
    return [f"slope_{name}" for name in fields_of(plan.surrogate.slope)]
