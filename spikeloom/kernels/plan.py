"""The plan of a generated module, and the order of its arguments.

Prefixes of argument names: `s_` state, `p_` parameter, `kept_` saved for the backward pass, `g_` gradient of a state,
`gp_` gradient of a parameter, `slope_` field of the surrogate. `loops.numba_source` explains the others, with shapes.
"""

from dataclasses import dataclass, field
from typing import Any

from ..surrogate import fields_of
from .derive.equation import Equation

SEGMENT = 32
"""Steps that the backward pass recomputes at a time; in lean mode also the steps between saved states."""


@dataclass(frozen=True)
class Plan:
    """Specification of a generated module: an equation, its loop, and what the backward pass needs."""

    equation: Equation
    surrogate: Any
    """The class of the surrogate."""
    detach_reset: bool
    dtype: str
    refractory: bool
    loop: str
    """Kind of loop: "elementwise" or "recurrent"."""
    memory: str
    """Memory mode: "none" (no backward pass), "fast" or "lean"; see `Program`."""
    learns: tuple[str, ...] = ()
    """Parameters that need a gradient."""
    vectors: frozenset[str] = field(default_factory=frozenset)
    """Parameters that have a value per neuron."""
    draws: str = "none"
    """Noise of a stochastic neuron: "drawn" (sampled), "half" (constant 0.5) or "none" (not stochastic)."""


_SYNAPSES = ["history", "dense", "first", "lead", "weight"]


def forward_arguments(plan: Plan, keep: str) -> list[str]:
    """Return the names of the arguments of `forward`, in order; `keep` is that of `numba_source`."""
    states = plan.equation.states
    kept = {"nothing": [], "distance": ["kept_distance"], "states": [f"kept_{name}" for name in states]}[keep]
    synapses = _SYNAPSES if plan.loop == "recurrent" else []
    random = [] if plan.draws == "none" else surrogate_numbers(plan)
    return [
        "current", "out", *kept, "every", *(f"s_{name}" for name in states), "spikes", "left", "refractory",
        *(f"p_{name}" for name in plan.equation.parameters), *synapses, *random, *noise_arguments(plan),
    ]  # fmt: skip


def noise_arguments(plan: Plan) -> list[str]:
    """Return the names of the arguments for sampled noise."""
    return ["noise", "width"] if plan.draws == "drawn" else []


def backward_arguments(plan: Plan, keep: str) -> list[str]:
    """Return the names of the arguments of `backward`, in order."""
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
    """Return the names of the numbers of the surrogate's slope, prefixed."""
    return [f"slope_{name}" for name in fields_of(plan.surrogate.slope)]
