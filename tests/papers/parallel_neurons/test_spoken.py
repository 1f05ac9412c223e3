"""Spoken words as spikes: resuming, evaluation, figures, options, splits, and the table of configurations."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikeloom.cli import main
from spikeloom.data import shd as files
from spikeloom.data.spike_trains import SpikeTrains
from spikeloom.errors import ConfigError
from spikeloom.papers.parallel_neurons import shd, spoken, spoken_digits
from spikeloom.papers.parallel_neurons.shd import PRESETS, Config
from spikeloom.train.run import Run
from tests.fixtures.shd import samples, write

SMOKE = PRESETS["smoke"]
DATA = Path(os.environ.get("SPIKELOOM_DATA", "/nonexistent")) / "fsdd" / "fsdd_recordings.zip"
needs_recordings = pytest.mark.skipif(not DATA.is_file(), reason="not in $SPIKELOOM_DATA/fsdd: fsdd_recordings.zip")


@pytest.fixture(autouse=True)
def data(example_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKELOOM_DATA", str(example_data))


def change(config: Config = SMOKE, **options: Any) -> Config:
    return dataclasses.replace(config, **options)


def new_run(folder: Path, task: str = "shd", seed: int = 0) -> Run:
    return Run(folder, task, "smoke", seed, quiet=True)


def test_a_resumed_run_ends_with_the_same_bytes(tmp_path: Path) -> None:
    config = change(augmentation="event", lr_decay=0.5, lr_decay_every=1, select="best", average=0.9)
    shd.train(config, new_run(tmp_path / "whole"))
    shd.train(change(config, epochs=1), new_run(tmp_path / "parts"))
    shd.train(config, new_run(tmp_path / "parts"))
    for name in ("checkpoints/last.pt", "checkpoints/best.pt", "metrics.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_time_that_ran_out_inside_an_epoch_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = change(augmentation="event")
    shd.train(config, new_run(tmp_path / "whole"))
    updates = len(new_run(tmp_path / "whole").metrics())
    assert updates // config.epochs >= 2
    with monkeypatch.context() as patch:
        patch.setattr(spoken, "time_limit", lambda minutes, run: lambda finished, history: finished == 1)
        shd.train(config, new_run(tmp_path / "parts"))
    assert len(new_run(tmp_path / "parts").metrics()) == 1
    shd.train(config, new_run(tmp_path / "parts"))
    for name in ("checkpoints/last.pt", "metrics.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


@pytest.mark.parametrize("neuron", ["SB", "non_spiking"])
def test_evaluation_and_figures(neuron: Any, tmp_path: Path) -> None:
    config, run = change(neuron=neuron, robustness=neuron == "SB"), new_run(tmp_path)
    shd.train(config, run)
    values = shd.evaluate(config, run.fresh())
    assert values == shd.evaluate(config, run.fresh())
    assert values["test_samples"] == 24
    assert np.array(run.read_json("confusion.json")).sum() == 24
    activity = run.read_json("activity.json")
    assert [layer["neurons"] for layer in activity["layers"]] == [8, 8, 8, 20]
    assert (activity["layers"][0]["rate_hz"] is None) == (neuron == "non_spiking")
    if neuron == "SB":
        assert 300 < activity["layers"][0]["rate_hz"] < 700
        assert all(0 <= values[f"accuracy_{snr}_db"] <= 1 for snr in (0, 5, 10, 15, 20))
    run.write_json("result.json", {"test": values})
    shd.plot(config, run.fresh())
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    extra = {"rates", "robustness"} if neuron == "SB" else set()
    assert drawn == {"spikes", "learning_curves", "confusion"} | extra


@pytest.mark.parametrize("neuron", ["SB", "SD"])
@pytest.mark.parametrize("snr", [None, 10.0])
def test_an_answer_does_not_depend_on_the_batch(neuron: Any, snr: float | None, tmp_path: Path) -> None:
    config = change(neuron=neuron, evaluation="mean" if neuron == "SB" else "sample")
    trains = files.load("test")
    model = spoken.network(config, new_run(tmp_path), trains.channels, len(trains.classes))

    def answers(data: SpikeTrains) -> torch.Tensor:
        draws = torch.Generator().manual_seed(3)
        return spoken.answers(config, model, data, torch.device("cpu"), snr, draws).answers

    whole = answers(trains)
    torch.testing.assert_close(answers(trains.select(range(5))), whole[:5], rtol=0, atol=1e-5)
    if snr is None:
        torch.testing.assert_close(answers(trains.select([9]))[0], whole[9], rtol=0, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("neuron", ["SB", "LIF"])
def test_a_gpu_trains_and_tests(neuron: Any, tmp_path: Path) -> None:
    config = change(neuron=neuron, robustness=True, augmentation="event", reg_thr=0.1)
    run = Run(tmp_path, "shd", "smoke", 0, quiet=True, device=torch.device("cuda"))
    shd.train(config, run)
    assert shd.evaluate(config, run.fresh())["test_samples"] == 24
    run.write_json("result.json", {"test": shd.evaluate(config, run.fresh())})
    shd.plot(config, run.fresh())


OPTIONS = [
    {"neuron": "LIF", "refractory": 2.0, "learn_threshold": True, "loss": "max", "recurrent": "spikes"},
    {"neuron": "LIF", "recurrent": "voltage", "surrogate": "arctan", "steepness": 3.0, "loss": "last"},
    {"neuron": "GS", "temperature": 0.5, "p_max": 0.8, "evaluation": "mean", "reg_thr": 0.1},
    {"neuron": "TRB", "weighted": 0.0, "evaluation": "threshold", "tau_syn": 0.0},
    {"neuron": "TRD", "learn_tau": True, "threshold": 0.01, "loss": "cumsum", "integration": "scan"},
    {"neuron": "D", "recurrent": "spikes", "reg_thr": 0.01, "reg_thr_r": 0.01, "memory": "lean", "window": 2.0},
    {"neuron": "SD", "recurrent": "voltage", "integration": "fft", "augmentation": "image", "weight_decay": 1e-3},
    {"neuron": "T", "integration": "toeplitz", "validation": "mixed", "rounding": "floor", "lr": 0.01},
    {
        "neuron": "non_spiking",
        "layers": 1,
        "augmentation": "event",
        "shift": 0.05,
        "scale": 0.15,
        "drop": 0.4,
        "smoothing": 0.1,
    },
]


def test_the_running_average_is_tested(tmp_path: Path) -> None:
    def weights(config: Any, updates: int, part: str) -> torch.Tensor:
        folder = tmp_path / f"{config.average}-{updates}"
        config = dataclasses.replace(config, epochs=updates, batch=24, validation="none", checkpoint_every=1)
        shd.train(config, new_run(folder))
        training = shd.splits(config, new_run(folder)).training
        model = spoken.network(config, new_run(folder), training.channels, len(training.classes))
        new_run(folder).load_best(**{part: model})
        return torch.cat([value.detach().flatten() for value in model.parameters()])

    plain, averaged = change(neuron="LIF"), change(neuron="LIF", average=0.6)
    each = [weights(plain, updates, "model") for updates in (1, 2, 3)]
    assert torch.equal(each[2], weights(averaged, 3, "model"))  # what learns is the same
    expected = 0.6 * (each[0] + each[1]) / 2 + 0.4 * each[2]
    torch.testing.assert_close(weights(averaged, 3, "averaged"), expected, rtol=0, atol=1e-6)
    run = new_run(tmp_path / "0.6-3")
    config = dataclasses.replace(averaged, epochs=3, batch=24, validation="none")
    assert shd.evaluate(config, run.fresh())["update"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values())))
def test_p14_every_option_trains(options: dict[str, Any], tmp_path: Path) -> None:
    config, run = change(**{"epochs": 1, "layers": 2, **options}), new_run(tmp_path)
    shd.train(config, run)
    assert 0 <= shd.evaluate(config, run.fresh())["accuracy"] <= 1


def test_the_presets_are_the_rows_of_the_paper() -> None:
    assert [name for name in PRESETS if f"accuracy_{name}" in shd.PUBLISHED] == list(shd.ROWS)
    assert PRESETS["sb_aug_reg"] == change(shd.PAPER, augmentation="image", reg_thr=0.4)
    assert PRESETS["gs_aug_reg"].reg_thr == 0.1
    assert (shd.PAPER.hidden, shd.PAPER.layers, shd.PAPER.epochs, shd.PAPER.batch) == (128, 3, 200, 64)


def test_every_option_stands_on_its_page() -> None:
    page = (Path(__file__).parents[3] / "spikeloom/papers/parallel_neurons/README.md").read_text()
    known = set(re.findall(r"--([a-z-]+)", page.replace("_", "-")))
    for task in (shd, spoken_digits):
        options = [field.name.replace("_", "-") for field in dataclasses.fields(task.Config)]
        assert [name for name in options if name not in known] == []


def test_published_numbers_say_what_they_are_for() -> None:
    for name in shd.ROWS:
        own = shd.PUBLISHED[f"accuracy_{name}"]
        assert str(own["note"]).endswith(f"for the accuracy of preset {name}")
        assert own["value"] == shd.ROWS[name]


def test_recordings_that_are_not_shd_are_compared_with_no_number_on_shd() -> None:
    assert spoken_digits.PUBLISHED == {}
    assert [(made.published, made.source) for made in spoken_digits.TABLES.values()] == [({}, ""), ({}, "")]


def test_validation_is_set_aside_and_stays_the_same(tmp_path: Path) -> None:
    for validation in ("speakers", "mixed"):
        config, run = change(validation=validation), new_run(tmp_path)
        first, second = shd.splits(config, run), shd.splits(config, run)
        assert first.validation is not None
        assert second.validation is not None
        assert np.array_equal(first.validation.times, second.validation.times)
        assert len(first.training) + len(first.validation) == 24
        shared = set(first.training.speakers) & set(first.validation.speakers)
        assert bool(shared) == (validation == "mixed")
    assert shd.splits(change(validation="none"), run).validation is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": "none", "select": "best"}, "--select best needs samples to choose by"),
        ({"window": 0.0}, "--window must be a finite number above 0"),
        ({"reg_thr": -1.0}, "--reg-thr must be a finite number of at least 0"),
        ({"epochs": 0}, "--epochs must be a whole number of at least 1"),
        ({"reg_thr_r": 0.1}, "hidden spikes of recurrent parallel neurons"),
        ({"neuron": "non_spiking", "reg_thr": 0.1}, "non_spiking network has none"),
        ({"augmentation": "event", "shift": 3.0}, "--shift must be a finite number of at least 0 and at most 1"),
        ({"drop": 0.5}, "--drop is a part of --augmentation"),
        ({"smoothing": 1.0}, "--smoothing must be a finite number of at least 0 and below 1"),
        ({"average": 1.0}, "--average must be a finite number of at least 0 and below 1"),
        ({"neuron": "LIF", "p_max": 0.5}, "LIF makes no use of p_max"),
        ({"held_out": 9}, "--held-out must be 1 to 3"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        shd.train(change(**options), new_run(tmp_path))


@pytest.fixture
def real_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of the exact format of SHD, where the user's would be."""
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path / "data"))
    write(tmp_path / "data")
    return tmp_path / "data" / "shd"


