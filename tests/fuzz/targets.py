"""The targets of all modules of this package, and a child process that reads for one of them."""

import hashlib
import importlib
import json
import os
import pkgutil
import resource
import select
import subprocess
import sys
import traceback
import warnings
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from spikeloom.errors import SpikeloomError

from . import Target, broken

ROOT = Path(__file__).parents[2]
MEMORY = 1 << 30
"""Bytes that reading a file may take beyond what the process took before."""


class Outcome(NamedTuple):
    """What became of a file."""

    end: str  # "read", "refused", or what went wrong
    detail: str  # the digest of the content, the message of the error


def all_targets() -> list[Target]:
    """Those of every module of this package that has a list `TARGETS`."""
    found: list[Target] = []
    package = importlib.import_module(__package__)
    for module in sorted(module.name for module in pkgutil.iter_modules(package.__path__)):
        if not module.startswith(("__main__", "test_")):
            found += vars(importlib.import_module(f"{__package__}.{module}")).get("TARGETS", [])
    return found


class Reader:
    """A child process that reads files of any target, one after the other; started again after a crash."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def read(self, target: Target, path: Path) -> Outcome:
        """What becomes of a file."""
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.targets"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
            if self._answer(600.0) != "ready\n":
                raise RuntimeError(f"the reading process does not start: exit status {self._stop()}")
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([target.name, str(path)]) + "\n")
        self.process.stdin.flush()
        answer = self._answer(target.seconds)
        if answer is None:
            self._stop()
            return Outcome("no end", f"not read within {target.seconds:g} s")
        if not answer:
            return Outcome("crash", f"exit status {self._stop()}")
        return Outcome(*json.loads(answer))

    def _answer(self, seconds: float) -> str | None:
        assert self.process is not None
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        return self.process.stdout.readline() if ready else None

    def _stop(self) -> int | None:
        if self.process is None:
            return None
        process, self.process = self.process, None
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        return process.returncode


def outcome(target: Target, path: Path) -> Outcome:
    """What becomes of a file, read in this process."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # a cast or an overflow that numpy only warns of
            return Outcome("read", digest(target.read(path)))
    except SpikeloomError as error:
        return Outcome("refused", str(error))
    except MemoryError:
        return Outcome("unbounded memory", traceback.format_exc(limit=-4))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is a finding
        return Outcome("foreign exception", f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-4)}")


def digest(value: Any) -> str:
    """A hash of arrays, tensors, numbers, words, and what holds them."""
    parts = hashlib.sha256()

    def add(part: Any) -> None:
        parts.update(type(part).__name__.encode())
        if isinstance(part, torch.Tensor):
            add(part.detach().cpu().numpy())
        elif isinstance(part, np.ndarray):
            parts.update(repr((part.dtype.str, part.shape)).encode() + part.tobytes())
        elif is_dataclass(part) and not isinstance(part, type):
            add(asdict(part))
        elif isinstance(part, Mapping):
            add([(str(key), part[key]) for key in part])
        elif isinstance(part, list | tuple):
            parts.update(str(len(part)).encode())
            for inner in part:
                add(inner)
        else:
            parts.update(repr(part).encode())

    add(value)
    return parts.hexdigest()


def _serve() -> None:
    """Read the files that come on stdin, a line with target and path each; one line of JSON for each."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    known = {target.name: target for target in (*all_targets(), broken.TARGET)}
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        name, path = json.loads(line)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
        print(json.dumps(outcome(known[name], Path(path))), file=out, flush=True)


if __name__ == "__main__":
    _serve()
