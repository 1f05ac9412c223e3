"""Whole networks of the papers."""

from .conv import ConvRateNetwork
from .diehl_cook import DiehlCookNetwork
from .lsnn import LSNN, Activity, LSNNState, LSTMBaseline, Trace
from .parallel import NEURONS, NeuronOptions, ParallelActivity, ParallelNetwork

__all__ = [
    "LSNN", "NEURONS", "Activity", "ConvRateNetwork", "DiehlCookNetwork", "LSNNState", "LSTMBaseline", "NeuronOptions",
    "ParallelActivity", "ParallelNetwork", "Trace",
]  # fmt: skip
