"""A kernel over a range, cut into one piece per thread.

Kernels release the interpreter's lock, so plain threads do: no second OpenMP runtime beside torch's, and nothing that
breaks when a process forks. The number of threads is torch's. No result depends on it.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import torch

_SMALL = 100_000
_pool: list[ThreadPoolExecutor] = []


def _forget() -> None:
    _pool.clear()


os.register_at_fork(after_in_child=_forget)


def run(kernel: Callable[..., None], arguments: list[Any], total: int, work: int, grain: int = 1) -> None:
    """Call kernel(*arguments, start, stop) so that all of range(total) is done; `work` is its size in element steps.

    An error of any piece is raised here, after the other pieces are done.
    """
    count = min(torch.get_num_threads(), -(-total // grain)) if work > _SMALL else 1
    if count == 1:
        kernel(*arguments, 0, total)
        return
    if not _pool:
        _pool.append(ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="spikeloom"))
    share = -(-total // (count * grain)) * grain
    starts = range(share, total, share)
    waiting = [_pool[0].submit(kernel, *arguments, start, min(start + share, total)) for start in starts]
    try:
        kernel(*arguments, 0, min(share, total))
    finally:
        wait(waiting)  # whatever happens: while one runs, it writes into these arrays
    for future in waiting:
        future.result()
