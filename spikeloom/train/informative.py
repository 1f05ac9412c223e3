"""Informative files of a run, on which nothing depends: damaged ones are moved aside with a warning.

environment.json, result.json, activity.json, seconds.json and figures/captions.json are for people and reports.
digests.json has the digests of what evaluation wrote: numbers that were changed afterwards are not shown.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import files

DAMAGED = ".damaged"
"""Suffix of a file that was moved aside."""


def tidy(folder: Path) -> list[Path]:
    """Move damaged informative files of a run folder aside and warn; return those files.

    Raises:
        CheckpointError: a file cannot be moved.
    """
    moved = [folder / name for name in {**FILES, **_digests(folder)} if not sound(folder, name)]
    for path in moved:
        _move(path)
    return moved


def sound(folder: Path, name: str) -> bool:
    """Return whether an informative file is missing or valid: well-formed and as evaluation wrote it."""
    path = folder / name
    if not path.exists() and not path.is_symlink():
        return True
    try:
        fits = name not in FILES or FILES[name](files.read_json(path))
    except files.UNREADABLE:
        return False
    return fits and (name == DIGESTS or files.digest(path) == _digests(folder).get(name, files.digest(path)))


def _digests(folder: Path) -> dict[str, str]:
    """Return the recorded digests of the files that the last evaluation wrote."""
    path = folder / DIGESTS
    try:
        digests = files.read_json(path)
    except files.UNREADABLE:
        return {}
    return {name: text for name, text in digests.items() if Path(name).name == name} if is_texts(digests) else {}


def forget_digest(folder: Path, name: str) -> None:
    """Remove the digest of a file that is about to be written anew, so that no digest is ever that of an older file."""
    digests = _digests(folder)
    if digests.pop(name, None) is not None:
        files.write_json(folder / DIGESTS, digests)


def _move(path: Path) -> None:
    try:
        os.replace(path, path.with_name(path.name + DAMAGED))
    except OSError as error:
        raise files.cannot_write(path, error) from error
    files.warn(
        f"{path} is damaged and was moved to {path.name}{DAMAGED}. No training depends on it; `spikeloom evaluate` "
        "writes anew what it held of a test."
    )


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < math.inf


def _rate(value: Any) -> bool:
    return value is None or _number(value)


def is_environment(value: Any) -> bool:
    """Return whether a value is a valid environment.json."""
    return isinstance(value, dict) and _is_data(value.get("data", [])) and isinstance(value.get("resumed", []), list)


def _is_data(value: Any) -> bool:
    texts = ("file", "note", "sha256")
    return isinstance(value, list) and all(
        isinstance(entry, dict) and all(isinstance(entry.get(name), str) for name in texts) for entry in value
    )


def is_result(value: Any) -> bool:
    """Return whether a value is a valid result.json."""
    if not (isinstance(value, dict) and isinstance(value.get("test"), dict)):
        return False
    published = value.get("published", {})
    return (
        all(map(_number, value["test"].values()))
        and isinstance(published, dict)
        and all(isinstance(entry, dict) for entry in published.values())
        and all(isinstance(entry.get("value", ""), str) or _number(entry["value"]) for entry in published.values())
        and all(
            isinstance(text, str)
            for entry in published.values()
            for name in ("source", "note", "of")
            for text in [entry.get(name, "")]
        )
        and _number(value.get("seconds", 0.0))
    )


def is_activity(value: Any) -> bool:
    """Return whether a value is a valid activity.json; see `report.energy.costs`."""
    if not (isinstance(value, dict) and isinstance(value.get("layers"), list) and _is_data(value.get("data", []))):
        return False
    return all(_number(value.get(name)) for name in ("steps", "dt_ms")) and all(map(_is_layer, value["layers"]))


def _is_layer(layer: Any) -> bool:
    return (
        isinstance(layer, dict)
        and isinstance(layer.get("name"), str)
        and all(_number(layer.get(name)) for name in ("neurons", "synapses"))
        and all(name in layer and _rate(layer[name]) for name in ("rate_hz", "input_rate_hz"))
        and all(_number(layer.get(name, 0)) for name in ("inputs", "recurrent_synapses"))
        and not (layer.get("recurrent_synapses") and layer["rate_hz"] is None)
    )


def is_seconds(value: Any) -> bool:
    """Return whether a value is a valid seconds.json."""
    return isinstance(value, dict) and _number(value.get("training")) and value["training"] >= 0


def is_texts(value: Any) -> bool:
    """Return whether a value is a valid figures/captions.json or digests.json."""
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


RESULT, DIGESTS = "result.json", "digests.json"
FILES: dict[str, Callable[[Any], bool]] = {
    "environment.json": is_environment,
    RESULT: is_result,
    "activity.json": is_activity,
    "seconds.json": is_seconds,
    "figures/captions.json": is_texts,
    DIGESTS: is_texts,
}

__all__ = ["DIGESTS", "RESULT", "sound", "tidy"]
