"""Commands: training, evaluation, plots and reports of one folder, or of the seeds in it."""

import contextlib
import dataclasses
import importlib
import importlib.util
import io
import itertools
import math
import os
import shlex
import sys
import textwrap
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ..data.fetch import fetch
from ..errors import CheckpointError, ConfigError, DataError, ExportError
from ..report import compare as comparison
from ..report.energy import mean_rate
from ..report.read import read
from ..report.report import render
from ..report.sections import Folder
from ..train import config, environment, experiment, files, folders, informative, ranks, series, table, termination
from ..train.allocator import keep_freed_memory
from ..train.config import RunConfig, Task, choices
from ..train.run import Run
from ..train.series import Series
from .help import COMMANDS, task_files, tasks
from .options import TrainOptions, check_numbers, check_old_flags, parse_changes, parse_options, parse_table, take
from .output import is_of_output

TITLE = 90
"""Characters per line of the title of a table figure."""
LOST = (
    "A process was lost, and torchrun has started all of them again, but without --out nobody knows which run to go on "
    "with. Go on by `torchrun ... -m spikeloom resume DIR`; pass --out when you start."
)
DESCRIPTIONS = ("config.json", "environment.json", "seeds.json", "table.json")
"""Files of a folder in which nothing has been trained yet."""
HDF5 = b"\x89HDF\r\n\x1a\n"
"""First bytes of a NIR file."""
PARTS = ("Config", "PRESETS", "PUBLISHED", "train", "evaluate", "plot")


def run(name: str, arguments: list[str]) -> None:
    """Run one command.

    Raises:
        ConfigError: the command is unknown, or its arguments are wrong.
    """
    of_folders = {"resume": resume, "evaluate": evaluate, "plot": plot, "report": report}
    if name == "tasks":
        raise ConfigError(f"tasks takes nothing after it, but got {' '.join(arguments)}: spikeloom tasks.")
    if name == "train":
        if not arguments or arguments[0].startswith("-"):
            raise ConfigError(f"train needs a task first: spikeloom train TASK. There is: {', '.join(tasks())}.")
        train(arguments[0], arguments[1:])
    elif name == "table":
        if not arguments or arguments[0].startswith("-"):
            raise ConfigError("table needs a task first: spikeloom table TASK [NAME], such as babi.")
        train_table(arguments[0], arguments[1:])
    elif name == "data":
        if len(arguments) != 2 or arguments[0] != "fetch":
            raise ConfigError("data needs an action and a data set: spikeloom data fetch NAME.")
        print(*fetch(arguments[1]), sep="\n")
    elif name == "compare":
        compare(arguments)
    elif name == "export":
        export(arguments)
    elif name in of_folders:
        words, flags = take(f"spikeloom {name}", arguments, ("task",))
        if not words or words[0].startswith("-"):
            raise ConfigError(f"{name} needs the folder of a run first: spikeloom {name} DIR.")
        place, own = Path(words[0]), flags.get("task")
        if words[1:]:
            check_options(name, place, own, words[1:])
        of_folders[name](place, own)
    else:
        raise ConfigError(f"There is no command {name!r}. {choices(name, COMMANDS)}")


def find_task(name: str) -> Task:
    """Return the task of a given name among the papers, or the one in the given Python file.

    Raises:
        ConfigError: there is no such task, or it lacks an attribute.
    """
    if not name.endswith(".py"):
        if name not in (files := task_files()):
            raise ConfigError(f"There is no task {name!r}. {choices(name, files)}")
        return importlib.import_module(f"spikeloom.papers.{files[name].parent.name}.{name}")
    if not Path(name).is_file():
        raise ConfigError(f"There is no file {name} with a task. Check the path, or name one of: {', '.join(tasks())}.")
    spec = importlib.util.spec_from_file_location(f"spikeloom_task_{Path(name).stem}", name)
    assert spec is not None, name
    assert spec.loader is not None, name
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    if (beside := str(Path(name).resolve().parent)) not in sys.path:
        sys.path.insert(0, beside)  # modules beside the task, as for a script
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ConfigError(f"{name} is no Python file: {error.msg} in line {error.lineno}. Correct it.") from error
    check_task(module, name)
    return module


