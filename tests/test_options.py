"""Options of tasks: each has a text and a heading; a part of a Config keeps its texts where defaults change."""

import dataclasses
from typing import Any

import pytest

from spikeloom.cli.find import find_task
from spikeloom.cli.help import tasks
from spikeloom.cli.options import documented, grouped, headings, parse_options
from spikeloom.train.parts import CheckpointOptions, LearningRateOptions, Options


@pytest.mark.parametrize("name", tasks())
def test_every_option_has_a_text_and_stands_under_one_heading(name: str) -> None:
    config = next(iter(find_task(name).PRESETS.values()))
    fields = [field.name for field in dataclasses.fields(config)]
    texts = documented(type(config))
    assert [field for field in fields if not texts.get(field)] == []
    parts = grouped(config)
    assert sorted(field for part in parts.values() for field in vars(part)) == sorted(fields)
    assert next(iter(parts)) == "task"
    assert {name: value for part in parts.values() for name, value in vars(part).items()} == vars(config)
    assert [heading for heading, part in parts.items() if heading != "task" and len(vars(part)) < 2] == []


@pytest.mark.parametrize("name", tasks())
def test_a_flag_changes_its_option_alone(name: str) -> None:
    task = find_task(name)
    preset = next(iter(task.PRESETS))
    run, config = parse_options(task, name, ["--lr", "0.125", "--seed", "7"])
    assert (run.preset, run.seed) == (preset, 7)
    assert config == dataclasses.replace(task.PRESETS[preset], lr=0.125)


def test_a_part_keeps_its_text_where_the_default_is_another(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclasses.dataclass(frozen=True)
    class Config(CheckpointOptions, LearningRateOptions):
        updates: int = 3
        """Number of updates."""
        lr: float = 0.25

    task = find_task("store_recall")
    own: Any = type("Own", (), {**vars(task), "Config": Config, "PRESETS": {"default": Config()}})
    with pytest.raises(SystemExit):
        parse_options(own, "own", ["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for heading in ("run options", "task options", "checkpoint options", "learning-rate options"):
        assert heading in shown
    assert "--lr FLOAT Initial learning rate of Adam. (default: 0.25)" in shown.replace("│ │ ", "")
    assert "--updates INT Number of updates. (default: 3)" in shown.replace("│ │ ", "")


def test_one_option_alone_has_no_heading() -> None:
    @dataclasses.dataclass(frozen=True)
    class SeedOptions(Options):
        data_seed: int = 0

    @dataclasses.dataclass(frozen=True)
    class SampleOptions(SeedOptions):
        length: int = 1

    @dataclasses.dataclass(frozen=True)
    class LateCheckpointOptions(CheckpointOptions):
        late: int = 1

    @dataclasses.dataclass(frozen=True)
    class MinuteOptions(Options):
        minutes: float = 0.0

    @dataclasses.dataclass(frozen=True)
    class Config(SampleOptions, LateCheckpointOptions, MinuteOptions):
        updates: int = 3

    assert headings(Config) == {
        "task": ["updates", "minutes"], "sample": ["length", "data_seed"],
        "checkpoint": ["validate_every", "select", "checkpoint_every", "late"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "heading"),
    [("PPOOptions", "PPO"), ("STDPRuleOptions", "STDP_rule"), ("RunOptions", "task"), ("ClassOptions", "task"),
     ("Options", "task"), ("lower", "task")],
)  # fmt: skip
def test_headings_of_classes_of_any_name(name: str, heading: str) -> None:
    part = dataclasses.make_dataclass(name, [("a", int, 1), ("b", int, 2)], frozen=True)
    kind = dataclasses.make_dataclass("Config", [("c", int, 3)], bases=(part,), frozen=True)
    assert {one for one, names in headings(kind).items() if "a" in names} == {heading}
    own: Any = type("Own", (), {"Config": kind, "PRESETS": {"default": kind()}})
    assert parse_options(own, "own", ["--a", "5"])[1] == kind(a=5)


def test_the_lines_of_a_text_are_joined() -> None:
    for name in tasks():
        assert not [text for text in documented(find_task(name).Config).values() if "\n" in text]
