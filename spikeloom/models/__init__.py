"""Whole networks of the papers."""

from .lsnn import LSNN, Activity, LSNNState, LSTMBaseline, Trace

__all__ = ["LSNN", "Activity", "LSNNState", "LSTMBaseline", "Trace"]
