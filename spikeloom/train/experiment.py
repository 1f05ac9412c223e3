"""Life of a run folder: create or open, train, evaluate, plot."""

import contextlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, ConfigError, TrainingError
from . import config, environment, files, folders, ranks, task_path, termination
from .config import RunConfig, Task
from .informative import DIGESTS, RESULT, sound, tidy
from .run import Run

ENVIRONMENT = "environment.json"


def create(folder: Path, settings: RunConfig, device: torch.device | None = None, rank: int = 0, world: int = 1) -> Run:
    """Create a run in an empty or new folder, with config.json and environment.json.

    If several processes ask for the same folder at the same time, only one succeeds.

    Raises:
        ConfigError: the folder is in use or cannot be created, or the ranks were started with different options.
    """
    run = _run(folder, settings, device, rank, world)

    def make() -> None:
        created = make_empty(folder)
        try:
            with files.locked(folder):
                make_empty(folder)  # once more: another process may have been faster
                run.write_json("config.json", config.to_json(settings))
                run.write_json(ENVIRONMENT, environment.describe(run.device, world))
        except CheckpointError as error:
            if created:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise ConfigError(f"{error} Or choose another folder with --out.") from error

    ranks.of_first(make)
    return run


def make_empty(folder: Path) -> bool:
    """Create a folder for a run, or accept an empty one; return whether it was created.

    Raises:
        ConfigError: the folder is not empty, or cannot be created.
    """
    try:
        if folder.is_file():
            raise ConfigError(
                f"{folder} cannot be made: there is a file of this name. Choose another folder with --out."
            )
        new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        used = any(path.is_symlink() or not path.name.endswith(".tmp") for path in folder.iterdir())
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}. Choose another folder with --out.") from error
    if used:
        if not any(folders.is_a(folder, kind) for kind in (folders.RUN, folders.SERIES, folders.TABLE)):
            raise ConfigError(f"{folder} is not empty, and what is there is no run. Choose another folder with --out.")
        raise ConfigError(
            f"{folder} is not empty. Go on with what is there by `spikeloom resume {folder}`, or choose another --out."
        )
    return new


def reopen(folder: Path, device: torch.device | None = None, rank: int = 0, world: int = 1) -> Run:
    """Open the run of an existing folder.

    Raises:
        ConfigError: the folder is not a run folder, its config.json is invalid, or the ranks see different options.
    """
    return _run(folder, config.read(folder), device, rank, world)


def _run(folder: Path, settings: RunConfig, device: torch.device | None, rank: int, world: int) -> Run:
    if world > 1:
        ranks.check_same(**config.to_json(settings))
    place = device if device is not None else torch.device("cpu")
    kept = json.loads(json.dumps(settings.options))  # as read back from config.json
    return Run(folder, settings.task, settings.preset, settings.seed, place, rank, world, options=kept)


def options(task: Task, folder: Path) -> Any:
    """Return the task's Config recorded in a run folder.

    Raises:
        ConfigError: a key or value of config.json is invalid.
    """
    return config.from_json(task.Config, config.read(folder).options, f"{folder / 'config.json'}: options")


def note_resumption(run: Run) -> list[str]:
    """Record this restart in environment.json; return what changed since the run began."""
    tidy(run.folder)
    now = environment.describe(run.device, run.world)
    before = _environment(run) or dict(now)
    changed = environment.differences(before, now)
    entry = {"time": now["started"], "changed": changed}
    run.write_json(ENVIRONMENT, {**before, "resumed": [*before.get("resumed", []), entry]})
    return changed


def _environment(run: Run) -> dict[str, Any]:
    """Return environment.json, or {} if it is missing: no result depends on it."""
    known: dict[str, Any] = run.read_json(ENVIRONMENT) if (run.folder / ENVIRONMENT).exists() else {}
    return known


def evaluate(task: Task, settings: Any, run: Run) -> dict[str, Any]:
    """Evaluate with fresh generators, write result.json and return its content. Rank 0 only.

    Raises:
        TrainingError: a test value is not finite.
        CheckpointError: the checkpoint is missing, damaged, or was saved with other options.
    """
    prepare(run)
    fresh = run.fresh()
    values = task.evaluate(settings, fresh)
    try:
        test = {name: float(value) for name, value in values.items()}
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"evaluate of {task_path.shown(run.task, run.folder)} must return numbers by name, such as "
            f"{{'accuracy': 0.9}}, but returned {str(values)[:60]}. Correct it; `spikeloom evaluate` needs no "
            "new training."
        ) from error
    for name, value in test.items():
        if not math.isfinite(value):
            raise TrainingError(f"the test gave {name} = {value}. The checkpoints are kept; look at metrics.jsonl.")
    result = {
        "task": run.task,
        "preset": run.preset,
        "seed": run.seed,
        "test": test,
        "published": {name: dict(values) for name, values in published(task, settings).items()},
        "seconds": run.seconds(),
    }
    fresh.write_json(RESULT, result)
    run.write_json(DIGESTS, fresh.written)
    add_data(run)
    return result


def published(task: Task, settings: Any) -> Mapping[str, Mapping[str, Any]]:
    """Return the published values to compare a run with these options with.

    The task can provide its own `published(config)`; otherwise they are `task.PUBLISHED`.
    """
    values: Mapping[str, Mapping[str, Any]] = getattr(task, "published", lambda _: task.PUBLISHED)(settings)
    return values


def add_data(run: Run) -> None:
    """Copy the description of the data files from activity.json to environment.json."""
    if (run.folder / "activity.json").exists():
        data = run.read_json("activity.json").get("data", [])
        run.write_json(ENVIRONMENT, {**_environment(run), "data": data})


def train(task: Task, settings: Any, run: Run) -> None:
    """Train to the end, then evaluate and plot on rank 0. Continues from the current state of the folder.

    Raises:
        CheckpointError: a file of the run is damaged, or was saved with other options.
        Terminated: SIGTERM was received.
    """
    with termination.ends():
        if not ranks.of_first(lambda: _tested(run)):
            task.train(settings, run)
            if run.rank == 0:
                evaluate(task, settings, run)
        if run.rank == 0:
            task.plot(settings, run.fresh())


def finished(run: Run) -> bool:
    """Return whether a run is finished: it has a report and a valid result.

    Raises:
        CheckpointError: they exist, but the folder does not match its checkpoint.
    """
    done = all((run.folder / name).exists() for name in ("report.html", RESULT)) and sound(run.folder, RESULT)
    if done:
        run.check()
    return done


def _tested(run: Run) -> bool:
    tidy(run.folder)
    done = (run.folder / RESULT).exists()
    run.check(exact=done)
    return done


def prepare(run: Run) -> None:
    """Move damaged informative files aside, and check that the folder matches its checkpoint.

    Raises:
        CheckpointError: the folder does not match.
    """
    tidy(run.folder)
    run.check()
