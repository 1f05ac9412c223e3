"""The command line: `spikeloom tasks | train | table | resume | evaluate | plot | report | compare | export | data`.

A task is a file of a paper (`spikeloom/papers/PAPER/NAME.py`), or a Python file of your own with the same parts. Torch
is loaded only when a command needs it: help and the list of tasks come at once.
"""

import contextlib
import os
import sys
from collections.abc import Sequence

from .help import COMMANDS, list_tasks, usage, usage_of, version
from .output import drop_output, is_of_output, prepare_output


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
