import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from spikeloom.errors import ConfigError
from spikeloom.train import config
from tests import tiny_task


@dataclass(frozen=True)
class Inner:
    tau: float = 20.0


@dataclass(frozen=True)
class Everything:
    steps: int = 3
    lr: float = 0.1
    bias: bool = True
    model: Literal["LSNN", "LIF"] = "LSNN"
    sizes: tuple[int, ...] = (3, 4)
    pair: tuple[int, str] = (1, "a")
    names: list[str] = field(default_factory=list)
    table: dict[str, float] = field(default_factory=dict)
    limit: int | None = None
    folder: Path = Path("data")
    inner: Inner = field(default_factory=Inner)
    noted: Annotated[float, "with a note"] = 1.0
    anything: Any = "x"


def read(**changes: Any) -> Any:
    values = json.loads(json.dumps({**config.to_json(Everything()), **changes}))
    return config.from_json(Everything, values, "config.json")


def test_options_survive_json() -> None:
    assert read() == Everything()
    full = Everything(names=["a"], table={"b": 1.0}, limit=4, inner=Inner(5.0), bias=False, sizes=())
    assert config.from_json(Everything, json.loads(json.dumps(config.to_json(full))), "here") == full


def test_an_integer_is_a_float() -> None:
    found = read(lr=1)
    assert isinstance(found.lr, float)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stesp": 3}, "config.json has an unknown key 'stesp'. Did you mean 'steps'"),
        ({"steps": 3.5}, "config.json: steps must be int, but is 3.5. Correct the value."),
        ({"steps": True}, "steps must be int, but is True"),
        ({"bias": 1}, "bias must be bool, true or false, but is 1"),
        ({"lr": "0.1"}, "lr must be float, but is '0.1'"),
        ({"lr": 10**400}, "lr is 1000.*0, beyond any float"),
        ({"model": "GRU"}, "model must be one of 'LSNN', 'LIF', but is 'GRU'"),
        ({"sizes": [1, "b"]}, r"sizes\[1\] must be int, but is 'b'"),
        ({"pair": [1]}, "pair must have 2 items, but has 1"),
        ({"table": {"a": "b"}}, r"table\['a'\] must be float"),
        ({"limit": "no"}, "limit must be int or None, but is 'no'"),
        ({"inner": {"tua": 1.0}}, "inner has an unknown key 'tua'. Did you mean 'tau'"),
        ({"inner": {}}, "inner lacks 'tau'. Add what is missing"),
        ({"inner": 3}, "inner must be an object with the fields of Inner, but is 3"),
    ],
)
def test_a_wrong_option_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(**changes)


def write(folder: Path, text: str) -> Path:
    (folder / "config.json").write_text(text)
    return folder


def test_the_file_is_read_strictly(tmp_path: Path) -> None:
    sound = {"task": "t", "preset": "p", "seed": 1, "options": {}}
    assert config.read(write(tmp_path, json.dumps(sound))).seed == 1
    with pytest.raises(ConfigError, match=r"lacks 'task', 'preset', 'seed'"):
        config.read(write(tmp_path, '{"options": {}}'))
    with pytest.raises(ConfigError, match=r"unknown key 'sed'. Did you mean 'seed'"):
        config.read(write(tmp_path, json.dumps({**sound, "sed": 1})))
    with pytest.raises(ConfigError, match=r"config.json is not JSON.*Correct it there"):
        config.read(write(tmp_path, "{"))


def test_a_folder_without_config_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not a run folder: it has no config.json"):
        config.read(tmp_path)


def test_presets_by_name() -> None:
    assert config.preset(tiny_task, "smoke", "Task tiny").updates == 4
    with pytest.raises(
        ConfigError, match=r"Task tiny has no preset 'smoky'. Did you mean 'smoke'. There is: paper, smoke"
    ):
        config.preset(tiny_task, "smoky", "Task tiny")


def test_choices_of_nothing() -> None:
    assert config.choices("a", []) == "There is none."
