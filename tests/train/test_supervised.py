from pathlib import Path
from typing import Any

import pytest
import torch

from spikeloom.errors import CheckpointError, ConfigError, TrainingError
from spikeloom.train import checkpoint
from spikeloom.train.run import Carry, Run
from spikeloom.train.supervised import fit
from tests import tiny_task


def run_in(folder: Path) -> Run:
    return Run(folder, "tiny", "paper", 1, quiet=True)


def count(run: Run, **options: Any) -> tuple[int, Carry]:
    """Fit that only counts: step n returns loss 1 / n, validation n its error |n - 5|."""
    carry = Carry(steps=0)

    def step(finished: int) -> dict[str, float]:
        assert finished == carry.steps
        carry.steps += 1
        return {"loss": 1 / carry.steps}

    def validate(finished: int) -> dict[str, float]:
        return {"validation_error": float(abs(finished - 5))}

    finished = fit(run, parts={"carry": carry}, step=step, **{"updates": 10, "validate": validate, **options})
    return finished, carry


def files(folder: Path) -> dict[str, bytes]:
    names = ("checkpoints/last.pt", "checkpoints/best.pt", "metrics.jsonl")
    return {name: (folder / name).read_bytes() for name in names}


@pytest.mark.parametrize("first", [1, 4, 5, 6, 9, 10])
def test_two_halves_equal_the_whole(tmp_path: Path, first: int) -> None:
    config = tiny_task.Config(updates=10)
    tiny_task.train(config, run_in(tmp_path / "whole"))
    tiny_task.train(tiny_task.Config(updates=first), run_in(tmp_path / "parts"))
    tiny_task.train(config, run_in(tmp_path / "parts"))
    whole, parts = files(tmp_path / "whole"), files(tmp_path / "parts")
    if first % 2 == 0:
        assert parts == whole
    else:  # the shorter run validated once more, at its end
        assert parts.keys() == whole.keys()


