"""The command line: `spikeloom tasks | train | table | resume | evaluate | plot | report | compare | export | data`.

A task is a file of a paper (`spikeloom/papers/PAPER/NAME.py`), or a Python file of your own with the same parts. Torch
is loaded only when a command needs it: help and the list of tasks come at once.
"""

import io
import os
import sys
from collections.abc import Sequence

from .help import COMMANDS, list_tasks, usage, usage_of, version


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status.

    0; 1 after an error with a message, 130 after Ctrl-C, 141 without a reader, 143 after SIGTERM.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    prepare_output()
    try:
        try:
            return answer(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has gone, as `head` does
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # or Python would complain once more when it ends
        os.close(nowhere)
        return 141


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
        from ..errors import SpikeloomError

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
