"""bAbI: resuming, figures, the choice of questions, options; the table; learning, where it takes seconds."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from spikeloom.cli import main
from spikeloom.data import babi as data
from spikeloom.errors import ConfigError, DataError
from spikeloom.papers.hebbian_memory import babi
from spikeloom.papers.hebbian_memory.babi import (
    PRESETS,
    TABLES,
    Config,
    by_length,
    drawn,
    finish,
    network,
    read,
    splits,
    squared_rates,
    vocabulary,
)  # fmt: skip
from spikeloom.train.run import Run
from tests import fixtures

DATA = Path(os.environ.get("SPIKELOOM_DATA") or "/nonexistent") / "babi"
needs_data = pytest.mark.skipif(not list(DATA.glob("*.tar.gz")), reason="not in $SPIKELOOM_DATA/babi: a tar file")
SMOKE = PRESETS["smoke"]
OPTIONS: list[dict[str, Any]] = [
    {"time_words": True}, {"time_words": True, "mask_time_words": False}, {"learn_positions": False},
    {"model": "frozen"}, {"initial": "aligned"}, {"ten_k": False}, {"reset": "zero"}, {"select": "last"},
    {"delay": 30.0}, {"rate_cost": 1e-5, "rate_cost_after": 1}, {"longest": 4}, {"longest": 0}, {"questions": 30},
    {"whole_stories": False}, {"whole_stories": True, "time_words": True, "batch": 30}, {"position_spread": 0.0},
]  # fmt: skip


def change(config: Config = SMOKE, **options: Any) -> Config:
    return dataclasses.replace(config, **options)


def new_run(folder: Path, seed: int = 0) -> Run:
    return Run(folder, "babi", "smoke", seed, quiet=True)


@pytest.fixture
def real_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the exact format, where the user's would be."""
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path / "data"))
    fixtures.babi.write(tmp_path / "data")
    return tmp_path / "data" / "babi"


