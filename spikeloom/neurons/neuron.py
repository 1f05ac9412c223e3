"""Base class of all neurons that are written as an equation: values, states, and calls of the kernels.

A value is a number, a tensor with one entry per neuron, or an nn.Parameter; values named in `learn` are reparametrised
to stay in their range (see `values`). Time constants are passed and decays derived: the equation's `decay_mem` is
exp(-dt / tau_mem).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .. import kernels
from ..core import State
from ..errors import (
    ConfigError,
    ShapeError,
    as_number,
    check_flag,
    check_generator,
    check_like,
    check_positive,
    check_sequence,
    check_state,
    check_type,
)
from ..firing import Firing
from ..kernels.noise import keys
from ..surrogate import Surrogate, check_surrogate
from .values import Learn, Number, Valued


class Neuron(Valued, ABC):
    """Base class of neurons described by an equation; subclasses define their values and their state.

    Shapes: currents [T, B, *N] -> spikes [T, B, *N], 0 or 1 (for an equation that never fires, its output).
    Units: time constants, `dt` and `refractory` in ms.

    Args:
        equation: the step; see `spikeloom.kernels.Equation`.
        surrogate: surrogate gradient of the spikes.
        refractory: time without spikes after a spike, a whole number of steps.
        detach_reset: whether no gradient passes through the reset (the one through the adaptation stays).
        dt: length of one step.
        memory: "fast" saves all that the backward pass reads, "lean" the states of one step in 32.
        generator: random generator of a key per sample if the surrogate is a `Firing`; by default torch's default one.
        learn: names of values to be learned, such as ("tau_mem", "threshold"); they stay in their ranges.
        fixed: names of values that cannot be learned.
        values: values of the equation's parameters; `tau_x` for a parameter `decay_x`.

    Raises:
        ConfigError: a value is missing, unknown, or out of range.
        ShapeError: currents or state of a wrong shape, dtype or device.
    """

    def __init__(
        self,
        equation: kernels.Equation,
        surrogate: Surrogate,
        *,
        refractory: float = 0.0,
        detach_reset: bool = False,
        dt: float = 1.0,
        memory: str = "fast",
        generator: torch.Generator | None = None,
        learn: Learn = (),
        fixed: Iterable[str] = (),
        **values: Number,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        check_positive(owner, dt=dt)
        dt = float(dt)
        steps = refractory_steps(owner, refractory, dt)
        check_surrogate(owner, surrogate)
        check_flag(owner, detach_reset=detach_reset)
        check_generator(owner, generator)
        if memory not in ("fast", "lean"):
            raise ConfigError(f'{owner} needs memory "fast" or "lean", but got {memory!r}.')
        expected = {"tau_" + name[6:] if name.startswith("decay_") else name for name in equation.parameters}
        if expected != set(values):
            raise ConfigError(f"{owner} needs values for {sorted(expected)} but got {sorted(values)}.")
        self.dt, self.generator = dt, generator
        self.program = kernels.Program(equation, surrogate, steps, detach_reset, memory)
        self._hold(values, learn, fixed)

    @abstractmethod
    def pack(self, *parts: Tensor) -> State:
        """Return the state: states of the equation, spikes of the step before, refractory steps left, key and step."""

    def constants(self) -> dict[str, Number]:
        """Return the parameters of the equation by name: values, and decays computed from time constants.

        Raises:
            ConfigError: a value has left its range; see `spikeloom.core.check_values` for values on a GPU.
        """
        self._check_call()
        result: dict[str, Number] = {}
        for name in self.values:
            if name.startswith("tau_"):
                result["decay_" + name[4:]] = self.decay(name, self.dt)
            else:
                result[name] = self.value(name)
        return result

    def structure(self) -> dict[str, float | str | bool | None]:
        surrogate = self.program.surrogate
        firing = repr(surrogate) if isinstance(surrogate, Firing) else "above a threshold"
        return {**self._numbers(), "dt": self.dt, "refractory": self.program.refractory * self.dt, "firing": firing}

    def structure_fits(self, name: str, saved: Any, own: Any) -> bool:
        """Return whether a saved entry fits; earlier versions did not save all of them."""
        return (name in ("firing", "equation") and saved is None) or super().structure_fits(name, saved, own)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("reset", "dynamics") and name in self.__dict__:
            raise ConfigError(
                f"{name} of {type(self).__name__} is part of its equation and cannot be set. Build another layer with "
                f"{name}={value!r}."
            )
        super().__setattr__(name, value)

    def check(self) -> None:
        check_positive(type(self).__name__, dt=self.dt)
        super().check()

    def _check_call(self) -> None:
        if not (type(self.dt) is float and 0.0 < self.dt < float("inf")):
            check_positive(type(self).__name__, dt=self.dt)
        super()._check_call()

    def initial_state(self, x: Tensor) -> State:
        equation = self.program.equation
        count = len(equation.states) + (0 if equation.fires == "never" else 2)
        parts = [torch.zeros_like(x, requires_grad=False) for _ in range(count)]
        if self.program.draws == "drawn":
            parts.append(keys(x.shape[0], x.device, self.generator))
        return self.pack(*parts)

    def forward(self, xs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        check_sequence(type(self).__name__, xs)
        xs = full_precision(type(self).__name__, xs)
        moving = self.moving(xs, self.initial_state(xs[0]) if state is None else state)
        out, moving = kernels.neurons(self.running(), xs.flatten(2), moving, self.parameters_for(xs))
        return out.reshape(xs.shape), self.settle(moving, xs.shape[1:])

    def running(self) -> kernels.Program:
        """Return the program of the next call."""
        return self.program

    def moving(self, xs: Tensor, state: State) -> kernels.Moving:
        """Return a state in the form of the kernels, [B, N]; raise ShapeError if it does not fit the input."""
        names = self.program.equation.states
        fires = self.program.equation.fires != "never"
        count = len(names) + 2 * fires + (self.program.draws == "drawn")
        check_state(type(self).__name__, state, type(self.pack(*[xs] * count)), count)
        for name, part in zip((*names, "spikes", "refractory"), state, strict=False):
            check_like(type(self).__name__, name, part, tuple(xs.shape[1:]), xs)
        count = len(names)
        parts = [part.flatten(1) for part in state[: count + 2] if isinstance(part, Tensor)]
        if self.program.equation.fires == "never":
            return kernels.Moving(tuple(parts), parts[0], parts[0])
        noise: Any = ()
        if self.program.draws == "drawn":
            noise = state[count + 2] if len(state) > count + 2 else ()
            check_noise(type(self).__name__, noise, xs)
        return kernels.Moving(tuple(parts[:count]), parts[count], parts[count + 1], noise=noise)

    def settle(self, moving: kernels.Moving, shape: torch.Size) -> State:
        """Return the layer's state from that of the kernels, the inverse of `moving`."""
        fires = self.program.equation.fires != "never"
        parts = (*moving.states, moving.spikes, moving.left) if fires else moving.states
        noise = [moving.noise] if self.program.draws == "drawn" else []
        return self.pack(*(part.reshape(shape) for part in parts), *noise)

    def parameters_for(self, xs: Tensor) -> dict[str, Tensor]:
        """Return the equation's parameters in the dtype and on the device of the input: scalars, or one per neuron."""
        shape = xs.shape[2:]
        result = {}
        for name, value in self.constants().items():
            if not isinstance(value, Tensor):
                result[name] = torch.tensor(value, dtype=xs.dtype, device=xs.device)
                continue
            owner = type(self).__name__
            check_type(owner, name, value, xs)
            try:
                result[name] = value if value.dim() == 0 else value.expand(shape).reshape(-1)
            except RuntimeError as error:
                raise ShapeError(
                    f"{owner} has {name} of shape {list(value.shape)}, but its input {list(xs.shape)} has neurons of "
                    f"shape {list(shape)}. Pass one number, or a tensor that broadcasts to the neurons."
                ) from error
        return result

    def extra_repr(self) -> str:
        return ", ".join([*self._shown(), f"surrogate={self.program.surrogate}", f"dt={self.dt}"])


