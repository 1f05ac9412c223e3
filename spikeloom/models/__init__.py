"""Whole networks of the papers."""

from .conv import ConvRateNetwork
from .lsnn import LSNN, Activity, LSNNState, LSTMBaseline, Trace
from .parallel import NEURONS, NeuronOptions, ParallelActivity, ParallelNetwork

__all__ = [
    "LSNN", "NEURONS", "Activity", "ConvRateNetwork", "LSNNState", "LSTMBaseline", "NeuronOptions", "ParallelActivity",
    "ParallelNetwork", "Trace",
]  # fmt: skip
