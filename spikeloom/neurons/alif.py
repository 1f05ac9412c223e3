"""Integrate-and-fire neurons with an adaptive threshold, the neurons of the LSNN.

    b[t] = r b[t-1] + (1 - r) s[t-1],                    r = exp(-dt / tau_adapt)
    A[t] = threshold + adapt_strength b[t] / dt
    v[t] = d v[t-1] + (1 - d) i[t] - A[t-1] s[t-1],      d = exp(-dt / tau_mem)
    s[t] = 1 if v[t] > A[t] else 0,                      distance (v[t] - A[t]) / A[t]

These are the `standard` dynamics, those of the paper. `legacy` are those of the code published with the paper: it
compares the voltage of the step before, and subtracts the threshold of the step after the spike. `eprop` is the cell of
the later e-prop code: it subtracts the baseline threshold, the unit of the distance, and has no factors (1 - d) and
(1 - r).
Source: Bellec, Salaj, Subramoney, Legenstein, Maass, Long short-term memory and learning-to-learn in networks of
spiking neurons, NeurIPS 2018; LSNN-official at commit a9158a3.
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..arguments import explained
from ..errors import ConfigError, check_flag
from ..kernels import Equation
from ..surrogate import Surrogate, Triangle
from ..vocabulary import Value, where
from .neuron import Neuron
from .values import Learn, Number


class ALIFState(NamedTuple):
    """State of an ALIF layer."""

    voltage: Tensor  # [B, *N]
    adaptation: Tensor  # [B, *N], low-passed spikes per step
    spikes: Tensor  # [B, *N], of the step before
    refractory: Tensor  # [B, *N], refractory steps left
    noise: Any = ()  # int64 [B, 2], key and step of each sample, if the surrogate is a `Firing`


@explained
@dataclass(frozen=True)
class Dynamics:
    """Options in which published versions of the neuron differ.

    Args:
        spike_from: voltage that is compared with the threshold, "new" or "old".
        reset_by: amount that a spike subtracts: "threshold_at_spike", "current_threshold" (a step later) or "baseline".
        normalise_by: unit of the distance: the moving threshold ("adaptive") or the "baseline".
        current_gain: whether the current enters with the factor 1 - d, else 1.
        adaptation_gain: whether a spike enters the adaptation with the factor 1 - r, else 1.

    Raises:
        ConfigError: an option has an unknown value.
    """

    spike_from: str = "new"
    reset_by: str = "threshold_at_spike"
    normalise_by: str = "adaptive"
    current_gain: bool = True
    adaptation_gain: bool = True

    def __post_init__(self) -> None:
        words = {
            "spike_from": ("new", "old"),
            "reset_by": ("threshold_at_spike", "current_threshold", "baseline"),
            "normalise_by": ("adaptive", "baseline"),
        }
        for name, known in words.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"Dynamics needs {name} from {', '.join(known)}, but got {getattr(self, name)!r}.")
        check_flag("Dynamics", current_gain=self.current_gain, adaptation_gain=self.adaptation_gain)


DYNAMICS = {
    "standard": Dynamics(),
    "legacy": Dynamics(spike_from="old", reset_by="current_threshold"),
    "eprop": Dynamics(reset_by="baseline", normalise_by="baseline", current_gain=False, adaptation_gain=False),
}
"""Presets of `ALIF(dynamics=...)`."""


def alif(
    current: Value, voltage: Value, adaptation: Value, spikes: Value, reset: Value,
    decay_mem: Value, decay_adapt: Value, adapt_strength: Value, threshold: Value, *,
    from_new: bool, by_baseline: bool, by_current: bool, adaptive_unit: bool,
    current_gain: bool, adaptation_gain: bool,
) -> Value:  # fmt: skip
    """Compute one step of the equations above; the keyword-only arguments select the published version."""
    before = threshold + adapt_strength * adaptation
    adaptation = decay_adapt * adaptation + where(adaptation_gain, 1 - decay_adapt, 1.0) * spikes
    now = threshold + adapt_strength * adaptation
    taken = where(by_baseline, threshold, where(by_current, now, before))
    old = voltage
    voltage = decay_mem * voltage + where(current_gain, 1 - decay_mem, 1.0) * current - taken * reset
    return (where(from_new, voltage, old) - now) / where(adaptive_unit, now, threshold), voltage, adaptation


@explained
class ALIF(Neuron):
    """Layer of adaptive LIF (ALIF) neurons; one whose adapt_strength is 0 is a LIF neuron.

    Shapes: currents [T, B, *N] -> spikes [T, B, *N], 0 or 1.
    Units: time constants, refractory and dt in ms; current, voltage and threshold in one unit; adapt_strength in that
        unit per kHz (per spike in the `eprop` dynamics).

    Args:
        tau_mem: membrane time constant, > 0.
        tau_adapt: time constant of the adaptation, > 0.
        adapt_strength: rise of the threshold per kHz of recent firing; a number or one per neuron. It must not be
            negative if the distance is in units of the moving threshold, which could then reach 0.
        threshold: baseline threshold, > 0.
        learn: names of the values to learn, such as ("tau_adapt", "adapt_strength"): they start at the given values
            and stay in their range. A strength of 0 stays 0.
        dynamics: "standard", "legacy", "eprop", or a `Dynamics`.
        refractory: time without spikes after a spike.
        detach_reset: whether no gradient passes through the reset; the one through the adaptation stays.
        surrogate: surrogate gradient of the spikes, or a `Firing` for stochastic ones.
        dt: length of one step.
        memory: "fast" saves 8 bytes per step, sample and neuron for the backward pass, "lean" 0.25.
        generator: random generator of a `Firing`; by default torch's default one.

    Raises:
        ConfigError: a value is out of range (also checked in calls), or an option is unknown.
        ShapeError: currents or state of a wrong shape, dtype or device.

    >>> import torch
    >>> spikes, state = ALIF(tau_adapt=100.0, adapt_strength=1.7)(torch.full((200, 1, 1), 0.05))
    >>> int(spikes[:100].sum()) > int(spikes[100:].sum())
    True
    """

    def __init__(
        self,
        tau_mem: Number = 20.0,
        tau_adapt: Number = 200.0,
        adapt_strength: Number = 1.6,
        threshold: Number = 0.01,
        *,
        learn: Learn = (),
        dynamics: str | Dynamics = "standard",
        refractory: float = 0.0,
        detach_reset: bool = False,
        surrogate: Surrogate = Triangle(),
        dt: float = 1.0,
        memory: str = "fast",
        generator: torch.Generator | None = None,
    ) -> None:
        if not isinstance(dynamics, Dynamics) and not (isinstance(dynamics, str) and dynamics in DYNAMICS):
            raise ConfigError(f"ALIF needs dynamics from {', '.join(DYNAMICS)}, or a Dynamics, but got {dynamics!r}.")
        self_dynamics = DYNAMICS[dynamics] if isinstance(dynamics, str) else dynamics
        self.dynamics, chosen = self_dynamics, asdict(self_dynamics)
        choices = {
            "from_new": chosen["spike_from"] == "new",
            "by_baseline": chosen["reset_by"] == "baseline",
            "by_current": chosen["reset_by"] == "current_threshold",
            "adaptive_unit": chosen["normalise_by"] == "adaptive",
            "current_gain": chosen["current_gain"],
            "adaptation_gain": chosen["adaptation_gain"],
        }
        super().__init__(
            Equation(alif, choices=tuple(choices.items())), surrogate, refractory=refractory, detach_reset=detach_reset,
            dt=dt, memory=memory, generator=generator, learn=learn, tau_mem=tau_mem, tau_adapt=tau_adapt,
            adapt_strength=adapt_strength, threshold=threshold,
        )  # fmt: skip

    def pack(self, *parts: Tensor) -> ALIFState:
        return ALIFState(*parts)

    def structure(self) -> dict[str, float | str | bool | None]:
        return {**super().structure(), **asdict(self.dynamics)}

    def _range(self, name: str) -> tuple[str, str]:
        if name == "adapt_strength" and self.dynamics.normalise_by == "adaptive":
            return ">= 0", (
                "These dynamics divide by the moving threshold, which it would bring to 0 and below. Pass a strength "
                'that is not negative, or dynamics=Dynamics(normalise_by="baseline").'
            )
        return super()._range(name)

    def constants(self) -> dict[str, Number]:
        result = super().constants()
        if self.dynamics.adaptation_gain:  # b is in spikes per step, adapt_strength in kHz
            result["adapt_strength"] = self.value("adapt_strength", per=self.dt)
        return result

    def moving_threshold(self, adaptation: Tensor) -> Tensor:
        """Return A = threshold + adapt_strength b / dt for an adaptation [..., *N]."""
        constants = self.constants()
        return constants["threshold"] + constants["adapt_strength"] * adaptation
