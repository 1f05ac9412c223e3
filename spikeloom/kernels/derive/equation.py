"""Equation of a neuron, and the kernel source and adjoint that are derived from it.

An equation is plain arithmetic with the functions of `spikeloom.vocabulary`:

    def lif(current, voltage, reset, decay_mem, threshold):
        voltage = decay_mem * voltage + (1 - decay_mem) * current - threshold * reset
        return (voltage - threshold) / threshold, voltage

It returns the distance to the threshold, then its states by name. `current` is its input; `spikes` and `reset` are both
the spikes of the step before (detaching the reset drops only the gradient through `reset`); all other arguments that
are not states are parameters; keyword-only arguments are choices, fixed when the equation is bound.

The forward kernels use its source with typed numbers, the backward kernels the source of its vector-Jacobian product,
which SymPy derives.
"""

import ast
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ...arguments import explained
from ...errors import ConfigError
from ...grammar import WORDS, checked, defined, parse, scope_of, too_long

FRAME = ("current", "spikes", "reset")
"""Arguments that the loop provides to every equation."""


@explained
@dataclass(frozen=True, eq=False)
class Equation:
    """Equation of a neuron with its choices bound. Equations of equal text compare equal.

    Args:
        function: plain arithmetic, as in the module's docstring.
        fires: whether a neuron spikes "above" its threshold, also "at" it, or "never": then the first returned value
            is not a distance but the output, a real number with a gradient.
        choices: values of the keyword-only arguments.

    Raises:
        ConfigError: the function uses an expression that cannot be derived, or a choice is missing or unknown.

    >>> from spikeloom.neurons.lif import lif
    >>> equation = Equation(lif, choices=(("subtract", True),))
    >>> equation.states, equation.parameters
    (('voltage',), ('decay_mem', 'threshold'))
    """

    function: Callable[..., Any]
    fires: str = "above"
    choices: tuple[tuple[str, bool | int | float], ...] = ()
    arguments: tuple[str, ...] = field(init=False, repr=False)
    states: tuple[str, ...] = field(init=False, repr=False)
    parameters: tuple[str, ...] = field(init=False, repr=False)
    defined: Callable[..., Any] = field(init=False, repr=False)
    """The function as it is called on tensors: results without shape or dtype get those of `current`."""

    def __post_init__(self) -> None:
        self._keep("arguments", tuple(arg.arg for arg in self.tree.args.args))
        wanted = {arg.arg for arg in self.tree.args.kwonlyargs}
        if wanted != {name for name, _ in self.choices}:
            raise ConfigError(
                f"{self.name} needs choices {sorted(wanted)} but got {sorted(name for name, _ in self.choices)}. "
                "Bind each keyword-only argument of the equation, and no other; what is a value of the layer stands "
                "before the `*`."
            )
        if self.fires not in ("above", "at", "never"):
            raise ConfigError(f"{self.name} got fires={self.fires!r}: choose 'above', 'at' or 'never'.")
        if self.fires == "never" and {"spikes", "reset"} & set(self.arguments):
            raise ConfigError(
                f"{self.name} never fires, so it cannot read spikes or reset. Use its own states instead."
            )
        self._keep("states", self._returned())
        self._keep("parameters", tuple(name for name in self.arguments if name not in (*FRAME, *self.states)))
        if "current" not in self.arguments:
            raise ConfigError(f"{self.name} has no argument `current`: its input must have this name.")
        found = checked(self.tree, self.function, dict(self.choices), frozenset(self.parameters))
        loose = found.loose or any(found.flat)
        self._keep("defined", defined(self.function, found) if loose else self.function)
        try:
            assert self.text
        except RecursionError as error:
            raise too_long(self.name) from error

    def _keep(self, name: str, value: Any) -> None:
        """Set an attribute of this frozen class; torch.compile cannot read a cached property."""
        object.__setattr__(self, name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("defined", "tree")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equation) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    @cached_property
    def text(self) -> str:
        """Source that determines everything derived from the equation: it may not read anything else."""
        return f"# {self.name} fires {self.fires}\n{self.source(repr)}"

    @property
    def name(self) -> str:
        return self.function.__name__

    @cached_property
    def tree(self) -> ast.FunctionDef:
        return parse(self.function)

    def _returned(self) -> tuple[str, ...]:
        """Return the names of the states, from the return statement."""
        last = self.tree.body[-1]
        assert isinstance(last, ast.Return)  # checked by `parse`
        assert last.value is not None
        value = last.value
        names = [part.id if isinstance(part, ast.Name) else None for part in getattr(value, "elts", [])[1:]]
        if not names or any(name not in self.arguments or name in FRAME for name in names):
            raise ConfigError(
                f"{self.name} must return the distance to its threshold and then its states, each by the name of the "
                f"argument it replaces, but returns `{ast.unparse(value)}`. Assign a new state to its own name first."
            )
        if len(set(names)) < len(names):
            raise ConfigError(f"{self.name} returns a state twice in `{ast.unparse(value)}`. Return each state once.")
        return tuple(str(name) for name in names)

    def __call__(self, values: dict[str, Any]) -> tuple[Any, ...]:
        """Evaluate on tensors, numbers or symbols; `values` may hold more than the arguments."""
        result: tuple[Any, ...] = self.defined(*(values[name] for name in self.arguments), **dict(self.choices))
        return result

    def source(self, literal: Callable[[float], str]) -> str:
        """Return the source of `def step(<arguments>)`; functions get a leading underscore, numbers are `literal`s."""
        function = _Typed(scope_of(self.function), dict(self.choices), literal).visit(parse(self.function))
        function.name, function.args.kwonlyargs, function.args.kw_defaults = "step", [], []
        return ast.unparse(ast.fix_missing_locations(function)) + "\n"


