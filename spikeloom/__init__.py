"""Spiking networks in PyTorch, without the loops.

from spikeloom import LIF, Sequential
net = Sequential(nn.Linear(700, 128), LIF(), nn.Linear(128, 20))
out, state = net(spikes)        # [T, B, ...], time first; net(more, state) carries on

Every name below is loaded when it is first used: importing spikeloom alone does not load torch.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import convert, data, encoding, kernels, layers, neurons, rules, surrogate
    from .convert import Converted, to_hybrid, to_rate, to_spiking
    from .convert.present import present
    from .core import Stateful
    from .data import ImageDataset, PaddedBatch, SoundDataset, SpikeDataset, StoryDataset, collate, frames
    from .encoding import delta, latency, poisson, population, rate, repeat
    from .errors import CheckpointError, ConfigError, DataError, ExportError, ShapeError, SpikeloomError, TrainingError
    from .inspect import activity, doctor, watch
    from .kernels import Equation
    from .layers import (
        Branches,
        DelayedLinear,
        Recurrent,
        Residual,
        SequenceDropout,
        Sequential,
        SignedSparseLinear,
        SparseDelayedLinear,
        TwoPass,
    )
    from .layers.hebbian_memory import HebbianRead, HebbianWrite
    from .models import LSNN, DiehlCookNetwork, ParallelNetwork
    from .neurons import (
        ALIF,
        LIF,
        PSN,
        DiehlCook,
        FromEquation,
        IntegrateAndFire,
        LeakyReadout,
        LIFCurve,
        Lowpass,
        MaskedPSN,
        MembraneLIF,
        ParaLIF,
        RateNeuron,
        ReLUCurve,
        SlidingPSN,
        SynapticLIF,
        SynapticReadout,
    )
    from .rules import (
        STDP,
        DeepR,
        Hebbian,
        hebbian_stdp,
        pair_stdp,
        post_stdp,
        triplet_stdp,
        weight_dependent_stdp,
    )
    from .surrogate import Arctan, FastSigmoid, Gaussian, Sigmoid, Surrogate, Triangle
    from .train.opened import open_run
    from .train.supervised import fit

__version__ = "0.1.0"

__all__ = [
    "ALIF",
    "LIF",
    "LSNN",
    "PSN",
    "STDP",
    "Arctan",
    "Branches",
    "CheckpointError",
    "ConfigError",
    "Converted",
    "DataError",
    "DeepR",
    "DelayedLinear",
    "DiehlCook",
    "DiehlCookNetwork",
    "Equation",
    "ExportError",
    "FastSigmoid",
    "FromEquation",
    "Gaussian",
    "Hebbian",
    "HebbianRead",
    "HebbianWrite",
    "ImageDataset",
    "IntegrateAndFire",
    "LIFCurve",
    "LeakyReadout",
    "Lowpass",
    "MaskedPSN",
    "MembraneLIF",
    "PaddedBatch",
    "ParaLIF",
    "ParallelNetwork",
    "RateNeuron",
    "ReLUCurve",
    "Recurrent",
    "Residual",
    "SequenceDropout",
    "Sequential",
    "ShapeError",
    "Sigmoid",
    "SignedSparseLinear",
    "SlidingPSN",
    "SoundDataset",
    "SparseDelayedLinear",
    "SpikeDataset",
    "SpikeloomError",
    "Stateful",
    "StoryDataset",
    "Surrogate",
    "SynapticLIF",
    "SynapticReadout",
    "TrainingError",
    "Triangle",
    "TwoPass",
    "activity",
    "collate",
    "convert",
    "data",
    "delta",
    "doctor",
    "encoding",
    "fit",
    "frames",
    "hebbian_stdp",
    "kernels",
    "latency",
    "layers",
    "neurons",
    "open_run",
    "pair_stdp",
    "poisson",
    "population",
    "post_stdp",
    "present",
    "rate",
    "repeat",
    "rules",
    "surrogate",
    "to_hybrid",
    "to_rate",
    "to_spiking",
    "triplet_stdp",
    "watch",
    "weight_dependent_stdp",
]

_HOMES = {
    "convert": "Converted present to_hybrid to_rate to_spiking",
    "core": "Stateful",
    "data": "ImageDataset PaddedBatch SoundDataset SpikeDataset StoryDataset collate frames",
    "encoding": "delta latency poisson population rate repeat",
    "errors": "CheckpointError ConfigError DataError ExportError ShapeError SpikeloomError TrainingError",
    "inspect": "activity doctor watch",
    "kernels": "Equation",
    "layers": "Branches DelayedLinear Recurrent Residual SequenceDropout Sequential SignedSparseLinear "
    "SparseDelayedLinear TwoPass",
    "layers.hebbian_memory": "HebbianRead HebbianWrite",
    "models": "LSNN DiehlCookNetwork ParallelNetwork",
    "neurons": "ALIF LIF PSN DiehlCook FromEquation IntegrateAndFire LIFCurve LeakyReadout Lowpass MaskedPSN "
    "MembraneLIF ParaLIF RateNeuron ReLUCurve SlidingPSN SynapticLIF SynapticReadout",
    "rules": "STDP DeepR Hebbian hebbian_stdp pair_stdp post_stdp triplet_stdp weight_dependent_stdp",
    "surrogate": "Arctan FastSigmoid Gaussian Sigmoid Surrogate Triangle",
    "train.opened": "open_run",
    "train.supervised": "fit",
}
"""Where each public name is defined; other names of `__all__` are modules."""
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    """Load a public name, or a module of the package, when it is first used."""
    if name in _HOME:
        return getattr(_import_module(f".{_HOME[name]}", __name__), name)
    if name in __all__:
        return _import_module(f".{name}", __name__)
    raise AttributeError(f"spikeloom has no public name {name!r}; it has {', '.join(__all__)}.")


def __dir__() -> list[str]:
    """List what there is, for `dir` and completion."""
    return sorted({*globals(), *__all__})
