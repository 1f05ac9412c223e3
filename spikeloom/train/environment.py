"""What a run was computed with: versions, machine, commit. No host or user names."""

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("spikeloom", "torch", "numpy", "numba", "scipy", "sympy", "triton")
DECISIVE = ("python", "packages", "platform", "processor", "torch_threads", "device", "ranks", "commit")
"""A resumed run is bit-identical if none of these changed."""


def describe(device: torch.device, world: int) -> dict[str, Any]:
    """The content of environment.json."""
    accelerator = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    commit, changed = _commit()
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "device": device.type,
        "accelerator": accelerator,
        "ranks": world,
        "commit": commit,
        "uncommitted_changes": changed,
    }


def where(device: torch.device) -> str:
    """What computes, in words: a choice that depends on the machine is told.

    >>> where(torch.device("cuda"))
    'on cuda'
    """
    return f"on {device}" if device.type != "cpu" else f"on the CPU with {torch.get_num_threads()} threads"


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What decides about the last bits of a result and has changed, in words.

    >>> differences({"python": "3.11.2"}, {"python": "3.12.0"})
    ['python was 3.11.2, is 3.12.0']
    """
    return [
        f"{name} was {before.get(name)}, is {now.get(name)}" for name in DECISIVE if before.get(name) != now.get(name)
    ]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> tuple[str | None, bool]:
    """The commit this package is checked out from and whether files differ from it; None if it is not in git."""
    here = Path(__file__).resolve().parents[1]
    if _git(here, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None, False
    return _git(here, "rev-parse", "HEAD"), bool(_git(here, "status", "--porcelain", "--", "."))


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
