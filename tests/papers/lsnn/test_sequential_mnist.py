"""Sequential MNIST: encodings, the answer, the split, resuming, evaluation, options. One test needs the real files."""

import dataclasses
import gzip
import json
import os
import struct
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from spikeloom.data import mnist
from spikeloom.errors import ConfigError, DataError
from spikeloom.models import LSNN
from spikeloom.papers.lsnn import sequential_mnist
from spikeloom.papers.lsnn.options import build, layers
from spikeloom.papers.lsnn.sequential_mnist import (
    PRESETS,
    PUBLISHED,
    Config,
    answer,
    answers,
    channels,
    encode,
    evaluate,
    plot,
    train,
    window,
)
from spikeloom.train import metrics, schedule
from spikeloom.train.run import Run

SMOKE = PRESETS["smoke"]
TRAINING, TEST = 5_040, 21


def change(config: Config = SMOKE, **options: Any) -> Config:
    return dataclasses.replace(config, **options)


def new_run(folder: Path, seed: int = 0) -> Run:
    return Run(folder, "sequential_mnist", "smoke", seed, quiet=True)


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files in the format of MNIST whose digit k is a bar at row 2 k, k = 0 .. 9."""
    folder = tmp_path_factory.mktemp("data") / "mnist"
    folder.mkdir()
    for split, count in (("train", TRAINING), ("t10k", TEST)):
        labels = torch.arange(count) % 10
        images = torch.zeros(count, 28, 28, dtype=torch.uint8)
        images[torch.arange(count), 2 * labels, 4:24] = 200
        pixels = struct.pack(">IIII", 0x803, count, 28, 28) + images.numpy().tobytes()
        digits = struct.pack(">II", 0x801, count) + labels.to(torch.uint8).numpy().tobytes()
        (folder / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(pixels, 1))
        (folder / f"{split}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(digits, 1))
    return folder.parent


@pytest.fixture
def data(fake: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKELOOM_DATA", str(fake))
    return fake


IMAGE = torch.zeros(3, 28, 28, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("options", "shape", "steps"),
    [
        ({"downsampled": False, "n_in": 80}, (840, 3, 80), 28),
        ({"downsampled": False, "n_in": 80, "ext_time": 2}, (1680, 3, 80), 28),
        ({"n_in": 40}, (224, 3, 40), 14),
        ({"n_in": 40, "answer_rows": 1, "answer_window": 5}, (210, 3, 40), 5),
        ({"downsampled": False, "encoding": "analog"}, (784, 3, 1), 1),
        ({"encoding": "analog"}, (196, 3, 1), 1),
    ],
)
def test_inputs_and_windows_are_those_of_the_paper(
    options: dict[str, Any], shape: tuple[int, int, int], steps: int
) -> None:
    config = change(**options)
    assert encode(IMAGE, config).shape == shape
    assert channels(config) == shape[2]
    assert window(config) == steps


def test_the_answer_is_the_mean_of_the_last_steps() -> None:
    logits = torch.zeros(224, 2, 10)
    logits[-14:, 0, 3] = 1.0
    logits[-15, 1, 4] = 99.0  # one step too early
    assert answer(logits, SMOKE)[0].tolist() == [0, 0, 0, 1] + 6 * [0]
    assert answer(logits, SMOKE)[1].abs().sum() == 0


def test_a_resumed_run_ends_with_the_same_bytes(data: Path, tmp_path: Path) -> None:
    config = change(lr_decay_every=1, temperature=1e-4)  # shrinkage and noise follow the learning rate
    train(config, new_run(tmp_path / "whole"))
    train(change(config, updates=2), new_run(tmp_path / "parts"))
    train(config, new_run(tmp_path / "parts"))
    for name in ("checkpoints/last.pt", "checkpoints/best.pt", "metrics.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_the_network_is_rewired_within_its_budget(data: Path, tmp_path: Path) -> None:
    config = change(updates=6, lr=0.05, l1=0.5, temperature=1e-5, connectivity=0.4)
    run = new_run(tmp_path)
    train(config, run)
    lines = run.metrics()
    names = ("active_inputs", "active_recurrent", "active_output")
    budget = int(0.4 * (8 * 10 + 10 * 10 + 10 * 10))
    assert [sum(line[name] for name in names) for line in lines] == [budget] * 6
    assert sum(line["synapses_created"] for line in lines) > 0
    net = sequential_mnist.network(config, run.fresh())
    run.load_last(model=net)
    assert isinstance(net, LSNN)
    assert [layer.active() for layer in net.sparse_layers().values()] == [lines[-1][name] for name in names]
    assert sequential_mnist.inhibitory(config) == 2  # of 10
    weight = net.hidden.weight()
    assert bool((weight[:, :2] <= 0).all())
    assert bool((weight[:, 2:] >= 0).all())
    activity = layers(net, config, 8, 10, 10.0, 10.0)
    assert sum(layer["synapses"] for layer in activity) == budget


@pytest.mark.parametrize(
    "options",
    [
        {"connectivity": 0.0},
        {"soft": True, "temperature": 1e-6},
        {"budget": "per_matrix", "reset_moments": True},
        {"excitatory": 0.0, "resample_sign": True},
        {"dormant_gradients": True},
        {"permuted": True},
    ],
)
def test_every_kind_of_rewiring_trains(options: dict[str, Any], data: Path, tmp_path: Path) -> None:
    config = change(figures=0, **options)
    train(config, new_run(tmp_path))
    assert 0.0 <= evaluate(config, new_run(tmp_path))["accuracy"] <= 1.0


def test_a_permutation_moves_pixels_the_same_way_every_time() -> None:
    image = torch.arange(784, dtype=torch.int64).remainder(256).to(torch.uint8).reshape(1, 28, 28)
    config = change(downsampled=False, encoding="analog", permuted=True)
    first, plain = encode(image, config), encode(image, change(downsampled=False, encoding="analog"))
    assert torch.equal(first, encode(image, config))
    assert not torch.equal(first, plain)
    assert torch.equal(first.sort(0).values, plain.sort(0).values)


def test_options_of_rewiring_that_cannot_be(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--connectivity must be a finite number of at least 0 and at most 1"):
        train(change(connectivity=12.0), new_run(tmp_path))
    with pytest.raises(ConfigError, match=r"which --excitatory forbids\. Set that to 0"):
        train(change(resample_sign=True), new_run(tmp_path))


@pytest.mark.parametrize("model", ["lsnn", "lif", "lstm"])
def test_evaluation_and_figures_of_every_model(model: str, data: Path, tmp_path: Path) -> None:
    config = change(model=model)
    train(config, new_run(tmp_path))
    run = new_run(tmp_path)
    result = evaluate(config, run)
    assert list(result) == ["accuracy", "validation_accuracy", "update", "test_images"]
    counts = torch.tensor(json.loads((tmp_path / "confusion.json").read_text()))
    assert counts.sum() == TEST == result["test_images"]
    assert counts.sum(1).tolist() == [3] + 9 * [2]
    assert result["accuracy"] == pytest.approx(counts.diag().sum().item() / TEST)
    activity = json.loads((tmp_path / "activity.json").read_text())
    assert activity["steps"] == 224
    notes = [entry["note"] for entry in activity["data"]]
    assert notes[0] == "5,040 of the 60,000 official training images"
    assert notes[2] == "21 of the 10,000 official test images"
    plot(config, run.fresh())
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    spiking = {"rates", "connectivity"} if model != "lstm" else set()
    assert drawn == {"digit_0", "learning_curves", "confusion"} | spiking


def test_analog_input_has_no_spikes_to_count(data: Path, tmp_path: Path) -> None:
    config = change(encoding="analog", figures=0)
    train(config, new_run(tmp_path))
    evaluate(config, new_run(tmp_path))
    assert json.loads((tmp_path / "activity.json").read_text())["layers"][0]["input_rate_hz"] is None


def test_every_image_is_answered_once_whatever_the_batch(data: Path, tmp_path: Path) -> None:
    images = mnist.load("test").images
    model = build(SMOKE, new_run(tmp_path), 8, 10, bias=True)
    chosen = torch.arange(TEST)
    whole = answers(model, images, chosen, change(batch_validation=TEST))
    parts = answers(model, images, chosen, change(batch_validation=4))
    assert parts.logits.shape == (TEST, 10)
    assert torch.allclose(whole.logits, parts.logits, atol=1e-6)
    assert parts.rate == pytest.approx(whole.rate, rel=1e-5)
    assert parts.input_rate == pytest.approx(whole.input_rate, rel=1e-5)


def test_training_never_sees_validation_or_test_images(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits, batches = [], []
    load, encoded = mnist.load, sequential_mnist.encode

    def watched_load(split: Any) -> Any:
        splits.append(split)
        return load(split)

    def watched_encode(images: torch.Tensor, config: Config) -> torch.Tensor:
        batches.append(len(images))
        return encoded(images, config)

    monkeypatch.setattr(mnist, "load", watched_load)
    monkeypatch.setattr(sequential_mnist, "encode", watched_encode)
    run = new_run(tmp_path)
    config = change(updates=10, batch_train=8, validate_every=100, validation_images=32, batch_validation=32)
    train(config, run)
    assert splits == ["train"]
    # 5 batches of 8 make an epoch of the 40 images left; the validation at the end
    assert batches == 10 * [8] + [32]
    assert run.metrics()[-1]["epoch"] == 1


def test_the_best_weights_are_tested_unless_the_last_are_wanted(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for select, expected in (("best", 2.0), ("last", 6.0)):
        accuracies = iter([0.9, 0.1, 0.2])
        accuracy = metrics.accuracy
        monkeypatch.setattr(
            metrics,
            "accuracy",
            lambda logits, labels, accuracy=accuracy, left=accuracies: (
                next(left) if len(labels) == 32 else accuracy(logits, labels)
            ),
        )
        config = change(select=select, updates=6, figures=0)
        train(config, new_run(tmp_path / select))
        result = evaluate(config, new_run(tmp_path / select))
        monkeypatch.setattr(metrics, "accuracy", accuracy)
        assert result["update"] == expected
        assert result["validation_accuracy"] == (0.9 if select == "best" else 0.2)


def test_training_ends_when_the_minutes_are_over(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    run = new_run(tmp_path)
    monkeypatch.setattr(run, "seconds", lambda: 30.0)  # of an earlier part of the run
    stop = schedule.time_limit(1.0, run)
    assert stop is not None
    assert [stop(update, []) for update in range(3)] == [False, True, True]  # 30 + 20, 30 + 40, ...
    assert schedule.time_limit(0.0, run) is None


def test_without_the_files_the_error_tells_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is missing in .*`spikeloom data fetch mnist`"):
        train(SMOKE, new_run(tmp_path / "run"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_in": 7}, "--n-in must be .* a multiple of 2, but is 7"),
        ({"ext_time": 0}, "--ext-time must be a whole number of at least 1"),
        ({"batch_validation": 0}, "--batch-validation must be a whole number of at least 1"),
        ({"batch_train": 0}, "--batch-train must be a whole number of at least 1"),
        ({"batch_train": 41}, "A batch must hold 1 to 40 samples, but got 41"),
        ({"validation_images": 5001}, "--validation-images must be .* at most 5000, but is 5001"),
        ({"minutes": -1.0}, "--minutes must be a finite number of at least 0"),
        ({"figures": -1}, "--figures must be a whole number of at least 0 and at most 5000"),
        ({"answer_window": 225}, "A sequence has 224 steps, so --answer-window must be 0 to 224, but is 225"),
        ({"answer_rows": -1}, "--answer-rows must be a whole number of at least 0"),
        ({"lr": 0.0}, "--lr must be a finite number above 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: dict[str, Any], message: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(change(**options), new_run(tmp_path))


def test_presets_and_published_values_are_complete() -> None:
    assert PRESETS["paper"] == Config()
    assert (Config().lr, Config().updates, Config().batch_train, Config().n_in) == (0.01, 36_000, 256, 80)
    for name in ("lif", "lstm"):
        assert dataclasses.replace(PRESETS[name], model="lsnn") == PRESETS["cpu"]
    sources = [entry["source"] for entry in PUBLISHED.values()]
    assert all(isinstance(source, str) and "second-hand" in source for source in sources)
    assert all(entry["note"] for entry in PUBLISHED.values())
    assert PUBLISHED["accuracy_max"]["value"] == 0.947


@pytest.mark.parametrize(
    "options",
    [
        {"connectivity": 0.0, "updates": 200, "lr": 0.01},
        {"connectivity": 0.5, "l1": 0.001, "updates": 300, "lr": 0.02},
    ],
)
def test_bars_are_learned(options: dict[str, Any], data: Path, tmp_path: Path) -> None:
    config = change(n_in=8, n_regular=20, n_adaptive=20, batch_train=20, validate_every=20, validation_images=200,
                    figures=0)  # fmt: skip
    config = change(config, **options)
    train(config, new_run(tmp_path))
    assert evaluate(config, new_run(tmp_path))["accuracy"] > 0.4


def missing() -> str:
    folder = Path(os.environ.get("SPIKELOOM_DATA", "/nonexistent")) / "mnist"
    names = [file.name for file in mnist.FILES if not (folder / file.name).is_file()]
    return f"not in $SPIKELOOM_DATA/mnist: {', '.join(names)}" if names else ""


@pytest.mark.skipif(bool(missing()), reason=missing())
def test_the_smoke_preset_runs_on_the_real_files(tmp_path: Path) -> None:
    train(SMOKE, new_run(tmp_path))
    assert evaluate(SMOKE, new_run(tmp_path))["test_images"] == mnist.describe("test")[0]["count"]
