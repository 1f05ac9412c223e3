"""CPU loops of the memory, and their exact adjoints; `gpu` implements them for the GPU.

A thread processes one sample after another, all steps at once: the sample's memory [N, N] stays in the cache. Only keys
that spike read it. The backward pass needs the memory of every step: one in `SEGMENT` steps is saved, the others are
recomputed, segment by segment. The update of a synapse is written with factors, so that all Hebbian rules are one loop:

    w <- w (1 - soft a - fx_j - fy_i) + top a,   a = potentiation y_i x_j

Names (N = size; C = T / SEGMENT; a name with grad_ is the gradient of that value):

    w [N, N]               memory of a sample, row = value neuron i, column = key neuron j
    s [8, N], [6, N]       state of a sample: rows KEY, VALUE (voltage, spikes, steps left each), PRE, POST (traces)
    x, y [N]               traces of keys and values;  fx = depression_pre x^2, fy = depression_post y^2: forgetting
    numbers, choices       constants, by the indices of `plan`
    out, slopes [.., 2 N]  spikes, keys first, and d spike / d voltage of each (0 while refractory); grad_out of `read`
                           also collects gradients that arrive through the feedback
    drive [N]              current into the values (or, while reading, the keys)
    found [N]              indices of the keys that spike, the first `many` of them are valid
    kept, kept_state       memory and state before every SEGMENT steps, [C, B, N, N] and [C, B, 8, N]
    ws, ss, outs           memories, states and spikes of a segment, recomputed
    fed_back [N]           value spikes that reach the keys now;  history [delay, B, N]: those before the first step
    a, strength, lost, raised   products that an update and its gradient share
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import compiled
from ...kernels.draws import njit
from ...kernels.engines import threads
from ...kernels.synapses.products import copy
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
"""Steps between two memories that are saved for the backward pass: an item of the paper takes as many."""
sums = compiled.njit(fastmath={"reassoc", "contract"})


@njit
def fire(current: Array, s: Array, numbers: Array, choices: Array, out: Array, slopes: Array) -> None:
    """Compute one step of LIF neurons in place; s [3, N] is voltage, spikes, refractory steps left.

    `slopes` gets the surrogate gradient of each spike by its voltage, unless it is empty.
    """
    zero, one = numbers.dtype.type(0), numbers.dtype.type(1)
    decay, charge, threshold, gain = numbers[DECAY], numbers[CHARGE], numbers[THRESHOLD], numbers[GAIN]
    refractory, subtract = numbers.dtype.type(choices[REFRACTORY]), choices[SUBTRACT] == 1
    for i in range(len(current)):
        v, z, left = s[0, i], s[1, i], s[2, i]  # z: spike of the step before, whose reset acts now
        held, taken = (v, threshold * z) if subtract else (v - v * z, zero)
        v = decay * held + charge * current[i] - taken
        distance = (v - threshold) / threshold
        free = left <= zero
        spike = one if free and distance > zero else zero
        spike = distance if free and distance != distance else spike  # NaN propagates
        if len(slopes) > 0:
            slopes[i] = gain * max(one - abs(distance), zero) / threshold if free else zero
        s[0, i], s[1, i] = v, spike
        s[2, i] = refractory if spike > zero else max(left - one, zero)
        out[i] = spike


@njit
def spikes_of(spikes: Array, found: Array) -> int:
    """Write the indices of spikes to `found`; return their number."""
    many = 0
    for j in range(len(spikes)):
        if spikes[j] != 0:
            found[many] = j
            many += 1
    return many


@njit
def recalled(w: Array, keys: Array, found: Array, out: Array) -> int:
    """out = w @ keys, for keys of 0 and 1 (or NaN); write the indices of the ones to `found`; return their number."""
    many: int = spikes_of(keys, found)
    certain = out.dtype.type(0)  # NaN if any key is NaN
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
    """Compute one step of a sample in place: memory w, state s [8, N]; current [2 N], keys first."""
    size = len(drive)
    fire(current[:size], s[KEY:VALUE], numbers, choices, out[:size], slopes[:size])
    if recalled(w, out[:size], found, drive) == 0:
        copy(current[size:], drive)
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
    """Write samples start to stop: current and out [T, B, 2 N]; memory [B, N, N] and state [B, 8, N] in place.

    kept [C, B, N, N] and kept_state [C, B, 8, N] get memory and state before every SEGMENT steps, unless empty.
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
    grad_spikes: Array, slopes: Array, before: Array, grad_s: Array, numbers: Array, choices: Array, grad_current: Array
) -> None:
    """Backward pass of `fire`: grad_s [3, N], the gradient of the state after the step, becomes that before it.

    `grad_spikes` is the gradient of this step's spikes from elsewhere; `before` the state before the step.
    """
    decay, charge, threshold = numbers[DECAY], numbers[CHARGE], numbers[THRESHOLD]
    subtract, attached = choices[SUBTRACT] == 1, choices[DETACH] == 0
    zero, one = numbers.dtype.type(0), numbers.dtype.type(1)
    for i in range(len(slopes)):
        grad_v = grad_s[0, i] + (grad_s[1, i] + grad_spikes[i]) * slopes[i]
        grad_current[i] = charge * grad_v
        if subtract:
            grad_s[0, i], grad_s[1, i] = decay * grad_v, -threshold * grad_v if attached else zero
        else:
            grad_s[0, i], grad_s[1, i] = (
                decay * (one - before[1, i]) * grad_v,
                -decay * before[0, i] * grad_v if attached else zero,
            )


