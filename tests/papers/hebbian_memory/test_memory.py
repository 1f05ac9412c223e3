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
from spikeloom.cli.find import find_task
from spikeloom.errors import ConfigError
from spikeloom.papers.hebbian_memory import cross_modal, cross_modal_options
from spikeloom.train.run import Run

PAGE = Path(__file__).parents[3] / "spikeloom/papers/hebbian_memory/README.md"
DRAWN = {
    "associations": ("training", "validation"),
    "omniglot": ("training", "validation", "held out"),
    "cross_modal": ("training", "validation"),
    "concentration": ("deals", "validation", "images"),
}
"""Streams of the data, by task."""


def train(task: str, run: Run, **options: Any) -> Any:
    module = find_task(task)
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
    fields = dataclasses.fields(find_task(task).Config)
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
    if task == "cross_modal":
        runs = [Run(tmp_path / "split", task, "smoke", seed, quiet=True) for seed in (1, 2)]
        config = dataclasses.replace(cross_modal.PRESETS["smoke"], data_seed=7)
        parts = [cross_modal_options.load(config, run)[0] for run in runs]
        assert all(torch.equal(a, b) for a, b in zip(*parts, strict=True))
        other_part = cross_modal_options.load(dataclasses.replace(config, data_seed=8), runs[0])[0]
        assert not torch.equal(other_part.words, parts[0].words)


@pytest.mark.parametrize("task", DRAWN)
def test_a_negative_seed_of_the_data_is_refused(task: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--data-seed must be a whole number of at least -1, but is -2"):
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


@pytest.mark.parametrize(
    ("task", "options", "said"),
    [
        ("babi", ["--qa", "21"], "--qa must be a whole number of at least 1 and at most 20, but is 21"),
        ("babi", ["--validation", "1.5"], "--validation must be a finite number above 0 and below 1, but is 1.5"),
        ("associations", ["--window", "100"], "Items of 50 ms have no last 100 ms"),
        ("associations", ["--threshold", "-1"], "--threshold must be a finite number above 0, but is -1.0"),
        ("associations", ["--item-ms", "52"], "--item-ms must be a whole number of steps of 5.0 ms, but is 52.0 ms"),
        ("concentration", ["--batches", "99"], "8 games cannot make 99 mini-batches"),
        ("concentration", ["--cells", "1"], "--cells must be a whole number of at least 2"),
        ("omniglot", ["--side", "10"], "--side must be a whole number of at least 16 and at most 105, but is 10"),
        ("omniglot", ["--pretraining", "none", "--tune-updates", "0"], "A frozen encoder that was never trained"),
        ("cross_modal", ["--tau-mem", "0"], "--tau-mem must be a finite number above 0, but is 0.0"),
    ],
)
def test_options_without_sense_are_found_before_there_is_a_folder(
    task: str, options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert cli.main(["train", task, "--preset", "smoke", *options, "--out", str(folder)]) == 1
    assert said in capsys.readouterr().err
    assert not folder.exists()


def test_odd_words_among_the_lengths_are_the_same_everywhere(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert cli.main(["train", "associations", "--preset", "smoke", "--test-lengths", "1,", "--out", str(folder)]) == 0
    assert (folder / "figures" / "accuracy_by_length.png").exists()


def test_one_sample_is_enough_for_a_test(tmp_path: Path) -> None:
    run = Run(tmp_path, "cross_modal", "smoke", 0, quiet=True)
    config = train("cross_modal", run, test_samples=1)
    values = cross_modal.evaluate(config, run.fresh())
    assert values["mse_sd"] == values["mse_other_2_sd"] == 0
    assert values["mse"] > 0


@pytest.mark.parametrize("model", ["relu", "lstm", "recurrent"])
def test_networks_without_a_spiking_memory_have_sizes_too(model: str, tmp_path: Path) -> None:
    run = Run(tmp_path, "associations", "smoke", 0, quiet=True)
    initial = "aligned" if model == "relu" else "paper"
    config = train("associations", run, model=model, initial=initial)
    importlib.import_module("spikeloom.papers.hebbian_memory.associations").evaluate(config, run.fresh())
    layers = {layer["name"]: layer for layer in run.read_json("activity.json")["layers"]}
    assert all((layer["rate_hz"] is not None) == (model == "recurrent") for layer in layers.values())
    if model == "recurrent":
        assert layers["read population"]["neurons"] == 16
        assert layers["read population"]["synapses"] == 16 * (8 + 16)
        assert 0 < layers["write population"]["rate_hz"] < 200
    elif model == "relu":
        assert layers["read values"]["synapses"] == 64
    else:
        assert layers["LSTM"]["synapses"] == 4 * 8 * (16 + 8 + 8)
