"""Equations and slopes of users: each is right on every engine, or refused where the layer is made."""

import copy
import importlib.util
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeloom import kernels
from spikeloom.errors import ConfigError
from spikeloom.firing import Firing
from spikeloom.kernels import Equation
from spikeloom.kernels.derive.equation import derive_adjoint
from spikeloom.neurons import LIF, FromEquation
from spikeloom.neurons.readout import leak
from spikeloom.surrogate import Sigmoid, Surrogate
from spikeloom.vocabulary import Value, abs, clip, exp, maximum, minimum, sigmoid, where


def written(folder: Path, arguments: str, *lines: str) -> Any:
    """A function `own` with these arguments and lines, in a file."""
    path = folder / "own.py"
    path.write_text(
        "import math\nimport torch\nfrom spikeloom.vocabulary import *\nOUTSIDE = torch.tensor(2.0)\n"
        f"def own({arguments}):\n" + "".join(f"    {line}\n" for line in lines)
    )
    spec = importlib.util.spec_from_file_location("own", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.own


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("(current > a) * current", r"own \(line 6\) uses the condition `current > a` as a number"),
        ("current * True", "uses `True` as a number. Write a real number"),
        ("where(0 < current < a, current, v)", "compares twice in `0 < current < a`"),
        ("current * 1e400", "beyond float32"),
        ("current * (1e30 * 1e30)", r"has the constant `1e\+30 \* 1e\+30`, which is beyond float32"),
        ("current * 100000000000000000000", r"an int beyond 64 bits. Write 1e\+20"),
        ("current * 1j", "uses `1j` as a number"),
        ("current + 'a'", "uses `'a'` as a number"),
        ("current + None", "uses `None` as a number"),
        ("current / (1 - 1.0)", "divides by zero"),
        ("current * sqrt(-1)", r"has the constant `sqrt\(-1\)`, which has no value"),
        ("current * exp(1000)", "which has no value"),
        ("current ** a", "only the powers 2 and 3"),
        ("current ** True", "only the powers 2 and 3"),
        ("current ** 0.5", r"use sqrt\(\) or exp\(\)"),
        ("v if current > a else current", r"Use where\(condition, yes, no\)"),
        ("where(v > 0 and current > 0, v, current)", r"Use where\(\) inside where\(\)"),
        ("where(not v > 0, v, current)", "Swap yes and no"),
        ("where((v > 0) & (current > 0), v, current)", r"uses `\(v > 0\) & \(current > 0\)`"),
        ("where(v == 0, v, current)", "with <="),
        ("where(v, v, current)", "chooses by `v`, but where needs a comparison"),
        ("where(v > 0, v)", "where takes 3 arguments"),
        ("exp(v, current)", "exp takes 1 argument. Pass"),
        ("clip(v, low=0, high=1)", "by position"),
        ("v // a", r"Write floor\(a / b\)"),
        ("v % a", r"Write a - b \* floor\(a / b\)"),
        ("max(v, current)", r"calls `max\(v, current\)`. Import what it may call from spikeloom.vocabulary"),
        ("math.exp(v)", "uses `math.exp`"),
        ("v.exp()", "uses `v.exp`"),
        ("v * OUTSIDE", "reads `OUTSIDE`, which is neither an argument nor assigned"),
        ("own(current, v, a)", r"calls `own\(current, v, a\)`"),
        ("current[0]", r"uses `current\[0\]`"),
        ("(lambda x: x)(v)", "uses `lambda x: x`"),
        ("+".join(["v"] * 500), "too long to be derived"),
    ],
)
def test_a_value_that_cannot_be_derived(tmp_path: Path, value: str, message: str) -> None:
    function = written(tmp_path, "current, v, a", f"v = {value}", "return v - 1, v")
    with pytest.raises(ConfigError, match=message):
        FromEquation(function, a=0.5)


