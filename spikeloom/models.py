"""Whole networks of the papers, by the names they had before each paper got its folder."""

from .papers.diehl_cook.network import DiehlCookNetwork
from .papers.lsnn.network import LSNN, Activity, LSNNState, LSTMBaseline, Trace
from .papers.nengo.network import ConvRateNetwork
from .papers.parallel_neurons.network import NEURONS, NeuronOptions, ParallelActivity, ParallelNetwork

__all__ = [
    "LSNN", "NEURONS", "Activity", "ConvRateNetwork", "DiehlCookNetwork", "LSNNState", "LSTMBaseline", "NeuronOptions",
    "ParallelActivity", "ParallelNetwork", "Trace",
]  # fmt: skip