def test_a_preset_for_the_real_files_runs_end_to_end(
    real_format: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "shd", "--preset", "sb_aug_reg", "--epochs", "1", "--hidden", "6", "--batch", "12"]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert [entry["count"] for entry in environment["data"]] == [24, 24]
    assert "24 of the" in (tmp_path / "run" / "report.html").read_text()
    capsys.readouterr()
    (real_format / "shd_test.h5").write_bytes(b"not HDF5")
    assert main(["evaluate", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("DataError: ")
    assert "shd_test.h5" in error


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_file_without_samples_is_refused_before_training(
    split: str, real_format: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    none = samples("test").select([])
    files.write(real_format / f"shd_{split}.h5", none)
    assert main(["train", "shd", "--epochs", "1", "--hidden", "4", "--out", str(tmp_path / "run")]) == 1
    assert f"shd_{split}.h5 holds no samples, but at least one was expected" in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoints" / "last.pt").exists()


TINY = ["--seeds", "1", "--set", "epochs=1", "hidden=4", "layers=1", "batch=12"]


@pytest.mark.slow  # test_table.py has a faster one
def test_a_table_is_filled_resumed_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "table"
    assert main(["table", "shd", *TINY, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == str(out)
    result = json.loads((out / "result.json").read_text())
    assert len(result["cells"]) == 10
    assert {cell["preset"] for cell in result["cells"]} == set(shd.ROWS)
    assert result["cells"][0]["published"] == shd.ROWS[result["cells"][0]["preset"]]
    assert "LIF" in (out / "table.txt").read_text()
    assert (out / "figures" / "table.png").stat().st_size > 1000
    before = (out / "table.txt").read_text()
    shutil.rmtree(out / "sb-basic")
    assert main(["resume", str(out)]) == 0
    assert (out / "table.txt").read_text() == before
    capsys.readouterr()
    assert main(["table", "shd", *TINY, "lr=0.5", "--out", str(out)]) == 1
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table"], "table needs a task first"),
        (["table", "shd", "colours"], "Task shd has no table 'colours'. There is: neurons."),
        (["table", "store_recall"], "Task store_recall has no tables; babi, for example, has some."),
        (["table", "shd", "--seeds", "0"], "--seeds must be at least 1"),
        (["table", "shd", "--set", "epochs"], "--set takes options as NAME=VALUE"),
        (["table", "shd", "--set", "epoch=1"], "Did you mean 'epochs'?"),
        (["table", "shd", "--set", "epochs=soon"], "epochs"),
        (["table", "shd", "--sets", "epochs=1"], "has no option '--sets'"),
    ],
)
def test_a_table_that_makes_no_sense(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_two_ranks_train_one_network(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "spikeloom",
        "train", "shd", "--preset", "smoke", "--batch", "6", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["ranks"] == 2


@pytest.fixture
def few_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of the recordings: encoding all of them takes minutes."""
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path))
    (tmp_path / "fsdd").mkdir()
    with zipfile.ZipFile(DATA) as whole, zipfile.ZipFile(tmp_path / "fsdd" / "some.zip", "w") as part:
        for name in whole.namelist():
            if name.endswith(("_0.wav", "_7.wav", "_8.wav")):
                part.writestr(name, whole.read(name))


@needs_recordings
@pytest.mark.slow
def test_spoken_digits_end_to_end(few_recordings: None, tmp_path: Path) -> None:
    config = spoken_digits.PRESETS["smoke"]
    run = new_run(tmp_path / "run", "spoken_digits")
    spoken_digits.train(config, run)
    assert spoken_digits.evaluate(config, run.fresh())["test_samples"] == 60
    spoken_digits.plot(config, run.fresh())
    alone = dataclasses.replace(config, test_speaker="theo", validation="speakers")
    parts = spoken_digits.splits(alone, run)
    assert set(parts.test.speakers) == {4}
    assert len(parts.test) == 30
    assert parts.validation is not None
    assert 4 not in set(parts.training.speakers) | set(parts.validation.speakers)
    with pytest.raises(ConfigError, match=r"no speaker 'anna'. Choose one of george, jackson"):
        spoken_digits.splits(dataclasses.replace(config, test_speaker="anna"), run)
