"""Comparison of runs: options that differ, test values with their spread over seeds, curves in one figure.

Runs of one task that differ only in the seed form a group: a column of the tables, a colour of the figure. Runs with
equal options and the same seed are not independent: the second is put into a separate group, with a note.
"""

import base64
import io
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..plot.curves import Panel, learning_curves
from .page import bullets, html, page, paragraph, section, table
from .read import read
from .sections import Folder, duration, is_share, number

SMOOTH = 60
"""Curves logged at every update are smoothed over 1 / SMOOTH of their length."""


@dataclass(frozen=True)
class Group:
    """Runs that differ only in the seed."""

    name: str
    runs: list[Folder]

    @property
    def options(self) -> dict[str, Any]:
        """Options shared by the runs, with the task and the preset."""
        config = self.runs[0].config
        return {"task": Path(config["task"]).stem, "preset": config["preset"], **config["options"]}

    def values(self, name: str) -> list[float]:
        """Return a test value of every run that has it."""
        return [float(run.result["test"][name]) for run in self.runs if run.result and name in run.result["test"]]


def groups(folders: Iterable[Path]) -> list[Group]:
    """Read run folders and group those that differ only in their seed, in the given order.

    The runs of a series stay together: they join a group that has none of their seeds, or form a new one.

    Raises:
        ConfigError: a folder is not a run or is given twice, or there is no folder.
    """
    batches: dict[tuple[str, Path], list[Folder]] = {}
    seen = set()
    for folder in folders:
        if not (folder / "config.json").exists():
            raise ConfigError(
                f"{folder} is not a run folder: it has no config.json. Name what `spikeloom train` printed."
            )
        if folder.resolve() in seen:
            raise ConfigError(f"{folder} is named twice. Name every run once.")
        seen.add(folder.resolve())
        run = read(folder)
        batches.setdefault((_configuration(run), _series(run.path)), []).append(run)
    if not batches:
        raise ConfigError("compare needs at least one run: spikeloom compare RUN RUN ...")
    grouped: list[list[Folder]] = []
    for (configuration, _), batch in batches.items():
        for one in _apart(batch):
            alike = (group for group in grouped if _configuration(group[0]) == configuration)
            fitting = next((group for group in alike if not _seeds(group) & _seeds(one)), None)
            if fitting is None:
                grouped.append(one)
            else:
                fitting += one
    order = list(dict.fromkeys(_configuration(group[0]) for group in grouped))
    grouped.sort(key=lambda group: order.index(_configuration(group[0])))
    names = _names([[run.path for run in runs] for runs in grouped])
    return [Group(name, runs) for name, runs in zip(names, grouped, strict=True)]


def _configuration(run: Folder) -> str:
    """Return the task and options, which the runs of a group share."""
    return repr((run.task, sorted(run.config["options"].items(), key=repr)))


def _series(run: Path) -> Path:
    """Return the folder of the series that a run belongs to, else the run itself."""
    return run.resolve().parent if (run.parent / "seeds.json").exists() else run.resolve()


def _seeds(runs: Iterable[Folder]) -> set[Any]:
    return {run.config["seed"] for run in runs}


def _apart(batch: Sequence[Folder]) -> list[list[Folder]]:
    """Split the runs of one folder so that no part has a seed twice."""
    parts: list[list[Folder]] = []
    for run in batch:
        fitting = next((group for group in parts if run.config["seed"] not in _seeds(group)), None)
        if fitting is None:
            parts.append([run])
        else:
            fitting.append(run)
    return parts


def repeated(compared: Sequence[Group]) -> list[str]:
    """Return a note for each group that repeats options and seeds of an earlier one: these are not additional runs."""
    notes = []
    for place, group in enumerate(compared):
        alike = [one for one in compared[:place] if _configuration(one.runs[0]) == _configuration(group.runs[0])]
        if alike:  # otherwise they would be one group
            both = sorted({seed for one in alike for seed in _seeds(group.runs) & _seeds(one.runs)})
            notes.append(
                f"{group.name} has the options of {', '.join(one.name for one in alike)}, and the same "
                f"{'seeds' if len(both) > 1 else 'seed'} {', '.join(map(str, both))}. Runs of one seed are not "
                "independent and are not counted together: each stands in a column of its own."
            )
    return notes


def _names(paths: Sequence[Sequence[Path]]) -> list[str]:
    """Return the folder name of every group, or of its series, with as much of the path as makes it unique."""
    series = [_series(group[0]) for group in paths]
    parts = [
        (folder if series.count(folder) == 1 else group[0].resolve()).parts
        for folder, group in zip(series, paths, strict=True)
    ]
    names = []
    for mine in parts:
        length = next(
            (n for n in range(1, len(mine)) if sum(other[-n:] == mine[-n:] for other in parts) == 1), len(mine)
        )
        names.append(str(Path(*mine[-length:])))
    return names


def differences(compared: Sequence[Group]) -> list[tuple[str, ...]]:
    """Return rows (option, value in each group) of the options that differ, and of the seeds."""
    names = dict.fromkeys(name for group in compared for name in group.options)
    rows = [
        (name, *(str(group.options.get(name, "–")) for group in compared))
        for name in names
        if len({repr(group.options.get(name, "–")) for group in compared}) > 1
    ]
    seeds = [", ".join(str(seed) for seed in sorted(run.config["seed"] for run in group.runs)) for group in compared]
    return [*rows, ("seeds", *seeds)]