@sums
def back_memory(
    w: Array, grad_w: Array, x: Array, fx: Array, y: Array, numbers: Array, grad_x: Array, grad_y: Array
) -> None:
    """Backward pass of an update of the memory: grad_w becomes the gradient before it; grad_x and grad_y are added to.

    `w` is the memory before the update. (All rows in one function: a call per row takes a fifth of the time of
    `back_write`.)
    """
    one, soft, top = numbers.dtype.type(1), numbers[SOFT], numbers[TOP]
    pre, post = numbers.dtype.type(2) * numbers[DEPRESSION_PRE], numbers.dtype.type(2) * numbers[DEPRESSION_POST]
    for i in range(len(y)):
        strength, fy = numbers[POTENTIATION] * y[i], numbers[DEPRESSION_POST] * (y[i] * y[i])
        grad_strength, product = numbers.dtype.type(0), numbers.dtype.type(0)
        for j in range(len(x)):
            grad_wj, wj, xj = grad_w[i, j], w[i, j], x[j]
            raised, lost = grad_wj * (top - soft * wj), grad_wj * wj  # gradients of a, and of -(fx + fy)
            grad_strength += raised * xj
            product += lost
            grad_x[j] += strength * raised - pre * xj * lost
            grad_w[i, j] = grad_wj * (one - soft * strength * xj - (fx[j] + fy))
        grad_y[i] += numbers[POTENTIATION] * grad_strength - post * y[i] * product


@njit
def back_write(
    current: Array, kept: Array, kept_state: Array, numbers: Array, choices: Array, grad_out: Array, grad_memory: Array,
    grad_state: Array, grad_current: Array, start: int, stop: int,
) -> None:  # fmt: skip
    """Backward pass of `write`: grad_memory and grad_state, of the final memory and state, become those of the first.

    `grad_current` gets the gradient of the current.
    """
    kind, size = numbers.dtype, grad_memory.shape[1]
    steps = len(current)
    ws, ss = np.empty((SEGMENT + 1, size, size), kind), np.empty((SEGMENT + 1, 8, size), kind)
    slopes, outs = np.empty((SEGMENT, 2 * size), kind), np.empty((SEGMENT, 2 * size), kind)
    drive, fx, found = np.empty(size, kind), np.empty(size, kind), np.empty(size, np.int64)
    grad_x, grad_keys, grad_values = np.empty(size, kind), np.empty(size, kind), np.empty(size, kind)
    rise, decay = numbers[RISE_TRACE], numbers[DECAY_TRACE]
    for b in range(start, stop):
        grad_w, grad_s = grad_memory[b], grad_state[b]
        for segment in range(len(kept) - 1, -1, -1):
            first, last = segment * SEGMENT, min(steps, (segment + 1) * SEGMENT)
            # forward again: memory, state and surrogate gradients of all steps of the segment
            ws[0], ss[0] = kept[segment, b], kept_state[segment, b]
            for k in range(last - first):
                ws[k + 1], ss[k + 1] = ws[k], ss[k]
                write_step(
                    current[first + k, b], ws[k + 1], ss[k + 1], numbers, choices, outs[k], slopes[k], drive, fx, found
                )
            for k in range(last - first - 1, -1, -1):
                # the operations of a step in reverse: update of the memory, values, recall, keys
                t, w, s, x, y = first + k, ws[k], ss[k], ss[k + 1, PRE], ss[k + 1, POST]
                copy(grad_s[PRE], grad_x)
                for j in range(size):
                    fx[j] = numbers[DEPRESSION_PRE] * (x[j] * x[j])
                back_memory(w, grad_w, x, fx, y, numbers, grad_x, grad_s[POST])
                for i in range(size):
                    grad_values[i] = grad_out[t, b, size + i] + rise * grad_s[POST, i]
                    grad_s[POST, i] = decay * grad_s[POST, i]
                back_fire(
                    grad_values,
                    slopes[k, size:],
                    s[VALUE:PRE],
                    grad_s[VALUE:PRE],
                    numbers,
                    choices,
                    grad_current[t, b, size:],
                )
                for j in range(size):
                    grad_keys[j] = grad_out[t, b, j] + rise * grad_x[j]
                    grad_s[PRE, j] = decay * grad_x[j]
                many = spikes_of(outs[k, :size], found)
                for i in range(size):  # recall: drive += recall * w @ keys
                    strength = numbers[RECALL] * grad_current[t, b, size + i]
                    if strength != 0:
                        for j in range(size):
                            grad_keys[j] += strength * w[i, j]
                        for e in range(many):
                            grad_w[i, found[e]] += strength
                back_fire(
                    grad_keys,
                    slopes[k, :size],
                    s[KEY:VALUE],
                    grad_s[KEY:VALUE],
                    numbers,
                    choices,
                    grad_current[t, b, :size],
                )


