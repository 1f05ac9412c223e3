"""report.html: one self-contained page about a run, made from its folder.

Whatever is not there yet is left out or said to be missing, so that a report can be made at any time.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from . import energy, sections
from .page import page, prose, section
from .sections import Folder

PICTURES = (".png", ".gif")


def render(folder: Path, description: str, preset: Mapping[str, Any]) -> str:
    """The page, as text.

    Args:
        folder: the run.
        description: what the experiment is: the docstring of the task.
        preset: the options of the preset, to show what differs from it.

    Raises:
        CheckpointError: a file of the run is not JSON.
    """
    run = read(folder)
    title, _, rest = description.strip().partition("\n")
    name = Path(run.config["task"]).stem
    parts = [
        sections.results(run),
        section("The experiment", prose(rest)) if rest.strip() else "",
        sections.learning(run),
        sections.pictures(run),
        sections.rates(run),
        sections.cost(run),
        sections.configuration(run, preset),
        sections.data(run),
        sections.environment(run),
        sections.regenerate(run, preset),
    ]
    return page(f"{name}: {title}", sections.header(run, name, title), [part for part in parts if part])


def read(folder: Path) -> Folder:
    """Read every file of a run that a report shows."""
    captions = _json(folder / "figures" / "captions.json") or {}
    activity = _json(folder / "activity.json")
    return Folder(
        path=folder,
        config=_json(folder / "config.json") or {"task": folder.name, "preset": "", "seed": "", "options": {}},
        environment=_json(folder / "environment.json") or {},
        result=_json(folder / "result.json"),
        activity=activity,
        costs=energy.costs(activity) if activity else [],
        metrics=_lines(folder / "metrics.jsonl"),
        figures={
            path: captions.get(path.stem, "")
            for path in sorted((folder / "figures").glob("*.*"))
            if path.suffix in PICTURES
        },
    )


def _json(path: Path) -> Any:
    if not path.exists():
        return None
    return _parse(path, path.read_text(encoding="utf-8"))


def _lines(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a file of JSON lines."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [_parse(path, line) for line in lines]


def _parse(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}. Remove it and evaluate or train again.") from error