@pytest.mark.parametrize(
    ("arguments", "lines", "message"),
    [
        ("current, v, a", ["v += current", "return v - a, v"], "Write `name = name"),
        ("current, v, a", ["v: float = current", "return v - a, v"], "Leave out the annotation"),
        ("current, v, a", ["v, w = current", "return v - a, v"], "takes a value apart"),
        ("current, v, a", ["exp = exp(current)", "return v - a, v"], "`exp` is also one of its own names"),
        ("current, v, a", ["v = w + current", "w = v", "return v - a, v"], "reads `w`"),
        ("current, v, a", ["return v, v", "return v - a, v"], "returns before its last line"),
        ("current, v, a", ["return v > a, v"], "as a number, where it returns"),
        ("current, v, a", ["return v - a, v, v"], "returns a state twice"),
        ("current, v, a", ["return v - a, v, 2 * v"], "Assign a new state to its own name"),
        ("current, v, a", ["for _ in range(3):", "    v = v + current", "return v - a, v"], "one by one"),
        ("current, v, a=1.0", ["v = v + current", "return v - a, v"], r"has a default in \(current, v, a=1.0\)"),
        ("current, v, *a", ["v = v + current", "return v, v"], "Give each argument a name"),
        ("current, v, /, a", ["v = v + current", "return v - a, v"], "Give each argument a name"),
        ("current, v, *, a", ["v = v + current", "return v - a, v"], "before the `*`"),
        ("current, v, _exp", ["v = v + exp(current)", "return v - _exp, v"], "leading underscore"),
        ("current, v, dt", ["v = v + current", "return v - dt, v"], "cannot have a value named 'dt'"),
        ("current, v, values", ["v = v + current", "return v - values, v"], "cannot have a value named 'values'"),
        ("current, v, tau_mem", ["v = v + current", "return v - tau_mem, v"], "Write decay_mem in the equation"),
    ],
)
def test_a_function_that_cannot_be_derived(tmp_path: Path, arguments: str, lines: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FromEquation(written(tmp_path, arguments, *lines))


def test_values_and_names_that_do_not_go_together() -> None:
    with pytest.raises(ConfigError, match="so it is a state"):
        FromEquation(leak, fires="never", tau_mem=5.0, voltage=1.0)
    with pytest.raises(ConfigError, match="learns bias and keeps it as shift_bias"):
        FromEquation(shifted, bias=0.0, shift_bias=0.1, learn="bias")


def shifted(current: Value, voltage: Value, bias: Value, shift_bias: Value) -> Value:
    voltage = voltage + current - bias
    return voltage - shift_bias, voltage


def names(
    current: Value, p_x: Value, distance: Value, x: Value, g_distance: Value, g_p_x: Value, shared0: Value, F: Value,
    tl: Value, np: Value,
) -> Value:  # fmt: skip
    """Names that the generated code has, or had, for other things."""
    p_x = g_p_x * p_x * x + 0.1 * exp(shared0 * current) + exp(shared0 * current) ** 2.0 * F
    distance = 0.5 * distance * tl + current**2.0 * np * p_x
    return p_x - g_distance * distance, p_x, distance


def numbers(current: Value, v: Value, w: Value, z: Value, a: Value) -> Value:
    """Numbers that `where` chooses, states without a shape of their own, and powers of powers."""
    up = current > a
    v = u = 0.5 * v + where(up, 0.1, 0.3) * current + where(up, 1, 3) / 7 + ((a * current**3) ** 3) ** 2
    w = where(v > where(up, 0.1, 0.7), 0.1, where(1 < 2, 0.3, 0.4))
    d = u - z - clip(w, 0, maximum(1, 2)) / 3
    z = a
    return d, v, w, z


@pytest.mark.parametrize("engine", ["numba", "triton"])
@pytest.mark.parametrize("function", [names, numbers])
def test_what_is_accepted_is_right(function: Any, engine: str) -> None:
    if engine == "triton":
        pytest.importorskip("triton")
    results = []
    device = "cuda" if engine == "triton" and torch.cuda.is_available() else "cpu"
    for chosen in ("torch", engine):
        generator = torch.Generator().manual_seed(0)
        equation = Equation(function, "never")
        values = {name: nn.Parameter(torch.tensor(0.3 + 0.05 * place, dtype=torch.float64, device=device))
                  for place, name in enumerate(equation.parameters)}  # fmt: skip
        neuron = FromEquation(function, fires="never", **values)  # type: ignore[arg-type]
        xs, *state = (torch.rand(*shape, 2, 3, dtype=torch.float64, generator=generator).to(device).requires_grad_()
                      for shape in ((8,), *[()] * len(equation.states)))  # fmt: skip
        with kernels.use(chosen):
            out, last = neuron(xs, tuple(state))
            loss = (out**2).sum() + sum((part**2).sum() for part in last)
            inputs = [xs, *state, *values.values()]
            grads = torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)
        results.append([out, *last, *grads])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_rewritten_equations_can_be_copied_and_compiled() -> None:
    neuron, xs = FromEquation(numbers, a=0.5), torch.rand(4, 2, 3)
    with kernels.use("torch"):
        expected = neuron(xs)
        for copied in (copy.deepcopy(neuron), pickle.loads(pickle.dumps(neuron))):
            assert copied.program == neuron.program
            torch.testing.assert_close(copied(xs), expected)
        torch._dynamo.reset()
        torch.testing.assert_close(torch.compile(neuron, backend="eager", fullgraph=True)(xs), expected)
        torch._dynamo.reset()


def vanishing(current: Value, voltage: Value, a: Value, b: Value) -> Value:
    voltage = voltage + current / (a - b - a + b)
    return voltage - 1, voltage


def test_a_division_by_what_is_always_zero_is_a_plain_error() -> None:
    with pytest.raises(ConfigError, match="vanishing has no derivative that can be found"):
        derive_adjoint(Equation(vanishing), (), False, repr)


