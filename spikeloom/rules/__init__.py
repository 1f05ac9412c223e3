"""How connections change."""

from .deep_r import Counts, DeepR, SignedSynapses

__all__ = ["Counts", "DeepR", "SignedSynapses"]
