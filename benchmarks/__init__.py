"""Measurements: one script per claim, each writing one file under `results/`; `tables` turns those into tables.

    python -m benchmarks.w1_linear_lif      one claim
    python -m benchmarks.run_all            all of them, each in a process of its own
    python -m benchmarks.tables             rewrite the tables of the README from the results

Importing this package sets the number of threads, so it must come before torch, numba or jax: it does, because
Python imports a package before its modules. `SPIKELOOM_BENCH_THREADS` (default 1) says how many.
"""

import os
from typing import Final

THREADS: Final = int(os.environ.setdefault("SPIKELOOM_BENCH_THREADS", "1"))

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = str(THREADS)
if THREADS == 1:
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
