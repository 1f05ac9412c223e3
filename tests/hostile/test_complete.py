"""Every public layer has a row: who adds one is told where to put it."""

import inspect

import pytest

import spikeloom
from spikeloom import layers, models, neurons
from spikeloom.core import Stateful
from spikeloom.layers import memory

from .layers import LAYERS


@pytest.mark.parametrize("module", [spikeloom, layers, neurons, models, memory], ids=lambda module: module.__name__)
def test_every_public_layer_has_a_row(module: object) -> None:
    known = {key.split("-")[0] for key in LAYERS} | {"DelayedSynapses", "ConvRateNetwork"}
    for name in module.__all__:  # type: ignore[attr-defined]
        thing = getattr(module, name)
        if inspect.isclass(thing) and issubclass(thing, Stateful) and not inspect.isabstract(thing):
            assert name in known, f"no row in tests/hostile/layers.py for {name}"
