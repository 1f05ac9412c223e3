"""Commands `train` and `resume`."""

from pathlib import Path

from ..errors import ConfigError
from ..train import config, experiment, ranks, series, table, task_path
from ..train.config import RunConfig
from ..train.series import Series
from .find import find_task, task_of
from .options import parse_options
from .runs import LOST, default_folder, place, refusable, resumable, train_run, train_series
from .show import print_changes, print_finished
from .table import fill_table


def train(name: str, arguments: list[str]) -> None:
    """Run `spikeloom train NAME ...`."""
    task = find_task(name)
    common, options = parse_options(task, name, arguments)
    if common.seeds < 1:
        raise ConfigError(f"--seeds must be at least 1, but is {common.seeds}.")
    seeds = list(range(common.seed, common.seed + common.seeds))
    with ranks.joined() as (rank, world):
        about = {"preset": common.preset, "seed": common.seed, "seeds": common.seeds, "out": str(common.out)}
        ranks.check_same(command="train", task=Path(name).name, **about, options=config.to_json(options))
        again = ranks.restarted()
        if again and common.out is None:
            raise ConfigError(LOST)
        default = default_folder(Path(name).stem, common.preset, seeds)
        with place(common.out, default) as folder, resumable(folder, name):
            recorded = task_path.record(name, folder)
            if common.seeds > 1:
                several = Series(recorded, common.preset, seeds, config.to_json(options))
                new = ranks.shared(not (again and series.read(folder) == several))
                if new:
                    ranks.of_first(lambda: series.create(folder, several))
                with refusable(folder, new and rank == 0):
                    train_series(task, folder, several, rank, world)
            else:
                settings = RunConfig(recorded, common.preset, common.seed, config.to_json(options))
                begun = ranks.shared(again and (folder / "config.json").exists() and config.read(folder) == settings)
                where = (ranks.local_device(), rank, world)
                run = experiment.reopen(folder, *where) if begun else experiment.create(folder, settings, *where)
                if begun:
                    print_changes(run)
                train_run(task, run, new=not begun)
        if rank == 0:
            print(folder, flush=True)


def resume(folder: Path, own: str | None) -> None:
    """Resume a run, a series or a table; print the result of a finished one."""
    with ranks.joined() as (rank, world):
        ranks.check_same(command="resume", folder=folder.name)
        plan = table.read(folder)
        if plan is not None:
            with resumable(folder, task_path.shown(plan.task, folder)):
                fill_table(task_of(folder, plan.task, own), folder, plan, rank, world)
            return
        several = series.read(folder)
        if several is not None:
            train_series(task_of(folder, several.task, own), folder, several, rank, world)
        else:
            task = task_of(folder, config.read(folder).task, own)
            run = experiment.reopen(folder, ranks.local_device(), rank, world)
            if ranks.of_first(lambda: experiment.finished(run)):
                print_finished(run)
            else:
                print_changes(run)
                train_run(task, run)
        if rank == 0:
            print(folder, flush=True)
