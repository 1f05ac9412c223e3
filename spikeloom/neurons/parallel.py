"""Parallel spiking neurons: no reset, so the membrane is linear and a whole sequence is integrated at once.

    i[t] = a i[t-1] + x[t],              a = exp(-dt / tau_syn)
    u[t] = b u[t-1] + (1 - b) i[t],      b = exp(-dt / tau_mem)

    name            value v[t]                    spike
    SB TRB          sigmoid(u), max(tanh u, 0)    with probability v
    GS              u                             by Gumbel-softmax, with probability sigmoid(2 u)
    T ST TT TRT     u, sigmoid, tanh, relu tanh   v > threshold
    D SD TD TRD     u, sigmoid, tanh, relu tanh   v[t] - v[t-1] > threshold, with v[-1] = 0

Spikes do not affect the neuron itself, so the linear part can be summed in any order: `integration` selects one of four
methods with equal results; see `filters`.
Sources: Yarga and Wood, Accelerating SNN training with stochastic parallelizable spiking neurons, IJCNN 2023 (SPSN:
SB, GS); Yarga and Wood, Accelerating spiking neural networks with parallelizable leaky integrate-and-fire neurons,
2024 (ParaLIF: the others).
"""

import math
from dataclasses import replace
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from .. import kernels
from ..arguments import explained
from ..core import State
from ..errors import ConfigError, as_number, check_sequence
from ..firing import Firing, GumbelSoftmax, SigmoidBernoulli, TanhBernoulli, TemperedGumbelSoftmax
from ..kernels import Equation, Program
from ..surrogate import Surrogate
from ..vocabulary import Value, sigmoid, tanh, where
from .filters import integrate
from .neuron import full_precision
from .synaptic import STEEP, SynapticNeuron, membrane
from .values import Learn, Number

FiringName = Literal["SB", "TRB", "GS", "T", "ST", "TT", "TRT", "D", "SD", "TD", "TRD"]
FIRING: tuple[str, ...] = get_args(FiringName)
RANDOM = ("SB", "TRB", "GS")
INTEGRATION = ("kernel", "scan", "toeplitz", "fft")
EVALUATION = ("sample", "mean", "threshold")


class ParaLIFState(NamedTuple):
    """State of a `ParaLIF`."""

    syn_current: Tensor  # [B, *N]
    voltage: Tensor  # [B, *N]
    spikes: Tensor  # [B, *N], of the step before
    refractory: Tensor  # [B, *N], unused: a spike has no after-effects
    noise: Any = ()  # int64 [B, 2], key and step of each sample, if spikes are random


class DifferenceState(NamedTuple):
    """State of a `ParaLIF` that compares differences (D, SD, TD, TRD)."""

    syn_current: Tensor
    voltage: Tensor
    previous: Tensor  # [B, *N], value of the step before
    spikes: Tensor
    refractory: Tensor
    noise: Any = ()


def level(
    current: Value, syn_current: Value, voltage: Value, decay_mem: Value, decay_syn: Value, threshold: Value, *,
    given: bool, by_sigmoid: bool, by_tanh: bool, rectified: bool,
) -> Value:  # fmt: skip
    """Compute one step of T, ST, TT and TRT: value minus threshold; if `given`, the current is the voltage itself."""
    syn_current = where(given, syn_current, decay_syn * syn_current + current)
    voltage = where(given, current, decay_mem * voltage + (1 - decay_mem) * syn_current)
    value = where(by_sigmoid, sigmoid(voltage), where(by_tanh, tanh(voltage), voltage))
    value = where(rectified, where(value <= 0, 0.0, value), value)  # NaN stays NaN
    return value - threshold, syn_current, voltage


def difference(
    current: Value, syn_current: Value, voltage: Value, previous: Value, decay_mem: Value, decay_syn: Value,
    threshold: Value, *, given: bool, by_sigmoid: bool, by_tanh: bool, rectified: bool,
) -> Value:  # fmt: skip
    """Compute one step of D, SD, TD and TRD: change of the value since the step before, minus the threshold."""
    syn_current = where(given, syn_current, decay_syn * syn_current + current)
    voltage = where(given, current, decay_mem * voltage + (1 - decay_mem) * syn_current)
    value = where(by_sigmoid, sigmoid(voltage), where(by_tanh, tanh(voltage), voltage))
    value = where(rectified, where(value <= 0, 0.0, value), value)  # NaN stays NaN
    change = value - previous - threshold
    previous = value
    return change, syn_current, voltage, previous


