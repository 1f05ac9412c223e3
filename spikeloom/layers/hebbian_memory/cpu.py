"""The loops of the memory for the CPU, and their exact adjoints; `gpu` has them for the GPU.

A thread takes one sample after the other through all steps: its memory [N, N] stays in the cache. Only keys that spike
read it. The way back needs every memory there was: one in `SEGMENT` steps is kept, the others are computed again,
segment by segment. What a synapse is changed by is written with factors, so that all Hebbian rules are one loop:

    w <- w (1 - soft a - fx_j - fy_i) + top a,   a = potentiation y_i x_j
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import compiled
from ...kernels.draws import njit
from ...kernels.engines import threads
from .plan import (
    CHARGE,
    DECAY,
    DECAY_TRACE,
    DEPRESSION_POST,
    DEPRESSION_PRE,
    DETACH,
    GAIN,
    KEY,
    POST,
    POTENTIATION,
    PRE,
    RECALL,
    REFRACTORY,
    RISE_TRACE,
    SOFT,
    SUBTRACT,
    THRESHOLD,
    TOP,
    VALUE,
    Array,
    Constants,
    Loops,
)

SEGMENT = 100
"""Steps between two memories that are kept for the way back: an item of the paper."""
sums = compiled.njit(fastmath={"reassoc", "contract"})


@njit
def fire(current: Array, s: Array, numbers: Array, choices: Array, out: Array, slopes: Array) -> None:
    """One step of LIF neurons; s is voltage, spikes, steps left. `slopes` gets that of each spike, if it has room."""
    zero, one = numbers.dtype.type(0), numbers.dtype.type(1)
    decay, charge, threshold, gain = numbers[DECAY], numbers[CHARGE], numbers[THRESHOLD], numbers[GAIN]
    refractory, subtract = numbers.dtype.type(choices[REFRACTORY]), choices[SUBTRACT] == 1
    for i in range(len(current)):
        v, z, left = s[0, i], s[1, i], s[2, i]
        held, taken = (v, threshold * z) if subtract else (v - v * z, zero)
        v = decay * held + charge * current[i] - taken
        distance = (v - threshold) / threshold
        free = left <= zero
        spike = one if free and distance > zero else zero
        spike = distance if free and distance != distance else spike  # not a number is neither 0 nor 1
        if len(slopes) > 0:
            slopes[i] = gain * max(one - abs(distance), zero) / threshold if free else zero
        s[0, i], s[1, i] = v, spike
        s[2, i] = refractory if spike > zero else max(left - one, zero)
        out[i] = spike


@njit
def spikes_of(spikes: Array, found: Array) -> int:
    """Where there are spikes goes to `found`; how many there are."""
    many = 0
    for j in range(len(spikes)):
        if spikes[j] != 0:
            found[many] = j
            many += 1
    return many


@njit
def recalled(w: Array, keys: Array, found: Array, out: Array) -> int:
    """out = w keys, for keys of 0 and 1; where they are 1 goes to `found`; how many there are."""
    many: int = spikes_of(keys, found)
    certain = out.dtype.type(0)
    for k in range(many):
        certain += keys[found[k]]
    if certain != certain:
        out[:] = certain
        return many
    for i in range(len(out)):
        row, total = w[i], out.dtype.type(0)
        for k in range(many):
            total += row[found[k]]
        out[i] = total
    return many


@njit
def write_step(
    current: Array, w: Array, s: Array, numbers: Array, choices: Array, out: Array, slopes: Array, drive: Array,
    fx: Array, found: Array,
) -> None:  # fmt: skip
    """One step of a sample in place: memory w, state s [8, N]."""
    size = len(drive)
    fire(current[:size], s[KEY:VALUE], numbers, choices, out[:size], slopes[:size])
    if recalled(w, out[:size], found, drive) == 0:
        drive[:] = current[size:]
    else:
        for i in range(size):
            drive[i] = current[size + i] + numbers[RECALL] * drive[i]
    fire(drive, s[VALUE:PRE], numbers, choices, out[size:], slopes[size:])
    x, y = s[PRE], s[POST]
    for i in range(size):
        x[i] = numbers[RISE_TRACE] * out[i] + numbers[DECAY_TRACE] * x[i]
        y[i] = numbers[RISE_TRACE] * out[size + i] + numbers[DECAY_TRACE] * y[i]
        fx[i] = numbers[DEPRESSION_PRE] * (x[i] * x[i])
    one, soft, top = numbers.dtype.type(1), numbers[SOFT], numbers[TOP]
    for i in range(size):
        strength, fy, row = numbers[POTENTIATION] * y[i], numbers[DEPRESSION_POST] * (y[i] * y[i]), w[i]
        for j in range(size):
            a = strength * x[j]
            row[j] = row[j] * (one - soft * a - (fx[j] + fy)) + top * a


@njit
def write(
    current: Array, memory: Array, state: Array, numbers: Array, choices: Array, out: Array, kept: Array,
    kept_state: Array, start: int, stop: int,
) -> None:  # fmt: skip
    """Samples start to stop: current [T, B, 2 N], memory [B, N, N] and state [B, 8, N] in place, out [T, B, 2 N].

    kept [C, B, N, N] and kept_state [C, B, 8, N] get what there was before every SEGMENT steps, if they have room.
    """
    size = memory.shape[1]
    drive, fx, found = np.empty(size, numbers.dtype), np.empty(size, numbers.dtype), np.empty(size, np.int64)
    none = np.empty(0, numbers.dtype)
    for b in range(start, stop):
        w, s = memory[b], state[b]
        for t in range(len(current)):
            if len(kept) > 0 and t % SEGMENT == 0:
                kept[t // SEGMENT, b], kept_state[t // SEGMENT, b] = w, s
            write_step(current[t, b], w, s, numbers, choices, out[t, b], none, drive, fx, found)


@sums
def back_fire(
    to_spikes: Array, slopes: Array, before: Array, g: Array, numbers: Array, choices: Array, to_current: Array
) -> None:
    """Back through `fire`: g [3, N] is the gradient of the state after the step and becomes the one before it.

    `to_spikes` is the gradient of the spikes of this step from elsewhere.
    """
    decay, charge, threshold = numbers[DECAY], numbers[CHARGE], numbers[THRESHOLD]
    subtract, attached = choices[SUBTRACT] == 1, choices[DETACH] == 0
    zero, one = numbers.dtype.type(0), numbers.dtype.type(1)
    for i in range(len(slopes)):
        of_v = g[0, i] + (g[1, i] + to_spikes[i]) * slopes[i]
        to_current[i] = charge * of_v
        if subtract:
            g[0, i], g[1, i] = decay * of_v, -threshold * of_v if attached else zero
        else:
            g[0, i], g[1, i] = decay * (one - before[1, i]) * of_v, -decay * before[0, i] * of_v if attached else zero


@sums
def back_memory(w: Array, g: Array, x: Array, fx: Array, y: Array, numbers: Array, to_x: Array, to_y: Array) -> None:
    """Back through a change of the memory w: g becomes the gradient before it, to_x and to_y are added to.

    (All rows in one function: a call for each takes a fifth of the time of `back_write`.)
    """
    one, soft, top = numbers.dtype.type(1), numbers[SOFT], numbers[TOP]
    pre, post = numbers.dtype.type(2) * numbers[DEPRESSION_PRE], numbers.dtype.type(2) * numbers[DEPRESSION_POST]
    for i in range(len(y)):
        strength, fy = numbers[POTENTIATION] * y[i], numbers[DEPRESSION_POST] * (y[i] * y[i])
        of_strength, product = numbers.dtype.type(0), numbers.dtype.type(0)
        for j in range(len(x)):
            gj, wj, xj = g[i, j], w[i, j], x[j]
            raised, lost = gj * (top - soft * wj), gj * wj
            of_strength += raised * xj
            product += lost
            to_x[j] += strength * raised - pre * xj * lost
            g[i, j] = gj * (one - soft * strength * xj - (fx[j] + fy))
        to_y[i] += numbers[POTENTIATION] * of_strength - post * y[i] * product


@njit
def back_write(
    current: Array, kept: Array, kept_state: Array, numbers: Array, choices: Array, to_out: Array, to_memory: Array,
    to_state: Array, to_current: Array, start: int, stop: int,
) -> None:  # fmt: skip
    """Back through `write`: to_memory and to_state are the gradients of the last ones and become those of the first."""
    kind, size = numbers.dtype, to_memory.shape[1]
    steps = len(current)
    ws, ss = np.empty((SEGMENT + 1, size, size), kind), np.empty((SEGMENT + 1, 8, size), kind)
    slopes, outs = np.empty((SEGMENT, 2 * size), kind), np.empty((SEGMENT, 2 * size), kind)
    drive, fx, found = np.empty(size, kind), np.empty(size, kind), np.empty(size, np.int64)
    to_x, to_keys, to_values = np.empty(size, kind), np.empty(size, kind), np.empty(size, kind)
    rise, decay = numbers[RISE_TRACE], numbers[DECAY_TRACE]
    for b in range(start, stop):
        gw, gs = to_memory[b], to_state[b]
        for segment in range(len(kept) - 1, -1, -1):
            first, last = segment * SEGMENT, min(steps, (segment + 1) * SEGMENT)
            ws[0], ss[0] = kept[segment, b], kept_state[segment, b]
            for k in range(last - first):
                ws[k + 1], ss[k + 1] = ws[k], ss[k]
                write_step(
                    current[first + k, b], ws[k + 1], ss[k + 1], numbers, choices, outs[k], slopes[k], drive, fx, found
                )
            for k in range(last - first - 1, -1, -1):
                t, w, s, x, y = first + k, ws[k], ss[k], ss[k + 1, PRE], ss[k + 1, POST]
                to_x[:] = gs[PRE]
                for j in range(size):
                    fx[j] = numbers[DEPRESSION_PRE] * (x[j] * x[j])
                back_memory(w, gw, x, fx, y, numbers, to_x, gs[POST])
                for i in range(size):
                    to_values[i] = to_out[t, b, size + i] + rise * gs[POST, i]
                    gs[POST, i] = decay * gs[POST, i]
                back_fire(
                    to_values, slopes[k, size:], s[VALUE:PRE], gs[VALUE:PRE], numbers, choices, to_current[t, b, size:]
                )
                for j in range(size):
                    to_keys[j] = to_out[t, b, j] + rise * to_x[j]
                    gs[PRE, j] = decay * to_x[j]
                many = spikes_of(outs[k, :size], found)
                for i in range(size):
                    strength = numbers[RECALL] * to_current[t, b, size + i]
                    if strength != 0:
                        for j in range(size):
                            to_keys[j] += strength * w[i, j]
                        for e in range(many):
                            gw[i, found[e]] += strength
                back_fire(
                    to_keys, slopes[k, :size], s[KEY:VALUE], gs[KEY:VALUE], numbers, choices, to_current[t, b, :size]
                )


@njit
def read(
    current: Array, feedback: Array, memory: Array, state: Array, history: Array, numbers: Array, choices: Array,
    out: Array, slopes: Array, voltages: Array, start: int, stop: int,
) -> None:  # fmt: skip
    """Samples start to stop: current [T, B, N], feedback [value, key], state [B, 6, N] in place, out [T, B, 2 N].

    slopes [T, B, 2 N] and voltages (before each step) are kept, if they have room.
    """
    size, delay = memory.shape[1], len(history)
    drive, found = np.empty(size, numbers.dtype), np.empty(size, np.int64)
    none = np.empty(0, numbers.dtype)
    for b in range(start, stop):
        s = state[b]
        for t in range(len(current)):
            heard = history[t, b] if t < delay else out[t - delay, b, size:]
            drive[:] = current[t, b]
            for i in range(size):
                if heard[i] != 0:
                    for j in range(size):
                        drive[j] += heard[i] * feedback[i, j]
            if len(voltages) > 0:
                voltages[t, b, :size], voltages[t, b, size:] = s[KEY], s[VALUE]
            slope = slopes[t, b] if len(slopes) > 0 else none
            fire(drive, s[KEY:VALUE], numbers, choices, out[t, b, :size], slope[:size])
            recalled(memory[b], out[t, b, :size], found, drive)
            fire(drive, s[VALUE:PRE], numbers, choices, out[t, b, size:], slope[size:])


@sums
def back_read(
    feedback: Array, memory: Array, first_spikes: Array, out: Array, slopes: Array, voltages: Array, numbers: Array,
    choices: Array, to_out: Array, to_state: Array, to_current: Array, to_memory: Array, to_history: Array, start: int,
    stop: int,
) -> None:  # fmt: skip
    """Back through `read`: to_state becomes the gradient of the first state; to_memory and to_history are added to.

    to_out is changed: it gets what comes back through the feedback.
    """
    kind, size, delay = numbers.dtype, memory.shape[1], len(to_history)
    to_keys, before, found = np.empty(size, kind), np.zeros((2, size), kind), np.empty(size, np.int64)
    for b in range(start, stop):
        w, gw, gs = memory[b], to_memory[b], to_state[b]
        for t in range(len(out) - 1, -1, -1):
            for population in range(2):
                part = 1 - population  # values, then keys
                lo, hi, rows = part * size, (part + 1) * size, gs[3 * part : 3 * part + 3]
                if len(voltages) > 0:
                    before[0] = voltages[t, b, lo:hi]
                    before[1] = out[t - 1, b, lo:hi] if t > 0 else first_spikes[b, part]
                if part == 1:
                    back_fire(to_out[t, b, lo:hi], slopes[t, b, lo:hi], before, rows, numbers, choices, to_keys)
                    values = to_keys.copy()
                    to_keys[:] = to_out[t, b, :size]
                    many = spikes_of(out[t, b, :size], found)
                    for i in range(size):
                        strength, row, g = values[i], w[i], gw[i]
                        if strength != 0:
                            for j in range(size):
                                to_keys[j] += strength * row[j]
                            for e in range(many):
                                g[found[e]] += strength
                else:
                    back_fire(to_keys, slopes[t, b, lo:hi], before, rows, numbers, choices, to_current[t, b])
            to_heard = to_history[t, b] if t < delay else to_out[t - delay, b, size:]
            for i in range(size):
                total = to_heard[i]
                for j in range(size):
                    total += feedback[i, j] * to_current[t, b, j]
                to_heard[i] = total


def run(kernel: Any, arrays: list[Any], steps: int, memory: Tensor) -> None:
    """A kernel over all samples, in threads."""
    threads.run(
        kernel,
        [a.detach().numpy() if isinstance(a, Tensor) else a for a in arrays],
        len(memory),
        steps * memory.numel(),
    )


def write_all(
    current: Tensor, memory: Tensor, state: Tensor, constants: Constants, learns: bool
) -> tuple[Tensor, list[Tensor]]:
    """`write` for all samples: the spikes, and what the way back reads; memory and state become the last ones."""
    steps, batch, size = len(current), len(memory), memory.shape[1]
    out = torch.empty_like(current)
    count = -(-steps // SEGMENT) if learns else 0
    kept, kept_state = memory.new_empty(count, batch, size, size), state.new_empty(count, *state.shape)
    run(write, [current, memory, state, *constants, out, kept, kept_state], steps, memory)
    return out, [current, kept, kept_state]


def back_write_all(
    saved: tuple[Tensor, ...], constants: Constants, to_out: Tensor, to_memory: Tensor, to_state: Tensor
) -> Tensor:
    """Back through `write_all`: to_memory and to_state become the gradients of the first ones; that of the current."""
    current, kept, kept_state = saved
    to_current = torch.empty_like(current)
    arrays = [current, kept, kept_state, *constants, to_out, to_memory, to_state, to_current]
    run(back_write, arrays, 4 * len(current), to_memory)
    return to_current


def read_all(
    current: Tensor, turned: Tensor, memory: Tensor, state: Tensor, history: Tensor, constants: Constants, learns: bool
) -> tuple[Tensor, list[Tensor]]:
    """`read` for all samples: the spikes, and what the way back reads; the state becomes the last one.

    `turned` is the weight of the feedback, [value, key].
    """
    first = state.clone()
    out = current.new_empty(*current.shape[:2], 2 * current.shape[2])
    slopes = torch.empty_like(out) if learns else out.new_empty(0, *out.shape[1:])
    voltages = torch.empty_like(slopes) if constants.choices[SUBTRACT] == 0 else out.new_empty(0, *out.shape[1:])
    run(read, [current, turned, memory, state, history, *constants, out, slopes, voltages], len(current), memory)
    return out, [turned, memory, first, history, out, slopes, voltages]


def back_read_all(
    saved: tuple[Tensor, ...], constants: Constants, to_out: Tensor, to_state: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Back through `read_all`: to_state becomes the gradient of the first; those of current, memory and history."""
    turned, memory, first, history, out, slopes, voltages = saved
    to_out = to_out.clone()
    to_current = out.new_empty(*out.shape[:2], memory.shape[1])
    to_memory, to_history = torch.zeros_like(memory), torch.zeros_like(history)
    spikes = first[:, [KEY + 1, VALUE + 1]].contiguous()
    arrays = [turned, memory, spikes, out, slopes, voltages, *constants]
    run(back_read, [*arrays, to_out, to_state, to_current, to_memory, to_history], 4 * len(out), memory)
    return to_current, to_memory, to_history


CPU = Loops(write_all, back_write_all, read_all, back_read_all)
