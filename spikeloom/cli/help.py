"""Output of `spikeloom --help` and `spikeloom tasks`; does not import torch."""

import ast
import importlib.metadata
import shutil
import textwrap
from pathlib import Path

WIDTH = 80
"""Width of texts where there is no terminal, and at most."""

PAPERS = Path(__file__).parent.parent / "papers"
"""Folder of the tasks: a file PAPERS/PAPER/NAME.py with presets is the task NAME."""

COMMANDS = {
    "tasks": ("[TASK]", "list the experiments, or the presets of one: time, data, and what they reach"),
    "new": ("NAME", "write NAME.py, a small task of your own that is ready to train"),
    "train": (
        "TASK [options]",
        (
            "train, evaluate, plot and report into a new run folder, whose name is the last line printed\n"
            "(TASK: a name, or a Python file; `spikeloom train TASK --help` lists the options of a task)"
        ),
    ),
    "table": (
        "TASK [NAME]",
        (
            "train every configuration of one of the task's tables, with several seeds, and write the table\n"
            "(`spikeloom table TASK --help` lists the options)"
        ),
    ),
    "resume": ("DIR", "go on with a run that was interrupted, with several seeds of one, or with a table"),
    "evaluate": (
        "DIR",
        (
            "test the best checkpoint again and rewrite result.json\n"
            "(options belong to a run: given after DIR they must be those of the run)"
        ),
    ),
    "plot": ("DIR", "draw the figures again"),
    "report": ("DIR", "write report.html again; of an unfinished table, what there is"),
    "compare": (
        "DIR DIR ...",
        "options that differ, test values with their spread, curves in one page (--out FILE)",
    ),
    "export": ("DIR", "write the best checkpoint for other programs: --format nir (--out FILE)"),
    "data": (
        "list|fetch|check",
        (
            "list the data sets and which are present; download and verify one (fetch NAME);\n"
            "verify one, or all that are present (check [NAME])"
        ),
    ),
}
"""Arguments and description of every command."""
OF_FOLDERS = ("resume", "evaluate", "plot", "report", "export")
OWN_TASK = (
    "  --task FILE           the Python file of the run's task, where it is one of your own: such a file is code, so "
    "it runs only if you name it"
)
SEVERAL = "several processes (the batch size is that of each): torchrun --nproc-per-node 2 -m spikeloom train TASK"
COLUMN = 24
"""Where descriptions begin."""


def usage() -> str:
    """Return the list of all commands."""
    lines = ["usage: spikeloom COMMAND ...", "", "commands:"]
    for name, (takes, does) in COMMANDS.items():
        first, *rest = does.splitlines()
        lines += [fill(f"  {f'{name} {takes}':<21} {first}", hanging=COLUMN)]
        lines += [fill(line, COLUMN, COLUMN) for line in rest]
    lines += ["", "options:", "  -h, --help            this text; after a command, that of the command"]
    lines += ["  --version             the version of spikeloom"]
    lines += [f"after {', '.join(OF_FOLDERS)}:", fill(OWN_TASK, hanging=COLUMN), "", fill(SEVERAL)]
    return "\n".join([*lines, ""])


def usage_of(name: str) -> str:
    """Return the help of one command."""
    takes, does = COMMANDS[name]
    options = f"\noptions:\n{fill(OWN_TASK, hanging=COLUMN)}\n" if name in OF_FOLDERS else ""
    text = "\n".join(fill(line, hanging=0) for line in does.splitlines())
    return f"usage: spikeloom {name} {takes}".rstrip() + f"\n\n{text}\n{options}"


def version() -> str:
    """Return the version of the installed package."""
    try:
        return importlib.metadata.version("spikeloom")
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version: it is not installed"


def list_tasks() -> None:
    """Print the name and description of every task."""
    for task, summary in tasks().items():
        print(fill(f"{task:<17} {summary}", hanging=18))


def fill(text: str, indent: int = 0, hanging: int | None = None) -> str:
    """Wrap a text to the width of the terminal, at most WIDTH.

    Args:
        indent: spaces before the first line.
        hanging: spaces before the other lines; by default two more.
    """
    width = min(shutil.get_terminal_size((WIDTH, 24)).columns, WIDTH)
    others = " " * (indent + 2 if hanging is None else hanging)
    return textwrap.fill(text, width, initial_indent=" " * indent, subsequent_indent=others, break_on_hyphens=False)


def tasks() -> dict[str, str]:
    """Return the first line of the docstring of every task by name, read without importing it."""
    return {name: next(iter(docstring(path).splitlines()), "") for name, path in task_files().items()}


def task_files() -> dict[str, Path]:
    """Return the file of every task by name, sorted."""
    files = [path for path in PAPERS.glob("*/*.py") if "\nPRESETS = " in path.read_text(encoding="utf-8")]
    return {path.stem: path for path in sorted(files, key=lambda path: path.stem)}


def docstring(path: Path) -> str:
    """Return the docstring of a module, without importing it."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
