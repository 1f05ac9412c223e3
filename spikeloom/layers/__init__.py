"""Layers: synapses with weights, and containers that connect neurons."""

from .answer import ANSWERS, answer, answer_loss
from .branches import Branches, Residual, ResidualState
from .cost import activity_cost, rate_cost
from .delay import DelayedLinear, DelayedSynapses, DelayState
from .dropout import SequenceDropout, SequenceDropoutState
from .inner import folded
from .recurrent import Recurrent, RecurrentState
from .sequential import Sequential
from .sparse import SignedSparse, SignedSparseLinear, SparseDelayedLinear
from .two_pass import RectifiedRecurrent, TwoPass, TwoPassState

__all__ = [
    "ANSWERS",
    "Branches",
    "DelayState",
    "DelayedLinear",
    "DelayedSynapses",
    "RectifiedRecurrent",
    "Recurrent",
    "RecurrentState",
    "Residual",
    "ResidualState",
    "SequenceDropout",
    "SequenceDropoutState",
    "Sequential",
    "SignedSparse",
    "SignedSparseLinear",
    "SparseDelayedLinear",
    "TwoPass",
    "TwoPassState",
    "activity_cost",
    "answer",
    "answer_loss",
    "folded",
    "rate_cost",
]
