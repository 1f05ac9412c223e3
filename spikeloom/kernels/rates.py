"""The loop of a memory of rates for the CPU, and its exact adjoint: at each step written, then read.

    a = min(potentiation y_i x_j, 1)      b = min(fx_j + fy_i, 1 - a)      w <- w (1 - soft a - b) + top a
    recalled_i = sum_j w_ij q_j

Keys x, values y and queries q are rectified: what is 0 has no gradient, and a key of 0 changes nothing unless there is
forgetting by values. So the memory lies in rows of one key, and only rows whose key or query is above 0 are touched.
Activity has no bound here, so both minima act; a row that neither can reach is computed without them. A thread takes
one sample through all steps: its memory stays in the cache. The way back computes the memories again, keeps the rows
before they change, and puts them back one by one.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .draws import njit
from .memory import run, sums

Array = Any
# Places in the array of numbers; its dtype is that of the memory.
POTENTIATION, FORGET_PRE, FORGET_POST, SOFT, TOP = range(5)


@njit
def free(x: float, largest: float, numbers: Array) -> bool:
    """Whether no minimum can act on the row of a key, where no value is above `largest`."""
    forgotten = numbers[FORGET_PRE] * (x * x) + numbers[FORGET_POST] * (largest * largest)
    found: bool = numbers[POTENTIATION] * x * largest + forgotten < numbers.dtype.type(1)
    return found


@njit
def write_row(w: Array, x: float, y: Array, largest: float, numbers: Array) -> None:
    """Change the row of a key in place."""
    one, soft, top = numbers.dtype.type(1), numbers[SOFT], numbers[TOP]
    strength, fx, post = numbers[POTENTIATION] * x, numbers[FORGET_PRE] * (x * x), numbers[FORGET_POST]
    if free(x, largest, numbers):
        for i in range(len(w)):
            a = strength * y[i]
            w[i] = w[i] * (one - soft * a - (fx + post * (y[i] * y[i]))) + top * a
    else:
        for i in range(len(w)):
            a = min(strength * y[i], one)
            b = min(fx + post * (y[i] * y[i]), one - a)
            w[i] = w[i] * (one - soft * a - b) + top * a


@sums
def back_row(w: Array, g: Array, x: float, y: Array, largest: float, numbers: Array, to_y: Array) -> float:
    """Back through `write_row`: g is the gradient of the row after it, then that of w, the row before; that of x."""
    zero, one, two = numbers.dtype.type(0), numbers.dtype.type(1), numbers.dtype.type(2)
    soft, top, post = numbers[SOFT], numbers[TOP], numbers[FORGET_POST]
    strength, fx = numbers[POTENTIATION] * x, numbers[FORGET_PRE] * (x * x)
    to_strength, to_fx = zero, zero
    if free(x, largest, numbers):
        for i in range(len(w)):
            a, lost = strength * y[i], g[i] * w[i]
            to_a = g[i] * top - soft * lost
            to_strength += to_a * y[i]
            to_fx -= lost
            to_y[i] += to_a * strength - two * post * y[i] * lost
            g[i] = g[i] * (one - soft * a - (fx + post * (y[i] * y[i])))
    else:
        for i in range(len(w)):
            raw, lost = strength * y[i], g[i] * w[i]
            a, f = min(raw, one), fx + post * (y[i] * y[i])
            less = f < one - a
            b = f if less else one - a
            to_f = -lost if less else zero
            to_a = g[i] * top - soft * lost + (zero if less else lost)
            to_raw = to_a if raw <= one else zero
            to_strength += to_raw * y[i]
            to_fx += to_f
            to_y[i] += to_raw * strength + two * post * y[i] * to_f
            g[i] = g[i] * (one - soft * a - b)
    value: float = numbers[POTENTIATION] * to_strength + two * numbers[FORGET_PRE] * x * to_fx
    return value


@sums
def back_read(w: Array, g: Array, q: float, to_out: Array) -> float:
    """Back through the reading of a row; the gradient of q."""
    total = w.dtype.type(0)
    for i in range(len(w)):
        total += to_out[i] * w[i]
        g[i] += to_out[i] * q
    value: float = total
    return value


@njit
def recall(w: Array, q: Array, out: Array) -> None:
    """out = the sum of the rows, each times its query."""
    out[:] = 0
    for j in range(len(q)):
        if q[j] != 0:
            row, strength = w[j], q[j]
            for i in range(len(out)):
                out[i] += row[i] * strength


@njit
def forward(
    keys: Array, values: Array, queries: Array, begins: Array, memory: Array, numbers: Array, out: Array, start: int,
    stop: int,
) -> None:  # fmt: skip
    """Samples start to stop: keys, values, queries, out [T, B, N], begins [T, B], memory [B, key, value] in place."""
    everywhere = numbers[FORGET_POST] != 0
    for b in range(start, stop):
        w = memory[b]
        for t in range(len(keys)):
            if begins[t, b]:
                w[:] = 0
            x, y, largest = keys[t, b], values[t, b], values[t, b].max()
            for j in range(len(x)):
                if everywhere or x[j] != 0:
                    write_row(w[j], x[j], y, largest, numbers)
            recall(w, queries[t, b], out[t, b])


@njit
def backward(
    keys: Array, values: Array, queries: Array, begins: Array, memory: Array, numbers: Array, to_out: Array,
    to_memory: Array, to_keys: Array, to_values: Array, to_queries: Array, start: int, stop: int,
) -> None:  # fmt: skip
    """Back through `forward`: to_memory is the gradient of the last memory and becomes that of the first."""
    size, steps, everywhere = memory.shape[1], len(keys), numbers[FORGET_POST] != 0
    most = 0
    for b in range(start, stop):
        most = max(most, size * begins[:, b].sum() + (keys[:, b] != 0).sum())
    if everywhere:
        most += steps * size
    w, kept = np.empty((size, size), numbers.dtype), np.empty((most, size), numbers.dtype)
    for b in range(start, stop):
        w[:] = memory[b]
        place = 0
        for t in range(steps):
            if begins[t, b]:
                kept[place : place + size] = w
                place += size
                w[:] = 0
            x, y, largest = keys[t, b], values[t, b], values[t, b].max()
            for j in range(size):
                if everywhere or x[j] != 0:
                    kept[place] = w[j]
                    place += 1
                    write_row(w[j], x[j], y, largest, numbers)
        for t in range(steps - 1, -1, -1):
            x, y, q, g = keys[t, b], values[t, b], queries[t, b], to_memory[b]
            largest = y.max()
            to_values[t, b] = 0
            for j in range(size - 1, -1, -1):
                to_queries[t, b, j] = back_read(w[j], g[j], q[j], to_out[t, b]) if q[j] != 0 else 0
                to_keys[t, b, j] = 0
                if everywhere or x[j] != 0:
                    place -= 1
                    w[j] = kept[place]
                    to_keys[t, b, j] = back_row(w[j], g[j], x[j], y, largest, numbers, to_values[t, b])
            if begins[t, b]:
                place -= size
                w[:] = kept[place : place + size]
                g[:] = 0


class _Rates(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, keys: Tensor, values: Tensor, queries: Tensor, begins: Tensor, memory: Tensor, numbers: Array
    ) -> Any:
        keys, values, queries, begins = (part.contiguous() for part in (keys, values, queries, begins))
        first, memory = memory.contiguous(), memory.clone(memory_format=torch.contiguous_format)
        out = torch.empty_like(keys)
        run(forward, [keys, values, queries, begins, memory, numbers, out], len(keys), memory)
        ctx.save_for_backward(keys, values, queries, begins, first)
        ctx.numbers = numbers
        return out, memory

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_out: Tensor, to_memory: Tensor) -> Any:
        keys, values, queries, begins, first = ctx.saved_tensors
        to_memory = to_memory.clone(memory_format=torch.contiguous_format)
        found = [torch.empty_like(part) for part in (keys, values, queries)]
        arrays = [keys, values, queries, begins, first, ctx.numbers, to_out.contiguous(), to_memory, *found]
        run(backward, arrays, 4 * len(keys), first)
        return *found, None, to_memory, None


def rate_sequence(
    keys: Tensor, values: Tensor, queries: Tensor, begins: Tensor, memory: Tensor, rule: Any
) -> tuple[Tensor, Tensor]:
    """What is recalled at each step [T, B, N], and the last memory [B, value, key]; emptied where `begins` [T, B].

    The memory that comes back lies in rows of one key: given to the next call, it need not be turned.
    """
    kind = np.dtype(str(keys.dtype).removeprefix("torch."))
    bound = rule.soft_bound
    numbers = np.array(
        [
            rule.potentiation, rule.depression * (rule.forgets == "pre"), rule.depression * (rule.forgets == "post"),
            float(bound), rule.w_max if bound else 1.0,
        ],
        kind,
    )  # fmt: skip
    out, memory = _Rates.apply(keys, values, queries, begins, memory.transpose(1, 2), numbers)
    return out, memory.transpose(1, 2)
