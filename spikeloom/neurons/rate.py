"""Rate neurons, which are trained as rates and run as spikes at inference.

    J = gain x + bias
    rate       y = amplitude r(J)                                              r: a curve, see `curves`
    spiking    y[t] = amplitude 1000 / dt n[t],   n[t] spikes in step t        equal to the rate on average
    hybrid     forward as spiking, backward as rate

    lif         d = the part of the step that is not refractory
                v = J + (v - J) exp(-d / tau_mem);   if v > 1: n = 1, v = 0, and refractory from the moment of crossing,
                dt + tau_mem log((J - v) / (J - 1)) after the step began;   else n = 0, v = max(v, min_voltage)
    regular     v += r(J) dt / 1000;   n = floor(v);   v -= n
    signed      as regular, with n = floor(v) + [v < 0]: negative rates are spikes with a minus sign
    integrate_and_fire   v = max(v + J / threshold, min_voltage);  n = min(floor(v), max_spikes), not below 0;  v -= n
                         y = threshold n: the neuron of most converters, without a rate in Hz
    stochastic  n = floor(|r| dt / 1000) + 1 with the remainder's probability, times the sign of r;  no state
    poisson     n from the Poisson distribution of mean |r| dt / 1000, times the sign of r;  no state

The exact time of the crossing keeps the long-run rate of `lif` equal to the curve for any dt up to the refractory
period (a neuron that could charge again within the same step loses the rest of it). Its state holds exp(wait / tau_mem)
in place of the waiting time: a step needs no exponential and no logarithm, and is still exact. A scale s multiplies the
firing rates and divides the weight of a spike: finer outputs for more spikes. It is not a parameter and not saved in
checkpoints. It distorts the curves of LIF neurons (J becomes s J), but no others.
Sources: Hunsberger and Eliasmith, 2015; Rasmussen, NengoDL, 2019; Bekolay et al., Nengo, 2014 (the neuron types).
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.library import custom_op

from .. import kernels
from ..arguments import explained
from ..core import State
from ..errors import (
    ConfigError,
    ShapeError,
    as_number,
    check_count,
    check_generator,
    check_like,
    check_positive,
    check_sequence,
    check_state,
    check_type,
)
from ..kernels.noise import keys, later, seeded_uniform, uniform
from ..surrogate import Triangle
from ..vocabulary import Value, clip, floor, maximum, where
from .curves import Curve, LIFCurve, QCFSCurve, ReLUCurve
from .neuron import check_noise, full_precision
from .values import Learn, Number, Valued

Mode = Literal["auto", "rate", "spiking", "hybrid"]
MODES: tuple[str, ...] = get_args(Mode)
PARTNERS = ("lif", "regular", "signed", "integrate_and_fire", "stochastic", "poisson", "none")
RANDOM = ("stochastic", "poisson")
COUNTING = "integrate_and_fire"
BOUNDED = ("lif", COUNTING)
"""Partners whose voltage may have a lower limit."""
SMOOTHED_LIF = LIFCurve()
NORMAL = 1e10
"""Mean above which a Poisson distribution is approximated as normal: scipy's quantile is NaN there."""


class SpikingLIFState(NamedTuple):
    """State of the `lif` partner, with spike times inside the step."""

    voltage: Tensor  # [B, *N]
    wait: Tensor  # [B, *N], exp(refractory time left / tau_mem)


class IntegratorState(NamedTuple):
    """State of partners that integrate their rate or current."""

    voltage: Tensor  # [B, *N]


class RandomState(NamedTuple):
    """State of stochastic partners, which have no voltage."""

    noise: Tensor  # int64 [B, 2], key and step of each sample


def spiking_lif(
    current: Value, voltage: Value, wait: Value, gain: Value, bias: Value, decay: Value, after: Value, height: Value,
    lowest: Value,
) -> Value:  # fmt: skip
    """Compute one step of `lif` above; decay = exp(-dt / tau_mem), after = exp((dt + refractory) / tau_mem)."""
    drive = gain * current + bias
    wait = maximum(decay * wait, decay)  # the comparisons below are written so that NaN propagates
    charged = drive + (voltage - drive) * clip(decay * wait, decay, 1.0)
    wait = where(charged > 1, after * (drive - charged) / (drive - 1), wait)
    voltage = where(charged > 1, 0.0, where(charged <= lowest, lowest, charged))
    return where(charged > 1, height, where(charged <= 1, 0.0, charged)), voltage, wait


