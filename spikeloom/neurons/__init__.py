"""Current in, spikes out, elementwise. A neuron is one file: its equation, its state, its class."""

from .alif import ALIF, DYNAMICS, ALIFState, Dynamics
from .custom import FromEquation
from .lif import LIF, LIFState
from .neuron import Neuron
from .parallel import FIRING, ParaLIF
from .psn import PSN, MaskedPSN, SlidingPSN
from .readout import LeakyReadout, LeakyState
from .synaptic import SynapticLIF, SynapticReadout

__all__ = [
    "ALIF", "DYNAMICS", "FIRING", "LIF", "PSN", "ALIFState", "Dynamics", "FromEquation", "LIFState", "LeakyReadout",
    "LeakyState", "MaskedPSN", "Neuron", "ParaLIF", "SlidingPSN", "SynapticLIF", "SynapticReadout",
]  # fmt: skip
