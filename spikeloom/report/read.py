"""Safe reader of run folders, which may be damaged or made by someone else.

Only regular files in the folder are read, never through a link. A damaged informative file is omitted with a note, so
that the rest can still be shown.
"""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, ConfigError, DataError
from . import energy
from .sections import Folder

PICTURES = (".png", ".gif")
LARGEST = {".png": 2**26, ".gif": 2**26, ".json": 2**26, ".jsonl": 2**30}
"""Maximum size in bytes; larger files are omitted."""
DEPTH = 8
"""Maximum nesting depth of lists and objects."""
MADE_UP = (
    "This run of an earlier version used made-up data in place of the data set: its numbers say nothing about that, "
    "and are compared with nothing published."
)


class Damaged(Exception):
    """Raised for a file that is omitted; the message is the reason."""


def read(folder: Path) -> Folder:
    """Read all files of a run that a report shows.

    Raises:
        ConfigError: config.json is damaged, without which the run is unknown.
        CheckpointError: a file is a link, or not a regular file.
    """
    notes = list[str]()

    def informative(name: str, check: Callable[[Any], Any], default: Any) -> Any:
        try:
            value = _json(folder, name)
            return default if value is None else check(value)
        except Damaged as error:
            notes.append(f"{name} is left out: {error}.")
            return default

    config: dict[str, Any] = {"task": folder.name, "preset": "", "seed": "", "options": {}}
    try:
        value = _json(folder, "config.json")
        config = config if value is None else _config(value)
    except Damaged as error:
        raise ConfigError(f"{folder / 'config.json'} is damaged: {error}. Restore it from a copy.") from error
    made_up, options = _of_earlier(config)
    result = informative("result.json", _result, None)
    if made_up:
        notes.append(MADE_UP)
        result = result and {**result, "published": {}}
    activity, costs = informative("activity.json", _activity, (None, []))
    captions = informative("figures/captions.json", _captions, {})
    return Folder(
        path=folder,
        config={**config, "options": options},
        environment=informative("environment.json", _environment, {}),
        result=result,
        activity=activity,
        costs=costs,
        layers=informative("layers.json", _layers, None),
        metrics=_metrics(folder, notes),
        figures=_figures(folder, captions, notes),
        notes=notes,
    )


def _of_earlier(config: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
    """Return whether a run used the made-up data of earlier versions, and its options without that option if not."""
    options: dict[str, Any] = config["options"]
    if config["task"].endswith(".py"):  # a task of the user, with options of any name
        return False, options
    made_up = options.get("made_up") is True or "made_up" in options.values()
    return made_up, {name: value for name, value in options.items() if name != "made_up" or made_up}


def contents(folder: Path, name: str) -> bytes | None:
    """Return the bytes of a file in the folder, or None if it does not exist.

    Raises:
        CheckpointError: the file is a link, is behind one, or is not a regular file.
        Damaged: the file is too large, or cannot be read.
    """
    path = folder / name
    for entry in (path, *path.parents[: len(Path(name).parts) - 1]):
        if entry.is_symlink():
            raise CheckpointError(
                f"{entry} is a link. Only files that lie in the folder of a run are shown: replace it by a copy of the "
                "file, or remove it."
            )
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise CheckpointError(f"{path} is not a regular file. Remove it: a run writes none such.")
        most = LARGEST[path.suffix]
        if about.st_size > most:
            raise Damaged(f"it has {about.st_size:,} bytes, more than {most:,}")
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
            return stream.read(about.st_size)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Damaged(f"it cannot be read, {error.strerror}") from error


def _json(folder: Path, name: str) -> Any:
    data = contents(folder, name)
    return None if data is None else _parse(data)


def _parse(data: bytes) -> Any:
    try:
        value = json.loads(data.decode())
    except UnicodeDecodeError as error:
        raise Damaged("it is not text in UTF-8") from error
    except ValueError as error:
        raise Damaged(f"it is not JSON, {error}") from error
    except RecursionError as error:
        raise Damaged("it is nested too deeply") from error
    _check_depth(value, DEPTH)
    return value


def _check_depth(value: Any, left: int) -> None:
    if isinstance(value, dict | list):
        if not left:
            raise Damaged("it is nested too deeply")
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, left - 1)