def results(compared: Sequence[Group]) -> list[tuple[str, ...]]:
    """Return rows (test value, mean ± standard deviation (minimum to maximum, count) in each group)."""
    names = dict.fromkeys(name for group in compared for run in group.runs if run.result for name in run.result["test"])
    rows = [(name, *(spread(name, group.values(name), _share(name, compared)) for group in compared)) for name in names]
    unfinished = [str(sum(run.result is None for run in group.runs)) for group in compared]
    if any(count != "0" for count in unfinished):
        rows.append(("runs not evaluated yet", *unfinished))
    seconds = [[float(run.result["seconds"]) for run in group.runs if run.result] for group in compared]
    times = [duration(sum(each) / len(each)) if each else "–" for each in seconds]
    return [*rows, ("training time", *times)]


def _share(name: str, compared: Sequence[Group]) -> bool:
    """Return whether a test value is shown as a percentage, in all columns and next to the published one."""
    published = [entry.get("value") for key, entry in _published(compared).items() if entry.get("of", key) == name]
    return is_share(name, [*(value for group in compared for value in group.values(name)), *published])


def _published(compared: Sequence[Group]) -> dict[str, Any]:
    """Return the published values of the runs."""
    values: dict[str, Any] = {}
    for run in (run for group in compared for run in group.runs):
        values |= run.result["published"] if run.result else {}
    return values


def spread(name: str, values: Sequence[float], share: bool | None = None) -> str:
    """Format mean and spread; `share` as in `number`, by default determined from all values.

    >>> spread("accuracy", [0.9, 0.92]), spread("accuracy", [0.9]), spread("accuracy", [])
    ('91 % ± 1.4 % (90 % to 92 %, 2 runs)', '90 %', '–')
    """
    if not values:
        return "–"
    share = is_share(name, values) if share is None else share
    if name == "solved":
        return f"{sum(value == 1.0 for value in values)} of {len(values)}"
    if len(values) == 1:
        return number(name, values[0], share)
    if len(set(values)) == 1:
        return f"{number(name, values[0], share)} ({len(values)} runs)"
    deviation = float(f"{statistics.stdev(values):.2g}")
    middle, sd, low, high = (
        number(name, value, share) for value in (statistics.fmean(values), deviation, min(values), max(values))
    )
    return f"{middle} ± {sd} ({low} to {high}, {len(values)} runs)"


def figure(compared: Sequence[Group]) -> Any:
    """Plot one panel per validation metric, else per logged metric, with mean and range over seeds for each group."""
    lines = [line for group in compared for run in group.runs for line in run.metrics]
    logged = dict.fromkeys(name for line in lines for name in line if name != "update")
    names = [name for name in logged if name.startswith("validation_")] or list(logged)
    panels = [panel for name in names if (panel := _panel(name, compared)).curves]
    title = "Learning curves"
    if any(panel.bands for panel in panels):
        title = "Means over runs, as far as all of them have come; shaded: least to greatest"
    return learning_curves(panels, title) if panels else None


def _panel(name: str, compared: Sequence[Group]) -> Panel:
    curves, bands = {}, {}
    for group in compared:
        logged = [{line["update"]: line[name] for line in run.metrics if name in line} for run in group.runs]
        tracks = [track for track in logged if track]
        updates = sorted(set.intersection(*(set(track) for track in tracks))) if tracks else []
        if not updates:
            continue
        values = [[track[update] for track in tracks] for update in updates]
        count = f"{len(tracks)} of {len(logged)}" if len(tracks) < len(logged) else f"{len(logged)}"
        label = f"{group.name} (mean of {count} runs)" if len(logged) > 1 else group.name
        curves[label] = (updates, [statistics.fmean(several) for several in values])
        if len(tracks) > 1:
            bands[label] = ([min(several) for several in values], [max(several) for several in values])
    smooth = max(1, math.ceil(max((len(updates) for updates, _ in curves.values()), default=0) / SMOOTH))
    return Panel(name.replace("_", " "), curves, bands=bands, smooth=smooth)


def text(compared: Sequence[Group]) -> str:
    """Return the comparison as plain text."""
    head = ("", *(group.name for group in compared))
    parts = [_aligned([head, *rows]) for rows in (differences(compared), results(compared))]
    return "\n\n".join([*parts, *(f"Note: {note}" for note in _notes(compared))])


def _notes(compared: Sequence[Group]) -> list[str]:
    """Return notes about repeated seeds and omitted parts of the runs."""
    return repeated(compared) + [
        f"{run.path}: {note}" for group in compared for run in group.runs for note in run.notes
    ]


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip_longest(*rows, fillvalue="")]
    return "\n".join(
        "".join(f"{cell:<{width + 2}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def render(compared: Sequence[Group]) -> str:
    """Return the comparison as one self-contained HTML page."""
    head = ("", *(group.name for group in compared))
    beside = [
        (
            name.replace("_", " "),
            number(name, entry.get("value", "–"), _share(entry.get("of", name), compared)),
            entry.get("source", ""),
            entry.get("note", ""),
        )
        for name, entry in _published(compared).items()
    ]
    drawn = figure(compared)
    notes = _notes(compared)
    parts = [
        section("Note", bullets(notes)) if notes else "",
        section("Results", table(head, results(compared)), paragraph("Mean ± standard deviation of the sample.")),
        section("Options that differ", table(head, differences(compared))),
        section("Curves", _picture(drawn)) if drawn is not None else "",
        section("Published", table(("value", "reference", "source", "note"), beside)) if beside else "",
    ]
    title = " and ".join(dict.fromkeys(str(group.options["task"]) for group in compared))
    header = f'<p class="eyebrow">spikeloom comparison</p><h1>{html(title)}</h1>'
    return page(f"Comparison: {title}", header, [part for part in parts if part])


def _picture(drawn: Any) -> str:
    buffer = io.BytesIO()
    drawn.savefig(buffer, dpi=120.0, bbox_inches="tight")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<figure><img src="data:image/png;base64,{data}" alt="learning curves of all runs"></figure>'