@njit
def read(
    current: Array, feedback: Array, memory: Array, state: Array, history: Array, numbers: Array, choices: Array,
    out: Array, slopes: Array, voltages: Array, start: int, stop: int,
) -> None:  # fmt: skip
    """Read samples start to stop: current [T, B, N], feedback [value, key], state [B, 6, N] in place, out [T, B, 2 N].

    slopes and voltages (before each step) [T, B, 2 N] are saved, unless they are empty.
    """
    size, delay = memory.shape[1], len(history)
    drive, found = np.empty(size, numbers.dtype), np.empty(size, np.int64)
    none = np.empty(0, numbers.dtype)
    for b in range(start, stop):
        s = state[b]
        for t in range(len(current)):
            fed_back = history[t, b] if t < delay else out[t - delay, b, size:]
            copy(current[t, b], drive)
            for i in range(size):
                if fed_back[i] != 0:
                    for j in range(size):
                        drive[j] += fed_back[i] * feedback[i, j]
            if len(voltages) > 0:
                copy(s[KEY], voltages[t, b, :size])
                copy(s[VALUE], voltages[t, b, size:])
            slope = slopes[t, b] if len(slopes) > 0 else none
            fire(drive, s[KEY:VALUE], numbers, choices, out[t, b, :size], slope[:size])
            recalled(memory[b], out[t, b, :size], found, drive)
            fire(drive, s[VALUE:PRE], numbers, choices, out[t, b, size:], slope[size:])


@sums
def back_read(
    feedback: Array, memory: Array, first_spikes: Array, out: Array, slopes: Array, voltages: Array, numbers: Array,
    choices: Array, grad_out: Array, grad_state: Array, grad_current: Array, grad_memory: Array, grad_history: Array,
    start: int, stop: int,
) -> None:  # fmt: skip
    """Backward pass of `read`: grad_state becomes that of the initial state; grad_memory, grad_history are added to.

    grad_out is modified: the gradients of fed back value spikes are added to it.
    """
    kind, size, delay = numbers.dtype, memory.shape[1], len(grad_history)
    # `before`: voltage and spikes before the step, read only if the reset multiplies them (empty `voltages` otherwise)
    grad_keys, before, found = np.empty(size, kind), np.zeros((2, size), kind), np.empty(size, np.int64)
    for b in range(start, stop):
        w, grad_w, grad_s = memory[b], grad_memory[b], grad_state[b]
        for t in range(len(out) - 1, -1, -1):
            for population in range(2):
                part = 1 - population  # values, then keys
                lo, hi, rows = part * size, (part + 1) * size, grad_s[3 * part : 3 * part + 3]
                if len(voltages) > 0:
                    copy(voltages[t, b, lo:hi], before[0])
                    copy(out[t - 1, b, lo:hi] if t > 0 else first_spikes[b, part], before[1])
                if part == 1:
                    back_fire(grad_out[t, b, lo:hi], slopes[t, b, lo:hi], before, rows, numbers, choices, grad_keys)
                    values = grad_keys.copy()
                    copy(grad_out[t, b, :size], grad_keys)
                    many = spikes_of(out[t, b, :size], found)
                    for i in range(size):
                        strength, row, grad_row = values[i], w[i], grad_w[i]
                        if strength != 0:
                            for j in range(size):
                                grad_keys[j] += strength * row[j]
                            for e in range(many):
                                grad_row[found[e]] += strength
                else:
                    back_fire(grad_keys, slopes[t, b, lo:hi], before, rows, numbers, choices, grad_current[t, b])
            # spikes that were fed back: a step of the output `delay` earlier, or of the history
            grad_fed_back = grad_history[t, b] if t < delay else grad_out[t - delay, b, size:]
            for i in range(size):
                total = grad_fed_back[i]
                for j in range(size):
                    total += feedback[i, j] * grad_current[t, b, j]
                grad_fed_back[i] = total


