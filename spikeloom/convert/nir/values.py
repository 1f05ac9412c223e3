"""Values of NIR nodes, and what both directions share."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...core import Stateful
from ...errors import ExportError
from ...neurons import LIF, LeakyReadout, RateNeuron, SynapticLIF, SynapticReadout

NEURONS = (LIF, LeakyReadout, SynapticLIF, SynapticReadout, RateNeuron)
NUMBERS = ("weight", "bias", "scale", "tau", "tau_mem", "tau_syn", "r", "v_leak", "v_threshold", "v_reset", "w_in")
"""Attributes of nodes that hold real numbers; those of a population have its shape."""
MOST = 1 << 31
"""Maximum number of values per sample."""
DAMAGED = (
    MemoryError, ArithmeticError, EOFError, OSError, KeyError, ValueError, TypeError, AssertionError, AttributeError,
    RuntimeError, IndexError,
)  # fmt: skip


class Scaling(nn.Module):
    """Multiplication by a constant: NIR's Scale.

    Shapes: [B, *N] -> [B, *N]; scale a number or [*N].

    >>> Scaling(2.0)(torch.ones(1, 3)).tolist()
    [[2.0, 2.0, 2.0]]
    """

    def __init__(self, scale: float | Tensor) -> None:
        super().__init__()
        self.scale: float | Tensor
        if isinstance(scale, Tensor):
            self.register_buffer("scale", scale)
        else:
            self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def package() -> Any:
    """Import the optional package nir."""
    try:
        import nir
    except ImportError as error:
        raise ExportError("NIR needs a package that is not installed. Run `pip install spikeloom[nir]`.") from error
    return nir


def check_numbers(node: Any) -> None:
    """Raise ExportError unless the numbers of a node are real, finite, in range and of the right shape."""
    nir = package()
    population = isinstance(node, (nir.LI, nir.LIF, nir.CubaLI, nir.CubaLIF, nir.IF, nir.Scale))
    for name in (name for name in NUMBERS if hasattr(node, name)):
        numbers = np.asarray(getattr(node, name))
        if numbers.dtype.kind not in "fiu":
            raise ExportError(
                f"its {name} should hold real numbers, but is {first_line(Exception(repr(numbers.tolist())))}"
            )
        if not np.isfinite(numbers).all():
            raise ExportError(f"its {name} holds values that are not finite")
        if (name.startswith("tau") or name == "v_threshold") and not (numbers > 0).all():
            raise ExportError(f"its {name} holds values that are not above 0")
        if population:
            whole = size_of(shape_of(node))
            sides = zip(reversed(numbers.shape), reversed(whole), strict=False)
            if numbers.ndim > len(whole) or any(side not in (1, expected) for side, expected in sides):
                raise ExportError(f"its {name} has shape {list(numbers.shape)}, but it is for {list(whole)}")


def shape_of(node: Any) -> Any:
    """Return the input shape that a node states, or None."""
    types = getattr(node, "input_type", None)
    return types.get("input") if isinstance(types, dict) else None


def value_of(array: Any, kind: torch.dtype, *, exact: bool = False) -> float | Tensor:
    """Return one number if all values are equal, rounded to 15 digits (0.02 s is 20 ms) unless exact, else a tensor.

    Thresholds are exact, because one at the largest current makes neurons spike at equality.
    """
    values = np.asarray(array, np.float64)
    if values.size and bool(np.all(values == values.flat[0])):
        return float(values.flat[0]) if exact else float(f"{values.flat[0]:.15g}")
    return torch.tensor(values, dtype=kind)


def full(value: Any, shape: tuple[int, ...]) -> Any:
    """Broadcast a number or an array to every neuron."""
    numbers = torch.as_tensor(value, dtype=torch.float64).detach().cpu().numpy()
    return np.array(np.broadcast_to(numbers, shape))


def array(tensor: Any) -> Any:
    return np.array(tensor.detach().cpu().numpy() if isinstance(tensor, Tensor) else tensor)


def ints(value: Any) -> Any:
    """Return one integer or a tuple of several, as torch takes them."""
    numbers = tuple(int(v) for v in np.atleast_1d(value))
    return numbers[0] if len(numbers) == 1 else numbers


def size_of(shape: Any) -> tuple[int, ...]:
    if shape is None:
        raise ExportError("A node of the graph has no shape. Give Input and Output theirs.")
    sides = np.atleast_1d(np.asarray(shape))
    whole = sides.size == 0 or (sides.ndim == 1 and sides.dtype.kind in "fiu" and bool((sides % 1 == 0).all()))
    if not whole or bool((sides < 1).any()) or math.prod(int(side) for side in sides) > MOST:
        raise ExportError(f"A shape is whole numbers above 0, and at most {MOST:,} values, but one is {shape!r}.")
    return tuple(int(side) for side in sides)


@torch.no_grad()
def outputs(layer: nn.Module, x: Tensor) -> Tensor:
    """Return the output of a stateless layer for one step."""
    result: Tensor = layer.step(x, layer.initial_state(x))[0] if isinstance(layer, Stateful) else layer(x)
    return result


def listed(problems: list[tuple[str, str, str]]) -> str:
    return "; ".join(f"{name} ({kind}): {reason}" for name, kind, reason in problems)


def first_line(error: Exception) -> str:
    """Return an error message as one sentence."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if text.endswith(".") else text + "."
