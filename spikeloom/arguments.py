"""Type checks of arguments: the error names the argument at the call, not where it fails inside.

Functions check the values of their arguments themselves; `explained` adds the check of types. A number, bool, str or
generator is checked against its annotation before the call, NumPy scalars like Python's. Any other wrong type, such as
a str in place of a tensor, makes the function fail somewhere inside with an unrelated message: only then are all
arguments compared with their annotations, and the one that does not fit is named. A call that succeeds pays only for
the first check.
"""

import functools
import inspect
import types
import typing
from collections.abc import Callable
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from .errors import ConfigError, DataError, ShapeError, SpikeloomError, unusual

F = TypeVar("F", bound=Callable[..., Any])
MEMORY = ("can't allocate", "alloc_cpu", "Unable to allocate", "Storage size calculation", "Maximum allowed dimension",
          "array is too big", "invalid dimensions", "numel: integer multiplication overflow")  # fmt: skip
"""Parts of the messages of torch and NumPy for sizes beyond the memory."""
KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    float: ((float, int), "a number"),
    int: ((int,), "a whole number"),
    bool: ((bool,), "True or False"),
    str: ((str,), "a text"),
    bytes: ((bytes,), "bytes"),
    torch.Generator: ((torch.Generator,), "a torch.Generator"),
    type(None): ((type(None),), "None"),
}
"""Annotations that are checked before a call: the types that fit, and their name in messages."""


def explained(thing: F) -> F:
    """Decorate a function or a class so that a call with an argument of the wrong type raises an error that names it.

    Raises:
        ConfigError: an argument does not have the type of its annotation, or a size needs more memory than there is.
            The original error is chained as its cause; unrelated errors pass unchanged.
        ShapeError: a tensor on the meta device where values are needed, or a sparse one, or one of a dtype that the
            function cannot compute with.
        DataError: a path is not usable.

    >>> @explained
    ... def half(value: float) -> float:
    ...     return value / 2
    >>> half("3")
    Traceback (most recent call last):
    spikeloom.errors.ConfigError: half needs value as a number, but got '3' (str). Convert it first.
    """
    if inspect.isclass(thing):
        made: Any = thing
        home = f"{made.__module__.rpartition('.')[2]}." if made.__name__ == "Options" else ""
        made.__init__ = _wrapped(made.__init__, home + made.__name__)
        return thing
    return typing.cast("F", _wrapped(thing, thing.__qualname__.rpartition("<locals>.")[2]))


def _wrapped(function: Callable[..., Any], owner: str) -> Callable[..., Any]:
    @functools.cache
    def kinds() -> tuple[list[Any], dict[str, Any]]:
        hints = typing.get_type_hints(function)
        named = {name: _kind(hints.get(name)) for name in inspect.signature(function).parameters}
        return list(named.items()), named

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return function(*args, **kwargs)
        ordered, named = kinds()
        try:
            for place, (value, (name, kind)) in enumerate(zip(args, ordered, strict=False)):
                if kind is not None and type(value) not in kind[0]:
                    args = (*args[:place], _usual(owner, name, value, *kind), *args[place + 1 :])
            for name, value in kwargs.items():
                kind = named.get(name)
                if kind is not None and type(value) not in kind[0]:
                    kwargs[name] = _usual(owner, name, value, *kind)
            return function(*args, **kwargs)
        except SpikeloomError as error:
            inner = error.argument  # set by a nested `explained` call: name the argument of this function instead
            if inner and inner[0] != owner and (better := _explanation(owner, function, args, kwargs, error)):
                raise better from error.__cause__
            raise
        except Exception as error:
            if better := _explanation(owner, function, args, kwargs, error):
                raise better from error
            raise

    return call


def _kind(annotation: Any) -> tuple[tuple[type, ...], str] | None:
    """Return the types that fit an annotation, and their name in messages; None if it is not checked before a call."""
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    parts = typing.get_args(annotation) if union else (annotation,)
    if not all(isinstance(part, type) and part in KINDS for part in parts):
        return None
    entries = [KINDS[part] for part in parts]
    return tuple(kind for fits, _ in entries for kind in fits), " or ".join(words for _, words in entries)