def check_task(module: Any, name: str) -> None:
    """Raise ConfigError unless a module has the attributes of a task, with the right types."""
    if missing := [part for part in PARTS if part not in vars(module)]:
        raise ConfigError(f"{name} is not a task: it lacks {', '.join(missing)}. A task has {', '.join(PARTS)}.")

    def refuse(what: str) -> None:
        raise ConfigError(f"{name} is not a task: {what}. See docs/how-to/own-task.md.")

    if not (isinstance(module.Config, type) and dataclasses.is_dataclass(module.Config)):
        refuse("Config is no dataclass")
    fields = dataclasses.fields(module.Config)
    if bare := [
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]:
        refuse(f"Config needs a default for {', '.join(bare)}")
    if taken := sorted({field.name for field in fields} & {field.name for field in dataclasses.fields(TrainOptions)}):
        refuse(f"Config has fields named as options of every task: {', '.join(taken)}")
    presets = module.PRESETS
    if not (
        isinstance(presets, Mapping) and presets and all(isinstance(one, module.Config) for one in presets.values())
    ):
        refuse("PRESETS must hold at least one Config by name")
    if not (
        isinstance(module.PUBLISHED, Mapping) and all(isinstance(one, Mapping) for one in module.PUBLISHED.values())
    ):
        refuse('PUBLISHED must be empty or like {"accuracy": {"value": 0.9, "source": "...", "note": "..."}}')
    if wrong := [part for part in ("train", "evaluate", "plot") if not callable(getattr(module, part))]:
        refuse(f"{', '.join(wrong)} must be functions")
    tables = getattr(module, "TABLES", {})
    if not (isinstance(tables, Mapping) and all(isinstance(one, table.Table) for one in tables.values())):
        refuse("TABLES must hold tables by name")


def task_of(folder: Path, recorded: str, own: str | None) -> Task:
    """Return the task of a run folder. A Python file is run only if the user names it as well.

    Args:
        recorded: task name recorded in the folder.
        own: file given by `--task`, if any.

    Raises:
        ConfigError: the folder records a file and the user gives none, or the other way round.
    """
    if own is None and recorded.endswith(".py"):
        raise ConfigError(
            f"{folder} names a Python file as its task, {recorded}, and opening the folder would run it. If you trust "
            f"that file, name it: --task {shlex.quote(recorded)}."
        )
    if own is None:
        return find_task(recorded)
    if not recorded.endswith(".py"):
        raise ConfigError(f"{folder} is of spikeloom's task {recorded}, not of a file such as {own}. Leave out --task.")
    if not own.endswith(".py"):
        raise ConfigError(f"--task takes the Python file of the task of {folder}, {recorded}, but got {own}.")
    return find_task(own)


def train(name: str, arguments: list[str]) -> None:
    """Run `spikeloom train NAME ...`."""
    task = find_task(name)
    common, options = parse_options(task, name, arguments)
    if common.seeds < 1:
        raise ConfigError(f"--seeds must be at least 1, but is {common.seeds}.")
    getattr(task, "check", lambda _: None)(options)  # before the folder is created
    seeds = list(range(common.seed, common.seed + common.seeds))
    recorded = str(Path(name).resolve()) if name.endswith(".py") else name
    with ranks.joined() as (rank, world):
        about = {"preset": common.preset, "seed": common.seed, "seeds": common.seeds, "out": str(common.out)}
        ranks.check_same(command="train", task=Path(name).name, **about, options=config.to_json(options))
        again = ranks.restarted()
        if again and common.out is None:
            raise ConfigError(LOST)
        default = default_folder(Path(name).stem, common.preset, seeds)
        with place(common.out, default) as folder, resumable(folder, recorded):
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


def default_folder(task: str, preset: str, seeds: list[int]) -> Path:
    """Return runs/TASK-PRESET-seedN-TIME, or -seedsN-M- for several seeds."""
    numbers = f"seed{seeds[0]}" if len(seeds) == 1 else f"seeds{seeds[0]}-{seeds[-1]}"
    return Path("runs") / f"{task}-{preset}-{numbers}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"


@contextlib.contextmanager
def resumable(folder: Path, recorded: str) -> Iterator[None]:
    """Add instructions for resuming to the messages for Ctrl-C, SIGTERM and a full output."""
    words = f"spikeloom resume {folder}" + (f" --task {recorded}" if recorded.endswith(".py") else "")

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
    with alone, resumable(run.folder, run.task), refusable(run.folder, new and run.rank == 0):
        if run.rank == 0:
            print(f"{run.task}, preset {run.preset}, seed {run.seed}: {environment.where(run.device)}", flush=True)
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
        with resumable(folder, several.task):
            train_run(task, run, new)
    if rank == 0:
        print(series.table(series.summarise(folder, several)), flush=True)


