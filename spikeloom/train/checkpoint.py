"""Checkpoints: single files, written atomically, verified on reading, with equal bytes for equal contents.

    file = zip archive of torch.save | "spikeloom sha256 " | 64 hexadecimal digits of all preceding bytes

The hash is stored in the comment of the zip archive, so `torch.load(path, weights_only=True)` reads the file as well;
here it is read by `archive`, which checks the declared sizes before anything is built.
Before writing, every value is rebuilt (strings interned, tensors copied to the CPU): equal contents give equal files,
regardless of shared memory.
"""

import hashlib
import io
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from . import archive, files, moved

SEAL = b"spikeloom sha256 "
DIGITS = 64
REMEDY = (
    "Restore it from a copy; or, if checkpoints/best.pt is sound, copy that over last.pt and resume from there; "
    "or train again in a new folder."
)
LOST_BEST = "Restore it from a copy, or train again in a new folder: no other file holds what was best in this run."


def remedy(path: Path) -> str:
    """Return the advice for a checkpoint that cannot be used."""
    return LOST_BEST if path.name == "best.pt" else REMEDY


def save(path: Path, contents: dict[str, Any]) -> None:
    """Write `contents` to a checkpoint, replacing an existing file.

    Args:
        contents: tensors, numbers, strings and None, in dictionaries, lists and tuples.

    Raises:
        CheckpointError: the contents hold something else, or the file cannot be written.
    """
    data = seal(contents)
    files.write_atomic(path, lambda stream: stream.write(data))


def seal(contents: dict[str, Any]) -> bytes:
    """Return the bytes of a checkpoint file."""
    buffer = io.BytesIO()
    torch.save(canonical(contents), buffer)
    archive = buffer.getvalue()
    if archive[-22:-18] != b"PK\x05\x06":
        raise AssertionError("torch.save no longer ends its archive with an empty comment")
    sealed = archive[:-2] + (len(SEAL) + DIGITS).to_bytes(2, "little") + SEAL
    return sealed + hashlib.sha256(sealed).hexdigest().encode()


def load(path: Path) -> dict[str, Any]:
    """Load a checkpoint to the CPU.

    Raises:
        CheckpointError: the file is missing, damaged, or not a checkpoint of spikeloom.
    """
    try:
        with files.opened(path) as stream:
            ending = DIGITS + len(SEAL)
            stream.seek(-min(ending, os.fstat(stream.fileno()).st_size), os.SEEK_END)
            if not stream.read(ending).startswith(SEAL):
                raise CheckpointError(
                    f"{path} is cut short or was not written by spikeloom: its seal is missing. {remedy(path)}"
                )
            stream.seek(0)
            data = stream.read()
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} does not exist: this run has not saved it yet, or it was taken away. Train or resume the run, or "
            "put it back from a copy."
        ) from error
    except (OSError, MemoryError) as error:
        raise CheckpointError(f"{path} cannot be read: {files.reason(error)}. {remedy(path)}") from error
    if hashlib.sha256(memoryview(data)[:-DIGITS]).hexdigest().encode() != data[-DIGITS:]:
        raise CheckpointError(f"{path} is damaged: its SHA-256 does not match its seal. {remedy(path)}")
    try:
        contents = archive.read(data)
    except archive.ArchiveError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and numbers and is not opened: {error}. {remedy(path)}"
        ) from error
    if not isinstance(contents, dict):
        raise CheckpointError(f"{path} holds a {type(contents).__name__}, not a checkpoint. {remedy(path)}")
    return contents


def canonical(value: Any, where: str = "the checkpoint") -> Any:
    """Return a copy without shared references: equal values give equal bytes when pickled."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True).contiguous()
    if isinstance(value, str):
        return sys.intern(str(value))
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {canonical(key, where): canonical(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list):
        return [canonical(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, tuple):
        return tuple(canonical(item, f"{where}[{i}]") for i, item in enumerate(value))
    raise CheckpointError(
        f"{where} is a {type(value).__name__}, which a checkpoint cannot hold. Keep tensors, numbers, strings, None "
        "and dictionaries, lists and tuples of them in a state_dict."
    )


class Carry:
    """Container for tensors that persist between updates, such as the state of a network, and are saved in checkpoints.

    Attributes may hold tensors, numbers, strings, None, and tuples, NamedTuples, lists and dictionaries of them;
    the types are restored.

    >>> carry = Carry(state=None)
    >>> carry.state = (torch.ones(1), ())
    >>> again = Carry(state=None)
    >>> again.load_state_dict(carry.state_dict())
    >>> again.state
    (tensor([1.]), ())
    """

    def __init__(self, **values: Any) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._values:
            raise AttributeError(f"this Carry has no {name!r}")
        return self._values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        elif name in self._values:
            self._values[name] = value
        else:
            raise AttributeError(f"this Carry has no {name!r}; name it when you create it: Carry({name}=...)")

    def state_dict(self) -> dict[str, Any]:
        """Return the values; NamedTuples are encoded as class name and items."""
        return {name: _encode(value) for name, value in self._values.items()}

    def load_state_dict(self, state: dict[str, Any], device: torch.device | str | None = None) -> None:
        """Load the values of `state_dict()`, moved to `device` if given."""
        if state.keys() != self._values.keys():
            raise CheckpointError(
                f"a Carry of {', '.join(self._values)} cannot take the saved {', '.join(state)}. "
                "Resume with the version of the task that saved them, or train again."
            )
        self._values = {name: _decode(value, device) for name, value in state.items()}


def _encode(value: Any) -> Any:
    if isinstance(value, tuple):
        kind = type(value)
        name = "" if kind is tuple else f"{kind.__module__}:{kind.__qualname__}"
        return {"tuple": name, "items": [_encode(item) for item in value]}
    if isinstance(value, list):
        return [_encode(item) for item in value]
    if isinstance(value, dict):
        return {"dict": "", "items": {key: _encode(item) for key, item in value.items()}}
    return value


def _decode(value: Any, device: torch.device | str | None) -> Any:
    if isinstance(value, Tensor):
        return value.to(device) if device is not None else value.clone()
    if isinstance(value, list):
        return [_decode(item, device) for item in value]
    if isinstance(value, dict) and "dict" in value:
        return {key: _decode(item, device) for key, item in value["items"].items()}
    if isinstance(value, dict):
        items = [_decode(item, device) for item in value["items"]]
        return _named_tuple(value["tuple"])(*items) if value["tuple"] else tuple(items)
    return value


def _named_tuple(name: str) -> Any:
    """Return the NamedTuple class `module:qualname`, looked up among imported modules only."""
    module, _, path = moved.current(name).partition(":")
    value: Any = sys.modules.get(module)
    for name_part in path.split("."):
        value = getattr(value, name_part, None)
    if not (isinstance(value, type) and issubclass(value, tuple) and hasattr(value, "_fields")):
        raise CheckpointError(
            f"the checkpoint holds a {path} of {module}, which this program has not imported. "
            "Resume with the version of the task that saved it, or train again."
        )
    return value
