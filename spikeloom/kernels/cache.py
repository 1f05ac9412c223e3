"""Generated modules on disk: written once, found by every later process, and their machine code with them.

A module is named by the hash of all that its source follows from (the equation's text, the plan, the generators, the
version of numba), so a hit needs neither SymPy nor a compiler. Numba keeps machine code beside a file that does not
change: a module is written atomically, never rewritten, and known to `sys.modules` before it runs.
"""

import hashlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

from ..errors import ConfigError
from .loop_numba import Plan
from .program import slopes_of


def folder() -> Path:
    """Where generated modules lie: $SPIKELOOM_CACHE, or the user's cache folder."""
    named = os.environ.get("SPIKELOOM_CACHE")
    base = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "spikeloom"
    return base / "kernels"


@cache
def _generators() -> str:
    """The text of all that turns a plan into a module, and into machine code."""
    import numba

    sources = sorted(Path(__file__).parent.glob("*.py"))
    return str(numba.__version__) + "".join(path.read_text() for path in sources)


@cache
def load(plan: Plan, write: Callable[[Plan], str]) -> ModuleType:
    """The module that `write` makes for this plan."""
    equation = plan.equation
    text = equation.text + slopes_of(plan.surrogate, plan.draws)
    options = (
        plan.detach_reset,
        plan.dtype,
        plan.refractory,
        plan.draws,
        plan.loop,
        plan.memory,
        plan.learns,
        sorted(plan.vectors),
        write.__module__,
    )
    name = (
        f"spikeloom_{equation.name}_{hashlib.sha256((text + repr(options) + _generators()).encode()).hexdigest()[:24]}"
    )
    path = folder() / f"{name}.py"
    if not path.exists():
        _write(path, write(plan))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _write(path: Path, source: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as file:
            file.write(source)
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, path)
    except OSError as error:
        raise ConfigError(
            f"cannot write the kernel cache {path.parent}: {error.strerror}. "
            "Set SPIKELOOM_CACHE to a folder you can write to."
        ) from error
