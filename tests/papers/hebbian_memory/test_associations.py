"""Associations: resuming, every kind of network, figures, options; learning, where it takes seconds."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from spikeloom.errors import ConfigError, ShapeError
from spikeloom.layers.hebbian_memory.layer import HebbianRead
from spikeloom.papers.hebbian_memory import associations
from spikeloom.papers.hebbian_memory.associations import PRESETS, Config, answer, network, samples
from spikeloom.papers.hebbian_memory.options import squared_rates
from spikeloom.papers.hebbian_memory.pairs import draw
from spikeloom.train.run import Run

SMOKE = PRESETS["smoke"]


def change(config: Config = SMOKE, **options: Any) -> Config:
    return dataclasses.replace(config, **options)


def new_run(folder: Path) -> Run:
    return Run(folder, "associations", "smoke", 0, quiet=True)


def test_samples_are_what_they_should_be() -> None:
    shown = draw(500, 4, 6, 3, generator=torch.Generator().manual_seed(0))
    assert all(len(set(column)) == 4 for column in shown.labels.T.tolist())
    at = (shown.labels == shown.target).int().argmax(0)
    assert torch.equal(shown.features[at, torch.arange(500)], shown.query)
    assert float(torch.bincount(shown.target, minlength=6).min()) > 50
    with pytest.raises(ConfigError, match="at least as many classes as items"):
        draw(1, 4, 3, 3, generator=torch.Generator())


@pytest.mark.parametrize("stored", [0, 12])
def test_a_resumed_run_ends_with_the_same_bytes(stored: int, tmp_path: Path) -> None:
    config = change(stored=stored, rate_cost=1e-5, rate_cost_after=1)
    associations.train(config, new_run(tmp_path / "whole"))
    associations.train(change(config, updates=2), new_run(tmp_path / "parts"))
    associations.train(config, new_run(tmp_path / "parts"))
    for name in ("checkpoints/last.pt", "checkpoints/best.pt", "metrics.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


@pytest.mark.parametrize("preset", ["smoke", "relu", "lstm", "recurrent", "frozen"])
def test_every_network_trains_and_is_drawn(preset: str, tmp_path: Path) -> None:
    small = {name: getattr(SMOKE, name) for name in (
        "length", "classes", "embedding", "memory_size", "item_ms", "window", "batch", "updates", "validation_samples",
        "validate_every", "test_samples", "test_lengths", "checkpoint_every",
    )}  # fmt: skip
    config, run = change(PRESETS[preset], **small), new_run(tmp_path)
    associations.train(config, run)
    values = associations.evaluate(config, run.fresh())
    assert values == associations.evaluate(config, run.fresh())
    assert {"accuracy", "accuracy_1_items", "accuracy_3_items"} <= set(values)
    run.write_json("result.json", {"test": values})
    associations.plot(config, run.fresh())
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    memory = {"memory", "memory_weights"} if preset in ("smoke", "relu", "frozen") else set()
    spikes = {"writing", "reading"} if preset in ("smoke", "relu", "frozen", "recurrent") else set()
    assert drawn == {"input", "answer", "learning_curves", "accuracy_by_length"} | memory | spikes


def test_a_memory_at_zero_answers_nothing_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = change(model="frozen", updates=21, validate_every=30)
    run = new_run(tmp_path)
    found = answer(config, network(config, run), samples(config, torch.Generator().manual_seed(0), 2, 5), run.device)
    assert found.logits.count_nonzero() == 0
    associations.train(config, run)
    assert capsys.readouterr().out.count("silent for 20 updates") == 1


def test_a_sample_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    batch = samples(SMOKE, torch.Generator().manual_seed(0), 2, 9)
    model = network(SMOKE, run)
    whole = answer(SMOKE, model, batch, run.device)
    alone = answer(SMOKE, model, batch.select(torch.tensor([4])), run.device)
    torch.testing.assert_close(alone.logits[0], whole.logits[4])


def test_the_rate_cost_is_in_hertz() -> None:
    spikes = torch.zeros(4, 2, 2)
    spikes[[0, 1], 0, 0] = 1.0
    spikes[0, 1, 1] = 1.0
    for target, wanted in ((0.0, 39062.5), (20.0, 31962.5)):
        assert float(squared_rates(change(dt=1.0, target_rate=target), spikes)) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"length": 4}, "need as many classes"),
        ({"test_lengths": "1,9"}, "need as many classes"),
        ({"test_lengths": "one"}, "whole numbers with commas"),
        ({"window": 7.0}, "whole number of steps"),
        ({"window": 60.0}, "Items of 50 ms have no last 60 ms"),
        ({"model": "lstm"}, 'initial "aligned" is for networks with a memory, not for lstm'),
        ({"clip": -1.0}, "--clip must be a finite number of at least 0"),
        ({"input_gain": 0.0}, "--input-gain must be a finite number above 0"),
    ],
)
def test_options_without_sense_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        change(**options)


def test_features_and_labels_must_fit(tmp_path: Path) -> None:
    model = network(SMOKE, new_run(tmp_path))
    with pytest.raises(ShapeError, match=r"\[S, B, F\]"):
        model(torch.zeros(2, 3, 10), torch.zeros(2, 4, dtype=torch.int64), torch.zeros(3, 10))


def test_the_paper_has_the_sizes_of_the_paper(tmp_path: Path) -> None:
    model = network(PRESETS["paper"], new_run(tmp_path))
    sizes = {name: tuple(part.shape) for name, part in model.named_parameters()}
    assert sizes == {
        "features": (80, 10), "labels": (10, 80), "readout": (10, 100), "core.write.weight": (200, 160),
        "core.read.weight": (100, 180),
    }  # fmt: skip
    read: Any = model.core.read
    assert isinstance(read, HebbianRead)
    assert read.neuron.threshold == 0.1


@pytest.mark.slow
def test_three_items_are_learned_within_sixty_updates(tmp_path: Path) -> None:
    config = change(PRESETS["cpu"], updates=60, validate_every=60, test_lengths="")
    run = new_run(tmp_path)
    associations.train(config, run)
    assert associations.evaluate(config, run.fresh())["accuracy"] > 0.9
