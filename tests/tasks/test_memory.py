"""What all tasks with a Hebbian memory have in common."""

import dataclasses
import importlib
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from spikeloom import cli
from spikeloom.errors import ConfigError
from spikeloom.train.run import Run

PAGE = Path(__file__).parents[2] / "docs/reference/memory-options.md"
DRAWN = {
    "associations": ("training", "validation"),
    "omniglot": ("training", "validation", "held out"),
    "cross_modal": ("training", "validation"),
    "concentration": ("deals", "validation", "images"),
}
"""Streams of the data, by task."""


def train(task: str, run: Run, **options: Any) -> Any:
    module = importlib.import_module(f"spikeloom.tasks.{task}")
    config = dataclasses.replace(module.PRESETS["smoke"], **options)
    module.train(config, run)
    return config


@pytest.mark.parametrize("task", ["associations", "omniglot", "cross_modal", "babi"])
def test_a_silent_memory_answers_nothing_and_says_so(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path, task, "smoke", 0, quiet=True)
    plain = {"pretraining": "none", "tune_updates": 0, "freeze_encoder": False} if task == "omniglot" else {}
    config = train(task, run, threshold=1e4, updates=21, validate_every=30, rate_cost=0.0, **plain)
    assert capsys.readouterr().out.count("the reading layer has been silent for 20 updates") == 1
    losses = [line["loss"] for line in run.metrics()]
    if task in ("associations", "omniglot"):
        classes = config.classes if task == "associations" else config.ways
        assert losses == pytest.approx([math.log(classes)] * 21, rel=1e-6)
    elif task == "babi":
        assert losses == pytest.approx([losses[0]] * 21, rel=1e-6)
        assert math.exp(losses[0]) == pytest.approx(round(math.exp(losses[0])), rel=1e-5)  # words there are
    else:
        assert run.metrics()[-1]["rate_pixels"] == 0


@pytest.mark.parametrize("task", [*DRAWN, "babi"])
def test_every_option_stands_on_the_page(task: str) -> None:
    known = set(re.findall(r"--(?:no-)?([a-z0-9-]+)", PAGE.read_text().replace("_", "-")))
    fields = dataclasses.fields(importlib.import_module(f"spikeloom.tasks.{task}").Config)
    assert [field.name for field in fields if field.name.replace("_", "-") not in known] == []


@pytest.mark.parametrize("task", DRAWN)
def test_runs_of_several_seeds_can_share_their_data(task: str, tmp_path: Path) -> None:
    def streams(name: str, seed: int, data_seed: int) -> dict[str, int]:
        run = Run(tmp_path / name, task, "smoke", seed, quiet=True)
        train(task, run, data_seed=data_seed)
        return {purpose: run.generator(purpose).initial_seed() for purpose in (*DRAWN[task], "weights")}

    one, other, own = streams("one", 1, 7), streams("other", 2, 7), streams("own", 2, -1)
    for purpose in DRAWN[task]:
        assert one[purpose] == other[purpose], purpose
        assert own[purpose] != other[purpose], purpose
    assert one["weights"] != other["weights"] == own["weights"]


@pytest.mark.parametrize("task", DRAWN)
def test_a_negative_seed_of_the_data_is_refused(task: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="data_seed must be at least 0, or -1 for the seed of the run, but is -2"):
        train(task, Run(tmp_path, task, "smoke", 0, quiet=True), data_seed=-2)


def test_sizes_and_rates_of_layers_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert cli.main(["train", "associations", "--preset", "smoke", "--out", str(folder)]) == 0
    said = capsys.readouterr().out.splitlines()
    layers = json.loads((folder / "activity.json").read_text())["layers"]
    for layer in layers:
        assert f"layer {layer['name']}: {layer['neurons']} neurons, mean rate {layer['rate_hz']:.4g} Hz" in said
    sizes, rates = (torch.tensor([layer[name] for layer in layers]).double() for name in ("neurons", "rate_hz"))
    mean = float((sizes * rates).sum() / sizes.sum())
    assert f"layer all of these that spike: {int(sizes.sum())} neurons, mean rate {mean:.4g} Hz" in said
    assert rates.min() > 0
    assert cli.main(["plot", str(folder)]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("layer")] == [
        line for line in said if line.startswith("layer")
    ]
