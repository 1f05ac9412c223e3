"""Compiled CPU loop of a layer of competing neurons with plastic synapses.

An event-driven version of the definition (`network`, step by step): currents are sums of the weight rows of the inputs
that spiked, a synapse is visited only when the rule changes it, the trace of an input is computed from its last spike.
The memory layout of weights is [I, N], so that the row of an input is contiguous.
"""

from typing import Any

import numpy as np

from ...kernels.draws import draw, njit

Array = Any

# Indices into `numbers`, the array of constants; its dtype is that of the voltages. I_: of the inhibitory layer.
(
    REST, RESET, THRESHOLD, REFRACTORY, DECAY_MEM, LOWEST, STEP, DECAY_HOMEOSTASIS, DT, EXCITE, INHIBIT, I_REST,
    I_RESET, I_THRESHOLD, I_REFRACTORY, I_DECAY, I_LOWEST, LR, LR_PRE, TARGET, POWER, W_MIN, W_MAX, KEEP, DECAY_PRE,
    DECAY_POST, DECAY_SLOW, SCALE,
) = range(28)  # fmt: skip
NUMBERS = 28
# Indices into `choices`, the array of flags.
TWO_LAYERS, ONE_WINNER, LEARNS, RULE, SOFT, ADD, TRIPLET, EXACT, LATE = range(9)
CHOICES = 9
SOFT_NONE, SOFT_POST, SOFT_BOTH, SOFT_ORIGINAL = range(4)


@njit
def bound(w: float, up: bool, soft: int, power: float, w_min: float, w_max: float) -> float:
    """Return the soft-bound factor f(w) of the rule; `up` if the weight increases."""
    if soft == SOFT_NONE or (soft == SOFT_POST and not up):
        return 1.0
    room = w - w_min if soft == SOFT_BOTH and not up else w_max - w
    room = max(room, 0.0)
    value: float = room if power == 1.0 else room**power
    return value


