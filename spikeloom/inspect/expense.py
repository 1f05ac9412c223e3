"""Time and memory of an update, estimated from shorter sequences and measured.

    time(T) = a + b T,   memory(T) = c + d T

An update is a forward pass, the loss, a backward pass, and a step of Adam on copies of the parameters. Its time is the
shortest of a few, after one that compiles. Memory is the largest sum of all tensors that live at once beside those of
the network and the batch: on the CPU those that torch allocates (a compiled loop has little of its own), on a GPU what
its allocator says. Both lines go through updates of a quarter and of half of the steps (or, where a network takes
sequences of one length only, of the samples).
"""

import os
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .unchanged import output_of, tensors_in

LEAST = 8
"""Steps or samples below which nothing is extrapolated."""
REPEATS, PATIENCE = 5, 1.0
"""Largest number of timed updates of each length, and seconds after which no further one begins."""

Loss = Callable[[Any], Tensor]


class Estimate(NamedTuple):
    """Time and memory of an update, extrapolated from two parts of the batch."""

    seconds: float
    bytes: float
    parts: str  # the parts, in words


@dataclass(frozen=True)
class UpdateCost:
    """Measured time and memory of an update, with the estimate made before.

    Units: seconds, bytes.

    Args:
        seconds, bytes: measured.
        estimate: estimated from parts of the batch; None for a batch too small for that.

    >>> print(UpdateCost(0.042, 12.1e6, Estimate(0.040, 12e6, "25 and 50 of 100 steps")))
    One update takes 42 ms and 12.1 MB (measured); estimated from 25 and 50 of 100 steps: 40 ms and 12.0 MB.
    """

    seconds: float
    bytes: float
    estimate: Estimate | None = None

    def __str__(self) -> str:
        text = f"One update takes {duration(self.seconds)} and {size(self.bytes)} (measured)"
        if self.estimate is None:
            return f"{text}; the batch is too small for an estimate."
        seconds, count, parts = self.estimate
        return f"{text}; estimated from {parts}: {duration(seconds)} and {size(count)}."


def duration(seconds: float) -> str:
    """Return a time in words.

    >>> duration(0.0421), duration(3.0)
    ('42 ms', '3.0 s')
    """
    return f"{1000 * seconds:.{0 if seconds > 0.01 else 2}f} ms" if seconds < 1 else f"{seconds:.1f} s"


def size(count: float) -> str:
    """Return a number of bytes in words.

    >>> size(12e6), size(3.2e9)
    ('12.0 MB', '3.2 GB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count:,.0f} B"


class LiveTensors(TorchDispatchMode):
    """Sum of the bytes of the tensors that were made inside this block and are still alive, and its maximum.

    >>> with LiveTensors([]) as live:
    ...     kept = torch.zeros(100).add(1)
    >>> live.peak, live.now
    (800, 400)
    """

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tensors_in(out):
            self._count(tensor)
        return out

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            self._known.add(storage._cdata)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes()).atexit = False

    def _freed(self, address: int, count: int) -> None:
        self._known.discard(address)
        self.now -= count


def estimate(network: nn.Module, inputs: tuple[Any, ...], loss: Loss) -> Estimate | None:
    """Estimate an update from a quarter and half of the steps, or else of the samples; None if neither can be cut.

    Args:
        loss: a loss of parts of the batch, so it must take any output.
    """
    for dim in (0, 1):
        pieces = _pieces(inputs, dim)
        if not pieces:
            continue
        try:
            (seconds, count), (more_seconds, more) = (_cost(network, piece, loss) for piece, _, _ in pieces)
        except (RuntimeError, ValueError):  # a network that takes only sequences of this length
            continue
        (_, first, total), (_, second, _) = pieces
        share = (total - first) / (second - first)
        unit = "steps" if dim == 0 and max(x.dim() for x in inputs if isinstance(x, Tensor)) > 2 else "samples"
        return Estimate(
            seconds + (more_seconds - seconds) * share, count + (more - count) * share,
            f"{first} and {second} of {total} {unit}",
        )  # fmt: skip
    return None


def measured(network: nn.Module, inputs: tuple[Any, ...], loss: Loss, before: Estimate | None) -> UpdateCost:
    """Measure an update of the whole batch, beside its estimate."""
    return UpdateCost(*_cost(network, inputs, loss), before)


def available(network: nn.Module) -> float:
    """Return the free memory of the device of a network in bytes."""
    device = next((part.device for part in network.parameters()), torch.device("cpu"))
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # not Linux
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _pieces(inputs: tuple[Any, ...], dim: int) -> list[tuple[tuple[Any, ...], int, int]]:
    """Return a quarter and half of the inputs along a dimension, each with its length and that of the whole."""
    total = next((x.shape[dim] for x in inputs if isinstance(x, Tensor) and x.dim() > max(dim, 1)), 0)
    if total < LEAST:
        return []
    return [
        (tuple(x.narrow(dim, 0, length) if _long(x, dim, total) else x for x in inputs), length, total)
        for length in (total // 4, total // 2)
    ]


def _long(x: Any, dim: int, total: int) -> bool:
    return isinstance(x, Tensor) and x.dim() > dim and x.shape[dim] == total


def _cost(network: nn.Module, inputs: tuple[Any, ...], loss: Loss) -> tuple[float, float]:
    """Return the seconds and the bytes of an update."""
    learned = [part for part in network.parameters() if part.requires_grad]
    copies = [part.detach().clone().requires_grad_() for part in learned]
    optimizer = torch.optim.Adam(copies) if copies else None
    cuda = any(part.is_cuda for part in network.parameters())

    def update() -> None:
        value = loss(output_of(network(*inputs)))
        if optimizer is None or not value.requires_grad:
            return
        found = torch.autograd.grad(value, learned, allow_unused=True)
        for copy, gradient in zip(copies, found, strict=True):
            copy.grad = gradient
        optimizer.step()
        optimizer.zero_grad()
        if cuda:
            torch.cuda.synchronize()

    with torch.enable_grad():
        update()  # compiles, and makes the moments of Adam
        moments = float(sum(2 * part.nbytes for part in copies))
        if cuda:
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            update()
            used = float(torch.cuda.max_memory_allocated() - before)
        else:
            with LiveTensors([*network.parameters(), *network.buffers(), *tensors_in(inputs), *copies]) as live:
                update()
            used = float(live.peak)
        times, start = list[float](), time.perf_counter()
        while len(times) < REPEATS and (not times or time.perf_counter() - start < PATIENCE):
            began = time.perf_counter()
            update()
            times.append(time.perf_counter() - began)
    return min(times), used + moments
