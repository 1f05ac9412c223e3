"""From a task to a finished run folder: create or open, train, evaluate, plot."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import ConfigError, TrainingError
from ..made_up import MADE_UP, is_made_up
from . import config, environment, ranks
from .config import RunConfig, Task
from .run import Run


def create(folder: Path, settings: RunConfig, device: torch.device | None = None, rank: int = 0, world: int = 1) -> Run:
    """A new run in an empty or new folder, with config.json and environment.json.

    Raises:
        ConfigError: the folder is in use, or cannot be made.
    """
    run = _run(folder, settings, device, rank, world)
    if rank == 0:
        make_empty(folder)
        run.write_json("config.json", config.to_json(settings))
        run.write_json("environment.json", environment.describe(run.device, world))
    ranks.barrier()
    return run


def make_empty(folder: Path) -> None:
    """Make a folder for a run, or accept an empty one.

    Raises:
        ConfigError: there is something in it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        used = any(not path.name.endswith(".tmp") for path in folder.iterdir())
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}. Choose another folder with --out.") from error
    if used:
        raise ConfigError(
            f"{folder} is not empty. Go on with what is there by `spikeloom resume {folder}`, or choose another --out."
        )


def reopen(folder: Path, device: torch.device | None = None, rank: int = 0, world: int = 1) -> Run:
    """The run of an existing folder.

    Raises:
        ConfigError: it is not a run folder, or its config.json is wrong.
    """
    return _run(folder, config.read(folder), device, rank, world)


def _run(folder: Path, settings: RunConfig, device: torch.device | None, rank: int, world: int) -> Run:
    place = device if device is not None else torch.device("cpu")
    made_up = is_made_up(settings.options)
    return Run(folder, settings.task, settings.preset, settings.seed, place, rank, world, made_up=made_up)


def options(task: Task, folder: Path) -> Any:
    """The task's Config as recorded in a run folder.

    Raises:
        ConfigError: a key or value of config.json is wrong.
    """
    return config.from_json(task.Config, config.read(folder).options, f"{folder / 'config.json'}: options")


def note_resumption(run: Run) -> list[str]:
    """Add this restart to environment.json; what changed since the run began."""
    now = environment.describe(run.device, run.world)
    before = run.read_json("environment.json") if (run.folder / "environment.json").exists() else dict(now)
    changed = environment.differences(before, now)
    before.setdefault("resumed", []).append({"time": now["started"], "changed": changed})
    run.write_json("environment.json", before)
    return changed


def evaluate(task: Task, settings: Any, run: Run) -> dict[str, Any]:
    """Evaluate with fresh generators and write result.json; what it holds. Rank 0 only.

    Raises:
        TrainingError: a test value is not finite.
    """
    test = {name: float(value) for name, value in task.evaluate(settings, run.fresh()).items()}
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
    run.write_json("result.json", result)
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
        run.write_json("environment.json", {**run.read_json("environment.json"), "data": data})


def train(task: Task, settings: Any, run: Run) -> None:
    """Train to the end, then on rank 0 evaluate and plot. Goes on where the folder is, whatever that is."""
    if not (run.folder / "result.json").exists():
        task.train(settings, run)
        if run.rank == 0:
            evaluate(task, settings, run)
    if run.rank == 0:
        task.plot(settings, run.fresh())
