"""Cache on disk for spike trains and other arrays that are slow to compute, keyed by a hash of their inputs.

    $SPIKELOOM_CACHE/spikes/NAME-HASH.npz        (default: the user's cache folder)

A file is written completely and then renamed. It contains a hash of its content; a file that does not match is computed
again, with a warning. Files hold plain arrays and are never unpickled.
"""

import hashlib
import os
import uuid
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from .. import kept
from ..arguments import explained
from ..errors import ConfigError, DataError
from . import members
from .spike_trains import Array, SpikeTrains

ARRAYS = ("times", "units", "first", "labels", "speakers")
DAMAGE = (*members.DAMAGE, MemoryError, SyntaxError, TypeError, DataError)


def folder() -> Path:
    """Return the cache folder: in $SPIKELOOM_CACHE, or in the user's cache."""
    return kept.folder("spikes")


@explained
def stored(name: str, key: str, make: Callable[[], SpikeTrains], empty: bool = False) -> SpikeTrains:
    """Return the spike trains for a key, from the cache or from `make`; `empty` allows samples without events.

    Raises:
        ConfigError: the folder cannot be written.
        DataError: `make` returned invalid trains.
    """
    path = _path(name, key)
    if path.exists():
        try:
            return _read(path, empty)
        except DAMAGE as error:
            warnings.warn(f"{path} is damaged ({error}) and is made again.", stacklevel=3)
    trains = make().check(name, empty)
    _write(path, trains)
    return trains


@explained
def stored_arrays(name: str, key: str, make: Callable[[], Mapping[str, Array]]) -> dict[str, Array]:
    """Return the arrays for a key, by name, from the cache or from `make`.

    Raises:
        ConfigError: the folder cannot be written.
    """
    path = _path(name, key)
    if path.exists():
        try:
            with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
                found = {part: file[part] for part in file.files}
            if str(found.pop("digest")) != _digest_of(found):
                raise DataError(f"{path} does not agree with its hash.")
            return found
        except DAMAGE as error:
            warnings.warn(f"{path} is damaged ({error}) and is made again.", stacklevel=3)
    arrays = dict(make())
    _save(path, {**arrays, "digest": np.array(_digest_of(arrays))})
    return arrays


def _path(name: str, key: str) -> Path:
    return folder() / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"


def _digest_of(arrays: Mapping[str, Array]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(repr((name, array.dtype.str, array.shape)).encode() + array.tobytes())
    return digest.hexdigest()


def _digest(trains: SpikeTrains) -> str:
    digest = hashlib.sha256(repr((trains.channels, trains.classes)).encode())
    for name in ARRAYS:
        array = getattr(trains, name)
        digest.update(repr((name, array.dtype.str, array.shape)).encode() + array.tobytes())
    return digest.hexdigest()


def _read(path: Path, empty: bool) -> SpikeTrains:
    with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
        arrays = {name: file[name] for name in ARRAYS}
        trains = SpikeTrains(**arrays, channels=int(file["channels"]), classes=tuple(file["classes"].tolist()))
        if str(file["digest"]) != _digest(trains):
            raise DataError(f"{path} does not agree with its hash.")
    return trains.check(str(path), empty)


def _write(path: Path, trains: SpikeTrains) -> None:
    arrays = {name: getattr(trains, name) for name in ARRAYS}
    arrays |= {"channels": np.array(trains.channels), "classes": np.array(trains.classes)}
    _save(path, {**arrays, "digest": np.array(_digest(trains))})


def _save(path: Path, arrays: Mapping[str, Array]) -> None:
    temporary = path.with_name(f"{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                np.savez(file, allow_pickle=False, **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot write what was computed to {path.parent}: {error.strerror}. "
            "Set SPIKELOOM_CACHE to a folder you can write to."
        ) from error
