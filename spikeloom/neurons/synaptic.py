"""Neurons whose current is low-passed by a synapse before it charges the membrane.

    i[t] = a i[t-1] + x[t],                 a = exp(-dt / tau_syn)
    v[t] = b v'[t-1] + (1 - b) i[t],        b = exp(-dt / tau_mem)
    s[t] = 1 if v[t] > threshold else 0,    v'[t] = v[t] (1 - s[t])        (the readout never spikes: v' = v)

The synaptic current is not reset. Within `refractory` after a spike the voltage stays 0 while x still enters i.
Source: Yarga and Wood, Accelerating SNN training with stochastic parallelizable spiking neurons, 2023, whose baseline
this LIF neuron is; refractory period and learned values as in their ParaLIF code.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..arguments import explained
from ..errors import check_flag, check_positive
from ..kernels import Equation
from ..surrogate import FastSigmoid, Surrogate, Triangle
from ..vocabulary import Value, maximum, where
from .neuron import Neuron, refractory_steps
from .values import Learn, Number, names_of

STEEP = FastSigmoid(steepness=100.0)
"""Surrogate of the authors' code."""


class SynapticNeuron(Neuron):
    """Base class of neurons with a synaptic current; a time constant of None means no filter.

    `learn_tau` is short for `learn` with the names of all time constants that are not None.
    """

    def __init__(
        self,
        equation: Equation,
        surrogate: Surrogate,
        *,
        tau_mem: Number | None,
        tau_syn: Number | None,
        learn_tau: bool,
        learn: Learn,
        dt: float,
        **rest: Any,
    ) -> None:
        owner = type(self).__name__
        check_positive(owner, dt=dt)
        check_flag(owner, learn_tau=learn_tau)
        taus = {"tau_mem": tau_mem, "tau_syn": tau_syn}
        absent = [name for name, value in taus.items() if value is None]
        none = dt / 1000  # exp(-1000) is 0
        held: dict[str, Any] = {name: none if value is None else value for name, value in taus.items()}
        if learn_tau:
            learn = list(dict.fromkeys([*names_of(owner, learn), *(name for name in taus if name not in absent)]))
        super().__init__(equation, surrogate, dt=dt, learn=learn, fixed=(*absent, "steps"), **rest, **held)

    def _range(self, name: str) -> tuple[str, str]:
        if isinstance(self._parameters.get(name), nn.Parameter) and name == "threshold":
            return "", ""  # learned directly; a negative one counts as 0, as in the authors' code
        return super()._range(name)

    def constants(self) -> dict[str, Number]:
        result = super().constants()
        if isinstance(self._parameters.get("threshold"), nn.Parameter):
            result["threshold"] = torch.relu(self.get_parameter("threshold"))
        return result

    def time_constants(self) -> dict[str, float | list[float]]:
        """Return the current values of tau_mem and tau_syn [ms]."""
        return {name: torch.as_tensor(self.value(name)).detach().tolist() for name in ("tau_mem", "tau_syn")}


class MembraneState(NamedTuple):
    """State of a `SynapticReadout`."""

    syn_current: Tensor  # [B, *N]
    voltage: Tensor  # [B, *N]


def membrane(
    current: Value, syn_current: Value, voltage: Value, decay_mem: Value, decay_syn: Value, *, given: bool
) -> Value:
    """Compute one step of the equations above without spikes; if `given`, the current is the voltage itself."""
    syn_current = where(given, syn_current, decay_syn * syn_current + current)
    voltage = where(given, current, decay_mem * voltage + (1 - decay_mem) * syn_current)
    return voltage, syn_current, voltage


@explained
class SynapticReadout(SynapticNeuron):
    """Layer of membranes behind synapses that never fire: the output is the voltage.

    Shapes: currents [T, B, *N] -> voltages [T, B, *N].
    Units: time constants and dt in ms.

    Args:
        tau_mem, tau_syn: time constants of membrane and synapse, > 0; None for no filter.
        learn: names of those to learn: they start at the given values and stay positive.
        learn_tau: whether to learn both.
        dt: length of one step.
        memory: see `LIF`; with fixed time constants nothing is saved for the backward pass.

    Raises:
        ConfigError: a time constant is not positive (also checked in calls).
        ShapeError: currents or state of a wrong shape, dtype or device.

    >>> xs = torch.tensor([1.0, 0.0, 0.0, 2.0]).reshape(4, 1, 1)
    >>> [round(v, 6) for v in SynapticReadout()(xs)[0].flatten().tolist()]
    [0.048771, 0.092784, 0.132388, 0.26545]
    """

    def __init__(
        self,
        tau_mem: Number | None = 20.0,
        tau_syn: Number | None = 20.0,
        *,
        learn: Learn = (),
        learn_tau: bool = False,
        dt: float = 1.0,
        memory: str = "fast",
    ) -> None:
        equation = Equation(membrane, "never", choices=(("given", False),))
        super().__init__(
            equation, Triangle(), tau_mem=tau_mem, tau_syn=tau_syn, learn_tau=learn_tau, learn=learn, dt=dt,
            memory=memory,
        )  # fmt: skip

    def pack(self, *parts: Tensor) -> MembraneState:
        return MembraneState(*parts)


