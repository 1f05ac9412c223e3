"""Contenders in one process, in turn, round after round; the floor measured in the same rounds.

Wall time swings on a shared machine, so every round also records CPU seconds (user + system, all threads of the
process), and two contenders are compared by the median over rounds of their ratio within a round.
"""

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch

from . import THREADS

RESULTS = Path(__file__).parent / "results"
OURS = "spikeloom"
PEERS = ("snntorch", "spikingjelly", "norse", "sinabs", "spyx")
PACKAGES = ("spikeloom", "torch", "numpy", "numba", "triton", *PEERS, "jax")


@dataclass(frozen=True)
class Contender:
    """Something to time: `run` does the whole of the work once and may return the spikes it made.

    `rounds` caps the measured rounds of a contender that takes too long for all of them. `forward`, where there is
    one, does the first half only and returns the spikes with their graph.
    """

    name: str
    mode: str
    run: Callable[[], Any]
    rounds: int | None = None
    forward: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Timing:
    """Milliseconds per round, and the share of spikes that were 1 (None if the contender returns none)."""

    contender: Contender
    wall_ms: list[float]
    cpu_ms: list[float]
    activity: float | None


def interleave(contenders: Sequence[Contender], rounds: int) -> list[Timing]:
    """Run every contender once unmeasured, then `rounds` times in turn, starting with another one each round."""
    wall: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    cpu: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    activity = {contender.name: _activity(contender.run()) for contender in contenders}
    for turn in range(rounds):
        shift = turn % len(contenders)
        for contender in [*contenders[shift:], *contenders[:shift]]:
            if contender.rounds is not None and turn >= contender.rounds:
                continue
            gc.collect()
            finish()
            started, spent = time.perf_counter(), time.process_time()
            contender.run()
            finish()
            cpu[contender.name].append((time.process_time() - spent) * 1e3)
            wall[contender.name].append((time.perf_counter() - started) * 1e3)
    return [Timing(c, wall[c.name], cpu[c.name], activity[c.name]) for c in contenders]


def finish() -> None:
    """Wait for the GPU, if this process uses one: its clock must not stop before its work."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()


def _activity(spikes: Any) -> float | None:
    return None if spikes is None else float(spikes.mean())


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, extremes and quartiles.

    >>> spread([3.0, 1.0, 2.0, 4.0])
    {'median': 2.5, 'min': 1.0, 'max': 4.0, 'q1': 1.75, 'q3': 3.25}
    """
    q1, _, q3 = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    summary = {"median": statistics.median(values), "min": min(values), "max": max(values), "q1": q1, "q3": q3}
    return {name: round(value, 4) for name, value in summary.items()}


def ratios(timings: Sequence[Timing], base: str, clock: Literal["cpu_ms", "wall_ms"] = "cpu_ms") -> dict[str, Any]:
    """How many times the time of `base` each contender took, compared within rounds."""
    of_base = next(getattr(timing, clock) for timing in timings if timing.contender.name == base)
    return {
        timing.contender.name: spread([a / b for a, b in zip(getattr(timing, clock), of_base, strict=False)])
        for timing in timings
    }


def workload(
    name: str, settings: dict[str, Any], timings: Sequence[Timing], base: str = OURS, **more: Any
) -> dict[str, Any]:
    """One table's worth of results, as it goes into the file."""
    known = any(timing.contender.name == base for timing in timings)
    relative, by_wall = (ratios(timings, base), ratios(timings, base, "wall_ms")) if known else ({}, {})
    rows = [
        {
            "name": timing.contender.name,
            "mode": timing.contender.mode,
            "wall_ms": spread(timing.wall_ms),
            "cpu_ms": spread(timing.cpu_ms),
            "cpu_relative": relative.get(timing.contender.name),
            "wall_relative": by_wall.get(timing.contender.name),
            "activity": timing.activity,
            "rounds": {"wall_ms": _rounded(timing.wall_ms), "cpu_ms": _rounded(timing.cpu_ms)},
        }
        for timing in timings
    ]
    return {"name": name, "settings": settings, "relative_to": base, "contenders": rows, **more}


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 3) for value in values]