def train_table(name: str, arguments: list[str]) -> None:
    """Run `spikeloom table NAME ...`: train every cell, then write the table."""
    task = find_task(name)
    asked = parse_table(name, arguments, [field.name for field in dataclasses.fields(task.Config)])
    table_name = asked.table or next(iter(getattr(task, "TABLES", ())), "")
    if not table_name:
        raise ConfigError(f"Task {name} has no tables; babi, for example, has some.")
    table.find(task, f"Task {name}", table_name)
    if asked.seeds < 1:
        raise ConfigError(f"--seeds must be at least 1, but is {asked.seeds}.")
    recorded = str(Path(name).resolve()) if name.endswith(".py") else name
    seeds = list(range(asked.seed, asked.seed + asked.seeds))
    plan = table.TablePlan(recorded, table_name, seeds, asked.changes())
    for _, _, _, several in table.members(task, table.find(task, f"Task {name}", table_name), plan):
        check = getattr(task, "check", lambda _: None)
        options = config.from_json(task.Config, several.options, f"table {table_name}: options")
        check_numbers(options)
        check(options)  # before the folder is created
    with ranks.joined() as (rank, world):
        if ranks.restarted() and asked.out is None:
            raise ConfigError(LOST)
        default = default_folder(Path(name).stem, f"table-{table_name}", seeds)
        with place(asked.out, default) as folder, resumable(folder, recorded):
            new = ranks.of_first(lambda: table.create(folder, plan))
            with refusable(folder, new and rank == 0):
                fill_table(task, folder, plan, rank, world)


def fill_table(task: Task, folder: Path, plan: table.TablePlan, rank: int, world: int) -> None:
    """Train the unfinished cells of a table, and write its results."""
    plan_table = table.find(task, f"Task {plan.task}", plan.table)
    for _, _, name, several in list(table.members(task, plan_table, plan)):
        if not ranks.shared((folder / name / "summary.json").exists()):
            if rank == 0 and series.read(folder / name) is None:
                series.create(folder / name, several)
            ranks.barrier()
            train_series(task, folder / name, several, rank, world)
    if rank == 0:
        show_table(task, folder, plan)


def show_table(task: Task, folder: Path, plan: table.TablePlan) -> None:
    """Write and print the results of the finished cells of a table.

    Raises:
        ConfigError: no cell is finished.
    """
    result = table.collect(folder, task, table.find(task, f"Task {plan.task}", plan.table), plan)
    if not result["cells"]:
        raise ConfigError(f"Nothing is finished in the table {folder}. Go on with it by `spikeloom resume {folder}`.")
    words = table.text(result)
    files.write_atomic(folder / "table.txt", lambda stream: stream.write(f"{words}\n".encode()))
    draw_table(folder, result)
    print(words)
    print(folder, flush=True)


def draw_table(folder: Path, result: Mapping[str, Any]) -> None:
    """Plot figures/table.png: bars, or curves of an accuracy if all column names are whole numbers."""
    from ..plot.bars import grouped
    from ..plot.curves import accuracy_by_length

    cells = {(cell["row"], cell["column"]): cell for cell in result["cells"]}
    rows, columns = (list(dict.fromkeys(key[place] for key in cells)) for place in range(2))

    share = result["value"].startswith("accuracy")
    scale = 100 if share else 1

    def values(name: str) -> list[list[float]]:
        values_by_row = [[cells.get((row, column), {}).get(name) for column in columns] for row in rows]
        return [[math.nan if value is None else scale * value for value in line] for line in values_by_row]

    label = f"{result['value']} [%]" if share else result["value"]
    title = textwrap.fill(result["title"], TITLE)
    if result["source"]:
        title += "\n" + textwrap.fill(f"(published: {result['source']})", TITLE)
    spread = values("sd") if len(result["seeds"]) > 1 else None
    if share and len(columns) > 1 and all(column.isdigit() for column in columns):
        curves, deviations = (
            {
                row: {int(column): cells[row, column][name] for column in columns if (row, column) in cells}
                for row in rows
            }
            for name in ("mean", "sd")
        )
        drawn = accuracy_by_length(curves, title=title, spread=deviations if spread else None)
    else:
        drawn = grouped(rows, columns, values("mean"), spread, values("published"), label, title)
    picture = io.BytesIO()
    drawn.savefig(picture, dpi=120.0)
    files.write_atomic(folder / "figures" / "table.png", lambda stream: stream.write(picture.getvalue()))


def resume(folder: Path, own: str | None) -> None:
    """Resume a run, a series or a table; print the result of a finished one."""
    with ranks.joined() as (rank, world):
        ranks.check_same(command="resume", folder=folder.name)
        plan = table.read(folder)
        if plan is not None:
            with resumable(folder, plan.task):
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


def print_finished(run: Run) -> None:
    """Print that a run is finished, and its result."""
    if run.rank == 0:
        print(f"{run.folder} is finished; nothing is left to do.")
        print_result(run)


def print_changes(run: Run) -> None:
    """Print the changes of machine and versions since the run began."""
    changes = experiment.note_resumption(run) if run.rank == 0 else []
    if changes:
        print(f"Note: {'; '.join(changes)}. The last bits of the result may differ.", flush=True)


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
        command = f"spikeloom train {config.read(one).task}"
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


