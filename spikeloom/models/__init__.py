"""Whole networks of the papers."""

from .lsnn import LSNN, Activity, LSNNState, LSTMBaseline, Trace
from .parallel import NEURONS, NeuronOptions, ParallelActivity, ParallelNetwork

__all__ = [
    "LSNN", "NEURONS", "Activity", "LSNNState", "LSTMBaseline", "NeuronOptions", "ParallelActivity", "ParallelNetwork",
    "Trace",
]  # fmt: skip
