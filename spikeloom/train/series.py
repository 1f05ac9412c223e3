"""The same configuration with several seeds: a folder of run folders, and what they say together.

seeds.json  seedN/  seedN+1/ ...  summary.json
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import config, experiment, files, metrics
from .config import RunConfig


@dataclass(frozen=True)
class Series:
    """What seeds.json holds: the same configuration with several seeds, one sub-folder `seedN` each."""

    task: str
    preset: str
    seeds: list[int]
    options: dict[str, Any]

    def member(self, seed: int) -> RunConfig:
        """The configuration of one of the runs."""
        return RunConfig(self.task, self.preset, seed, self.options)


def create(folder: Path, series: Series) -> None:
    """Make the folder of several runs.

    Raises:
        ConfigError: it is in use, or cannot be made.
    """
    experiment.make_empty(folder)
    files.write_json(folder / "seeds.json", config.to_json(series))


def read(folder: Path) -> Series | None:
    """The series of a folder, or None if it is not the folder of one."""
    series: Series | None = config.from_file(Series, folder / "seeds.json")
    return series


def summarise(folder: Path, series: Series) -> dict[str, Any]:
    """Write summary.json: mean, spread, least and greatest of every test value over the seeds, and the solved count."""
    results = [
        json.loads((folder / f"seed{seed}" / "result.json").read_text(encoding="utf-8")) for seed in series.seeds
    ]
    names = list(results[0]["test"])
    summary: dict[str, Any] = {
        "task": series.task,
        "preset": series.preset,
        "seeds": series.seeds,
        "test": {name: statistics([result["test"][name] for result in results]) for name in names},
    }
    if "solved" in names:
        summary["solved"] = sum(result["test"]["solved"] == 1.0 for result in results)
    files.write_json(folder / "summary.json", summary)
    return summary


def statistics(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation of the sample, extremes, and the values themselves."""
    return {
        "mean": metrics.mean(values),
        "sd": metrics.sd(values),
        "min": min(values),
        "max": max(values),
        "values": list(values),
    }


def table(summary: Mapping[str, Any]) -> str:
    """summary.json as plain text: a line per seed, then the statistics.

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
    rows += [[kind, *(f"{test[name][kind]:.4g}" for name in test)] for kind in ("mean", "sd", "min", "max")]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["".join(f"{cell:<{width + 2}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if "solved" in summary:
        lines.append(f"solved: {summary['solved']} of {len(summary['seeds'])} seeds")
    return "\n".join(lines)
