"""The command line: `spikeloom tasks | train | table | resume | evaluate | plot | report | compare | export | data`.

What may be called a task is what lies in `spikeloom/tasks`, or a Python file of your own with the same parts. Torch is
loaded only when a command needs it: help and the list of tasks come at once.
"""

import ast
import contextlib
import errno
import importlib.metadata
import io
import os
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

TASKS = Path(__file__).parent / "tasks"

COMMANDS = {
    "tasks": ("", "list the experiments"),
    "train": (
        "TASK [options]",
        (
            "train, evaluate, plot and report into a new run folder, whose name is the last line printed\n"
            "(`spikeloom train TASK --help` lists the options of a task)"
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
    "data": ("fetch NAME", "download a data set and check its files"),
}
"""Every command: what it takes, and what it does."""
OF_FOLDERS = ("resume", "evaluate", "plot", "report", "export")
OWN_TASK = """\
  --task FILE           the Python file of the run's task, where it is one of your own: such a file is code, so it runs
                        only if you name it
"""


def usage() -> str:
    """Return the list of all commands."""
    lines = ["usage: spikeloom COMMAND ...", "", "commands:"]
    for name, (takes, does) in COMMANDS.items():
        first, *rest = does.splitlines()
        lines += [f"  {f'{name} {takes}':<21} {first}", *(f"{'':<24}{line}" for line in rest)]
    lines += ["", "options:", "  -h, --help            this text; after a command, that of the command"]
    lines += ["  --version             the version of spikeloom"]
    lines += [f"after {', '.join(OF_FOLDERS)}:", f"{OWN_TASK}"]
    lines += ["several processes (the batch size is that of each): torchrun --nproc-per-node 2 -m spikeloom train TASK"]
    return "\n".join([*lines, ""])


def usage_of(name: str) -> str:
    """Return the help of one command."""
    takes, does = COMMANDS[name]
    options = f"\noptions:\n{OWN_TASK}" if name in OF_FOLDERS else ""
    return f"usage: spikeloom {name} {takes}".rstrip() + f"\n\n{does}\n{options}"


def version() -> str:
    """Return the version of the installed package."""
    try:
        return importlib.metadata.version("spikeloom")
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version: it is not installed"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status.

    0; 1 after an error with a message, 130 after Ctrl-C, 141 without a reader, 143 after SIGTERM.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    prepare_output()
    try:
        try:
            status = answer(arguments)
        except SystemExit:
            sys.stdout.flush()
            raise
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read the output has gone, as `head` does
        drop_output()
        return 141
    except OSError as error:
        if not is_of_output(error):
            raise
        drop_output()
        words = f"The output cannot be written: {error.strerror}. Free some space, or send it to another place."
        with contextlib.suppress(OSError):  # the complaint may have no place either
            print(" ".join([words, *getattr(error, "__notes__", [])]), file=sys.stderr, flush=True)
        return 1


def is_of_output(error: OSError) -> bool:
    """Whether the text that is printed cannot be written, as to a full disk; files of a run raise SpikeloomErrors."""
    return error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def drop_output() -> None:
    """Write what is still to be printed nowhere, or Python would complain once more when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def prepare_output() -> None:
    """Make sure that every text can be printed: to a closed stream, in ASCII, and in very few columns."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) < FEWEST_COLUMNS:
        os.environ["COLUMNS"] = str(FEWEST_COLUMNS)


FEWEST_COLUMNS = 40


def answer(arguments: list[str]) -> int:
    """Run one command, its errors as a message; the exit status."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return 0
    if arguments[0] == "--version":
        print(f"spikeloom {version()}")
        return 0
    try:
        run_command(arguments[0], arguments[1:])
    except (ValueError, RuntimeError) as error:
        from .errors import SpikeloomError

        if not isinstance(error, SpikeloomError):
            raise
        rank = os.environ.get("RANK", "0")
        print(f"{'' if rank == '0' else f'[rank {rank}] '}{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt as interrupt:
        print(f"Interrupted. {interrupt}".rstrip(), file=sys.stderr, flush=True)
        return 130
    except SystemExit as end:  # of SIGTERM, or the help of an option
        if (message := getattr(end, "message", None)) is None:
            raise
        if os.environ.get("RANK", "0") == "0":
            print(f"Terminated. {message}".rstrip(), file=sys.stderr, flush=True)
        return 143
    return 0


def run_command(name: str, arguments: list[str]) -> None:
    """Dispatch one command.

    Raises:
        ConfigError: there is no such command, or its arguments are wrong.
    """
    help_asked = "-h" in arguments or "--help" in arguments
    of_task = name in ("train", "table")
    if name in COMMANDS and help_asked and not (of_task and not arguments[0].startswith("-")):
        print(usage_of(name), end="")
        if of_task:
            print("\ntasks:")
            list_tasks()
    elif name == "tasks" and not arguments:
        list_tasks()
    else:
        from . import commands

        commands.run(name, arguments)


def list_tasks() -> None:
    """Print every task and what it is."""
    for task, summary in tasks().items():
        print(f"{task:<20} {summary}")


def tasks() -> dict[str, str]:
    """The name of every task and the first line of its docstring, read without importing it."""
    names = sorted(module.name for module in pkgutil.iter_modules([str(TASKS)]) if not module.name.startswith("_"))
    return {name: next(iter(docstring(TASKS / f"{name}.py").splitlines()), "") for name in names}


def docstring(path: Path) -> str:
    """The docstring of a module, without running it."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