def integrator(
    current: Value, voltage: Value, gain: Value, bias: Value, share: Value, height: Value, lowest: Value,
    most: Value, *, rectified: bool, signed: bool, limited: bool,
) -> Value:  # fmt: skip
    """Compute one step of `regular`, `signed` or `integrate_and_fire` above; share = dt / 1000, or 1 / threshold."""
    drive = gain * current + bias
    voltage = voltage + where(rectified, where(drive <= 0, 0.0, drive), drive) * share
    voltage = where(limited, where(voltage <= lowest, lowest, voltage), voltage)
    whole = floor(voltage)
    whole = where(signed, where(voltage < 0, whole + 1, whole), whole)
    whole = where(limited, where(whole <= 0, 0.0, where(whole >= most, most, whole)), whole)
    voltage = voltage - whole
    return whole * height, voltage


def _check_partner(curve: Curve, partner: str, dt: float) -> None:
    """Raise ConfigError unless there is such a spiking partner, and it has this rate curve."""
    if partner not in PARTNERS:
        raise ConfigError(f"RateNeuron needs partner from {', '.join(PARTNERS)}, but got {partner!r}.")
    if partner in BOUNDED and (partner == "lif") != isinstance(curve, LIFCurve):
        raise ConfigError(
            f"{type(curve).__name__} has no partner {partner!r}: use {curve.partner!r}, or another curve."
        )
    if partner == COUNTING and not isinstance(curve, (ReLUCurve, QCFSCurve)):
        raise ConfigError(f"integrate_and_fire has a rate curve of ReLU or QCFS, but got {type(curve).__name__}.")
    if isinstance(curve, QCFSCurve) and partner not in (COUNTING, "none"):
        raise ConfigError(f"A QCFS curve is for integrate_and_fire, but got {partner!r}.")
    if partner == "lif" and isinstance(curve, LIFCurve) and dt > 40 * curve.tau_mem:
        raise ConfigError(f"RateNeuron lif needs dt of at most 40 tau_mem = {40 * curve.tau_mem} ms, but got {dt}.")


