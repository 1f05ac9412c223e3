"""First-order low-pass filter: the synapse between neurons, and the filter of a probe.

    z[t] = a z[t-1] + (1 - a) x[t],    a = exp(-dt / tau_syn), or 0 for tau_syn <= 0.03 dt
    y[t] = z[t-1] with the delay of one step (y[1] = 0), z[t] without
    debiased: y[t] / (1 - a^k), k the number of inputs that contribute to y

Exact for an input that is constant within a step. With the delay, a filter of 100 ms has reached 25 % of a constant
input after 30 steps of 1 ms: an argmax is not affected, but a softmax starts near uniform. `debias` corrects this.
Source: Bekolay et al., Nengo, 2014 (the synapse and its delay); Kingma and Ba, Adam, 2015 (the same correction).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .. import kernels
from ..arguments import explained
from ..core import Whole
from ..errors import as_number, check_flag, check_like, check_positive, check_sequence, check_state
from ..kernels import Equation, Moving, Program
from ..surrogate import Triangle
from ..vocabulary import Value, where
from .neuron import full_precision


class LowpassState(NamedTuple):
    """State of a `Lowpass`."""

    filtered: Tensor  # [B, *N]
    unseen: Tensor  # [B, *N], a^k: weight of the initial zero in `filtered`


def lowpass(
    current: Value, filtered: Value, unseen: Value, decay: Value, *, delay: bool, debias: bool
) -> Value:  # fmt: skip
    """Compute one step of the equations above."""
    before = where(debias, where(unseen < 1, filtered / where(unseen < 1, 1 - unseen, 1.0), 0.0), filtered)
    filtered = decay * filtered + (1 - decay) * current
    unseen = decay * unseen
    after = where(debias, filtered / (1 - unseen), filtered)
    return where(delay, before, after), filtered, unseen


@explained
class Lowpass(Whole):
    """Low-pass filter of every signal.

    Shapes: [T, B, *N] -> [T, B, *N].
    Units: tau_syn and dt in ms.

    Args:
        tau_syn: time constant, >= 0 and finite; up to 0.03 dt nothing is filtered.
        delay: whether the output is the filtered value before this step, as in synapses.
        debias: whether to divide by the weight of the inputs so far, as Adam does.
        dt: length of one step.

    Raises:
        ConfigError: tau_syn is negative or dt not positive.
        ShapeError: input or state of a wrong shape, dtype or device.

    >>> out, _ = Lowpass(100.0)(torch.ones(3, 1, 1, dtype=torch.float64))
    >>> [round(y, 8) for y in out.flatten().tolist()]
    [0.0, 0.00995017, 0.01980133]
    """

    def __init__(self, tau_syn: float, *, delay: bool = True, debias: bool = False, dt: float = 1.0) -> None:
        super().__init__()
        check_flag("Lowpass", delay=delay, debias=debias)
        self.tau_syn, self.delay, self.debias, self.dt = tau_syn, delay, debias, dt
        self.check()
        self.tau_syn, self.dt = float(tau_syn), float(dt)

    def check(self) -> None:
        check_positive("Lowpass", dt=self.dt)
        as_number("Lowpass", "tau_syn", self.tau_syn, ">= 0 and finite", lambda x: 0.0 <= x < math.inf)

    def structure(self) -> dict[str, float | str | bool | None]:
        return {"tau_syn": float(self.tau_syn), "delay": self.delay, "debias": self.debias, "dt": float(self.dt)}

    @property
    def decay(self) -> float:
        """Decay of the filter in a step: exp(-dt / tau_syn), or 0 for no filter."""
        return math.exp(-self.dt / self.tau_syn) if self.tau_syn > 0.03 * self.dt else 0.0

    def initial_state(self, x: Tensor) -> LowpassState:
        zeros = torch.zeros_like(x, requires_grad=False)
        return LowpassState(zeros, torch.ones_like(zeros))

    def forward(self, xs: Tensor, state: LowpassState | None = None) -> tuple[Tensor, LowpassState]:
        check_sequence("Lowpass", xs)
        xs = full_precision("Lowpass", xs)
        if not torch.compiler.is_compiling():
            self.check()
        state = self.initial_state(xs[0]) if state is None else state
        check_state("Lowpass", state, LowpassState)
        for name, part in zip(LowpassState._fields, state, strict=True):
            check_like("Lowpass", name, part, tuple(xs.shape[1:]), xs)
        parts = tuple(part.flatten(1) for part in state)
        decay = torch.tensor(self.decay, dtype=xs.dtype, device=xs.device)
        program = _PROGRAMS[self.delay, self.debias]
        out, moving = kernels.neurons(program, xs.flatten(2), Moving(parts, parts[0], parts[0]), {"decay": decay})
        return out.reshape(xs.shape), LowpassState(*(part.reshape(xs.shape[1:]) for part in moving.states))

    def extra_repr(self) -> str:
        return f"tau_syn={self.tau_syn:g}, delay={self.delay}, debias={self.debias}"


_PROGRAMS = {
    (delay, debias): Program(Equation(lowpass, "never", choices=(("delay", delay), ("debias", debias))), Triangle())
    for delay in (False, True)
    for debias in (False, True)
}
