"""Rate curves: firing rates of neurons for constant currents, and the gain and bias for a given tuning.

    LIF       r = 1000 / (refractory + tau_mem log(1 + 1 / rho)),   rho = max(J - 1, 0), or smoothed:
              rho = sigma log(1 + exp((J - 1) / sigma))
    ReLU      r = max(J, 0)                 leaky: slope J for J < 0
    Sigmoid   r = 1000 sigmoid(J) / refractory                      Tanh: likewise
    QCFS      r = threshold clip(floor(L J / threshold + 1/2) / L, 0, 1)

Rates in Hz; J is the current in units of the LIF threshold. A smoothed LIF curve is not zero below the threshold: at
J = 0 it is 4.0 Hz for sigma 0.1, 2.2 for 0.05, 0.9 for 0.02, where a spiking neuron is silent; without smoothing it has
an infinite slope at J = 1.
Sources: Hunsberger and Eliasmith, Spiking deep networks with LIF neurons, 2015 (smoothed LIF); Eliasmith and Anderson,
Neural Engineering, 2003 (gain and bias); Bu et al., Optimal ANN-SNN conversion, ICLR 2022 (QCFS).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..arguments import explained
from ..errors import ConfigError, as_number, check_count, check_positive
from ..kernels.transforms import beyond_backward, beyond_loops, definition_gradients

Number = float | Tensor


@dataclass(frozen=True)
class Curve(ABC):
    """Base class of rate curves: a rate [Hz] for every current, with a gradient that is never NaN."""

    partner: ClassVar[str] = "regular"
    """Spiking neuron with this curve; see `RateNeuron`."""

    @abstractmethod
    def rate(self, current: Tensor, threshold: Number = 1.0) -> Tensor:
        """Return the rate; only `QCFSCurve` uses the threshold."""

    def tune(self, max_rate: Number, intercept: Number) -> tuple[Number, Number]:
        """Return the gain and bias of a tuning: J = gain x + bias.

        Args:
            max_rate: rate [Hz] for the input x = 1.
            intercept: input at which firing starts.

        Raises:
            ConfigError: there are no such gain and bias.
        """
        raise ConfigError(
            f"{type(self).__name__} has no onset of firing to tune. Set gain and bias yourself, or use LIF or ReLU."
        )


@explained
@dataclass(frozen=True)
class LIFCurve(Curve):
    """Rate of a leaky integrate-and-fire neuron, smoothed for training.

    Units: tau_mem and refractory in ms, smoothing in units of the threshold.

    Raises:
        ConfigError: a time constant is not positive, refractory or smoothing negative.

    >>> [round(r, 4) for r in LIFCurve(smoothing=0.0).rate(torch.tensor([0.5, 1.01, 2.0, 10.0])).tolist()]
    [0.0, 10.6042, 63.04, 243.4743]
    >>> gain, bias = LIFCurve().tune(max_rate=100.0, intercept=0.0)
    >>> round(gain, 6), round(bias, 6)
    (2.033245, 1.0)
    """

    partner: ClassVar[str] = "lif"
    tau_mem: float = 20.0
    refractory: float = 2.0
    smoothing: float = 0.05
    """Width of the rounded corner at the threshold; 0: none, as in the spiking neuron."""

    def __post_init__(self) -> None:
        check_positive("LIFCurve", tau_mem=self.tau_mem)
        as_number("LIFCurve", "refractory", self.refractory, "from 0 to 40 tau_mem", self._waits)
        as_number("LIFCurve", "smoothing", self.smoothing, ">= 0 and finite", lambda x: 0.0 <= x < math.inf)

    def _waits(self, refractory: float) -> bool:
        return 0.0 <= refractory <= 40 * self.tau_mem

    def rate(self, current: Tensor, threshold: Number = 1.0) -> Tensor:
        numbers = self.tau_mem, self.refractory, self.smoothing
        return _lif_definition(current, *numbers) if beyond_loops(current) else _lif_rate(current, *numbers)

    def tune(self, max_rate: Number, intercept: Number) -> tuple[Number, Number]:
        """Return gain and bias of the curve without smoothing; see `Curve.tune`."""
        _check_tuning(max_rate, intercept)
        ceiling = 1000 / self.refractory if self.refractory else math.inf
        if bool((torch.as_tensor(max_rate) >= ceiling).any()):
            raise ConfigError(
                f"A LIF neuron with a refractory period of {self.refractory} ms fires less than {ceiling:g} Hz, but "
                f"max_rate is {max_rate}. Lower it, or the refractory period."
            )
        ratio = (self.refractory - 1000 / torch.as_tensor(max_rate, dtype=torch.float64)) / self.tau_mem
        x = 1 / (1 - torch.exp(ratio))
        gain = (1 - x) / (torch.as_tensor(intercept, dtype=torch.float64) - 1)
        return _like(max_rate, intercept, gain), _like(max_rate, intercept, 1 - gain * intercept)


@explained
@dataclass(frozen=True)
class ReLUCurve(Curve):
    """Rectified linear rate, max(J, 0).

    >>> ReLUCurve().rate(torch.tensor([-1.0, 2.0])).tolist(), ReLUCurve().tune(100.0, 0.5)
    ([0.0, 2.0], (200.0, -100.0))
    """

    def rate(self, current: Tensor, threshold: Number = 1.0) -> Tensor:
        return torch.relu(current)

    def tune(self, max_rate: Number, intercept: Number) -> tuple[Number, Number]:
        _check_tuning(max_rate, intercept)
        gain = max_rate / (1 - intercept)
        return gain, -intercept * gain


@explained
@dataclass(frozen=True)
class LeakyReLUCurve(Curve):
    """Leaky ReLU: J above 0, `slope` J below; negative rates are spikes with a minus sign.

    >>> LeakyReLUCurve().rate(torch.tensor([-1.0, 2.0])).tolist()
    [-0.30000001192092896, 2.0]
    """

    partner: ClassVar[str] = "signed"
    slope: float = 0.3

    def __post_init__(self) -> None:
        as_number("LeakyReLUCurve", "slope", self.slope, "finite", math.isfinite)

    def rate(self, current: Tensor, threshold: Number = 1.0) -> Tensor:
        return torch.nn.functional.leaky_relu(current, self.slope)

    def tune(self, max_rate: Number, intercept: Number) -> tuple[Number, Number]:
        return ReLUCurve().tune(max_rate, intercept)


@explained
@dataclass(frozen=True)
class SigmoidCurve(Curve):
    """Sigmoid rate, 1000 sigmoid(J) / refractory.

    >>> SigmoidCurve().rate(torch.tensor(0.0)).item()
    200.0
    """

    refractory: float = 2.5

    def __post_init__(self) -> None:
        check_positive(type(self).__name__, refractory=self.refractory)

    def rate(self, current: Tensor, threshold: Number = 1.0) -> Tensor:
        return torch.sigmoid(current) * (1000 / self.refractory)


@explained
@dataclass(frozen=True)
class TanhCurve(Curve):
    """Tanh rate, 1000 tanh(J) / refractory; negative rates are spikes with a minus sign.

    >>> round(TanhCurve().rate(torch.tensor(-1.0)).item(), 4)
    -304.6377
    """

    refractory: float = 2.5

    def __post_init__(self) -> None:
        check_positive(type(self).__name__, refractory=self.refractory)

    def rate(self, current: Tensor, threshold: Number = 1.0) -> Tensor:
        return torch.tanh(current) * (1000 / self.refractory)


@explained
@dataclass(frozen=True)
class QCFSCurve(Curve):
    """Quantised rate clipped at the threshold: the output of an integrate-and-fire neuron after `levels` steps.

    The gradient is straight-through, as without quantisation; the threshold may be learned.

    >>> QCFSCurve(4).rate(torch.tensor([-0.1, 0.1, 0.12, 0.13, 0.37, 0.38, 0.9, 1.2])).tolist()
    [0.0, 0.0, 0.0, 0.25, 0.25, 0.5, 1.0, 1.0]
    """

    partner: ClassVar[str] = "integrate_and_fire"
    levels: int = 4

    def __post_init__(self) -> None:
        check_count("QCFSCurve", levels=self.levels)

    def rate(self, current: Tensor, threshold: Number = 1.0) -> Tensor:
        level = (current / threshold).clamp(0.0, 1.0)
        with torch.no_grad():
            rounding = torch.floor(level * self.levels + 0.5) / self.levels - level
        return level.add(rounding) * threshold


def _check_tuning(max_rate: Number, intercept: Number) -> None:
    for name, value in (("max_rate", max_rate), ("intercept", intercept)):
        if not isinstance(value, Tensor):
            as_number("Tuning", name, value, "finite", math.isfinite)
    rate, onset = torch.as_tensor(max_rate), torch.as_tensor(intercept)
    if not bool((torch.isfinite(rate) & (rate > 0)).all()) or not bool((torch.isfinite(onset) & (onset < 1)).all()):
        raise ConfigError(
            f"Tuning needs max_rate > 0 Hz and intercept < 1, where max_rate is reached, but got {max_rate} and "
            f"{intercept}."
        )


def _like(one: Number, other: Number, value: Tensor) -> Number:
    """Return a float if both arguments are numbers, else a tensor of the dtype of the first tensor."""
    tensors = [number for number in (one, other) if isinstance(number, Tensor)]
    return value.to(tensors[0].dtype) if tensors else float(value)


BLOCK = 1 << 16
"""Currents whose rate and slope are computed together: few enough to stay in the cache."""


class _LIFRate(torch.autograd.Function):
    """LIF curve and its slope, block by block: r^2 tau / (1000 (rho + 1)) times d log(rho) / dJ."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, tau_mem: float, refractory: float, sigma: float) -> Tensor:
        rate = torch.empty_like(current, memory_format=torch.contiguous_format)
        slope = torch.empty_like(rate) if ctx.needs_input_grad[0] else rate.new_empty(0)
        blocks = [torch.split(part.flatten(), BLOCK) for part in (current, rate, slope)]
        for drive, rate_block, slope_block in zip_longest(*blocks):
            _lif_block(drive, rate_block, slope_block, tau_mem, refractory, sigma)
        ctx.save_for_backward(current, slope)
        ctx.numbers = tau_mem, refractory, sigma
        return rate

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, None]:
        current, slope = ctx.saved_tensors
        if beyond_backward(grads):
            (grad,) = definition_gradients(lambda own: [_lif_definition(own, *ctx.numbers)], [current], grads)
            return grad, None, None, None
        return grads[0] * slope, None, None, None


