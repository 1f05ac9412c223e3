"""Every measurement, each in a process of its own, one after the other. Stops at the first that fails."""

import subprocess
import sys
import time

SCRIPTS = ("w1_linear_lif", "w2_lif", "w3_lsnn", "store_recall_update", "length", "memory", "first_call")

if __name__ == "__main__":
    for script in SCRIPTS:
        started = time.perf_counter()
        print(f"\n== {script}", flush=True)
        # peers warn of their own affairs
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", f"benchmarks.{script}", *sys.argv[1:]], check=False
        )
        if done.returncode:
            sys.exit(f"{script} failed with exit status {done.returncode}")
        print(f"== {script} took {time.perf_counter() - started:.0f} s", flush=True)
