"""Commands `evaluate`, `plot` and `report`: of one run folder, of the seeds in it, or of a table."""

import os
from pathlib import Path

from ..errors import ConfigError
from ..report.read import read
from ..train import config, experiment, folders, informative, ranks, series, table, task_path
from ..train.config import choices
from .find import task_of
from .options import check_old_flags, parse_changes
from .show import print_layers, print_result, write_report
from .table import show_table


def evaluate(folder: Path, own: str | None) -> None:
    """Evaluate the best checkpoint of every run in a folder; write result.json, the report and the summary."""
    for one in runs(folder):
        run = experiment.reopen(one, ranks.local_device())
        task = task_of(one, run.task, own)
        experiment.evaluate(task, experiment.options(task, one), run)
        write_report(task, one)
        print_result(run)
    if several := series.read(folder):
        print(series.table(series.summarise(folder, several)))


def plot(folder: Path, own: str | None) -> None:
    """Plot the figures of every run in a folder, and write its report."""
    for one in runs(folder):
        run = experiment.reopen(one, ranks.local_device())
        task = task_of(one, run.task, own)
        experiment.prepare(run)
        task.plot(experiment.options(task, one), run.fresh())
        write_report(task, one)
        print_layers(read(one))
        print(one / "figures")


def report(folder: Path, own: str | None) -> None:
    """Write report.html of every run in a folder; for a table, report the finished cells."""
    if plan := table.read(folder):
        show_table(task_of(folder, plan.task, own), folder, plan)
        return
    for one in runs(folder):
        task = task_of(one, config.read(one).task, own)
        experiment.reopen(one).check()
        informative.tidy(one)
        write_report(task, one)
        print(one / "report.html")


def runs(folder: Path) -> list[Path]:
    """Return the run folders of a series, or the given run folder.

    Raises:
        ConfigError: the folder is neither, or some runs of the series have not begun.
    """
    several = None if folders.is_a(folder, folders.TABLE) else series.read(folder)
    if several is None:
        config.read(folder)
        return [folder]
    begun = {seed: os.path.lexists(folder / f"seed{seed}" / folders.RUN) for seed in several.seeds}
    if not any(begun.values()):
        raise folders.no_run(folder)
    if late := [f"seed{seed}" for seed, done in begun.items() if not done]:
        one = next(folder / f"seed{seed}" for seed, done in begun.items() if done)
        raise ConfigError(
            f"{folder} is not finished: {', '.join(late)} {'has' if len(late) == 1 else 'have'} not begun. Go on by "
            f"`spikeloom resume {folder}`, or name single runs, such as {one}."
        )
    return [folder / f"seed{seed}" for seed in several.seeds]


def check_options(name: str, folder: Path, file: str | None, arguments: list[str]) -> None:
    """Check that options given after a folder are those of its runs: they cannot change them.

    Raises:
        ConfigError: options differ, or are unknown.
    """
    if table.read(folder):
        raise ConfigError(f"{folder} is a table, whose options are in it. Leave out {' '.join(arguments)}.")
    for one in runs(folder):
        task = task_of(one, config.read(one).task, file)
        own = experiment.options(task, one)
        command = f"spikeloom train {task_path.shown(config.read(one).task, one)}"
        asked, rest = parse_changes(own, arguments, command)
        if rest:
            if not rest[0].startswith("-"):
                raise ConfigError(
                    f"{name} takes one folder, {folder}, but {rest[0]!r} follows. Give one folder at a time, and "
                    "options as --NAME VALUE."
                )
            if name == "resume":
                check_old_flags(f"resume {folder}", rest[0], arguments)
            flags = [f"--{key.replace('_', '-')}" for key in asked]
            raise ConfigError(f"{command} has no option {rest[0]!r}. {choices(rest[0], flags)}")
        kept = config.to_json(own)
        if differing := [
            f"{key} is {kept[key]!r}, not {value!r}" for key, value in asked.items() if kept[key] != value
        ]:
            raise ConfigError(
                f"{one} was trained with other options: {'; '.join(differing)}. {name} takes the options of the run: "
                "leave them out, or train a run with yours."
            )
