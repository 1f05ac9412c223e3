"""Layers: synapses with weights, and containers that connect neurons."""

from .answer import ANSWERS, answer, answer_loss
from .cost import activity_cost, rate_cost
from .delay import DelayedLinear, DelayedSynapses, DelayState
from .recurrent import Recurrent, RecurrentState
from .sequential import (
    Branches,
    Residual,
    ResidualState,
    SequenceDropout,
    SequenceDropoutState,
    Sequential,
    folded,
)
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
