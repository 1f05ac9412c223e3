"""Every measurement, each in a process of its own, one after the other. Stops at the first that fails.

Timings are taken with memory kept: the C library's allocator maps blocks over 32 MB anew for every use, page by page,
which can cost more than the work. Here it keeps and reuses them, for every contender alike. W2, whose tensors are the
largest, is also measured as installed. Other options are passed on to the scripts. The network that `conversion`
converts is trained first, unless it is there.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**34), "MALLOC_TOP_PAD_": str(2**28)}
FRESH: dict[str, str] = {}
TRAINED = Path("runs/relu")
RUNS: tuple[tuple[str, dict[str, str], list[str]], ...] = (
    ("w1_linear_lif", KEPT, []),
    ("w2_lif", KEPT, []),
    ("w2_lif", FRESH, ["--suffix", "_fresh"]),
    ("w3_lsnn", KEPT, []),
    ("store_recall_update", KEPT, []),
    ("sparse", KEPT, []),
    ("parallel", KEPT, []),
    ("rate", KEPT, []),
    ("conversion", FRESH, [str(TRAINED)]),
    ("stdp", FRESH, []),
    ("hebbian", FRESH, []),
    ("concentration", KEPT, []),
    ("stories", FRESH, []),
    ("scaling", FRESH, []),
    ("length", KEPT, []),
    ("memory", FRESH, []),
    ("first_call", FRESH, []),
)


def prepare() -> None:
    """Train what `conversion` converts."""
    if not TRAINED.exists():
        command = [sys.executable, "-m", "spikeloom", "train", "mnist_rate", "--preset", "convert_relu"]
        if subprocess.run([*command, "--out", str(TRAINED)], check=False).returncode:
            sys.exit("The network for benchmarks.conversion was not trained. Its message stands above.")


def run(script: str, allocator: dict[str, str], arguments: list[str]) -> None:
    """One script; its peers' warnings are their own affair."""
    started = time.perf_counter()
    print(f"\n== {' '.join([script, *arguments])}", flush=True)
    command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{script}", *arguments, *sys.argv[1:]]
    done = subprocess.run(command, env={**os.environ, **allocator}, check=False)
    if done.returncode:
        sys.exit(f"benchmarks.{script} failed with exit status {done.returncode}")
    print(f"== {script} took {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    for script, allocator, arguments in RUNS:
        if str(TRAINED) in arguments:
            prepare()
        run(script, allocator, arguments)
