"""Neurons: elementwise layers from currents to spikes. A neuron is one file: its equation, its state, its class."""

from .alif import ALIF, DYNAMICS, ALIFState, Dynamics
from .curves import Curve, LeakyReLUCurve, LIFCurve, QCFSCurve, ReLUCurve, SigmoidCurve, TanhCurve
from .custom import FromEquation
from .diehl_cook import DiehlCook, MembraneLIF
from .integrate_and_fire import IntegrateAndFire
from .lif import LIF, LIFState
from .lowpass import Lowpass
from .neuron import Neuron
from .parallel import FIRING, ParaLIF
from .psn import PSN, MaskedPSN, SlidingPSN
from .rate import RateNeuron, rate_neurons
from .readout import LeakyReadout, LeakyState
from .synaptic import SynapticLIF, SynapticReadout

__all__ = [
    "ALIF", "DYNAMICS", "FIRING", "LIF", "PSN", "ALIFState", "Curve", "DiehlCook", "Dynamics", "FromEquation",
    "IntegrateAndFire",
    "LIFCurve", "LIFState", "LeakyReLUCurve", "LeakyReadout", "LeakyState", "Lowpass", "MaskedPSN", "MembraneLIF",
    "Neuron", "ParaLIF", "QCFSCurve", "RateNeuron", "ReLUCurve", "SigmoidCurve", "SlidingPSN", "SynapticLIF",
    "SynapticReadout", "TanhCurve", "rate_neurons",
]  # fmt: skip
