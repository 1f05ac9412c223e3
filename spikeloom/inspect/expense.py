"""Time and memory of an update, estimated from shorter sequences and measured.

    time(T) = a + b T,   memory(T) = c + d T

An update is a forward pass, the loss, a backward pass, and a step of Adam on copies of the parameters. Its time is the
median of a few, after one that compiles. Memory is the largest sum of all tensors that live at once beside those of
the network and the batch: on the CPU those that torch allocates (a compiled loop has little of its own), on a GPU what
its allocator says. The lines go through updates of a quarter and half of the steps, as long as it is not known whether
a whole update fits, then of half and three quarters (or, where a network takes sequences of one length only, of the
samples).
"""

import os
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .unchanged import output_of, tensors_in

BEFORE, BESIDE = (0.25, 0.5), (0.5, 0.75)
"""BatchParts of the batch for the estimate before a whole update, which may not fit, and for the one beside it."""
LEAST = 8
"""Steps or samples below which nothing is extrapolated."""
REPEATS, PATIENCE = 15, 2.0
"""Largest number of timed updates of each length, and seconds after which no further turn begins."""

Loss = Callable[[Any], Tensor]


class Estimate(NamedTuple):
    """Time and memory of an update, extrapolated from two parts of the batch."""

    seconds: float
    bytes: float
    parts: str  # the parts, in words
    dim: int = 0  # dimension along which the batch was cut


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
        seconds, count, parts, _ = self.estimate
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


class LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sum of the bytes of the tensors that were made inside this block and are still alive, and its maximum.

    >>> with LiveTensors([]) as live:
    ...     kept = torch.zeros(100).add(1)
    >>> live.peak, live.now
    (800, 400)
    """

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = self.before = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tensors_in(out):
            self._count(tensor)
        return out

    def mark(self) -> None:
        """Begin anew with the maximum, which is kept in `before`."""
        self.before, self.peak = self.peak, self.now

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
        try:
            parts = _parts(network, inputs, loss, dim, BEFORE)
        except (RuntimeError, ValueError):  # a network that takes only sequences of this length
            continue
        if parts is not None:
            return parts.estimate(typical_times(parts.updates))
    return None


def measured(
    network: nn.Module, inputs: tuple[Any, ...], loss: Loss, stand_in: Loss, before: Estimate | None
) -> UpdateCost:
    """Measure an update of the whole batch, in turns with half and three quarters of it, from which it is estimated.

    Args:
        loss: loss of the whole batch.
        stand_in: loss of parts of the batch, as in `estimate`.
        before: what `estimate` said: along which dimension the batch can be cut.
    """
    whole = Update(network, inputs, loss)
    parts = None if before is None else _parts(network, inputs, stand_in, before.dim, BESIDE)
    if parts is None:
        return UpdateCost(typical_times([whole])[0], max(whole.bytes()))
    *seconds, spent = typical_times([*parts.updates, whole])
    return UpdateCost(spent, max(whole.bytes()), parts.estimate(seconds))


class BatchParts(NamedTuple):
    """Updates of parts of a batch."""

    updates: list["Update"]
    lengths: list[int]
    total: int
    unit: str
    dim: int

    def estimate(self, seconds: list[float]) -> Estimate:
        """Extrapolate times, and the memory of both phases of an update, to the whole batch."""
        phases = zip(*(update.bytes() for update in self.updates), strict=True)
        count = max(self._line(list(values)) for values in phases)
        first, second = self.lengths
        return Estimate(self._line(seconds), count, f"{first} and {second} of {self.total} {self.unit}", self.dim)

    def _line(self, values: list[float]) -> float:
        """Return the value for the whole batch on the line through those of the parts."""
        (low, high), (first, second) = values, self.lengths
        return low + (high - low) * (self.total - first) / (second - first)


def _parts(
    network: nn.Module, inputs: tuple[Any, ...], loss: Loss, dim: int, shares: tuple[float, float]
) -> BatchParts | None:
    """Return updates of two shares of the inputs along a dimension; None for a short one."""
    tensors = [x for x in inputs if isinstance(x, Tensor) and x.dim() > max(dim, 1)]
    if not tensors or (total := tensors[0].shape[dim]) < LEAST:
        return None
    lengths = [int(share * total) for share in shares]
    updates = [
        Update(network, tuple(x.narrow(dim, 0, length) if _long(x, dim, total) else x for x in inputs), loss)
        for length in lengths
    ]
    return BatchParts(updates, lengths, total, "steps" if dim == 0 and tensors[0].dim() > 2 else "samples", dim)


def _long(x: Any, dim: int, total: int) -> bool:
    return isinstance(x, Tensor) and x.dim() > dim and x.shape[dim] == total


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


class Update:
    """An update of a network that leaves it unchanged: its gradients go to copies of the parameters.

    Args:
        network: the network.
        inputs: its arguments.
        loss: function of its output.
    """

    def __init__(self, network: nn.Module, inputs: tuple[Any, ...], loss: Loss) -> None:
        self.network, self.inputs, self.loss = network, inputs, loss
        self.learned = [part for part in network.parameters() if part.requires_grad]
        self.copies = [part.detach().clone().requires_grad_() for part in self.learned]
        self.optimizer = torch.optim.Adam(self.copies) if self.copies else None
        self.cuda = any(part.is_cuda for part in network.parameters())
        self()  # compiles, and makes the moments of Adam

    def __call__(self, between: Callable[[], None] = lambda: None) -> None:
        """Run the update; `between` is called after the backward pass, before the step of the optimiser."""
        with torch.enable_grad():
            value = self.loss(output_of(self.network(*self.inputs)))
            learns = self.optimizer is not None and value.requires_grad
            found = torch.autograd.grad(value, self.learned, allow_unused=True) if learns else ()
        for copy, gradient in zip(self.copies, found, strict=False):
            copy.grad = gradient
        del value, found
        between()
        if self.optimizer is not None:
            self.optimizer.step()
            self.optimizer.zero_grad()
        if self.cuda:
            torch.cuda.synchronize()

    def bytes(self) -> tuple[float, float]:
        """Return the largest number of bytes that live at once, with Adam's moments: up to the gradients, and after."""
        moments = float(sum(2 * part.nbytes for part in self.copies))
        if self.cuda:
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            peaks = list[int]()

            def between() -> None:
                peaks.append(torch.cuda.max_memory_allocated())
                torch.cuda.reset_peak_memory_stats()

            self(between)
            peaks.append(torch.cuda.max_memory_allocated())
            return float(peaks[0] - before) + moments, float(peaks[1] - before) + moments
        known = [*self.network.parameters(), *self.network.buffers(), *tensors_in(self.inputs), *self.copies]
        with LiveTensors(known) as live:
            self(live.mark)
        return float(live.before) + moments, float(live.peak) + moments


def typical_times(updates: list[Update]) -> list[float]:
    """Return the median time of each update, in turns, so that all of them meet the same conditions."""
    times: list[list[float]] = [[] for _ in updates]
    start = time.perf_counter()
    for turn in range(REPEATS):
        if turn and time.perf_counter() - start > PATIENCE:
            break
        for taken, update in zip(times, updates, strict=True):
            began = time.perf_counter()
            update()
            taken.append(time.perf_counter() - began)
    return [median(taken) for taken in times]
