"""Command `tasks`: the experiments with time, data and results of their presets.

The numbers are those of recorded runs, from `papers/recorded.json`, which `python -m benchmarks.recorded` writes from
the folder `results/` of the repository. The list of all tasks does not import torch.
"""

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import help
from .help import fill


def show(arguments: Sequence[str]) -> None:
    """Run `spikeloom tasks`, or `spikeloom tasks TASK`.

    Raises:
        ConfigError: there is no such task, or several are given.
    """
    if not arguments:
        list_all()
        return
    from ..errors import ConfigError

    if len(arguments) > 1 or arguments[0].startswith("-"):
        raise ConfigError(f"tasks takes one task at most, but got {' '.join(arguments)}: spikeloom tasks TASK.")
    from .find import find_task

    describe(arguments[0], find_task(arguments[0]))


def list_all() -> None:
    """Print every task with its title, its data, and the presets of which runs are recorded."""
    files, titles, known = help.task_files(), help.tasks(), recorded()
    indent = max(map(len, files), default=0) + 2
    for name, title in titles.items():
        print(fill(f"{name:<{indent}}{title}", hanging=indent))
        print(fill(f"data: {', '.join(constant(files[name], 'DATA')) or 'none'}", indent))
        for preset, row in known.get(name, {}).items():
            print(fill(f"{preset}: {', '.join(part for part in (minutes(row), reached(row)) if part)}", indent))
    print()
    print(fill("Minutes of training on 2 cores, and test values, of recorded runs. All presets: spikeloom tasks TASK."))


def describe(name: str, task: Any) -> None:
    """Print title, data and presets of one task."""
    title = next(iter((task.__doc__ or name).strip().splitlines()))
    print(fill(title))
    print()
    data = ", ".join(getattr(task, "DATA", ()))
    print(f"data: {data}  (spikeloom data list says what is present)" if data else "data: none")
    print()
    rows = recorded().get(name, {})
    lines = [["preset", "minutes", "reached"]] if rows else [["preset"]]
    for preset in task.PRESETS:
        row = rows.get(preset)
        lines.append([preset, minutes(row).removesuffix(" min"), reached(row)] if row else [preset])
    print(columns(lines))
    print()
    if rows:
        print(fill(f"Minutes of training on 2 cores, and test values, of the runs in {folders(rows)}."))
    print(fill(f"The options of a preset: spikeloom train {name} --preset PRESET --help"))


def folders(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """List the folders that hold the runs of a task."""
    return ", ".join(dict.fromkeys(str(row["from"]) for row in rows.values()))


def recorded() -> dict[str, dict[str, dict[str, Any]]]:
    """Return what is recorded, by task and preset."""
    path = help.PAPERS / "recorded.json"
    content: dict[str, dict[str, dict[str, Any]]] = {}
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
    return content


def minutes(row: Mapping[str, Any]) -> str:
    """Format the time of training.

    >>> minutes({"minutes": [0.2, 0.4]}), minutes({"minutes": [3.7, 8.9]}), minutes({"minutes": None})
    ('under 1 min', '4-9 min', '')
    """
    if row["minutes"] is None:
        return ""
    least, most = (round(number) for number in row["minutes"])
    if most < 1:
        return "under 1 min"
    return f"{most} min" if least == most else f"{least or 'under 1'}-{most} min"


def reached(row: Mapping[str, Any]) -> str:
    """Format the test value with its spread.

    >>> reached({"value": "accuracy", "mean": 0.943, "sd": 0.0021, "seeds": 3, "solved": None})
    'accuracy 0.943 ± 0.0021 (3 seeds)'
    >>> reached({"value": "error", "mean": 0.036, "sd": None, "seeds": 1, "solved": 1})
    'error 0.036 (1 seed), solved 1 of 1'
    """
    spread = "" if row["sd"] is None else f" ± {row['sd']:.2g}"
    count = f"{row['seeds']} seed{'s' if row['seeds'] > 1 else ''}"
    solved = "" if row["solved"] is None else f", solved {row['solved']} of {row['seeds']}"
    return f"{row['value']} {row['mean']:.3g}{spread} ({count}){solved}"


def constant(path: Path, name: str) -> tuple[str, ...]:
    """Return a constant of a module that is a tuple of texts, without importing the module; () if there is none."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                return tuple(ast.literal_eval(value))
    return ()


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Align the cells of rows; a row may be short.

    >>> print(columns([["a", "bb"], ["ccc"]]))
    a    bb
    ccc
    """
    widths = [max(len(row[i]) for row in rows if len(row) > i) for i in range(max(map(len, rows)))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows
    )
