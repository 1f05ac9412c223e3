"""The exceptions of spikeloom, as a tree, and the argument checks that all layers share.

    SpikeloomError
        ConfigError      an option, a preset, a combination of arguments
        ShapeError       a tensor of the wrong shape, dtype or device
        DataError        a data file that is missing, damaged or not what it says
        CheckpointError  a checkpoint that is missing, damaged or of another run
        ExportError      a model that a format cannot express
        TrainingError    a loss that is no longer a number

Each is also a ValueError or a RuntimeError, so code that knows nothing of spikeloom can catch it. A message
says what was expected, what came, where, and what to do.
"""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from torch import Tensor


class SpikeloomError(Exception):
    """Base class of all errors that spikeloom raises on purpose."""

    argument: tuple[str, str] | None = None
    """Function and argument at fault, if an argument does not have the type of its annotation."""


class ConfigError(SpikeloomError, ValueError):
    """An option or a combination of arguments cannot be used."""


class ShapeError(SpikeloomError, ValueError):
    """A tensor has the wrong shape, dtype or device."""


class DataError(SpikeloomError, RuntimeError):
    """A data file is missing, damaged, or not what its name says."""


class CheckpointError(SpikeloomError, RuntimeError):
    """A checkpoint is missing, damaged, or belongs to another run."""


class ExportError(SpikeloomError, RuntimeError):
    """A model cannot be expressed in the requested format."""


class TrainingError(SpikeloomError, RuntimeError):
    """Training cannot continue: a loss or a gradient is not a number."""


def as_number(owner: str, name: str, value: Any, needs: str, fits: Callable[[float], bool]) -> float:
    """Return an argument as a float; raise ConfigError unless it is one number (no bool, no str) that `fits`.

    >>> as_number("LIF", "refractory", 2, ">= 0 and finite", lambda x: 0 <= x < math.inf)
    2.0
    """
    scalar = isinstance(value, Tensor) and value.dim() == 0 and value.dtype is not torch.bool
    if not (scalar or (isinstance(value, Real) and not isinstance(value, bool))) or not fits(float(value)):
        raise ConfigError(f"{owner} needs {name} {needs}, but got {value!r}. Pass such a number.")
    return float(value)


def check_positive(owner: str, **values: Any) -> None:
    """Raise ConfigError unless every value is a finite number above zero."""
    for name, value in values.items():
        as_number(owner, name, value, "> 0 and finite", lambda x: 0.0 < x < math.inf)


def check_count(owner: str, least: int = 1, **values: Any) -> None:
    """Raise ConfigError unless every value is an integer of at least `least`."""
    for name, value in values.items():
        as_number(owner, name, value, f"as a whole number of at least {least}", lambda x: x >= least and x % 1 == 0)


