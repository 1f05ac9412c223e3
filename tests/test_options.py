"""Options of tasks: each has a text and a heading; a part of a Config keeps its texts where defaults change."""

import dataclasses
from typing import Any

import pytest

from spikeloom.cli.find import find_task
from spikeloom.cli.help import tasks
from spikeloom.cli.options import documented, grouped, parse_options
from spikeloom.train.parts import CheckpointOptions, LearningRateOptions


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