@pytest.mark.parametrize("enough", [0.0, 0.01])
def test_a_resumed_run_ends_with_the_same_bytes(enough: float, tmp_path: Path) -> None:
    config = change(rate_cost=1e-5, rate_cost_after=1, enough=enough)
    babi.train(config, new_run(tmp_path / "whole"))
    babi.train(change(config, updates=2, enough=0.0), new_run(tmp_path / "parts"))
    babi.train(config, new_run(tmp_path / "parts"))
    for name in ("checkpoints/last.pt", "checkpoints/best.pt", "metrics.jsonl", "vocabulary.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values())))
def test_every_option_trains(options: dict[str, Any], tmp_path: Path) -> None:
    config, run = change(updates=2, **options), new_run(tmp_path)
    babi.train(config, run)
    values = babi.evaluate(config, run.fresh())
    assert values == babi.evaluate(config, run.fresh())
    assert values["error"] == pytest.approx(1.0 - values["accuracy"])
    assert values["solved"] == float(values["error"] <= 0.05)
    assert values["test_questions"] == len(read(config).test.questions)


def test_a_run_is_drawn(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    babi.train(SMOKE, run)
    babi.evaluate(SMOKE, run.fresh())
    babi.plot(SMOKE, run.fresh())
    assert {path.stem for path in (tmp_path / "figures").glob("*.png")} == {
        "input", "answer", "writing", "reading", "memory", "memory_weights", "places", "learning_curves",
        "accuracy_by_length",
    }  # fmt: skip


def test_long_stories_are_left_out_of_the_training_and_nowhere_else(tmp_path: Path) -> None:
    run, config = new_run(tmp_path), change(longest=4)
    files = read(config)
    every = vocabulary(config, run, files).encode(files.train)
    training, validation = splits(config, run, every)
    all_training, all_validation = splits(change(longest=0), run, every)
    assert int(training.lengths.max()) == 4
    assert int(validation.lengths.max()) > 4
    assert torch.equal(validation.story, all_validation.story)
    assert len(training.target) == int((all_training.lengths <= 4).sum())
    assert not set(training.story.tolist()) & set(validation.story.tolist())
    babi.train(config, run)
    values = babi.evaluate(config, run.fresh())
    long = int(sum(question.last - question.first > 4 for question in files.test.questions))
    assert values["longer_stories"] == long
    assert values["test_questions"] == len(files.test.questions)
    with pytest.raises(ConfigError, match=r"No story has 1 statements or fewer. Choose a larger --longest, or 0"):
        splits(change(longest=1), run, every)


def test_validation_depends_on_the_seed_alone(tmp_path: Path) -> None:
    files = read(SMOKE)
    every = data.Vocabulary.of([files.train]).encode(files.train)
    held = [splits(SMOKE, new_run(tmp_path, seed), every)[1].story.tolist() for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


def test_the_files_may_not_change_under_a_run(real_format: Path, tmp_path: Path) -> None:
    config, run = SMOKE, new_run(tmp_path / "run")
    babi.train(config, run)
    babi.evaluate(config, run.fresh())
    fixtures.babi.write(real_format.parent, (1,), people=4, seed=1)
    with pytest.raises(DataError, match=r"qa1_made-up_train.txt says '.*', which is none of the 15 words"):
        babi.evaluate(config, run.fresh())


def test_the_rate_cost_is_in_hertz_of_the_time_of_each_story() -> None:
    spikes = torch.tensor([[2.0, 0.0], [0.0, 1.0]]) / 4.0  # of four steps
    for target, wanted in ((0.0, 39062.5), (20.0, 31962.5)):
        assert float(squared_rates(change(dt=1.0, target_rate=target), spikes)) == pytest.approx(wanted)
    config = change(dt=1.0)
    shorter = torch.tensor([[2 / 4, 0.0], [0.0, 1 / 2]])  # the second story has two steps
    assert float(squared_rates(config, shorter)) == pytest.approx((250.0**2 + 250.0**2) / 2)


def test_a_batch_of_whole_stories_has_about_as_many_questions(tmp_path: Path) -> None:
    files = read(SMOKE)
    training, _ = splits(SMOKE, new_run(tmp_path), data.Vocabulary.of([files.train]).encode(files.train))
    stories = len(torch.unique(training.story))
    batches = drawn(change(batch=20, whole_stories=True), new_run(tmp_path), training)
    assert (batches.count, batches.batch) == (stories, round(20 * stories / len(training.target)))
    assert drawn(change(batch=1, whole_stories=True), new_run(tmp_path), training).batch == 1
    batches = drawn(change(batch=20, whole_stories=False), new_run(tmp_path), training)
    assert (batches.count, batches.batch) == (len(training.target), 20)


def test_training_ends_when_nothing_gets_better(tmp_path: Path) -> None:
    config = change(patience=2, validate_every=1, updates=50, lr=1e-9)
    babi.train(config, new_run(tmp_path))
    assert [line["update"] for line in new_run(tmp_path).metrics()] == [1, 2, 3]
    assert finish(change(enough=0.5, patience=0), [0.6, 0.4]) is False
    assert finish(change(enough=0.5, patience=0), [0.4, 0.5]) is True
    assert finish(change(enough=0.0, patience=0), [0.4, 0.4, 1.0]) is False


def test_neighbouring_lengths_are_told_together() -> None:
    lengths = torch.arange(1, 61).repeat_interleave(2)
    told = by_length(lengths, lengths <= 30)
    assert sum(count for _, count, _ in told) == 120
    assert len(told) <= babi.GROUPS
    assert [right for _, _, right in told] == [1.0] * (len(told) // 2) + [0.0] * (len(told) // 2)


def test_the_paper_has_the_sizes_of_the_paper(tmp_path: Path) -> None:
    config = PRESETS["paper"]
    assert config == Config()
    known = data.Vocabulary(tuple("abcdefg"), 6)
    sizes = {name: tuple(part.shape) for name, part in network(config, new_run(tmp_path), known).named_parameters()}
    assert sizes == {
        "sentences.embedding": (8, 80), "sentences.position": (6, 80), "core.write.weight": (200, 80),
        "core.read.weight": (100, 180), "readout": (7, 100),
    }  # fmt: skip
    assert (config.delay, PRESETS["paper_1"].delay, config.batch, config.item_ms) == (30.0, 1.0, 256, 100.0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"qa": 21}, "--qa must be a whole number of at least 1 and at most 20"),
        ({"window": 7.0}, "whole number of steps"),
        ({"window": 60.0}, "Items of 50 ms have no last 60 ms"),
        ({"clip": -1.0}, "--clip must be a finite number of at least 0"),
        ({"longest": -1}, "--longest must be a whole number of at least 0"),
        ({"patience": -1}, "--patience must be a whole number of at least 0"),
        ({"position_spread": -0.5}, "--position-spread must be a finite number of at least 0"),
        ({"enough": 1.5}, "--enough must be a finite number of at least 0 and at most 1, but is 1.5"),
        ({"validation": 0.0}, "--validation must be a finite number above 0 and below 1"),
        ({"validation": 0.999}, "leaves nothing to train on"),
        ({"lr_decay_every": 0}, "--lr-decay-every must be a whole number of at least 1"),
        ({"batch": 1000}, "A batch must hold 1 to"),
    ],
)
def test_options_without_sense_are_refused(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        babi.train(change(**options), new_run(tmp_path))


def test_without_data_the_user_is_told_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path / "data"))
    assert main(["train", "babi", "--out", str(tmp_path / "run")]) == 1
    assert f"DataError: The bAbI tasks are missing: there is no {tmp_path / 'data' / 'babi'}" in capsys.readouterr().err


