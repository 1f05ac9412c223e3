"""Neurons from a custom equation, which runs in compiled loops on every engine."""

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..arguments import explained
from ..errors import ConfigError
from ..kernels import Equation
from ..surrogate import Surrogate, Triangle
from .neuron import Neuron
from .values import Learn, Number

TAKEN = ("function", "fires", "surrogate", "refractory", "detach_reset", "dt", "memory", "generator", "learn", "values",
         "starts", "program", "training", "self")  # fmt: skip
"""Names that a value cannot have: arguments and attributes of the layer."""


@explained
class FromEquation(Neuron):
    """Layer of neurons whose step is a custom function.

    The function takes `current`, its states, optionally `spikes` and `reset` (both the spikes of the step before), and
    its parameters; it returns the distance to its threshold and its states, by name. It may use + - * /, comparisons
    and `spikeloom.vocabulary`. A parameter `decay_x` is computed from the value `tau_x`.

    Shapes: currents [T, B, *N] -> spikes [T, B, *N]; the state is a tuple: the states, spikes, refractory steps left.
    Units: time constants, refractory and dt in ms.

    Args:
        function: the equation, a `def` in a file.
        fires: "above" the threshold, also "at" it, or "never" (then the first returned value is the output).
        surrogate: surrogate gradient of the spikes, or a `Firing` for stochastic ones.
        refractory: time without spikes after a spike.
        detach_reset: whether no gradient passes through `reset`.
        dt: length of one step.
        memory: "fast" or "lean"; see `LIF`.
        generator: random generator of a `Firing`; by default torch's default one.
        learn: names of values to be learned, reparametrised to stay in their range: `tau_x` stays positive,
            `threshold` and names that end with `_strength` keep their sign and are learned relative to their start,
            others are real numbers. A dictionary such as {"slope": "positive", "rest": "real"} sets this.
        values: numbers, or tensors with one entry per neuron.

    Raises:
        ConfigError: kernels cannot be derived from the function, or a value is missing, unknown, or out of range (time
            constants and `threshold` must be positive, also checked in calls).
        ShapeError: currents or state of a wrong shape, dtype or device.

    >>> import torch
    >>> from spikeloom.neurons.lif import LIF, lif
    >>> xs = torch.rand(20, 2, 3) * 3
    >>> from spikeloom.neurons.readout import leak
    >>> bool((FromEquation(leak, fires="never", tau_mem=20.0)(xs)[0] > 0).all())
    True
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        fires: str = "above",
        surrogate: Surrogate = Triangle(),
        refractory: float = 0.0,
        detach_reset: bool = False,
        dt: float = 1.0,
        memory: str = "fast",
        generator: torch.Generator | None = None,
        learn: Learn = (),
        **values: Number,
    ) -> None:
        equation = Equation(function, fires)
        for name in equation.parameters:
            if hasattr(type(self), name) or name in TAKEN:
                raise ConfigError(
                    f"FromEquation cannot have a value named {name!r}, which the layer itself needs. Rename it."
                )
            if name.startswith("tau_"):
                raise ConfigError(
                    f"{equation.name} takes {name}, but equations take decays. Write decay_{name[4:]} in the equation, "
                    f"which is exp(-dt / {name}), and pass {name} to FromEquation."
                )
        for name in values:
            if name in equation.states:
                raise ConfigError(
                    f"FromEquation got {name}={values[name]!r}, but {equation.name} returns {name}, so it is a state "
                    "and begins at 0. Leave the value out, or do not return it."
                )
        super().__init__(
            equation, surrogate, refractory=refractory, detach_reset=detach_reset, dt=dt,
            memory=memory, generator=generator, learn=learn, fixed=(), **values,
        )  # fmt: skip

    def structure(self) -> dict[str, float | str | bool | None]:
        return {**super().structure(), "fires": self.program.equation.fires, "equation": self._digest()}

    def _digest(self) -> str:
        return hashlib.sha256(self.program.equation.text.encode()).hexdigest()[:16]

    def pack(self, *parts: Tensor) -> tuple[Tensor, ...]:
        return parts
