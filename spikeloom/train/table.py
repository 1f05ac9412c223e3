"""Table of configurations: rows, columns, several seeds per cell, and results next to published values.

    table.json  ROW-COLUMN/seedN/ ...  result.json  table.txt  figures/table.png

A task declares its tables in `TABLES`. Every cell is the folder of a series, as `spikeloom train --seeds` creates it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, ConfigError
from . import config, experiment, files, metrics, series
from .config import Task, choices, preset
from .series import Series, statistics
from .task_path import inside

Cell = tuple[str, Mapping[str, Any]]
"""Preset name, and the options that differ from it."""


@dataclass(frozen=True)
class Table:
    """Configurations by row and column.

    Args:
        title: what is compared.
        cells: cells by row, then column; a row may lack columns.
        published: values to compare with, by row and column.
        source: source of the published values.
        value: test value to show.
        besides: other test values, shown in additional columns.
        mean: label of a last row with the mean over all rows, whose spread is over seeds; empty for none.
    """

    title: str
    cells: Mapping[str, Mapping[str, Cell]]
    published: Mapping[tuple[str, str], float] = field(default_factory=dict)
    source: str = ""
    value: str = "accuracy"
    besides: Sequence[str] = ()
    mean: str = ""

    @classmethod
    def of_presets(
        cls,
        title: str,
        rows: Mapping[str, Sequence[str | None]],
        columns: Sequence[str],
        published: Mapping[str, float],
        source: str,
    ) -> "Table":
        """Create a table whose cells are presets; `published` is by preset."""
        cells: dict[str, dict[str, Cell]] = {}
        values: dict[tuple[str, str], float] = {}
        for row, names in rows.items():
            cells[row] = {column: (name, {}) for column, name in zip(columns, names, strict=True) if name}
            values |= {(row, column): published[name] for column, (name, _) in cells[row].items() if name in published}
        return cls(title, cells, values, source)

    def columns(self) -> list[str]:
        """Return all columns, in order of first appearance."""
        return list(dict.fromkeys(column for row in self.cells.values() for column in row))


@dataclass(frozen=True)
class TablePlan:
    """Content of table.json."""

    task: str
    table: str
    seeds: list[int]
    changes: dict[str, Any]
    """Options to change in all cells."""


def create(folder: Path, plan: TablePlan) -> bool:
    """Create the folder of a table, or accept an existing folder of the same one; return whether it was created.

    Raises:
        ConfigError: the folder holds something else.
    """
    if read(folder) == plan:
        return False
    experiment.make_empty(folder)
    with files.locked(folder):
        experiment.make_empty(folder)  # once more: another process may have been faster
        files.write_json(folder / "table.json", config.to_json(plan))
    return True


def read(folder: Path) -> TablePlan | None:
    """Return the plan of a folder, or None if it is not the folder of a table.

    Raises:
        ConfigError: table.json is damaged.
    """
    plan: TablePlan | None = config.from_file(TablePlan, folder / "table.json")
    return plan


def find(task: Task, owner: str, name: str) -> Table:
    """Return the table of a task.

    Raises:
        ConfigError: the task has no table of this name.
    """
    tables: Mapping[str, Table] = getattr(task, "TABLES", {})
    if name not in tables:
        raise ConfigError(f"{owner} has no table {name!r}. {choices(name, tables)}")
    return tables[name]


def members(task: Task, table: Table, plan: TablePlan) -> Iterator[tuple[str, str, str, Series]]:
    """Yield row, column, folder name and series of every cell.

    Raises:
        ConfigError: a change names no option, has a value of another type, or changes an option that names the rows or
            columns.
    """
    _check_names(task, table, plan)
    _check_folders(table, plan)
    for row, cells in table.cells.items():
        for column, (name, changes) in cells.items():
            start = config.to_json(preset(task, name, f"Task {plan.task}"))
            options = {**start, **changes, **plan.changes}
            config.from_json(task.Config, options, f"table {plan.table}: options")
            yield row, column, slug(f"{row}-{column}"), Series(inside(plan.task), name, plan.seeds, options)


def _check_names(task: Task, table: Table, plan: TablePlan) -> None:
    """Raise ConfigError if a change contradicts the names of rows or columns, as lr = 0.1 in a column 0.01."""
    cells = [
        ((row, column), {**config.to_json(preset(task, name, f"Task {plan.task}")), **changes})
        for row, columns in table.cells.items()
        for column, (name, changes) in columns.items()
    ]
    for key in plan.changes:
        for place, what in enumerate(("row", "column")):
            named = list(dict.fromkeys(names[place] for names, _ in cells))
            if len(named) > 1 and all(slug(str(own.get(key, ""))) == slug(names[place]) for names, own in cells):
                raise ConfigError(
                    f"table {plan.table} compares {key}: its {what}s are {', '.join(named)}. Change another option, or "
                    f"train single runs with --{key.replace('_', '-')}."
                )


def _check_folders(table: Table, plan: TablePlan) -> None:
    """Raise ConfigError if two cells would share a folder."""
    known: dict[str, str] = {}
    for row, cells in table.cells.items():
        for column in cells:
            folder, cell = slug(f"{row}-{column}"), f"{row!r} {column!r}"
            if not folder or folder in known:
                other = f"as {known[folder]}" if folder else "without letters and digits"
                raise ConfigError(
                    f"table {plan.table}: the cell {cell} has the folder {folder!r}, {other}. Name rows and "
                    "columns so that they differ in letters or digits."
                )
            known[folder] = cell


def slug(text: str) -> str:
    """Convert a text to a folder name.

    >>> slug("LIF-augmented, activity limited")
    'lif-augmented-activity-limited'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def collect(folder: Path, task: Task, table: Table, plan: TablePlan) -> dict[str, Any]:
    """Write result.json from the summaries of all finished cells, and return it."""
    rows: list[dict[str, Any]] = []
    for row, column, name, several in members(task, table, plan):
        path = folder / name / "summary.json"
        if path.exists():
            test = series.summary(folder / name)["test"]
            if missing := [value for value in (table.value, *table.besides) if value not in test]:
                raise CheckpointError(
                    f"{path} lacks {missing[0]!r}, which the table shows. `spikeloom evaluate {folder / name}` writes "
                    "it again."
                )
            seconds = [series.seconds(folder / name / f"seed{seed}") for seed in several.seeds]
            rows.append(
                {
                    "row": row, "column": column, "folder": name, "preset": several.preset, **test[table.value],
                    "published": table.published.get((row, column)), "seconds": seconds,
                    **({"besides": {other: test[other]["mean"] for other in table.besides}} if table.besides else {}),
                }
            )  # fmt: skip
    if table.mean and len(rows) == sum(len(columns) for columns in table.cells.values()):
        rows += [
            _mean(table, column, [cell for cell in rows if cell["column"] == column]) for column in table.columns()
        ]
    result = {
        "title": table.title, "value": table.value, "source": table.source, "seeds": plan.seeds, "cells": rows,
    }  # fmt: skip
    files.write_json(folder / "result.json", result)
    return result


