"""Disk cache of machine code: compiled once, reused by later processes, and loaded only after a digest check.

There is one file per function and argument types, named by the hash of everything that its machine code depends on:
the source of the function's file, of the files it calls into and of everything in `kernels`, the constants it uses, the
types, the processor, the versions of Python and Numba and the options of Numba that change code. Damaged files are
compiled again, with a warning; if no file can be written, every process compiles for itself, after one warning.
"""

import hashlib
import linecache
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import config
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.dispatcher import Dispatcher
from numba.core.serialize import dumps

from . import kept
from .errors import ConfigError, DataError

_warned: list[str] = []
"""The warning that nothing can be cached, once it was given."""
COMPILING = "Compiling kernels for this network, once; later runs load them from a cache."
"""Sentence for the user who waits."""


class _Waiting:
    """Function that tells the user who waits, and whether it was called in this process."""

    tell: Callable[[str], None] | None = None
    told = False


@contextmanager
def announced(tell: Callable[[str], None]) -> Iterator[None]:
    """Call `tell` with one sentence before something is compiled in this context, once per process.

    Nothing is said if all that is needed is in the cache.
    """
    before, _Waiting.tell = _Waiting.tell, tell
    try:
        yield
    finally:
        _Waiting.tell = before


def _announce() -> None:
    if _Waiting.tell is not None and not _Waiting.told:
        _Waiting.told = True
        _Waiting.tell(COMPILING)


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator: `numba.njit` that releases the GIL and caches the machine code on disk.

    >>> @njit()
    ... def twice(x):
    ...     return 2 * x
    >>> twice(4)
    8
    """

    def decorate(function: Callable[..., Any]) -> Any:
        made = numba.njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True, **options)(function)  # no C calls it
        if not config.DISABLE_JIT:
            made._cache = _Kept(function, repr(sorted(options.items())))
        return made

    return decorate


class _Kept(NullCache):  # type: ignore[misc]
    """Numba's cache interface for one function: one file per overload (argument types)."""

    def __init__(self, function: Callable[..., Any], options: str) -> None:
        self.function, self.options = function, options

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the machine code for these types, or None."""
        target_context.refresh()
        content = load(self._name(sig, target_context.codegen()))
        return None if content is None else CompileResult._rebuild(target_context, *pickle.loads(content))

    def save_overload(self, sig: Any, result: Any) -> None:
        """Cache the machine code for these types, unless it contains addresses of this process."""
        if not result.lifted and not result.library.has_dynamic_globals:
            save(self._name(sig, result.codegen), dumps(result._reduce()))

    def _name(self, sig: Any, codegen: Any) -> str:
        code, function = self.function.__code__, self.function
        closed = tuple(cell.cell_contents for cell in function.__closure__ or ())
        text = repr((
            str(sig), codegen.magic_tuple(), self.options, code.co_firstlineno, dumps(closed) if closed else "",
            config.BOUNDSCHECK, config.OPT, config.DEBUGINFO_DEFAULT, config.LOOP_VECTORIZE, config.SLP_VECTORIZE,
        ))  # fmt: skip
        digest = hashlib.sha256((text + _source(function) + sources()).encode()).hexdigest()[:24]
        return f"{function.__module__.removeprefix('spikeloom.')}.{function.__name__}-{digest}.nbc"


def _source(function: Callable[..., Any], known: frozenset[str] = frozenset()) -> str:
    """Return the text of the function's file, the global constants it uses, and the files of the functions it calls."""
    code = function.__code__
    lines = "".join(linecache.getlines(code.co_filename, function.__globals__))
    used = {name: function.__globals__[name] for name in code.co_names if name in function.__globals__}
    text = lines + repr(
        {name: value for name, value in used.items() if isinstance(value, (bool, int, float, str, tuple))}
    )
    for callee in (value.py_func for value in used.values() if isinstance(value, Dispatcher)):
        if callee.__code__.co_filename not in known | {code.co_filename}:
            text += _source(callee, known | {code.co_filename})
    return text


@cache
def sources() -> str:
    """Return a digest of everything that turns an equation into machine code: `kernels/`, Python and Numba."""
    texts = [path.read_text() for path in sorted((Path(__file__).parent / "kernels").rglob("*.py"))]
    return hashlib.sha256("".join([numba.__version__, sys.version, *texts]).encode()).hexdigest()


def load(name: str) -> bytes | None:
    """Return the content of a file of the kernel cache; None if it is missing, damaged, or not to be trusted."""
    try:
        path = kept.folder("kernels") / name
        kept.check_trusted(path.parent)
        return kept.read(path)
    except DataError as error:
        warnings.warn(f"{error} It is made again.", stacklevel=2)
    except (OSError, ConfigError):
        pass  # `save` warns with the reason, if it fails, too
    _announce()
    return None


def save(name: str, content: bytes) -> Path | None:
    """Write a file to the kernel cache and return its path; if that fails, None, with a warning the first time."""
    try:
        path = kept.folder("kernels") / name
        kept.check_trusted(path.parent)
        kept.write(path, content)
        return path
    except OSError as error:
        why = f"cannot keep compiled kernels in {path.parent}: {error.strerror}. Set SPIKELOOM_CACHE to a folder you "
        why += "can write to"
    except ConfigError as error:
        why = str(error).removesuffix(".")
    if not _warned:
        _warned.append(why)
        warnings.warn(f"{why}; until then every process compiles them again.", stacklevel=2)
    return None
