"""What each command does. Training, evaluation, plots and reports of one folder, or of the seeds below it."""

import contextlib
import importlib
import importlib.util
import io
import math
import sys
import textwrap
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from .cli import tasks
from .data.fetch import fetch
from .errors import ConfigError, ExportError
from .options import check_old_flags, parse_changes, parse_options, parse_table
from .report import compare as comparison
from .report.energy import mean_rate
from .report.report import render
from .train import config, environment, experiment, files, ranks, series, table
from .train.allocator import keep_freed_memory
from .train.config import RunConfig, Task, choices
from .train.run import Run
from .train.series import Series

TITLE = 90
"""Characters in a line above the figure of a table."""
LOST = (
    "A process was lost, and torchrun has started all of them again, but without --out nobody knows which run to go on "
    "with. Go on by `torchrun ... -m spikeloom resume DIR`; pass --out when you start."
)
PARTS = ("Config", "PRESETS", "PUBLISHED", "train", "evaluate", "plot")


def run(name: str, arguments: list[str]) -> None:
    """Do one command.

    Raises:
        ConfigError: there is no such command, or its arguments are wrong.
    """
    folders = {"resume": resume, "evaluate": evaluate, "plot": plot, "report": report}
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
    elif name in folders:
        if not arguments or arguments[0].startswith("-"):
            raise ConfigError(f"{name} needs the folder of a run first: spikeloom {name} DIR.")
        if arguments[1:]:
            check_options(name, Path(arguments[0]), arguments[1:])
        folders[name](Path(arguments[0]))
    else:
        known = ["tasks", "train", "table", *folders, "compare", "export", "data"]
        raise ConfigError(f"There is no command {name!r}. {choices(name, known)}")


def find_task(name: str) -> Task:
    """The task of that name in `spikeloom/tasks`, or in that Python file.

    Raises:
        ConfigError: there is none, or it lacks a part.
    """
    if not name.endswith(".py"):
        if name not in tasks():
            raise ConfigError(f"There is no task {name!r}. {choices(name, tasks())}")
        return importlib.import_module(f"{__package__}.tasks.{name}")
    if not Path(name).is_file():
        raise ConfigError(f"There is no file {name} with a task. Check the path, or name one of: {', '.join(tasks())}.")
    spec = importlib.util.spec_from_file_location(Path(name).stem, name)
    assert spec is not None, name
    assert spec.loader is not None, name
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if missing := [part for part in PARTS if part not in vars(module)]:
        raise ConfigError(f"{name} is not a task: it lacks {', '.join(missing)}. A task has {', '.join(PARTS)}.")
    return module


def train(name: str, arguments: list[str]) -> None:
    """`spikeloom train NAME ...`."""
    task = find_task(name)
    chosen, options = parse_options(task, name, arguments)
    if chosen.seeds < 1:
        raise ConfigError(f"--seeds must be at least 1, but is {chosen.seeds}.")
    getattr(task, "check", lambda _: None)(options)  # before there is a folder
    seeds = list(range(chosen.seed, chosen.seed + chosen.seeds))
    recorded = str(Path(name).resolve()) if name.endswith(".py") else name
    with ranks.joined() as (rank, world):
        again = ranks.restarted()
        if again and chosen.out is None:
            raise ConfigError(LOST)
        folder = ranks.shared(chosen.out or default_folder(Path(name).stem, chosen.preset, seeds))
        place = (ranks.local_device(), rank, world)
        if chosen.seeds > 1:
            several = Series(recorded, chosen.preset, seeds, config.to_json(options))
            if rank == 0 and not (again and series.read(folder) == several):
                series.create(folder, several)
            train_series(task, folder, several, rank, world)
        else:
            settings = RunConfig(recorded, chosen.preset, chosen.seed, config.to_json(options))
            begun = ranks.shared(again and (folder / "config.json").exists() and config.read(folder) == settings)
            run = experiment.reopen(folder, *place) if begun else experiment.create(folder, settings, *place)
            if begun:
                print_changes(run)
            train_run(task, run)
        if rank == 0:
            print(folder, flush=True)


def default_folder(task: str, preset: str, seeds: list[int]) -> Path:
    """runs/TASK-PRESET-seedN-TIME, or -seedsN-M- for several."""
    numbers = f"seed{seeds[0]}" if len(seeds) == 1 else f"seeds{seeds[0]}-{seeds[-1]}"
    return Path("runs") / f"{task}-{preset}-{numbers}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"


@contextlib.contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Let Ctrl-C say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"What was saved is kept; go on with `spikeloom resume {folder}`.") from None


def train_run(task: Task, run: Run) -> None:
    """Train, evaluate and plot one run, and write its report."""
    options = experiment.options(task, run.folder)
    keep_freed_memory()
    if run.rank == 0:
        print(f"{run.task}, preset {run.preset}, seed {run.seed}: {environment.where(run.device)}", flush=True)
    alone = files.locked(run.folder) if run.rank == 0 else contextlib.nullcontext()
    with alone, resumable(run.folder):
        experiment.train(task, options, run)
        if run.rank == 0:
            write_report(task, run.folder)
            print_result(run)


