"""One model into another: rates to spikes, networks of rectified units to spiking ones, thresholds."""

from .pairs import set_scale, to_hybrid, to_rate, to_spiking
from .present import OUTPUT, Presented, Probe, accuracy_over_steps, present

__all__ = [
    "OUTPUT", "Presented", "Probe", "accuracy_over_steps", "present", "set_scale", "to_hybrid", "to_rate", "to_spiking",
]  # fmt: skip
