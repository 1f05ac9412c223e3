"""Command `new`: write a complete small task, to be changed."""

import keyword
import shlex
from pathlib import Path

from ..errors import ConfigError

TEMPLATE = Path(__file__).with_name("own_task.py")
"""File that is copied as it is: the example, and what docs/how-to/own-task.md explains."""


def new(arguments: list[str]) -> None:
    """Run `spikeloom new NAME`: write NAME.py and print what to do with it.

    Raises:
        ConfigError: the name is no name of a module, the file exists, or cannot be written.
    """
    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise ConfigError("new needs the name of one file to write: spikeloom new my_task.")
    path = Path(arguments[0])
    path = path if path.suffix == ".py" else path.with_name(f"{path.name}.py")
    if not path.stem.isidentifier() or keyword.iskeyword(path.stem):
        raise ConfigError(
            f"new writes a Python file, but {path.stem!r} is no name of a module. Use letters, digits and "
            "underscores, such as my_task."
        )
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE.read_text(encoding="utf-8"))
    except FileExistsError:
        raise ConfigError(f"{path} exists already, and would be lost. Choose another name.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}. Choose another place.") from error
    file_name = shlex.quote(str(path))
    print(f"{path} is a task, ready to train:")
    print(f"  spikeloom train {file_name} --preset smoke   # seconds: does everything run?")
    print(f"  spikeloom train {file_name}                  # under a minute")
    print(f"  spikeloom train {file_name} --help           # its options")
