# mypy: disable-error-code=no-untyped-def
"""The loops of the memory for the GPU, and their exact adjoints. On CPU tensors, in Triton's interpreter.

Same functions and results as `cpu`. While something is written, keys know nothing of the memory and a row of it
nothing of the others. So keys run alone (elementwise, before the memory forwards and after it backwards), and a program
owns ROWS value neurons of a sample and their rows of the memory, which stay in registers for all steps. What the rows
tell the keys on the way back is summed in a fixed order. The memory of every step is computed again from one in
`SEGMENT` steps and the traces, into a buffer of one segment.

While something is read, values reach keys: one program owns a sample. The gradient of its memory is a product of torch,
and so is that of the feedback's weight.
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
"""Steps between two memories that are kept: the second-level cache may hold those between on the way back."""
CHUNK = 10 * SEGMENT
"""Steps of the way back in one launch: what the rows tell the keys takes room for so many."""
TILE = 2048
"""Elements of the memory that a program holds while it is written."""
REGISTERS = 128
"""Registers of a thread at most while a memory is written, so that a processor has room for four programs."""
BLOCK = 128
"""Key neurons of a program, one per thread."""
AHEAD = {"keys": 4, "rows": 2, "sample": 2}
"""Stages of a loop: inputs are fetched ahead of their use, where no step reads what another has written."""


class Shape(NamedTuple):
    """How a kernel is compiled: its constants, and the options of the compiler."""

    constants: dict[str, int]
    options: dict[str, Any]


def shape(loop: str, size: int) -> Shape:
    """The shape of a loop over keys alone ("keys"), over rows of the memory ("rows"), or over a sample ("sample")."""
    options: dict[str, Any] = {"num_stages": 1}
    if loop == "keys":
        return Shape({"BLOCK": BLOCK}, {"num_warps": BLOCK // 32, **options})
    cols = max(16, 1 << (size - 1).bit_length())
    if loop == "rows":
        rows = max(16, min(cols, TILE // cols))
        options |= {"num_warps": max(rows * cols // 512, 1), "maxnreg": REGISTERS}
        return Shape({"ROWS": rows, "COLS": cols}, options)
    return Shape({"COLS": cols}, {"num_warps": min(max(cols * cols // 2048, 1), 8), **options})


@triton.jit
def _fire(drive, v, z, left, decay, charge, threshold, gain, REFRACTORY: tl.constexpr, SUBTRACT: tl.constexpr):
    """One step of LIF neurons: voltage, spikes, steps left, and the slopes of the spikes.

    The distance to the threshold is divided by it in the definition, which changes no sign; slopes need no last bit.
    """
    taken = threshold * z if SUBTRACT else tl.zeros_like(v)
    v = decay * (v if SUBTRACT else v - v * z) + charge * drive - taken
    distance, per_threshold, free = v - threshold, 1.0 / threshold, left <= 0
    z = tl.where(free & (distance > 0), tl.full(v.shape, 1.0, v.dtype), tl.zeros_like(v))
    z = tl.where(free & (distance != distance), distance, z)  # not a number is neither 0 nor 1
    slope = (gain * per_threshold) * tl.maximum(1.0 - tl.abs(distance) * per_threshold, 0.0)
    slope = tl.where(free, slope, tl.zeros_like(v))
    if REFRACTORY > 0:
        left = tl.where(z > 0, tl.full(v.shape, REFRACTORY, v.dtype), tl.maximum(left - 1.0, 0.0))
    return v, z, left, slope


@triton.jit
def _back_fire(to_spikes, slope, v, z, gv, gz, decay, charge, threshold, SUBTRACT: tl.constexpr, DETACH: tl.constexpr):
    """Back through `_fire`: gradients of its drive, and of the voltage v and the spikes z before it."""
    of_v = gv + (gz + to_spikes) * slope
    gv = decay * of_v
    if SUBTRACT:
        gz = -threshold * of_v
    else:
        gv = decay * (1.0 - z) * of_v
        gz = -decay * v * of_v
    if DETACH:
        gz = tl.zeros_like(of_v)
    return charge * of_v, gv, gz


@triton.jit
def _keep(w, strength, x, y, pre, post, SOFT: tl.constexpr, FORGETS: tl.constexpr):
    """What a step leaves of every weight, 1 - gain - loss."""
    keep = tl.broadcast_to((1.0 - pre * (x * x) if FORGETS == 1 else tl.full(x.shape, 1.0, x.dtype))[None, :], w.shape)
    if FORGETS == 2:
        keep = keep - (post * (y * y))[:, None]
    if SOFT:
        keep = tl.fma(tl.broadcast_to(-strength[:, None], w.shape), tl.broadcast_to(x[None, :], w.shape), keep)
    return keep


@triton.jit
def _change(w, x, y, potentiation, pre, post, top, SOFT: tl.constexpr, FORGETS: tl.constexpr):
    """The memory after a step with traces x of its columns and y of its rows."""
    strength = potentiation * y
    keep = _keep(w, strength, x, y, pre, post, SOFT, FORGETS)
    return tl.fma(w, keep, strength[:, None] * (top * x)[None, :])


@triton.jit(do_not_specialize=["steps", "batch"])
def write_keys(
    current, out, slopes, voltages, traces, state, numbers, steps, batch, SIZE: tl.constexpr, KEEP: tl.constexpr,
    REFRACTORY: tl.constexpr, SUBTRACT: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Keys and their traces, elementwise: current, out, slopes, voltages, traces [T, B, 2 N], state [B, 8, N]."""
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
    """Values, their traces, and their rows of the memory [B, N, N]; kept [C, B, N, N] is the memory now and then."""
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
    first, kept, scratch, out, slopes, voltages, traces, to_out, to_memory, to_state, to_current, to_keys, numbers,
    begin, stop, batch, SIZE: tl.constexpr, SUBTRACT: tl.constexpr, DETACH: tl.constexpr, RULE: tl.constexpr,
    SOFT: tl.constexpr, FORGETS: tl.constexpr, SEGMENT: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Back through `write_rows`, from step `stop` to `begin` (a whole number of segments).

    to_memory and to_state [B, 8, N] are the gradients of the last ones and become those of the first; `first` is the
    first state. to_keys [blocks, stop - begin, B, 2, N] gets the gradients of the traces and of the spikes of the keys.
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
    told = to_keys + (tl.program_id(1) * tl.cast(stop - begin, tl.int64) - begin) * stride
    gw = tl.load(to_memory + tile, mask=inside, other=0.0)
    gv = tl.load(to_state + at + 3 * SIZE, mask=rows, other=0.0)
    gz = tl.load(to_state + at + 4 * SIZE, mask=rows, other=0.0)
    gy = tl.load(to_state + at + 7 * SIZE, mask=rows, other=0.0)
    z0 = tl.load(first + at + 4 * SIZE, mask=rows, other=0.0)
    w = tl.load(kept + tile, mask=inside, other=0.0)
    for segment in range((stop - begin + SEGMENT - 1) // SEGMENT):
        start = begin + ((stop - begin + SEGMENT - 1) // SEGMENT - 1 - segment) * SEGMENT
        count = tl.minimum(SEGMENT, stop - start)
        if RULE:
            again = tl.load(kept + (start // SEGMENT) * layer + tile, mask=inside, other=0.0)
            tl.debug_barrier()
            for k in tl.range(0, count, num_stages=STAGES):
                row = (start + k) * stride + place
                x = tl.load(traces + row + j, mask=cols, other=0.0)
                y = tl.load(traces + row + SIZE + i, mask=rows, other=0.0)
                tl.store(scratch + k * layer + tile, again, mask=inside)
                again = _change(again, x, y, potentiation, pre, post, top, SOFT, FORGETS)
            tl.debug_barrier()
        for n in tl.range(0, count, num_stages=STAGES):
            k = count - 1 - n
            t = start + k
            row = t * stride + place
            keys = tl.load(out + row + j, mask=cols, other=0.0)
            to_values = tl.load(to_out + row + SIZE + i, mask=rows, other=0.0)
            slope = tl.load(slopes + row + SIZE + i, mask=rows, other=0.0)
            v, z = gv, gz
            if not SUBTRACT:
                v = tl.load(voltages + row + SIZE + i, mask=rows, other=0.0)
                z = tl.load(out + row - stride + SIZE + i, mask=tl.where(t > 0, rows, i < 0), other=0.0)
                z = tl.where(t > 0, z, z0)
            if RULE:
                w = tl.load(scratch + k * layer + tile, mask=inside, other=0.0)
                x = tl.load(traces + row + j, mask=cols, other=0.0)
                y = tl.load(traces + row + SIZE + i, mask=rows, other=0.0)
                strength = potentiation * y
                lost = gw * w
                raised = gw * top - lost if SOFT else gw * top
                of_y = gy + potentiation * tl.sum(raised * x[None, :], axis=1)
                change = strength[:, None] * raised
                if FORGETS == 1:
                    change = change - (2.0 * pre * x)[None, :] * lost
                if FORGETS == 2:
                    of_y = of_y - 2.0 * post * y * tl.sum(lost, axis=1)
                tl.store(told + row + j, tl.sum(change, axis=0), mask=cols)
                to_values = to_values + rise * of_y
                gy = decay_trace * of_y
                gw = gw * _keep(w, strength, x, y, pre, post, SOFT, FORGETS)
            of_drive, gv, gz = _back_fire(
                to_values, slope, v, z, gv, gz, decay, charge, threshold, SUBTRACT, DETACH
            )  # fmt: skip
            tl.store(to_current + row + SIZE + i, of_drive, mask=rows)
            recalled = recall * of_drive
            tl.store(told + row + SIZE + j, tl.sum(recalled[:, None] * w, axis=0), mask=cols)
            gw = gw + recalled[:, None] * keys[None, :]
    tl.store(to_memory + tile, gw, mask=inside)
    tl.store(to_state + at + 3 * SIZE, gv, mask=rows)
    tl.store(to_state + at + 4 * SIZE, gz, mask=rows)
    tl.store(to_state + at + 7 * SIZE, gy, mask=rows)


@triton.jit(do_not_specialize=["begin", "stop", "batch"])
def back_keys(
    first, out, slopes, voltages, to_out, to_state, to_current, to_keys, numbers, begin, stop, batch,
    SIZE: tl.constexpr, SUBTRACT: tl.constexpr, DETACH: tl.constexpr, RULE: tl.constexpr, BLOCKS: tl.constexpr,
    BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Back through `write_keys`, elementwise, with what the rows of the memory told the keys."""
    element = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = element < batch * SIZE
    sample, j = element // SIZE, element % SIZE
    decay, charge, threshold = tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2)
    decay_trace, rise = tl.load(numbers + 5), tl.load(numbers + 6)
    stride = tl.cast(batch, tl.int64) * (2 * SIZE)
    at, place = sample * (8 * SIZE) + j, sample * (2 * SIZE) + j
    gv = tl.load(to_state + at, mask=inside, other=0.0)
    gz = tl.load(to_state + at + SIZE, mask=inside, other=0.0)
    gx = tl.load(to_state + at + 6 * SIZE, mask=inside, other=0.0)
    z0 = tl.load(first + at + SIZE, mask=inside, other=0.0)
    for n in tl.range(0, stop - begin, num_stages=STAGES):
        t = stop - 1 - n
        row = t * stride + place
        through = tl.load(to_out + row, mask=inside, other=0.0)
        slope = tl.load(slopes + row, mask=inside, other=0.0)
        v, z = gv, gz
        if not SUBTRACT:
            v = tl.load(voltages + row, mask=inside, other=0.0)
            z = tl.load(out + row - stride, mask=tl.where(t > 0, inside, j < 0), other=0.0)
            z = tl.where(t > 0, z, z0)
        for block in tl.static_range(BLOCKS):
            told = to_keys + (block * tl.cast(stop - begin, tl.int64) + t - begin) * stride + place
            if RULE:
                gx = gx + tl.load(told, mask=inside, other=0.0)
            through = through + tl.load(told + SIZE, mask=inside, other=0.0)
        if RULE:
            through = through + rise * gx
            gx = decay_trace * gx
        of_drive, gv, gz = _back_fire(through, slope, v, z, gv, gz, decay, charge, threshold, SUBTRACT, DETACH)
        tl.store(to_current + row, of_drive, mask=inside)
    tl.store(to_state + at, gv, mask=inside)
    tl.store(to_state + at + SIZE, gz, mask=inside)
    tl.store(to_state + at + 6 * SIZE, gx, mask=inside)


@triton.jit(do_not_specialize=["steps", "batch", "delay"])
def read_sample(
    current, feedback, memory, state, history, out, slopes, voltages, numbers, steps, batch, delay,
    SIZE: tl.constexpr, KEEP: tl.constexpr, REFRACTORY: tl.constexpr, SUBTRACT: tl.constexpr, NEXT: tl.constexpr,
    COLS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """A sample through all steps: current [T, B, N], feedback [value, key], state [B, 6, N], history [delay, B, N].

    NEXT: the delay is one step, so that values stay in registers until the keys hear them.
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
    heard = tl.load(history + sample * SIZE + i, mask=rows, other=0.0)
    for t in tl.range(0, steps, num_stages=STAGES):
        place = t * half + sample * SIZE
        row = 2 * place
        drive = tl.load(current + place + j, mask=cols, other=0.0)
        if not NEXT:
            early, late = tl.where(t < delay, rows, i < 0), tl.where(t < delay, i < 0, rows)
            heard = tl.load(history + place + i, mask=early, other=0.0)
            heard += tl.load(out + row - delay * (2 * half) + SIZE + i, mask=late, other=0.0)
        if KEEP and not SUBTRACT:
            tl.store(voltages + row + j, key_v, mask=cols)
            tl.store(voltages + row + SIZE + i, v, mask=rows)
        drive = drive + tl.sum(heard[:, None] * f, axis=0)
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
            heard = z
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
    feedback, memory, first, out, slopes, voltages, to_out, to_state, to_current, to_drive, numbers, steps, batch,
    delay, SIZE: tl.constexpr, SUBTRACT: tl.constexpr, DETACH: tl.constexpr, NEXT: tl.constexpr, COLS: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Back through `read_sample`: to_state becomes that of the first; to_drive [T, B, N] is that of all recalled."""
    sample = tl.program_id(0).to(tl.int64)
    i, j = tl.arange(0, COLS), tl.arange(0, COLS)
    rows, cols = i < SIZE, j < SIZE
    inside = rows[:, None] & cols[None, :]
    tile = i[:, None] * SIZE + j[None, :]
    decay, charge, threshold = tl.load(numbers), tl.load(numbers + 1), tl.load(numbers + 2)
    half = tl.cast(batch, tl.int64) * SIZE
    first += sample * (6 * SIZE)
    to_state += sample * (6 * SIZE)
    w = tl.load(memory + sample * (SIZE * SIZE) + tile, mask=inside, other=0.0)
    f = tl.load(feedback + tile, mask=inside, other=0.0)
    key_gv = tl.load(to_state + j, mask=cols, other=0.0)
    key_gz = tl.load(to_state + SIZE + j, mask=cols, other=0.0)
    gv = tl.load(to_state + 3 * SIZE + i, mask=rows, other=0.0)
    gz = tl.load(to_state + 4 * SIZE + i, mask=rows, other=0.0)
    key_z0 = tl.load(first + SIZE + j, mask=cols, other=0.0)
    z0 = tl.load(first + 4 * SIZE + i, mask=rows, other=0.0)
    said = key_gv * 0.0  # gradient of the drive of the keys, `delay` steps later
    for n in tl.range(0, steps, num_stages=STAGES):
        t = steps - 1 - n
        place = t * half + sample * SIZE
        row = 2 * place
        to_values = tl.load(to_out + row + SIZE + i, mask=rows, other=0.0)
        to_keys = tl.load(to_out + row + j, mask=cols, other=0.0)
        slope = tl.load(slopes + row + SIZE + i, mask=rows, other=0.0)
        key_slope = tl.load(slopes + row + j, mask=cols, other=0.0)
        v, z, key_v, key_z = gv, gz, key_gv, key_gz
        if not SUBTRACT:
            v = tl.load(voltages + row + SIZE + i, mask=rows, other=0.0)
            key_v = tl.load(voltages + row + j, mask=cols, other=0.0)
            before = out + row - 2 * half
            z = tl.load(before + SIZE + i, mask=tl.where(t > 0, rows, i < 0), other=0.0)
            key_z = tl.load(before + j, mask=tl.where(t > 0, cols, j < 0), other=0.0)
            z, key_z = tl.where(t > 0, z, z0), tl.where(t > 0, key_z, key_z0)
        if not NEXT:
            later = tl.where(t + delay < steps, cols, j < 0)
            said = tl.load(to_current + place + delay * half + j, mask=later, other=0.0)
        to_values = to_values + tl.sum(f * said[None, :], axis=1)
        of_drive, gv, gz = _back_fire(to_values, slope, v, z, gv, gz, decay, charge, threshold, SUBTRACT, DETACH)
        tl.store(to_drive + place + i, of_drive, mask=rows)
        to_keys = to_keys + tl.sum(of_drive[:, None] * w, axis=0)
        of_key, key_gv, key_gz = _back_fire(
            to_keys, key_slope, key_v, key_z, key_gv, key_gz, decay, charge, threshold, SUBTRACT, DETACH
        )  # fmt: skip
        tl.store(to_current + place + j, of_key, mask=cols)
        if NEXT:
            said = of_key
        else:
            tl.debug_barrier()
    tl.store(to_state + j, key_gv, mask=cols)
    tl.store(to_state + SIZE + j, key_gz, mask=cols)
    tl.store(to_state + 3 * SIZE + i, gv, mask=rows)
    tl.store(to_state + 4 * SIZE + i, gz, mask=rows)


FUSED = (back_rows, back_keys, back_sample)
"""Kernels whose sums may round once less: spikes are those of the definition, gradients need no last bit."""


@lru_cache(maxsize=256)
def _numbers(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)


def flags(constants: Constants) -> dict[str, Any]:
    """The constants that a kernel is compiled for."""
    numbers, choices = constants
    return {
        "REFRACTORY": int(choices[REFRACTORY]), "SUBTRACT": bool(choices[SUBTRACT]), "DETACH": bool(choices[DETACH]),
        "RULE": bool(numbers[TOP] > 0), "SOFT": bool(numbers[SOFT]),
        "FORGETS": 1 if numbers[DEPRESSION_PRE] > 0 else 2 if numbers[DEPRESSION_POST] > 0 else 0,
    }  # fmt: skip


def _launch(kernel: Any, grid: tuple[int, ...], loop: str, like: Tensor, constants: Constants, **values: Any) -> None:
    """Run a kernel of so many programs, with what it takes of the constants."""
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
    """Programs for the keys, and for the rows of the memories."""
    batch, size = memory.shape[:2]
    return (-(-batch * size // BLOCK),), (batch, -(-size // shape("rows", size).constants["ROWS"]))


def write(
    current: Tensor, memory: Tensor, state: Tensor, constants: Constants, learns: bool
) -> tuple[Tensor, list[Tensor]]:
    """As `memory.write`: the spikes, and what the way back reads; memory and state become the last ones."""
    steps, batch = len(current), len(memory)
    of_keys, of_rows = _grids(memory)
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
    _launch(write_keys, of_keys, "keys", memory, constants, **shared)
    _launch(write_rows, of_rows, "rows", memory, constants, **shared, memory=memory, kept=kept)
    return out, [first, kept, out, slopes, voltages, traces] if learns else []


def back_write(
    saved: tuple[Tensor, ...], constants: Constants, to_out: Tensor, to_memory: Tensor, to_state: Tensor
) -> Tensor:
    """Back through `write`: to_memory and to_state become the gradients of the first ones; that of the current."""
    first, kept, out, slopes, voltages, traces = saved
    steps, batch, size = len(out), *to_memory.shape[:2]
    of_keys, of_rows = _grids(to_memory)
    to_current = torch.empty_like(out)
    told = out.new_empty(of_rows[1], min(CHUNK, steps), batch, 2, size)
    scratch = to_memory.new_empty(SEGMENT if flags(constants)["RULE"] else 0, *to_memory.shape)
    shared: dict[str, Any] = {
        "first": first, "out": out, "slopes": slopes, "voltages": voltages, "to_out": to_out, "to_state": to_state,
        "to_current": to_current, "to_keys": told, "batch": batch, "BLOCKS": of_rows[1],
    }  # fmt: skip
    for begin in reversed(range(0, steps, CHUNK)):
        shared |= {"begin": begin, "stop": min(begin + CHUNK, steps)}
        _launch(
            back_rows, of_rows, "rows", to_memory, constants, **shared, kept=kept, scratch=scratch, traces=traces,
            to_memory=to_memory,
        )  # fmt: skip
        _launch(back_keys, of_keys, "keys", to_memory, constants, **shared)
    return to_current


def read(
    current: Tensor, feedback: Tensor, memory: Tensor, state: Tensor, history: Tensor, constants: Constants,
    learns: bool,
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """As `memory.read`; feedback [value, key]."""
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
    saved: tuple[Tensor, ...], constants: Constants, to_out: Tensor, to_state: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Back through `read`: to_state becomes the gradient of the first; those of current, memory and history."""
    feedback, memory, first, history, out, slopes, voltages = saved
    (steps, batch), size = out.shape[:2], memory.shape[1]
    to_current, to_drive = (out.new_empty(steps, batch, size) for _ in range(2))
    _launch(
        back_sample, (batch,), "sample", memory, constants, feedback=feedback, memory=memory, first=first, out=out,
        slopes=slopes, voltages=voltages, to_out=to_out, to_state=to_state, to_current=to_current, to_drive=to_drive,
        steps=steps, batch=batch, delay=len(history), **_delay(len(history)),
    )  # fmt: skip
    to_memory = torch.bmm(to_drive.permute(1, 2, 0), out[..., :size].transpose(0, 1))
    to_history = torch.zeros_like(history)
    early = to_current[: len(history)]
    to_history[: len(early)] = early @ feedback.T
    return to_current, to_memory, to_history


def _delay(delay: int) -> dict[str, Any]:
    """After more than one step spikes are read back from memory, so nothing may be fetched ahead."""
    return {"NEXT": delay == 1, "STAGES": AHEAD["sample"] if delay == 1 else 1}


LOOPS = Loops(write, back_write, read, back_read)
