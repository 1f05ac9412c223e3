"""W1: nn.Linear and LIF neurons over 500 steps, forward and backward: a layer costs little more than its products.

The floor is what a dense layer cannot do without: the product forward and that of the weight gradient, at the same
shapes. One input in ten fires, so synapses that only add what fired can pass below it; they are the contender "events".
"""

from argparse import Namespace

import torch

from . import contenders, measure, ours

BATCH, STEPS = 16, 500


def work(n: int, steps: int, given: Namespace) -> dict[str, object]:
    """One size."""
    job = contenders.linear_work(steps, BATCH, n)
    rows = steps * BATCH
    floor = measure.Contender("floor: two products", "torch.mm", measure.products((rows, n, n), (n, rows, n)))
    entrants = [ours.lif(job), ours.lif(job, "lean"), ours.events(job), contenders.plain_loop(job)]
    entrants += [*contenders.peers(job), floor]
    timings = measure.interleave(measure.wanted(entrants, given.only), given.rounds)
    title = f"Linear({n}, {n}) + LIF, B {BATCH}, T {steps}"
    return measure.workload(title, {"T": steps, "B": BATCH, "n": n, "dtype": "float32"}, timings)


if __name__ == "__main__":
    options = measure.options(__doc__, rounds=9, device=True)
    with torch.device(options.device):
        sizes = [work(n, STEPS // options.scale, options) for n in (512, 2048)]
    measure.save("w1_linear_lif", __doc__, options, sizes)
