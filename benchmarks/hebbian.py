"""The Hebbian memory, forward and backward: the fused loop and the definition step by step in torch.

Items of 100 steps are written (160 inputs, 100 keys, 100 values) and one query of 100 steps is read with feedback; the
loss is the sum of the last 30 steps of value spikes. An encoder neuron spikes in 12 % of the steps. The definition is
measured in three rounds: it keeps the memory of every step. The size of the paper, 10 items of 512 samples, is ours
alone, in five processes with all cores, one after the other, which also say how much memory they took.

Floor: the products of the inputs with the weights, forward and backward, without the memory.

`--device cuda` measures both sizes on a GPU, in this process, by the wall clock with the device synchronised; the
definition only where it has room. There the floor is the same products, and a copy of as many bytes as the way back
moves to write the memory of every step and to read it again. Peaks are those of torch's allocator, inputs included.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikeloom import kernels
from spikeloom.layers.hebbian_memory.layer import HebbianRead, HebbianWrite

from . import THREADS, measure

STEPS, SIZE, INPUTS, QUERY, WINDOW, SHARE = 100, 100, 160, 80, 30, 0.12
SMALL, PAPER = (3, 64), (10, 512)
PROCESSES = 5
"""For the size of the paper: they differ by more than the updates of one."""


def update(items: int, batch: int, engine: str, device: str = "cpu") -> Callable[[], Tensor]:
    """Write, read, and go back."""
    draw = torch.Generator().manual_seed(0)
    write, read = HebbianWrite(INPUTS, SIZE, generator=draw), HebbianRead(QUERY, SIZE, generator=draw)
    xs = (torch.rand(items * STEPS, batch, INPUTS, generator=draw) < SHARE).float()
    asked = (torch.rand(STEPS, batch, QUERY, generator=draw) < SHARE).float()
    write, read, xs, asked = write.to(device), read.to(device), xs.to(device), asked.to(device)

    def run() -> Tensor:
        spikes: Tensor
        with kernels.use(engine):
            spikes, state = write(xs)
            found, _ = read(asked, read.begin(state.memory))
            torch.autograd.backward(found[-WINDOW:, :, SIZE:].sum())
        return spikes.detach()

    return run


def floor(items: int, batch: int) -> Callable[[], None]:
    """The products with the inputs, and those of the way back onto the weights."""
    rows = items * STEPS * batch
    return measure.products((rows, INPUTS, 2 * SIZE), (2 * SIZE, rows, INPUTS), (STEPS * batch, QUERY, SIZE))


def moved(items: int, batch: int) -> Callable[[], None]:
    """A copy of the memory of every step there and back, in ten parts."""
    part = measure.traffic(2 * 4 * items * STEPS * batch * SIZE * SIZE // 10)
    return measure.together(*[part] * 10)


def on_a_gpu(given: Any, items: int, batch: int) -> dict[str, Any]:
    """Ours, the definition if there are few samples, and the floor; what both take of the device's memory."""
    contenders = [measure.Contender(measure.OURS, "Triton", update(items, batch, "triton", given.device))]
    if (items, batch) == SMALL:
        step_by_step = update(items, batch, "torch", given.device)
        contenders.append(measure.Contender("definition", "torch, step by step", step_by_step, rounds=3))
    peaks = {}
    for contender in contenders:
        torch.cuda.reset_peak_memory_stats()
        contender.run()
        peaks[contender.name] = torch.cuda.max_memory_allocated() / 1e9
    with torch.device(given.device):
        bounds = measure.together(floor(items, batch), moved(items, batch))
    contenders.append(measure.Contender("floor", "products with the inputs, and the memory moved", bounds))
    timings = measure.interleave(measure.wanted(contenders, given.only), given.rounds)
    settings = {"device": given.device, "items": items, "batch": batch, "steps": STEPS, "size": SIZE}
    return measure.workload(f"{items} items, batch {batch}", settings, timings, peak_gigabytes=peaks)


def small(given: Any) -> dict[str, Any]:
    """Both, in turn."""
    contenders = [
        measure.Contender(measure.OURS, "fused", update(*SMALL, "numba")),
        measure.Contender("definition", "torch, step by step", update(*SMALL, "torch"), rounds=3),
        measure.Contender("floor", "products with the inputs", floor(*SMALL)),
    ]
    timings = measure.interleave(measure.wanted(contenders, given.only), given.rounds)
    settings = {"items": SMALL[0], "batch": SMALL[1], "steps": STEPS, "size": SIZE}
    return measure.workload("3 items, batch 64", settings, timings)


def paper() -> dict[str, Any]:
    """The size of the paper, in processes of its own, with all cores."""
    command, cores = [sys.executable, "-m", "benchmarks.hebbian", "--child"], range(os.cpu_count() or 1)
    rows = []
    for _ in range(PROCESSES):
        found = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent,
            env={**os.environ, "SPIKELOOM_BENCH_THREADS": str(len(cores))},
            preexec_fn=lambda: os.sched_setaffinity(0, cores),  # contenders of this process have one core
        )  # fmt: skip
        wall, cpu, gigabytes, threads = (float(word) for word in found.stdout.split())
        rows.append({"wall_s": wall, "cpu_s": cpu, "peak_gigabytes": gigabytes, "threads": threads})
    settings = {"items": PAPER[0], "batch": PAPER[1], "steps": STEPS, "size": SIZE}
    return {"name": "10 items, batch 512", "settings": settings, "rows": rows}


def child() -> None:
    """Median of three updates after one unmeasured: seconds, CPU seconds, peak of the process, threads."""
    torch.set_num_threads(THREADS)
    run, times = update(*PAPER, "numba"), []
    for _ in range(4):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = sorted(times[1:])[1]
    status = Path("/proc/self/status").read_text()  # ru_maxrss starts at that of the parent process
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]
    print(wall, cpu, int(peak) / 1e6, torch.get_num_threads())


if __name__ == "__main__":
    if "--child" in sys.argv:
        child()
    else:
        options = measure.options(__doc__, rounds=5, device=True)
        if options.device == "cpu":
            measure.save("hebbian", __doc__, options, [small(options), paper()])
        else:
            measure.save("hebbian", __doc__, options, [on_a_gpu(options, *size) for size in (SMALL, PAPER)])
