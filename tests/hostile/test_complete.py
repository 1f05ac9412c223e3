"""Every public name has a row: who adds one is told where to put it."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch

import spikeloom
from spikeloom import convert, data, encoding, firing, kernels, layers, models, neurons, rules, surrogate
from spikeloom.core import Stateful
from spikeloom.encoding import events
from spikeloom.layers import lateral
from spikeloom.layers.hebbian_memory import layer as memory

from .calls import CALLS, DATA
from .layers import LAYERS

LISTED = (spikeloom, layers, neurons, models, rules, convert, kernels, memory)
"""Public is what stands in `__all__`."""
DEFINED = (surrogate, firing, events, lateral)
"""Public is what the module defines."""
ELSEWHERE = {"fit"}
"""Its arguments are tried in tests/train/test_fit_arguments.py."""
LOOPS = ("event_camera_loop", "raster_loop")
"""Compiled loops behind the readers; nobody calls them but those."""
INSIDE = (
    "events.check_split",
    "members.opened_zip",
    "wav.read",
    "spike_trains.unit_type",
    "spike_trains.narrowed",
    "spike_trains.whole",
    "rates.check_samples",
    "rates.check_unit",
    "rates.kind_of",
)
"""Called by the readers, the encoders and by `SpikeTrains`, which say what is wrong."""
WITHOUT_ARGUMENTS = {"version", "advice", "datasets", "Buffer", "folder"}


def defined(module: ModuleType) -> Iterator[str]:
    for name, thing in vars(module).items():
        if not name.startswith("_") and getattr(thing, "__module__", "") == module.__name__:
            yield name


def callable_by_strangers(thing: Any) -> bool:
    """A function, or a class that is made by calling it: no state, interface, table or type."""
    if inspect.isfunction(thing):
        return True
    if not inspect.isclass(thing) or inspect.isabstract(thing) or getattr(thing, "_is_protocol", False):
        return False
    return not issubclass(thing, (tuple, dict, Exception, torch.autograd.Function))


def rows() -> set[str]:
    """What has a row, without the variant."""
    return {key.split("-")[0] for key in LAYERS} | set(CALLS)


def test_every_public_name_of_the_library_has_a_row() -> None:
    names = {(module, name) for module in LISTED for name in module.__all__ if not name.startswith("__")}
    names |= {(module, name) for module in DEFINED for name in defined(module)}
    interfaces = {
        "SignedSparse",
        "DelayedSynapses",
        "Stateful",
        "Neuron",
        "Surrogate",
        "Firing",
        "Curve",
        "fields_of",
        "check_surrogate",
    }
    missing = sorted(
        f"{module.__name__}.{name}"
        for module, name in names
        if callable_by_strangers(getattr(module, name)) and name not in rows() | interfaces | ELSEWHERE
    )
    assert not missing, f"no row in tests/hostile/layers.py or calls.py for {', '.join(missing)}"


def test_every_layer_is_called_and_made() -> None:
    """A layer is in both tables: its inputs in one, its arguments in the other."""
    for module in LISTED:
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) and issubclass(thing, Stateful) and callable_by_strangers(thing):
                inside = {key.split("-")[0] for key in LAYERS}
                known = name in inside or name in ("Neuron", "Stateful", "DelayedSynapses", "ConvRateNetwork")
                assert known, f"no row in tests/hostile/layers.py for {name}"


def test_every_reader_and_encoder_has_a_row() -> None:
    missing: list[str] = []
    for package, found in [(one, found) for one in (data, encoding) for found in pkgutil.iter_modules(one.__path__)]:
        if found.name in LOOPS:
            continue
        module = importlib.import_module(f"{package.__name__}.{found.name}")
        known = {key.split(".")[1] for key in DATA if key.startswith(f"{found.name}.")} | set(CALLS)
        names = [name for name in defined(module) if callable_by_strangers(getattr(module, name))]
        missing += [f"{found.name}.{name}" for name in names if name not in known | WITHOUT_ARGUMENTS]
        missing = [name for name in missing if name not in INSIDE]
    assert not missing, f"no row in tests/hostile/calls.py for {', '.join(sorted(missing))}"