def products(*shapes: tuple[int, int, int], steps: int = 1) -> Callable[[], None]:
    """Matrix products [m, k] x [k, n] into memory that is already there, `steps` times each: a dense floor."""
    jobs = [(torch.randn(m, k), torch.randn(k, n), torch.empty(m, n)) for m, k, n in shapes]

    def run() -> None:
        for left, right, out in jobs:
            for _ in range(steps):
                torch.mm(left, right, out=out)

    return run


def traffic(count: int) -> Callable[[], None]:
    """Read and write `count` bytes in all, from one touched buffer to another: a floor of streaming loops."""
    source = torch.ones(count // 8)
    target = torch.zeros_like(source)

    def run() -> None:
        target.copy_(source)

    return run


def together(*parts: Callable[[], Any]) -> Callable[[], None]:
    """All of them, one after the other, as one contender."""

    def run() -> None:
        for part in parts:
            part()

    return run


def machine() -> dict[str, Any]:
    """Return the kind of machine, without names."""
    info = Path("/proc/cpuinfo")
    models = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    tuned = {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")}
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "memory_gib": round(memory / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "threads": THREADS,
        "allocator": tuned or "as installed",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def versions() -> dict[str, str]:
    """Versions of us and of the peers that are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit measured; with `+changes` if the package or the benchmarks differ from it."""
    root = Path(__file__).parent.parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    changed = git("status", "--porcelain", "--", "spikeloom", "benchmarks/*.py")
    return git("rev-parse", "HEAD") + ("+changes" if changed else "")


def options(about: str | None, rounds: int, run: bool = False, device: bool = False) -> argparse.Namespace:
    """The options every script has; the folder of a run, for those that measure one; the device, for those that can."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    if run:
        parser.add_argument("run", type=Path, help="folder of the run to measure")
    if device:
        parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to measure")
    parser.add_argument("--rounds", type=int, default=rounds, help="measured rounds")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and inputs")
    parser.add_argument(
        "--only", nargs="*", default=[], metavar="NAME", help="contenders to run, by the start of the name"
    )
    parser.add_argument("--scale", type=int, default=1, help="divide the number of steps by this: a trial run")
    parser.add_argument("--suffix", default="", help="added to the name of the results file")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results file")
    given = parser.parse_args()
    if device and given.device != "cpu":
        given.suffix = given.suffix or f"-{given.device}"
    torch.set_num_threads(THREADS)
    torch.manual_seed(given.seed)
    return given


def wanted(contenders: Sequence[Contender], only: Sequence[str]) -> list[Contender]:
    """The contenders whose names start as asked, or all of them."""
    return [c for c in contenders if not only or any(c.name.startswith(start) for start in only)]


def save(name: str, about: str | None, given: argparse.Namespace, workloads: list[dict[str, Any]]) -> Path:
    """Print the numbers and write them, with what is needed to get them again, as `NAME.json`."""
    arguments = [word for word in sys.argv[1:] if not word.startswith(("/", "--out"))]
    document = {
        "name": name,
        "about": (about or "").strip().splitlines()[0],
        "command": " ".join(["python -m", f"benchmarks.{name}", *arguments]),
        "commit": commit(),
        "seed": given.seed,
        "rounds": given.rounds,
        "machine": machine(),
        "versions": versions(),
        "workloads": workloads,
    }
    for work in workloads:
        if "contenders" in work:
            show(work)
    given.out.mkdir(parents=True, exist_ok=True)
    path: Path = given.out / f"{name}{given.suffix}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"wrote {path}")
    return path


def show(work: dict[str, Any]) -> None:
    """One workload on the terminal; on a GPU only wall time says something."""
    clock = "wall" if torch.cuda.is_initialized() else "cpu"  # type: ignore[no-untyped-call]
    print(f"\n{work['name']}   (CPU ms: median, min-max; wall ms; {clock} time in times {work['relative_to']})")
    for row in work["contenders"]:
        cpu, relative = row["cpu_ms"], row[f"{clock}_relative"]
        times = f"{relative['median']:8.2f}x" if relative else " " * 9
        active = "" if row["activity"] is None else f"  {row['activity']:.2%} active"
        bounds = f"({cpu['min']:.0f}-{cpu['max']:.0f})"
        print(f"  {row['name']:34s}{cpu['median']:10.1f} {bounds:>16s} {row['wall_ms']['median']:10.1f}{times}{active}")
