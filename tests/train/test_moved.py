"""States that were saved before a class moved are states of that class today."""

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import pytest
import torch

from spikeloom.core import map_state
from spikeloom.errors import ConfigError
from spikeloom.papers.lsnn.network import LSNN
from spikeloom.train import config, moved, series
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


@dataclass(frozen=True)
class Options:
    lr: float = 0.1
    recordings: Literal["camera", "nmnist"] = "camera"


@dataclass(frozen=True)
class StillMadeUp:
    made_up: bool = True


def test_an_option_that_was_removed_is_left_out_where_it_changed_nothing() -> None:
    saved = {"lr": 0.5, "recordings": "nmnist", "made_up": False}
    assert config.from_json(Options, saved, "config.json: options") == Options(0.5, "nmnist")
    assert config.from_json(StillMadeUp, {"made_up": True}, "config.json: options") == StillMadeUp()


@pytest.mark.parametrize(
    ("values", "message"), [({"made_up": True}, "has made_up True"), ({"recordings": "made_up"}, "is 'made_up'")]
)
def test_runs_on_made_up_data_are_refused_with_a_way_out(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"config.json.*{message}, but made-up data are no longer part of the pack"):
        config.from_json(Options, {"lr": 0.5, "recordings": "camera", **values}, "config.json: options")


def test_a_run_of_before_is_a_member_of_a_series_of_today(tmp_path: Path) -> None:
    several = series.Series("shd", "sb", [0], {"lr": 0.5})
    saved = config.to_json(several.member(0)) | {"options": {"lr": 0.5, "made_up": False}}
    (tmp_path / "seed0").mkdir()
    (tmp_path / "seed0" / "config.json").write_text(json.dumps(saved))
    series.check_members(tmp_path, several)
