"""Pieces of a kernel in threads: all are done, in forked and spawned processes too, and errors of any are raised."""

import multiprocessing
import time
from multiprocessing.queues import SimpleQueue
from typing import Any

import numpy as np
import pytest
import torch

from spikeloom.kernels.engines import threads

LARGE = 1_000_000


@pytest.fixture(autouse=True)
def _four_threads() -> None:
    torch.set_num_threads(4)


def mark(out: Any, failing: int, start: int, stop: int) -> None:
    """Count every element of a piece, and fail in the piece that starts at `failing`."""
    if start == failing:
        raise IndexError(f"piece {start}")
    time.sleep(0.05)
    out[start:stop] += 1


def pieces(queue: "SimpleQueue[Any] | None" = None) -> Any:
    torch.set_num_threads(4)
    out = np.zeros(103, np.int64)
    threads.run(mark, [out, -1], 103, LARGE, grain=2)
    if queue is not None:
        queue.put(out.tolist())
    return out.tolist()


def test_every_element_is_done_once() -> None:
    assert pieces() == [1] * 103
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("failing", [0, 26, 78])
def test_an_error_is_raised_after_the_other_pieces_are_done(failing: int) -> None:
    out = np.zeros(103, np.int64)
    with pytest.raises(IndexError, match=f"piece {failing}"):
        threads.run(mark, [out, failing], 103, LARGE)
    assert out.sum() == 103 - (25 if failing == 78 else 26)
    before = out.copy()
    time.sleep(0.1)
    assert np.array_equal(out, before)
    assert pieces() == [1] * 103  # and the threads go on


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_a_new_process_has_threads_of_its_own(method: str) -> None:
    pieces()  # the threads of this process are not copied by a fork
    context: Any = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    process = context.Process(target=pieces, args=(queue,))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    assert queue.get() == [1] * 103
