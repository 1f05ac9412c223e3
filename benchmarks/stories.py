"""A network that reads stories, forward and backward: cost by the statements of a story, and what padding would cost.

16 stories of 8 to 256 statements, 20 steps each, 50 keys and values: every length in a process of its own, for its peak
of memory (beyond what the process had taken before the first update). The exponents are slopes of log time and log
memory over log statements: 1 is linear. Then 64 stories of 2 to 68 statements, most of them short, as they are and
filled up with empty sentences in front, which gives the same answers. Then 13 stories with a question after each second
of ten statements (task 1 of bAbI), every story written once, and a copy of it for every question.
"""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikeloom.layers.hebbian_memory.layer import memory_neuron
from spikeloom.papers.hebbian_memory.networks import MemoryCore
from spikeloom.papers.hebbian_memory.stories import Sentences, StoryNetwork
from spikeloom.rules import Hebbian

from . import THREADS, measure

LENGTHS = (8, 16, 32, 64, 128, 256)
STORIES, STEPS, SIZE, WORDS, SLOTS, DT = 16, 20, 50, 40, 7, 5.0
MIXED = [2 + round(66 * (number / 63) ** 4) for number in range(64)]


def update(
    lengths: list[int], padded: bool = False, seed: int = 0, asked: tuple[int, ...] = (), copied: bool = False
) -> Callable[[], Tensor]:
    """Read stories of these lengths, ask, and go back; the activity of the write keys.

    Args:
        padded: all are made as long as the longest.
        asked: after how many statements each story is asked about; by default once, at its end.
        copied: each question has a copy of its story.
    """
    draw = torch.Generator().manual_seed(seed)
    neuron = memory_neuron(threshold=0.3, refractory=DT, dt=DT)
    core = MemoryCore(SIZE, SIZE, SIZE, neuron, Hebbian(dt=DT), steps=STEPS, window=STEPS, generator=draw)
    model = StoryNetwork(Sentences(WORDS, SLOTS, SIZE, input_gain=5.0, generator=draw), core, WORDS, generator=draw)
    stories = [torch.randint(1, WORDS + 1, (length, SLOTS), generator=draw) for length in lengths]
    query = torch.randint(1, WORDS + 1, (len(lengths), SLOTS), generator=draw)
    if padded:
        stories = [torch.cat([story.new_zeros(max(lengths) - len(story), SLOTS), story]) for story in stories]
    if asked:
        counts = torch.tensor(asked).repeat(len(stories))
        query = query.repeat_interleave(len(asked), 0)
    else:
        counts = torch.tensor([len(story) for story in stories])
    first = torch.tensor([0, *map(len, stories[:-1])]).cumsum(0).repeat_interleave(max(len(asked), 1))
    told = torch.cat(stories)
    if copied:
        told = torch.cat([told[a : a + n] for a, n in zip(first.tolist(), counts.tolist(), strict=True)])
        first = counts.cumsum(0) - counts
    shown = told, counts, query, first

    def run() -> Tensor:
        found = model(*shown)
        torch.autograd.backward(found.logits.square().sum())
        keys: Tensor = found.layers["write keys"]
        return keys.detach()

    return run


def status(name: str) -> float:
    """A size of this process [MB]; ru_maxrss would start at that of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) / 1e3


def alone(length: int, rounds: int, seed: int) -> dict[str, Any]:
    """One length, in this process."""
    torch.set_num_threads(THREADS)
    update([2] * 2, seed=seed)()  # the kernels are loaded
    run, before, times = update([length] * STORIES, seed=seed), status("VmRSS"), []
    for _ in range(rounds + 1):
        started = time.process_time()
        run()
        times.append(time.process_time() - started)
    return {
        "statements": length, "cpu_ms": measure.spread([1e3 * seconds for seconds in times[1:]]),
        "peak_megabytes": round(status("VmHWM") - before, 2),
    }  # fmt: skip


def by_length(given: Any) -> dict[str, Any]:
    """All lengths, each in a new process."""
    rows = []
    for length in LENGTHS:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            rows.append(pool.submit(alone, max(length // given.scale, 1), given.rounds, given.seed).result())
    logs = np.log([row["statements"] for row in rows])
    values = {"time": [row["cpu_ms"]["median"] for row in rows], "memory": [row["peak_megabytes"] for row in rows]}
    slopes = {name: round(float(np.polyfit(logs, np.log(of), 1)[0]), 3) for name, of in values.items() if min(of) > 0}
    settings = {"stories": STORIES, "steps": STEPS, "size": SIZE}
    return {"name": "stories of one length", "settings": settings, "rows": rows, "exponents": slopes}


def mixed(given: Any) -> dict[str, Any]:
    """Short and long ones together."""
    lengths = [max(length // given.scale, 1) for length in MIXED]
    contenders = [
        measure.Contender(measure.OURS, "as they are", update(lengths, seed=given.seed)),
        measure.Contender("padded", "empty sentences in front", update(lengths, padded=True, seed=given.seed)),
    ]
    timings = measure.interleave(measure.wanted(contenders, given.only), given.rounds)
    settings = {"stories": len(lengths), "mean": statistics.fmean(lengths), "longest": max(lengths), "steps": STEPS}
    return measure.workload("stories of 2 to 68 statements", settings, timings)


def shared(given: Any) -> dict[str, Any]:
    """Five questions about each story."""
    stories, asked = 13, tuple(max(count // given.scale, 1) for count in (2, 4, 6, 8, 10))
    contenders = [
        measure.Contender(measure.OURS, "each story once", update([asked[-1]] * stories, seed=given.seed, asked=asked)),
        measure.Contender(
            "copied", "a copy for every question",
            update([asked[-1]] * stories, seed=given.seed, asked=asked, copied=True),
        ),
    ]  # fmt: skip
    timings = measure.interleave(measure.wanted(contenders, given.only), given.rounds)
    settings = {"stories": stories, "asked_after": list(asked), "steps": STEPS}
    return measure.workload("five questions about each story", settings, timings)


if __name__ == "__main__":
    options = measure.options(__doc__, rounds=5)
    measure.save("stories", __doc__, options, [mixed(options), shared(options), by_length(options)])
