"""The loop of a memory of rates for the CPU, and its exact adjoint: at each step written, then read.

    a = min(potentiation y_i x_j, 1)      b = min(fx_j + fy_i, 1 - a)      w <- w (1 - soft a - b) + top a
    recalled_i = sum_j w_ij q_j

Activity has no bound here, so both minima act. A thread takes one sample through all steps: its memory [N, N] stays in
the cache. The way back computes every memory again from the first, into a buffer of one sample.
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


@sums
def write_row(w: Array, x: Array, fx: Array, y: float, q: Array, numbers: Array) -> float:
    """Change one row of the memory in place; what it then recalls."""
    one, soft, top = numbers.dtype.type(1), numbers[SOFT], numbers[TOP]
    strength, fy = numbers[POTENTIATION] * y, numbers[FORGET_POST] * (y * y)
    total = numbers.dtype.type(0)
    for j in range(len(w)):
        a = min(strength * x[j], one)
        b = min(fx[j] + fy, one - a)
        w[j] = w[j] * (one - soft * a - b) + top * a
        total += w[j] * q[j]
    value: float = total
    return value


@sums
def back_row(
    w: Array, after: Array, g: Array, x: Array, fx: Array, y: float, q: Array, to_out: float, numbers: Array,
    to_x: Array, to_q: Array,
) -> float:  # fmt: skip
    """Back through `write_row`: g is the gradient of the row and becomes the one before; the gradient of y."""
    zero, one, two = numbers.dtype.type(0), numbers.dtype.type(1), numbers.dtype.type(2)
    soft, top, pre = numbers[SOFT], numbers[TOP], two * numbers[FORGET_PRE]
    strength, fy = numbers[POTENTIATION] * y, numbers[FORGET_POST] * (y * y)
    to_strength, to_fy = zero, zero
    for j in range(len(w)):
        to_q[j] += to_out * after[j]
        gj, wj, xj = g[j] + to_out * q[j], w[j], x[j]
        raw = strength * xj
        a = min(raw, one)
        f = fx[j] + fy
        free = f < one - a
        b = f if free else one - a
        lost = gj * wj
        to_f = -lost if free else zero
        to_a = gj * (top - soft * wj) + (zero if free else lost)
        to_raw = to_a if raw <= one else zero
        to_strength += to_raw * xj
        to_fy += to_f
        to_x[j] += to_raw * strength + to_f * pre * xj
        g[j] = gj * (one - soft * a - b)
    value: float = numbers[POTENTIATION] * to_strength + two * numbers[FORGET_POST] * y * to_fy
    return value


@njit
def forward(
    keys: Array, values: Array, queries: Array, begins: Array, memory: Array, numbers: Array, out: Array, start: int,
    stop: int,
) -> None:  # fmt: skip
    """Samples start to stop: keys, values, queries, out [T, B, N], begins [T, B], memory [B, N, N] in place."""
    fx = np.empty(memory.shape[1], numbers.dtype)
    for b in range(start, stop):
        w = memory[b]
        for t in range(len(keys)):
            if begins[t, b]:
                w[:] = 0
            x, y, q = keys[t, b], values[t, b], queries[t, b]
            for j in range(len(fx)):
                fx[j] = numbers[FORGET_PRE] * (x[j] * x[j])
            for i in range(len(fx)):
                out[t, b, i] = write_row(w[i], x, fx, y[i], q, numbers)


@njit
def backward(
    keys: Array, values: Array, queries: Array, begins: Array, memory: Array, numbers: Array, to_out: Array,
    to_memory: Array, to_keys: Array, to_values: Array, to_queries: Array, start: int, stop: int,
) -> None:  # fmt: skip
    """Back through `forward`: to_memory is the gradient of the last memory and becomes that of the first."""
    kind, size, steps = numbers.dtype, memory.shape[1], len(keys)
    ws, fx, blank = np.empty((steps + 1, size, size), kind), np.empty(size, kind), np.zeros((size, size), kind)
    for b in range(start, stop):
        ws[0] = memory[b]
        for t in range(steps):
            ws[t + 1] = blank if begins[t, b] else ws[t]
            x, y, q = keys[t, b], values[t, b], queries[t, b]
            for j in range(size):
                fx[j] = numbers[FORGET_PRE] * (x[j] * x[j])
            for i in range(size):
                write_row(ws[t + 1, i], x, fx, y[i], q, numbers)
        for t in range(steps - 1, -1, -1):
            x, y, q = keys[t, b], values[t, b], queries[t, b]
            for j in range(size):
                fx[j] = numbers[FORGET_PRE] * (x[j] * x[j])
            before = blank if begins[t, b] else ws[t]
            to_keys[t, b] = 0
            to_queries[t, b] = 0
            for i in range(size):
                to_values[t, b, i] = back_row(
                    before[i], ws[t + 1, i], to_memory[b, i], x, fx, y[i], q, to_out[t, b, i], numbers, to_keys[t, b],
                    to_queries[t, b],
                )  # fmt: skip
            if begins[t, b]:
                to_memory[b] = 0


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
    """What is recalled at each step [T, B, N], and the last memory; where `begins` [T, B], it is emptied first."""
    kind = np.dtype(str(keys.dtype).removeprefix("torch."))
    bound = rule.soft_bound
    numbers = np.array(
        [
            rule.potentiation, rule.depression * (rule.forgets == "pre"), rule.depression * (rule.forgets == "post"),
            float(bound), rule.w_max if bound else 1.0,
        ],
        kind,
    )  # fmt: skip
    out, memory = _Rates.apply(keys, values, queries, begins, memory, numbers)
    return out, memory
