"""Current in, spikes out, elementwise. A neuron is one file: its equation, its state, its class."""

from .alif import ALIF, DYNAMICS, ALIFState, Dynamics
from .custom import FromEquation
from .lif import LIF, LIFState
from .neuron import Neuron
from .readout import LeakyReadout, LeakyState

__all__ = [
    "ALIF", "DYNAMICS", "LIF", "ALIFState", "Dynamics", "FromEquation", "LIFState", "LeakyReadout", "LeakyState",
    "Neuron",
]  # fmt: skip
