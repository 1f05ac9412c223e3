"""What all neurons written as an equation share: values, states, and the way into the kernels.

A value is a number, a tensor with one entry per neuron, or an nn.Parameter, which is learned. Time constants are passed
and decays derived: the equation's `decay_mem` is exp(-dt / tau_mem).
"""

import math
from abc import ABC, abstractmethod
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from .. import kernels
from ..core import State, Stateful
from ..errors import ConfigError, ShapeError, check_like, check_positive, check_sequence
from ..kernels.noise import keys
from ..surrogate import Surrogate

Number = float | Tensor
"""A number, a tensor that has one entry per neuron, or an nn.Parameter to be learned."""


class Neuron(Stateful, ABC):
    """Interface and frame of a population that an equation describes; the leaves name its values and its state.

    Shapes: currents [T, B, *N] -> spikes [T, B, *N], 0 or 1 (for an equation that never fires, its output).
    Units: time constants, `dt` and `refractory` in ms.

    Args:
        equation: the step; see `spikeloom.kernels.Equation`.
        surrogate: slope of the spike used in the backward pass.
        refractory: time without spikes after a spike, a whole number of steps.
        detach_reset: no gradient through the reset (the one through the adaptation stays).
        dt: length of one step.
        memory: "fast" keeps what the backward pass reads, "lean" one state in 32 steps.
        generator: draws a key per sample where the surrogate is a random `Firing`; by default torch's own.
        values: what the equation's parameters are made of, `tau_x` for a parameter `decay_x`.

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
        **values: Number,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        check_positive(owner, dt=dt)
        steps = round(refractory / dt) if math.isfinite(refractory) else -1
        if steps < 0 or abs(steps * dt - refractory) > 1e-6 * dt:
            raise ConfigError(f"{owner} needs refractory >= 0 in whole steps of {dt} ms, but got {refractory} ms.")
        if memory not in ("fast", "lean"):
            raise ConfigError(f'{owner} needs memory "fast" or "lean", but got {memory!r}.')
        wanted = {"tau_" + name[6:] if name.startswith("decay_") else name for name in equation.parameters}
        if wanted != set(values):
            raise ConfigError(f"{owner} needs values for {sorted(wanted)} but got {sorted(values)}.")
        self.dt, self.values = dt, list(values)
        for name, value in values.items():
            self._hold(name, value)
        self.program = kernels.Program(equation, surrogate, steps, detach_reset, memory)
        self.generator = generator

    def _hold(self, name: str, value: Number) -> None:
        """Keep a value: numbers as they are, tensors as buffers, nn.Parameters to be learned."""
        owner = type(self).__name__
        if isinstance(value, nn.Parameter):
            self.register_parameter(name, value)
        elif isinstance(value, Tensor):
            self.register_buffer(name, value)
        elif isinstance(value, Real):
            setattr(self, name, float(value))
        else:
            raise ConfigError(
                f"{owner} needs {name} as a number or a tensor, but got {value!r}. Pass a number such as 20.0, or a "
                "tensor with one entry per neuron."
            )
        numbers = value if isinstance(value, Tensor) else torch.as_tensor(float(value))
        if not (numbers.is_floating_point() and bool(torch.isfinite(numbers).all())):
            raise ConfigError(
                f"{owner} needs {name} finite and of a floating point type, but got {value}. Pass a finite number, or "
                "call .float() on the tensor."
            )
        if (name.startswith("tau_") or name == "threshold") and not bool((numbers > 0).all()):
            raise ConfigError(f"{owner} needs {name} > 0, but got {value}. Pass a positive number.")

    @abstractmethod
    def pack(self, *parts: Tensor) -> State:
        """The state: the equation's states, the spikes of the step before, the steps left without, key and step."""

    def constants(self) -> dict[str, Number]:
        """What the equation reads, by name: values, and decays made of time constants."""
        result: dict[str, Number] = {}
        for name in self.values:
            value = getattr(self, name)
            if not name.startswith("tau_"):
                result[name] = value
            elif isinstance(value, Tensor):
                result["decay_" + name[4:]] = torch.exp(-self.dt / value)
            else:
                result["decay_" + name[4:]] = math.exp(-self.dt / value)
        return result

    def initial_state(self, x: Tensor) -> State:
        equation = self.program.equation
        count = len(equation.states) + (0 if equation.fires == "never" else 2)
        parts = [torch.zeros_like(x, requires_grad=False) for _ in range(count)]
        if self.program.draws == "drawn":
            parts.append(keys(x.shape[0], x.device, self.generator))
        return self.pack(*parts)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        out, state = self.forward(x.unsqueeze(0), state)
        return out[0], state

    def forward(self, xs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        check_sequence(type(self).__name__, xs)
        xs = full_precision(type(self).__name__, xs)
        moving = self.moving(xs, self.initial_state(xs[0]) if state is None else state)
        out, moving = kernels.neurons(self.running(), xs.flatten(2), moving, self.parameters_for(xs))
        return out.reshape(xs.shape), self.settle(moving, xs.shape[1:])

    def running(self) -> kernels.Program:
        """The program of the next call."""
        return self.program

    def moving(self, xs: Tensor, state: State) -> kernels.Moving:
        """A state as the kernels take it, [B, N]; ShapeError if it does not fit the input."""
        names = self.program.equation.states
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
        """The way back."""
        fires = self.program.equation.fires != "never"
        parts = (*moving.states, moving.spikes, moving.left) if fires else moving.states
        noise = [moving.noise] if self.program.draws == "drawn" else []
        return self.pack(*(part.reshape(shape) for part in parts), *noise)

    def parameters_for(self, xs: Tensor) -> dict[str, Tensor]:
        """The equation's parameters in the dtype and on the device of the input: scalars, or one entry per neuron."""
        shape = xs.shape[2:]
        result = {}
        for name, value in self.constants().items():
            if not isinstance(value, Tensor):
                result[name] = torch.tensor(value, dtype=xs.dtype, device=xs.device)
                continue
            owner = type(self).__name__
            if value.dtype != xs.dtype or value.device != xs.device:
                raise ShapeError(
                    f"{owner} got input of {xs.dtype} on {xs.device} but {name} is {value.dtype} on {value.device}. "
                    "Move one to the other with .to(dtype=..., device=...)."
                )
            try:
                result[name] = value if value.dim() == 0 else value.expand(shape).reshape(-1)
            except RuntimeError as error:
                raise ShapeError(
                    f"{owner} has {name} of shape {list(value.shape)}, but its input {list(xs.shape)} has neurons of "
                    f"shape {list(shape)}. Pass one number, or a tensor that broadcasts to the neurons."
                ) from error
        return result

    def extra_repr(self) -> str:
        shown: dict[str, Any] = {name: getattr(self, name) for name in self.values}
        parts = [f"{k}={tuple(v.shape) if isinstance(v, Tensor) and v.dim() else float(v)}" for k, v in shown.items()]
        return ", ".join([*parts, f"surrogate={self.program.surrogate}", f"dt={self.dt}"])


def check_noise(owner: str, noise: Any, xs: Tensor) -> None:
    """Raise ShapeError unless `noise` is what a neuron that draws keeps of its draws."""
    found = (list(noise.shape), noise.dtype, noise.device) if isinstance(noise, Tensor) else "nothing"
    if found != ([xs.shape[1], 2], torch.int64, xs.device):
        raise ShapeError(
            f"{owner} draws, so its state needs noise: int64 [{xs.shape[1]}, 2] on {xs.device}, key and step of every "
            f"sample, but got {found}. Pass state=None to start afresh, or the state of these samples."
        )


def full_precision(owner: str, xs: Tensor) -> Tensor:
    """Currents that autocast made short become float32 again: membranes are never shorter."""
    if xs.dtype in (torch.float32, torch.float64):
        return xs
    if not torch.is_autocast_enabled(xs.device.type):
        raise ShapeError(
            f"{owner} computes in float32 or float64, but got {xs.dtype}. Call .float() on its input first."
        )
    return xs.float()
