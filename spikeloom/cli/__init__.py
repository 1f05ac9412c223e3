"""The command line, `spikeloom COMMAND ...`; the commands are those of `help.COMMANDS`.

A task is a file of a paper (`spikeloom/papers/PAPER/NAME.py`), or a Python file of your own with the same attributes.
Torch is imported only when a command needs it: help and the list of tasks are immediate.
"""

import contextlib
import os
import sys
from collections.abc import Sequence

from .help import COMMANDS, list_tasks, usage, usage_of, version
from .output import drop_output, is_of_output, prepare_output


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status.

    0; 1 after an error message, 130 after Ctrl-C, 141 for a closed output pipe, 143 after SIGTERM.
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
    except BrokenPipeError:  # the reader of the output has exited, such as `head`
        drop_output()
        return 141
    except OSError as error:
        if not is_of_output(error):
            raise
        drop_output()
        words = f"The output cannot be written: {error.strerror}. Free some space, or send it to another place."
        with contextlib.suppress(OSError):  # stderr may be closed as well
            print(" ".join([words, *getattr(error, "__notes__", [])]), file=sys.stderr, flush=True)
        return 1


def answer(arguments: list[str]) -> int:
    """Run one command, print errors as messages, and return the exit status."""
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
    except SystemExit as end:  # from SIGTERM, or the help of an option
        if (message := getattr(end, "message", None)) is None:
            raise
        if os.environ.get("RANK", "0") == "0":
            print(f"Terminated. {message}".rstrip(), file=sys.stderr, flush=True)
        return 143
    return 0


def run_command(name: str, arguments: list[str]) -> None:
    """Dispatch one command.

    Raises:
        ConfigError: the command is unknown, or its arguments are wrong.
    """
    help_asked = "-h" in arguments or "--help" in arguments
    takes_task = name in ("train", "table")
    if name in COMMANDS and help_asked and not (takes_task and not arguments[0].startswith("-")):
        print(usage_of(name), end="")
        if takes_task:
            print("\ntasks:")
            list_tasks()
    elif name == "tasks":
        from .tasks import show

        show(arguments)
    else:
        from . import commands

        commands.run(name, arguments)