@njit
def compete(
    first: Array, unit: Array, count: Array, weight: Array, homeostasis: Array, voltage: Array, refractory: Array,
    noise: Array, gain: Array, spikes: Array, trace_pre: Array, trace_post: Array, trace_slow: Array, i_voltage: Array,
    i_refractory: Array, i_spikes: Array, lateral: Array, numbers: Array, choices: Array, fired: Array,
) -> int:  # fmt: skip
    """Run T steps in place; write step, sample and neuron of every spike to `fired` [max, 3]; return their number.

    Rows of events: first those of the step before the first one, then of every step t, by sample b: row (t + 1) B + b.
    Returns -1 if `fired` is too small; the results are then invalid.
    """
    batch, size = voltage.shape
    inputs = weight.shape[0]
    steps = (len(first) - 1) // batch - 1
    kind = voltage.dtype.type
    zero, one = kind(0), kind(1)
    rest, reset, threshold, wait = numbers[REST], numbers[RESET], numbers[THRESHOLD], numbers[REFRACTORY]
    decay_mem, lowest, dt = numbers[DECAY_MEM], numbers[LOWEST], numbers[DT]
    half = kind(0.5) * dt
    excite, inhibit = numbers[EXCITE], numbers[INHIBIT]
    i_rest, i_reset, i_threshold, i_wait = (
        numbers[I_REST],
        numbers[I_RESET],
        numbers[I_THRESHOLD],
        numbers[I_REFRACTORY],
    )
    i_decay, i_lowest = numbers[I_DECAY], numbers[I_LOWEST]
    lr, lr_pre, target, power = numbers[LR], numbers[LR_PRE], numbers[TARGET], numbers[POWER]
    w_min, w_max, keep, scale = numbers[W_MIN], numbers[W_MAX], numbers[KEEP], numbers[SCALE]
    decay_post, decay_slow = numbers[DECAY_POST], numbers[DECAY_SLOW]
    two, one_winner, learns = choices[TWO_LAYERS] == 1, choices[ONE_WINNER] == 1, choices[LEARNS] == 1
    rule, soft, add, triplet = choices[RULE] == 1 and learns, choices[SOFT], choices[ADD] == 1, choices[TRIPLET] == 1
    exact, late = choices[EXACT] == 1, choices[LATE] == 1
    by_pre = lr_pre != zero
    matrix = lateral.shape[0] > 0

    current, crossed = np.empty(size, voltage.dtype), np.zeros((batch, size), np.uint8)
    limit = np.empty(size, voltage.dtype)
    bumps = np.zeros(size, np.int64)
    # age[n]: decay of a presynaptic trace over n steps; last[b, i]: last spike of an input
    age = np.empty(steps + 1, voltage.dtype)
    age[0] = one
    for t in range(steps):
        age[t + 1] = age[t] * numbers[DECAY_PRE]
    last = np.full((batch, inputs), -1, np.int32)
    column, uniform = np.empty(inputs, voltage.dtype), np.empty(1, np.float32)
    # dirty[b, :dirties[b]]: neurons with a postsynaptic trace; done[j]: last step in which neuron j was updated
    dirty, dirties = np.empty((batch, size), np.int32), np.zeros(batch, np.int64)
    is_dirty = np.zeros((batch, size), np.uint8)
    done = np.full(size, -1, np.int64)
    before, before_slow = trace_post, trace_slow  # traces before this step; only triplet needs copies
    if triplet:
        before, before_slow = trace_post.copy(), trace_slow.copy()
    if by_pre and rule:
        for b in range(batch):
            for j in range(size):
                if trace_post[b, j] > zero:
                    dirty[b, dirties[b]] = j
                    dirties[b] += 1
                    is_dirty[b, j] = 1
    # neurons that spiked in the previous step, as lists: excitatory (e_) and inhibitory (i_)
    e_list, e_len = np.empty((batch, size), np.int32), np.zeros(batch, np.int64)
    i_list, i_len = np.empty((batch, size), np.int32), np.zeros(batch, np.int64)
    for b in range(batch):
        for j in range(size):
            if spikes[b, j] > zero:
                e_list[b, e_len[b]] = j
                e_len[b] += 1
            if two and i_spikes[b, j] > zero:
                i_list[b, i_len[b]] = j
                i_len[b] += 1
    total = 0
    for t in range(steps):
        if learns:
            for j in range(size):
                homeostasis[j] *= numbers[DECAY_HOMEOSTASIS]
                bumps[j] = 0
        for j in range(size):
            limit[j] = threshold + homeostasis[j]
        start = total
        for b in range(batch):
            current[:] = zero
            row = t * batch + b
            for k in range(first[row], first[row + 1]):
                source, times = weight[unit[k]], count[k]
                if times == one:
                    for j in range(size):
                        current[j] += source[j]
                else:
                    for j in range(size):
                        current[j] += times * source[j]
            strength = gain[b] * scale
            if strength != one:
                for j in range(size):
                    current[j] *= strength
            sources, many = (i_list[b], i_len[b]) if two else (e_list[b], e_len[b])
            if many > 0 and matrix:
                for k in range(many):
                    source = lateral[sources[k]]
                    for j in range(size):
                        current[j] += source[j]
            elif many > 0:
                for j in range(size):
                    current[j] -= inhibit * kind(many)
                for k in range(many):
                    current[sources[k]] += inhibit
            v, r = voltage[b], refractory[b]
            hits = 0
            mark = crossed[b]
            for j in range(size):
                moved = decay_mem * (v[j] - rest) + rest
                moved = moved + current[j] if r[j] <= half else moved
                hit = moved >= limit[j]
                r[j] = wait if hit else r[j] - dt
                moved = reset if hit else moved
                v[j] = max(moved, lowest)
                mark[j] = hit
                hits += hit
            # inhibitory neurons receive the excitatory spikes of the previous step
            if two:
                iv, ir = i_voltage[b], i_refractory[b]
                i_len[b] = 0
                if exact:
                    for j in range(size):
                        iv[j] = i_decay * (iv[j] - i_rest) + i_rest
                        ir[j] -= dt
                    for k in range(e_len[b]):
                        j = e_list[b, k]
                        iv[j], ir[j] = i_reset, i_wait
                        i_list[b, k] = j
                    i_len[b] = e_len[b]
                else:
                    for j in range(size):
                        moved = i_decay * (iv[j] - i_rest) + i_rest
                        if ir[j] <= half:
                            for k in range(e_len[b]):
                                if e_list[b, k] == j:
                                    moved += excite
                        hit = moved >= i_threshold
                        ir[j] = i_wait if hit else ir[j] - dt
                        moved = i_reset if hit else moved
                        iv[j] = max(moved, i_lowest)
                        if hit:
                            i_list[b, i_len[b]] = j
                            i_len[b] += 1
            e_len[b] = 0
            if hits > 0:
                winner = 0
                if one_winner:
                    draw(noise[b : b + 1], t, 0, 1, 1, uniform)
                    winner = int(uniform[0] * np.float32(hits))
                seen = 0
                for j in range(size):
                    if mark[j]:
                        bumps[j] += 1
                        if not one_winner or seen == winner:
                            if total >= len(fired):
                                return -1
                            fired[total, 0], fired[total, 1], fired[total, 2] = t, b, j
                            total += 1
                            e_list[b, e_len[b]] = j
                            e_len[b] += 1
                        seen += 1
        if learns:
            for j in range(size):
                homeostasis[j] += numbers[STEP] * kind(bumps[j])
        if not rule:
            continue
        # traces of this step: postsynaptic, then presynaptic (after the weight updates if trace_delay is 1)
        for b in range(batch):
            for j in range(size):
                trace_post[b, j] *= decay_post
            if triplet:
                for j in range(size):
                    trace_slow[b, j] *= decay_slow
                before[b], before_slow[b] = trace_post[b], trace_slow[b]
            for k in range(e_len[b]):
                j = e_list[b, k]
                trace_post[b, j] = trace_post[b, j] + one if add else one
                if triplet:
                    trace_slow[b, j] = trace_slow[b, j] + one if add else one
                if by_pre and not is_dirty[b, j] and not triplet:
                    dirty[b, dirties[b]] = j
                    dirties[b] += 1
                    is_dirty[b, j] = 1
        for part in range(2):
            if (part == 1) == late:
                for b in range(batch):
                    row = (t + 1) * batch + b
                    for k in range(first[row], first[row + 1]):
                        i = unit[k]
                        if add:
                            trace_pre[b, i] = trace_pre[b, i] * age[t - last[b, i]] + one
                        else:
                            trace_pre[b, i] = one
                        last[b, i] = t
                continue
            # weights of neurons that spiked in this step
            for k in range(start, total):
                j = fired[k, 2]
                if done[j] == t:
                    continue
                done[j] = t
                column[:] = zero
                for other in range(k, total):
                    if fired[other, 2] != j:
                        continue
                    b = fired[other, 1]
                    step = lr * before_slow[b, j] if triplet else lr
                    if step == zero:
                        continue
                    pre, when = trace_pre[b], last[b]
                    for i in range(inputs):
                        x = pre[i] * age[t - when[i]] - target
                        column[i] += step * x * bound(weight[i, j], x > zero, soft, power, w_min, w_max)
                if by_pre:
                    for b in range(batch):
                        seen_trace = before[b, j] if triplet else trace_post[b, j]
                        if seen_trace > zero:
                            row = (t + 1) * batch + b
                            for e in range(first[row], first[row + 1]):
                                i = unit[e]
                                column[i] -= (
                                    lr_pre * seen_trace * bound(weight[i, j], lr_pre < zero, soft, power, w_min, w_max)
                                )
                for i in range(inputs):
                    weight[i, j] = min(max(weight[i, j] + column[i], w_min), w_max)
        # weights from inputs that spike now onto neurons with a postsynaptic trace
        if by_pre:
            for b in range(batch):
                row = (t + 1) * batch + b
                for e in range(first[row], first[row + 1]):
                    i = unit[e]
                    for k in range(dirties[b]):
                        j = dirty[b, k]
                        if done[j] != t:
                            w = weight[i, j]
                            w -= lr_pre * trace_post[b, j] * bound(w, lr_pre < zero, soft, power, w_min, w_max)
                            weight[i, j] = min(max(w, w_min), w_max)
                if triplet:
                    for k in range(e_len[b]):
                        j = e_list[b, k]
                        if not is_dirty[b, j]:
                            dirty[b, dirties[b]] = j
                            dirties[b] += 1
                            is_dirty[b, j] = 1
        if keep != one:
            for i in range(inputs):
                for j in range(size):
                    weight[i, j] = min(max(weight[i, j] * keep, w_min), w_max)
    for b in range(batch):
        spikes[b] = zero
        for k in range(e_len[b]):
            spikes[b, e_list[b, k]] = one
        if two:
            i_spikes[b] = zero
            for k in range(i_len[b]):
                i_spikes[b, i_list[b, k]] = one
        if rule:
            for i in range(inputs):
                trace_pre[b, i] *= age[steps - 1 - last[b, i]]
    return total


@njit
def normalise_columns(weight: Array, total: float, w_min: float, w_max: float, columns: Array) -> None:
    """Scale columns of weight [I, N] in place, so that their absolute values sum up to `total` within the bounds.

    `rules.normalise` is the definition.
    """
    inputs = weight.shape[0]
    for j in columns:
        left, at_bound = total, 0
        while True:
            free = 0.0
            for i in range(inputs):
                if weight[i, j] < w_max or at_bound == 0:
                    free += abs(weight[i, j])
            if free <= 0.0 or left <= 0.0:
                break
            factor = weight.dtype.type(left / free)
            reached = 0
            for i in range(inputs):
                if weight[i, j] < w_max or at_bound == 0:
                    weight[i, j] = min(weight[i, j] * factor, w_max)
                    reached += weight[i, j] >= w_max
            if reached == 0:
                break
            at_bound += reached
            left = total - at_bound * w_max
        for i in range(inputs):
            weight[i, j] = max(weight[i, j], w_min)