def train_series(task: Task, folder: Path, several: Series, rank: int, world: int) -> None:
    """Train every seed that is not finished, then summarise all."""
    for seed in several.seeds:
        member = folder / f"seed{seed}"
        if ranks.shared((member / "report.html").exists()):  # rank 0 looks: it writes, and others may be late
            continue
        place = (ranks.local_device(), rank, world)
        new = not ranks.shared((member / "config.json").exists())
        run = experiment.create(member, several.member(seed), *place) if new else experiment.reopen(member, *place)
        with resumable(folder):
            train_run(task, run)
    if rank == 0:
        print(series.table(series.summarise(folder, several)), flush=True)


def train_table(name: str, arguments: list[str]) -> None:
    """`spikeloom table NAME ...`: train every cell, then write the table."""
    task = find_task(name)
    asked = parse_table(name, arguments)
    chosen = asked.table or next(iter(getattr(task, "TABLES", ())), "")
    if not chosen:
        raise ConfigError(f"Task {name} has no tables; babi, for example, has some.")
    table.find(task, f"Task {name}", chosen)
    if asked.seeds < 1:
        raise ConfigError(f"--seeds must be at least 1, but is {asked.seeds}.")
    recorded = str(Path(name).resolve()) if name.endswith(".py") else name
    seeds = list(range(asked.seed, asked.seed + asked.seeds))
    with ranks.joined() as (rank, world):
        if ranks.restarted() and asked.out is None:
            raise ConfigError(LOST)
        plan = table.Plan(recorded, chosen, seeds, asked.changes())
        place = ranks.shared(asked.out or default_folder(Path(name).stem, f"table-{chosen}", seeds))
        if rank == 0:
            table.create(place, plan)
        fill_table(task, place, plan, rank, world)


def fill_table(task: Task, folder: Path, plan: table.Plan, rank: int, world: int) -> None:
    """Train what is missing in a table, and write what it says."""
    chosen = table.find(task, f"Task {plan.task}", plan.table)
    for _, _, name, several in list(table.members(task, chosen, plan)):
        if not ranks.shared((folder / name / "summary.json").exists()):
            if rank == 0 and series.read(folder / name) is None:
                series.create(folder / name, several)
            ranks.barrier()
            train_series(task, folder / name, several, rank, world)
    if rank == 0:
        show_table(task, folder, plan)


