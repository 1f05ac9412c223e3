"""Synapses on the CPU: only neurons that fired cost anything on the way forward.

A set of synapses is four arrays, sorted by the neuron before them: `first[i] .. first[i + 1]` are the synapses of
neuron i, each with a `post` neuron, a `delay` in steps and a `weight`. A set that holds every pair without delay is
`dense` and takes the contiguous path. A spike of neuron i in step t reaches row t + offset + delay of the current,
offset 1 for recurrent synapses and 0 for inputs.
"""

from typing import Any

import llvmlite.binding
import numba

from .lanes import LANES, ROWS, dense_row, dense_rows, listed_rows

# LLVM gives up on vector instructions when it must compare more than 8 pairs of arrays for overlap. Ours never do.
llvmlite.binding.set_option("spikeloom", "-runtime-memory-check-threshold=1000")

njit = numba.njit(nogil=True, cache=True, error_model="numpy")
Array = Any


@njit  # type: ignore[untyped-decorator]
def push(
    values: Array, size: int, buffer: Array, row: int, dense: bool, first: Array, post: Array, delay: Array, weight: Array
) -> None:
    """Add what `values` [samples * size] send to the rows `row + delay` of the buffer, each [samples * post neurons]."""
    width = buffer.shape[1] // LANES
    for sample in range(values.shape[0] // size):
        here, there = sample * size, sample * width
        for i in range(size):
            value = values[here + i]
            if value != 0:
                if dense:
                    target, weights = buffer[row, there : there + width], weight[i * width : (i + 1) * width]
                    for j in range(width):
                        target[j] += value * weights[j]
                else:
                    for k in range(first[i], first[i + 1]):
                        if row + delay[k] >= 0:
                            buffer[row + delay[k], there + post[k]] += value * weight[k]


@njit  # type: ignore[untyped-decorator]
def pull(
    out: Array, size: int, source: Array, row: int, dense: bool, first: Array, post: Array, delay: Array, weight: Array
) -> None:
    """The transpose of push: out[i * LANES :] = sum of the weights of i times the rows `row + delay` of `source`."""
    width = source.shape[1] // LANES
    flat = source.reshape(-1)[row * width * LANES :]
    if dense:
        i = 0
        while i + ROWS <= size:
            dense_rows(out[i * LANES :], weight[i * width :], flat, width)
            i += ROWS
        while i < size:
            dense_row(out[i * LANES :], weight[i * width :], flat, width)
            i += 1
    else:
        for i in range(size):
            listed_rows(out[i * LANES :], weight, delay, post, first[i], first[i + 1], flat, width)


@njit  # type: ignore[untyped-decorator]
def project(
    xs: Array, out: Array, offset: int, dense: bool, first: Array, post: Array, delay: Array, weight: Array, start: int, stop: int
) -> None:
    """Currents of input synapses: what xs [S, B, I] send is added to the rows t + offset + delay of out [T, B, N].

    Rows before the first and after the last are left out: they belong to the calls before and after this one.
    """
    steps, _, size = xs.shape
    rows, _, width = out.shape
    for b in range(start, stop):
        for t in range(steps):
            row = xs[t, b]
            for i in range(size):
                value = row[i]
                if value != 0:
                    if dense:
                        if 0 <= t + offset < rows:
                            target, weights = out[t + offset, b], weight[i * width : (i + 1) * width]
                            for j in range(width):
                                target[j] += value * weights[j]
                    else:
                        for k in range(first[i], first[i + 1]):
                            if 0 <= t + offset + delay[k] < rows:
                                out[t + offset + delay[k], b, post[k]] += value * weight[k]


@njit  # type: ignore[untyped-decorator]
def weight_gradient(
    xs: Array, grad: Array, dense: bool, first: Array, post: Array, delay: Array, offset: int, out: Array, start: int, stop: int
) -> None:
    """out[block] = sum over the samples of a block and over time of xs[t, b, i] grad[t + offset + delay, b, post].

    `offset` may be negative: rows of `grad` before its first and after its last are zero. Blocks of LANES samples have
    sums of their own, so the result does not depend on the number of threads.
    """
    steps, batch, size = xs.shape
    rows, _, width = grad.shape
    for block in range(start, stop):
        total = out[block]
        for b in range(block * LANES, min((block + 1) * LANES, batch)):
            for t in range(steps):
                row = xs[t, b]
                for i in range(size):
                    value = row[i]
                    if value != 0:
                        if dense:
                            if 0 <= t + offset < rows:
                                source, target = grad[t + offset, b], total[i * width : (i + 1) * width]
                                for j in range(width):
                                    target[j] += value * source[j]
                        else:
                            for k in range(first[i], first[i + 1]):
                                if 0 <= t + offset + delay[k] < rows:
                                    total[k] += value * grad[t + offset + delay[k], b, post[k]]


@njit  # type: ignore[untyped-decorator]
def to_lanes(rows: Array, lanes: Array, size: int) -> None:
    """[samples * size] -> [size * LANES]; lanes without a sample keep their value."""
    for sample in range(rows.shape[0] // size):
        row = rows[sample * size : (sample + 1) * size]
        for i in range(size):
            lanes[i * LANES + sample] = row[i]


@njit  # type: ignore[untyped-decorator]
def add_from_lanes(lanes: Array, rows: Array, size: int) -> None:
    """The way back, added."""
    for sample in range(rows.shape[0] // size):
        row = rows[sample * size : (sample + 1) * size]
        for i in range(size):
            row[i] += lanes[i * LANES + sample]