class SynapticLIFState(NamedTuple):
    """State of a `SynapticLIF` without a refractory period."""

    syn_current: Tensor  # [B, *N]
    voltage: Tensor  # [B, *N], before the reset
    spikes: Tensor  # [B, *N], of the step before
    refractory: Tensor  # [B, *N], unused: `wait` takes its place
    noise: Any = ()  # int64 [B, 2], if the surrogate is a `Firing`


class WaitingLIFState(NamedTuple):
    """State of a `SynapticLIF` with a refractory period."""

    syn_current: Tensor
    voltage: Tensor
    wait: Tensor  # [B, *N], steps for which the voltage stays 0
    spikes: Tensor
    refractory: Tensor
    noise: Any = ()


def synaptic_lif(
    current: Value, syn_current: Value, voltage: Value, reset: Value, decay_mem: Value, decay_syn: Value,
    threshold: Value,
) -> Value:  # fmt: skip
    """Compute one step of the equations above, without a refractory period."""
    syn_current = decay_syn * syn_current + current
    voltage = decay_mem * (voltage - voltage * reset) + (1 - decay_mem) * syn_current
    return voltage - threshold, syn_current, voltage


def waiting_lif(
    current: Value, syn_current: Value, voltage: Value, wait: Value, spikes: Value, reset: Value,
    decay_mem: Value, decay_syn: Value, threshold: Value, steps: Value,
) -> Value:  # fmt: skip
    """Compute one step of the equations above, with a refractory period of `steps`."""
    syn_current = decay_syn * syn_current + current
    wait = where(spikes > 0, steps, wait)
    held = voltage - voltage * reset
    voltage = where(wait > 0, held, decay_mem * held + (1 - decay_mem) * syn_current)
    wait = maximum(wait - 1, 0.0)
    return voltage - threshold, syn_current, voltage, wait


@explained
class SynapticLIF(SynapticNeuron):
    """Layer of LIF neurons behind synapses, reset to zero: the baseline of the parallel neurons.

    Shapes: currents [T, B, *N] -> spikes [T, B, *N], 0 or 1.
    Units: tau_mem, tau_syn, refractory and dt in ms; current, voltage and threshold in one unit.

    Args:
        tau_mem, tau_syn: time constants of membrane and synapse, > 0; None for no filter.
        threshold: voltage above which a neuron spikes, > 0; a number or one per neuron. An nn.Parameter is learned
            directly and counts as 0 where it becomes negative; with `learn` it stays positive.
        learn: names of those of these three to learn: they start at the given values and stay in their range.
        learn_tau: whether to learn both time constants.
        refractory: time after a spike in which the voltage stays 0.
        detach_reset: whether no gradient passes through the reset.
        surrogate: surrogate gradient of the spikes, at v - threshold; or a `Firing` for stochastic ones.
        dt: length of one step.
        memory: "fast" saves 4 bytes per step, sample and neuron for the backward pass (12 with a refractory period or a
            gradient through the reset), "lean" the states of one step in 32.
        generator: random generator of a `Firing`; by default torch's default one.

    Raises:
        ConfigError: a value is out of range (also checked in calls), or an option is unknown.
        ShapeError: currents or state of a wrong shape, dtype or device.

    >>> xs = torch.tensor([0.0, 0, 6, 6, 6, 6]).reshape(6, 1, 1)
    >>> SynapticLIF()(xs)[0].flatten().tolist()
    [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]
    """

    def __init__(
        self,
        tau_mem: Number | None = 20.0,
        tau_syn: Number | None = 20.0,
        threshold: Number = 1.0,
        *,
        learn: Learn = (),
        learn_tau: bool = False,
        refractory: float = 0.0,
        detach_reset: bool = True,
        surrogate: Surrogate = STEEP,
        dt: float = 1.0,
        memory: str = "fast",
        generator: torch.Generator | None = None,
    ) -> None:
        check_positive("SynapticLIF", dt=dt)
        steps = refractory_steps("SynapticLIF", refractory, float(dt))
        more: dict[str, Number] = {"steps": float(steps)} if refractory else {}
        super().__init__(
            Equation(waiting_lif if refractory else synaptic_lif), surrogate, tau_mem=tau_mem, tau_syn=tau_syn,
            learn_tau=learn_tau, learn=learn, detach_reset=detach_reset, dt=dt, memory=memory, generator=generator,
            threshold=threshold, **more,
        )  # fmt: skip

    def pack(self, *parts: Tensor) -> SynapticLIFState | WaitingLIFState:
        waits = len(self.program.equation.states) == 3
        return WaitingLIFState(*parts) if waits else SynapticLIFState(*parts)
