"""Stochastic firing: a neuron spikes with a probability that depends on its distance to the threshold.

    forward   s = 1 if probability(x) > U else 0,    U uniform in (0, 1), sampled anew in every step
    backward  ds/dx = gain * slope(x, U)

A `Firing` takes the place of a surrogate in any neuron: `LIF(surrogate=SigmoidBernoulli())`. The loop around the
equation samples U from a key and a step counter in the state (`spikeloom.kernels.noise`), so a sequence in chunks gives
the same spikes as a whole one, and all engines sample the same numbers.
Sources: SPSN (SB, GS) and ParaLIF (TRB), Yarga and Wood, 2023; Jang, Gu and Poole, Categorical reparameterization with
Gumbel-softmax, 2017.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .arguments import explained
from .errors import ShapeError, as_number, check_dense, check_positive
from .surrogate import Surrogate
from .vocabulary import Value, exp, log1p, maximum, minimum, sigmoid, tanh, where


@dataclass(frozen=True)
class Firing(Surrogate):
    """Base class of stochastic firing: the probability of a spike, and the slope that replaces its derivative."""

    p_max: float = 1.0
    """Upper limit of the probability of a spike; above it, the slope is 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_p_max(self)

    @staticmethod
    @abstractmethod
    def probability(x: Value, p_max: Value) -> Value:
        """Return the probability of a spike at distance x."""

    @staticmethod
    @abstractmethod
    def slope(x: Value, noise: Value, p_max: Value, *fields: Value) -> Value:
        """Return the slope at distance x for the sampled `noise`; further arguments are fields of the dataclass."""

    def mean(self, x: Tensor) -> Tensor:
        """Return the expected spikes, with the exact gradient of the probability."""
        result: Tensor = self.probability(x, self.p_max)
        return torch.where(x.isnan(), x, result)


@explained
@dataclass(frozen=True)
class SigmoidBernoulli(Firing):
    """Bernoulli spikes, P = sigmoid(x); with w = weighted, ds/dx = P (1 - P) (1 + w (P - 1)).

    w = 1 is the rule of SPSN, P^2 (1 - P); w = 0 the usual straight-through estimator, P (1 - P).

    >>> SigmoidBernoulli.slope(torch.tensor(1.0), 0.5, 1.0, 1.0).item()
    0.14373...
    """

    weighted: float = 1.0

    def __post_init__(self) -> None:
        _check_weighted(self, self.weighted)

    @staticmethod
    def probability(x: Value, p_max: Value) -> Value:
        return minimum(sigmoid(x), p_max)

    @staticmethod
    def slope(x: Value, noise: Value, p_max: Value, weighted: Value) -> Value:
        p = sigmoid(x)
        return where(p < p_max, p * (1 - p) * (1 + weighted * (p - 1)), 0.0)


@explained
@dataclass(frozen=True)
class TanhBernoulli(Firing):
    """Bernoulli spikes, P = max(tanh(x), 0); with w = weighted, ds/dx = (1 - P^2) (1 + w (P - 1)) for x > 0.

    >>> TanhBernoulli.probability(torch.tensor([-1.0, 0.0]), 1.0).tolist()
    [0.0, 0.0]
    """

    weighted: float = 1.0

    def __post_init__(self) -> None:
        _check_weighted(self, self.weighted)

    @staticmethod
    def probability(x: Value, p_max: Value) -> Value:
        return minimum(maximum(tanh(x), 0.0), p_max)

    @staticmethod
    def slope(x: Value, noise: Value, p_max: Value, weighted: Value) -> Value:
        p = tanh(x)
        return where(p < p_max, where(p > 0, (1 - p * p) * (1 + weighted * (p - 1)), 0.0), 0.0)


@explained
@dataclass(frozen=True)
class GumbelSoftmax(Firing):
    """Straight-through Gumbel-softmax spikes, s = [y > 1/2] with the gradient of y.

    y = softmax((x + g1) / tau, (-x + g2) / tau)[0] with Gumbel noise g1, g2 and tau = 1. As g1 - g2 is logistic,
    log((1 - U) / U), one uniform sample replaces two, and P = sigmoid(2 x) for every tau:

        y = (1 - U) / (1 - U + U exp(-2 x)),   dy/dx = 2 y (1 - y)

    >>> round(GumbelSoftmax.slope(torch.tensor(0.0), torch.tensor(0.5), 1.0).item(), 6)
    0.5
    """

    @staticmethod
    def probability(x: Value, p_max: Value) -> Value:
        return minimum(sigmoid(2 * x), p_max)

    @staticmethod
    def slope(x: Value, noise: Value, p_max: Value) -> Value:
        against = noise * exp(-2 * maximum(x, -40.0))
        y = (1 - noise) / (1 - noise + against)
        return where(sigmoid(2 * x) < p_max, 2 * y * (1 - y), 0.0)


