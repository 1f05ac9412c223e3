"""From one function to everything that is derived from it.

An equation is plain arithmetic in the words of `spikeloom.vocabulary`:

    def lif(current, voltage, reset, decay_mem, threshold):
        voltage = decay_mem * voltage + (1 - decay_mem) * current - threshold * reset
        return (voltage - threshold) / threshold, voltage

It returns the distance to the threshold, then its states by name. `current` is its input; `spikes` and `reset` are both
the spikes of the step before (detaching the reset drops only the gradient through `reset`); what is neither of these
nor a state is a parameter; what stands behind `*` is a choice, fixed when the equation is bound.

From it come its source with typed numbers (forward kernels) and the source of its vector-Jacobian product, by SymPy
(backward kernels).
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .. import vocabulary
from ..arguments import explained
from ..errors import ConfigError

FRAME = ("current", "spikes", "reset")
"""Names that the frame around every equation gives it."""

_WORDS = {id(word): word.__name__ for word in vocabulary.WORDS}
_ALLOWED = (
    ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Assign, ast.Return, ast.Expr, ast.Name, ast.Constant,
    ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.Tuple, ast.Load, ast.Store, ast.Add, ast.Sub, ast.Mult, ast.Div,
    ast.Pow, ast.USub, ast.UAdd, ast.Lt, ast.LtE, ast.Gt, ast.GtE,
)  # fmt: skip


@explained
@dataclass(frozen=True, eq=False)
class Equation:
    """A neuron's equation, its choices bound. Two of the same text are equal, whatever function objects they hold.

    Args:
        function: plain arithmetic, as in the module's docstring.
        fires: a neuron spikes "above" its threshold, also "at" it, or "never": then the first value that the function
            returns is no distance but its output, a real number with a gradient.
        choices: values of the keyword-only arguments.

    Raises:
        ConfigError: the function uses something that cannot be derived, or a choice is missing or unknown.

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

    def __post_init__(self) -> None:
        self._keep("arguments", tuple(arg.arg for arg in self.tree.args.args))
        wanted = {arg.arg for arg in self.tree.args.kwonlyargs}
        if wanted != {name for name, _ in self.choices}:
            raise ConfigError(
                f"{self.name} needs choices {sorted(wanted)} but got {sorted(name for name, _ in self.choices)}. "
                "Bind each keyword-only argument of the equation, and no other."
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
        assert self.text  # a property that checks what the function reads and calls

    def _keep(self, name: str, value: tuple[str, ...]) -> None:
        """Set an attribute once and for all; torch.compile cannot read a cached property."""
        object.__setattr__(self, name, value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equation) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    @cached_property
    def text(self) -> str:
        """All that anything derived from it follows from: nothing the function could read elsewhere is allowed."""
        return f"# {self.name} fires {self.fires}\n{self.source(repr)}"

    @property
    def name(self) -> str:
        return self.function.__name__

    @cached_property
    def tree(self) -> ast.FunctionDef:
        return _parse(self.function)

    def _returned(self) -> tuple[str, ...]:
        """The names of the states."""
        last = self.tree.body[-1]
        assert isinstance(last, ast.Return)  # as _parse demands
        assert last.value is not None
        value = last.value
        names = [part.id if isinstance(part, ast.Name) else None for part in getattr(value, "elts", [])[1:]]
        if not names or any(name not in self.arguments or name in FRAME for name in names):
            raise ConfigError(
                f"{self.name} must return the distance to its threshold and then its states, each by the name of the "
                f"argument it replaces, but returns `{ast.unparse(value)}`. Assign a new state to its own name first."
            )
        return tuple(str(name) for name in names)

    def __call__(self, values: dict[str, Any]) -> tuple[Any, ...]:
        """Evaluate on tensors, numbers or symbols; `values` may hold more than the equation asks for."""
        result: tuple[Any, ...] = self.function(*(values[name] for name in self.arguments), **dict(self.choices))
        return result

    def source(self, literal: Callable[[float], str]) -> str:
        """The step as source: `def step(<arguments>)`, words with a leading underscore, numbers by `literal`."""
        function = _Typed(self.function.__globals__, dict(self.choices), literal).visit(_parse(self.function))
        function.name, function.args.kwonlyargs, function.args.kw_defaults = "step", [], []
        return ast.unparse(ast.fix_missing_locations(function)) + "\n"


@dataclass(frozen=True)
class Adjoint:
    """The vector-Jacobian product of one step.

    `source` defines `adjoint(<arguments>, g_distance, g_<state>...)`, which returns the gradients named in `returns`;
    `reads` names the arguments whose values it needs.
    """

    source: str
    returns: tuple[str, ...]
    reads: frozenset[str]


def derive_adjoint(
    equation: Equation, learns: Iterable[str], detach_reset: bool, literal: Callable[[float], str]
) -> Adjoint:
    """Differentiate the equation on SymPy symbols: by current, states, spikes of the step before, and parameters."""
    import sympy

    from .symbols import to_source

    symbols = {name: sympy.Symbol(name, real=True) for name in equation.arguments}
    distance, *states = (sympy.sympify(value) for value in equation(symbols))
    outputs = {
        "g_distance": distance,
        **{f"g_{name}": value for name, value in zip(equation.states, states, strict=True)},
    }

    def pull(name: str) -> Any:
        if name not in symbols:
            return sympy.Integer(0)
        return sum(sympy.Symbol(grad, real=True) * value.diff(symbols[name]) for grad, value in outputs.items())

    rows = {name: pull(name) for name in ("current", *equation.states)}
    rows["spikes"] = pull("spikes") + (0 if detach_reset else pull("reset"))
    rows |= {name: pull(name) for name in learns}
    shared, reduced = sympy.cse(
        list(rows.values()), symbols=(sympy.Symbol(f"shared{i}", real=True) for i in range(999))
    )
    free = set().union(*(value.free_symbols for value in rows.values()))
    body = [f"    {symbol.name} = {to_source(value, literal)}\n" for symbol, value in shared]
    results = ", ".join(to_source(value, literal) for value in reduced)
    source = f"def adjoint({', '.join([*equation.arguments, *outputs])}):\n{''.join(body)}    return {results},\n"
    return Adjoint(source, tuple(rows), frozenset(name for name, symbol in symbols.items() if symbol in free))


def slope_source(slope: Callable[..., Any], literal: Callable[[float], str]) -> str:
    """The slope of a surrogate as source, `def slope(x, <fields>)`; or the probability of a random spike."""
    function = _Typed(slope.__globals__, {}, literal).visit(_parse(slope))
    function.decorator_list = []
    return ast.unparse(ast.fix_missing_locations(function)) + "\n"


def _parse(function: Callable[..., Any]) -> ast.FunctionDef:
    """The syntax tree without annotations, decorators and docstring; ConfigError for what is not arithmetic."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError) as error:  # a lambda's line need not be a statement
        raise ConfigError(
            f"cannot read the source of the function {function!r}: define the equation with `def` in a file."
        ) from error
    if not isinstance(tree, ast.FunctionDef) or tree.name != function.__name__:
        raise ConfigError(f"cannot read {function!r} as an equation: write it as a function with `def`, not a lambda.")
    around = [ast.unparse(decorator) for decorator in tree.decorator_list]
    if around not in ([], ["staticmethod"]):
        raise ConfigError(
            f"{tree.name} is decorated with @{around[0]}, which the kernels derived from its lines would leave out. "
            "Write what it does into the equation."
        )
    tree.decorator_list, tree.returns = [], None
    for arg in (*tree.args.args, *tree.args.kwonlyargs):
        arg.annotation = None
    if isinstance(tree.body[0], ast.Expr) and isinstance(tree.body[0].value, ast.Constant):
        del tree.body[0]
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED):
            what = ast.unparse(node) if isinstance(node, (ast.expr, ast.stmt)) else type(node).__name__
            raise ConfigError(
                f"{tree.name} uses `{what.splitlines()[0]}`, which has no derivation. An equation is plain arithmetic "
                f"(+ - * /, comparisons, whole powers) and {', '.join(_WORDS.values())}; use where() to choose."
            )
    if not isinstance(tree.body[-1], ast.Return) or tree.body[-1].value is None:
        raise ConfigError(f"{tree.name} must end with a return of the distance to its threshold and its states.")
    return tree


class _Typed(ast.NodeTransformer):
    """Numbers become typed literals, words get their kernel names, choices become constants, small powers products."""

    def __init__(self, scope: dict[str, Any], choices: dict[str, Any], literal: Callable[[float], str]) -> None:
        self.scope, self.choices, self.literal = scope, choices, literal
        self.known: set[str] = set()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.known = {arg.arg for arg in node.args.args}
        node.body = [self.visit(statement) for statement in node.body]
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        node.value = self.visit(node.value)
        self.known |= {part.id for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name)}
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
            return node
        written: ast.AST = ast.parse(self.literal(float(node.value)), mode="eval").body
        return written

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self.known:
            return node
        if node.id in self.choices:
            return self.visit_Constant(ast.Constant(self.choices[node.id]))
        raise ConfigError(
            f"an equation reads `{node.id}`, which is neither an argument nor assigned: make it an argument."
        )

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        if not isinstance(node.op, ast.Pow):
            return self.generic_visit(node)
        power = node.right.value if isinstance(node.right, ast.Constant) else None
        if power not in (2, 3):
            raise ConfigError(f"an equation has the power `{ast.unparse(node)}`: only the powers 2 and 3 are derived.")
        base: ast.expr = self.visit(node.left)
        square = ast.BinOp(base, ast.Mult(), base)
        return square if power == 2 else ast.BinOp(square, ast.Mult(), base)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        word = _WORDS.get(id(self.scope.get(node.func.id))) if isinstance(node.func, ast.Name) else None
        if word is None or node.keywords:
            raise ConfigError(
                f"an equation calls `{ast.unparse(node)}`. Import what it may call from spikeloom.vocabulary "
                f"({', '.join(_WORDS.values())}) and pass arguments by position."
            )
        if (
            word == "where"
            and isinstance(node.args[0], ast.Name)
            and isinstance(self.choices.get(node.args[0].id), bool)
        ):
            chosen: ast.AST = self.visit(node.args[1] if self.choices[node.args[0].id] else node.args[2])
            return chosen
        return ast.Call(ast.Name(f"_{word}", ast.Load()), [self.visit(arg) for arg in node.args], [])
