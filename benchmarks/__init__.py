"""Measurements: one script per claim, each writing one file under `results/`; `tables` turns those into tables.

    python -m benchmarks.w1_linear_lif      one claim
    python -m benchmarks.run_all            all of them, each in a process of its own
    python -m benchmarks.tables             rewrite the tables of the README from the results

`SPIKELOOM_BENCH_THREADS` (default 1) says how many threads every contender may use. It must be settled before torch,
numba or jax are imported, and Python imports a package before its modules: so it is settled here, but only for a
process that was started to measure.
"""

import os
import sys
from typing import Final

THREADS: Final = int(os.environ.get("SPIKELOOM_BENCH_THREADS", "1"))


def _started_to_measure() -> bool:
    words = sys.orig_argv
    return "-m" in words and words[words.index("-m") + 1].startswith("benchmarks.")


if _started_to_measure():
    for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[_name] = str(THREADS)
    # jax has no setting for this: it takes as many threads as the process may use cores
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-THREADS:])
