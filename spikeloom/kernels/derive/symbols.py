"""The vocabulary as SymPy functions, with derivatives within the vocabulary, and a printer of expressions.

SymPy's own `Piecewise`, `exp` and `log` are rewritten automatically; these are not, so expressions are printed as they
were derived. A derivative of `where` is a `where` of derivatives: the branch that is not selected never contributes,
not even as NaN or inf times zero.
"""

import math
from collections.abc import Callable
from typing import Any

import sympy
from sympy.core.relational import Relational

Expr = Any


class _Word(sympy.Function):
    """Base class of the functions of one argument; `fdiff` is the derivative."""

    nargs = 1

    def _eval_is_real(self) -> bool:
        return True


class exp(_Word):
    def fdiff(self, argindex: int = 1) -> Expr:
        return self


class expm1(_Word):
    def fdiff(self, argindex: int = 1) -> Expr:
        return exp(self.args[0])


class log1p(_Word):
    def fdiff(self, argindex: int = 1) -> Expr:
        return 1 / (1 + self.args[0])


class sqrt(_Word):
    def fdiff(self, argindex: int = 1) -> Expr:
        return sympy.Rational(1, 2) / self


class sigmoid(_Word):
    def fdiff(self, argindex: int = 1) -> Expr:
        return self * (1 - self)


class tanh(_Word):
    def fdiff(self, argindex: int = 1) -> Expr:
        return 1 - self * self


class floor(_Word):
    def fdiff(self, argindex: int = 1) -> Expr:
        return sympy.Integer(0)


class less(sympy.Function):
    """Comparison a < b as an expression (not a SymPy relation), so that `where` nests freely."""

    nargs = 2

    def fdiff(self, argindex: int = 1) -> Expr:
        return sympy.Integer(0)


class less_equal(less):
    """Comparison a <= b as an expression."""


class choose(sympy.Function):
    """Selection where(condition, yes, no) as an expression."""

    nargs = 3

    def _eval_is_real(self) -> bool:
        return True

    def _eval_derivative(self, s: Expr) -> Expr:
        condition, yes, no = self.args
        yes, no = yes.diff(s), no.diff(s)
        return yes if yes == no else choose(condition, yes, no)


FUNCTIONS: dict[str, Callable[[Expr], Expr]] = {
    word.__name__: word for word in (exp, expm1, log1p, sqrt, sigmoid, tanh, floor)
}


def where(condition: Expr, yes: Expr, no: Expr) -> Expr:
    """Return `choose` with a SymPy relation as its condition."""
    if condition in (sympy.true, sympy.false):
        return yes if condition == sympy.true else no
    if not isinstance(condition, Relational):
        raise TypeError(f"where needs a comparison such as x > 0 as its condition, but got {condition}.")
    left, right = condition.args
    kind = {
        "<": (less, left, right),
        ">": (less, right, left),
        "<=": (less_equal, left, right),
        ">=": (less_equal, right, left),
    }
    word, small, large = kind[condition.rel_op]
    return choose(word(small, large), sympy.sympify(yes), sympy.sympify(no))


def whole_powers(expr: Expr) -> Expr:
    """Return an expression with float powers such as 2.0 replaced by integers."""
    return expr.replace(
        lambda part: bool(part.is_Pow and part.args[1].is_Float), lambda part: part.args[0] ** int(part.args[1])
    )


def to_source(expr: Expr, literal: Callable[[float], str]) -> str:
    """Return an expression as Python source in the vocabulary, with numbers written by `literal`."""

    def show(part: Expr) -> str:
        return to_source(part, literal)

    if expr.is_Symbol:
        return str(expr.name)
    if expr.is_Number or expr.is_infinite:
        number = float(expr) if expr.is_Number else math.inf
        if not math.isfinite(number):
            raise ArithmeticError(f"it contains the constant {expr}")
        return literal(number)
    if expr.is_Add:
        return "(" + " + ".join(show(part) for part in expr.args) + ")"
    if expr.is_Mul:
        top = [part for part in expr.args if not _is_inverse(part)]
        bottom = [1 / part for part in expr.args if _is_inverse(part)]
        source = " * ".join(show(part) for part in top) or literal(1.0)
        return f"({source} / {show(sympy.Mul(*bottom))})" if bottom else f"({source})"
    if expr.is_Pow:
        base, power = expr.args
        if not power.is_Integer:
            raise TypeError(f"cannot print {expr}: powers must be whole numbers.")
        product = "(" + " * ".join([show(base)] * abs(int(power))) + ")"
        return product if power > 0 else f"({literal(1.0)} / {product})"
    if isinstance(expr, less):
        small, large = (show(part) for part in expr.args)
        return f"({small} {'<=' if isinstance(expr, less_equal) else '<'} {large})"
    name = "where" if isinstance(expr, choose) else type(expr).__name__
    return f"_{name}({', '.join(show(part) for part in expr.args)})"


def _is_inverse(expr: Expr) -> bool:
    """Return whether a factor is a denominator."""
    return bool(expr.is_Pow and expr.args[1].is_Integer and expr.args[1] < 0)
