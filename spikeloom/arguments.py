"""Arguments of another kind than their annotation says: named at the call, not where they fail inside.

A function checks the values it is given, and says what it expects. `explained` does what all functions share. A number,
a flag, a text or a generator is checked against its annotation when it enters, NumPy's scalars as Python's. What else
does not fit, such as a text in place of a tensor, fails somewhere inside, with a message about something else: then the
argument that does not fit is looked for and named. A call that succeeds pays only for the first.
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
"""How torch and NumPy say that a size is beyond the memory."""
KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    float: ((float, int), "a number"),
    int: ((int,), "a whole number"),
    bool: ((bool,), "True or False"),
    str: ((str,), "a text"),
    bytes: ((bytes,), "bytes"),
    torch.Generator: ((torch.Generator,), "a torch.Generator"),
    type(None): ((type(None),), "None"),
}
"""Annotations that are checked when a value enters: the types that fit, and the words of the message."""


def explained(thing: F) -> F:
    """Name the argument that does not fit its annotation when a function is called, or a class is made.

    Raises:
        ConfigError: an argument is of another kind than its annotation says, or a size asks for more memory than there
            is. An error that it caused is its cause; errors about anything else pass as they are.
        ShapeError: a tensor without values, on meta, where they are needed; or a sparse one, or of another kind that
            the function cannot compute with.
        DataError: a path cannot be one.

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
            inner = error.argument  # of a function that this one calls, with a name of its own
            if inner and inner[0] != owner and (told := _explanation(owner, function, args, kwargs, error)):
                raise told from error.__cause__
            raise
        except Exception as error:
            if told := _explanation(owner, function, args, kwargs, error):
                raise told from error
            raise

    return call


def _kind(annotation: Any) -> tuple[tuple[type, ...], str] | None:
    """Types that fit, and their words, of an annotation that is checked when it enters."""
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    parts = typing.get_args(annotation) if union else (annotation,)
    if not all(isinstance(part, type) and part in KINDS for part in parts):
        return None
    found = [KINDS[part] for part in parts]
    return tuple(kind for fits, _ in found for kind in fits), " or ".join(words for _, words in found)


def _usual(owner: str, name: str, value: Any, fits: tuple[type, ...], words: str) -> Any:
    """A value in the type that its annotation names; ConfigError if it is of another kind."""
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
    """Return the error that names the argument to blame; None if there is none."""
    try:
        given = inspect.signature(function).bind(*args, **kwargs).arguments
    except TypeError:  # an argument is missing or unknown: Python says so
        return None
    hints = typing.get_type_hints(function)
    for name, value in given.items():
        if name in hints and not _fits(value, hints[name]):
            return _refusal(owner, name, value, _words(hints[name]))
    if isinstance(error, SpikeloomError):
        return None
    for name, value in given.items():
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
        sizes = ", ".join(f"{name}={value:,}" for name, value in given.items() if type(value) is int)
        return ConfigError(f"{owner} asks for more memory than there is, with {sizes}. Lower a size.")
    return None


def _short(value: Tensor) -> bool:
    """Whether torch stores such numbers without having all operations for them."""
    return value.dtype in (torch.uint16, torch.uint32, torch.uint64)


def _no_path(error: Exception) -> bool:
    return isinstance(error, (NotADirectoryError, FileExistsError)) or "embedded null" in str(error)


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a value is what an annotation says; True and False are no numbers, and whole numbers have 64 bits."""
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
    """An annotation as one would write it."""
    if isinstance(annotation, TypeVar):
        return _words(annotation.__bound__)
    if inspect.isclass(annotation) and not typing.get_args(annotation):
        return annotation.__name__
    text = str(annotation)
    for prefix in ("typing.", "collections.abc.", "pathlib.", "torch."):
        text = text.replace(prefix, "")
    return text
