import dataclasses
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spikeloom.errors import CheckpointError, ConfigError, TrainingError
from spikeloom.train import config, experiment, files, informative
from spikeloom.train.config import RunConfig
from tests import tiny_task

SMOKE = RunConfig("tiny", "smoke", 1, config.to_json(tiny_task.PRESETS["smoke"]))


def test_a_run_from_beginning_to_end(tmp_path: Path) -> None:
    run = experiment.create(tmp_path / "run", SMOKE)
    experiment.train(tiny_task, experiment.options(tiny_task, run.folder), run)
    result = run.read_json("result.json")
    assert set(result) == {"task", "preset", "seed", "test", "published", "seconds"}
    assert result["published"] == tiny_task.PUBLISHED
    assert result["seconds"] > 0
    assert run.read_json("environment.json")["data"][0]["note"] == "8 of the 10 points"
    assert (run.folder / "figures" / "descent.png").exists()


def test_evaluation_does_not_depend_on_training_before_it(tmp_path: Path) -> None:
    run = experiment.create(tmp_path / "run", SMOKE)
    experiment.train(tiny_task, tiny_task.PRESETS["smoke"], run)
    first = run.read_json("result.json")
    again = experiment.reopen(run.folder)
    assert experiment.evaluate(tiny_task, tiny_task.PRESETS["smoke"], again) == first


def test_an_evaluation_that_cannot_load_the_weights_changes_no_file(tmp_path: Path) -> None:
    run = experiment.create(tmp_path / "run", SMOKE)
    experiment.train(tiny_task, tiny_task.PRESETS["smoke"], run)
    (run.folder / "checkpoints" / "best.pt").write_bytes(b"damaged")
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    assert run.folder / "digests.json" in before
    with pytest.raises(CheckpointError, match=r"best\.pt"):
        experiment.evaluate(tiny_task, tiny_task.PRESETS["smoke"], experiment.reopen(run.folder))
    assert {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()} == before


def test_an_evaluation_that_stops_leaves_no_digest_of_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = experiment.create(tmp_path / "run", SMOKE)
    experiment.train(tiny_task, tiny_task.PRESETS["smoke"], run)

    def evaluate(settings: Any, run: Any) -> dict[str, float]:
        run.write_json("activity.json", {**run.read_json("activity.json"), "steps": 7})
        raise KeyboardInterrupt

    monkeypatch.setattr(tiny_task, "evaluate", evaluate)
    with pytest.raises(KeyboardInterrupt):
        experiment.evaluate(tiny_task, tiny_task.PRESETS["smoke"], experiment.reopen(run.folder))
    assert list(run.read_json("digests.json")) == ["result.json"]
    assert informative.tidy(run.folder) == []


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    experiment.create(tmp_path / "run", SMOKE)
    with pytest.raises(
        ConfigError, match=r"is not empty. Go on with what is there by `spikeloom resume .*another --out"
    ):
        experiment.create(tmp_path / "run", SMOKE)


def test_an_empty_folder_and_leftovers_of_a_crash_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".config.json.tmp").touch()
    assert experiment.create(tmp_path / "run", SMOKE).folder == tmp_path / "run"


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot be made: Not a directory. Choose another folder with --out"):
        experiment.create(tmp_path / "file" / "run", SMOKE)


def test_options_of_another_version_are_refused(tmp_path: Path) -> None:
    options = {**SMOKE.options, "learning_rate": 0.1}
    run = experiment.create(tmp_path / "run", dataclasses.replace(SMOKE, options=options))
    with pytest.raises(ConfigError, match=r"config.json: options has an unknown key 'learning_rate'"):
        experiment.options(tiny_task, run.folder)


def test_a_test_value_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    run = experiment.create(tmp_path / "run", SMOKE)
    task = SimpleNamespace(**{**vars(tiny_task), "evaluate": lambda config, run: {"error": float("nan")}})
    with pytest.raises(TrainingError, match=r"the test gave error = nan. The checkpoints are kept"):
        experiment.evaluate(task, None, run)
    assert not (run.folder / "result.json").exists()


def test_a_restart_is_noted(tmp_path: Path) -> None:
    run = experiment.create(tmp_path / "run", SMOKE)
    assert experiment.note_resumption(run) == []
    run.write_json("environment.json", {**run.read_json("environment.json"), "torch_threads": 99})
    assert experiment.note_resumption(run)[0].startswith("torch_threads was 99, is ")
    assert len(run.read_json("environment.json")["resumed"]) == 2
    (run.folder / "environment.json").unlink()
    assert experiment.note_resumption(run) == []


def test_of_two_that_make_one_folder_one_gets_it(tmp_path: Path) -> None:
    """The one that comes second sees the lock, or what the first has written; it writes nothing itself."""
    folder = tmp_path / "run"
    folder.mkdir()
    other = dataclasses.replace(SMOKE, seed=5)
    with (
        files.locked(folder),
        pytest.raises(ConfigError, match=r"another process is training in .*run. Wait for it or end it, then resume"),
    ):
        experiment.create(folder, other)
    assert list(folder.iterdir()) == []

    found = dict[int, str]()

    def come(seed: int) -> None:
        try:
            experiment.create(folder, dataclasses.replace(SMOKE, seed=seed))
            found[seed] = "made"
        except ConfigError as error:
            found[seed] = str(error)

    threads = [threading.Thread(target=come, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [seed for seed, end in found.items() if end == "made"]
    assert config.read(folder).seed == winner
    for seed, end in found.items():
        assert seed == winner or "is not empty. Go on" in end or "another process is training in" in end


def test_a_folder_that_cannot_be_written_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    message = r"config.json cannot be written: No space left on device.* Or choose another folder with --out"
    with pytest.raises(ConfigError, match=message):
        experiment.create(tmp_path / "run", SMOKE)
    assert not (tmp_path / "run").exists()


def test_a_link_in_an_empty_folder_is_not_taken_for_a_leftover(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".config.json.tmp").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"run is not empty"):
        experiment.create(tmp_path / "run", SMOKE)
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with files.locked(tmp_path):
        pass
    assert f"Warning: {tmp_path} cannot be locked: No locks available. See to it that one" in capsys.readouterr().err
    with (
        pytest.raises(ConfigError, match=r"nowhere cannot be opened: No such"),
        files.locked(tmp_path / "nowhere"),
    ):
        pass
