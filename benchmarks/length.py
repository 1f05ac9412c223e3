"""Cost against the number of steps, up to 20,000: LIF neurons [T, 8, 512], forward and backward.

The exponent is the slope of log CPU time over log T: 1 is linear, 2 quadratic (what `x[t]` under autograd costs).
"""

import math
from typing import Any

import numpy as np

from . import contenders, measure, ours

LENGTHS = (1250, 2500, 5000, 10_000, 20_000)
BATCH, NEURONS = 8, 512
PEERS = ("plain", "SpikingJelly", "snnTorch", "Spyx")


def one(steps: int, rounds: int, only: list[str]) -> list[measure.Timing]:
    """All contenders at one length."""
    work = contenders.current_work(steps, BATCH, NEURONS)
    entrants = [ours.lif(work), ours.lif(work, "lean"), contenders.plain_loop(work)]
    entrants += [peer for peer in contenders.peers(work) if peer.name.startswith(PEERS)]
    return measure.interleave(measure.wanted(entrants, only), rounds)


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
    runs = [one(steps, options.rounds, options.only) for steps in lengths]
    slopes = exponents(lengths, runs)
    works: list[dict[str, Any]] = [
        measure.workload(f"LIF [{steps}, {BATCH}, {NEURONS}]", {"T": steps, "B": BATCH, "n": NEURONS}, timings)
        for steps, timings in zip(lengths, runs, strict=True)
    ]
    works[-1]["exponents"] = slopes
    path = measure.save("length", __doc__, options, works)
    print("exponents", slopes)