@explained
@dataclass(frozen=True)
class TemperedGumbelSoftmax(Firing):
    """`GumbelSoftmax` of any temperature tau.

        y = sigmoid((2 x + log((1 - U) / U)) / tau),   dy/dx = 2 y (1 - y) / tau

    >>> round(TemperedGumbelSoftmax.slope(torch.tensor(0.0), torch.tensor(0.5), 1.0, 2.0).item(), 6)
    0.25
    """

    temperature: float = 1.0

    @staticmethod
    def probability(x: Value, p_max: Value) -> Value:
        return minimum(sigmoid(2 * x), p_max)

    @staticmethod
    def slope(x: Value, noise: Value, p_max: Value, temperature: Value) -> Value:
        y = sigmoid((2 * x + log1p(-noise) - log1p(noise - 1)) / temperature)
        return where(sigmoid(2 * x) < p_max, 2 * y * (1 - y) / temperature, 0.0)


def _check_p_max(firing: Firing) -> None:
    """Raise ConfigError unless p_max is at most 1."""
    as_number(type(firing).__name__, "p_max", firing.p_max, "in (0, 1]", lambda x: 0.0 < x <= 1.0)


def _check_weighted(firing: Firing, weighted: float) -> None:
    """Raise ConfigError unless `weighted` is in [0, 1], `gain` is positive and `p_max` is in (0, 1]."""
    as_number(type(firing).__name__, "weighted", weighted, "from 0 to 1", lambda x: 0.0 <= x <= 1.0)
    check_positive(type(firing).__name__, gain=firing.gain, p_max=firing.p_max)
    _check_p_max(firing)


class _Fire(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(distance: Tensor, noise: Tensor, firing: Firing, p_max: float, *numbers: float) -> Tensor:
        chance: Tensor = firing.probability(distance, p_max)
        return torch.where(distance.isnan(), distance, (chance > noise).to(distance.dtype))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        distance, noise, ctx.firing, _, *ctx.numbers = inputs
        ctx.save_for_backward(distance, noise)
        ctx.save_for_forward(distance, noise)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (_times_slope(ctx, grads[0]), None, None, None, *[None for _ in ctx.numbers])


def _times_slope(ctx: Any, grad: Tensor) -> Tensor:
    distance, noise = ctx.saved_tensors
    gain, *numbers = ctx.numbers
    result: Tensor = grad * (gain * (ctx.firing._exact or ctx.firing.slope)(distance, noise, *numbers))
    return result


class _FireForward(_Fire):
    """`_Fire` with a forward-mode derivative, which torch.compile does not trace."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return _times_slope(ctx, tangent)


_fire: Callable[..., Tensor] = _Fire.apply
_fire_forward: Callable[..., Tensor] = _FireForward.apply


def fire(distance: Tensor, noise: Tensor, firing: Firing) -> Tensor:
    """Return 1 where the probability of a spike is above the noise, else 0, with gradient `slope`. NaN stays NaN.

    >>> fire(torch.zeros(2), torch.tensor([0.4, 0.6]), SigmoidBernoulli()).tolist()
    [1.0, 0.0]
    """
    if torch.compiler.is_compiling():
        return _fire(distance, noise, firing, firing.p_max, *firing.numbers())
    check_dense("fire: distance", distance)
    check_dense("fire: noise", noise)
    if noise.shape != distance.shape or noise.device != distance.device or not isinstance(firing, Firing):
        raise ShapeError(
            f"fire needs a Firing, and noise of the shape and device of distance, but got {firing!r}, "
            f"{list(noise.shape)} on {noise.device} and {list(distance.shape)} on {distance.device}."
        )
    return _fire_forward(distance, noise, firing, firing.p_max, *firing.numbers())