@dataclass(frozen=True)
class Box(Surrogate):
    width: float = 0.7
    F: float = 1.0

    @staticmethod
    def slope(x: Value, width: Value, F: Value) -> Value:
        return where(abs(x) < width, 0.5 / width, 0.0) * F * 2


@dataclass(frozen=True)
class Constant(Surrogate):
    @staticmethod
    def slope(x: Value) -> Value:
        return 1.0


@pytest.mark.parametrize("surrogate", [Box(), Constant()])
def test_a_slope_of_numbers_is_exact(surrogate: Surrogate) -> None:
    grads = []
    for engine in ("torch", "numba"):
        xs = (
            3 * torch.rand(20, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        ).requires_grad_()
        with kernels.use(engine):
            LIF(3.0, surrogate=surrogate)(xs)[0].sum().backward()
        assert xs.grad is not None
        grads.append(xs.grad)
    torch.testing.assert_close(*grads, rtol=1e-12, atol=1e-12)


def of(base: type = Surrogate, decorated: bool = True, **parts: Any) -> Any:
    """A class of a surrogate with these parts."""
    types = {name: type(value) for name, value in parts.items() if not callable(value) and name[0] != "_"}
    types = {name: kind for name, kind in types.items() if kind is not staticmethod and kind is not classmethod}
    made = type("Own", (base,), {**parts, "__annotations__": types, "__module__": __name__})
    return dataclass(frozen=True)(made) if decorated else made


class Parts:
    """Slopes and probabilities that do not serve."""

    @staticmethod
    def pair() -> Any:
        def slope(x: Any) -> Any:
            return x, x

        return slope

    @staticmethod
    def condition() -> Any:
        def slope(x: Any) -> Any:
            return x > 0

        return slope

    @staticmethod
    def torch() -> Any:
        def slope(x: Any) -> Any:
            return torch.exp(x).sum()

        return slope

    @staticmethod
    def nothing() -> Any:
        def slope(x: Any) -> None:
            x + 1

        return slope

    @staticmethod
    def wide() -> Any:
        def slope(x: Any, width: Any) -> Any:
            return x * width

        return slope

    @staticmethod
    def default() -> Any:
        def slope(x: Any, width: Any = 1.0) -> Any:
            return x * width

        return slope

    @staticmethod
    def noisy() -> Any:
        def slope(x: Any, noise: Any) -> Any:
            return x * noise

        return slope

    @staticmethod
    def method() -> Any:
        def slope(self: Any, x: Any) -> Any:
            return x

        return slope

    @staticmethod
    def probability() -> Any:
        def probability(x: Any, p_max: Any, width: Any) -> Any:
            return minimum(sigmoid(x * width), p_max)

        return probability


def fixed(name: str) -> staticmethod:  # type: ignore[type-arg]
    return staticmethod(getattr(Parts, name)())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (lambda: of(noise=1.0, slope=fixed("noisy")), "cannot have a field named 'noise'"),
        (lambda: of(slope=fixed("noisy")), "takes `noise`, but Own has only the fields gain"),
        (lambda: of(slope=fixed("wide")), "Add `width: float` to the dataclass"),
        (lambda: of(decorated=False, width=1.0, slope=fixed("wide")), r"Write @dataclass\(frozen=True\) above it"),
        (lambda: of(width="a", slope=fixed("wide")), "needs width > 0 and finite, but got 'a'"),
        (lambda: of(width="a", slope=fixed("wide"), __post_init__=lambda _: None), "needs width as a finite number"),
        (lambda: of(slope=Parts.method()), "Write @staticmethod above"),
        (lambda: of(slope=staticmethod(lambda x: x)), "Define it in the class"),
        (lambda: of(), "Own.slope is missing"),
        (lambda: of(slope=fixed("pair")), r"slope returns `\(x, x\)`. Return one number"),
        (lambda: of(slope=fixed("condition")), "uses the condition `x > 0` as a number"),
        (lambda: of(slope=fixed("torch")), "has no derivation"),
        (lambda: of(slope=fixed("nothing")), "slope must end with a return of one number"),
        (lambda: of(slope=fixed("default")), "has a default"),
        (lambda: of(Firing, slope=fixed("wide"), probability=fixed("probability")), r"def slope\(x, noise, p_max"),
        (lambda: of(Firing, slope=fixed("wide")), r"def slope\(x, noise, p_max"),
    ],
)
def test_a_surrogate_of_another_shape(kind: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LIF(surrogate=kind()())


def test_a_surrogate_may_inherit_its_slope() -> None:
    spikes: Tensor = LIF(surrogate=of(Sigmoid, gain=0.7)())(torch.ones(2, 1, 1))[0]
    assert spikes.shape == (2, 1, 1)