@dataclass(frozen=True)
class Adjoint:
    """Vector-Jacobian product of one step.

    `source` defines `adjoint(<arguments>, _through, _g_<state>...)`, which returns the gradients named in `returns`;
    `reads` names the arguments whose values it needs.
    """

    source: str
    returns: tuple[str, ...]
    reads: frozenset[str]


def derive_adjoint(
    equation: Equation, learns: Iterable[str], detach_reset: bool, literal: Callable[[float], str]
) -> Adjoint:
    """Differentiate the equation with SymPy: by current, states, spikes of the step before, and parameters `learns`.

    Raises:
        ConfigError: SymPy finds no derivative, for example of a division by an expression that is always zero.
    """
    try:
        return _derive(equation, tuple(learns), detach_reset, literal)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{equation.name} has no derivative that can be found ({type(error).__name__}: {error}). Look for "
            "divisions by what is always zero and for numbers beyond float64, or write it in more and shorter lines."
        ) from error


def _derive(
    equation: Equation, learns: tuple[str, ...], detach_reset: bool, literal: Callable[[float], str]
) -> Adjoint:
    import sympy

    from .symbols import to_source, whole_powers

    symbols = {name: sympy.Symbol(name, real=True) for name in equation.arguments}
    distance, *states = (whole_powers(sympy.sympify(value)) for value in equation(symbols))
    outputs = {
        "_through": distance,
        **{f"_g_{name}": value for name, value in zip(equation.states, states, strict=True)},
    }

    def pull(name: str) -> Any:
        """Return the gradient of an argument: sum over outputs of (gradient of output) * d output / d argument."""
        if name not in symbols:
            return sympy.Integer(0)
        return sum(sympy.Symbol(grad, real=True) * value.diff(symbols[name]) for grad, value in outputs.items())

    rows = {name: pull(name) for name in ("current", *equation.states)}
    rows["spikes"] = pull("spikes") + (0 if detach_reset else pull("reset"))
    rows |= {name: pull(name) for name in learns}
    shared, reduced = sympy.cse(
        list(rows.values()), symbols=(sympy.Symbol(f"_shared{i}", real=True) for i in itertools.count())
    )
    free = set().union(*(value.free_symbols for value in rows.values()))
    body = [f"    {symbol.name} = {to_source(value, literal)}\n" for symbol, value in shared]
    results = ", ".join(to_source(value, literal) for value in reduced)
    source = f"def adjoint({', '.join([*equation.arguments, *outputs])}):\n{''.join(body)}    return {results},\n"
    return Adjoint(source, tuple(rows), frozenset(name for name, symbol in symbols.items() if symbol in free))


def slope_source(slope: Callable[..., Any], literal: Callable[[float], str]) -> str:
    """Return the source of a surrogate's `def slope(x, <fields>)`, or of the `probability` of a `Firing`."""
    function = _Typed(scope_of(slope), {}, literal).visit(parse(slope))
    return ast.unparse(ast.fix_missing_locations(function)) + "\n"


class _Typed(ast.NodeTransformer):
    """Rewrites an equation for kernels: typed literals, kernel names of functions, bound choices, powers as products.

    The tree must have passed `grammar.check`.
    """

    def __init__(self, scope: Mapping[str, Any], choices: dict[str, Any], literal: Callable[[float], str]) -> None:
        self.scope, self.choices, self.literal = scope, choices, literal

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        visited = (self.visit(statement) for statement in node.body)
        node.body = [part for found in visited for part in (found if isinstance(found, list) else [found])]
        return node

    def visit_Assign(self, node: ast.Assign) -> Any:
        """Split `a = b = value` into one assignment per line: Triton supports no other."""
        first, *others = node.targets
        again = ast.Name(first.id, ast.Load()) if isinstance(first, ast.Name) else first
        return [ast.Assign([first], self.visit(node.value)), *(ast.Assign([target], again) for target in others)]

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        assert isinstance(node.value, (int, float))
        written: ast.AST = ast.parse(self.literal(float(node.value)), mode="eval").body
        return written

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self.visit_Constant(ast.Constant(self.choices[node.id])) if node.id in self.choices else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        if not isinstance(node.op, ast.Pow):
            return self.generic_visit(node)
        assert isinstance(node.right, ast.Constant)
        base: ast.expr = self.visit(node.left)
        square = ast.BinOp(base, ast.Mult(), base)
        return square if node.right.value == 2 else ast.BinOp(square, ast.Mult(), base)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        assert isinstance(node.func, ast.Name)
        word, first = WORDS[id(self.scope[node.func.id])], node.args[0]
        if word == "where" and isinstance(first, ast.Name) and isinstance(self.choices.get(first.id), bool):
            branch: ast.AST = self.visit(node.args[1] if self.choices[first.id] else node.args[2])
            return branch
        return ast.Call(ast.Name(f"_{word}", ast.Load()), [self.visit(arg) for arg in node.args], [])
