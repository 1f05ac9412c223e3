"""Versions, machine and commit of a run, without host or user names."""

import importlib.metadata
import os
import platform
import subprocess
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("spikeloom", "torch", "numpy", "numba", "scipy", "sympy", "triton")
DECISIVE = ("python", "packages", "platform", "processor", "torch_threads", "device", "ranks", "commit")
"""Entries of environment.json that determine a result to the last bit."""


def describe(device: torch.device, world: int) -> dict[str, Any]:
    """Return the content of environment.json."""
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
    """Describe the device for messages about defaults that depend on the machine.

    >>> where(torch.device("cuda"))
    'on cuda'
    """
    return f"on {device}" if device.type != "cpu" else f"on the CPU with {torch.get_num_threads()} threads"


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Describe the changes that may affect the last bits of a result.

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


def _commit() -> tuple[str | None, bool | None]:
    """Return the commit of this package and whether there are uncommitted changes; None if unknown.

    A repository of another project around an installed or copied package is ignored.
    """
    package = Path(__file__).resolve().parents[1]
    root = _git(package, "rev-parse", "--show-toplevel")
    if root is None or Path(root).resolve() != package.parent or not _is_ours(package.parent):
        return None, None
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None
    status = _git(package, "status", "--porcelain", "--", ".")
    return _git(package, "rev-parse", "HEAD"), None if status is None else bool(status)


def _is_ours(root: Path) -> bool:
    """Return whether a folder is the root of the spikeloom project."""
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError):
        return False
    return isinstance(project, dict) and project.get("name") == "spikeloom"


def _git(folder: Path, *arguments: str) -> str | None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # GIT_DIR names another
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, env=own
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
