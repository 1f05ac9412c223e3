"""Series: runs of one configuration with several seeds, and a summary of their results.

seeds.json  seedN/  seedN+1/ ...  summary.json
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, ConfigError
from . import config, experiment, files, metrics
from .config import RunConfig
from .informative import tidy
from .moved import without_removed
from .task_path import inside

STATISTICS = ("mean", "sd", "min", "max")


@dataclass(frozen=True)
class Series:
    """Content of seeds.json: one configuration with several seeds, in sub-folders `seedN`."""

    task: str
    preset: str
    seeds: list[int]
    options: dict[str, Any]

    def member(self, seed: int) -> RunConfig:
        """Return the configuration of the run with a given seed."""
        return RunConfig(inside(self.task), self.preset, seed, self.options)


def create(folder: Path, series: Series) -> None:
    """Create the folder of a series.

    Raises:
        ConfigError: the folder is in use, or cannot be created.
    """
    experiment.make_empty(folder)
    with files.locked(folder):
        experiment.make_empty(folder)  # once more: another process may have been faster
        files.write_json(folder / "seeds.json", config.to_json(series))


def read(folder: Path) -> Series | None:
    """Return the series of a folder, or None if it is not the folder of a series."""
    series: Series | None = config.from_file(Series, folder / "seeds.json")
    if series is not None and (not series.seeds or len(set(series.seeds)) < len(series.seeds)):
        raise ConfigError(f"{folder / 'seeds.json'} needs one seed or more, each once, but has {series.seeds}.")
    return series


def check_members(folder: Path, series: Series) -> None:
    """Raise ConfigError if a run has other options than seeds.json."""
    for seed in series.seeds:
        _check_member(folder, series, seed)


def _check_member(folder: Path, series: Series, seed: int) -> None:
    path = folder / f"seed{seed}"
    if not (path / "config.json").exists():
        return
    saved = config.read(path)
    saved = replace(saved, options=without_removed(saved.options, series.options, f"{path / 'config.json'}"))
    if saved != series.member(seed):
        differ = sorted(
            name
            for name in {*saved.options, *series.options}
            if saved.options.get(name) != series.options.get(name) or name not in saved.options
        )
        what = ", ".join(f"{name} is {saved.options.get(name)!r}" for name in differ) or "task, preset or seed differ"
        raise ConfigError(
            f"{path} was made with other options than {folder / 'seeds.json'} names: there {what}. One of the two was "
            "edited: restore it, or train in a new folder."
        )


def summarise(folder: Path, series: Series) -> dict[str, Any]:
    """Write summary.json: mean, spread, minimum and maximum of every test value over the seeds, and solved count."""
    check_members(folder, series)
    for seed in series.seeds:
        tidy(folder / f"seed{seed}")
    results = [result(folder / f"seed{seed}") for seed in series.seeds]
    names = [name for name in results[0]["test"] if all(name in other["test"] for other in results)]
    summary: dict[str, Any] = {
        "task": series.task,
        "preset": series.preset,
        "seeds": series.seeds,
        "test": {name: statistics([one["test"][name] for one in results]) for name in names},
    }
    if "solved" in names:
        summary["solved"] = sum(one["test"]["solved"] == 1.0 for one in results)
    files.write_json(folder / "summary.json", summary)
    return summary


def result(run: Path) -> dict[str, Any]:
    """Return the result.json of a finished run, with its `test` values.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    return _numbers(run / "result.json", run, lambda content: content["test"])


def seconds(run: Path) -> float:
    """Return the training time in seconds from the result.json of a finished run.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    return float(_numbers(run / "result.json", run, lambda content: {"seconds": content["seconds"]})["seconds"])


def summary(folder: Path) -> dict[str, Any]:
    """Return the summary.json of a finished series, with the statistics of its `test` values.

    Raises:
        CheckpointError: the file is missing or damaged.
    """

    def values(content: Any) -> dict[Any, Any]:
        each: dict[Any, Any] = {(name, kind): one[kind] for name, one in content["test"].items() for kind in STATISTICS}
        listed = {(name, i): value for name, one in content["test"].items() for i, value in enumerate(one["values"])}
        return {**each, **listed}

    return _numbers(folder / "summary.json", folder, values)


def _numbers(path: Path, folder: Path, values: Callable[[Any], Mapping[Any, Any]]) -> dict[str, Any]:
    """Return the JSON object of a file; raise CheckpointError unless the given values of it are numbers."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        wrong = [name for name, value in values(content).items() if not isinstance(value, int | float)]
        if wrong:
            raise TypeError(f"{wrong[0]} is no number")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is missing or damaged: {error or type(error).__name__}. `spikeloom evaluate {folder}` writes it "
            "again."
        ) from error
    return content


def statistics(values: Sequence[float]) -> dict[str, Any]:
    """Return mean, sample standard deviation, extremes, and the values themselves."""
    return {
        "mean": metrics.mean(values),
        "sd": metrics.sd(values),
        "min": min(values),
        "max": max(values),
        "values": list(values),
    }


def table(summary: Mapping[str, Any]) -> str:
    """Format summary.json as plain text: one line per seed, then the statistics.

    >>> one = {"mean": 0.5, "sd": 0.1, "min": 0.4, "max": 0.6, "values": [0.4, 0.6]}
    >>> print(table({"seeds": [0, 1], "test": {"error": one}, "solved": 1}))
    seed  error
    0     0.4
    1     0.6
    mean  0.5
    sd    0.1
    min   0.4
    max   0.6
    solved: 1 of 2 seeds
    """
    test = summary["test"]
    rows = [["seed", *test]]
    rows += [
        [str(seed), *(f"{test[name]['values'][i]:.4g}" for name in test)] for i, seed in enumerate(summary["seeds"])
    ]
    rows += [[kind, *(f"{test[name][kind]:.4g}" for name in test)] for kind in STATISTICS]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["".join(f"{cell:<{width + 2}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if "solved" in summary:
        lines.append(f"solved: {summary['solved']} of {len(summary['seeds'])} seeds")
    return "\n".join(lines)
