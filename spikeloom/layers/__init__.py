"""What holds weights or wires neurons."""

from .cost import rate_cost
from .delay import DelayedLinear, DelayedSynapses, DelayState
from .encode import poisson
from .recurrent import Recurrent, RecurrentState
from .sequential import Sequential
from .sparse import SignedSparse, SignedSparseLinear, SparseDelayedLinear

__all__ = [
    "DelayState",
    "DelayedLinear",
    "DelayedSynapses",
    "Recurrent",
    "RecurrentState",
    "Sequential",
    "SignedSparse",
    "SignedSparseLinear",
    "SparseDelayedLinear",
    "poisson",
    "rate_cost",
]
