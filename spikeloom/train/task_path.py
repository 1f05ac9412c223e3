"""Task of a run folder that is a Python file of the user: its path as the folder records it.

    project/my_task.py
    project/runs/A/config.json          {"task": "../../my_task.py", ...}
    project/runs/B/seed0/config.json    {"task": "../../../my_task.py", ...}

The path is relative to the folder if both lie in the same project, so that the project can be moved or renamed, and
absolute otherwise, as in all folders of earlier versions. The project of a file is the nearest folder above it with
`pyproject.toml` or `.git`, or else the folder of the file. A name without `.py` is a task of the package.
"""

import os
from pathlib import Path

MARKS = ("pyproject.toml", ".git")
"""Files or folders that mark the root of a project."""


def is_file(task: str) -> bool:
    """Return whether a task is a Python file, not one of the package."""
    return task.endswith(".py")


def project(file: Path) -> Path:
    """Return the root of the project of a file."""
    marked = (folder for folder in file.parents if any(os.path.lexists(folder / mark) for mark in MARKS))
    return next(marked, file.parent)


def record(task: str, folder: Path) -> str:
    """Return a task as the new folder of a run, a series or a table records it.

    Args:
        task: name of a task, or a path as the user gave it.
    """
    if not is_file(task):
        return task
    file, place = Path(task).resolve(), folder.resolve()
    return os.path.relpath(file, place) if project(file) in place.parents else str(file)


def inside(task: str, depth: int = 1) -> str:
    """Return the record of a folder that lies `depth` levels below the one with the record `task`.

    >>> inside("../my_task.py"), inside("/a/my_task.py"), inside("shd")
    ('../../my_task.py', '/a/my_task.py', 'shd')
    """
    return "../" * depth + task if is_file(task) and not os.path.isabs(task) else task


def located(task: str, folder: Path) -> str:
    """Return the absolute path of a recorded file; the name of a task of the package as it is."""
    return os.path.normpath(folder.resolve() / task) if is_file(task) else task


def shown(task: str, folder: Path) -> str:
    """Return a recorded task as the user would name it: a file below the working directory by its relative path."""
    place, here = located(task, folder), os.path.realpath(os.curdir)
    return os.path.relpath(place, here) if is_file(task) and Path(here) in Path(place).parents else place