_lif_rate: Callable[..., Tensor] = _LIFRate.apply


def _lif_definition(current: Tensor, tau_mem: float, refractory: float, sigma: float) -> Tensor:
    """Compute the LIF curve with torch operations, for second derivatives; both branches are finite everywhere."""
    above = current - 1
    if sigma == 0.0:
        fires = above > 0
        charge = torch.log1p(1 / torch.where(fires, above, torch.ones_like(above)).clamp_min(1e-15))
        return torch.where(fires, 1000 / (refractory + tau_mem * charge), torch.zeros_like(above))
    js = above / sigma
    near = torch.nn.functional.softplus(js.clamp_min(-20.0), threshold=30.0) * sigma
    charge = torch.where(js <= -20.0, -js - math.log(sigma), torch.log1p(1 / near))
    return 1000 / (refractory + tau_mem * charge)


def _lif_block(
    current: Tensor, rate: Tensor, slope: Tensor | None, tau_mem: float, refractory: float, sigma: float
) -> None:
    """Fill `rate` [Hz], and `slope` if there is one, with 1 / rho as the intermediate result of both."""
    above = current - 1
    if sigma == 0.0:
        fires, inverse = above.sign().clamp_min_(0), above.clamp_min_(1e-15).reciprocal_()  # a mask is slower
        torch.log1p(inverse, out=rate)
    else:
        js = above.div_(sigma)
        far, near = js <= -20.0, js.clamp_min(-20.0)
        inverse = torch.nn.functional.softplus(near, threshold=30.0).mul_(sigma).reciprocal_()
        torch.where(far, -js - math.log(sigma), torch.log1p(inverse), out=rate)
    rate.mul_(tau_mem).add_(refractory).reciprocal_().mul_(1000)
    if sigma == 0.0:
        rate.mul_(fires)
    if slope is not None and len(slope):
        torch.add(inverse, 1, out=slope)  # 1 / (rho + 1) = inverse / (inverse + 1)
        slope.reciprocal_().mul_(inverse).mul_(rate).mul_(rate).mul_(tau_mem / 1000)
        slope.mul_(inverse if sigma == 0.0 else torch.where(far, 1 / sigma, inverse.mul_(torch.sigmoid(near))))