def show_table(task: Task, folder: Path, plan: table.Plan) -> None:
    """Write and print what the finished cells of a table say.

    Raises:
        ConfigError: none is finished.
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
    """figures/table.png of a table: bars, or curves of an accuracy if all columns are whole numbers."""
    from .plot.bars import grouped
    from .plot.memory import accuracy_by_length

    cells = {(cell["row"], cell["column"]): cell for cell in result["cells"]}
    rows, columns = (list(dict.fromkeys(key[place] for key in cells)) for place in range(2))

    share = result["value"].startswith("accuracy")
    scale = 100 if share else 1

    def values(name: str) -> list[list[float]]:
        found = [[cells.get((row, column), {}).get(name) for column in columns] for row in rows]
        return [[math.nan if value is None else scale * value for value in line] for line in found]

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


def resume(folder: Path) -> None:
    """Go on with a run, a series or a table; a finished one is only reported."""
    with ranks.joined() as (rank, world):
        plan = table.read(folder)
        if plan is not None:
            fill_table(find_task(plan.task), folder, plan, rank, world)
            return
        several = series.read(folder)
        if several is not None:
            train_series(find_task(several.task), folder, several, rank, world)
        else:
            task = find_task(config.read(folder).task)
            run = experiment.reopen(folder, ranks.local_device(), rank, world)
            ready = (folder / "report.html").exists()
            ranks.barrier()
            if ready:
                print_finished(run)
            else:
                print_changes(run)
                train_run(task, run)
        if rank == 0:
            print(folder, flush=True)


def print_finished(run: Run) -> None:
    """Say that nothing is left to do."""
    if run.rank == 0:
        print(f"{run.folder} is finished; nothing is left to do.")
        print_result(run)


def print_changes(run: Run) -> None:
    """Say what differs from the machine and versions the run began with."""
    changes = experiment.note_resumption(run) if run.rank == 0 else []
    if changes:
        print(f"Note: {'; '.join(changes)}. The last bits of the result may differ.", flush=True)


def runs(folder: Path) -> list[Path]:
    """The run folders of a series, or the one run folder this is."""
    several = series.read(folder)
    return [folder] if several is None else [folder / f"seed{seed}" for seed in several.seeds]


def evaluate(folder: Path) -> None:
    """Test the best checkpoint of every run in a folder; write result.json, the report and the summary."""
    for one in runs(folder):
        run = experiment.reopen(one, ranks.local_device())
        task = find_task(run.task)
        experiment.evaluate(task, experiment.options(task, one), run)
        write_report(task, one)
        print_result(run)
    if several := series.read(folder):
        print(series.table(series.summarise(folder, several)))


def check_options(name: str, folder: Path, arguments: list[str]) -> None:
    """Options after a folder change nothing: they must be those of its runs.

    Raises:
        ConfigError: some differ, or there are no such options.
    """
    for one in runs(folder):
        task = find_task(config.read(one).task)
        own = experiment.options(task, one)
        command = f"spikeloom train {config.read(one).task}"
        asked, rest = parse_changes(own, arguments, command)
        if rest:
            if name == "resume":
                check_old_flags(f"resume {folder}", rest[0], arguments)
            known = [f"--{key.replace('_', '-')}" for key in asked]
            raise ConfigError(f"{command} has no option {rest[0]!r}. {choices(rest[0], known)}")
        kept = config.to_json(own)
        if differing := [
            f"{key} is {kept[key]!r}, not {value!r}" for key, value in asked.items() if kept[key] != value
        ]:
            raise ConfigError(
                f"{one} was trained with other options: {'; '.join(differing)}. {name} takes the options of the run: "
                "leave them out, or train a run with yours."
            )


def plot(folder: Path) -> None:
    """Draw the figures of every run in a folder, and its report."""
    for one in runs(folder):
        run = experiment.reopen(one, ranks.local_device())
        task = find_task(run.task)
        task.plot(experiment.options(task, one), run.fresh())
        write_report(task, one)
        print_layers(run)
        print(one / "figures")


def report(folder: Path) -> None:
    """Write report.html of every run in a folder; of a table, what is finished."""
    if plan := table.read(folder):
        show_table(find_task(plan.task), folder, plan)
        return
    for one in runs(folder):
        write_report(find_task(config.read(one).task), one)
        print(one / "report.html")


def compare(arguments: list[str]) -> None:
    """`spikeloom compare RUN RUN ... [--out FILE]`: print the comparison and write it as HTML."""
    flags = [place for place, word in enumerate(arguments) if word.startswith("-")]
    out = Path("runs") / f"compare-{datetime.now().astimezone():%Y%m%d-%H%M%S}.html"
    if flags:
        if arguments[flags[0]] != "--out" or flags != [len(arguments) - 2]:
            raise ConfigError("compare takes run folders, then --out FILE: spikeloom compare RUN RUN ... --out FILE.")
        arguments, out = arguments[:-2], Path(arguments[-1])
    compared = comparison.groups([one for folder in arguments for one in runs(Path(folder))])
    print(comparison.text(compared))
    files.write_atomic(out, lambda stream: stream.write(comparison.render(compared).encode()))
    print(out)


def export(arguments: list[str]) -> None:
    """`spikeloom export RUN --format nir [--out FILE]`: write the best checkpoint for other programs."""
    words = dict(zip(arguments[1::2], arguments[2::2], strict=False))
    folder = Path(arguments[0]) if len(arguments) % 2 and not arguments[0].startswith("-") else None
    if folder is None or words.get("--format") != "nir" or not set(words) <= {"--format", "--out"}:
        raise ConfigError(
            "export needs the folder of a run and a format: spikeloom export DIR --format nir (--out FILE)."
        )
    from .convert.nir import to_nir, write_nir

    run = experiment.reopen(folder)
    task = find_task(run.task)
    if "network_of" not in vars(task):
        raise ExportError(
            f"Task {run.task} has no network_of(config, run), so there is nothing to export. Add one to the task: it "
            "returns the module whose weights are saved as `model`, and the shape of one input without time and batch."
        )
    model, shape = vars(task)["network_of"](experiment.options(task, folder), run.fresh())
    run.load_best(model=model)
    out = Path(words.get("--out", folder / "model.nir"))
    write_nir(to_nir(model, shape), out)
    print(out)


def write_report(task: Task, folder: Path) -> None:
    """Write report.html of one run."""
    start = task.PRESETS.get(config.read(folder).preset)
    page = render(folder, task.__doc__ or "", {} if start is None else config.to_json(start))
    files.write_atomic(folder / "report.html", lambda stream: stream.write(page.encode()))


def print_result(run: Run) -> None:
    """The test values, beside what they are compared with."""
    result = run.read_json("result.json")
    for name, value in result["test"].items():
        published = result["published"].get(name)
        about = f"{published['source']}: {published['note']}" if published else ""
        beside = f"   (to compare: {published['value']}, {about})" if published else ""
        print(f"test {name} {value:.4g}{beside}")
    print_layers(run)
    print(f"report {run.folder / 'report.html'}", flush=True)


def print_layers(run: Run) -> None:
    """How many neurons each layer has and how often they fire, where the task says so."""
    if not (run.folder / "activity.json").exists():
        return
    activity = run.read_json("activity.json")
    lines = [(layer["name"], layer["neurons"], layer["rate_hz"]) for layer in activity["layers"]]
    if (total := mean_rate(activity)) is not None:
        lines.append(("all of these that spike", *total))
    for name, neurons, hertz in lines:
        print(f"layer {name}: {neurons:,} neurons" + ("" if hertz is None else f", mean rate {hertz:.4g} Hz"))