def compare(arguments: list[str]) -> None:
    """Run `spikeloom compare RUN RUN ... [--out FILE]`: print the comparison and write it as HTML."""
    words, flags = take("spikeloom compare", arguments, ("out",))
    if any(word.startswith("-") for word in words):
        raise ConfigError("compare takes run folders and --out FILE: spikeloom compare RUN RUN ... --out FILE.")
    stem = f"compare-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    out = Path(flags["out"]) if "out" in flags else unused(Path("runs") / f"{stem}.html")
    check_out(out, "page", "compare.html", b"<!DOCTYPE html>")
    members = [one for word in words for one in runs(Path(word))]
    for one in members:
        informative.tidy(one)
    compared = comparison.groups(members)
    print(comparison.text(compared))
    data = comparison.render(compared).encode()
    try:
        files.write_atomic(out, lambda stream: stream.write(data))
    except CheckpointError as error:
        why = files.reason(error.__cause__) if isinstance(error.__cause__, OSError) else str(error)
        raise ConfigError(f"{out} cannot be written: {why}. Choose another file with --out FILE.") from error
    print(out)


def unused(path: Path) -> Path:
    """Return the path, with -2, -3, ... before its suffix if it exists."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    return next(one for one in itertools.chain([path], numbered) if not os.path.lexists(one))


def check_out(out: Path, what: str, name: str, begins: bytes) -> None:
    """Raise ConfigError if `--out FILE` is a folder, or a file of another kind, which would be overwritten."""
    if os.path.isdir(out):
        raise ConfigError(f"--out takes the file for the {what}, but {out} is a folder. Write --out {out / name}.")
    if above := [place for place in out.parents if os.path.isfile(place)]:
        raise ConfigError(
            f"{out} cannot be written: {above[0]} is a file and no folder. Choose another name for --out."
        )
    try:
        start = files.read_start(out, len(begins))
    except OSError:  # there is no such file, or writing it will report the error
        return
    if start not in (b"", begins):
        raise ConfigError(
            f"--out takes the file for the {what}, but {out} is a file of another kind, which would be lost. Choose "
            "another name, or remove that file."
        )


def export(arguments: list[str]) -> None:
    """Run `spikeloom export RUN --format nir [--out FILE]`: write the best checkpoint for other programs."""
    words, flags = take("spikeloom export", arguments, ("format", "out", "task"))
    if len(words) != 1 or words[0].startswith("-") or flags.get("format") != "nir":
        raise ConfigError(
            "export needs the folder of a run and a format: spikeloom export DIR --format nir (--out FILE)."
        )
    folder = Path(words[0])
    run = experiment.reopen(folder)
    out = Path(flags.get("out", folder / "model.nir"))
    check_out(out, "model", "model.nir", HDF5)
    from ..convert.nir import to_nir, write_nir

    task = task_of(folder, run.task, flags.get("task"))
    if "network_of" not in vars(task):
        raise ExportError(
            f"Task {run.task} has no network_of(config, run), so there is nothing to export. Add one to the task: it "
            "returns the module whose weights are saved as `model`, and the shape of one input without time and batch."
        )
    run.check()
    model, shape = vars(task)["network_of"](experiment.options(task, folder), run.fresh())
    run.load_best(model=model)
    write_nir(to_nir(model, shape), out)
    print(out)


def write_report(task: Task, folder: Path) -> None:
    """Write report.html of one run."""
    start = task.PRESETS.get(config.read(folder).preset)
    page = render(folder, task.__doc__ or "", {} if start is None else config.to_json(start))
    files.write_atomic(folder / "report.html", lambda stream: stream.write(page.encode()))


def print_result(run: Run) -> None:
    """Print the test values next to the published ones."""
    content = read(run.folder)
    for note in content.notes:
        print(f"Note: {note}")
    if content.result is None:
        print(f"There is no result. `spikeloom evaluate {run.folder}` writes it.")
        return
    for name, value in content.result["test"].items():
        published = content.result["published"].get(name, {})
        about = f"{published.get('source', '')}: {published.get('note', '')}"
        beside = f"   (to compare: {published['value']}, {about})" if "value" in published else ""
        print(f"test {name} {value:.4g}{beside}")
    print_layers(content)
    print(f"report {run.folder / 'report.html'}", flush=True)


def print_layers(content: Folder) -> None:
    """Print size and firing rate of each layer, if the task records them."""
    if content.activity is None:
        return
    lines = [(layer["name"], layer["neurons"], layer["rate_hz"]) for layer in content.activity["layers"]]
    if (total := mean_rate(content.activity)) is not None:
        lines.append(("all of these that spike", *total))
    for name, neurons, hertz in lines:
        print(f"layer {name}: {neurons:,} neurons" + ("" if hertz is None else f", mean rate {hertz:.4g} Hz"))
