"""Functions that an equation may use besides `+ - * /`, comparisons and the powers 2 and 3.

    exp expm1 log1p sqrt sigmoid tanh floor      of one argument
    where minimum maximum clip abs               selections; both branches are always computed

Each computes the same for torch tensors, for SymPy symbols (the adjoint), for numbers, and in the kernels derived from
the equation. `floor` and conditions have derivative 0; `minimum`, `maximum`, `clip` and `abs` are written with `where`,
so all engines agree at the kinks. `log1p` and `sqrt` pass a zero gradient on as zero even where their derivative is
infinite: the branch that `where` did not select cannot put NaN into the gradient of the one that it selected.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Value = Any
"""A tensor, a number, or a SymPy expression."""


class _SafeSlope(torch.autograd.Function):
    """log1p or sqrt whose backward pass defines zero times infinity as zero."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, name: str) -> Tensor:
        return torch.log1p(x) if name == "log1p" else torch.sqrt(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, str], output: Tensor) -> None:
        x, ctx.name = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,), (grad,) = ctx.saved_tensors, grads
        return _times(grad, x, ctx.name), None


def _times(grad: Tensor, x: Tensor, name: str) -> Tensor:
    """Multiply a gradient by the derivative of log1p or sqrt; zero gradients stay zero where that is inf or NaN."""
    edge = -1 if name == "log1p" else 0
    outside = ~(x > edge)
    held = torch.where(outside, torch.ones_like(x), x)  # keeps inf out of the unselected branch, also when
    # the result is differentiated again
    slope = 1 / (1 + held) if name == "log1p" else 0.5 / torch.sqrt(held)
    steep = torch.where(x == edge, torch.full_like(x, torch.inf), torch.full_like(x, torch.nan))
    return torch.where(outside, torch.where(grad == 0, torch.zeros_like(grad), grad * steep), grad * slope)


class _SafeSlopeForward(_SafeSlope):
    """`_SafeSlope` with a forward-mode derivative, which torch.compile does not trace."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return _times(tangent, ctx.saved_tensors[0], ctx.name)


_safe_slope: Callable[..., Tensor] = _SafeSlope.apply
_safe_slope_forward: Callable[..., Tensor] = _SafeSlopeForward.apply


def _safe(x: Tensor, name: str) -> Tensor:
    return (_safe_slope if torch.compiler.is_compiling() else _safe_slope_forward)(x, name)


def _log1p(x: Tensor) -> Tensor:
    return _safe(x, "log1p")


def _sqrt(x: Tensor) -> Tensor:
    return _safe(x, "sqrt")


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


_TORCH: dict[str, Callable[[Tensor], Tensor]] = {
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log1p": _log1p,
    "sqrt": _sqrt,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "floor": torch.floor,
}
_MATH: dict[str, Callable[[float], float]] = {
    "exp": math.exp,
    "expm1": math.expm1,
    "log1p": math.log1p,
    "sqrt": math.sqrt,
    "sigmoid": _sigmoid,
    "tanh": math.tanh,
    "floor": math.floor,
}


def _apply(name: str, x: Value) -> Value:
    if isinstance(x, Tensor):
        return _TORCH[name](x)
    if isinstance(x, (int, float)):
        return _MATH[name](x)
    from .kernels.derive import symbols  # imported only for derivations: SymPy takes most of a second to load

    return symbols.FUNCTIONS[name](x)


def exp(x: Value) -> Value:
    """Return e to the power of x."""
    return _apply("exp", x)


def expm1(x: Value) -> Value:
    """Return exp(x) - 1, exact near 0."""
    return _apply("expm1", x)


def log1p(x: Value) -> Value:
    """Return log(1 + x), exact near 0."""
    return _apply("log1p", x)


def sqrt(x: Value) -> Value:
    """Return the square root of x."""
    return _apply("sqrt", x)


def sigmoid(x: Value) -> Value:
    """Return 1 / (1 + exp(-x))."""
    return _apply("sigmoid", x)


def tanh(x: Value) -> Value:
    """Return the hyperbolic tangent of x."""
    return _apply("tanh", x)


def floor(x: Value) -> Value:
    """Return the largest integer not above x; its derivative is 0."""
    return _apply("floor", x)


def where(condition: Value, yes: Value, no: Value) -> Value:
    """Return `yes` where the condition is true, else `no`. Both are computed.

    >>> where(torch.tensor([1.0, -1.0]) > 0, 2.0, 3.0).tolist()
    [2.0, 3.0]
    """
    if isinstance(condition, bool):
        return yes if condition else no
    if isinstance(condition, Tensor):
        return torch.where(condition, yes, no)
    from .kernels.derive import symbols

    return symbols.where(condition, yes, no)


def minimum(a: Value, b: Value) -> Value:
    """Return the smaller of two values."""
    return where(a < b, a, b)


def maximum(a: Value, b: Value) -> Value:
    """Return the larger of two values."""
    return where(a > b, a, b)


def clip(x: Value, low: Value, high: Value) -> Value:
    """Return x limited to the range from `low` to `high`."""
    return minimum(maximum(x, low), high)


def abs(x: Value) -> Value:
    """Return the absolute value of x."""
    return where(x < 0, -x, x)


WORDS = (exp, expm1, log1p, sqrt, sigmoid, tanh, floor, where, minimum, maximum, clip, abs)
