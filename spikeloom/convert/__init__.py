"""Conversion of models: rate networks and ordinary torch.nn networks to spiking ones, thresholds, NIR."""

from .balance import QCFS, balance_thresholds, fraction, input_range, maximum, percentile, qcfs
from .conversion import report, verify
from .converted import Converted
from .pairs import set_scale, to_hybrid, to_rate, to_spiking
from .present import OUTPUT, Presented, Probe, accuracy_curve, accuracy_over_steps, present
from .spiking import convert

__all__ = [
    "OUTPUT", "QCFS", "Converted", "Presented", "Probe", "accuracy_curve", "accuracy_over_steps", "balance_thresholds",
    "convert", "fraction", "input_range", "maximum", "percentile", "present", "qcfs", "report", "set_scale",
    "to_hybrid", "to_rate", "to_spiking", "verify",
]  # fmt: skip
