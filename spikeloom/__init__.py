"""Spiking networks in PyTorch, without the loops.

from spikeloom.neurons import LIF
from spikeloom.layers import Sequential
net = Sequential(nn.Linear(700, 128), LIF(), nn.Linear(128, 20))
out, state = net(spikes)        # [T, B, ...], time first; net(more, state) carries on
"""

__version__ = "0.1.0"

__all__ = [
    "ALIF",
    "LIF",
    "LSNN",
    "PSN",
    "STDP",
    "Branches",
    "DeepR",
    "DelayedLinear",
    "DiehlCook",
    "DiehlCookNetwork",
    "FromEquation",
    "LIFCurve",
    "LeakyReadout",
    "Lowpass",
    "MaskedPSN",
    "MembraneLIF",
    "ParaLIF",
    "ParallelNetwork",
    "RateNeuron",
    "ReLUCurve",
    "Recurrent",
    "Residual",
    "SequenceDropout",
    "Sequential",
    "SignedSparseLinear",
    "SlidingPSN",
    "SparseDelayedLinear",
    "Stateful",
    "SynapticLIF",
    "SynapticReadout",
    "TwoPass",
    "hebbian",
    "pair_stdp",
    "post_stdp",
    "present",
    "to_hybrid",
    "to_rate",
    "to_spiking",
    "triplet_stdp",
    "weight_dependent_stdp",
]


def __getattr__(name: str) -> object:
    """Public names, loaded when they are first used: importing spikeloom alone does not load torch."""
    from importlib import import_module

    homes = {"core": ("Stateful",), "models": ("LSNN", "DiehlCookNetwork", "ParallelNetwork")}
    homes["neurons"] = ("ALIF", "LIF", "FromEquation", "LeakyReadout", "ParaLIF", "SynapticLIF", "SynapticReadout")
    homes["neurons"] += ("PSN", "MaskedPSN", "SlidingPSN", "DiehlCook", "MembraneLIF")
    homes["rules"] = ("DeepR", "STDP", "hebbian", "pair_stdp", "post_stdp", "triplet_stdp", "weight_dependent_stdp")
    homes["neurons"] += ("LIFCurve", "Lowpass", "RateNeuron", "ReLUCurve")
    homes["convert"] = ("present", "to_hybrid", "to_rate", "to_spiking")
    homes["layers"] = ("DelayedLinear", "Recurrent", "Sequential", "SignedSparseLinear", "SparseDelayedLinear")
    homes["layers"] += ("TwoPass", "Branches", "Residual", "SequenceDropout")
    for home, names in homes.items():
        if name in names:
            return getattr(import_module(f".{home}", __name__), name)
    raise AttributeError(f"spikeloom has no public name {name!r}; it has {', '.join(__all__)}.")