def test_the_best_update_is_kept(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    count(run, best="validation_error")
    carry = Carry(steps=0)
    assert run.load_best(carry=carry) == 5
    assert carry.steps == 5
    count(run_in(tmp_path / "high"), best="validation_error", better="higher", updates=12)
    assert run_in(tmp_path / "high").load_best(carry=carry) == 12


def test_a_resumed_run_remembers_its_best(tmp_path: Path) -> None:
    count(run_in(tmp_path), best="validation_error", updates=6)
    count(run_in(tmp_path), best="validation_error", updates=8)
    assert run_in(tmp_path).load_best(carry=Carry(steps=0)) == 5


def test_without_a_criterion_the_last_update_is_the_best(tmp_path: Path) -> None:
    count(run_in(tmp_path))
    assert run_in(tmp_path).load_best(carry=Carry(steps=0)) == 10


def test_validation_is_periodic_and_at_the_end(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    count(run, validate_every=4)
    assert [line["update"] for line in run.metrics() if "validation_error" in line] == [4, 8, 10]
    assert [line["update"] for line in run.metrics()] == list(range(1, 11))


def test_a_run_that_stopped_early_stays_stopped(tmp_path: Path) -> None:
    def stop(finished: int, history: list[dict[str, Any]]) -> bool:
        return any(line.get("validation_error") == 0.0 for line in history)

    assert count(run_in(tmp_path), stop=stop)[0] == 5
    before = files(tmp_path)
    finished, carry = count(run_in(tmp_path), stop=stop)
    assert (finished, carry.steps) == (5, 5)
    assert files(tmp_path) == before


def test_a_loss_that_is_no_number_ends_training_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    with pytest.raises(TrainingError, match=r"training stopped at update 8: loss = nan. The last checkpoint is kept"):
        tiny_task.train(tiny_task.Config(nan_at=7), run)
    assert run_in(tmp_path).metrics()[-1]["update"] == 7
    assert run.last_saved == 6


@pytest.mark.parametrize(
    ("nan_at", "said"),
    [
        (0, "There is no checkpoint yet. Train again"),
        (3, "The best checkpoint is kept, but there is none yet from which training could go on. Train again"),
    ],
)
def test_a_loss_that_is_no_number_before_a_checkpoint_says_so(nan_at: int, said: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=rf"training stopped at update {nan_at + 1}: loss = nan. {said}"):
        tiny_task.train(tiny_task.Config(nan_at=nan_at, checkpoint_every=50), run_in(tmp_path))


@pytest.mark.parametrize("name", ["validate_every", "checkpoint_every"])
def test_periods_are_positive(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"fit needs {name} >= 1, a whole number of updates, but got 0"):
        count(run_in(tmp_path), **{name: 0})


def test_an_unknown_best_value_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"fit keeps the best 'accuracy', but neither step nor validate returned it"):
        count(run_in(tmp_path), best="accuracy")


def test_the_best_value_lives_in_the_checkpoint(tmp_path: Path) -> None:
    count(run_in(tmp_path), best="validation_error", updates=6)
    run = run_in(tmp_path)
    assert run.restore(carry=Carry(steps=0)) == 6
    assert run.best == 0.0
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(CheckpointError, match=r"metrics.jsonl is missing or lacks its last lines"):
        count(run_in(tmp_path), best="validation_error", updates=8)
    assert run_in(tmp_path).load_best(carry=Carry(steps=0)) == 5


@pytest.mark.parametrize("lost", ["all", "last", "middle"])
def test_a_checkpoint_of_an_earlier_version_needs_its_metrics(tmp_path: Path, lost: str) -> None:
    count(run_in(tmp_path), best="validation_error", updates=6)
    last = tmp_path / "checkpoints" / "last.pt"
    new = {"options", "metrics", "best", "files"}
    checkpoint.save(last, {key: value for key, value in checkpoint.load(last).items() if key not in new})
    path = tmp_path / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join({"all": [], "last": lines[:-1], "middle": [*lines[:3], *lines[4:]]}[lost]))
    message = r"metrics.jsonl is missing or lacks lines: it must have one for each of the 6 updates that are finished"
    with pytest.raises(CheckpointError, match=message):
        count(run_in(tmp_path), best="validation_error", updates=8)
    path.write_text("".join(lines))
    count(run_in(tmp_path), best="validation_error", updates=8)
    assert run_in(tmp_path).load_best(carry=Carry(steps=0)) == 5


@pytest.mark.parametrize("what", ["parameter", "gradient"])
def test_what_else_is_no_number_is_named(tmp_path: Path, what: str) -> None:
    model = torch.nn.Linear(2, 1)

    def step(finished: int) -> dict[str, float]:
        if finished == 1:
            with torch.no_grad():
                model.weight.grad = torch.full_like(model.weight, float("nan"))
                model.weight.add_(float("inf") if what == "parameter" else 0.0)
            return {"loss": float("nan")}
        return {"loss": 1.0}

    expected = rf"stopped at update 2: loss = nan; so is the {'' if what == 'parameter' else 'gradient of '}"
    expected += "parameter model.weight" if what == "parameter" else "model.weight"
    with pytest.raises(TrainingError, match=expected):
        fit(run_in(tmp_path), parts={"model": model}, updates=3, step=step)


def test_parameters_are_looked_at_before_the_first_update_and_when_validating(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 1)

    def step(finished: int) -> dict[str, float]:
        if finished == 1:
            model.bias.data.fill_(float("nan"))
        return {"loss": 1.0}

    options: dict[str, Any] = {"parts": {"model": model}, "updates": 9, "step": step}
    with pytest.raises(TrainingError, match=r"stopped at update 2: parameter model.bias is no longer a finite number"):
        fit(run_in(tmp_path / "one"), validate=lambda finished: {"validation_error": 0.0}, **options)
    with pytest.raises(TrainingError, match=r"stopped at update 0: parameter model.bias is no longer a finite number"):
        fit(run_in(tmp_path / "two"), **options)
