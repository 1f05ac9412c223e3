"""Synapses on the CPU: only neurons that fired cost anything on the way forward.

A set of synapses is sorted by the neuron before them: `first[i] .. first[i + 1]` are the synapses of neuron i. Each has
a `weight` and a place relative to the spike, made of its delay in steps and of the neuron behind it. A set that holds
every pair without delay is `dense` and takes the contiguous path. A spike in step t reaches row t + delay of the
current at inputs, and t + 1 + delay in recurrence.
"""

from typing import Any

import llvmlite.binding
import numpy as np
from numba.core import config

from ... import compiled
from ..loops.lanes import LANES, ROWS, dense_row, dense_rows, listed_rows, lowest_bit, nonzero_lanes

# LLVM gives up on vector instructions when it must compare more than 8 pairs of arrays for overlap. Ours never do.
llvmlite.binding.set_option("spikeloom", "-runtime-memory-check-threshold=1000")

TILE = 256
"""Rows (steps times samples) whose events `dense_gradient` sorts at once."""

CHECKED = bool(config.BOUNDSCHECK)
"""Whether NUMBA_BOUNDSCHECK=1: numba then checks every index, but for those inside the instructions of `lanes`."""

njit = compiled.njit()
Array = Any


@njit
def find(values: Array, found: Array) -> int:
    """Write the places of the non-zero values to `found`; return how many there are."""
    count, i = 0, 0
    while i + LANES <= len(values):
        bits = nonzero_lanes(values, i)
        while bits != 0:
            found[count] = i + lowest_bit(bits)
            count += 1
            bits &= bits - 1
        i += LANES
    while i < len(values):
        if values[i] != 0:
            found[count] = i
            count += 1
        i += 1
    return count


@njit
def push(
    values: Array, size: int, buffer: Array, row: int, dense: bool, first: Array, lead: Array, weight: Array
) -> None:
    """Add what `values` [samples * size] send to the rows `row + delay` of the buffer, each [LANES * post neurons].

    lead = delay * LANES * (post neurons) + post. Rows before the first are left out.
    """
    width = buffer.shape[1] // LANES
    flat = buffer.reshape(-1)
    found = np.empty(len(values), np.int64)
    for e in range(find(values, found)):
        sample, i = divmod(found[e], size)
        there, value = row * buffer.shape[1] + sample * width, values[found[e]]
        if dense:
            axpy(value, weight[i * width : (i + 1) * width], flat[there : there + width])
        else:
            for k in range(first[i], first[i + 1]):
                place = there + lead[k]
                if place >= 0:
                    flat[place] += value * weight[k]


@njit
def axpy(value: float, xs: Array, ys: Array) -> None:
    """ys += value * xs"""
    for i in range(len(ys)):
        ys[i] += value * xs[i]


@njit
def axpy4(a: float, us: Array, b: float, vs: Array, c: float, ws: Array, d: float, xs: Array, ys: Array) -> None:
    """Four axpy at once, in this order."""
    for i in range(len(ys)):
        ys[i] = (((ys[i] + a * us[i]) + b * vs[i]) + c * ws[i]) + d * xs[i]


@njit
def add_rows(values: Array, rows: Array, start: int, stop: int, table: Array, width: int, out: Array) -> None:
    """out += values[e] * table[rows[e]] for e from start to stop; the rows of the table are `width` long."""
    e = start
    while e + 4 <= stop:
        a, b, c, d = rows[e] * width, rows[e + 1] * width, rows[e + 2] * width, rows[e + 3] * width
        axpy4(
            values[e], table[a : a + width], values[e + 1], table[b : b + width], values[e + 2], table[c : c + width],
            values[e + 3], table[d : d + width], out,
        )  # fmt: skip
        e += 4
    while e < stop:
        a = rows[e] * width
        axpy(values[e], table[a : a + width], out)
        e += 1


