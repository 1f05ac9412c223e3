# mypy: disable-error-code=no-untyped-def
"""GPU loops of the memory, and their exact adjoints. CPU tensors run in Triton's interpreter.

The functions and results are those of `cpu`. While writing, keys do not depend on the memory, and its rows do not
depend on one another. So keys run alone (elementwise, before the memory in the forward pass and after it in the
backward pass), and a program owns ROWS value neurons of a sample and their rows of the memory, which stay in registers
for all steps. The gradients that rows pass to the keys are summed in a fixed order. The memory of every step is
recomputed from one in `SEGMENT` steps and the traces, into a buffer of one segment.

While reading, values reach keys: one program owns a sample. The gradient of its memory is a product of torch, and so is
that of the feedback's weight.

Names in the kernels (a name with grad_ is the gradient of that value):

    SIZE                   N, size of the memory;  BLOCK, ROWS, COLS: sizes of tiles, COLS being N padded
    i [ROWS], j [COLS]     value neurons (rows of the memory) and key neurons (columns);  rows, cols, inside: masks
    tile, w [ROWS, COLS]   indices of a program's part of the memory, and its values
    stride, layer, half    elements of a step in [T, B, 2 N], of all memories [B, N, N], of a step in [T, B, N]
    at                     index of the neurons' first row in a state [B, 8, N] (+ row * SIZE: see `plan`)
    place, row             index of the neurons within a step, and in step t
    v, z, left             voltage, spikes of the step before, refractory steps left;  key_v, ...: those of the keys
    x, y                   traces of keys and values;  drive: current into neurons
    slope                  d spike / d voltage, 0 while refractory
    strength, raised, lost products that an update and its gradient share
    z0, first              spikes before the first step, and the initial state
    kept, scratch          memories before every SEGMENT steps [C, B, N, N], and of all steps of one segment
    partial                gradients that a block of rows passes to the keys
    fed_back, grad_later   value spikes that reach the keys now, and the gradient of the key currents they reached
    KEEP, RULE, SOFT, FORGETS, NEXT   save for the backward pass; a rule changes the memory; it has a soft bound; it
                           forgets by keys (1), values (2) or not (0); the feedback has a delay of one step
    numbers + 0 .. 11      constants, by the indices of `plan`
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from .plan import DEPRESSION_POST, DEPRESSION_PRE, DETACH, REFRACTORY, SOFT, SUBTRACT, TOP, Constants, Loops

INTERPRETED = bool(triton.knobs.runtime.interpret)
SEGMENT = 10
"""Steps between two saved memories: few enough that the second-level cache may hold those recomputed between them."""
CHUNK = 10 * SEGMENT
"""Steps of the backward pass in one launch: it limits the buffer of the gradients that rows pass to keys."""
TILE = 2048
"""Elements of the memory that a program holds while writing."""
REGISTERS = 128
"""Maximum registers of a thread while writing, so that a multiprocessor has room for four programs."""
BLOCK = 128
"""Key neurons of a program, one per thread."""
AHEAD = {"keys": 4, "rows": 2, "sample": 2}
"""Pipeline stages of a loop, which prefetch inputs; only if no step reads what another has written."""


class Tiling(NamedTuple):
    """Compile-time constants of a kernel, and options of the compiler."""

    constants: dict[str, int]
    options: dict[str, Any]


def shape(loop: str, size: int) -> Tiling:
    """Return the shape of a loop over keys alone ("keys"), over rows of the memory ("rows"), or a sample ("sample")."""
    options: dict[str, Any] = {"num_stages": 1}
    if loop == "keys":
        return Tiling({"BLOCK": BLOCK}, {"num_warps": BLOCK // 32, **options})
    cols = max(16, 1 << (size - 1).bit_length())
    if loop == "rows":
        rows = max(16, min(cols, TILE // cols))
        options |= {"num_warps": max(rows * cols // 512, 1), "maxnreg": REGISTERS}
        return Tiling({"ROWS": rows, "COLS": cols}, options)
    return Tiling({"COLS": cols}, {"num_warps": min(max(cols * cols // 2048, 1), 8), **options})


@triton.jit
def _fire(drive, v, z, left, decay, charge, threshold, gain, REFRACTORY: tl.constexpr, SUBTRACT: tl.constexpr):
    """Compute one step of LIF neurons; return voltage, spikes, refractory steps left and surrogate gradients.

    The definition divides the distance by the threshold: this does not change its sign, and surrogate gradients need
    not be exact to the last bit.
    """
    taken = threshold * z if SUBTRACT else tl.zeros_like(v)
    v = decay * (v if SUBTRACT else v - v * z) + charge * drive - taken
    distance, per_threshold, free = v - threshold, 1.0 / threshold, left <= 0
    z = tl.where(free & (distance > 0), tl.full(v.shape, 1.0, v.dtype), tl.zeros_like(v))
    z = tl.where(free & (distance != distance), distance, z)  # NaN propagates
    slope = (gain * per_threshold) * tl.maximum(1.0 - tl.abs(distance) * per_threshold, 0.0)
    slope = tl.where(free, slope, tl.zeros_like(v))
    if REFRACTORY > 0:
        left = tl.where(z > 0, tl.full(v.shape, REFRACTORY, v.dtype), tl.maximum(left - 1.0, 0.0))
    return v, z, left, slope


@triton.jit
def _back_fire(
    grad_spikes, slope, v, z, grad_v, grad_z, decay, charge, threshold, SUBTRACT: tl.constexpr, DETACH: tl.constexpr
):
    """Backward pass of `_fire`: return the gradients of its drive, and of the voltage v and the spikes z before it."""
    grad_new_v = grad_v + (grad_z + grad_spikes) * slope
    grad_v = decay * grad_new_v
    if SUBTRACT:
        grad_z = -threshold * grad_new_v
    else:
        grad_v = decay * (1.0 - z) * grad_new_v
        grad_z = -decay * v * grad_new_v
    if DETACH:
        grad_z = tl.zeros_like(grad_new_v)
    return charge * grad_new_v, grad_v, grad_z


@triton.jit
def _keep(w, strength, x, y, pre, post, SOFT: tl.constexpr, FORGETS: tl.constexpr):
    """Return the factor by which an update scales every weight, 1 - gain - loss."""
    keep = tl.broadcast_to((1.0 - pre * (x * x) if FORGETS == 1 else tl.full(x.shape, 1.0, x.dtype))[None, :], w.shape)
    if FORGETS == 2:
        keep = keep - (post * (y * y))[:, None]
    if SOFT:
        keep = tl.fma(tl.broadcast_to(-strength[:, None], w.shape), tl.broadcast_to(x[None, :], w.shape), keep)
    return keep


@triton.jit
def _change(w, x, y, potentiation, pre, post, top, SOFT: tl.constexpr, FORGETS: tl.constexpr):
    """Return the memory after an update with traces x of its columns and y of its rows."""
    strength = potentiation * y
    keep = _keep(w, strength, x, y, pre, post, SOFT, FORGETS)
    return tl.fma(w, keep, strength[:, None] * (top * x)[None, :])


@triton.jit(do_not_specialize=["steps", "batch"])
def write_keys(
    current, out, slopes, voltages, traces, state, numbers, steps, batch, SIZE: tl.constexpr, KEEP: tl.constexpr,
    REFRACTORY: tl.constexpr, SUBTRACT: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Run keys and their traces, elementwise: current, out, slopes, voltages, traces [T, B, 2 N], state [B, 8, N]."""
    element = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = element < batch * SIZE
    sample, j = element // SIZE, element % SIZE
    decay, charge, threshold, gain = (
        tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2), tl.load(numbers + 3)
    )  # fmt: skip
    decay_trace, rise = tl.load(numbers + 5), tl.load(numbers + 6)
    stride = tl.cast(batch, tl.int64) * (2 * SIZE)
    at, place = sample * (8 * SIZE) + j, sample * (2 * SIZE) + j
    v = tl.load(state + at, mask=inside, other=0.0)
    z = tl.load(state + at + SIZE, mask=inside, other=0.0)
    left = tl.load(state + at + 2 * SIZE, mask=inside, other=0.0)
    x = tl.load(state + at + 6 * SIZE, mask=inside, other=0.0)
    for t in tl.range(0, steps, num_stages=STAGES):
        row = t * stride + place
        drive = tl.load(current + row, mask=inside, other=0.0)
        if KEEP and not SUBTRACT:
            tl.store(voltages + row, v, mask=inside)
        v, z, left, slope = _fire(drive, v, z, left, decay, charge, threshold, gain, REFRACTORY, SUBTRACT)
        x = rise * z + decay_trace * x
        tl.store(out + row, z, mask=inside)
        tl.store(traces + row, x, mask=inside)
        if KEEP:
            tl.store(slopes + row, slope, mask=inside)
    tl.store(state + at, v, mask=inside)
    tl.store(state + at + SIZE, z, mask=inside)
    tl.store(state + at + 2 * SIZE, left, mask=inside)
    tl.store(state + at + 6 * SIZE, x, mask=inside)


