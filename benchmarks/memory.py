"""Bytes per step, sample and neuron: LIF neurons [10,000, 8, 512] in float32, forward and backward.

Each contender runs in a process of its own. `kept` is the growth of resident memory over the forward pass, less the
spikes it returned: what waits for the backward pass. `peak` is the highest resident memory of both passes above
what the inputs took, the gradient of the currents and the spikes included.
"""

import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from . import contenders, measure, ours

STEPS, BATCH, NEURONS = 10_000, 8, 512
MAKERS: dict[str, Callable[[contenders.Work], measure.Contender]] = {
    "spikeloom": ours.lif,
    "spikeloom, lean": lambda work: ours.lif(work, "lean"),
    "plain torch loop": contenders.plain_loop,
    "SpikingJelly": contenders.spikingjelly,
    "snnTorch, folded": lambda work: contenders.snntorch(work, folded=True),
    "Norse": contenders.norse,
}


def resident(field: str = "VmRSS") -> int:
    """Resident memory of this process in bytes, now or (VmHWM) at its highest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def settle() -> None:
    """Give free memory back, so that what is resident is in use."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)


def weigh(name: str, steps: int) -> dict[str, float]:
    """In a fresh process: one small run so that everything is loaded and compiled, then the measured one."""
    MAKERS[name](contenders.current_work(64, BATCH, NEURONS)).run()
    work = contenders.current_work(steps, BATCH, NEURONS)
    contender = MAKERS[name](work)
    assert contender.forward is not None
    count = work.inputs.numel()
    settle()
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest value
    before = resident()
    spikes = contender.forward()
    settle()
    kept = resident() - before - spikes.numel() * spikes.element_size()
    spikes.backward(work.grad)
    return {"kept": round(kept / count, 3), "peak": round((resident("VmHWM") - before) / count, 3)}


def in_own_process(name: str, steps: int) -> dict[str, float]:
    """`weigh` elsewhere."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.memory", "--weigh", name, str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    weighed: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return weighed


if __name__ == "__main__":
    if sys.argv[1:2] == ["--weigh"]:
        torch.set_num_threads(1)
        print(json.dumps(weigh(sys.argv[2], int(sys.argv[3]))))
        sys.exit()
    options = measure.options(__doc__, rounds=5)
    steps = STEPS // options.scale
    installed = {"SpikingJelly": "spikingjelly", "snnTorch, folded": "snntorch", "Norse": "norse"}
    found = measure.versions()
    names = [name for name in MAKERS if installed.get(name, "torch") in found]
    weights = {name: in_own_process(name, steps) for name in names}
    work = contenders.current_work(steps, BATCH, NEURONS)
    timings = measure.interleave([MAKERS[name](work) for name in names], options.rounds)
    settings = {"T": steps, "B": BATCH, "n": NEURONS, "dtype": "float32"}
    title = f"LIF [{steps}, {BATCH}, {NEURONS}]"
    done = measure.workload(title, settings, timings, bytes_per_element=weights)
    measure.save("memory", __doc__, options, [done])
    for name, weight in weights.items():
        print(
            f"  {name:34s} kept {weight['kept']:7.3f}   peak {weight['peak']:7.3f}   bytes per step, sample and neuron"
        )
