"""Leaky integrate-and-fire neurons.

    v[t] = d v[t-1] + (1 - d) i[t] - threshold s[t-1],   d = exp(-dt / tau_mem)      reset "subtract"
    v[t] = d v[t-1] (1 - s[t-1]) + (1 - d) i[t]                                      reset "zero"
    s[t] = 1 if v[t] > threshold else 0

The voltage leaks, the current charges it, and a spike subtracts `threshold` (or resets it to zero) one step later.
Exact for a current that is constant within a step.
Source: Gerstner et al., Neuronal Dynamics, 2014, section 1.3.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..arguments import explained
from ..errors import ConfigError
from ..kernels import Equation
from ..surrogate import Surrogate, Triangle
from ..vocabulary import Value, where
from .neuron import Neuron
from .values import Learn, Number


class LIFState(NamedTuple):
    """State of a LIF layer."""

    voltage: Tensor  # [B, *N]
    spikes: Tensor  # [B, *N], of the step before
    refractory: Tensor  # [B, *N], refractory steps left
    noise: Any = ()  # int64 [B, 2], key and step of each sample, if the surrogate is a `Firing`


def lif(
    current: Value, voltage: Value, reset: Value, decay_mem: Value, threshold: Value, *, subtract: bool = True
) -> Value:
    """Compute one step of the equations above: plain arithmetic, for tensors, numba, triton and SymPy alike."""
    held = where(subtract, voltage, voltage - voltage * reset)
    taken = where(subtract, threshold * reset, 0.0)
    voltage = decay_mem * held + (1 - decay_mem) * current - taken
    return (voltage - threshold) / threshold, voltage


@explained
class LIF(Neuron):
    """Layer of leaky integrate-and-fire (LIF) neurons.

    Shapes: currents [T, B, *N] -> spikes [T, B, *N], 0 or 1.
    Units: tau_mem, refractory and dt in ms; current, voltage and threshold in units of the threshold.

    Args:
        tau_mem: membrane time constant, > 0; a number, or a tensor with one entry per neuron.
        threshold: voltage above which a neuron spikes, > 0; likewise.
        learn: names of the values to learn, such as "tau_mem" or ("tau_mem", "threshold"): they start at the given
            values and stay in their range. `layer.tau_mem` is the current value.
        refractory: time without spikes after a spike.
        reset: reset by a spike: "subtract" the threshold from the voltage, or set it to "zero".
        detach_reset: whether no gradient passes through the reset.
        surrogate: surrogate gradient of the spikes, or a `Firing` for stochastic ones.
        dt: length of one step.
        memory: "fast" saves 4 bytes per step, sample and neuron for the backward pass, "lean" 0.125.
        generator: random generator of a `Firing`; by default torch's default one.

    Raises:
        ConfigError: a time constant or the threshold is not positive (also checked in calls), or an option is unknown.
        ShapeError: currents or state of a wrong shape, dtype or device.

    >>> import torch
    >>> spikes, state = LIF(tau_mem=20.0)(torch.full((100, 2, 3), 1.5))
    >>> spikes.shape, int(spikes[:, 0, 0].sum())
    (torch.Size([100, 2, 3]), 4)
    >>> [name for name, _ in LIF(learn=("tau_mem", "threshold")).named_parameters()]
    ['log_tau_mem', 'raw_threshold']
    """

    def __init__(
        self,
        tau_mem: Number = 20.0,
        threshold: Number = 1.0,
        *,
        learn: Learn = (),
        refractory: float = 0.0,
        reset: str = "subtract",
        detach_reset: bool = False,
        surrogate: Surrogate = Triangle(),
        dt: float = 1.0,
        memory: str = "fast",
        generator: torch.Generator | None = None,
    ) -> None:
        if reset not in ("subtract", "zero"):
            raise ConfigError(f'LIF needs reset "subtract" or "zero", but got {reset!r}.')
        equation = Equation(lif, choices=(("subtract", reset == "subtract"),))
        super().__init__(
            equation, surrogate, refractory=refractory, detach_reset=detach_reset, dt=dt, memory=memory,
            generator=generator, learn=learn, tau_mem=tau_mem, threshold=threshold,
        )  # fmt: skip
        self.reset = reset

    def structure(self) -> dict[str, float | str | bool | None]:
        return {**super().structure(), "reset": self.reset}

    def pack(self, *parts: Tensor) -> LIFState:
        return LIFState(*parts)