@njit
def add(xs: Array, ys: Array, out: Array) -> None:
    """out = xs + ys, as long as xs."""
    for i in range(len(xs)):
        out[i] = xs[i] + ys[i]


@njit
def copy(xs: Array, out: Array) -> None:
    """out = xs"""
    for i in range(len(xs)):
        out[i] = xs[i]


@njit
def make_room(buffer: Array, row: int) -> int:
    """In a buffer of 2 D rows, the row of this step: when D are used up, the later ones move to the front."""
    half: int = buffer.shape[0] // 2
    if row < half:
        return row
    for r in range(half):
        copy(buffer[half + r], buffer[r])
        buffer[half + r, :] = 0
    return 0


@njit
def make_room_before(buffer: Array, row: int) -> int:
    """The same backwards in time: the row before `row`, with the D - 1 rows after it in place."""
    half: int = buffer.shape[0] // 2
    if row > 0:
        return row - 1
    for r in range(half - 1):
        copy(buffer[r], buffer[half + 1 + r])
    return half


@njit
def pull(out: Array, size: int, source: Array, row: int, dense: bool, first: Array, line: Array, weight: Array) -> None:
    """The transpose of push: out[i * LANES :] = sum of the weights of i times the rows of `source`, neuron by neuron.

    line = delay * (post neurons) + post.
    """
    width = source.shape[1] // LANES
    flat = source.reshape(-1)[row * width * LANES :]
    if CHECKED:
        touch(out, size, flat, width, dense, first, line, weight)
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
            listed_rows(out[i * LANES :], weight, line, first[i], first[i + 1], flat)


@njit
def touch(
    out: Array, size: int, flat: Array, width: int, dense: bool, first: Array, line: Array, weight: Array
) -> None:
    """Read the ends of all that `pull` reads and writes, with indices that numba checks."""
    total = out[size * LANES - 1]
    if dense:
        total += weight[size * width - 1] + flat[width * LANES - 1]
    else:
        for k in range(first[0], first[size]):
            total += weight[k] + flat[line[k] * LANES] + flat[line[k] * LANES + LANES - 1]
    out[0] = total  # `pull` overwrites it


@njit
def project(
    past: Array, xs: Array, out: Array, slots: int, dense: bool, first: Array, line: Array, weight: Array,
    start: int, stop: int,
) -> None:  # fmt: skip
    """Currents out [T, B, N] of input synapses: inputs xs [T, B, I] arrive after their delay, the earlier `past` too.

    line = delay * N + post, delay < slots. Samples start to stop, each with what is on its way in a buffer of its own,
    which stays in the first-level cache.
    """
    steps, _, size = xs.shape
    width = out.shape[2]
    found = np.empty(size, np.int64)
    if dense:
        values = np.empty(size, xs.dtype)
        for t in range(steps):
            for b in range(start, stop):
                row, target = xs[t, b], out[t, b]
                target[:] = 0
                count = find(row, found)
                for e in range(count):
                    values[e] = row[found[e]]
                add_rows(values, found, 0, count, weight, width, target)
        return
    buffer = np.empty((2 * slots, width), out.dtype)
    flat = buffer.reshape(-1)
    for b in range(start, stop):
        buffer[:, :] = 0
        for h in range(past.shape[0]):
            scatter(past[h, b], found, flat, (h - past.shape[0]) * width, first, line, weight)
        here = 0
        for t in range(steps):
            here = make_room(buffer, here)
            scatter(xs[t, b], found, flat, here * width, first, line, weight)
            copy(buffer[here], out[t, b])
            here += 1


@njit
def scatter(row: Array, found: Array, flat: Array, there: int, first: Array, line: Array, weight: Array) -> None:
    """Add what the values of a row send to places `there + line`; places before the first are left out."""
    for e in range(find(row, found)):
        i = found[e]
        value = row[i]
        for k in range(first[i], first[i + 1]):
            place = there + line[k]
            if place >= 0:
                flat[place] += value * weight[k]


