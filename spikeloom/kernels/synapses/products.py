"""Event-driven synapses on the CPU: the cost of the forward pass is proportional to the number of spikes.

Synapses are in compressed sparse row format, sorted by presynaptic neuron. A set that holds every pair without delay is
`dense` and takes a contiguous path. A spike in step t reaches row t + delay of the current in input synapses, and row
t + 1 + delay in recurrent ones.

Names (S synapses, D = `slots` delays, N = `width` postsynaptic and `size` presynaptic neurons, LANES = 16 samples):

    first [size + 1]   the synapses of presynaptic neuron i are first[i] .. first[i + 1] - 1
    weight [S]         weights in this order; if `dense`, [size * N], row i being those of neuron i
    line, lead [S]     flat offset from a spike to the target of a synapse: delay * N + post, for one sample or for
                       neurons with LANES samples each; delay * LANES * N + post, for rows of LANES samples
    buffer [2 D, ...]  sliding window over the currents of the next steps, see `make_room`; flat: the same as a vector
    row, there, here   index of a step in a buffer, and the flat index where it (or the row of a sample) begins
    found [size]       indices of the non-zero values of a row, by `find`
    i, k, e            presynaptic neuron, synapse, event (non-zero value)
    b, t, h            sample, step, step of the past before the first one
    lanes [size, 16]   values neuron by neuron, 16 samples side by side: one vector register per neuron
"""

from typing import Any

import llvmlite.binding
import numpy as np
from numba.core import config

from ... import compiled
from ..loops.lanes import LANES, ROWS, dense_row, dense_rows, listed_rows, lowest_bit, nonzero_lanes

# LLVM does not vectorise a loop that needs more than 8 run-time checks for overlap of arrays. Ours never overlap.
llvmlite.binding.set_option("spikeloom", "-runtime-memory-check-threshold=1000")

TILE = 256
"""Number of rows (steps times samples) whose events `dense_gradient` sorts at once."""

CHECKED = bool(config.BOUNDSCHECK)
"""Whether NUMBA_BOUNDSCHECK=1: numba then checks every index except those in the intrinsics of `lanes`."""

njit = compiled.njit()
Array = Any


@njit
def find(values: Array, found: Array) -> int:
    """Write the indices of the non-zero values to `found`; return their number."""
    count, i = 0, 0
    while i + LANES <= len(values):
        bits = nonzero_lanes(values, i)
        while bits != 0:
            found[count] = i + lowest_bit(bits)
            count += 1
            bits &= bits - 1  # clears the lowest bit
        i += LANES
    while i < len(values):  # the rest, fewer than LANES
        if values[i] != 0:
            found[count] = i
            count += 1
        i += 1
    return count


@njit
def push(
    values: Array, size: int, buffer: Array, row: int, dense: bool, first: Array, lead: Array, weight: Array
) -> None:
    """Add weight * value to rows `row + delay` of the buffer [2 D, LANES * N], for all values [samples * size].

    lead = delay * LANES * N + post. Targets in rows before the first are skipped (`row` may be negative).
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
                if place >= 0:  # else it arrived before the first step
                    flat[place] += value * weight[k]


@njit
def axpy(value: float, xs: Array, ys: Array) -> None:
    """ys += value * xs, elementwise."""
    for i in range(len(ys)):
        ys[i] += value * xs[i]


@njit
def axpy4(a: float, us: Array, b: float, vs: Array, c: float, ws: Array, d: float, xs: Array, ys: Array) -> None:
    """Four `axpy` in one pass over ys, added in this order."""
    for i in range(len(ys)):
        ys[i] = (((ys[i] + a * us[i]) + b * vs[i]) + c * ws[i]) + d * xs[i]


@njit
def add_rows(values: Array, rows: Array, start: int, stop: int, table: Array, width: int, out: Array) -> None:
    """out += values[e] * table[rows[e]] for e from start to stop; `table` is flat, its rows are `width` long."""
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
    """out[: len(xs)] = xs + ys[: len(xs)]"""
    for i in range(len(xs)):
        out[i] = xs[i] + ys[i]


@njit
def copy(xs: Array, out: Array) -> None:
    """out = xs"""
    for i in range(len(xs)):
        out[i] = xs[i]


@njit
def make_room(buffer: Array, row: int) -> int:
    """Return the row of this step in a buffer of 2 D rows that holds it and the D - 1 steps after it.

    Rows advance by one per step. When D of them are used up, the later half moves to the front: one copy in D steps.
    """
    half: int = buffer.shape[0] // 2
    if row < half:
        return row
    for r in range(half):
        copy(buffer[half + r], buffer[r])
        buffer[half + r, :] = 0
    return 0


@njit
def make_room_before(buffer: Array, row: int) -> int:
    """Return the row before `row` in a buffer that is filled backward in time; the D - 1 rows after it are valid."""
    half: int = buffer.shape[0] // 2
    if row > 0:
        return row - 1
    for r in range(half - 1):
        copy(buffer[r], buffer[half + 1 + r])
    return half


@njit
def pull(out: Array, size: int, source: Array, row: int, dense: bool, first: Array, line: Array, weight: Array) -> None:
    """Transpose of `push`: out[i] = sum over the synapses of i of weight * source[row + delay, post].

    Shapes: out [size * LANES], source [2 D, N * LANES], both neuron by neuron; line = delay * N + post.
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
    """Access the bounds of all arrays of `pull` with indices that numba checks."""
    total = out[size * LANES - 1]
    if dense:
        total += weight[size * width - 1] + flat[width * LANES - 1]
    else:
        for k in range(first[0], first[size]):
            total += weight[k] + flat[line[k] * LANES] + flat[line[k] * LANES + LANES - 1]
    out[0] = total  # a use of `total`, so that the reads are not optimised away; `pull` overwrites it


