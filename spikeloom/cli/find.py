"""Tasks by name: those of the papers, and Python files of the user."""

import dataclasses
import importlib
import importlib.util
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..train import table, task_path
from ..train.config import Task, choices
from .help import task_files, tasks
from .options import TrainOptions

PARTS = ("Config", "PRESETS", "PUBLISHED", "train", "evaluate", "plot")


def find_task(name: str) -> Task:
    """Return the task of a given name among the papers, or the one in the given Python file.

    Raises:
        ConfigError: there is no such task, or it lacks an attribute.
    """
    if not name.endswith(".py"):
        if name not in (files := task_files()):
            raise ConfigError(f"There is no task {name!r}. {choices(name, files)}")
        return importlib.import_module(f"spikeloom.papers.{files[name].parent.name}.{name}")
    if not Path(name).is_file():
        raise ConfigError(f"There is no file {name} with a task. Check the path, or name one of: {', '.join(tasks())}.")
    spec = importlib.util.spec_from_file_location(f"spikeloom_task_{Path(name).stem}", name)
    assert spec is not None, name
    assert spec.loader is not None, name
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    if (beside := str(Path(name).resolve().parent)) not in sys.path:
        sys.path.insert(0, beside)  # modules beside the task, as for a script
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ConfigError(f"{name} is no Python file: {error.msg} in line {error.lineno}. Correct it.") from error
    check_task(module, name)
    return module


def check_task(module: Any, name: str) -> None:
    """Raise ConfigError unless a module has the attributes of a task, with the right types."""
    if missing := [part for part in PARTS if part not in vars(module)]:
        raise ConfigError(f"{name} is not a task: it lacks {', '.join(missing)}. A task has {', '.join(PARTS)}.")

    def refuse(what: str) -> None:
        raise ConfigError(f"{name} is not a task: {what}. See docs/how-to/own-task.md.")

    if not (isinstance(module.Config, type) and dataclasses.is_dataclass(module.Config)):
        refuse("Config is no dataclass")
    fields = dataclasses.fields(module.Config)
    if bare := [
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]:
        refuse(f"Config needs a default for {', '.join(bare)}")
    if taken := sorted({field.name for field in fields} & {field.name for field in dataclasses.fields(TrainOptions)}):
        refuse(f"Config has fields named as options of every task: {', '.join(taken)}")
    presets = module.PRESETS
    if not (
        isinstance(presets, Mapping) and presets and all(isinstance(one, module.Config) for one in presets.values())
    ):
        refuse("PRESETS must hold at least one Config by name")
    if not (
        isinstance(module.PUBLISHED, Mapping) and all(isinstance(one, Mapping) for one in module.PUBLISHED.values())
    ):
        refuse('PUBLISHED must be empty or like {"accuracy": {"value": 0.9, "source": "...", "note": "..."}}')
    if wrong := [part for part in ("train", "evaluate", "plot") if not callable(getattr(module, part))]:
        refuse(f"{', '.join(wrong)} must be functions")
    data = getattr(module, "DATA", ())
    if not (isinstance(data, tuple) and all(isinstance(one, str) for one in data)):
        refuse('DATA must be the names of data sets, such as ("mnist",)')
    tables = getattr(module, "TABLES", {})
    if not (isinstance(tables, Mapping) and all(isinstance(one, table.Table) for one in tables.values())):
        refuse("TABLES must hold tables by name")


def task_of(folder: Path, recorded: str, own: str | None) -> Task:
    """Return the task of a run folder. A Python file is run only if the user names it as well.

    Args:
        recorded: task name recorded in the folder.
        own: file given by `--task`, if any.

    Raises:
        ConfigError: the folder records a file and the user gives none, or the other way round.
    """
    file = task_path.shown(recorded, folder)
    if own is None and task_path.is_file(recorded):
        gone = "" if os.path.isfile(file) else ", which is not there any more"
        name = "FILE, where it is now" if gone else shlex.quote(file)
        raise ConfigError(
            f"{folder} names a Python file as its task, {file}{gone}, and opening the folder would run it. If you "
            f"trust that file, name it: --task {name}."
        )
    if own is None:
        return find_task(recorded)
    if not task_path.is_file(recorded):
        raise ConfigError(f"{folder} is of spikeloom's task {recorded}, not of a file such as {own}. Leave out --task.")
    if not task_path.is_file(own):
        raise ConfigError(f"--task takes the Python file of the task of {folder}, {file}, but got {own}.")
    return find_task(own)