@explained
class RateNeuron(Valued):
    """Layer of neurons with a rate curve for training and a spiking partner for inference.

    Shapes: inputs [T, B, *N] -> outputs [T, B, *N].
    State: () for rates; for spikes `SpikingLIFState` (lif), `RandomState` (stochastic, poisson) or `IntegratorState`.
    `to_rate` and `to_spiking` return a neuron that does not change between them; mode "auto" changes in train and eval.
    Units: rates in Hz, dt in ms, currents in units of the threshold; output in amplitude x Hz.

    Args:
        curve: the rate curve; `LIFCurve()`, `ReLUCurve()` and others in `spikeloom.neurons.curves`.
        partner: spiking model: lif, regular, signed, integrate_and_fire, stochastic or poisson (by default that of the
            curve), or "none" for rates also at inference.
        amplitude: amplitude of a spike; the output for a rate of 1 Hz.
        gain, bias: J = gain x + bias, numbers or one per neuron; an nn.Parameter is learned.
        threshold: integrate_and_fire: input per spike; a QCFS curve also trains with it. > 0.
        learn: names of those of these three to learn, from the given values: the threshold stays positive, the others
            are real numbers ({"gain": "positive"} keeps the sign of a gain).
        scale: factor on the number of spikes, each with 1 / scale of the weight.
        v_init: initial voltage, in thresholds; "uniform": sampled once for every neuron.
        v_seed: seed of these samples.
        min_voltage: lower limit of the voltage of `lif` (default 0) and integrate_and_fire (default: none).
        max_spikes: integrate_and_fire: maximum number of spikes in a step, `scale` or more; 0: no limit.
        mode: "auto": rate in training mode, spiking in evaluation mode; or "rate", "spiking", "hybrid" always.
        dt: length of one step.
        generator: random generator of stochastic and poisson; by default torch's default one.

    Raises:
        ConfigError: a value is out of range, an option is unknown, or curve and partner do not fit together.
        ShapeError: inputs or state of a wrong shape, dtype or device.

    >>> neuron = RateNeuron(LIFCurve(smoothing=0.0), mode="rate")
    >>> round(neuron(torch.full((1, 1, 1), 3.0))[0].item(), 4)
    98.9188
    >>> spikes, _ = RateNeuron(LIFCurve(), amplitude=0.01, mode="spiking")(torch.full((20, 1, 1), 3.0))
    >>> [step + 1 for step, value in enumerate(spikes.flatten().tolist()) if value]
    [9, 19]
    """

    def __init__(
        self,
        curve: Curve = SMOOTHED_LIF,
        *,
        partner: str | None = None,
        amplitude: float = 1.0,
        gain: Number = 1.0,
        bias: Number = 0.0,
        threshold: Number = 1.0,
        learn: Learn = (),
        scale: float = 1.0,
        v_init: float | Literal["uniform"] = 0.0,
        v_seed: int = 0,
        min_voltage: float | None = None,
        max_spikes: int | None = None,
        mode: Mode = "auto",
        dt: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.gain: Number
        self.bias: Number
        self.threshold: Number
        check_positive("RateNeuron", amplitude=amplitude, dt=dt)
        check_generator("RateNeuron", generator)
        if not isinstance(curve, Curve):
            raise ConfigError(f"RateNeuron needs a curve such as LIFCurve() or ReLUCurve(), but got {curve!r}.")
        partner = curve.partner if partner is None else partner
        _check_partner(curve, partner, dt)
        if (min_voltage is not None and partner not in BOUNDED) or (max_spikes is not None and partner != COUNTING):
            raise ConfigError(f"RateNeuron {partner} has no use for min_voltage or max_spikes. Leave them out.")
        if v_init != "uniform":
            as_number("RateNeuron", "v_init", v_init, 'finite, or "uniform"', math.isfinite)
        if min_voltage is not None:
            as_number("RateNeuron", "min_voltage", min_voltage, "below 1", lambda x: x < 1.0)
        check_count("RateNeuron", 0, v_seed=v_seed, max_spikes=max_spikes or 0)
        self.curve, self.partner, self.amplitude, self.dt = curve, partner, float(amplitude), float(dt)
        self.v_init, self.v_seed, self.mode, self.generator = v_init, v_seed, mode, generator
        self.min_voltage = (0.0 if partner == "lif" else -math.inf) if min_voltage is None else float(min_voltage)
        many = 1 if isinstance(curve, QCFSCurve) else 0
        self.max_spikes = many if max_spikes is None else max_spikes
        self._hold({"gain": gain, "bias": bias, "threshold": threshold}, learn)
        self.scale = scale

    def structure(self) -> dict[str, float | str | bool | None]:
        curve: dict[str, float | str | bool | None] = {"curve": repr(self.curve)}
        return {**self._numbers(), "amplitude": self.amplitude, **curve}

    @classmethod
    def tuned(
        cls,
        curve: Curve,
        size: tuple[int, ...] | int,
        *,
        max_rate: Number,
        intercept: Number,
        learn_bias: bool = True,
        **rest: Any,
    ) -> "RateNeuron":
        """Return neurons that fire at `max_rate` for input 1 and start to fire at `intercept`, with a bias per neuron.

        Gain and bias are saved in checkpoints, so a trained model gives the same outputs when it is loaded into one
        that was created with another tuning.

        >>> RateNeuron.tuned(LIFCurve(), 3, max_rate=100.0, intercept=0.0).bias.tolist()
        [1.0, 1.0, 1.0]
        """
        if not isinstance(curve, Curve):
            raise ConfigError(f"RateNeuron needs curve as a Curve, but got {curve!r}. Pass LIFCurve(), for example.")
        options = {"max_rate": max_rate, "intercept": intercept}
        plain = [
            value if isinstance(value, Tensor) else as_number("RateNeuron", name, value, "as a number", lambda _: True)
            for name, value in options.items()
        ]
        gain, bias = curve.tune(*plain)
        shape = (size,) if isinstance(size, int) else size
        held: Tensor = torch.as_tensor(bias, dtype=torch.get_default_dtype()).broadcast_to(shape).clone()
        fixed = gain if isinstance(gain, Tensor) else torch.tensor(gain)
        return cls(curve, gain=fixed, bias=nn.Parameter(held) if learn_bias else held, **rest)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if isinstance(self._buffers.get("gain"), Tensor) and torch.as_tensor(self.gain).dim() == 0:
            state_dict.setdefault(prefix + "gain", self.gain)  # older checkpoints lack it
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @property
    def scale(self) -> float:
        """Scale of the firing rates."""
        return self._scale

    @scale.setter
    def scale(self, value: float) -> None:
        self.check_scale(value)
        self._scale = float(value)

    def check_scale(self, value: float) -> None:
        """Raise ConfigError for a scale at which the spiking neuron could not represent its rate."""
        check_positive("RateNeuron", scale=value)
        if 0 < self.max_spikes < value:
            raise ConfigError(
                f"At scale {value:g} a spike weighs 1 / {value:g} of its threshold, and max_spikes={self.max_spikes} "
                "per step would cut off what is above. Pass max_spikes=0 or at least the scale, or leave scale at 1 "
                "and lower the threshold."
            )

    @property
    def mode(self) -> str:
        """Current mode: "auto", "rate", "spiking" or "hybrid"."""
        return self._mode

    @mode.setter
    def mode(self, value: str) -> None:
        if value not in MODES:
            raise ConfigError(f"RateNeuron needs mode from {', '.join(MODES)}, but got {value!r}.")
        self._mode = value

    @property
    def spikes(self) -> bool:
        """Whether the next call returns spikes."""
        spiking = self.mode in ("spiking", "hybrid") or (self.mode == "auto" and not self.training)
        return spiking and self.partner != "none"

    @property
    def height(self) -> Number:
        """Output of one spike in one step."""
        if self.partner == COUNTING:
            return self.value("threshold") * (self.amplitude / self.scale)
        return self.amplitude * 1000 / (self.dt * self.scale)

    @property
    def _kind(self) -> type[tuple[Any, ...]]:
        """Class of the state."""
        if not self.spikes:
            return tuple
        return RandomState if self.partner in RANDOM else SpikingLIFState if self.partner == "lif" else IntegratorState

    def initial_state(self, x: Tensor) -> State:
        if not self.spikes:
            return ()
        if self.partner in RANDOM:
            return RandomState(keys(x.shape[0], x.device, self.generator))
        if self.v_init == "uniform":
            drawn = seeded_uniform(list(x.shape[1:]), self.v_seed).to(x.device, x.dtype)
            voltage = drawn.expand(x.shape).contiguous()
        else:
            voltage = torch.full_like(x, float(self.v_init), requires_grad=False, memory_format=torch.contiguous_format)
        return SpikingLIFState(voltage, torch.ones_like(voltage)) if self.partner == "lif" else IntegratorState(voltage)

    def forward(self, xs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        check_sequence("RateNeuron", xs)
        xs = full_precision("RateNeuron", xs)
        self._check_call()
        state = self.initial_state(xs[0]) if state is None else state
        check_state("RateNeuron", state, self._kind, 0)
        if not self.spikes:
            return self.rates(xs), ()
        with torch.no_grad():
            out, state = self._spike(xs, state)
        if self.mode == "hybrid" and torch.is_grad_enabled():
            out = straight_through(out, self.rates(xs))
        return out, state

    def drive(self, xs: Tensor) -> Tensor:
        """Return J, without the scale."""
        gain, bias = (self._as(self.value(name), name, xs) for name in ("gain", "bias"))
        plain = isinstance(gain, float) and gain == 1.0
        silent = isinstance(bias, float) and bias == 0.0
        if isinstance(gain, float) and isinstance(bias, Tensor):
            return torch.add(bias, xs, alpha=gain)
        return (xs if plain else xs * gain) + (0.0 if silent else bias) if not (plain and silent) else xs

    def rates(self, xs: Tensor) -> Tensor:
        """Return the output as a rate: amplitude x Hz."""
        current = self.drive(xs)
        threshold = self._as(self.value("threshold"), "threshold", xs)
        if self.partner != "lif" or self.scale == 1.0:
            out = self.curve.rate(current, threshold)
            return out if self.amplitude == 1.0 else out * self.amplitude
        return self.curve.rate(current * self.scale) * (self.amplitude / self.scale)

    def hertz(self, out: Tensor) -> Tensor:
        """Return the firing rates [Hz] of outputs [T, B, *N], averaged over the steps."""
        height = self._as(self.height, "threshold", out)
        return out.mean(0) / height * (1000 / self.dt)

    def _spike(self, xs: Tensor, state: State) -> tuple[Tensor, State]:
        if self.partner in RANDOM:
            return self._draw(xs, state)
        for name, part in zip(type(state)._fields, state, strict=True):
            check_like("RateNeuron", name, part, tuple(xs.shape[1:]), xs)
        gain, bias, curve = self.value("gain") * self.scale, self.value("bias") * self.scale, self.curve
        values: dict[str, Number]
        if isinstance(curve, LIFCurve) and self.partner == "lif":
            after = math.exp((self.dt + curve.refractory) / curve.tau_mem)
            values = {"decay": math.exp(-self.dt / curve.tau_mem), "after": after, "lowest": self.min_voltage}
        else:
            counts = self.partner == COUNTING
            if not (counts or isinstance(curve, ReLUCurve)):
                xs, gain, bias = curve.rate(self.drive(xs)), self.scale, 0.0
            values = {
                "share": 1 / self.value("threshold") if counts else self.dt / 1000,
                "lowest": max(self.min_voltage, -3e38),
                "most": float(self.max_spikes) if self.max_spikes else 3e38,
            }  # fmt: skip
        values |= {"gain": gain, "bias": bias, "height": self.height}
        parameters = {name: self._parameter(name, value, xs) for name, value in values.items()}
        program = _PROGRAMS[self.partner, isinstance(self.curve, ReLUCurve)]
        parts = tuple(part.flatten(1) for part in state)
        flat = xs.flatten(2)
        out, moving = kernels.neurons(program, flat, kernels.Moving(parts, parts[0], parts[0]), parameters)
        return out.reshape(xs.shape), type(state)(*(part.reshape(xs.shape[1:]) for part in moving.states))

    def _draw(self, xs: Tensor, state: RandomState) -> tuple[Tensor, RandomState]:
        check_noise("RateNeuron", state.noise, xs)
        rates = self.curve.rate(self.drive(xs)) * (self.scale * self.dt / 1000)
        size = math.prod(xs.shape[2:])
        u = torch.stack([uniform(later(state.noise, t), size, torch.float64) for t in range(len(xs))]).view(xs.shape)
        mean = rates.abs().double()
        count = mean.floor() + (u < mean.frac()) if self.partner == "stochastic" else _poisson(u, mean)
        out = (count * rates.sign()).to(xs.dtype) * self.height
        return out, RandomState(later(state.noise, len(xs)))

    def _as(self, value: Number, name: str, xs: Tensor) -> Number:
        """Return a value, after a check against the input if it is a tensor."""
        if not isinstance(value, Tensor):
            return value
        if value.dim() and tuple(value.shape) != tuple(xs.shape[2:]):
            raise ShapeError(
                f"RateNeuron has {name} of shape {list(value.shape)} but inputs [T, B, *N] {list(xs.shape)}. Pass one "
                f"value, or values of shape {list(xs.shape[2:])}."
            )
        check_type("RateNeuron", name, value, xs)
        return value

    def _parameter(self, name: str, value: Number, xs: Tensor) -> Tensor:
        """Return a value in the form of the kernels: a scalar tensor or [N]."""
        if not isinstance(value, Tensor):
            return torch.tensor(value, dtype=xs.dtype, device=xs.device)
        self._as(value, name, xs)
        return value.detach().flatten() if value.dim() else value.detach()

    def extra_repr(self) -> str:
        return f"{self.curve}, partner={self.partner!r}, mode={self.mode!r}, scale={self.scale:g}"


class _StraightThrough(torch.autograd.Function):
    """Values with the gradient of others; `values + (other - other.detach())` would round the values."""

    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, other: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        return None, grads[0]


straight_through: Callable[..., Tensor] = _StraightThrough.apply
"""Return the first tensor in the forward pass, with the gradient of the second in the backward pass."""


@custom_op("spikeloom::poisson_quantile", mutates_args=())
def _poisson(u: Tensor, mean: Tensor) -> Tensor:
    """Return the quantile of the Poisson distribution: the smallest count whose cumulative probability is above u."""
    from scipy.stats import poisson  # scipy.stats takes a while to import

    quantile = torch.from_numpy(poisson.ppf(u.cpu().numpy(), mean.clamp(max=NORMAL).cpu().numpy())).to(u.device)
    normal = torch.floor(mean + mean.sqrt() * torch.special.ndtri(u))
    return torch.where(mean > NORMAL, torch.where(mean.isinf(), mean, normal), quantile)


@_poisson.register_fake
def _(u: Tensor, mean: Tensor) -> Tensor:
    return torch.empty_like(u)


def _program(equation: Callable[..., Any], **choices: bool) -> kernels.Program:
    return kernels.Program(kernels.Equation(equation, "never", choices=tuple(choices.items())), Triangle())


_PROGRAMS = {("lif", False): _program(spiking_lif)}
for _relu in (False, True):
    for _name in ("regular", "signed", "integrate_and_fire"):
        _counts = _name == "integrate_and_fire"
        _PROGRAMS[_name, _relu] = _program(
            integrator, rectified=_relu and not _counts, signed=_name == "signed", limited=_counts
        )


@explained
def rate_neurons(model: nn.Module) -> dict[str, RateNeuron]:
    """Return all rate neurons of a model, by name, in the order of its modules.

    Raises:
        ConfigError: the model has none.
    """
    neurons = {name: module for name, module in model.named_modules() if isinstance(module, RateNeuron)}
    if not neurons:
        raise ConfigError("The model has no RateNeuron: there is nothing to switch. Convert it first.")
    return neurons
