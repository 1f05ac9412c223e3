"""What an equation may contain, and what is said about the rest."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from examples.own_neuron import shunted
from spikeloom.errors import ConfigError
from spikeloom.kernels import Equation
from spikeloom.kernels.derive.equation import derive_adjoint, slope_source
from spikeloom.neurons.lif import lif
from spikeloom.surrogate import Arctan
from spikeloom.vocabulary import (
    Value,
    abs,
    clip,
    exp,
    expm1,
    floor,
    log1p,
    maximum,
    minimum,
    sigmoid,
    sqrt,
    tanh,
    where,
)  # fmt: skip

OUTSIDE = 3.0


def uses_if(current: Value, voltage: Value, threshold: Value) -> Value:
    if voltage > threshold:
        voltage = current
    return voltage - threshold, voltage


def uses_global(current: Value, voltage: Value, threshold: Value) -> Value:
    voltage = voltage + OUTSIDE * current
    return voltage - threshold, voltage


def calls_torch(current: Value, voltage: Value, threshold: Value) -> Value:
    voltage = torch.exp(voltage) + current
    return voltage - threshold, voltage


def calls_own(current: Value, voltage: Value, threshold: Value) -> Value:
    voltage = everything(voltage, current, threshold)
    return voltage - threshold, voltage


def returns_expression(current: Value, voltage: Value, threshold: Value) -> Value:
    return voltage - threshold, voltage + current


def returns_nothing(current: Value, voltage: Value, threshold: Value) -> None:
    voltage = voltage + current


def without_current(voltage: Value, threshold: Value) -> Value:
    return voltage - threshold, voltage


def high_power(current: Value, voltage: Value, threshold: Value) -> Value:
    voltage = voltage**5 + current
    return voltage - threshold, voltage


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (uses_if, "Use where"),
        (uses_global, "make it an argument"),
        (calls_torch, "`torch.exp`, which has no derivation"),
        (calls_own, "Import what it may call from spikeloom.vocabulary"),
        (returns_expression, "Assign a new state to its own name first"),
        (returns_nothing, "must end with a return"),
        (without_current, "no argument `current`"),
        (high_power, "only the powers 2 and 3"),
        (lambda current, voltage: (current, voltage), "with `def`"),
        (len, "define the equation with `def` in a file"),
    ],
)
def test_what_cannot_be_derived_says_so(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Equation(function).source(repr)


def test_choices_must_be_bound() -> None:
    with pytest.raises(ConfigError, match="Bind each keyword-only argument"):
        Equation(lif)
    with pytest.raises(ConfigError, match="choose 'above', 'at' or 'never'"):
        Equation(lif, "sometimes", choices=(("subtract", True),))


def test_choices_leave_no_trace_in_the_source() -> None:
    source = Equation(lif, choices=(("subtract", True),)).source(repr)
    assert "subtract" not in source
    assert "_where" not in source


def test_a_linear_neuron_reads_no_state_and_a_dividing_one_does() -> None:
    linear = derive_adjoint(Equation(lif, choices=(("subtract", True),)), (), False, repr)
    assert not linear.reads & {"current", "voltage", "spikes", "reset"}
    assert linear.returns == ("current", "voltage", "spikes")
    divided = derive_adjoint(Equation(shunted), ("decay_mem",), False, repr)
    assert {"current", "voltage", "inhibition"} <= divided.reads


def test_a_detached_reset_has_no_gradient() -> None:
    source = derive_adjoint(Equation(lif, choices=(("subtract", True),)), (), True, repr).source
    assert source.rstrip().endswith("0.0,")


def everything(current: Value, voltage: Value, decay_mem: Value) -> Value:
    a = exp(-abs(voltage)) + expm1(0.1 * current) + log1p(abs(current)) + sqrt(1 + voltage**2)
    b = sigmoid(current) * tanh(voltage) + floor(3 * current) + minimum(current, voltage) - maximum(current, 0.2)
    c = clip(current, -0.5, 0.5) / (2 + where(voltage <= 0.3, current, voltage**3))
    voltage = decay_mem * voltage + a + b + c
    return voltage - 1, voltage


def test_every_word_has_the_derivative_that_autograd_finds() -> None:
    equation = Equation(everything)
    adjoint = derive_adjoint(equation, ("decay_mem",), False, repr)
    import math

    words: dict[str, Any] = {
        "_exp": math.exp, "_expm1": math.expm1, "_log1p": math.log1p, "_sqrt": math.sqrt, "_tanh": math.tanh,
        "_sigmoid": lambda x: 1 / (1 + math.exp(-x)), "_floor": math.floor, "_where": lambda c, a, b: a if c else b,
    }  # fmt: skip
    exec(adjoint.source, words)
    random = torch.Generator().manual_seed(0)
    for current, voltage in torch.randn(20, 2, generator=random, dtype=torch.float64).tolist():
        inputs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (current, voltage, 0.9)]
        distance, state = equation(dict(zip(("current", "voltage", "decay_mem"), inputs, strict=True)))
        expected = torch.autograd.grad(0.7 * distance + 1.3 * state, inputs)
        found = dict(zip(adjoint.returns, words["adjoint"](current, voltage, 0.9, 0.7, 1.3), strict=True))
        for name, value in zip(("current", "voltage", "decay_mem"), expected, strict=True):
            assert found[name] == pytest.approx(value.item(), rel=1e-12, abs=1e-12)


def test_the_branch_not_taken_cannot_poison_the_gradient() -> None:
    x = torch.tensor([-1.0, 0.0, 3.0], requires_grad=True)
    (grad,) = torch.autograd.grad((where(x > 1, log1p(x), 0.0) + where(x > 1, sqrt(x + 0 * x), 0.0)).sum(), x)
    assert grad.tolist() == pytest.approx([0.0, 0.0, 0.25 + 0.5 / 3**0.5])


def test_the_slope_of_a_surrogate_is_derived_too() -> None:
    assert slope_source(Arctan.slope, repr).startswith("def slope(x, steepness):")


def test_where_on_numbers_and_wrong_conditions() -> None:
    assert where(True, 1.0, 2.0) == 1.0
    import sympy

    with pytest.raises(TypeError, match="where needs a comparison"):
        where(sympy.Symbol("x"), 1, 2)


def test_what_stands_around_an_equation_is_not_left_out() -> None:
    @functools.lru_cache
    def cached(current: Any, voltage: Any) -> Any:
        return voltage - 1, voltage + current

    def made() -> Any: return lambda current, voltage: (voltage - 1, voltage + current)  # fmt: skip

    with pytest.raises(ConfigError, match=r"cached is decorated with @functools.lru_cache, which the kernels"):
        Equation(cached)
    with pytest.raises(ConfigError, match=r"not a lambda"):
        Equation(made())
    table = {
        "one": (lambda current, voltage: (voltage - 1, voltage + current),),
    }
    with pytest.raises(ConfigError, match=r"define the equation with `def` in a file|not a lambda"):
        Equation(table["one"][0])