def refractory_steps(owner: str, refractory: float, dt: float) -> int:
    """Return a refractory time in steps; raise ConfigError unless it is a whole number of them."""

    def whole(time: float) -> bool:
        return 0.0 <= time < 2**31 * dt and abs(round(time / dt) * dt - time) <= 1e-6 * dt

    return round(as_number(owner, "refractory", refractory, f">= 0 in whole steps of {dt} ms", whole) / dt)


def check_noise(owner: str, noise: Any, xs: Tensor) -> None:
    """Raise ShapeError unless `noise` has the form of the key and step in the state of a stochastic neuron."""
    actual = (list(noise.shape), noise.dtype, noise.device) if isinstance(noise, Tensor) else "nothing"
    if actual != ([xs.shape[1], 2], torch.int64, xs.device):
        raise ShapeError(
            f"{owner} draws, so its state needs noise: int64 [{xs.shape[1]}, 2] on {xs.device}, key and step of every "
            f"sample, but got {actual}. Pass state=None to start afresh, or the state of these samples."
        )


def full_precision(owner: str, xs: Tensor) -> Tensor:
    """Cast currents that autocast made float16 or bfloat16 back to float32, in which membranes are computed."""
    if xs.dtype in (torch.float32, torch.float64):
        return xs
    if not torch.is_autocast_enabled(xs.device.type):
        raise ShapeError(
            f"{owner} computes in float32 or float64, but got {xs.dtype}. Call .float() on its input first."
        )
    return xs.float()
