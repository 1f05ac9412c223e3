"""Dispatch of the commands; the modules of the others are imported only where they are needed."""

from pathlib import Path

from ..errors import ConfigError
from .help import COMMANDS, tasks


def run(name: str, arguments: list[str]) -> None:
    """Run one command.

    Raises:
        ConfigError: the command is unknown, or its arguments are wrong.
    """
    if name == "train":
        if not arguments or arguments[0].startswith("-"):
            raise ConfigError(f"train needs a task first: spikeloom train TASK. There is: {', '.join(tasks())}.")
        from .train import train

        train(arguments[0], arguments[1:])
    elif name == "table":
        if not arguments or arguments[0].startswith("-"):
            raise ConfigError("table needs a task first: spikeloom table TASK [NAME], such as babi.")
        from .table import train_table

        train_table(arguments[0], arguments[1:])
    elif name == "new":
        from .new import new

        new(arguments)
    elif name == "data":
        from .data import run_data

        run_data(arguments)
    elif name == "compare":
        from .compare import compare

        compare(arguments)
    elif name == "export":
        from .export import export

        export(arguments)
    elif name in ("resume", "evaluate", "plot", "report"):
        run_in_folder(name, arguments)
    else:
        from ..train.config import choices

        raise ConfigError(f"There is no command {name!r}. {choices(name, COMMANDS)}")


def run_in_folder(name: str, arguments: list[str]) -> None:
    """Run a command whose first argument is the folder of a run, a series or a table."""
    from . import results
    from .options import take
    from .train import resume

    words, flags = take(f"spikeloom {name}", arguments, ("task",))
    if not words or words[0].startswith("-"):
        raise ConfigError(f"{name} needs the folder of a run first: spikeloom {name} DIR.")
    folder, file = Path(words[0]), flags.get("task")
    if words[1:]:
        results.check_options(name, folder, file, words[1:])
    commands = {"resume": resume, "evaluate": results.evaluate, "plot": results.plot, "report": results.report}
    commands[name](folder, file)