def _number(value: Any) -> bool:
    """Return whether a value is a finite number of moderate size."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300


def _need(value: Any, kind: type[Any], where: str, *keys: str) -> None:
    """Raise Damaged unless a value has the given type and keys."""
    if not isinstance(value, kind):
        raise Damaged(f"{where} is {type(value).__name__}, not {kind.__name__}")
    if missing := [key for key in keys if key not in value]:
        raise Damaged(f"{where} lacks {', '.join(missing)}")


def _numbers(values: dict[str, Any], where: str, *keys: str) -> None:
    """Raise Damaged unless the given entries are numbers."""
    if wrong := [key for key in keys if not _number(values[key])]:
        raise Damaged(f"{wrong[0]} in {where} is no finite number")


def _config(value: Any) -> dict[str, Any]:
    _need(value, dict, "it", "task", "preset", "seed", "options")
    _need(value["options"], dict, "options")
    _need(value["task"], str, "task")
    _need(value["seed"], int, "seed")
    checked: dict[str, Any] = value
    return checked


def _environment(value: Any) -> dict[str, Any]:
    _need(value, dict, "it")
    for entry in _list(value, "data"):
        _data(entry)
    checked: dict[str, Any] = value
    return checked


def _list(value: dict[str, Any], key: str) -> list[Any]:
    items = value.get(key) or []
    _need(items, list, key)
    return list(items)


def _data(entry: Any) -> None:
    _need(entry, dict, "an entry of data", "file", "note", "sha256")


def _result(value: Any) -> dict[str, Any]:
    _need(value, dict, "it", "test", "published", "seconds")
    _need(value["test"], dict, "test")
    _numbers(value["test"], "test", *value["test"])
    _numbers(value, "it", "seconds")
    _need(value["published"], dict, "published")
    for name, entry in value["published"].items():
        _need(entry, dict, f"published {name}")
        _need(entry.get("of", name), str, f"of in published {name}")
    checked: dict[str, Any] = value
    return checked


def _activity(value: Any) -> tuple[dict[str, Any], list[energy.Cost]]:
    _need(value, dict, "it", "dt_ms", "steps", "layers")
    _numbers(value, "it", "dt_ms", "steps")
    _need(value["layers"], list, "layers")
    for layer in value["layers"]:
        _need(layer, dict, "a layer", "name", "neurons", "rate_hz", "input_rate_hz", "synapses")
        optional = [name for name in ("inputs", "recurrent_synapses") if name in layer]
        rates = [name for name in ("rate_hz", "input_rate_hz") if layer[name] is not None]
        _numbers(layer, "a layer", "neurons", "synapses", *optional, *rates)
        if layer.get("recurrent_synapses") and layer["rate_hz"] is None:
            raise Damaged("a layer has recurrent synapses but no rate")
    for entry in _list(value, "data"):
        _data(entry)
    try:
        return value, energy.costs(value)
    except DataError as error:
        raise Damaged(str(error)) from error


def _layers(value: Any) -> list[dict[str, Any]]:
    _need(value, dict, "it", "observed")
    observations = _list(value, "observed")
    for one in observations:
        _need(one, dict, "an observation", "update", "during", "layers")
        _numbers(one, "an observation", "update")
        for layer in _list(one, "layers"):
            _need(layer, dict, "a layer", "name", "neurons", "rate", "silent", "saturated")
            _numbers(layer, "a layer", "neurons", "rate", "silent", "saturated")
    return observations


def _captions(value: Any) -> dict[str, str]:
    _need(value, dict, "it")
    return {str(name): str(text) for name, text in value.items()}


def _metrics(folder: Path, notes: list[str]) -> list[dict[str, Any]]:
    """Return the complete lines of metrics.jsonl before the first damaged one."""
    metrics = list[dict[str, Any]]()
    try:
        lines = (contents(folder, "metrics.jsonl") or b"").split(b"\n")[:-1]
        for number, line in enumerate(lines, 1):
            try:
                value = _parse(line)
                _need(value, dict, "it", "update")
                _numbers(value, "it", "update")
            except Damaged as error:
                raise Damaged(f"line {number} is damaged, {error}") from error
            metrics.append({name: item for name, item in value.items() if _number(item)})
    except Damaged as error:
        notes.append(f"metrics.jsonl is left out from there: {error}." if metrics else f"metrics.jsonl: {error}.")
    return metrics


def _figures(folder: Path, captions: dict[str, str], notes: list[str]) -> dict[str, tuple[bytes, str]]:
    """Return bytes and caption of every figure by file name."""
    figures = dict[str, tuple[bytes, str]]()
    if (folder / "figures").is_symlink():
        contents(folder, "figures/any.png")
    for path in sorted((folder / "figures").glob("*.*")):
        if path.suffix in PICTURES:
            name = f"figures/{path.name}"
            try:
                data = contents(folder, name)
            except Damaged as error:
                notes.append(f"{name} is left out: {error}.")
                continue
            if data is not None:
                figures[path.name] = data, captions.get(path.stem, "")
    return figures
