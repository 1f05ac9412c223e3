"""States that were saved before a class moved are states of that class today."""

import importlib
from typing import NamedTuple

import pytest
import torch

from spikeloom.core import map_state
from spikeloom.papers.lsnn.network import LSNN
from spikeloom.train import moved
from spikeloom.train.checkpoint import Carry


@pytest.mark.parametrize("module", moved.MODULES.values())
def test_every_module_is_there(module: str) -> None:
    importlib.import_module(f"spikeloom.{module}")


@pytest.mark.parametrize("name", moved.CLASSES.values())
def test_every_class_is_there(name: str) -> None:
    module, _, path = name.partition(":")
    assert issubclass(getattr(importlib.import_module(f"spikeloom.{module}"), path), tuple)


def test_the_state_of_a_network_is_read_from_a_checkpoint_of_before() -> None:
    net = LSNN(3, 4, 2, 2, delays=3)
    state = net(torch.ones(5, 2, 3))[1]
    saved = Carry(state=state).state_dict()
    old = saved["state"] | {"tuple": "spikeloom.models.lsnn:LSNNState"}
    assert old != saved["state"]
    carry = Carry(state=None)
    carry.load_state_dict({"state": old})
    assert type(carry.state) is type(state)
    map_state(torch.testing.assert_close, carry.state, state)


class Own(NamedTuple):
    value: torch.Tensor


def test_other_classes_are_as_they_were() -> None:
    carry = Carry(own=None)
    carry.load_state_dict(Carry(own=Own(torch.ones(2))).state_dict())
    assert isinstance(carry.own, Own)
