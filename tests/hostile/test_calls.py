"""Every constructor, function, rule, encoder and reader: each argument in turn is what a stranger passes."""

import dataclasses
import math
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spikeloom.errors import SpikeloomError

from .calls import CALLS, DATA, NONE, Call, hostile, signature

TABLE = CALLS | DATA


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(autouse=True)
def _no_data(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKELOOM_DATA", str(here))


def parts(thing: Any) -> Iterator[Any]:
    """The tensors, arrays, numbers and texts of a result."""
    if isinstance(thing, (tuple, list)):
        for part in thing:
            yield from parts(part)
    elif isinstance(thing, dict):
        yield from parts(list(thing.items()))
    elif dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        yield from parts([getattr(thing, field.name) for field in dataclasses.fields(thing)])
    elif isinstance(thing, np.ndarray) and thing.dtype.kind in "OUS":
        yield from parts(thing.tolist())
    elif isinstance(thing, np.ndarray) and thing.dtype.names:
        yield from parts([thing[name] for name in thing.dtype.names])
    elif isinstance(thing, (Tensor, np.ndarray, np.generic, int, float, str, bytes)) or thing is None:
        yield thing


def differ(found: Any, wanted: Any) -> str:
    """How two results differ, in words; nothing if they do not."""
    one, other = list(parts(found)), list(parts(wanted))
    if len(one) != len(other):
        return f"{len(one)} parts instead of {len(other)}"
    for a, b in zip(one, other, strict=True):
        if any(isinstance(one, (str, bytes, int)) or one is None for one in (a, b)):
            if a != b:
                return f"{a!r} instead of {b!r}"
            continue
        x, y = (v.detach() if isinstance(v, Tensor) else torch.as_tensor(native(v)) for v in (a, b))
        if x.is_meta and x.shape == y.shape:
            continue
        if x.is_meta or x.shape != y.shape:
            return f"shape {list(x.shape)} on {x.device} instead of {list(y.shape)}"
        if x.is_complex() != y.is_complex():
            return f"{x.dtype} instead of {y.dtype}"
        x, y = x.double(), y.to(x.dtype).double()
        size = float(y[y.isfinite()].abs().max()) if bool(y.isfinite().any()) else 0.0
        if not torch.allclose(x, y, rtol=1e-4, atol=1e-5 * max(1.0, min(size, 1e300)), equal_nan=True):
            return f"{x.flatten()[:4].tolist()} instead of {y.flatten()[:4].tolist()}"
    return ""


def native(value: Any) -> Any:
    """An array in the byte order of this machine."""
    array = np.array(value)
    return array.astype({"u8": np.uint64, "i8": np.int64}.get(array.dtype.str[1:], array.dtype.newbyteorder("=")))


def has_nan(thing: Any) -> bool:
    for part in parts(thing):
        if isinstance(part, float) and math.isnan(part):
            return True
        array = part.detach().numpy() if isinstance(part, Tensor) and part.device.type == "cpu" else part
        if isinstance(array, np.ndarray) and array.dtype.kind == "f" and bool(np.isnan(array).any()):
            return True
    return False


def called(call: Call, arguments: dict[str, Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call.look(call.call(**arguments))


def attempt(call: Call, here: Path, name: str, value: Any) -> Any:
    """The result, or the error that was raised."""
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(120)
    try:
        return called(call, {**call.arguments(here), name: value})
    except Exception as error:  # noqa: BLE001 - the verdict is about what it is
        return error
    finally:
        signal.alarm(0)


def too_long(*_: Any) -> None:
    raise TimeoutError("takes longer than two minutes")


def judged(call: Call, here: Path, name: str, wrong: Any, clean: Any, valid: Any) -> str:
    """What is wrong with a cell, in words."""
    found = attempt(call, here, name, wrong)
    if isinstance(found, SpikeloomError):
        told = [str(part) for part in call.arguments(here).values() if isinstance(part, (str, Path)) and str(part)]
        option = f"--{name.replace('_', '-')}"  # of a class of options
        known = {name, option, call.call.__name__, call.call.__qualname__.split(".")[0], str(here), *told, *call.words}
        return "" if any(word in str(found) for word in known) else f"error does not name it: {found}"
    if isinstance(found, Exception):
        return f"{type(found).__name__}: {str(found)[:110]}"
    wanted = attempt(call, here, name, valid if clean is NONE else clean)
    if isinstance(wanted, SpikeloomError) and not isinstance(clean, (int, float)) and clean is not NONE:
        wanted = found  # float64 does not suit the model: there is nothing to compare with
    if isinstance(wanted, Exception):
        return f"accepted, but in its usual form: {type(wanted).__name__}"
    if has_nan(found) and not has_nan(wanted) and not has_nan(wrong):
        return "invents what is not a number"
    difference = differ(found, wanted)
    return f"accepted: {difference}" if difference and clean is NONE else difference


@pytest.mark.parametrize("key", TABLE)
def test_each_argument_is_understood_or_refused_by_name(key: str, here: Path) -> None:
    call, wrong = TABLE[key], []
    for name, (valid, annotation) in signature(call, here).items():
        for label, value, clean in hostile(valid, annotation):
            if name in call.long and isinstance(value, int) and value > 99:
                continue
            if complaint := judged(call, here, name, value, clean, valid):
                wrong.append(f"{name} = {label}: {complaint}")
    assert not wrong, f"{len(wrong)} cells\n" + "\n".join(wrong)