@njit
def project(
    past: Array, xs: Array, out: Array, slots: int, dense: bool, first: Array, line: Array, weight: Array,
    start: int, stop: int,
) -> None:  # fmt: skip
    """Compute the currents out [T, B, N] of inputs xs [T, B, I] and past [D - 1, B, I], for samples start to stop.

    line = delay * N + post, delay < slots. A sample's buffer of coming currents stays in the first-level cache.
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
    """Add weight * value to flat[there + line] for all values of a row; targets before the first are skipped."""
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

    Steps outside `grad` count as zero; line as in `project`. Each block of LANES samples has a sum of its own, so the
    result does not depend on the number of threads.
    """
    steps, batch, size = xs.shape
    width = grad.shape[2]
    found = np.empty(size, np.int64)
    if dense:
        for block in range(start, stop):
            dense_gradient(xs, grad, offset, block * LANES, min((block + 1) * LANES, batch), found, out[block])
        return
    window = np.empty((2 * slots, width), grad.dtype)  # steps base, base + 1, ... of one sample's gradient, contiguous
    flat = window.reshape(-1)
    for block in range(start, stop):
        total = out[block]
        for b in range(block * LANES, min((block + 1) * LANES, batch)):
            base = offset - slots  # makes the first step fill the window
            for t in range(steps):
                row, when = xs[t, b], t + offset
                if when - base == slots:  # the window ends before when + slots: move it on
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
    """`weight_gradient` without delays, for samples first to last: total[i] += sum of the rows of grad for events of i.

    The events of a tile of steps are sorted by input. The rows of the gradient that a tile reads stay in the second-
    level cache, the row of `total` that they are added to in the first.
    """
    steps, batch, size = xs.shape
    width = grad.shape[2]
    table = grad.reshape(-1)
    tile = max(1, TILE // (last - first))
    room = tile * (last - first) * size
    inputs, rows, values = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, xs.dtype)
    sorted_rows, sorted_values = np.empty_like(rows), np.empty_like(values)
    begin = np.empty(size + 1, np.int64)  # counting sort: events per input, then where those of each input begin
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
        for e in range(count):  # afterwards begin[i] is where the events of i end
            i = inputs[e]
            sorted_rows[begin[i]], sorted_values[begin[i]] = rows[e], values[e]
            begin[i] += 1
        done = 0
        for i in range(size):
            add_rows(sorted_values, sorted_rows, done, begin[i], table, width, total[i * width : (i + 1) * width])
            done = begin[i]


@njit
def to_lanes(rows: Array, lanes: Array, size: int) -> None:
    """Transpose rows [samples, size] into lanes [size, LANES]; lanes without a sample keep their value."""
    for sample in range(rows.shape[0] // size):
        row = rows[sample * size : (sample + 1) * size]
        for i in range(size):
            lanes[i * LANES + sample] = row[i]


@njit
def add_from_lanes(lanes: Array, rows: Array, size: int) -> None:
    """rows += lanes, the transpose of `to_lanes`."""
    for sample in range(rows.shape[0] // size):
        row = rows[sample * size : (sample + 1) * size]
        for i in range(size):
            row[i] += lanes[i * LANES + sample]
