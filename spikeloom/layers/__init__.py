"""What holds weights or wires neurons."""

from .cost import rate_cost
from .delay import DelayedLinear, DelayState
from .encode import poisson
from .recurrent import Recurrent, RecurrentState
from .sequential import Sequential

__all__ = ["DelayState", "DelayedLinear", "Recurrent", "RecurrentState", "Sequential", "poisson", "rate_cost"]