def check_flag(owner: str, **values: Any) -> None:
    """Raise ConfigError unless every value is True or False."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise ConfigError(f"{owner} needs {name} True or False, but got {value!r}.")


def check_generator(owner: str, generator: Any) -> None:
    """Raise ConfigError unless `generator` is a torch.Generator or None."""
    if not (generator is None or isinstance(generator, torch.Generator)):
        raise ConfigError(
            f"{owner} needs generator as a torch.Generator or None, but got {generator!r}. Pass "
            "torch.Generator().manual_seed(0), for example."
        )


USUAL = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32,
         torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64)  # fmt: skip
"""Real dtypes that torch computes with."""


def unusual(xs: Tensor) -> str:
    """Return a description of a tensor that is not a dense tensor of real numbers; "" for one that is.

    >>> unusual(torch.eye(2)), unusual(torch.eye(2).to_sparse())
    ('', 'torch.float32 of layout torch.sparse_coo')
    """
    if xs.is_nested:
        return f"{xs.dtype} in a nested tensor"
    return "" if xs.dtype in USUAL and xs.layout is torch.strided else f"{xs.dtype} of layout {xs.layout}"


def check_dense(owner: str, xs: Tensor, name: str = "") -> None:
    """Raise ShapeError unless `xs` is a dense tensor of real numbers."""
    description = unusual(xs) if isinstance(xs, Tensor) else type(xs).__name__
    if description:
        raise ShapeError(
            f"{owner} needs {name}{' as ' * bool(name)}a dense tensor of real numbers, but got {description}. Convert "
            "it with torch.as_tensor, .to_dense() or .to(torch.float32)."
        )


def check_sequence(owner: str, xs: Tensor, features: int | None = None) -> None:
    """Raise ShapeError unless `xs` is a floating point sequence [T, B, *N] with at least one step."""
    expected = f"[T, B, {'*N' if features is None else features}]"
    if not isinstance(xs, Tensor):
        raise ShapeError(
            f"{owner} needs a tensor {expected}, but got {type(xs).__name__}. Convert it with torch.as_tensor."
        )
    if not xs.is_floating_point() and not xs.is_quantized:
        raise ShapeError(f"{owner} needs floating point input, but got {xs.dtype}. Call .float() on it first.")
    check_dense(owner, xs)
    if xs.dim() < 3 or xs.shape[0] == 0:
        raise ShapeError(
            f"{owner} needs input {expected}, time first, with T >= 1, but got {list(xs.shape)}. "
            "Add the missing dimension with unsqueeze, or use step() for a single slice."
        )
    if features is not None and xs.shape[-1] != features:
        raise ShapeError(
            f"{owner} has {features} inputs but got {list(xs.shape)}, whose last dimension is {xs.shape[-1]}. "
            f"Build it with n_in={xs.shape[-1]} or pass {expected}."
        )


def check_steps(owner: str, xs: Tensor) -> None:
    """Raise ShapeError unless `xs` is a tensor with at least one step."""
    if isinstance(xs, Tensor) and (xs.is_nested or xs.is_mkldnn):
        check_dense(owner, xs)
    if not isinstance(xs, Tensor) or xs.dim() == 0 or len(xs) == 0:
        actual = list(xs.shape) if isinstance(xs, Tensor) else type(xs).__name__
        raise ShapeError(
            f"{owner} needs input [T, B, *N], time first, with T >= 1, but got {actual}. Leave out empty sequences, or "
            "use step() for a single slice."
        )


def check_state(owner: str, state: Any, kind: type[Any], count: int = 0) -> None:
    """Raise ShapeError unless a state has the type that a layer returns: the NamedTuple `kind`, or `count` tensors."""
    fields = getattr(kind, "_fields", None)
    if type(state) is kind and (fields is not None or len(state) == count):
        return
    expected = f"a tuple of {count} tensors" if fields is None else f"a state {kind.__name__}({', '.join(fields)})"
    actual = type(state).__name__
    if isinstance(state, tuple):
        inside = getattr(state, "_fields", None)
        actual = f"a tuple of {len(state)}" if inside is None else f"{actual}({', '.join(inside)})"
    raise ShapeError(
        f"{owner} needs {expected}, but got {actual}. Pass state=None to start afresh, or the state that this layer "
        "returned."
    )


def check_like(owner: str, name: str, tensor: Tensor, shape: tuple[int, ...], like: Tensor) -> None:
    """Raise ShapeError unless the field `name` of a state has this shape and the dtype and device of `like`."""
    if not isinstance(tensor, Tensor):
        raise ShapeError(
            f"{owner} got a state whose {name} is {type(tensor).__name__}, not a tensor of shape {list(shape)}. Pass "
            "state=None to start afresh, or the state that this layer returned."
        )
    if tuple(tensor.shape) != shape:
        raise ShapeError(
            f"{owner} got a state whose {name} has shape {list(tensor.shape)}, but its input {list(like.shape)} needs "
            f"{list(shape)}. Pass state=None to start afresh, or the state of these samples."
        )
    check_type(owner, name, tensor, like)


def check_type(owner: str, name: str, tensor: Tensor, like: Tensor) -> None:
    """Raise ShapeError unless a tensor has the dtype and device of the input `like`."""
    if tensor.dtype != like.dtype or tensor.device != like.device:
        raise ShapeError(
            f"{owner} got input of {like.dtype} on {like.device} but {name} of {tensor.dtype} on {tensor.device}. "
            "Move one to the other with .to(dtype=..., device=...)."
        )
