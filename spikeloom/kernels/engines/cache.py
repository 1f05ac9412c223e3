"""Disk cache of generated modules: written once, reused by later processes together with their machine code.

A module is named by the hash of all that its source depends on (the equation's text, the plan, the generators, the
version of Numba), so a hit needs neither SymPy nor a compiler. It is executed from its text, which carries a digest,
after it was entered in `sys.modules`. Everything also works without a disk: see `spikeloom.compiled`.
"""

import hashlib
import linecache
import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType

from ... import compiled
from ..plan import Plan
from ..program import slopes_of


@cache
def load(plan: Plan, write: Callable[[Plan], str]) -> ModuleType:
    """Return the module of the source that `write` generates for this plan."""
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
    digest = hashlib.sha256((text + repr(options) + compiled.sources()).encode()).hexdigest()[:24]
    name = f"spikeloom_{equation.name[:60]}_{digest}"
    return sys.modules[name] if name in sys.modules else _run(name, plan, write)


def _run(name: str, plan: Plan, write: Callable[[Plan], str]) -> ModuleType:
    content = compiled.load(f"{name}.py")
    if content is None:
        content = write(plan).encode()
        compiled.save(f"{name}.py", content)
    source, path = content.decode(), f"<{name}>"
    linecache.cache[path] = len(source), None, source.splitlines(keepends=True), path  # for Triton and tracebacks
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    try:
        exec(compile(source, path, "exec"), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module
