"""Learning rules of synapses: rewiring, STDP, and Hebbian fast weights."""

from .deep_r import Counts, DeepR, SignedSynapses
from .fast_weights import Hebbian, hebb, inverted_oja, oja
from .local import LocalRule
from .stdp import STDP, hebbian_stdp, normalise, pair_stdp, post_stdp, triplet_stdp, weight_dependent_stdp

__all__ = [
    "STDP", "Counts", "DeepR", "Hebbian", "LocalRule", "SignedSynapses", "hebb", "hebbian_stdp", "inverted_oja",
    "normalise", "oja", "pair_stdp", "post_stdp", "triplet_stdp", "weight_dependent_stdp",
]  # fmt: skip