@explained
class ParaLIF(SynapticNeuron):
    """Layer of parallel spiking neurons (SPSN, ParaLIF).

    Shapes: currents [T, B, *N] -> spikes [T, B, *N], 0 or 1.
    Units: tau_mem, tau_syn and dt in ms; current and voltage in one unit, threshold in that of the value.

    Args:
        firing: one of the names in the table above.
        tau_mem, tau_syn: time constants of membrane and synapse, > 0; None for no filter.
        threshold: by default 1.0, or 0.1 for differences; SB, TRB and GS have none. An nn.Parameter is learned directly
            and counts as 0 where it becomes negative; with `learn` it stays positive.
        learn: names of those of these three to learn: they start at the given values and stay in their range.
        learn_tau: whether to learn both time constants.
        integration: "kernel" integrates and fires in one pass over time, "scan" in chunks, "toeplitz" by one triangular
            matrix, "fft" by a fast convolution.
        evaluation: output of random neurons in evaluation mode: a random "sample", the "mean" (the probability), or a
            spike above a probability of one half ("threshold").
        p_max: upper limit of the probability of a spike.
        temperature: temperature of the Gumbel-softmax; it affects the gradient only.
        weighted: 1 for the gradient of SB and TRB that SPSN uses, 0 for the straight-through one; see
            `spikeloom.firing`.
        surrogate: surrogate gradient of the other spikes, at value - threshold.
        dt: length of one step.
        memory: "fast" saves 4 bytes per step, sample and neuron for the backward pass (8 to 12 with sigmoid or tanh
            before a threshold), "lean" the states of one step in 32.
        generator: random generator of a key per sample if spikes are random; by default torch's default one.

    Raises:
        ConfigError: a value is out of range (also checked in calls), an option is unknown or unused by this firing.
        ShapeError: currents or state of a wrong shape, dtype or device.

    >>> xs = torch.tensor([1.0, 0, 0, 2, 0, 0, -1, 0]).reshape(8, 1, 1)
    >>> ParaLIF("D")(xs)[0].flatten().tolist()
    [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    >>> once = ParaLIF("SB", generator=torch.Generator().manual_seed(1))(torch.zeros(1000, 1, 1))[0]
    >>> 0.45 < once.mean().item() < 0.55
    True
    """

    def __init__(
        self,
        firing: str = "SB",
        tau_mem: Number | None = 20.0,
        tau_syn: Number | None = 20.0,
        threshold: Number | None = None,
        *,
        learn: Learn = (),
        learn_tau: bool = False,
        integration: str = "kernel",
        evaluation: str = "sample",
        p_max: float = 1.0,
        temperature: float = 1.0,
        weighted: float = 1.0,
        surrogate: Surrogate = STEEP,
        dt: float = 1.0,
        memory: str = "fast",
        generator: torch.Generator | None = None,
    ) -> None:
        for name, value, known in (
            ("firing", firing, FIRING), ("integration", integration, INTEGRATION),
            ("evaluation", evaluation, EVALUATION),
        ):  # fmt: skip
            if value not in known:
                raise ConfigError(f"ParaLIF needs {name} from {', '.join(known)}, but got {value!r}.")
        random = firing in RANDOM
        if random and threshold is not None:
            raise ConfigError(
                f"ParaLIF {firing} spikes at random and has no threshold, but got {threshold}. Leave it out."
            )
        only = {
            "evaluation": evaluation != "sample" and not random, "p_max": p_max != 1.0 and not random,
            "temperature": temperature != 1.0 and firing != "GS",
            "weighted": weighted != 1.0 and firing not in ("SB", "TRB"),
        }  # fmt: skip
        if idle := [name for name, there in only.items() if there]:
            raise ConfigError(f"ParaLIF {firing} makes no use of {', '.join(idle)}. Leave out what it does not use.")
        for name, number in (("p_max", p_max), ("temperature", temperature), ("weighted", weighted)):
            as_number("ParaLIF", name, number, "finite", math.isfinite)
        values: dict[str, Number] = {}
        if not random:
            values["threshold"] = (0.1 if "D" in firing else 1.0) if threshold is None else threshold
        super().__init__(
            _equation(firing, given=False), _firing(firing, p_max, temperature, weighted) if random else surrogate,
            tau_mem=tau_mem, tau_syn=tau_syn, learn_tau=learn_tau, learn=learn, dt=dt, memory=memory,
            generator=generator, **values,
        )  # fmt: skip
        self.firing, self.integration, self.evaluation = firing, integration, evaluation
        # All programs that may run, by whether spikes are deterministic: torch.compile cannot create them.
        self._programs = {
            still: replace(self.program, still=still) for still in ((False, True) if random else (False,))
        }
        given = _equation(firing, given=True)
        self._given = {still: replace(program, equation=given) for still, program in self._programs.items()}
        self._membrane = replace(
            self.program, equation=_equation("SB", given=False, fires="never"), surrogate=STEEP
        )  # fmt: skip

    @property
    def _still(self) -> bool:
        """Whether stochastic spikes are replaced by a deterministic threshold."""
        return self.firing in RANDOM and not self.training and self.evaluation == "threshold"

    def structure(self) -> dict[str, float | str | bool | None]:
        surrogate = self.program.surrogate
        chance = {"p_max": surrogate.p_max} if isinstance(surrogate, Firing) else {}
        return {**super().structure(), "firing": self.firing, **chance}

    def pack(self, *parts: Tensor) -> ParaLIFState | DifferenceState:
        return DifferenceState(*parts) if "D" in self.firing else ParaLIFState(*parts)

    def running(self) -> Program:
        return self._programs[self._still]

    def forward(self, xs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        mean = self.firing in RANDOM and not self.training and self.evaluation == "mean"
        if self.integration == "kernel" and not mean:
            return super().forward(xs, state)
        check_sequence("ParaLIF", xs)
        xs = full_precision("ParaLIF", xs)
        state = self.initial_state(xs[0]) if state is None else state
        moving = self.moving(xs, state)
        voltages, (syn_current, voltage) = self.integrate(xs, state)
        if mean:
            assert isinstance(self.program.surrogate, Firing)
            out = self.program.surrogate.mean(voltages)
            return out, state._replace(syn_current=syn_current, voltage=voltage, spikes=out[-1])
        spikes, moving = kernels.neurons(self._given[self._still], voltages.flatten(2), moving, self.parameters_for(xs))
        settled = self.settle(moving, xs.shape[1:])
        return spikes.reshape(xs.shape), settled._replace(syn_current=syn_current, voltage=voltage)

    def integrate(self, xs: Tensor, state: State) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the voltages u [T, B, *N], and the synaptic current and voltage after the last step."""
        parameters = self.parameters_for(xs)
        start = state.syn_current, state.voltage
        if self.integration != "kernel":
            decay_mem, decay_syn = (_shaped(parameters[name], xs) for name in ("decay_mem", "decay_syn"))
            return integrate(xs, *start, decay_mem, decay_syn, method=self.integration)
        parts = tuple(part.flatten(1) for part in start)
        moving = kernels.Moving(parts, parts[0], parts[0])
        decays = {name: parameters[name] for name in ("decay_mem", "decay_syn")}
        voltages, moving = kernels.neurons(self._membrane, xs.flatten(2), moving, decays)
        syn_current, voltage = (part.reshape(xs.shape[1:]) for part in moving.states)
        return voltages.reshape(xs.shape), (syn_current, voltage)

    def extra_repr(self) -> str:
        return f"{self.firing}, {super().extra_repr()}"


def _shaped(parameter: Tensor, xs: Tensor) -> Tensor:
    return parameter if parameter.dim() == 0 else parameter.reshape(xs.shape[2:])


def _firing(name: str, p_max: float, temperature: float, weighted: float) -> Firing:
    if name == "SB":
        return SigmoidBernoulli(p_max=p_max, weighted=weighted)
    if name == "TRB":
        return TanhBernoulli(p_max=p_max, weighted=weighted)
    if temperature == 1.0:
        return GumbelSoftmax(p_max=p_max)
    return TemperedGumbelSoftmax(p_max=p_max, temperature=temperature)


def _equation(name: str, given: bool, fires: str = "above") -> Equation:
    if name in RANDOM:
        return Equation(membrane, fires, choices=(("given", given),))
    squash = {"by_sigmoid": name in ("ST", "SD"), "by_tanh": name[:-1] in ("T", "TR"), "rectified": "TR" in name}
    return Equation(difference if "D" in name else level, choices=(("given", given), *squash.items()))
