"""From a task to a finished run folder: create or open, train, evaluate, plot."""

import contextlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError, ConfigError, TrainingError
from ..made_up import MADE_UP, is_made_up
from . import config, environment, files, folders, ranks, termination
from .config import RunConfig, Task
from .informative import DIGESTS, RESULT, sound, tidy
from .run import Run

ENVIRONMENT = "environment.json"


def create(folder: Path, settings: RunConfig, device: torch.device | None = None, rank: int = 0, world: int = 1) -> Run:
    """A new run in an empty or new folder, with config.json and environment.json.

    Of several processes that ask for the same folder at the same time, one gets it.

    Raises:
        ConfigError: the folder is in use, or cannot be made; or the ranks were started with other options.
    """
    run = _run(folder, settings, device, rank, world)

    def make() -> None:
        made = make_empty(folder)
        try:
            with files.locked(folder):
                make_empty(folder)  # once more: another process may have been faster
                run.write_json("config.json", config.to_json(settings))
                run.write_json(ENVIRONMENT, environment.describe(run.device, world))
        except CheckpointError as error:
            if made:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise ConfigError(f"{error} Or choose another folder with --out.") from error

    ranks.of_first(make)
    return run


def make_empty(folder: Path) -> bool:
    """Make a folder for a run, or accept an empty one; whether it was made.

    Raises:
        ConfigError: there is something in it, or it cannot be made.
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
    """The run of an existing folder.

    Raises:
        ConfigError: it is not a run folder, or its config.json is wrong; or the ranks see other options.
    """
    return _run(folder, config.read(folder), device, rank, world)


def _run(folder: Path, settings: RunConfig, device: torch.device | None, rank: int, world: int) -> Run:
    if world > 1:
        ranks.check_same(**config.to_json(settings))
    place = device if device is not None else torch.device("cpu")
    made_up = is_made_up(settings.options)
    kept = json.loads(json.dumps(settings.options))  # as they come back from config.json
    return Run(
        folder, settings.task, settings.preset, settings.seed, place, rank, world, made_up=made_up, options=kept
    )  # fmt: skip


def options(task: Task, folder: Path) -> Any:
    """The task's Config as recorded in a run folder.

    Raises:
        ConfigError: a key or value of config.json is wrong.
    """
    return config.from_json(task.Config, config.read(folder).options, f"{folder / 'config.json'}: options")


def note_resumption(run: Run) -> list[str]:
    """Add this restart to environment.json; what changed since the run began."""
    tidy(run.folder)
    now = environment.describe(run.device, run.world)
    before = _environment(run) or dict(now)
    changed = environment.differences(before, now)
    entry = {"time": now["started"], "changed": changed}
    run.write_json(ENVIRONMENT, {**before, "resumed": [*before.get("resumed", []), entry]})
    return changed


def _environment(run: Run) -> dict[str, Any]:
    """environment.json, or nothing if it was lost: no result depends on it."""
    known: dict[str, Any] = run.read_json(ENVIRONMENT) if (run.folder / ENVIRONMENT).exists() else {}
    return known


def evaluate(task: Task, settings: Any, run: Run) -> dict[str, Any]:
    """Evaluate with fresh generators and write result.json; what it holds. Rank 0 only.

    Raises:
        TrainingError: a test value is not finite.
        CheckpointError: the checkpoint is missing, damaged, or was saved with other options.
    """
    prepare(run)
    files.discard(run.folder / DIGESTS)
    fresh = run.fresh()
    values = task.evaluate(settings, fresh)
    try:
        test = {name: float(value) for name, value in values.items()}
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"evaluate of {run.task} must return numbers by name, such as {{'accuracy': 0.9}}, but returned "
            f"{str(values)[:60]}. Correct it; `spikeloom evaluate` needs no new training."
        ) from error
    for name, value in test.items():
        if not math.isfinite(value):
            raise TrainingError(f"the test gave {name} = {value}. The checkpoints are kept; look at metrics.jsonl.")
    result = {
        "task": run.task,
        "preset": run.preset,
        "seed": run.seed,
        "test": test,
        "published": {name: dict(values) for name, values in published(task, settings, run).items()},
        "seconds": run.seconds(),
        **({"data": MADE_UP} if run.made_up else {}),
    }
    fresh.write_json(RESULT, result)
    run.write_json(DIGESTS, fresh.written)
    add_data(run)
    return result


def published(task: Task, settings: Any, run: Run) -> Mapping[str, Mapping[str, Any]]:
    """The numbers that a run with these options can be compared with; none for made-up data.

    They are `task.PUBLISHED`, or what the task's own `published(config)` leaves of them.
    """
    if run.made_up:
        return {}
    chosen: Mapping[str, Mapping[str, Any]] = getattr(task, "published", lambda _: task.PUBLISHED)(settings)
    return chosen


def add_data(run: Run) -> None:
    """Copy what the task says about its data files (activity.json) into environment.json."""
    if (run.folder / "activity.json").exists():
        data = run.read_json("activity.json").get("data", [])
        run.write_json(ENVIRONMENT, {**_environment(run), "data": data})


def train(task: Task, settings: Any, run: Run) -> None:
    """Train to the end, then on rank 0 evaluate and plot. Goes on where the folder is, whatever that is.

    Raises:
        CheckpointError: a file of the run is damaged, or was saved with other options.
        Terminated: SIGTERM came.
    """
    with termination.ends():
        if not ranks.of_first(lambda: _tested(run)):
            task.train(settings, run)
            if run.rank == 0:
                evaluate(task, settings, run)
        if run.rank == 0:
            task.plot(settings, run.fresh())


def finished(run: Run) -> bool:
    """Whether nothing is left to do in a folder: there are a report, and a result that is not damaged.

    Raises:
        CheckpointError: there are, but the folder is not what its checkpoint was saved with.
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
    """Move damaged informative files aside, and check that the folder is what its checkpoint was saved with.

    Raises:
        CheckpointError: it is not.
    """
    tidy(run.folder)
    run.check()