def test_the_table_has_all_tasks_and_the_one_published_number() -> None:
    for name in ("cpu", "cpu_30"):
        table = TABLES[name]
        assert [cells[name][1]["qa"] for cells in table.cells.values()] == list(range(1, 21))
        assert table.published == {("mean over the tasks", name): 0.891}
        assert "second-hand" in table.source


@pytest.mark.slow  # test_table.py has a faster one
def test_one_command_fills_the_table(real_format: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = [f"{name}={getattr(SMOKE, name)}" for name in ("embedding", "memory_size", "item_ms", "window", "batch")]
    out = tmp_path / "table"
    settings = ["updates=1", "validate_every=1", *small]
    assert main(["table", "babi", "cpu", "--seeds", "1", "--set", *settings, "--out", str(out)]) == 0
    lines = (out / "table.txt").read_text().splitlines()
    assert lines[2].split() == ["cpu", "error", "solved"]
    assert [line.split()[0] for line in lines[3:]] == [*map(str, range(1, 21)), "mean"]
    assert lines[-1].startswith("mean over the tasks")
    assert "(0.891)" in lines[-1]
    result = json.loads((out / "result.json").read_text())
    cells, mean = result["cells"][:20], result["cells"][20]
    assert mean["mean"] == pytest.approx(sum(cell["mean"] for cell in cells) / 20)
    assert mean["besides"]["error"] == pytest.approx(1 - mean["mean"])
    (counting,) = out.glob("7-counting*")
    assert "questions" in (counting / "seed0" / "report.html").read_text()
    assert "of the 10,000 official training questions" in capsys.readouterr().out


@pytest.mark.slow
def test_who_is_where_is_learned_from_made_up_stories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path / "data"))
    fixtures.babi.write(tmp_path / "data", (1,), train=600, test=60)
    config = change(PRESETS["cpu"], updates=250, validate_every=50)
    run = new_run(tmp_path / "run")
    babi.train(config, run)
    values = babi.evaluate(config, run.fresh())
    assert values["accuracy"] > 0.9 > 0.5 > values["always_the_commonest_answer"]


@needs_data
def test_a_partial_file_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPIKELOOM_DATA", str(DATA.parent))
    config = change(qa=3, updates=1, longest=5, model="frozen", validation=0.01, batch=4)
    babi.train(config, new_run(tmp_path))
    assert "1,925 of the 10,000 official training questions" in capsys.readouterr().out
