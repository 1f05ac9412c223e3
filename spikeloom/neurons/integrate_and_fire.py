"""Integrate-and-fire neurons without a leak.

    v[t] = v[t-1] + i[t] - threshold s[t-1]          reset "subtract"
    v[t] = v[t-1] (1 - s[t-1]) + i[t]                reset "zero"
    s[t] = 1 if v[t] > threshold else 0

A current is charge per step: it enters without a factor. A neuron also integrates its input while it is refractory.
Source: Diehl et al., Fast-classifying, high-accuracy spiking deep networks through weight and threshold balancing,
2015.
"""

import torch
from torch import Tensor

from ..arguments import explained
from ..errors import ConfigError
from ..kernels import Equation
from ..surrogate import Surrogate, Triangle
from ..vocabulary import Value, where
from .lif import LIFState
from .neuron import Neuron
from .values import Learn, Number


def integrate(current: Value, voltage: Value, reset: Value, threshold: Value, *, subtract: bool = True) -> Value:
    """Compute one step of the equations above: plain arithmetic, for tensors, numba, triton and SymPy alike."""
    held = where(subtract, voltage, voltage - voltage * reset)
    taken = where(subtract, threshold * reset, 0.0)
    voltage = held + current - taken
    return (voltage - threshold) / threshold, voltage


@explained
class IntegrateAndFire(Neuron):
    """Layer of integrate-and-fire neurons, the spiking partner of ReLU with a gradient through its spikes.

    Shapes: currents [T, B, *N] -> spikes [T, B, *N], 0 or 1.
    Units: refractory and dt in ms; voltage and threshold in one unit, current in that unit per step.

    Args:
        threshold: voltage above which a neuron spikes, > 0; a number, or a tensor with one entry per neuron.
        learn: "threshold" to learn it: it starts at the given value and stays positive.
        refractory: time without spikes after a spike.
        reset: reset by a spike: "subtract" the threshold from the voltage, or set it to "zero".
        detach_reset: whether no gradient passes through the reset.
        surrogate: surrogate gradient of the spikes, or a `Firing` for stochastic ones.
        dt: length of one step.
        memory: "fast" saves 4 bytes per step, sample and neuron for the backward pass, "lean" 0.125.
        generator: random generator of a `Firing`; by default torch's default one.

    Raises:
        ConfigError: the threshold is not positive (also checked in calls), or an option is unknown.
        ShapeError: currents or state of a wrong shape, dtype or device.

    >>> spikes, state = IntegrateAndFire()(torch.full((10, 2, 3), 0.5))
    >>> spikes[:, 0, 0].tolist()
    [0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]
    """

    def __init__(
        self,
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
            raise ConfigError(f'IntegrateAndFire needs reset "subtract" or "zero", but got {reset!r}.')
        equation = Equation(integrate, choices=(("subtract", reset == "subtract"),))
        super().__init__(
            equation, surrogate, refractory=refractory, detach_reset=detach_reset, dt=dt, memory=memory,
            generator=generator, learn=learn, threshold=threshold,
        )  # fmt: skip
        self.reset = reset

    def structure(self) -> dict[str, float | str | bool | None]:
        return {**super().structure(), "reset": self.reset}

    def pack(self, *parts: Tensor) -> LIFState:
        return LIFState(*parts)
