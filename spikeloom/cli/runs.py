"""Training of one run, or of the seeds of a series, in a folder that is new or goes on."""

import contextlib
import itertools
import os
import shlex
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from ..errors import ConfigError, DataError
from ..train import environment, experiment, files, folders, ranks, series, task_path, termination
from ..train.allocator import keep_freed_memory
from ..train.config import Task
from ..train.run import Run
from ..train.series import Series
from .output import is_of_output
from .show import print_result, write_report

DESCRIPTIONS = ("config.json", "environment.json", "seeds.json", "table.json")
"""Files of a folder in which nothing has been trained yet."""
LOST = (
    "A process was lost, and torchrun has started all of them again, but without --out nobody knows which run to go on "
    "with. Go on by `torchrun ... -m spikeloom resume DIR`; pass --out when you start."
)


def default_folder(task: str, preset: str, seeds: list[int]) -> Path:
    """Return runs/TASK-PRESET-seedN-TIME, or -seedsN-M- for several seeds."""
    numbers = f"seed{seeds[0]}" if len(seeds) == 1 else f"seeds{seeds[0]}-{seeds[-1]}"
    return Path("runs") / f"{task}-{preset}-{numbers}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"


@contextlib.contextmanager
def place(out: Path | None, default: Path) -> Iterator[Path]:
    """Yield the folder of --out, or a new one that is unique to this process and removed if it stays empty.

    Raises:
        ConfigError: the folder cannot be created.
    """
    if out is not None:
        yield ranks.shared(out)
        return
    folder = ranks.of_first(lambda: reserve(default))
    try:
        yield folder
    except BaseException:
        with contextlib.suppress(OSError):  # the folder is not empty
            folder.rmdir()
        raise


def reserve(folder: Path) -> Path:
    """Create a new folder, with -2, -3, ... appended if the name is taken.

    Raises:
        ConfigError: the folder cannot be created.
    """
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for one in itertools.chain([folder], numbered):
            with contextlib.suppress(FileExistsError):
                one.mkdir()
                return one
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}. Choose another folder with --out.") from error
    raise AssertionError("there is always a next number")


@contextlib.contextmanager
def resumable(folder: Path, task: str) -> Iterator[None]:
    """Add instructions for resuming to the messages for Ctrl-C, SIGTERM and a full output.

    Args:
        task: name of the task, or path of its file from the working directory.
    """
    words = f"spikeloom resume {folder}" + (f" --task {shlex.quote(task)}" if task_path.is_file(task) else "")

    def kept(wrote: str = "What was saved is kept") -> str:
        begun = any(os.path.lexists(folder / name) for name in (folders.RUN, folders.SERIES, folders.TABLE))
        return f"{wrote}; go on with `{words}`." if begun else "Nothing was saved yet."

    try:
        with termination.ends():
            yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(kept()) from None
    except termination.Terminated as ended:
        said = kept() if ended.update is None else kept(f"Update {ended.update} was saved")
        raise termination.Terminated(said, ended.update) from None
    except OSError as error:
        if is_of_output(error):
            error.__notes__ = [kept()]  # from the outermost folder
        raise


@contextlib.contextmanager
def refusable(folder: Path, new: bool) -> Iterator[None]:
    """Remove a new folder if its options or data are refused before the training starts."""
    try:
        yield
    except (ConfigError, DataError):
        inside = list(folder.rglob("*")) if new else []
        if inside and {path.name for path in inside if not path.is_dir()} <= set(DESCRIPTIONS):
            for path in sorted(inside, reverse=True):  # content of a folder before the folder
                path.rmdir() if path.is_dir() else path.unlink()
            folder.rmdir()
        raise


def train_run(task: Task, run: Run, new: bool = False) -> None:
    """Train, evaluate and plot one run, and write its report."""
    options = experiment.options(task, run.folder)
    keep_freed_memory()
    alone = files.locked(run.folder) if run.rank == 0 else contextlib.nullcontext()
    task_name = task_path.shown(run.task, run.folder)
    with alone, resumable(run.folder, task_name), refusable(run.folder, new and run.rank == 0):
        if run.rank == 0:
            print(f"{task_name}, preset {run.preset}, seed {run.seed}: {environment.where(run.device)}", flush=True)
        experiment.train(task, options, run)
        if run.rank == 0:
            write_report(task, run.folder)
            print_result(run)


def train_series(task: Task, folder: Path, several: Series, rank: int, world: int) -> None:
    """Train all unfinished seeds, then summarise."""
    ranks.of_first(lambda: series.check_members(folder, several))
    for seed in several.seeds:
        member = folder / f"seed{seed}"
        if ranks.shared((member / "report.html").exists()):  # decided by rank 0, which writes the file
            continue
        where = (ranks.local_device(), rank, world)
        new = not ranks.shared((member / "config.json").exists())
        run = experiment.create(member, several.member(seed), *where) if new else experiment.reopen(member, *where)
        with resumable(folder, task_path.shown(several.task, folder)):
            train_run(task, run, new)
    if rank == 0:
        print(series.table(series.summarise(folder, several)), flush=True)
