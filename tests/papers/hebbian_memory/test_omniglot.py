"""Omniglot: resuming in each phase, every model, figures, options; learning with real drawings, where it takes long."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from spikeloom import cli
from spikeloom.data.fetch import folder
from spikeloom.errors import ConfigError, ShapeError
from spikeloom.papers.hebbian_memory import omniglot
from spikeloom.papers.hebbian_memory.encoders import PackedSpikes, SpikingConvEncoder
from spikeloom.papers.hebbian_memory.omniglot import PRESETS, Config, build, regularised
from spikeloom.papers.hebbian_memory.omniglot_encoder import PHASE, TUNING, kept
from spikeloom.papers.hebbian_memory.omniglot_episodes import (
    EpisodeSource,
    answer,
    draw,
    read,
    split,
    turned,
)
from spikeloom.papers.hebbian_memory.options import TEST_BATCH
from spikeloom.papers.hebbian_memory.pretraining import phase
from spikeloom.train.run import Run

SMOKE = PRESETS["smoke"]
REAL = folder("omniglot")


def change(config: Config = SMOKE, **options: Any) -> Config:
    return dataclasses.replace(config, **options)


def new_run(folder: Path) -> Run:
    return Run(folder, "omniglot", "smoke", 0, quiet=True)


def small(preset: str) -> Config:
    """A preset with the sizes of the smoke test."""
    own = (
        "model",
        "pretraining",
        "batch_norm",
        "initial",
        "key_gain",
        "normalise",
        "potentiation",
        "depression",
        "rate_cost",
        "freeze_encoder",
    )
    chosen = {name: getattr(PRESETS[preset], name) for name in own}
    return change(**chosen, tune_updates=SMOKE.tune_updates if PRESETS[preset].tune_updates else 0)


class Killed(Exception):
    """What stops a run in the tests."""


def stop_after(monkeypatch: pytest.MonkeyPatch, saves: int) -> None:
    """Kill the program after so many writes of last.pt."""
    real, seen = Run.save, [0]

    def save(run: Run, update: int, **parts: Any) -> None:
        real(run, update, **parts)
        seen[0] += 1
        if seen[0] == saves:
            raise Killed

    monkeypatch.setattr(Run, "save", save)


TUNED = {"freeze_encoder": False, "learn_thresholds": True, "rate_cost": 1e-6, "rate_cost_after": 1}
AS_RATES = {"model": "relu", "normalise": True, "tune_updates": 0}


@pytest.mark.parametrize("options", [{}, TUNED, AS_RATES])
def test_a_run_killed_in_any_phase_ends_with_the_same_bytes(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = change(**options)
    omniglot.train(config, new_run(tmp_path / "whole"))
    phases = [f"{PHASE}/", f"{TUNING}/", ""] if config.tune_updates else [f"{PHASE}/", ""]
    for saves in range(1, 2 * len(phases), 2):  # each phase writes two
        place = tmp_path / str(saves)
        with monkeypatch.context() as patched:
            stop_after(patched, saves)
            with pytest.raises(Killed):
                omniglot.train(config, new_run(place))
        omniglot.train(config, new_run(place))
        for inside in phases:
            for name in ("checkpoints/last.pt", "checkpoints/best.pt", "metrics.jsonl"):
                parts = [tmp_path / "whole" / inside / name, place / inside / name]
                assert parts[0].read_bytes() == parts[1].read_bytes()
        if config.model == "spiking":
            thresholds = [tmp_path / name / PHASE / "thresholds.json" for name in ("whole", str(saves))]
            assert thresholds[0].read_text() == thresholds[1].read_text()


@pytest.mark.parametrize("preset", ["smoke", "paper_relu", "relu", "frozen", "protonet"])
def test_every_model_trains_and_is_drawn(preset: str, tmp_path: Path) -> None:
    config, run = small(preset), new_run(tmp_path)
    omniglot.train(config, run)
    values = omniglot.evaluate(config, run.fresh())
    assert values == omniglot.evaluate(config, run.fresh())
    assert (values["characters"], values["classes"]) == (12, 24)
    error = (values["accuracy"] * (1 - values["accuracy"]) / 30) ** 0.5
    assert values["accuracy_error"] == pytest.approx(error)
    wanted = {"accuracy", "accuracy_upright", "runs_nearest_4_way"}
    if preset != "protonet":
        wanted |= {"nearest", "runs_accuracy_3_way", "runs_accuracy_3_way_error"}
    if preset in ("smoke", "frozen"):
        wanted |= {"nearest_spikes", "runs_nearest_spikes_4_way", "rate_read_values"}
    assert wanted <= set(values)
    if preset in ("paper_relu", "frozen"):  # figures of relu and smoke
        return
    run.write_json("result.json", {"test": values})
    omniglot.plot(config, run.fresh())
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    expected = {"episode", "answer", "pretraining"}
    expected |= {"learning_curves"} if preset != "protonet" else set()
    expected |= {"writing", "reading", "memory", "memory_weights"} if preset != "protonet" else set()
    expected |= {"encoder", "tuning"} if preset == "smoke" else set()
    assert drawn == expected


def test_the_whole_command_line_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "run"
    assert cli.main(["train", "omniglot", "--preset", "smoke", "--out", str(place)]) == 0
    before = json.loads((place / "result.json").read_text())["test"]
    assert cli.main(["evaluate", str(place)]) == 0
    assert json.loads((place / "result.json").read_text())["test"] == before
    borrowing = new_run(tmp_path / "other")
    omniglot.train(change(encoder_from=str(place)), borrowing)
    theirs, mine = (build(SMOKE, borrowing)[0] for _ in range(2))
    phase(new_run(place), PHASE).load_best(encoder=theirs)
    phase(borrowing, PHASE).load_best(encoder=mine)
    assert all(torch.equal(a, b) for a, b in zip(theirs.parameters(), mine.parameters(), strict=True))
    capsys.readouterr()
    other = ["train", "omniglot", "--preset", "smoke", "--encoder-from", str(place), "--out"]
    assert cli.main([*other, str(tmp_path / "third"), "--channels", "6", "--side", "30"]) == 1
    said = capsys.readouterr().err
    assert "channels is 4 there and 6 here; side is 28 there and 30 here" in said
    assert cli.main([*other, str(tmp_path / "fourth"), "--seed", "5"]) == 1
    assert "the seed of the data is 0 there and 5 here" in capsys.readouterr().err
    (place / "checkpoints" / "best.pt").unlink()
    assert cli.main(["evaluate", str(place)]) == 1
    assert "best.pt" in capsys.readouterr().err


def test_kept_spikes_give_the_answers_of_spikes_computed_afresh(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    omniglot.train(SMOKE, run)
    _, learner = build(SMOKE, run)
    run.load_best(model=learner)
    images = turned(SMOKE, read(SMOKE, "evaluation"))
    shown = draw(SMOKE, images, 6, run.generator("x"))
    found = kept(SMOKE, run, learner.encoder, images, "evaluation")
    assert isinstance(found, PackedSpikes)
    first = answer(learner, EpisodeSource(SMOKE, images, found), shown, run.device)
    assert first.encoder.shape == (30, 6, 4 + 6)
    assert float(first.encoder[..., :4].detach().mean()) > 0.01
    for gradient in (False, True):
        with torch.set_grad_enabled(gradient):
            again = answer(learner, EpisodeSource(SMOKE, images, None), shown, run.device)
        assert torch.equal(first.encoder, again.encoder)
        assert torch.equal(first.query, again.query)
        torch.testing.assert_close(first.logits, again.logits)
    assert isinstance(learner.encoder, SpikingConvEncoder)
    asked = learner.encoder.encode(images.pixels[shown.query].float(), 10)
    assert torch.equal(asked, first.query)


def test_fine_tuning_reaches_the_encoder_and_freezing_does_not(tmp_path: Path) -> None:
    for frozen in (True, False):
        config, run = change(freeze_encoder=frozen, lr=0.01, select="last"), new_run(tmp_path / str(frozen))
        omniglot.train(config, run)
        _, learner = build(config, run)
        run.load_best(model=learner)
        before = build(config, run)[1].encoder
        phase(run, TUNING).load_best(encoder=before)
        same = [torch.equal(a, b) for a, b in zip(before.parameters(), learner.encoder.parameters(), strict=True)]
        assert same == [frozen] * 4
        assert run.metrics()[-1]["rate_read_values"] > 0  # a reading layer that never spikes has no gradient


def test_without_pretraining_all_neurons_have_one_threshold(tmp_path: Path) -> None:
    config, run = change(pretraining="none", tune_updates=0, conv_bias=True, freeze_encoder=False), new_run(tmp_path)
    omniglot.train(config, run)
    assert not (tmp_path / PHASE / "checkpoints").exists()
    encoder = build(config, run)[1].encoder
    assert isinstance(encoder, SpikingConvEncoder)
    assert encoder.thresholds == pytest.approx([config.threshold] * 4)
    assert sum("bias" in name for name, _ in encoder.named_parameters()) == 4


def test_no_character_is_both_trained_and_validated_with(tmp_path: Path) -> None:
    images, held = split(SMOKE, new_run(tmp_path))
    assert (images.classes, held.classes, images.upright, images.drawings) == (12, 12, 6, 4)
    seen = {image.numpy().tobytes() for image in images.pixels}
    assert not any(image.numpy().tobytes() in seen for image in held.pixels)
    assert torch.equal(images.by_class[7, 2], images.pixels[7 * 4 + 2])
    assert torch.equal(images.by_class[7, 2, 0], images.by_class[1, 2, 0].rot90())


def test_a_frozen_encoder_does_not_pay_for_its_rates(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    images, _ = split(SMOKE, run)
    _, learner = build(SMOKE, run)
    found = answer(learner, EpisodeSource(SMOKE, images, None), draw(SMOKE, images, 4, run.generator("x")), run.device)
    shapes = [part.shape[2] for part in regularised(change(freeze_encoder=False), found)]
    assert shapes == [4 + 6, 4, 8, 8, 8, 8]
    assert [part.shape[2] for part in regularised(SMOKE, found)] == [6, 8, 8, 8, 8]


def test_a_memory_at_zero_does_not_answer(tmp_path: Path) -> None:
    config, run = change(model="frozen"), new_run(tmp_path)
    images, _ = split(config, run)
    _, learner = build(config, run)
    shown = draw(config, images, 4, run.generator("x"))
    assert answer(learner, EpisodeSource(config, images, None), shown, run.device).logits.count_nonzero() == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"window": 7.0}, "window must be a whole number of steps"),
        ({"clip": -1.0}, "--clip must be a finite number of at least 0"),
        ({"ways": 0}, "--ways must be a whole number of at least 1"),
        ({"batch_norm": True}, "batch_norm cannot spike"),
        ({"conv_bias": True}, "A converted encoder has no biases"),
        ({"pretraining": "none"}, "tune_updates are for an encoder in spikes"),
        ({"pretraining": "none", "tune_updates": 0, "encoder_from": "x"}, "need a pre-trained encoder"),
        ({"pretraining": "none", "tune_updates": 0, "model": "protonet"}, "need a pre-trained encoder"),
        ({"pretraining": "none", "tune_updates": 0}, "A frozen encoder that was never trained"),
        ({"learn_thresholds": True}, "learn_thresholds is for an encoder in spikes that is not frozen"),
        ({"normalise": True}, "normalise is for relu, whose activity has no bound, not for spiking"),
        ({"ways": 13}, "need as many classes"),
        ({"pretrain_ways": 13}, "cannot be drawn from 12 classes"),
        ({"calibration_batches": 30}, "Thresholds need 30 batches"),
    ],
)
def test_options_without_sense_are_refused(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        omniglot.train(change(**options), new_run(tmp_path))


def test_missing_runs_are_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, example_data: Path
) -> None:
    shutil.copytree(example_data / "omniglot", tmp_path / "data" / "omniglot")
    (tmp_path / "data" / "omniglot" / "all_runs.zip").unlink()
    run = new_run(tmp_path / "run")
    omniglot.train(SMOKE, run)
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path / "data"))
    values = omniglot.evaluate(SMOKE, run.fresh())
    assert not any(name.startswith("runs_") for name in values)
    assert "Lake's runs are left out: " in capsys.readouterr().out


def test_images_and_query_must_fit(tmp_path: Path) -> None:
    spikes, rates = r"\[S T, B, F\] and \[T, B, F\], with 30", r"\[S, B, F\] and \[B, F\], with 3"
    for model, said in (("spiking", spikes), ("relu", rates)):
        config = change(model=model, tune_updates=0)
        memory = build(config, new_run(tmp_path))[1].memory
        with pytest.raises(ShapeError, match=said):
            memory(torch.zeros(20, 2, 4), torch.zeros(10, 2, 4))


def test_the_paper_has_the_sizes_of_the_paper(tmp_path: Path) -> None:
    _, learner = build(PRESETS["paper"], new_run(tmp_path))
    sizes = {name: tuple(part.shape) for name, part in learner.memory.named_parameters()}
    assert sizes == {
        "labels": (5, 64), "readout": (5, 100), "core.write.weight": (200, 128), "core.read.weight": (100, 164)
    }  # fmt: skip
    assert sum(part.numel() for part in learner.encoder.parameters()) == 9 * 64 * (1 + 3 * 64)


@pytest.mark.slow
@pytest.mark.skipif(not list(REAL.glob("images_*")), reason=f"needs Omniglot: its zip files in {REAL}")
def test_the_nearest_prototype_tells_real_characters_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKELOOM_DATA", str(REAL.parent))
    config = change(
        PRESETS["protonet"], channels=8, turns=1, pretrain_updates=60, pretrain_ways=15, pretrain_validate_every=60,
        pretrain_episodes=50, test_episodes=1000,
    )  # fmt: skip
    run = new_run(tmp_path)
    omniglot.train(config, run)
    values = omniglot.evaluate(config, run.fresh())
    assert values["accuracy"] > 0.6
    assert values["runs_nearest_20_way"] > 0.15


def test_figures_of_an_encoder_that_normalises_are_those_of_the_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"model": "relu", "batch_norm": True, "pretraining": "none", "tune_updates": 0}
    config, run, drawn = change(**options, key_gain=1.0, freeze_encoder=False), new_run(tmp_path), []
    omniglot.train(config, run)
    monkeypatch.setattr(
        "spikeloom.papers.hebbian_memory.figures.one_shot", lambda *given: drawn.append(given[5].logits)
    )
    omniglot.plot(config, run.fresh())
    again = run.fresh()
    _, learner = omniglot.build(config, again)
    again.load_best(model=learner)
    learner.eval()
    images = turned(config, read(config, "evaluation"))
    shown = draw(config, images, TEST_BATCH, again.generator("activity", shared=True))
    with torch.no_grad():
        wanted = answer(learner, EpisodeSource(config, images, None), shown, again.device).logits
    assert torch.equal(drawn[0], wanted)
