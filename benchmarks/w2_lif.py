"""W2: LIF neurons alone, currents [500, 64, 1024], forward and backward: a neuron costs little more than its traffic.

The floor is 24 bytes read or written per element: forward the current, the spikes and the distance to threshold that
is kept; backward the gradient of the spikes, that distance and the gradient of the current.
"""

from argparse import Namespace

import torch

from . import contenders, measure, ours

STEPS, SIZES = 500, {"cpu": [(64, 1024)], "cuda": [(64, 1024), (256, 4096)]}
BYTES = 24


def work(batch: int, neurons: int, given: Namespace) -> dict[str, object]:
    """One size."""
    steps = STEPS // given.scale
    job = contenders.current_work(steps, batch, neurons)
    floor = measure.Contender("floor: 24 bytes per element", "copy", measure.traffic(BYTES * job.inputs.numel()))
    entrants = [ours.lif(job), ours.lif(job, "lean"), contenders.plain_loop(job), *contenders.peers(job), floor]
    timings = measure.interleave(measure.wanted(entrants, given.only), given.rounds)
    settings = {"T": steps, "B": batch, "n": neurons, "dtype": "float32"}
    return measure.workload(f"LIF alone, [{steps}, {batch}, {neurons}]", settings, timings)


if __name__ == "__main__":
    options = measure.options(__doc__, rounds=9, device=True)
    with torch.device(options.device):
        works = [work(*size, options) for size in SIZES[options.device]]
    measure.save("w2_lif", __doc__, options, works)
