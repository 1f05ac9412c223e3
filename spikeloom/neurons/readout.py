"""Leaky readout: a low-pass filter, a neuron that never fires.

    y[t] = k y[t-1] + (1 - k) x[t],   k = exp(-dt / tau_mem)

Linear, so weights may stand before it (few channels to filter) or behind it (the same numbers up to rounding).
Source: Bellec et al., 2018 ("exp_convolve").
"""

from typing import NamedTuple

from torch import Tensor

from ..arguments import explained
from ..kernels import Equation
from ..surrogate import Triangle
from ..vocabulary import Value
from .neuron import Neuron
from .values import Learn, Number


class LeakyState(NamedTuple):
    """State of a `LeakyReadout`."""

    voltage: Tensor  # [B, *N]


def leak(current: Value, voltage: Value, decay_mem: Value) -> Value:
    """Compute one step of the equation above."""
    voltage = decay_mem * voltage + (1 - decay_mem) * current
    return voltage, voltage


@explained
class LeakyReadout(Neuron):
    """Low-pass filter of every channel.

    Shapes: currents [T, B, *N] -> voltages [T, B, *N].
    Units: tau_mem and dt in ms.

    Args:
        tau_mem: time constant of the filter, > 0; a number, or a tensor with one entry per channel.
        learn: "tau_mem" to learn it: it starts at the given value and stays positive.
        dt: length of one step.
        memory: see `LIF`; with a fixed time constant nothing is saved for the backward pass.

    Raises:
        ConfigError: a time constant is not positive (also checked in calls).
        ShapeError: currents or state of a wrong shape, dtype or device.

    >>> import torch
    >>> voltages, state = LeakyReadout(tau_mem=20.0)(torch.tensor([0.0, 1.0, 0.0]).reshape(3, 1, 1))
    >>> [round(v, 6) for v in voltages.flatten().tolist()]
    [0.0, 0.048771, 0.046392]
    """

    def __init__(
        self, tau_mem: Number = 20.0, *, learn: Learn = (), dt: float = 1.0, memory: str = "fast"
    ) -> None:  # fmt: skip
        super().__init__(Equation(leak, fires="never"), Triangle(), dt=dt, memory=memory, learn=learn, tau_mem=tau_mem)

    def pack(self, *parts: Tensor) -> LeakyState:
        return LeakyState(*parts)