@triton.jit(do_not_specialize=["steps", "batch"])
def write_rows(
    current, out, slopes, voltages, traces, state, memory, kept, numbers, steps, batch, SIZE: tl.constexpr,
    KEEP: tl.constexpr, REFRACTORY: tl.constexpr, SUBTRACT: tl.constexpr, RULE: tl.constexpr, SOFT: tl.constexpr,
    FORGETS: tl.constexpr, SEGMENT: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Run values, their traces and rows of the memory [B, N, N]; kept [C, B, N, N], the memory every SEGMENT steps."""
    sample = tl.program_id(0).to(tl.int64)
    i, j = tl.program_id(1) * ROWS + tl.arange(0, ROWS), tl.arange(0, COLS)
    rows, cols = i < SIZE, j < SIZE
    inside = rows[:, None] & cols[None, :]
    tile = sample * (SIZE * SIZE) + i[:, None] * SIZE + j[None, :]
    decay, charge, threshold, gain, recall = (
        tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2), tl.load(numbers + 3), tl.load(numbers + 4)
    )  # fmt: skip
    decay_trace, rise, potentiation = tl.load(numbers + 5), tl.load(numbers + 6), tl.load(numbers + 7)
    pre, post, top = tl.load(numbers + 8), tl.load(numbers + 9), tl.load(numbers + 11)
    stride = tl.cast(batch, tl.int64) * (2 * SIZE)
    at, place = sample * (8 * SIZE) + i, sample * (2 * SIZE)
    w = tl.load(memory + tile, mask=inside, other=0.0)
    v = tl.load(state + at + 3 * SIZE, mask=rows, other=0.0)
    z = tl.load(state + at + 4 * SIZE, mask=rows, other=0.0)
    left = tl.load(state + at + 5 * SIZE, mask=rows, other=0.0)
    y = tl.load(state + at + 7 * SIZE, mask=rows, other=0.0)
    for t in tl.range(0, steps, num_stages=STAGES):
        row = t * stride + place
        keys = tl.load(out + row + j, mask=cols, other=0.0)
        drive = tl.load(current + row + SIZE + i, mask=rows, other=0.0)
        if KEEP and RULE:
            place_kept = (t // SEGMENT) * (tl.cast(batch, tl.int64) * (SIZE * SIZE))
            # a mask without elements in all other steps: Triton has no conditional stores
            tl.store(kept + place_kept + tile, w, mask=tl.where(t % SEGMENT == 0, inside, inside & (j < 0)[None, :]))
        if KEEP and not SUBTRACT:
            tl.store(voltages + row + SIZE + i, v, mask=rows)
        drive = drive + recall * tl.sum(w * keys[None, :], axis=1)
        v, z, left, slope = _fire(drive, v, z, left, decay, charge, threshold, gain, REFRACTORY, SUBTRACT)
        y = rise * z + decay_trace * y
        tl.store(out + row + SIZE + i, z, mask=rows)
        if KEEP:
            tl.store(slopes + row + SIZE + i, slope, mask=rows)
            tl.store(traces + row + SIZE + i, y, mask=rows)
        if RULE:
            x = tl.load(traces + row + j, mask=cols, other=0.0)
            w = _change(w, x, y, potentiation, pre, post, top, SOFT, FORGETS)
    tl.store(memory + tile, w, mask=inside)
    tl.store(state + at + 3 * SIZE, v, mask=rows)
    tl.store(state + at + 4 * SIZE, z, mask=rows)
    tl.store(state + at + 5 * SIZE, left, mask=rows)
    tl.store(state + at + 7 * SIZE, y, mask=rows)


@triton.jit(do_not_specialize=["begin", "stop", "batch"])
def back_rows(
    first, kept, scratch, out, slopes, voltages, traces, grad_out, grad_memory, grad_state, grad_current, grad_keys,
    numbers, begin, stop, batch, SIZE: tl.constexpr, SUBTRACT: tl.constexpr, DETACH: tl.constexpr, RULE: tl.constexpr,
    SOFT: tl.constexpr, FORGETS: tl.constexpr, SEGMENT: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Backward pass of `write_rows`, from step `stop` down to `begin` (a whole number of segments).

    grad_memory and grad_state [B, 8, N], of memory and state at `stop`, become those at `begin`. grad_keys [blocks,
    stop - begin, B, 2, N] gets the gradients of traces and spikes of the keys, from each block of rows.
    """
    sample = tl.program_id(0).to(tl.int64)
    i, j = tl.program_id(1) * ROWS + tl.arange(0, ROWS), tl.arange(0, COLS)
    rows, cols = i < SIZE, j < SIZE
    inside = rows[:, None] & cols[None, :]
    tile = sample * (SIZE * SIZE) + i[:, None] * SIZE + j[None, :]
    decay, charge, threshold, recall = (
        tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2), tl.load(numbers + 4)
    )  # fmt: skip
    decay_trace, rise, potentiation = tl.load(numbers + 5), tl.load(numbers + 6), tl.load(numbers + 7)
    pre, post, top = tl.load(numbers + 8), tl.load(numbers + 9), tl.load(numbers + 11)
    stride, layer = tl.cast(batch, tl.int64) * (2 * SIZE), tl.cast(batch, tl.int64) * (SIZE * SIZE)
    at, place = sample * (8 * SIZE) + i, sample * (2 * SIZE)
    partial = grad_keys + (tl.program_id(1) * tl.cast(stop - begin, tl.int64) - begin) * stride
    grad_w = tl.load(grad_memory + tile, mask=inside, other=0.0)
    grad_v = tl.load(grad_state + at + 3 * SIZE, mask=rows, other=0.0)
    grad_z = tl.load(grad_state + at + 4 * SIZE, mask=rows, other=0.0)
    grad_y = tl.load(grad_state + at + 7 * SIZE, mask=rows, other=0.0)
    z0 = tl.load(first + at + 4 * SIZE, mask=rows, other=0.0)
    w = tl.load(kept + tile, mask=inside, other=0.0)
    for segment in range((stop - begin + SEGMENT - 1) // SEGMENT):
        start = begin + ((stop - begin + SEGMENT - 1) // SEGMENT - 1 - segment) * SEGMENT
        count = tl.minimum(SEGMENT, stop - start)
        if RULE:  # recompute the memories before each step of the segment
            recomputed = tl.load(kept + (start // SEGMENT) * layer + tile, mask=inside, other=0.0)
            tl.debug_barrier()
            for k in tl.range(0, count, num_stages=STAGES):
                row = (start + k) * stride + place
                x = tl.load(traces + row + j, mask=cols, other=0.0)
                y = tl.load(traces + row + SIZE + i, mask=rows, other=0.0)
                tl.store(scratch + k * layer + tile, recomputed, mask=inside)
                recomputed = _change(recomputed, x, y, potentiation, pre, post, top, SOFT, FORGETS)
            tl.debug_barrier()
        for n in tl.range(0, count, num_stages=STAGES):
            k = count - 1 - n
            t = start + k
            row = t * stride + place
            keys = tl.load(out + row + j, mask=cols, other=0.0)
            grad_values = tl.load(grad_out + row + SIZE + i, mask=rows, other=0.0)
            slope = tl.load(slopes + row + SIZE + i, mask=rows, other=0.0)
            v, z = grad_v, grad_z  # placeholders: reset "subtract" reads neither
            if not SUBTRACT:
                v = tl.load(voltages + row + SIZE + i, mask=rows, other=0.0)
                z = tl.load(out + row - stride + SIZE + i, mask=tl.where(t > 0, rows, i < 0), other=0.0)
                z = tl.where(t > 0, z, z0)
            if RULE:
                w = tl.load(scratch + k * layer + tile, mask=inside, other=0.0)
                x = tl.load(traces + row + j, mask=cols, other=0.0)
                y = tl.load(traces + row + SIZE + i, mask=rows, other=0.0)
                strength = potentiation * y
                lost = grad_w * w
                raised = grad_w * top - lost if SOFT else grad_w * top
                grad_new_y = grad_y + potentiation * tl.sum(raised * x[None, :], axis=1)
                change = strength[:, None] * raised
                if FORGETS == 1:
                    change = change - (2.0 * pre * x)[None, :] * lost
                if FORGETS == 2:
                    grad_new_y = grad_new_y - 2.0 * post * y * tl.sum(lost, axis=1)
                tl.store(partial + row + j, tl.sum(change, axis=0), mask=cols)
                grad_values = grad_values + rise * grad_new_y
                grad_y = decay_trace * grad_new_y
                grad_w = grad_w * _keep(w, strength, x, y, pre, post, SOFT, FORGETS)
            grad_drive, grad_v, grad_z = _back_fire(
                grad_values, slope, v, z, grad_v, grad_z, decay, charge, threshold, SUBTRACT, DETACH
            )  # fmt: skip
            tl.store(grad_current + row + SIZE + i, grad_drive, mask=rows)
            grad_recalled = recall * grad_drive
            tl.store(partial + row + SIZE + j, tl.sum(grad_recalled[:, None] * w, axis=0), mask=cols)
            grad_w = grad_w + grad_recalled[:, None] * keys[None, :]
    tl.store(grad_memory + tile, grad_w, mask=inside)
    tl.store(grad_state + at + 3 * SIZE, grad_v, mask=rows)
    tl.store(grad_state + at + 4 * SIZE, grad_z, mask=rows)
    tl.store(grad_state + at + 7 * SIZE, grad_y, mask=rows)


@triton.jit(do_not_specialize=["begin", "stop", "batch"])
def back_keys(
    first, out, slopes, voltages, grad_out, grad_state, grad_current, grad_keys, numbers, begin, stop, batch,
    SIZE: tl.constexpr, SUBTRACT: tl.constexpr, DETACH: tl.constexpr, RULE: tl.constexpr, BLOCKS: tl.constexpr,
    BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Backward pass of `write_keys`, elementwise, with the gradients grad_keys from the rows of the memory."""
    element = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = element < batch * SIZE
    sample, j = element // SIZE, element % SIZE
    decay, charge, threshold = tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2)
    decay_trace, rise = tl.load(numbers + 5), tl.load(numbers + 6)
    stride = tl.cast(batch, tl.int64) * (2 * SIZE)
    at, place = sample * (8 * SIZE) + j, sample * (2 * SIZE) + j
    grad_v = tl.load(grad_state + at, mask=inside, other=0.0)
    grad_z = tl.load(grad_state + at + SIZE, mask=inside, other=0.0)
    grad_x = tl.load(grad_state + at + 6 * SIZE, mask=inside, other=0.0)
    z0 = tl.load(first + at + SIZE, mask=inside, other=0.0)
    for n in tl.range(0, stop - begin, num_stages=STAGES):
        t = stop - 1 - n
        row = t * stride + place
        through = tl.load(grad_out + row, mask=inside, other=0.0)
        slope = tl.load(slopes + row, mask=inside, other=0.0)
        v, z = grad_v, grad_z
        if not SUBTRACT:
            v = tl.load(voltages + row, mask=inside, other=0.0)
            z = tl.load(out + row - stride, mask=tl.where(t > 0, inside, j < 0), other=0.0)
            z = tl.where(t > 0, z, z0)
        for block in tl.static_range(BLOCKS):
            partial = grad_keys + (block * tl.cast(stop - begin, tl.int64) + t - begin) * stride + place
            if RULE:
                grad_x = grad_x + tl.load(partial, mask=inside, other=0.0)
            through = through + tl.load(partial + SIZE, mask=inside, other=0.0)
        if RULE:
            through = through + rise * grad_x
            grad_x = decay_trace * grad_x
        grad_drive, grad_v, grad_z = _back_fire(
            through, slope, v, z, grad_v, grad_z, decay, charge, threshold, SUBTRACT, DETACH
        )
        tl.store(grad_current + row, grad_drive, mask=inside)
    tl.store(grad_state + at, grad_v, mask=inside)
    tl.store(grad_state + at + SIZE, grad_z, mask=inside)
    tl.store(grad_state + at + 6 * SIZE, grad_x, mask=inside)


@triton.jit(do_not_specialize=["steps", "batch", "delay"])
def read_sample(
    current, feedback, memory, state, history, out, slopes, voltages, numbers, steps, batch, delay,
    SIZE: tl.constexpr, KEEP: tl.constexpr, REFRACTORY: tl.constexpr, SUBTRACT: tl.constexpr, NEXT: tl.constexpr,
    COLS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Run a sample through all steps: current [T, B, N], feedback [value, key], state [B, 6, N], history [delay, B, N].

    NEXT: the delay is one step, so value spikes stay in registers until they reach the keys.
    """
    sample = tl.program_id(0).to(tl.int64)
    i, j = tl.arange(0, COLS), tl.arange(0, COLS)
    rows, cols = i < SIZE, j < SIZE
    inside = rows[:, None] & cols[None, :]
    tile = i[:, None] * SIZE + j[None, :]
    decay, charge, threshold, gain = (
        tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2), tl.load(numbers + 3)
    )  # fmt: skip
    half = tl.cast(batch, tl.int64) * SIZE
    state += sample * (6 * SIZE)
    w = tl.load(memory + sample * (SIZE * SIZE) + tile, mask=inside, other=0.0)
    f = tl.load(feedback + tile, mask=inside, other=0.0)
    key_v, key_z = tl.load(state + j, mask=cols, other=0.0), tl.load(state + SIZE + j, mask=cols, other=0.0)
    key_left = tl.load(state + 2 * SIZE + j, mask=cols, other=0.0)
    v, z = tl.load(state + 3 * SIZE + i, mask=rows, other=0.0), tl.load(state + 4 * SIZE + i, mask=rows, other=0.0)
    left = tl.load(state + 5 * SIZE + i, mask=rows, other=0.0)
    fed_back = tl.load(history + sample * SIZE + i, mask=rows, other=0.0)
    for t in tl.range(0, steps, num_stages=STAGES):
        place = t * half + sample * SIZE
        row = 2 * place
        drive = tl.load(current + place + j, mask=cols, other=0.0)
        if not NEXT:
            early, late = tl.where(t < delay, rows, i < 0), tl.where(t < delay, i < 0, rows)
            fed_back = tl.load(history + place + i, mask=early, other=0.0)
            fed_back += tl.load(out + row - delay * (2 * half) + SIZE + i, mask=late, other=0.0)
        if KEEP and not SUBTRACT:
            tl.store(voltages + row + j, key_v, mask=cols)
            tl.store(voltages + row + SIZE + i, v, mask=rows)
        drive = drive + tl.sum(fed_back[:, None] * f, axis=0)
        key_v, key_z, key_left, slope = _fire(
            drive, key_v, key_z, key_left, decay, charge, threshold, gain, REFRACTORY, SUBTRACT
        )  # fmt: skip
        tl.store(out + row + j, key_z, mask=cols)
        if KEEP:
            tl.store(slopes + row + j, slope, mask=cols)
        recalled = tl.sum(w * key_z[None, :], axis=1)
        v, z, left, slope = _fire(recalled, v, z, left, decay, charge, threshold, gain, REFRACTORY, SUBTRACT)
        tl.store(out + row + SIZE + i, z, mask=rows)
        if KEEP:
            tl.store(slopes + row + SIZE + i, slope, mask=rows)
        if NEXT:
            fed_back = z
        else:
            tl.debug_barrier()
    tl.store(state + j, key_v, mask=cols)
    tl.store(state + SIZE + j, key_z, mask=cols)
    tl.store(state + 2 * SIZE + j, key_left, mask=cols)
    tl.store(state + 3 * SIZE + i, v, mask=rows)
    tl.store(state + 4 * SIZE + i, z, mask=rows)
    tl.store(state + 5 * SIZE + i, left, mask=rows)


@triton.jit(do_not_specialize=["steps", "batch", "delay"])
def back_sample(
    feedback, memory, first, out, slopes, voltages, grad_out, grad_state, grad_current, grad_recalled, numbers, steps,
    batch, delay, SIZE: tl.constexpr, SUBTRACT: tl.constexpr, DETACH: tl.constexpr, NEXT: tl.constexpr,
    COLS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Backward pass of `read_sample`: grad_state becomes that of the initial state.

    grad_recalled [T, B, N] gets the gradients of the currents memory @ keys, from which that of the memory follows.
    """
    sample = tl.program_id(0).to(tl.int64)
    i, j = tl.arange(0, COLS), tl.arange(0, COLS)
    rows, cols = i < SIZE, j < SIZE
    inside = rows[:, None] & cols[None, :]
    tile = i[:, None] * SIZE + j[None, :]
    decay, charge, threshold = tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2)
    half = tl.cast(batch, tl.int64) * SIZE
    first += sample * (6 * SIZE)
    grad_state += sample * (6 * SIZE)
    w = tl.load(memory + sample * (SIZE * SIZE) + tile, mask=inside, other=0.0)
    f = tl.load(feedback + tile, mask=inside, other=0.0)
    key_grad_v = tl.load(grad_state + j, mask=cols, other=0.0)
    key_grad_z = tl.load(grad_state + SIZE + j, mask=cols, other=0.0)
    grad_v = tl.load(grad_state + 3 * SIZE + i, mask=rows, other=0.0)
    grad_z = tl.load(grad_state + 4 * SIZE + i, mask=rows, other=0.0)
    key_z0 = tl.load(first + SIZE + j, mask=cols, other=0.0)
    z0 = tl.load(first + 4 * SIZE + i, mask=rows, other=0.0)
    grad_later = key_grad_v * 0.0  # gradient of the drive of the keys, `delay` steps later
    for n in tl.range(0, steps, num_stages=STAGES):
        t = steps - 1 - n
        place = t * half + sample * SIZE
        row = 2 * place
        grad_values = tl.load(grad_out + row + SIZE + i, mask=rows, other=0.0)
        grad_keys = tl.load(grad_out + row + j, mask=cols, other=0.0)
        slope = tl.load(slopes + row + SIZE + i, mask=rows, other=0.0)
        key_slope = tl.load(slopes + row + j, mask=cols, other=0.0)
        v, z, key_v, key_z = grad_v, grad_z, key_grad_v, key_grad_z
        if not SUBTRACT:
            v = tl.load(voltages + row + SIZE + i, mask=rows, other=0.0)
            key_v = tl.load(voltages + row + j, mask=cols, other=0.0)
            before = out + row - 2 * half
            z = tl.load(before + SIZE + i, mask=tl.where(t > 0, rows, i < 0), other=0.0)
            key_z = tl.load(before + j, mask=tl.where(t > 0, cols, j < 0), other=0.0)
            z, key_z = tl.where(t > 0, z, z0), tl.where(t > 0, key_z, key_z0)
        if not NEXT:
            later = tl.where(t + delay < steps, cols, j < 0)
            grad_later = tl.load(grad_current + place + delay * half + j, mask=later, other=0.0)
        grad_values = grad_values + tl.sum(f * grad_later[None, :], axis=1)
        grad_drive, grad_v, grad_z = _back_fire(
            grad_values, slope, v, z, grad_v, grad_z, decay, charge, threshold, SUBTRACT, DETACH
        )
        tl.store(grad_recalled + place + i, grad_drive, mask=rows)
        grad_keys = grad_keys + tl.sum(grad_drive[:, None] * w, axis=0)
        grad_key_drive, key_grad_v, key_grad_z = _back_fire(
            grad_keys, key_slope, key_v, key_z, key_grad_v, key_grad_z, decay, charge, threshold, SUBTRACT, DETACH
        )  # fmt: skip
        tl.store(grad_current + place + j, grad_key_drive, mask=cols)
        if NEXT:
            grad_later = grad_key_drive
        else:
            tl.debug_barrier()
    tl.store(grad_state + j, key_grad_v, mask=cols)
    tl.store(grad_state + SIZE + j, key_grad_z, mask=cols)
    tl.store(grad_state + 3 * SIZE + i, grad_v, mask=rows)
    tl.store(grad_state + 4 * SIZE + i, grad_z, mask=rows)


FUSED = (back_rows, back_keys, back_sample)
"""Kernels that may use fused multiply-adds: spikes must be those of the definition, gradients need not be exact."""


@lru_cache(maxsize=256)
def _numbers(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)


def flags(constants: Constants) -> dict[str, Any]:
    """Return the compile-time constants of the kernels."""
    numbers, choices = constants
    return {
        "REFRACTORY": int(choices[REFRACTORY]), "SUBTRACT": bool(choices[SUBTRACT]), "DETACH": bool(choices[DETACH]),
        "RULE": bool(numbers[TOP] > 0), "SOFT": bool(numbers[SOFT]),
        "FORGETS": 1 if numbers[DEPRESSION_PRE] > 0 else 2 if numbers[DEPRESSION_POST] > 0 else 0,
    }  # fmt: skip


def _launch(kernel: Any, grid: tuple[int, ...], loop: str, like: Tensor, constants: Constants, **values: Any) -> None:
    """Run a kernel on a grid of programs, with those of the constants that are among its arguments."""
    if 0 in grid:
        return
    size = like.shape[-1]
    given: dict[str, Any] = {
        **flags(constants),
        **shape(loop, size).constants,
        "SIZE": size,
        "SEGMENT": SEGMENT,
        "STAGES": AHEAD[loop],
    }
    given |= {"numbers": _numbers(tuple(constants.numbers.tolist()), like.dtype, like.device), **values}
    given = {name: value for name, value in given.items() if name in kernel.arg_names}
    with torch.cuda.device(like.device if like.is_cuda else -1), np.errstate(all="ignore"):  # masked elements too
        kernel[grid](**given, **shape(loop, size).options, enable_fp_fusion=kernel in FUSED)


def _grids(memory: Tensor) -> tuple[tuple[int], tuple[int, int]]:
    """Return the grids of programs for the keys, and for the rows of the memories."""
    batch, size = memory.shape[:2]
    return (-(-batch * size // BLOCK),), (batch, -(-size // shape("rows", size).constants["ROWS"]))


def write(
    current: Tensor, memory: Tensor, state: Tensor, constants: Constants, learns: bool
) -> tuple[Tensor, list[Tensor]]:
    """Write memory and state in place, see `cpu.write_all`; return spikes and tensors for the backward pass."""
    steps, batch = len(current), len(memory)
    key_grid, row_grid = _grids(memory)
    rule = flags(constants)["RULE"]
    first = state.clone()
    out, traces = torch.empty_like(current), torch.empty_like(current)
    slopes = torch.empty_like(current if learns else current[:0])
    voltages = torch.empty_like(slopes[:0] if constants.choices[SUBTRACT] else slopes)
    count = -(-steps // SEGMENT) if rule else 1
    kept = memory.new_empty(count if learns else 0, *memory.shape)
    if not rule:
        kept[:] = memory
    shared: dict[str, Any] = {
        "current": current, "out": out, "slopes": slopes, "voltages": voltages, "traces": traces, "state": state,
        "steps": steps, "batch": batch, "KEEP": learns,
    }  # fmt: skip
    _launch(write_keys, key_grid, "keys", memory, constants, **shared)
    _launch(write_rows, row_grid, "rows", memory, constants, **shared, memory=memory, kept=kept)
    return out, [first, kept, out, slopes, voltages, traces] if learns else []


def back_write(
    saved: tuple[Tensor, ...], constants: Constants, grad_out: Tensor, grad_memory: Tensor, grad_state: Tensor
) -> Tensor:
    """Backward pass of `write`: return grad_current; grad_memory and grad_state become those of the initial ones."""
    first, kept, out, slopes, voltages, traces = saved
    steps, batch, size = len(out), *grad_memory.shape[:2]
    key_grid, row_grid = _grids(grad_memory)
    grad_current = torch.empty_like(out)
    grad_keys = out.new_empty(row_grid[1], min(CHUNK, steps), batch, 2, size)
    scratch = grad_memory.new_empty(SEGMENT if flags(constants)["RULE"] else 0, *grad_memory.shape)
    shared: dict[str, Any] = {
        "first": first, "out": out, "slopes": slopes, "voltages": voltages, "grad_out": grad_out,
        "grad_state": grad_state, "grad_current": grad_current, "grad_keys": grad_keys, "batch": batch,
        "BLOCKS": row_grid[1],
    }  # fmt: skip
    for begin in reversed(range(0, steps, CHUNK)):
        shared |= {"begin": begin, "stop": min(begin + CHUNK, steps)}
        _launch(
            back_rows, row_grid, "rows", grad_memory, constants, **shared, kept=kept, scratch=scratch, traces=traces,
            grad_memory=grad_memory,
        )  # fmt: skip
        _launch(back_keys, key_grid, "keys", grad_memory, constants, **shared)
    return grad_current


def read(
    current: Tensor, feedback: Tensor, memory: Tensor, state: Tensor, history: Tensor, constants: Constants,
    learns: bool,
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """Read, see `cpu.read_all`: return spikes and tensors for the backward pass; feedback [value, key]."""
    steps, batch, size = current.shape
    first = state.clone()
    out = current.new_empty(steps, batch, 2 * size)
    slopes = torch.empty_like(out if learns else out[:0])
    voltages = torch.empty_like(slopes[:0] if constants.choices[SUBTRACT] else slopes)
    _launch(
        read_sample, (batch,), "sample", memory, constants, current=current, feedback=feedback, memory=memory,
        state=state, history=history, out=out, slopes=slopes, voltages=voltages, steps=steps, batch=batch,
        delay=len(history), KEEP=learns, **_delay(len(history)),
    )  # fmt: skip
    return out, [feedback, memory, first, history, out, slopes, voltages] if learns else []


def back_read(
    saved: tuple[Tensor, ...], constants: Constants, grad_out: Tensor, grad_state: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Backward pass of `read`: return the gradients of current, memory and history; grad_state as `back_sample`."""
    feedback, memory, first, history, out, slopes, voltages = saved
    (steps, batch), size = out.shape[:2], memory.shape[1]
    grad_current, grad_recalled = (out.new_empty(steps, batch, size) for _ in range(2))
    _launch(
        back_sample, (batch,), "sample", memory, constants, feedback=feedback, memory=memory, first=first, out=out,
        slopes=slopes, voltages=voltages, grad_out=grad_out, grad_state=grad_state, grad_current=grad_current,
        grad_recalled=grad_recalled, steps=steps, batch=batch, delay=len(history), **_delay(len(history)),
    )  # fmt: skip
    grad_memory = torch.bmm(grad_recalled.permute(1, 2, 0), out[..., :size].transpose(0, 1))
    grad_history = torch.zeros_like(history)
    early = grad_current[: len(history)]
    grad_history[: len(early)] = early @ feedback.T
    return grad_current, grad_memory, grad_history


def _delay(delay: int) -> dict[str, Any]:
    """Return the constants for a delay; with more than one step spikes are read back from memory: no prefetching."""
    return {"NEXT": delay == 1, "STAGES": AHEAD["sample"] if delay == 1 else 1}


LOOPS = Loops(write, back_write, read, back_read)
