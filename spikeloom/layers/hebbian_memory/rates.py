"""CPU loop of a memory of rates, and its exact adjoint: at each step it is written, then read.

    a = min(potentiation y_i x_j, 1)      b = min(fx_j + fy_i, 1 - a)      w <- w (1 - soft a - b) + top a
    recalled_i = sum_j w_ij q_j

Keys x, values y and queries q are rectified: a zero has no gradient, and a key of 0 changes nothing unless there is
forgetting by values. So the memory is stored transposed, a row per key, and only rows whose key or query is above 0 are
touched. Activity is unbounded here, so both minima can act; a row that neither can reach is computed without them. A
thread takes one sample through all steps: its memory stays in the cache. The backward pass recomputes all versions of
all rows and keeps each.

Names (N = size; a name with grad_ is the gradient of that value):

    x, y, q [N]          keys, values and queries of a step;  i: value neuron, j: key neuron
    rows [R, N]          rows of the transposed memory, in the backward pass in all their versions
    place [N]            index of the present row of each key;  before, after: at the begin and end of a step
    nowhere [N]          `place` of an emptied memory: every key has the row of zeros, `size`
    begins [T, B]        whether the memory is emptied before a step
    fx, f                forgetting by the key, and by key and value
    numbers              constants, by the indices below
    lost, asked          gradient of a row times the row; query of a key
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...kernels.draws import njit
from ...kernels.transforms import beyond_backward, definition_gradients
from .cpu import run, sums

Array = Any
# Indices into the array of numbers, whose dtype is that of the memory.
POTENTIATION, FORGET_PRE, FORGET_POST, SOFT, TOP = range(5)


@njit
def free(x: float, largest: float, numbers: Array) -> bool:
    """Return whether no minimum can act on the row of a key x if no value is above `largest`."""
    forgotten = numbers[FORGET_PRE] * (x * x) + numbers[FORGET_POST] * (largest * largest)
    unaffected: bool = numbers[POTENTIATION] * x * largest + forgotten < numbers.dtype.type(1)
    return unaffected


@njit
def write(rows: Array, place: Array, x: Array, y: Array, numbers: Array) -> None:
    """Update the rows of the keys x in place; that of key j is rows[place[j]]."""
    one, soft, top, post = numbers.dtype.type(1), numbers[SOFT], numbers[TOP], numbers[FORGET_POST]
    largest = y.max()
    for j in range(len(x)):
        if post != 0 or x[j] != 0:
            k, strength, fx = place[j], numbers[POTENTIATION] * x[j], numbers[FORGET_PRE] * (x[j] * x[j])
            if free(x[j], largest, numbers):
                for i in range(len(y)):
                    a = strength * y[i]
                    rows[k, i] = rows[k, i] * (one - soft * a - (fx + post * (y[i] * y[i]))) + top * a
            else:
                for i in range(len(y)):
                    a = min(strength * y[i], one)
                    b = min(fx + post * (y[i] * y[i]), one - a)
                    rows[k, i] = rows[k, i] * (one - soft * a - b) + top * a


@njit
def read(rows: Array, place: Array, q: Array, out: Array) -> None:
    """out = sum of the rows, each times its query."""
    out[:] = 0
    for j in range(len(q)):
        if q[j] != 0:
            k, strength = place[j], q[j]
            for i in range(len(out)):
                out[i] += rows[k, i] * strength


@sums
def back(
    rows: Array, before: Array, after: Array, x: Array, y: Array, q: Array, numbers: Array, grad_out: Array,
    grad_rows: Array, grad_x: Array, grad_y: Array, grad_q: Array,
) -> None:  # fmt: skip
    """Backward pass of `write` and `read` of a step.

    The row of a key was rows[before[j]] and became rows[after[j]]; its gradient grad_rows[j], after the step, becomes
    that before it; grad_y is added to. The gradient of q has a loop of its own: with one more array, the other would
    not be vectorised.
    """
    zero, one, two = numbers.dtype.type(0), numbers.dtype.type(1), numbers.dtype.type(2)
    soft, top, post = numbers[SOFT], numbers[TOP], numbers[FORGET_POST]
    largest = y.max()
    for j in range(len(x)):
        grad_x[j], total = zero, zero
        if q[j] != 0:
            k = after[j]
            for i in range(len(y)):
                total += grad_out[i] * rows[k, i]
        grad_q[j] = total
        k, asked = before[j], q[j]
        if post != 0 or x[j] != 0:
            strength, fx = numbers[POTENTIATION] * x[j], numbers[FORGET_PRE] * (x[j] * x[j])
            grad_strength, grad_fx = zero, zero
            if free(x[j], largest, numbers):
                for i in range(len(y)):
                    grad_w = grad_rows[j, i] + grad_out[i] * asked
                    a, lost = strength * y[i], grad_w * rows[k, i]
                    grad_a = grad_w * top - soft * lost
                    grad_strength += grad_a * y[i]
                    grad_fx -= lost
                    grad_y[i] += grad_a * strength - two * post * y[i] * lost
                    grad_rows[j, i] = grad_w * (one - soft * a - (fx + post * (y[i] * y[i])))
            else:
                for i in range(len(y)):
                    grad_w = grad_rows[j, i] + grad_out[i] * asked
                    raw, lost = strength * y[i], grad_w * rows[k, i]
                    a, f = min(raw, one), fx + post * (y[i] * y[i])
                    less = f < one - a  # which argument of the second minimum got the gradient
                    b = f if less else one - a
                    grad_f = -lost if less else zero
                    grad_a = grad_w * top - soft * lost + (zero if less else lost)
                    grad_raw = grad_a if raw <= one else zero
                    grad_strength += grad_raw * y[i]
                    grad_fx += grad_f
                    grad_y[i] += grad_raw * strength + two * post * y[i] * grad_f
                    grad_rows[j, i] = grad_w * (one - soft * a - b)
            grad_x[j] = numbers[POTENTIATION] * grad_strength + two * numbers[FORGET_PRE] * x[j] * grad_fx
        elif asked != 0:
            for i in range(len(y)):
                grad_rows[j, i] += grad_out[i] * asked


@njit
def forward(
    xs: Array, begins: Array, first: Array, numbers: Array, memory: Array, out: Array, start: int, stop: int
) -> None:
    """Run samples start to stop: xs [T, B, 3 N], begins [T, B], out [T, B, N].

    `first` and `memory` [B, key, value] are the initial and the final memory.
    """
    size = memory.shape[1]
    place = np.arange(size)
    for b in range(start, stop):
        rows = memory[b]
        rows[:] = first[b]
        for t in range(len(xs)):
            if begins[t, b]:
                rows[:] = 0
            write(rows, place, xs[t, b, :size], xs[t, b, size : 2 * size], numbers)
            read(rows, place, xs[t, b, 2 * size :], out[t, b])


@njit
def backward(
    xs: Array, begins: Array, memory: Array, numbers: Array, grad_out: Array, grad_memory: Array, grad_xs: Array,
    start: int, stop: int,
) -> None:  # fmt: skip
    """Backward pass of `forward`: grad_memory, of the last memory, becomes that of the first.

    Every version of a row is kept; place[t] holds the indices of the rows of all keys after t steps. The first N rows
    are those of the first memory, followed by one of zeros.
    """
    size, steps, everywhere = memory.shape[1], len(xs), numbers[FORGET_POST] != 0
    most = steps * size  # upper limit of the rows that are written, to allocate
    if not everywhere:
        most = 0
        for b in range(start, stop):
            most = max(most, (xs[:, b, :size] != 0).sum())
    rows, place = np.empty((size + 1 + most, size), numbers.dtype), np.empty((steps + 1, size), np.int64)
    place[0], nowhere = np.arange(size), np.full(size, size)
    rows[size] = 0
    for b in range(start, stop):
        rows[:size] = memory[b]
        last = size
        for t in range(steps):
            x, before, after = xs[t, b, :size], nowhere if begins[t, b] else place[t], place[t + 1]
            for j in range(size):
                after[j] = before[j]
                if everywhere or x[j] != 0:
                    last += 1
                    rows[last], after[j] = rows[before[j]], last
            write(rows, after, x, xs[t, b, size : 2 * size], numbers)
        grad_xs[:, b, size : 2 * size] = 0
        for t in range(steps - 1, -1, -1):
            x, y, q = xs[t, b, :size], xs[t, b, size : 2 * size], xs[t, b, 2 * size :]
            grad_x, grad_y, grad_q = grad_xs[t, b, :size], grad_xs[t, b, size : 2 * size], grad_xs[t, b, 2 * size :]
            before = nowhere if begins[t, b] else place[t]
            back(rows, before, place[t + 1], x, y, q, numbers, grad_out[t, b], grad_memory[b], grad_x, grad_y, grad_q)
            if begins[t, b]:
                grad_memory[b] = 0


class _Rates(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, xs: Tensor, begins: Tensor, memory: Tensor, numbers: Array, definition: Any) -> Any:
        inputs = xs, begins, memory
        xs, begins, first = xs.contiguous(), begins.contiguous(), memory.contiguous()
        memory, out = torch.empty_like(first), xs.new_empty(*begins.shape, first.shape[1])
        run(forward, [xs, begins, first, numbers, memory, out], len(xs), first)
        ctx.save_for_backward(*inputs)
        ctx.numbers, ctx.definition = numbers, definition
        ctx.set_materialize_grads(False)
        return out, memory

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor | None, grad_memory: Tensor | None) -> Any:
        inputs = ctx.saved_tensors
        if beyond_backward([grad_out, grad_memory]):
            return *definition_gradients(ctx.definition, inputs, [grad_out, grad_memory]), None, None
        xs, begins, first = (part.contiguous() for part in inputs)
        if grad_out is None:
            grad_out = xs.new_zeros(*begins.shape, first.shape[1])
        grad_memory = (
            torch.zeros_like(first) if grad_memory is None else grad_memory.clone(memory_format=torch.contiguous_format)
        )
        grad_xs = torch.empty_like(xs)
        arrays = [xs, begins, first, ctx.numbers, grad_out.contiguous(), grad_memory, grad_xs]
        run(backward, arrays, 4 * len(xs), first)
        return grad_xs, None, grad_memory, None, None


def rate_sequence(xs: Tensor, begins: Tensor, memory: Tensor, rule: Any) -> tuple[Tensor, Tensor]:
    """Write and read a memory of rates; return the recalled values [T, B, N] and the last memory [B, value, key].

    Shapes: xs [T, B, 3 N], keys, values and queries side by side; begins [T, B], where the memory is emptied first;
    memory [B, value, key]. The returned memory is a transposed view with contiguous rows per key, so the next call
    need not copy it.
    """
    kind = np.dtype(str(xs.dtype).removeprefix("torch."))
    bound = rule.soft_bound
    numbers = np.array(
        [
            rule.potentiation, rule.depression * (rule.forgets == "pre"), rule.depression * (rule.forgets == "post"),
            float(bound), rule.w_max if bound else 1.0,
        ],
        kind,
    )  # fmt: skip

    def definition(xs: Tensor, begins: Tensor, memory: Tensor) -> list[Tensor]:
        out, last = rates_definition(xs, begins, memory.transpose(1, 2), rule)
        return [out, last.transpose(1, 2)]

    out, memory = _Rates.apply(xs, begins, memory.transpose(1, 2), numbers, definition)
    return out, memory.transpose(1, 2)


def rates_definition(xs: Tensor, begins: Tensor, memory: Tensor, rule: Any) -> tuple[Tensor, Tensor]:
    """Compute `rate_sequence` with torch operations."""
    out = []
    for x, begun in zip(xs, begins, strict=True):
        key, value, query = x.chunk(3, -1)
        memory = memory.masked_fill(begun[:, None, None], 0.0)
        memory, _ = rule.update(memory, key, value, rule.initial_traces(key, value))
        out.append((memory @ query.unsqueeze(2)).squeeze(2))
    return torch.stack(out), memory
