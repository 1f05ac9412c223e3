"""Parallel execution of a kernel over a range, one piece per thread.

Kernels release the GIL, so ordinary Python threads suffice: no second OpenMP runtime beside torch's, and nothing that
breaks when a process forks. The number of threads is torch's; no result depends on it.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import torch

_SMALL = 100_000
"""Work in element steps up to which threads cost more than they save."""
_pool: list[ThreadPoolExecutor] = []


def _forget() -> None:
    """Drop the pool in a forked child, where its threads do not exist."""
    _pool.clear()


os.register_at_fork(after_in_child=_forget)


def run(kernel: Callable[..., None], arguments: list[Any], total: int, work: int, grain: int = 1) -> None:
    """Call kernel(*arguments, start, stop) on pieces that cover range(total), whose lengths are multiples of `grain`.

    `work` is the size of the whole in element steps. An error of any piece is raised after the other pieces are done.
    """
    count = min(torch.get_num_threads(), -(-total // grain)) if work > _SMALL else 1
    if count == 1:
        kernel(*arguments, 0, total)
        return
    if not _pool:
        _pool.append(ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="spikeloom"))
    piece = -(-total // (count * grain)) * grain
    starts = range(piece, total, piece)
    waiting = [_pool[0].submit(kernel, *arguments, start, min(start + piece, total)) for start in starts]
    try:
        kernel(*arguments, 0, min(piece, total))
    finally:
        wait(waiting)  # also after an error: a running thread still writes into these arrays
    for future in waiting:
        future.result()