def _mean(table: Table, column: str, cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the last row of a column: means over its rows, per seed."""
    values = [metrics.mean(seed) for seed in zip(*(cell["values"] for cell in cells), strict=True)]
    return {
        "row": table.mean, "column": column, **statistics(values),
        "published": table.published.get((table.mean, column)),
        "seconds": [sum(seed) for seed in zip(*(cell["seconds"] for cell in cells), strict=True)],
        **(
            {"besides": {other: metrics.mean([cell["besides"][other] for cell in cells]) for other in table.besides}}
            if table.besides else {}
        ),
    }  # fmt: skip


def text(result: Mapping[str, Any]) -> str:
    """Format the table as plain text: mean, spread over seeds, and the published value in brackets.

    >>> cell = {"row": "SB", "column": "basic", "mean": 0.9, "sd": 0.01, "published": 0.77}
    >>> print(text({"title": "Accuracy", "source": "a paper", "seeds": [0, 1], "cells": [cell]}))
    Accuracy: mean and standard deviation of 2 seeds; in brackets: a paper
    <BLANKLINE>
        basic
    SB  0.900 ± 0.010 (0.770)
    """
    cells = {(cell["row"], cell["column"]): cell for cell in result["cells"]}
    rows, columns = (list(dict.fromkeys(key[i] for key in cells)) for i in range(2))
    besides = list(dict.fromkeys(other for cell in cells.values() for other in cell.get("besides", {})))
    lines = [["", *(word for column in columns for word in (column, *besides))]]
    for row in rows:
        row_cells = [cells.get((row, column)) for column in columns]
        lines.append([row, *(word for cell in row_cells for word in (_shown(cell), *_beside(cell, besides)))])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    body = ["  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    count = len(result["seeds"])
    about = f"{result['title']}: " + (f"mean and standard deviation of {count} seeds" if count > 1 else "one seed")
    return "\n".join([about + (f"; in brackets: {result['source']}" if result["source"] else ""), "", *body])


def _beside(cell: Mapping[str, Any] | None, names: list[str]) -> list[str]:
    return [f"{cell['besides'][name]:.3f}" if cell else "" for name in names]


def _shown(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return ""
    published = f" ({cell['published']:.3f})" if cell["published"] is not None else ""
    spread = f" ± {cell['sd']:.3f}" if cell["sd"] == cell["sd"] and len(cell.get("values", [0, 0])) > 1 else ""
    return f"{cell['mean']:.3f}{spread}{published}"
