"""Command `table`: train every cell of a table of a task, then write and draw the table."""

import dataclasses
import io
import math
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..train import config, files, ranks, series, table, task_path
from ..train.config import Task
from .find import find_task
from .options import check_numbers, parse_table
from .runs import LOST, default_folder, place, refusable, resumable, train_series

TITLE = 90
"""Characters per line of the title of a table figure."""


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
    seeds = list(range(asked.seed, asked.seed + asked.seeds))
    plan = table.TablePlan(name, table_name, seeds, asked.changes())
    for _, _, _, several in table.members(task, table.find(task, f"Task {name}", table_name), plan):
        check_numbers(config.from_json(task.Config, several.options, f"table {table_name}: options"))
    with ranks.joined() as (rank, world):
        if ranks.restarted() and asked.out is None:
            raise ConfigError(LOST)
        default = default_folder(Path(name).stem, f"table-{table_name}", seeds)
        with place(asked.out, default) as folder, resumable(folder, name):
            plan = dataclasses.replace(plan, task=recorded(name, folder))
            new = ranks.of_first(lambda: table.create(folder, plan))
            with refusable(folder, new and rank == 0):
                fill_table(task, folder, plan, rank, world)


def recorded(name: str, folder: Path) -> str:
    """Return the task as the folder of a table records it: as it is, if the folder has one and it is the same."""
    new, before = task_path.record(name, folder), table.read(folder)
    same = before is not None and task_path.located(before.task, folder) == task_path.located(new, folder)
    return before.task if same and before is not None else new


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
