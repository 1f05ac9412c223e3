"""Time and result of every preset of which results/ holds runs, for `spikeloom tasks`: spikeloom/papers/recorded.json.

    python -m benchmarks.recorded            # write the file; --check fails if it is not up to date

A run is one of a preset if its options are those that the preset has now. An option that is newer than the run has its
default, and options about what is drawn and tested in addition do not count. Minutes are those of runs on two cores.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from spikeloom.cli.find import find_task
from spikeloom.cli.help import task_files
from spikeloom.errors import ConfigError
from spikeloom.train import config

ROOT = Path(__file__).parent.parent
FILE = ROOT / "spikeloom" / "papers" / "recorded.json"
CORES = 2
BESIDES = frozenset({"figures", "robustness", "test_lengths"})
"""Options that change neither the training nor the test value."""
PHASES = "*/seconds.json"
"""Seconds of pre-training, which is a run in the folder of the run."""


@dataclass(frozen=True)
class Recorded:
    """A run in results/."""

    folder: str
    config: dict[str, Any]
    result: dict[str, Any]
    environment: dict[str, Any]
    phases: float = 0.0
    """Seconds of pre-training."""


def runs(results: Path) -> Iterator[Recorded]:
    """All finished runs, single, of a series, and of a table."""
    for place in sorted(path for path in results.iterdir() if path.is_dir()):
        if (place / "runs.jsonl").is_file():
            for line in (place / "runs.jsonl").read_text().splitlines():
                one = json.loads(line)
                yield Recorded(place.name, one["config"], one["result"], one["environment"])
        for path in sorted(place.rglob("config.json")):
            run = path.parent
            if (run / "result.json").is_file():
                names = ("config", "result", "environment")
                settings, result, environment = (json.loads((run / f"{name}.json").read_text()) for name in names)
                phases = sum(json.loads(phase.read_text())["training"] for phase in run.glob(PHASES))
                yield Recorded(place.name, settings, result, environment, phases)


def is_of_preset(run: Recorded, task: Any) -> bool:
    """Whether the options of a run are those of its preset."""
    start = task.PRESETS.get(run.config["preset"])
    if start is None:
        return False
    expected = config.to_json(start)
    options = (
        config.to_json(task.Config())
        | run.config["options"]
        | {name: expected[name] for name in BESIDES & set(expected)}
    )
    try:
        return bool(config.from_json(task.Config, options, run.folder) == start)
    except ConfigError:  # options that exist no more
        return False


def collect(results: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the recorded results by task and preset: of several folders the one with most runs."""
    files = task_files()
    folders = defaultdict[tuple[str, str], dict[str, list[Recorded]]](lambda: defaultdict(list))
    for run in runs(results):
        name = run.config["task"]
        if name in files and is_of_preset(run, find_task(name)):
            folders[name, run.config["preset"]][run.folder].append(run)
    recorded = dict[str, dict[str, dict[str, Any]]]()
    for name in files:
        presets = find_task(name).PRESETS
        rows = {preset: summary(max(folders[name, preset].values(), key=most))
                for preset in presets if folders[name, preset]}  # fmt: skip
        recorded |= {name: rows} if rows else {}
    return recorded


def timed(members: list[Recorded]) -> list[Recorded]:
    """The runs whose time is that of two cores."""
    return [run for run in members if run.environment["device"] == "cpu" and run.environment["cores"] == CORES]


def most(members: list[Recorded]) -> tuple[int, int]:
    """How much a folder says about a preset: its runs, and those with a time."""
    return len(members), len(timed(members))


def summary(members: list[Recorded]) -> dict[str, Any]:
    """Minutes and the first test value, or accuracy or error, of runs that differ in the seed."""
    first = members[0]
    names = list(first.result["test"])
    value = next((name for name in ("accuracy", "error") if name in names), names[0])
    values = [run.result["test"][value] for run in members]
    minutes = [round((run.result["seconds"] + run.phases) / 60, 1) for run in timed(members)]
    solved = [run.result["test"]["solved"] for run in members if "solved" in run.result["test"]]
    return {
        "from": f"results/{first.folder}",
        "seeds": len(members),
        "minutes": [min(minutes), max(minutes)] if minutes else None,
        "value": value,
        "mean": float(f"{mean(values):.4g}"),
        "sd": float(f"{stdev(values):.2g}") if len(values) > 1 else None,
        "solved": sum(one == 1.0 for one in solved) if solved else None,
    }


def text(results: Path = ROOT / "results") -> str:
    """The content of the file."""
    return json.dumps(collect(results), indent=1) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail if the file is not up to date")
    if parser.parse_args().check:
        sys.exit(None if FILE.read_text() == text() else "Not up to date: run `python -m benchmarks.recorded`.")
    FILE.write_text(text())