@njit
def weight_gradient(
    xs: Array, grad: Array, offset: int, slots: int, dense: bool, first: Array, line: Array, out: Array,
    start: int, stop: int,
) -> None:  # fmt: skip
    """out[block] += sum over the samples of a block and over time of xs[t, b, i] grad[t + offset + delay, b, post].

    Rows of `grad` before its first and after its last count as zero; line as in `project`. Blocks of LANES samples have
    sums of their own, so the result does not depend on the number of threads.
    """
    steps, batch, size = xs.shape
    width = grad.shape[2]
    found = np.empty(size, np.int64)
    if dense:
        for block in range(start, stop):
            dense_gradient(xs, grad, offset, block * LANES, min((block + 1) * LANES, batch), found, out[block])
        return
    window = np.empty((2 * slots, width), grad.dtype)  # rows base, base + 1, ... of the gradient
    flat = window.reshape(-1)
    for block in range(start, stop):
        total = out[block]
        for b in range(block * LANES, min((block + 1) * LANES, batch)):
            base = offset - slots
            for t in range(steps):
                row, when = xs[t, b], t + offset
                if when - base == slots:
                    base = when
                    for r in range(2 * slots):
                        if t > 0 and r < slots:
                            copy(window[slots + r], window[r])
                        elif 0 <= base + r < grad.shape[0]:
                            copy(grad[base + r, b], window[r])
                        else:
                            window[r, :] = 0
                there = (when - base) * width
                for e in range(find(row, found)):
                    i = found[e]
                    value = row[i]
                    for k in range(first[i], first[i + 1]):
                        total[k] += value * flat[there + line[k]]


@njit
def dense_gradient(xs: Array, grad: Array, offset: int, first: int, last: int, found: Array, total: Array) -> None:
    """The same for samples first to last without delays: the events of a tile of steps, sorted by their input.

    The rows of the gradient that a tile reads stay in the second-level cache, the row they are added to in the first.
    """
    steps, batch, size = xs.shape
    width = grad.shape[2]
    table = grad.reshape(-1)
    tile = max(1, TILE // (last - first))
    room = tile * (last - first) * size
    inputs, rows, values = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, xs.dtype)
    sorted_rows, sorted_values = np.empty_like(rows), np.empty_like(values)
    begin = np.empty(size + 1, np.int64)
    for top in range(max(0, -offset), min(steps, grad.shape[0] - offset), tile):
        count = 0
        begin[:] = 0
        for t in range(top, min(top + tile, steps, grad.shape[0] - offset)):
            for b in range(first, last):
                for e in range(find(xs[t, b], found)):
                    i = found[e]
                    inputs[count], rows[count], values[count] = i, (t + offset) * batch + b, xs[t, b, i]
                    begin[i + 1] += 1
                    count += 1
        for i in range(size):
            begin[i + 1] += begin[i]
        for e in range(count):
            i = inputs[e]
            sorted_rows[begin[i]], sorted_values[begin[i]] = rows[e], values[e]
            begin[i] += 1
        done = 0
        for i in range(size):
            add_rows(sorted_values, sorted_rows, done, begin[i], table, width, total[i * width : (i + 1) * width])
            done = begin[i]


@njit
def to_lanes(rows: Array, lanes: Array, size: int) -> None:
    """[samples * size] -> [size * LANES]; lanes without a sample keep their value."""
    for sample in range(rows.shape[0] // size):
        row = rows[sample * size : (sample + 1) * size]
        for i in range(size):
            lanes[i * LANES + sample] = row[i]


@njit
def add_from_lanes(lanes: Array, rows: Array, size: int) -> None:
    """The way back, added."""
    for sample in range(rows.shape[0] // size):
        row = rows[sample * size : (sample + 1) * size]
        for i in range(size):
            row[i] += lanes[i * LANES + sample]