def run(kernel: Any, arrays: list[Any], steps: int, memory: Tensor) -> None:
    """Run a kernel over all samples, in threads."""
    threads.run(
        kernel,
        [a.detach().numpy() if isinstance(a, Tensor) else a for a in arrays],
        len(memory),
        steps * memory.numel(),
    )


def write_all(
    current: Tensor, memory: Tensor, state: Tensor, constants: Constants, learns: bool
) -> tuple[Tensor, list[Tensor]]:
    """Run `write` for all samples, memory and state in place; return the spikes, and tensors for the backward pass."""
    steps, batch, size = len(current), len(memory), memory.shape[1]
    out = torch.empty_like(current)
    count = -(-steps // SEGMENT) if learns else 0
    kept, kept_state = memory.new_empty(count, batch, size, size), state.new_empty(count, *state.shape)
    run(write, [current, memory, state, *constants, out, kept, kept_state], steps, memory)
    return out, [current, kept, kept_state]


def back_write_all(
    saved: tuple[Tensor, ...], constants: Constants, grad_out: Tensor, grad_memory: Tensor, grad_state: Tensor
) -> Tensor:
    """Backward pass of `write_all`: return grad_current; grad_memory and grad_state are updated as by `back_write`."""
    current, kept, kept_state = saved
    grad_current = torch.empty_like(current)
    arrays = [current, kept, kept_state, *constants, grad_out, grad_memory, grad_state, grad_current]
    run(back_write, arrays, 4 * len(current), grad_memory)
    return grad_current


def read_all(
    current: Tensor, turned: Tensor, memory: Tensor, state: Tensor, history: Tensor, constants: Constants, learns: bool
) -> tuple[Tensor, list[Tensor]]:
    """Run `read` for all samples, the state in place; return the spikes, and tensors for the backward pass.

    `turned` is the transposed weight of the feedback, [value, key].
    """
    first = state.clone()
    out = current.new_empty(*current.shape[:2], 2 * current.shape[2])
    slopes = torch.empty_like(out) if learns else out.new_empty(0, *out.shape[1:])
    voltages = torch.empty_like(slopes) if constants.choices[SUBTRACT] == 0 else out.new_empty(0, *out.shape[1:])
    run(read, [current, turned, memory, state, history, *constants, out, slopes, voltages], len(current), memory)
    return out, [turned, memory, first, history, out, slopes, voltages]


def back_read_all(
    saved: tuple[Tensor, ...], constants: Constants, grad_out: Tensor, grad_state: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Backward pass of `read_all`: return the gradients of current, memory and history; grad_state as `back_read`."""
    turned, memory, first, history, out, slopes, voltages = saved
    grad_out = grad_out.clone()
    grad_current = out.new_empty(*out.shape[:2], memory.shape[1])
    grad_memory, grad_history = torch.zeros_like(memory), torch.zeros_like(history)
    spikes = first[:, [KEY + 1, VALUE + 1]].contiguous()
    arrays = [turned, memory, spikes, out, slopes, voltages, *constants]
    run(back_read, [*arrays, grad_out, grad_state, grad_current, grad_memory, grad_history], 4 * len(out), memory)
    return grad_current, grad_memory, grad_history


CPU = Loops(write_all, back_write_all, read_all, back_read_all)
