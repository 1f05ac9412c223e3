"""How connections change."""

from .deep_r import Counts, DeepR, SignedSynapses
from .local import LocalRule
from .stdp import STDP, hebbian, normalise, pair_stdp, post_stdp, triplet_stdp, weight_dependent_stdp

__all__ = [
    "STDP", "Counts", "DeepR", "LocalRule", "SignedSynapses", "hebbian", "normalise", "pair_stdp", "post_stdp",
    "triplet_stdp", "weight_dependent_stdp",
]  # fmt: skip
