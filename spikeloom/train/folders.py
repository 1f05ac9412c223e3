"""Description of a folder in messages, where the user passed one that is not a run folder."""

import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import ConfigError

RUN, SERIES, TABLE = "config.json", "seeds.json", "table.json"
"""Files that mark the folder of a run, of several seeds of one configuration, and of a table."""
LEFT = ("result.json", "metrics.jsonl", "environment.json", "summary.json", "checkpoints", "figures", "report.html")
"""Other files that a run writes."""
PRINTED = "Name the folder that `spikeloom train` printed."


def is_a(folder: Path, kind: str) -> bool:
    """Return whether a folder holds the file that marks its kind; False if it cannot be read."""
    return os.path.isfile(folder / kind)


def no_run(folder: Path) -> ConfigError:
    """Return the error for a folder that is not a run folder: what it is, and what to pass instead."""
    return ConfigError(f"{folder} is not a run folder{_instead(folder)}")


def _instead(folder: Path) -> str:
    if not os.path.lexists(folder):
        return f": it does not exist. {PRINTED}"
    if not folder.is_dir():
        parent = folder.parent
        return f": it is a file. {f'Name the run it is of, {parent}.' if is_a(parent, RUN) else PRINTED}"
    if is_a(folder, TABLE):
        cells = [cell for cell in _inside(folder) if is_a(cell, SERIES)]
        runs = [run for cell in cells for run in _inside(cell) if is_a(run, RUN)]
        if not runs:
            return f" but a table in which no run has begun. Go on with it by `spikeloom resume {folder}`."
        return (
            f" but a table of many. Name a cell of it, such as {runs[0].parent}, or one run of a cell, such as "
            f"{runs[0]}; `spikeloom report {folder}` shows the whole table."
        )
    if is_a(folder, SERIES):
        runs = [run for run in _inside(folder) if is_a(run, RUN)]
        if not runs:
            return f" but one of several seeds, none of which has begun. Begin by `spikeloom resume {folder}`."
        return f" but one of several seeds. Name one of them, such as {runs[0]}."
    if is_a(folder.resolve().parent, RUN):
        return f": it is a part of a run. Name the run, {os.path.normpath(folder / os.pardir)}."
    if runs := [run for run in _inside(folder) if any(is_a(run, kind) for kind in (RUN, SERIES, TABLE))]:
        return f": it has no {RUN}, but run folders are in it. Name one of them, such as {runs[0]}."
    if left := [name for name in LEFT if os.path.lexists(folder / name)]:
        return (
            f": it has no {RUN}, which says what was trained, only {', '.join(left)}. Restore {RUN} from a copy, or "
            "name another folder."
        )
    return f": it has no {RUN}{'' if any(_inside(folder)) else ' and is empty'}. {PRINTED}"


def _inside(folder: Path) -> Iterable[Path]:
    """Return the sorted entries of a folder; none if it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
