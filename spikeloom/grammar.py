"""The grammar of neuron equations and surrogate slopes, and the errors for everything outside it.

    statements   name = number      name, name = number, number      return ...     (the last line, and only there)
    numbers      arguments, assigned names, finite constants, + - * /, powers 2 and 3, functions of the vocabulary
    conditions   number < number (<= > >=): only as the first argument of where(), directly or through a name

`check` reads the syntax tree once, when an equation is bound, so an error needs no tensor, no SymPy and no compiler.
Two cases work in the kernels but not on tensors: `where` between two constants has no dtype there, and a result that
depends on parameters alone does not have the shape [B, *N]. `check` reports both (`Checked`); `spread` converts them.
"""

import ast
import inspect
import math
import operator
import textwrap
from collections import ChainMap
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, NamedTuple, NoReturn
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from . import vocabulary
from .errors import ConfigError

WORDS = {id(word): word.__name__ for word in vocabulary.WORDS}
LARGEST = 3.4028234663852886e38
"""Largest constant allowed, the largest float32: an equation runs in float32 and in float64."""

_TAKES = {"where": 3, "minimum": 2, "maximum": 2, "clip": 3}
_CALCULATE: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge
}  # fmt: skip
_HINTS: dict[type[ast.AST], str] = {
    ast.If: "Use where(condition, yes, no) to choose.",
    ast.IfExp: "Use where(condition, yes, no) to choose.",
    ast.BoolOp: "Use where() inside where() to join conditions: where(a > 0, where(b > 0, yes, no), no).",
    ast.Not: "Swap yes and no of where() instead.",
    ast.Eq: "Use where() with <=, whose derivation is exact.",
    ast.NotEq: "Use where() with <=, whose derivation is exact.",
    ast.FloorDiv: "Write floor(a / b).",
    ast.Mod: "Write a - b * floor(a / b).",
    ast.AugAssign: "Write `name = name + ...`: an equation never changes what it got.",
    ast.AnnAssign: "Leave out the annotation of a name that is assigned.",
    ast.For: "Write the steps of a loop one by one.",
    ast.While: "Write the steps of a loop one by one.",
    ast.Import: "Import at the top of the file.",
    ast.ImportFrom: "Import at the top of the file.",
}


class Checked(NamedTuple):
    """Result of `check`: the places where the tensor version of a function needs `spread`."""

    loose: frozenset[tuple[int, int]]
    """Line and column of each where() that chooses between constants."""
    flat: tuple[bool, ...]
    """For each returned value, whether it depends on parameters and constants alone."""


class _Kind(NamedTuple):
    """Inferred kind of an expression."""

    condition: bool = False
    """Whether it is a comparison, not a number."""
    value: float | None = None
    """Its value if it is a constant."""
    whole: bool = False
    """Whether it depends on currents or states, so that it has one entry per sample and neuron."""


def check(
    tree: ast.FunctionDef,
    name: str,
    line: int,
    choices: Mapping[str, Any],
    scope: Mapping[str, Any],
    flat: frozenset[str],
    plain: bool,
) -> Checked:
    """Check a function; raise ConfigError for the first expression that kernels cannot be derived from.

    Args:
        tree: syntax tree of the function.
        name: name of the function in messages.
        line: line of its file in which the function begins.
        choices: values of its keyword-only arguments.
        scope: values of its global and closure variables.
        flat: arguments that have one value, or one per neuron, but none per sample.
        plain: whether these arguments are numbers, not tensors.
    """
    return _Check(tree, name, line, choices, scope, flat, plain).run()


def spread(value: Any, like: Any) -> Any:
    """Return a number or a parameter in the shape and dtype of the tensor `like`; unchanged if `like` is symbolic."""
    if not isinstance(like, Tensor):
        return value
    zeros = torch.zeros_like(like, requires_grad=False)
    return zeros + value


