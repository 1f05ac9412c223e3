"""Task protocol, and task options as JSON, saved completely and read strictly.

    config.json   {"task": ..., "preset": ..., "seed": ..., "options": {every field of the task's Config}}

A missing or unknown key and a value of another type are errors, so that a run is never resumed with unintended options.
"""

import dataclasses
import difflib
import reprlib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, Union, get_args, get_origin, get_type_hints

from ..errors import ConfigError
from . import files, folders, moved
from .run import Run


class Task(Protocol):
    """Module of an experiment, or any object with these six attributes. Its docstring describes the experiment.

    `evaluate` returns the test values; a task with a success criterion reports it as `solved`, 0 or 1.
    A published value is `{name: {"value": ..., "source": ..., "note": ...}}`, named as in the test values;
    under another name its "of" names the test value to compare with.
    """

    @property
    def Config(self) -> type[Any]:
        """Frozen dataclass of the task's options; the docstring of a field is its help text."""

    @property
    def PRESETS(self) -> Mapping[str, Any]:
        """Named configurations, including `smoke`."""

    @property
    def PUBLISHED(self) -> Mapping[str, Mapping[str, Any]]:
        """Published values to compare with; may be empty."""

    @property
    def train(self) -> Callable[[Any, Run], None]:
        """Function `train(config, run)` that builds the parts and calls a training loop of `spikeloom.train`."""

    @property
    def evaluate(self) -> Callable[[Any, Run], dict[str, float]]:
        """Function `evaluate(config, run)` that returns the test values of the trained model."""

    @property
    def plot(self) -> Callable[[Any, Run], None]:
        """Function `plot(config, run)` that draws the figures with `run.figure`."""


def preset(task: Task, name: str, owner: str) -> Any:
    """Return the preset of a given name.

    Raises:
        ConfigError: there is no such preset.
    """
    if name not in task.PRESETS:
        raise ConfigError(f"{owner} has no preset {name!r}. {choices(name, task.PRESETS)}")
    return task.PRESETS[name]


def choices(name: str, available: Iterable[str]) -> str:
    """Return the end of an error message about a wrong name: the closest match, or all names."""
    names = list(available)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return f"{hint}There is: {', '.join(names)}." if names else "There is none."


def to_json(config: Any) -> dict[str, Any]:
    """Convert a dataclass to a dictionary, nested ones too.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Config:
    ...     sizes: tuple[int, ...] = (3, 4)
    >>> to_json(Config())
    {'sizes': [3, 4]}
    """
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value


def from_file(kind: type[Any], path: Path) -> Any:
    """Load a dataclass from a JSON file; return None if there is no such file.

    Raises:
        ConfigError: the file is not valid JSON, or does not match the dataclass.
    """
    try:
        values = files.read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except files.UNREADABLE as error:
        said = files.reason(error)
        said = said.removeprefix("it ") if said.startswith("it ") else f"cannot be read: {said}"
        raise ConfigError(f"{path} {said}. Correct it there.") from error
    return from_json(kind, values, str(path))


def from_json(cls: type[Any], values: Any, where: str) -> Any:
    """Build the dataclass `cls` from the output of `to_json`.

    Args:
        where: file and position, for error messages.

    Raises:
        ConfigError: a key is missing or unknown, or a value has the wrong type.
    """
    if not isinstance(values, dict):
        raise ConfigError(
            f"{where} must be an object with the fields of {cls.__name__}, but is {abbreviated(values)}. Correct it "
            "there."
        )
    hints = get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    values = moved.without_removed(values, names, where)
    check_keys(values, names, where)
    arguments = {name: _value(hints[name], values[name], f"{where}: {name}") for name in names}
    try:
        return cls(**arguments)
    except ConfigError as error:  # options that check themselves
        raise ConfigError(f"{where}: {error}") from None


def abbreviated(value: Any) -> str:
    """Return a short representation of a value for messages.

    >>> abbreviated("x" * 500)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'"
    """
    brief = reprlib.Repr()
    brief.maxstring = brief.maxother = brief.maxlong = 64
    return brief.repr(value)


def check_keys(values: Mapping[str, Any], names: list[str], where: str) -> None:
    """Raise ConfigError unless `values` has exactly these keys."""
    for key in values:
        if key not in names:
            near = choices(key[:64], names)
            raise ConfigError(f"{where} has an unknown key {abbreviated(key)}. {near} Correct or remove it.")
    missing = [name for name in names if name not in values]
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(map(repr, missing))}. Add what is missing.")


def _value(hint: Any, value: Any, where: str) -> Any:
    """Convert `value` to the annotated type `hint`; raise ConfigError if it does not match."""
    origin, inside = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is typing.Annotated:
        return _value(inside[0], value, where)
    if origin in (Union, types.UnionType):
        return _union(inside, value, where)
    if origin is Literal:
        if value in inside:
            return value
        if value == "made_up":  # a source of data of earlier versions
            raise ConfigError(f"{where} is {value!r}, but {moved.MADE_UP}")
        names = ", ".join(map(repr, inside))
        raise ConfigError(f"{where} must be one of {names}, but is {abbreviated(value)}. Correct the value.")
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast("type[Any]", hint), value, where)
    if origin in (tuple, list) and isinstance(value, list):
        kinds = inside[:1] * len(value) if origin is list or inside[-1] is Ellipsis else inside
        if len(kinds) != len(value):
            raise ConfigError(f"{where} must have {len(kinds)} items, but has {len(value)}.")
        pairs = enumerate(zip(kinds, value, strict=True))
        return origin(_value(kind, item, f"{where}[{i}]") for i, (kind, item) in pairs)
    if origin is dict and isinstance(value, dict):
        return {key: _value(inside[1], item, f"{where}[{key!r}]") for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ConfigError(f"{where} is {abbreviated(value)}, beyond any float. Correct the value.") from None
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is None or hint is type(None):
        hint = type(None)
    if isinstance(hint, type) and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    kind = "bool, true or false" if hint is bool else getattr(hint, "__name__", hint)
    raise ConfigError(f"{where} must be {kind}, but is {abbreviated(value)}. Correct the value.")


def _union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    for kind in kinds:
        try:
            return _value(kind, value, where)
        except ConfigError:
            continue
    names = " or ".join("None" if kind is type(None) else getattr(kind, "__name__", str(kind)) for kind in kinds)
    raise ConfigError(f"{where} must be {names}, but is {abbreviated(value)}. Correct the value.")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Content of config.json."""

    task: str
    preset: str
    seed: int
    options: dict[str, Any]


def read(folder: Path) -> RunConfig:
    """Read the config.json of a run folder; `from_json` checks its options once the task is known.

    Raises:
        ConfigError: the folder is not a run folder, or the file has a wrong key or value.
    """
    config: RunConfig | None = from_file(RunConfig, folder / "config.json")
    if config is None:
        raise folders.no_run(folder)
    return config
