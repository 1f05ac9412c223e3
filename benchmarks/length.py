"""Cost against the number of steps, up to 20,000: LIF neurons [T, 8, 512], forward and backward.

The exponent is the slope of log CPU time over log T: 1 is linear, 2 quadratic (what `x[t]` under autograd costs). Every
contender and length has a process of its own: at 330 MB a tensor, contenders that share a heap leave one another only
pieces, and what is timed is the mapping of fresh pages.
"""

import math
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch

from . import THREADS, contenders, measure, ours

LENGTHS = (1250, 2500, 5000, 10_000, 20_000)
BATCH, NEURONS = 8, 512
PEERS = ("plain", "SpikingJelly", "snnTorch", "Spyx")


def entrants(steps: int) -> list[measure.Contender]:
    """All contenders at one length."""
    work = contenders.current_work(steps, BATCH, NEURONS)
    found = [ours.lif(work), ours.lif(work, "lean"), contenders.plain_loop(work)]
    return found + [peer for peer in contenders.peers(work) if peer.name.startswith(PEERS)]


def alone(steps: int, name: str, rounds: int, seed: int) -> tuple[list[float], list[float], float | None]:
    """Wall and CPU milliseconds and activity of one contender, timed in this process."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(seed)
    contender = next(contender for contender in entrants(steps) if contender.name == name)
    (timing,) = measure.interleave([contender], rounds)
    return timing.wall_ms, timing.cpu_ms, timing.activity


def one(steps: int, rounds: int, only: list[str], seed: int) -> list[measure.Timing]:
    """All contenders at one length, each in a new process."""
    timings = []
    for contender in measure.wanted(entrants(2), only):
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            found = pool.submit(alone, steps, contender.name, rounds, seed).result()
        timings.append(measure.Timing(contender, *found))
    return timings


def exponents(lengths: list[int], runs: list[list[measure.Timing]]) -> dict[str, float]:
    """Slope of log time over log length per contender, from the median of its rounds."""
    slopes = {}
    for same in zip(*runs, strict=True):
        times = [math.log(measure.spread(timing.cpu_ms)["median"]) for timing in same]
        slopes[same[0].contender.name] = round(float(np.polyfit(np.log(lengths), times, 1)[0]), 3)
    return slopes


if __name__ == "__main__":
    options = measure.options(__doc__, rounds=5)
    lengths = [steps // options.scale for steps in LENGTHS]
    runs = [one(steps, options.rounds, options.only, options.seed) for steps in lengths]
    slopes = exponents(lengths, runs)
    works: list[dict[str, Any]] = [
        measure.workload(f"LIF [{steps}, {BATCH}, {NEURONS}]", {"T": steps, "B": BATCH, "n": NEURONS}, timings)
        for steps, timings in zip(lengths, runs, strict=True)
    ]
    works[-1]["exponents"] = slopes
    path = measure.save("length", __doc__, options, works)
    print("exponents", slopes)
