"""Hebbian memory in fast weights, written and read by spikes: `layer`, and its loops for CPU and GPU."""

from .layer import HebbianRead, HebbianWrite, ReadState, WriteState, align_, memory_neuron, xavier_

__all__ = ["HebbianRead", "HebbianWrite", "ReadState", "WriteState", "align_", "memory_neuron", "xavier_"]
