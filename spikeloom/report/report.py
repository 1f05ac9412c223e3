"""report.html: one self-contained page about a run, made from its folder.

Missing parts are omitted or reported as missing, so that a report can be made at any time.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import sections
from .page import page, prose, section
from .read import read


def render(folder: Path, description: str, preset: Mapping[str, Any]) -> str:
    """Return the page as text.

    Args:
        folder: run folder.
        description: description of the experiment: the docstring of the task.
        preset: options of the preset, to highlight changed ones.

    Raises:
        ConfigError: config.json is damaged.
        CheckpointError: a file of the run is a link.
    """
    run = read(folder)
    title, _, rest = description.strip().partition("\n")
    name = Path(run.config["task"]).stem
    parts = [
        sections.left_out(run),
        sections.results(run),
        section("The experiment", prose(rest)) if rest.strip() else "",
        sections.learning(run),
        sections.pictures(run),
        sections.layers(run),
        sections.rates(run),
        sections.cost(run),
        sections.configuration(run, preset),
        sections.data(run),
        sections.environment(run),
        sections.regenerate(run, preset),
    ]
    return page(f"{name}: {title}", sections.header(run, name, title), [part for part in parts if part])
