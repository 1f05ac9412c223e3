"""MNIST as rates and in spikes: resuming, evaluation, figures, options."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikeloom.cli import main
from spikeloom.errors import ConfigError
from spikeloom.papers.nengo import conversion, mnist_rate
from spikeloom.papers.nengo.experiment import brightness, load, network, ordinary
from spikeloom.papers.nengo.mnist_rate import PRESETS, shifted
from spikeloom.papers.nengo.options import Config
from spikeloom.train import experiment
from spikeloom.train.run import Run

SMOKE = PRESETS["smoke"]
DATA = Path(os.environ.get("SPIKELOOM_DATA", "/nonexistent")) / "mnist"
needs_mnist = pytest.mark.skipif(not DATA.is_dir(), reason="not in $SPIKELOOM_DATA: mnist")


def change(config: Config = SMOKE, **options: Any) -> Config:
    return dataclasses.replace(config, **options)


def new_run(folder: Path, seed: int = 0) -> Run:
    return Run(folder, "mnist_rate", "smoke", seed, quiet=True)


@needs_mnist
def test_a_run_that_stopped_inside_an_epoch_ends_with_the_same_bytes(tmp_path: Path) -> None:
    config = change(validation=10, checkpoint_every=1)
    mnist_rate.train(config, new_run(tmp_path / "whole"))
    run = new_run(tmp_path / "parts")
    logged = run.log

    def killed(update: int, **values: float) -> None:
        logged(update, **values)
        if update == 3:
            raise KeyboardInterrupt

    run.log = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        mnist_rate.train(config, run)
    mnist_rate.train(config, new_run(tmp_path / "parts"))
    for name in ("checkpoints/last.pt", "checkpoints/best.pt", "metrics.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


@needs_mnist
@pytest.mark.parametrize("options", [{}, {"partner": "poisson"}, {"neuron": "relu", "scale": 2.0, "v_init": -1.0}])
def test_evaluation_and_figures(options: dict[str, Any], tmp_path: Path) -> None:
    config, run = change(**options), new_run(tmp_path)
    mnist_rate.train(config, run)
    values = mnist_rate.evaluate(config, run.fresh())
    assert values == mnist_rate.evaluate(config, run.fresh())
    assert values["test_images"] == 40
    assert values["gap"] == pytest.approx(values["rate_accuracy"] - values["accuracy"])
    steps = run.read_json("steps.json")
    assert len(steps["accuracy"]) == 5
    assert steps["accuracy"][-1] == pytest.approx(values["accuracy"])
    layers = run.read_json("activity.json")["layers"]
    assert [layer["neurons"] for layer in layers] == [4 * 26 * 26, 8 * 12 * 12, 16 * 5 * 5, 10]
    assert layers[0]["synapses"] == 4 * 26 * 26 * 9
    assert layers[1]["input_rate_hz"] == layers[0]["rate_hz"]
    total = sum(layer["rate_hz"] * layer["neurons"] * 0.005 for layer in layers[:3])
    assert values["spikes_per_image"] == pytest.approx(total)
    run.write_json("result.json", {"test": values})
    mnist_rate.plot(config, run.fresh())
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert drawn == {
        "training_digits", "answers", "activity", "learning_curves", "accuracy_over_steps", "confusion"
    }  # fmt: skip


@needs_mnist
def test_converting_an_ordinary_network(tmp_path: Path) -> None:
    config = change(PRESETS["convert_relu"], samples=200, batch=20, epochs=3, width=4)
    run = new_run(tmp_path)
    mnist_rate.train(config, run)
    values = mnist_rate.evaluate(config, run.fresh())
    assert values == mnist_rate.evaluate(config, run.fresh())
    assert abs(values["calibrated_accuracy"] - values["ann_accuracy"]) < 0.1
    rows = run.read_json("conversions.json")
    assert [(row["scale"], row["synapse"], row["steps"]) for row in rows[:8]] == [
        (1, None, 30), (1, 1.0, 60), (1, 5.0, 60), (1, 10.0, 60), (2, 10.0, 60), (5, 10.0, 60), (10, 10.0, 60),
        (1000, None, 10),
    ]  # fmt: skip
    assert rows[7]["accuracy"] > rows[0]["accuracy"]  # without a scale there is no spike at all
    assert [row["calibration"] for row in rows[8:]] == ["maximum", "99.9 %"]
    run.write_json("result.json", {"test": values})
    mnist_rate.plot(config, run.fresh())
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert drawn == {
        "training_digits", "learning_curves", "accuracy_over_steps", "confusion", "activity_scale_1",
        "activity_scale_10", "activity_calibrated",
    }  # fmt: skip
    activity = run.read_json("activity.json")
    assert [layer["neurons"] for layer in activity["layers"]] == [4 * 26 * 26, 8 * 12 * 12, 10]
    assert activity["steps"] == 50
    total = sum(layer["rate_hz"] * layer["neurons"] * 0.05 for layer in activity["layers"][:2])
    assert values["spikes_per_image"] == pytest.approx(total)


@needs_mnist
def test_activations_can_be_pulled_towards_a_rate(tmp_path: Path) -> None:
    config = change(PRESETS["convert_relu_250_hz"], samples=100, batch=20, epochs=12, width=4, lr=0.02)
    rates = list[float]()
    for number, weight in enumerate((0.0, config.rate_weight)):
        run = new_run(tmp_path / str(number))
        mnist_rate.train(change(config, rate_weight=weight), run)
        rates.append(run.metrics()[-1]["rate_1"])
    assert 0.0 < 5 * rates[0] < rates[1] < config.rate_target


@needs_mnist
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "mnist_rate", "--preset", "smoke", "--epochs", "1", "--out", str(tmp_path / "run")])
    assert "test accuracy" in capsys.readouterr().out
    assert (tmp_path / "run" / "report.html").is_file()


def test_the_network_of_the_example(tmp_path: Path) -> None:
    model = network(PRESETS["nengo"], new_run(tmp_path))
    assert sum(parameter.numel() for parameter in model.parameters()) == 158_730
    again = network(PRESETS["nengo"], new_run(tmp_path))
    for one, two in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)


def test_images_move_as_a_whole() -> None:
    images = torch.zeros(20, 1, 28, 28)
    images[:, 0, 10, 12] = 1.0
    moved = shifted(images, 2, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    assert moved.sum() == 20
    places = moved[:, 0].nonzero()[:, 1:]
    assert len({tuple(place) for place in places.tolist()}) > 5
    assert np.abs(places.numpy() - [10, 12]).max() == 2
    assert shifted(images, 0, torch.Generator()) is images


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "--steps must be a whole number of at least 1"),
        ({"batch": 0}, "--batch must be"),
        ({"shift": -1}, "--shift must be"),
        ({"max_rate": 600.0}, "less than 500 Hz"),
        ({"smoothing": -1.0}, "--smoothing must be"),
        ({"intercept": 1.0}, "--intercept must be a finite number below 1"),
        ({"untrained_images": 0}, "--untrained-images must be at least 1"),
    ],
)
def test_wrong_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        change(**options)


@needs_mnist
def test_a_converted_network_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("nir", reason="needs the extra nir")
    from spikeloom.convert.nir import from_nir, read_nir

    small = ["train", "mnist_rate", "--preset", "convert_relu", "--samples", "40", "--width", "2", "--epochs", "1"]
    small += ["--batch", "10"]
    for start in ("0", "0.5"):
        assert main([*small, "--figures", "0", "--v-init-converted", start, "--out", str(tmp_path / start)]) == 0
    assert main(["export", str(tmp_path / "0"), "--format", "nir"]) == 0
    run = experiment.reopen(tmp_path / "0")
    task: Any = mnist_rate
    config = experiment.options(task, run.folder)
    model = ordinary(config, run).eval()
    run.load_best(model=model)
    x = brightness(load("test", config, run.device)[0][:5], config).expand(20, 5, 1, 28, 28)
    wanted = conversion.calibrated(config, run, model)(x)[0]
    assert len(wanted[:, 0].unique(dim=0)) > 2
    found = from_nir(read_nir(tmp_path / "0" / "model.nir"))(x)[0]
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-6)  # logits of some hundreds
    capsys.readouterr()
    assert main(["export", str(tmp_path / "0.5"), "--format", "nir"]) == 1
    assert "the integrators 1, 3 of this run start at 0.5 of their thresholds. Train one" in capsys.readouterr().err
    (tmp_path / "0" / "conversions.json").unlink()
    assert main(["export", str(tmp_path / "0"), "--format", "nir"]) == 1
    assert "which this run has not been yet. Run `spikeloom evaluate" in capsys.readouterr().err
    values = run.read_json("result.json")["test"]
    curve = np.array(run.read_json("steps.json")["accuracy"]) > values["ann_accuracy"] - 0.001
    stays = int(values["steps_within_0.1_points"])
    assert stays == max([step + 2 for step in range(50) if not curve[step]], default=1) * curve[-1]


@needs_mnist
def test_a_validation_that_leaves_no_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--validation 60001 leaves none of the .* images for training"):
        mnist_rate.train(change(validation=60_001), new_run(tmp_path))
