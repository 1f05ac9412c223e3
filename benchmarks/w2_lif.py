"""W2: LIF neurons alone, currents [500, 64, 1024], forward and backward: a neuron costs little more than its traffic.

The floor is 24 bytes read or written per element: forward the current, the spikes and the distance to threshold that
is kept; backward the gradient of the spikes, that distance and the gradient of the current.
"""

from . import contenders, measure, ours

STEPS, BATCH, NEURONS = 500, 64, 1024
BYTES = 24

if __name__ == "__main__":
    options = measure.options(__doc__, rounds=9)
    steps = STEPS // options.scale
    work = contenders.current_work(steps, BATCH, NEURONS)
    floor = measure.Contender("floor: 24 bytes per element", "copy", measure.traffic(BYTES * work.inputs.numel()))
    entrants = [ours.lif(work), ours.lif(work, "lean"), contenders.plain_loop(work), *contenders.peers(work), floor]
    timings = measure.interleave(measure.wanted(entrants, options.only), options.rounds)
    settings = {"T": steps, "B": BATCH, "n": NEURONS, "dtype": "float32"}
    done = measure.workload(f"LIF alone, [{steps}, {BATCH}, {NEURONS}]", settings, timings)
    measure.save("w2_lif", __doc__, options, [done])