class _Check:
    """Visitor that infers the kind of every expression of a function, or refuses it; see `check`."""

    def __init__(
        self,
        tree: ast.FunctionDef,
        name: str,
        line: int,
        choices: Mapping[str, Any],
        scope: Mapping[str, Any],
        flat: frozenset[str],
        plain: bool,
    ) -> None:
        self.tree, self.title, self.line, self.choices, self.scope = tree, name, line, choices, scope
        self.plain = plain
        self.known = {arg.arg: _Kind(whole=arg.arg not in flat) for arg in tree.args.args}
        stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        self.own = {*self.known, *stored}
        self.loose: set[tuple[int, int]] = set()

    def run(self) -> Checked:
        for name in sorted(self.own):
            if name.startswith("_") and name != "_":
                self.refuse(self.tree, f"has a name `{name}`, but names with a leading underscore belong to the code "
                            f"that is derived. Call it `{name.strip('_') or 'x'}`.")  # fmt: skip
        for name, value in self.choices.items():
            if not isinstance(value, bool) and not (isinstance(value, (int, float)) and abs(value) <= LARGEST):
                self.refuse(self.tree, f"got the choice {name}={value!r}. Choose True, False or a finite number.")
        flat: tuple[bool, ...] = ()
        for statement in self.tree.body:
            if isinstance(statement, ast.Assign):
                self.assign(statement)
            elif isinstance(statement, ast.Expr):
                self.kind(statement.value)
            elif isinstance(statement, ast.Return) and statement.value is not None:
                if statement is not self.tree.body[-1]:
                    self.refuse(statement, "returns before its last line. Use where() to choose, and return once.")
                value = statement.value
                parts = value.elts if isinstance(value, ast.Tuple) else [value]
                flat = tuple(not self.number(part, "it returns").whole for part in parts)
            else:
                self.underivable(statement)
        return Checked(frozenset(self.loose), flat)

    def refuse(self, node: ast.AST, what: str) -> NoReturn:
        where = f" (line {self.line + node.lineno - 1})" if hasattr(node, "lineno") else ""
        raise ConfigError(f"{self.title}{where} {what}")

    def underivable(self, node: ast.AST, part: ast.AST | None = None) -> NoReturn:
        first = ast.unparse(node).splitlines()[0]
        hint = _HINTS.get(type(part or node), "")
        self.refuse(
            node,
            f"uses `{first}`, which has no derivation. An equation is plain arithmetic (+ - * /, comparisons, powers 2 "
            f"and 3) and {', '.join(WORDS.values())}. {hint}".rstrip(),
        )

    def assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            names = target.elts if isinstance(target, ast.Tuple) and target is node.targets[0] else [target]
            for name in names:
                if not isinstance(name, ast.Name):
                    self.refuse(node, f"assigns to `{ast.unparse(name)}`. Assign to plain names.")
                if name.id in self.choices:
                    self.refuse(node, f"assigns to `{name.id}`, which is a choice. Take another name.")
        target = node.targets[0]
        if isinstance(target, ast.Tuple):
            value = node.value
            if len(node.targets) > 1 or not isinstance(value, ast.Tuple) or len(value.elts) != len(target.elts):
                self.refuse(node, f"takes a value apart in `{ast.unparse(node)}`. Write one assignment a line.")
            kinds = [self.kind(part) for part in value.elts]
            self.known |= {name.id: kind for name, kind in zip(target.elts, kinds, strict=True)}  # type: ignore[attr-defined]
        else:
            kind = self.kind(node.value)
            self.known |= {name.id: kind for name in node.targets}  # type: ignore[attr-defined]

    def number(self, node: ast.expr, where: str) -> _Kind:
        kind = self.kind(node)
        if kind.condition:
            self.refuse(node, f"uses the condition `{ast.unparse(node)}` as a number, where {where}. Write "
                        f"where({ast.unparse(node)}, 1.0, 0.0).")  # fmt: skip
        return kind

    def kind(self, node: ast.expr) -> _Kind:
        if isinstance(node, ast.Constant):
            return self.constant(node, node.value)
        if isinstance(node, ast.Name):
            return self.name(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            kind = self.number(node.operand, "it has a sign")
            if kind.value is None:
                return kind
            return kind._replace(value=-kind.value if isinstance(node.op, ast.USub) else kind.value)
        if isinstance(node, ast.BinOp):
            return self.operation(node)
        if isinstance(node, ast.Compare):
            return self.comparison(node)
        if isinstance(node, ast.Call):
            return self.call(node)
        return self.underivable(node, node.op if isinstance(node, ast.UnaryOp) else None)

    def constant(self, node: ast.expr, value: Any) -> _Kind:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.refuse(node, f"uses `{ast.unparse(node)}` as a number. Write a real number, such as 1.0.")
        if not abs(value) <= LARGEST:
            self.refuse(node, f"has the constant `{ast.unparse(node)}`, which is beyond float32 ({LARGEST:.3g}). Write "
                        "a smaller number.")  # fmt: skip
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            self.refuse(node, f"has the constant `{ast.unparse(node)}`, an int beyond 64 bits. Write {float(value)!r}.")
        return _Kind(value=value)

    def name(self, node: ast.Name) -> _Kind:
        if node.id in self.known:
            return self.known[node.id]
        if node.id in self.choices:
            if isinstance(self.choices[node.id], bool):
                self.refuse(node, f"uses the choice `{node.id}` as a number. Use where({node.id}, yes, no).")
            return self.constant(node, self.choices[node.id])
        return self.refuse(node, f"reads `{node.id}`, which is neither an argument nor assigned: make it an argument.")

    def operation(self, node: ast.BinOp) -> _Kind:
        if isinstance(node.op, ast.Pow):
            power = node.right.value if isinstance(node.right, ast.Constant) else None
            if isinstance(power, bool) or power not in (2, 3):
                self.refuse(node, f"has the power `{ast.unparse(node)}`: only the powers 2 and 3 are derived. "
                            "Multiply, divide, or use sqrt() or exp().")  # fmt: skip
        elif type(node.op) not in _CALCULATE:
            self.underivable(node, node.op)
        left, right = (self.number(part, f"`{ast.unparse(node)}` calculates") for part in (node.left, node.right))
        if isinstance(node.op, ast.Div) and right.value == 0:
            self.refuse(node, f"divides by zero in `{ast.unparse(node)}`.")
        if left.value is None or right.value is None:
            return _Kind(whole=left.whole or right.whole)
        try:
            value = _CALCULATE[type(node.op)](left.value, right.value)
        except OverflowError:
            value = math.inf
        return self.constant(node, value)

    def comparison(self, node: ast.Compare) -> _Kind:
        if not all(type(op) in _COMPARE for op in node.ops):
            self.underivable(node, node.ops[0])
        if len(node.ops) > 1:
            self.refuse(node, f"compares twice in `{ast.unparse(node)}`. Use where() inside where(), one comparison "
                        "each.")  # fmt: skip
        kinds = [self.number(part, f"`{ast.unparse(node)}` compares") for part in (node.left, *node.comparators)]
        left, right = (kind.value for kind in kinds)
        value = None if left is None or right is None else float(_COMPARE[type(node.ops[0])](left, right))
        return _Kind(True, value, any(kind.whole for kind in kinds))

    def call(self, node: ast.Call) -> _Kind:
        shown, known = ast.unparse(node), ", ".join(WORDS.values())
        if not isinstance(node.func, ast.Name):
            self.underivable(node.func)
        word = WORDS.get(id(self.scope.get(node.func.id)))
        if word is None or node.keywords:
            self.refuse(node, f"calls `{shown}`. Import what it may call from spikeloom.vocabulary ({known}) and pass "
                        "arguments by position.")  # fmt: skip
        if node.func.id in self.own:
            self.refuse(node, f"calls `{shown}`, but `{node.func.id}` is also one of its own names. Rename that.")
        takes = _TAKES.get(word, 1)
        if len(node.args) != takes:
            self.refuse(node, f"calls `{shown}`, but {word} takes {takes} argument{'s' * (takes > 1)}. Pass as many.")
        if word == "where":
            return self.choice(node)
        kinds = [self.number(part, f"`{shown}` takes it") for part in node.args]
        if any(kind.value is None for kind in kinds):
            return _Kind(whole=any(kind.whole for kind in kinds))
        try:
            return self.constant(node, self.scope[node.func.id](*(kind.value for kind in kinds)))
        except ConfigError:
            raise
        except (ArithmeticError, ValueError) as error:
            self.refuse(node, f"has the constant `{shown}`, which has no value: {error}.")

    def choice(self, node: ast.Call) -> _Kind:
        condition, yes, no = node.args
        if isinstance(condition, ast.Name) and isinstance(self.choices.get(condition.id), bool):
            return self.kind(yes if self.choices[condition.id] else no)
        kind = self.kind(condition)
        if not kind.condition:
            self.refuse(node, f"chooses by `{ast.unparse(condition)}`, but where needs a comparison such as x > 0 as "
                        "its condition.")  # fmt: skip
        kinds = [self.number(part, f"`{ast.unparse(node)}` chooses it") for part in (yes, no)]
        if kind.value is not None:
            return kinds[0] if kind.value else kinds[1]
        constants = all(part.value is not None or (self.plain and not part.whole) for part in kinds)
        if constants:
            self.loose.add((node.lineno, node.col_offset))
        return _Kind(whole=constants or kind.whole or any(part.whole for part in kinds))


_LINES: WeakKeyDictionary[Callable[..., Any], str] = WeakKeyDictionary()
"""Cached source of functions, which Python reads from their files."""


def check_slope(slope: Callable[..., Any], fields: frozenset[str]) -> Callable[..., Any] | None:
    """Raise ConfigError unless a slope or a probability is plain arithmetic that returns one number.

    Returns the function to call on tensors, if it differs from `slope` (see `defined`), else None.
    """
    tree, last = parse(slope), parse(slope).body[-1]
    if isinstance(last, ast.Return) and isinstance(last.value, ast.Tuple):
        raise ConfigError(f"{called(slope)} returns `{ast.unparse(last.value)}`. Return one number.")
    if tree.args.kwonlyargs:
        raise ConfigError(f"{called(slope)} takes ({ast.unparse(tree.args)}). Leave out the `*`.")
    result = checked(tree, slope, {}, fields, plain=True)._replace(flat=())
    return defined(slope, result) if result.loose else None


def lines_of(function: Callable[..., Any]) -> str:
    """Return the source of a function, dedented."""
    if not isinstance(inspect.unwrap(function), FunctionType):
        raise ConfigError(
            f"cannot read {function!r} as an equation, only a plain function: define the equation with `def` in a file."
        )
    source = _LINES.get(function)
    if source is None:
        source = _LINES[function] = textwrap.dedent(inspect.getsource(function))
    return source


def parse(function: Callable[..., Any]) -> ast.FunctionDef:
    """Return the syntax tree of a function without annotations, decorators and docstring.

    Raises:
        ConfigError: it is not a plain function, or its source cannot be read.
    """
    try:
        tree = ast.parse(lines_of(function)).body[0]
    except (RecursionError, MemoryError) as error:
        raise too_long(function.__name__) from error
    except (OSError, TypeError, SyntaxError) as error:  # a lambda's line need not be a statement
        raise ConfigError(
            f"cannot read the source of the function {function!r}: define the equation with `def` in a file."
        ) from error
    if not isinstance(tree, ast.FunctionDef) or tree.name != function.__name__:
        raise ConfigError(f"cannot read {function!r} as an equation: write it as a function with `def`, not a lambda.")
    if function is not inspect.unwrap(function) and not tree.decorator_list:
        raise ConfigError(
            f"{tree.name} is wrapped in {function!r}, which kernels would leave out. Pass {tree.name} itself."
        )
    around = [ast.unparse(decorator) for decorator in tree.decorator_list]
    if around not in ([], ["staticmethod"]):
        raise ConfigError(
            f"{tree.name} is decorated with @{around[0]}, which the kernels derived from its lines would leave out. "
            "Write what it does into the equation."
        )
    arguments = tree.args
    if arguments.posonlyargs or arguments.vararg or arguments.kwarg:
        raise ConfigError(
            f"{called(function)} takes ({ast.unparse(arguments)}). Give each argument a name, without `/`, `*name` or "
            "`**name`."
        )
    if arguments.defaults:
        raise ConfigError(
            f"{called(function)} has a default in ({ast.unparse(arguments)}), which nothing would read: states begin "
            "at 0, and values are passed where the layer is made. Leave it out."
        )
    tree.decorator_list, tree.returns = [], None
    for arg in (*tree.args.args, *tree.args.kwonlyargs):
        arg.annotation = None
    if isinstance(tree.body[0], ast.Expr) and isinstance(tree.body[0].value, ast.Constant):
        del tree.body[0]
    if not tree.body or not isinstance(tree.body[-1], ast.Return) or tree.body[-1].value is None:
        wanted = (
            "one number" if tree.name in ("slope", "probability") else "the distance to its threshold and its states"
        )
        raise ConfigError(f"{called(function)} must end with a return of {wanted}.")
    return tree


def checked(
    tree: ast.FunctionDef,
    function: Callable[..., Any],
    choices: dict[str, Any],
    flat: frozenset[str],
    plain: bool = False,
) -> Checked:
    try:
        return check(tree, called(function), function.__code__.co_firstlineno, choices, scope_of(function), flat, plain)
    except RecursionError as error:
        raise too_long(tree.name) from error


def called(function: Callable[..., Any]) -> str:
    """Return the name of a function in messages: with its class, without an enclosing function."""
    return function.__qualname__.rpartition("<locals>.")[2]


def too_long(name: str) -> ConfigError:
    return ConfigError(f"{name} has an expression that is too long to be derived. Write it in more and shorter lines.")


def scope_of(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the global and closure variables of a function, by name."""
    cells = dict[str, Any]()
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            cells[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return ChainMap(cells, function.__globals__) if cells else function.__globals__


def defined(function: Callable[..., Any], checked: Checked) -> Callable[..., Any]:
    """Return a version of a function for tensors, with `spread` applied to the places that `checked` lists.

    They get the shape and dtype of `current`, or of the first argument of a function without `current`.
    """
    tree = _Spread(checked).visit(parse(function))
    names = [arg.arg for arg in tree.args.args]
    start = ast.parse(f"_current = {'current' if 'current' in names else names[0]}").body
    tree.body = [*start, *tree.body]
    free = function.__code__.co_freevars
    around = ast.parse(f"def make({', '.join([*free, '_spread'])}):\n    return {tree.name}").body[0]
    assert isinstance(around, ast.FunctionDef)
    around.body.insert(0, tree)
    module = ast.fix_missing_locations(ast.Module([around], []))
    made = dict[str, Any]()
    exec(compile(module, function.__code__.co_filename, "exec"), function.__globals__, made)
    scope = scope_of(function)
    result: Callable[..., Any] = made["make"](*(scope.get(name) for name in free), spread)
    return result


class _Spread(ast.NodeTransformer):
    """Wraps the constants of loose where() calls, and flat results, in `spread`; see `Checked`."""

    def __init__(self, checked: Checked) -> None:
        self.checked = checked

    def _like(self, value: ast.expr) -> ast.expr:
        return ast.Call(ast.Name("_spread", ast.Load()), [value, ast.Name("_current", ast.Load())], [])

    def visit_Call(self, node: ast.Call) -> ast.AST:
        place = node.lineno, node.col_offset
        node.args = [self.visit(part) for part in node.args]
        if place in self.checked.loose and len(node.args) == 3:
            node.args[1] = self._like(node.args[1])
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.value, ast.Tuple):
            return node
        parts = zip(node.value.elts, self.checked.flat, strict=True)
        node.value.elts = [self._like(part) if flat else part for part, flat in parts]
        return node
