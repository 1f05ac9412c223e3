"""Surrogate gradients, which replace the derivative of a spike in the backward pass.

    forward   s = 1 if x > 0 (or x >= 0, as declared) else 0,    x = distance to the threshold
    backward  ds/dx = gain * slope(x)

A surrogate is a frozen dataclass with a `gain` (the dampening factor) and a static method `slope`, plain arithmetic of
the distance and of the other fields. Kernels are derived from it, as they are from a neuron's equation; a custom
surrogate is a dataclass of this form.
"""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from types import FunctionType
from typing import Any, ClassVar, Self
from weakref import WeakSet

import torch
from torch import Tensor

from .arguments import explained
from .errors import ConfigError, as_number, check_dense, check_positive
from .grammar import check_slope
from .vocabulary import Value, abs, exp, maximum, sigmoid


@dataclass(frozen=True)
class Surrogate(ABC):
    """Base class of surrogate gradients, gain * slope(x).

    Raises:
        ConfigError: a subclass does not have this form, or kernels cannot be derived from its slope.

    >>> @dataclass(frozen=True)
    ... class Tent(Surrogate):
    ...     width: float = 0.5
    ...
    ...     @staticmethod
    ...     def slope(x, width):
    ...         return maximum(1.0 - abs(x) / width, 0.0)
    >>> Tent.slope(torch.tensor([-0.25, 0.0, 2.0]), 0.5).tolist()
    [0.5, 1.0, 0.0]
    """

    gain: float = 1.0
    """Dampening factor: scales the whole surrogate gradient, > 0."""

    _exact: ClassVar[Callable[..., Value] | None] = None
    """`slope` with results in the dtype of its input, if it needs that: `where` of two Python numbers has no dtype."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        _check_class(cls)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        check_positive(type(self).__name__, **{field.name: getattr(self, field.name) for field in fields(self)})

    @staticmethod
    @abstractmethod
    def slope(x: Value, *fields: Value) -> Value:
        """Return the slope at distance x; further arguments are fields of the dataclass, by name."""

    def numbers(self) -> list[float]:
        """Return the gain, then the arguments of `slope` besides the distance, in order."""
        return [float(self.gain), *(float(getattr(self, name)) for name in fields_of(self.slope))]


@explained
@dataclass(frozen=True)
class Triangle(Surrogate):
    """Triangular surrogate gradient, max(0, 1 - |x|), as in the LSNN, with its dampening 0.3.

    Source: Bellec et al., Long short-term memory and learning-to-learn in networks of spiking neurons, 2018.

    >>> Triangle.slope(torch.tensor([-1.5, -0.75, 0.0, 0.5])).tolist()
    [0.0, 0.25, 1.0, 0.5]
    """

    gain: float = 0.3

    @staticmethod
    def slope(x: Value) -> Value:
        return maximum(1 - abs(x), 0.0)


@explained
@dataclass(frozen=True)
class FastSigmoid(Surrogate):
    """Fast-sigmoid surrogate gradient, 1 / (1 + steepness |x|)^2.

    Source: Zenke and Ganguli, SuperSpike, 2018.

    >>> FastSigmoid.slope(torch.tensor(1.0), 1.0).item()
    0.25
    """

    steepness: float = 10.0

    @staticmethod
    def slope(x: Value, steepness: Value) -> Value:
        return 1 / (1 + steepness * abs(x)) ** 2


@explained
@dataclass(frozen=True)
class Arctan(Surrogate):
    """Arctangent surrogate gradient, steepness / 2 / (1 + (pi / 2 steepness x)^2).

    Source: Fang et al., Incorporating learnable membrane time constant, 2021.

    >>> Arctan.slope(torch.tensor(0.0), 2.0).item()
    1.0
    """

    steepness: float = 2.0

    @staticmethod
    def slope(x: Value, steepness: Value) -> Value:
        return 0.5 * steepness / (1 + (1.5707963267948966 * steepness * x) ** 2)


@explained
@dataclass(frozen=True)
class Sigmoid(Surrogate):
    """Sigmoid surrogate gradient, steepness s (1 - s) with s = sigmoid(steepness x).

    >>> Sigmoid.slope(torch.tensor(0.0), 4.0).item()
    1.0
    """

    steepness: float = 4.0

    @staticmethod
    def slope(x: Value, steepness: Value) -> Value:
        y = sigmoid(steepness * x)
        return steepness * y * (1 - y)


@explained
@dataclass(frozen=True)
class Gaussian(Surrogate):
    """Gaussian surrogate gradient, exp(-x^2 / (2 width^2)) / (width sqrt(2 pi)).

    Source: Yin, Corradi and Bohte, Accurate and efficient time-domain classification, 2021.

    >>> round(Gaussian.slope(torch.tensor(0.0), 0.5).item(), 4)
    0.7979
    """

    width: float = 0.5

    @staticmethod
    def slope(x: Value, width: Value) -> Value:
        return 0.3989422804014327 / width * exp(-0.5 * (x / width) ** 2)


def check_surrogate(owner: str, surrogate: Any) -> None:
    """Raise ConfigError unless `surrogate` is an instance of `Surrogate`."""
    if isinstance(surrogate, Surrogate):
        for name in ("gain", *fields_of(surrogate.slope)):  # a subclass's __post_init__ may not check them
            as_number(type(surrogate).__name__, name, getattr(surrogate, name), "as a finite number", math.isfinite)
        return
    known = {kind.__name__: kind for kind in (Triangle, FastSigmoid, Arctan, Sigmoid, Gaussian)}
    words = {"atan": "Arctan", "superspike": "FastSigmoid", "linear": "Triangle"}
    if isinstance(surrogate, type) and issubclass(surrogate, Surrogate):
        meant, shown = surrogate.__name__, f"the class {surrogate.__name__}"
    else:
        word, shown = str(surrogate).lower().replace("_", "").replace(" ", ""), repr(surrogate)
        meant = words.get(word, next((name for name in known if name.lower() == word), ""))
    example = f"{meant}()" if meant else f"one of {', '.join(f'{name}()' for name in known)}"
    raise ConfigError(
        f"{owner} needs surrogate as an instance of spikeloom.surrogate.Surrogate, but got {shown}. Pass {example}."
    )


RESERVED = ("x", "noise", "slope", "probability", "numbers", "mean")
"""Names that the fields of a surrogate cannot have: they are arguments of `slope` or attributes of the class."""


_CHECKED: WeakSet[type[Surrogate]] = WeakSet()


def _check_class(kind: type[Surrogate]) -> None:
    """Raise ConfigError unless a class has the form of a surrogate, and kernels can be derived from its slope."""
    if kind in _CHECKED:
        return
    owner, firing = kind.__name__, hasattr(kind, "probability")
    own = {name for name in inspect.get_annotations(kind) if not name.startswith("__")}
    if own and "__dataclass_fields__" not in vars(kind):
        raise ConfigError(
            f"{owner} has the fields {', '.join(sorted(own))} but is no dataclass. Write @dataclass(frozen=True) "
            "above it."
        )
    names = [field.name for field in fields(kind)]
    for name in names:
        if name in RESERVED or name.startswith("_"):
            raise ConfigError(f"{owner} cannot have a field named {name!r}, which has a meaning of its own. Rename it.")
    for part in ("slope", "probability") if firing else ("slope",):
        _check_part(kind, part, names, ("x", "noise", "p_max") if firing else ("x",))
    if firing:
        takes = kind.probability.__code__.co_argcount  # type: ignore[attr-defined]
        if takes != 2 or fields_of(kind.probability) != ["p_max"]:  # type: ignore[attr-defined]
            raise ConfigError(f"{owner} needs `def probability(x, p_max)`. Put what else it needs into the equation.")
    _CHECKED.add(kind)


def _check_part(kind: type[Surrogate], part: str, names: list[str], first: tuple[str, ...]) -> None:
    owner, found = f"{kind.__name__}.{part}", inspect.getattr_static(kind, part)
    shown = f"def {part}({', '.join([*first, '<fields>'] if part == 'slope' else ['x', 'p_max'])})"
    if getattr(found, "__isabstractmethod__", False):
        raise ConfigError(f"{owner} is missing. Write @staticmethod and `{shown}` into the class.")
    if not isinstance(found, staticmethod):
        raise ConfigError(f"{owner} must be a static method. Write @staticmethod above `{shown}`.")
    function: Any = found.__func__
    if not isinstance(function, FunctionType) or function.__name__ != part:
        raise ConfigError(f"{owner} is {function!r}. Define it in the class, as `{shown}`.")
    exact = check_slope(function, frozenset(fields_of(function)))
    if part == "slope":
        kind._exact = None if exact is None else staticmethod(exact)
    code = function.__code__
    takes = code.co_varnames[: code.co_argcount]
    if not takes or (part == "slope" and takes[1 : len(first)] != first[1:]):
        raise ConfigError(f"{owner} takes ({', '.join(takes)}). Write `{shown}`.")
    for name in takes[1:]:
        if name not in names and not (name == "noise" and "noise" in first):
            raise ConfigError(
                f"{owner} takes `{name}`, but {kind.__name__} has only the fields {', '.join(names)}. Add "
                f"`{name}: float` to the dataclass, or leave the argument out."
            )


def fields_of(function: Callable[..., Any]) -> list[str]:
    """Return the names of the fields that a slope or a probability takes besides the distance and the noise.

    >>> fields_of(FastSigmoid.slope)
    ['steepness']
    """
    code = function.__code__
    return [name for name in code.co_varnames[1 : code.co_argcount] if name != "noise"]


class _Spike(torch.autograd.Function):
    """Heaviside step with a surrogate gradient; `s.detach() + g - g.detach()` would give spikes of 0.9999999.

    The numbers of the surrogate are arguments of their own: with dynamic shapes torch.compile makes them graph inputs,
    which the backward pass may not read from an object.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(distance: Tensor, surrogate: Surrogate, strict: bool, *numbers: float) -> Tensor:
        if strict:  # unlike a comparison, clamp, ceil and floor propagate NaN
            return distance.clamp(0.0, 1.0).ceil_().add_(0.0)  # + 0.0 turns -0.0 into 0.0
        return distance.clamp(-1.0, 0.0).floor_().add_(1.0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        distance, ctx.surrogate, _, *ctx.numbers = inputs
        ctx.save_for_backward(distance)
        ctx.save_for_forward(distance)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (_times_slope(ctx, grads[0]), None, None, *[None for _ in ctx.numbers])


def _times_slope(ctx: Any, grad: Tensor) -> Tensor:
    (distance,) = ctx.saved_tensors
    gain, *numbers = ctx.numbers
    result: Tensor = grad * (gain * (ctx.surrogate._exact or ctx.surrogate.slope)(distance, *numbers))
    return result


class _SpikeForward(_Spike):
    """`_Spike` with a forward-mode derivative, which torch.compile does not trace."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return _times_slope(ctx, tangent)


_spike: Callable[..., Tensor] = _Spike.apply
_spike_forward: Callable[..., Tensor] = _SpikeForward.apply


def spike(distance: Tensor, surrogate: Surrogate, strict: bool = True) -> Tensor:
    """Return 1 where the distance to the threshold is > 0 (`strict`) or >= 0, else 0; the gradient is the surrogate's.

    NaN stays NaN.

    >>> x = torch.tensor([-0.5, 0.5], requires_grad=True)
    >>> spike(x, Triangle()).tolist()
    [0.0, 1.0]
    """
    if torch.compiler.is_compiling():
        return _spike(distance, surrogate, strict, *surrogate.numbers())
    check_dense("spike: distance", distance)
    if strict is not True and strict is not False:
        raise ConfigError(f"spike needs strict True or False, but got {strict!r}.")
    if not isinstance(surrogate, Surrogate):
        check_surrogate("spike", surrogate)
    return _spike_forward(distance, surrogate, strict, *surrogate.numbers())