def _usual(owner: str, name: str, value: Any, fits: tuple[type, ...], words: str) -> Any:
    """Return a value converted to the type of its annotation; raise ConfigError if it is of another kind."""
    plain = value.item() if isinstance(value, np.generic) else value
    number = isinstance(plain, Real) and not isinstance(plain, bool)
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim == 0 and not getattr(value, "requires_grad", False):
        plain = value if isinstance(value, Tensor) and value.is_meta else value.item()
        number = isinstance(plain, (int, float)) and not isinstance(plain, bool)
    if number and float in fits:
        plain = float(plain)
    elif number and int in fits and plain % 1 == 0:
        plain = int(plain)
    elif bytes in fits and isinstance(value, (bytearray, memoryview)):
        plain = bytes(value)
    if (type(plain) is bool and bool not in fits) or not isinstance(plain, fits):
        raise _refusal(owner, name, value, words)
    return plain


def _refusal(owner: str, name: str, value: Any, words: str) -> ConfigError:
    shown = repr(value)
    shown = shown if len(shown) < 60 and "\n" not in shown else f"{shown.splitlines()[0][:50]}..."
    error = ConfigError(f"{owner} needs {name} as {words}, but got {shown} ({type(value).__name__}). Convert it first.")
    error.argument = owner, name
    return error


def _explanation(
    owner: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception
) -> SpikeloomError | None:
    """Return an error that names the argument at fault; None if there is none."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs).arguments
    except TypeError:  # an argument is missing or unknown: Python says so
        return None
    hints = typing.get_type_hints(function)
    for name, value in bound.items():
        if name in hints and not _fits(value, hints[name]):
            return _refusal(owner, name, value, _words(hints[name]))
    if isinstance(error, SpikeloomError):
        return None
    for name, value in bound.items():
        if isinstance(value, Tensor) and value.is_meta:
            return ShapeError(f"{owner} looks at the values of {name}, but one on meta has none. Pass it on the CPU.")
        if isinstance(value, Tensor) and (unusual(value) or (isinstance(error, NotImplementedError) and _short(value))):
            found = unusual(value) or value.dtype
            return ShapeError(
                f"{owner} needs {name} as a dense tensor of real numbers that torch computes with, but got {found}. "
                "Convert it with .to_dense() or .to(torch.float32)."
            )
        if isinstance(value, (str, Path)) and isinstance(error, (OSError, ValueError)) and _no_path(error):
            return DataError(f"{owner} cannot use {name}={str(value)!r}: {error}. Pass a path that can be one.")
    if isinstance(error, MemoryError) or any(words in str(error) for words in MEMORY):
        sizes = ", ".join(f"{name}={value:,}" for name, value in bound.items() if type(value) is int)
        return ConfigError(f"{owner} asks for more memory than there is, with {sizes}. Lower a size.")
    return None


def _short(value: Tensor) -> bool:
    """Return whether a tensor has a dtype that torch stores but does not support in all operations."""
    return value.dtype in (torch.uint16, torch.uint32, torch.uint64)


def _no_path(error: Exception) -> bool:
    return isinstance(error, (NotADirectoryError, FileExistsError)) or "embedded null" in str(error)


def _fits(value: Any, annotation: Any) -> bool:
    """Return whether a value fits an annotation; a bool is not a number, and an int has at most 64 bits."""
    from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

    if isinstance(value, bool) and not _allows(annotation, bool):
        return annotation is Any
    if type(value) is int and not -(2**63) <= value < 2**63:
        return False
    try:
        check_type(value, annotation, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
    except TypeCheckError:
        return False
    return True


def _allows(annotation: Any, kind: type) -> bool:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(_allows(part, kind) for part in typing.get_args(annotation))
    if typing.get_origin(annotation) is typing.Literal:
        return any(type(choice) is kind for choice in typing.get_args(annotation))
    return annotation in (kind, Any, object)


def _words(annotation: Any) -> str:
    """Return an annotation as source text."""
    if isinstance(annotation, TypeVar):
        return _words(annotation.__bound__)
    if inspect.isclass(annotation) and not typing.get_args(annotation):
        return annotation.__name__
    text = str(annotation)
    for prefix in ("typing.", "collections.abc.", "pathlib.", "torch."):
        text = text.replace(prefix, "")
    return text
