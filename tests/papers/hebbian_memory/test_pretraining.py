"""Phases that tasks with images share: pre-training and its resumption, borrowing, calibration, spikes on disk."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from spikeloom.errors import CheckpointError, ConfigError
from spikeloom.layers.hebbian_memory.layer import memory_neuron
from spikeloom.papers.hebbian_memory.encoders import ConvEncoder, PackedSpikes, SpikingConvEncoder, balance
from spikeloom.papers.hebbian_memory.pretraining import (
    PretrainingEpisodes,
    Schedule,
    borrow,
    calibrate,
    choose,
    keep_above,
    phase,
    pretrain_classes,
    pretrain_prototypes,
    spikes,
)
from spikeloom.train.run import Run

SMALL = PretrainingEpisodes(4, 1, 2, 3, 4, 5)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def new_run(folder: Path, seed: int = 0) -> Run:
    return Run(folder, "omniglot", "smoke", seed, quiet=True)


def classes(count: int, drawings: int, seed: int = 0) -> Tensor:
    """Noisy copies of random patterns, bytes 0 and 1."""
    drawn = seeded(seed)
    patterns = torch.rand(count, 1, 1, 16, 16, generator=drawn) < 0.3
    flipped = torch.rand(count, drawings, 1, 16, 16, generator=drawn) < 0.02
    return (patterns ^ flipped).to(torch.uint8)


def encoder(run: Run, **options: Any) -> ConvEncoder:
    return ConvEncoder(6, generator=run.generator("encoder", shared=True), **options)


def by_prototypes(run: Run, updates: int, **options: Any) -> ConvEncoder:
    net = encoder(run)
    schedule = Schedule(updates, validate_every=2, checkpoint_every=3, **options)
    pretrain_prototypes(phase(run, "encoder"), net, classes(10, 6), classes(5, 6, 1), SMALL, schedule)
    return net


def by_spikes(run: Run, updates: int, **options: Any) -> SpikingConvEncoder:
    network = spiking(run, learn_thresholds=True)
    balance(network, [classes(10, 6).flatten(0, 1).float()], 20, share=0.4)
    schedule = Schedule(updates, validate_every=2, checkpoint_every=3, **options)
    sizes = dataclasses.replace(SMALL, validation_classes=4)
    pretrain_prototypes(phase(run, "encoder"), network, classes(10, 6), classes(5, 6, 1), sizes, schedule, 20)
    return network


def by_classes(run: Run, updates: int, **options: Any) -> ConvEncoder:
    net = encoder(run)
    images, labels = classes(5, 12).flatten(0, 1), torch.arange(5).repeat_interleave(12)
    held = torch.arange(60) % 12 < 3
    schedule = Schedule(updates, validate_every=2, checkpoint_every=3, **options)
    pretrain_classes(
        phase(run, "encoder"), net, images[~held], labels[~held], (images[held], labels[held]), 5, 7, schedule
    )
    return net


@pytest.mark.parametrize("train", [by_prototypes, by_spikes, by_classes])
def test_pretraining_that_was_stopped_ends_with_the_same_bytes(train: Any, tmp_path: Path) -> None:
    whole, parts = new_run(tmp_path / "whole"), new_run(tmp_path / "parts")
    a = train(whole, 8)
    train(parts, 4)
    b = train(new_run(tmp_path / "parts"), 8)
    for name in ("checkpoints/last.pt", "checkpoints/best.pt", "metrics.jsonl"):
        paths = [run.folder / "encoder" / name for run in (whole, parts)]
        assert paths[0].read_bytes() == paths[1].read_bytes()
    again = train(new_run(tmp_path / "whole"), 8)  # finished: it is only read
    for other in (b, again):
        assert all(torch.equal(x, y) for x, y in zip(a.parameters(), other.parameters(), strict=True))


def test_learned_thresholds_stay_positive(tmp_path: Path) -> None:
    before = spiking(new_run(tmp_path / "other"))
    balance(before, [classes(10, 6).flatten(0, 1).float()], 20, share=0.4)
    network = by_spikes(new_run(tmp_path), 3, lr=50.0)
    assert all(value > 0 for value in network.thresholds)
    least = [0.001 * value for value in before.thresholds]
    assert network.thresholds != pytest.approx(before.thresholds)
    keep_above(network, least)
    assert all(value >= 0.999 * low for value, low in zip(network.thresholds, least, strict=True))


@pytest.mark.parametrize(("train", "name"), [(by_prototypes, "validation_accuracy"), (by_classes, "validation_loss")])
def test_the_encoder_is_that_of_the_best_validation(train: Any, name: str, tmp_path: Path) -> None:
    run = new_run(tmp_path)
    train(run, 12, lr=0.02)
    lines = [line for line in phase(run, "encoder").metrics() if name in line]
    best = (max if "accuracy" in name else min)(lines, key=lambda line: line[name])
    assert phase(run, "encoder").load_best(encoder=encoder(run)) == best["update"]


@pytest.mark.parametrize("train", [by_prototypes, by_spikes, by_classes])
def test_pretraining_learns(train: Any, tmp_path: Path) -> None:
    run = new_run(tmp_path)
    train(run, 100, lr=0.01)
    lines = [line["validation_accuracy"] for line in phase(run, "encoder").metrics() if "validation_accuracy" in line]
    assert max(lines) > max(0.8, lines[0])


def test_episodes_have_distinct_classes_and_drawings() -> None:
    chosen, which = choose(9, 5, 6, 4, seeded())
    assert len(set(chosen.tolist())) == 6
    assert all(len(set(row)) == 4 for row in which.tolist())
    for options in ((9, 5, 10, 4), (9, 5, 6, 6)):
        with pytest.raises(ConfigError, match="cannot be drawn"):
            choose(*options, seeded())


def spiking(run: Run, **options: Any) -> SpikingConvEncoder:
    return SpikingConvEncoder(encoder(run), memory_neuron(20.0, 0.4, 0.0, dt=5.0), **options)


def test_thresholds_are_written_down_and_violations_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = 0
    for seed in range(6):
        run = new_run(tmp_path / str(seed), seed)
        network = spiking(run)
        found = calibrate(run, network, classes(8, 6).flatten(0, 1), 20, batches=4, batch=2)
        told += bool(found.violations)
        written = json.loads((run.folder / "thresholds.json").read_text())
        assert written["thresholds"] == network.thresholds
        assert written["violations"] == found.violations
    assert told > 0
    assert capsys.readouterr().out.count("a later batch raised one") == told
    with pytest.raises(ConfigError, match="4 batches of 20 images, but there are 48"):
        calibrate(new_run(tmp_path), network, classes(8, 6).flatten(0, 1), 20, batches=4, batch=20)


def test_spikes_are_kept_until_something_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_run(tmp_path)
    network, images = spiking(run), classes(3, 4).flatten(0, 1)
    balance(network, [images.float()], 20, share=0.5)
    first = spikes(run, network, images, 20, "training")
    with torch.no_grad():
        assert torch.equal(first.take(torch.arange(12)), network.encode(images.float(), 20))
    made: list[int] = []
    real = PackedSpikes.of

    def watched(*arguments: Any) -> Any:
        made.append(1)
        return real(*arguments)

    monkeypatch.setattr(PackedSpikes, "of", watched)
    assert torch.equal(spikes(run, network, images, 20, "training").bits, first.bits)
    assert not made
    spikes(run, network, images, 10, "training")
    spikes(run, network, images[:-1], 20, "training")
    assert len(made) == 2
    path = run.folder / "spikes-training.npz"
    spikes(run, network, images, 20, "training")
    path.write_bytes(path.read_bytes()[:-40])
    assert torch.equal(spikes(run, network, images, 20, "training").bits, first.bits)
    assert len(made) == 4
    balance(network, [images.float()], 20, share=0.9)
    spikes(run, network, images, 20, "training")
    assert len(made) == 5


def test_an_encoder_of_another_run_is_copied_if_it_fits(tmp_path: Path) -> None:
    there, here = new_run(tmp_path / "there"), new_run(tmp_path / "here", 5)
    trained = by_prototypes(there, 4)

    class Options:
        channels = 6
        side = 16
        dt = 5.0
        data_seed = 0  # which is that of the other run, whose own is its seed

    settings = {"task": "omniglot", "preset": "smoke", "seed": 0, "options": {"channels": 6, "side": 16, "dt": 1.0}}
    (there.folder / "config.json").write_text(json.dumps(settings))
    taken = encoder(here)
    borrow(phase(here, "encoder"), str(there.folder), taken, Options(), ("channels", "side"))
    assert all(torch.equal(x, y) for x, y in zip(trained.parameters(), taken.parameters(), strict=True))
    again = encoder(here)
    phase(here, "encoder").load_best(encoder=again)
    assert torch.equal(next(again.parameters()), next(trained.parameters()))
    settings["options"] = {"channels": 8, "side": 28, "dt": 1.0}
    (there.folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match="channels is 8 there and 6 here; side is 28 there and 16 here"):
        borrow(phase(here, "encoder"), str(there.folder), taken, Options(), ("channels", "side"))
    (there.folder / "encoder" / "checkpoints" / "best.pt").unlink()
    with pytest.raises(CheckpointError, match="has no pre-trained encoder"):
        borrow(phase(here, "encoder"), str(there.folder), taken, Options(), ())
    with pytest.raises(ConfigError, match="is not a run folder"):
        borrow(phase(here, "encoder"), str(tmp_path / "nowhere"), taken, Options(), ())
