"""Compiled CPU loop of a layer of competing neurons with plastic synapses.

An event-driven version of the definition (`network`, step by step): currents are sums of the weight rows of the inputs
that spiked, a synapse is visited only when the rule changes it, the trace of an input is computed from its last spike.
The memory layout of weights is [I, N], so that the row of an input is contiguous. The parts of `compete` are inlined:
as functions, they would count references to their arrays at every call.
"""

from typing import Any, NamedTuple

import numpy as np

from ...kernels.draws import draw, inlined, njit

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


class NeuronLists(NamedTuple):
    """A list of neurons for each sample."""

    neurons: Array  # int32 [B, N], of which the first `count` are in the list
    count: Array  # int64 [B]


class InputEvents(NamedTuple):
    """Input spikes, by step and sample: those of the step before the first one, then row (t + 1) B + b of step t."""

    first: Array  # [rows + 1]
    unit: Array
    count: Array


class Traces(NamedTuple):
    """Traces of the rule; those of an input are computed from its last spike."""

    pre: Array  # [B, I], at the last spike
    last: Array  # int32 [B, I], step of the last spike
    age: Array  # [T + 1], decay of a presynaptic trace over n steps
    post: Array  # [B, N]
    before: Array  # of `post` before the spikes of this step; a copy for rule triplet only
    before_slow: Array  # the same of the slow trace
    nonzero: NeuronLists  # neurons with a postsynaptic trace, for learning at presynaptic spikes
    is_nonzero: Array  # [B, N]


@inlined
def append(lists: NeuronLists, b: int, j: int) -> None:
    """Append neuron j to the list of sample b."""
    lists.neurons[b, lists.count[b]] = j
    lists.count[b] += 1


@inlined
def append_nonzero(traces: Traces, b: int, j: int) -> None:
    """Append neuron j to the neurons with a postsynaptic trace, unless it is one of them."""
    if not traces.is_nonzero[b, j]:
        append(traces.nonzero, b, j)
        traces.is_nonzero[b, j] = 1


@inlined
def append_spiking(traces: Traces, spiking: NeuronLists) -> None:
    """Append the neurons that spike to those with a postsynaptic trace."""
    for b in range(len(spiking.count)):
        for k in range(spiking.count[b]):
            append_nonzero(traces, b, spiking.neurons[b, k])


@inlined
def input_current(current: Array, weight: Array, events: InputEvents, row: int, strength: float) -> None:
    """Set the currents to the sum of the weights of the inputs that spiked, times `strength`."""
    size = len(current)
    one = current.dtype.type(1)
    current[:] = current.dtype.type(0)
    first, unit, count = events
    for k in range(first[row], first[row + 1]):
        source, times = weight[unit[k]], count[k]
        if times == one:
            for j in range(size):
                current[j] += source[j]
        else:
            for j in range(size):
                current[j] += times * source[j]
    if strength != one:
        for j in range(size):
            current[j] *= strength


@inlined
def inhibition(current: Array, sources: Array, many: int, lateral: Array, inhibit: float) -> None:
    """Add the inhibition by the first `many` of `sources`: their rows of `lateral`, or uniform if that is empty."""
    size = len(current)
    if many > 0 and lateral.shape[0] > 0:
        for k in range(many):
            source = lateral[sources[k]]
            for j in range(size):
                current[j] += source[j]
    elif many > 0:
        for j in range(size):
            current[j] -= inhibit * current.dtype.type(many)
        for k in range(many):
            current[sources[k]] += inhibit


@inlined
def excitatory_step(v: Array, r: Array, current: Array, limit: Array, crossed: Array, numbers: Array) -> int:
    """Advance the membranes of a sample; `crossed` are the neurons not below their threshold; return their number."""
    rest, reset, wait, dt = numbers[REST], numbers[RESET], numbers[REFRACTORY], numbers[DT]
    decay, lowest, half = numbers[DECAY_MEM], numbers[LOWEST], v.dtype.type(0.5) * numbers[DT]
    hits = 0
    for j in range(len(v)):
        moved = decay * (v[j] - rest) + rest
        moved = moved + current[j] if r[j] <= half else moved
        hit = moved >= limit[j]
        r[j] = wait if hit else r[j] - dt
        moved = reset if hit else moved
        v[j] = max(moved, lowest)
        crossed[j] = hit
        hits += hit
    return hits


@inlined
def inhibitory_step(
    v: Array, r: Array, b: int, excitatory: NeuronLists, inhibitory: NeuronLists, numbers: Array, exact: bool
) -> None:  # fmt: skip
    """Advance the inhibitory partners, which receive the excitatory spikes of the previous step, and list their spikes.

    `exact`: every excitatory spike makes its partner spike.
    """
    rest, reset, wait, dt = numbers[I_REST], numbers[I_RESET], numbers[I_REFRACTORY], numbers[DT]
    decay, lowest, half = numbers[I_DECAY], numbers[I_LOWEST], v.dtype.type(0.5) * numbers[DT]
    threshold, excite = numbers[I_THRESHOLD], numbers[EXCITE]
    inhibitory.count[b] = 0
    if exact:
        for j in range(len(v)):
            v[j] = decay * (v[j] - rest) + rest
            r[j] -= dt
        for k in range(excitatory.count[b]):
            j = excitatory.neurons[b, k]
            v[j], r[j] = reset, wait
            append(inhibitory, b, j)
        return
    for j in range(len(v)):
        moved = decay * (v[j] - rest) + rest
        if r[j] <= half:
            for k in range(excitatory.count[b]):
                if excitatory.neurons[b, k] == j:
                    moved += excite
        hit = moved >= threshold
        r[j] = wait if hit else r[j] - dt
        moved = reset if hit else moved
        v[j] = max(moved, lowest)
        if hit:
            append(inhibitory, b, j)


@inlined
def fire(
    crossed: Array, hits: int, one_winner: bool, noise: Array, t: int, b: int, uniform: Array, bumps: Array,
    excitatory: NeuronLists, fired: Array, total: int,
) -> int:  # fmt: skip
    """List the neurons that spike, of those that crossed the threshold; return the length of `fired`, -1 if too small.

    All that crossed it count in `bumps`, for the homeostasis.
    """
    winner, seen = 0, 0
    if one_winner:
        draw(noise[b : b + 1], t, 0, 1, 1, uniform)
        winner = int(uniform[0] * np.float32(hits))
    for j in range(len(crossed)):
        if crossed[j]:
            bumps[j] += 1
            if not one_winner or seen == winner:
                if total >= len(fired):
                    return -1
                fired[total, 0], fired[total, 1], fired[total, 2] = t, b, j
                total += 1
                append(excitatory, b, j)
            seen += 1
    return total


@inlined
def spike_traces(trace: Array, decay: float, spiking: NeuronLists, add: bool) -> None:
    """Decay the traces of a layer, then let the neurons that spike set theirs to 1, or add 1."""
    batch, size = trace.shape
    for b in range(batch):
        for j in range(size):
            trace[b, j] *= decay
        for k in range(spiking.count[b]):
            j = spiking.neurons[b, k]
            trace[b, j] = trace[b, j] + trace.dtype.type(1) if add else trace.dtype.type(1)


@inlined
def presynaptic_traces(traces: Traces, events: InputEvents, t: int, add: bool) -> None:
    """Advance the traces of the inputs that spike in step t."""
    pre, last, age, first, unit = traces.pre, traces.last, traces.age, events.first, events.unit
    one, batch = pre.dtype.type(1), len(pre)
    for b in range(batch):
        row = (t + 1) * batch + b
        for k in range(first[row], first[row + 1]):
            i = unit[k]
            pre[b, i] = pre[b, i] * age[t - last[b, i]] + one if add else one
            last[b, i] = t


@inlined
def learn_at_post(
    weight: Array, traces: Traces, events: InputEvents, t: int, fired: Array, start: int, total: int, done: Array,
    column: Array, numbers: Array, choices: Array,
) -> None:  # fmt: skip
    """Change the weights of the neurons that spiked in step t, fired[start:total]; `done` is set to t for them."""
    kind, batch, soft, triplet = weight.dtype.type, len(traces.pre), choices[SOFT], choices[TRIPLET] == 1
    first, unit, age = events.first, events.unit, traces.age
    pre, last, before_slow = traces.pre, traces.last, traces.before_slow
    source = traces.before if triplet else traces.post
    lr, lr_pre, target, power = numbers[LR], numbers[LR_PRE], numbers[TARGET], numbers[POWER]
    w_min, w_max, zero = numbers[W_MIN], numbers[W_MAX], kind(0)
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
            for i in range(len(column)):
                x = pre[b, i] * age[t - last[b, i]] - target
                column[i] += step * x * bound(weight[i, j], x > zero, soft, power, w_min, w_max)
        if lr_pre != zero:
            for b in range(batch):
                post = source[b, j]
                if post > zero:
                    row = (t + 1) * batch + b
                    for e in range(first[row], first[row + 1]):
                        i = unit[e]
                        column[i] -= lr_pre * post * bound(weight[i, j], lr_pre < zero, soft, power, w_min, w_max)
        for i in range(len(column)):
            weight[i, j] = min(max(weight[i, j] + column[i], w_min), w_max)


@inlined
def learn_at_pre(
    weight: Array, traces: Traces, events: InputEvents, t: int, done: Array, numbers: Array, choices: Array
) -> None:  # fmt: skip
    """Change the weights of the inputs that spike in step t onto neurons with a trace that did not spike."""
    lr_pre, power, soft = numbers[LR_PRE], numbers[POWER], choices[SOFT]
    w_min, w_max, zero, batch = numbers[W_MIN], numbers[W_MAX], weight.dtype.type(0), len(traces.pre)
    post, first, unit, (nonzero, count) = traces.post, events.first, events.unit, traces.nonzero
    for b in range(batch):
        row = (t + 1) * batch + b
        for e in range(first[row], first[row + 1]):
            i = unit[e]
            for k in range(count[b]):
                j = nonzero[b, k]
                if done[j] != t:
                    w = weight[i, j]
                    w -= lr_pre * post[b, j] * bound(w, lr_pre < zero, soft, power, w_min, w_max)
                    weight[i, j] = min(max(w, w_min), w_max)


@njit
def decay_weights(weight: Array, keep: float, w_min: float, w_max: float) -> None:
    """Multiply all weights by `keep`, within their bounds."""
    for i in range(weight.shape[0]):
        for j in range(weight.shape[1]):
            weight[i, j] = min(max(weight[i, j] * keep, w_min), w_max)


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
    two, one_winner, learns = choices[TWO_LAYERS] == 1, choices[ONE_WINNER] == 1, choices[LEARNS] == 1
    rule, add, triplet, late = choices[RULE] == 1 and learns, choices[ADD] == 1, choices[TRIPLET] == 1, choices[LATE]
    exact, by_pre = choices[EXACT] == 1, numbers[LR_PRE] != zero
    events = InputEvents(first, unit, count)
    decay_post, decay_slow = numbers[DECAY_POST], numbers[DECAY_SLOW]
    threshold, slow_decay, bump = numbers[THRESHOLD], numbers[DECAY_HOMEOSTASIS], numbers[STEP]

    current, crossed, limit = np.empty(size, kind), np.empty(size, np.uint8), np.empty(size, kind)
    bumps, uniform = np.zeros(size, np.int64), np.empty(1, np.float32)
    column = np.empty(inputs, kind)
    done = np.full(size, -1, np.int64)  # last step in which the weights of a neuron were changed at its spike
    age = np.empty(steps + 1, kind)
    age[0] = one
    for t in range(steps):
        age[t + 1] = age[t] * numbers[DECAY_PRE]
    before, before_slow = trace_post, trace_slow
    if triplet:
        before, before_slow = trace_post.copy(), trace_slow.copy()
    traces = Traces(
        trace_pre, np.full((batch, inputs), -1, np.int32), age, trace_post, before, before_slow,
        NeuronLists(np.empty((batch, size), np.int32), np.zeros(batch, np.int64)), np.zeros((batch, size), np.uint8),
    )  # fmt: skip
    # neurons that spiked in the previous step
    excitatory = NeuronLists(np.empty((batch, size), np.int32), np.zeros(batch, np.int64))
    inhibitory = NeuronLists(np.empty((batch, size), np.int32), np.zeros(batch, np.int64))
    for b in range(batch):
        for j in range(size):
            if by_pre and rule and trace_post[b, j] > zero:
                append_nonzero(traces, b, j)
            if spikes[b, j] > zero:
                append(excitatory, b, j)
            if two and i_spikes[b, j] > zero:
                append(inhibitory, b, j)
    total = 0
    for t in range(steps):
        if learns:
            for j in range(size):
                homeostasis[j] *= slow_decay
                bumps[j] = 0
        for j in range(size):
            limit[j] = threshold + homeostasis[j]
        start = total
        for b in range(batch):
            input_current(current, weight, events, t * batch + b, gain[b] * numbers[SCALE])
            sources = inhibitory if two else excitatory
            inhibition(current, sources.neurons[b], sources.count[b], lateral, numbers[INHIBIT])
            hits = excitatory_step(voltage[b], refractory[b], current, limit, crossed, numbers)
            if two:
                inhibitory_step(i_voltage[b], i_refractory[b], b, excitatory, inhibitory, numbers, exact)
            excitatory.count[b] = 0
            if hits > 0:
                total = fire(crossed, hits, one_winner, noise, t, b, uniform, bumps, excitatory, fired, total)
                if total < 0:
                    return -1
        if learns:
            for j in range(size):
                homeostasis[j] += bump * kind(bumps[j])
        if not rule:
            continue
        if triplet:
            for b in range(batch):
                for j in range(size):
                    before[b, j], before_slow[b, j] = decay_post * trace_post[b, j], decay_slow * trace_slow[b, j]
            spike_traces(trace_slow, decay_slow, excitatory, add)
        spike_traces(trace_post, decay_post, excitatory, add)
        if by_pre and not triplet:
            append_spiking(traces, excitatory)
        if not late:
            presynaptic_traces(traces, events, t, add)
        if start < total:
            learn_at_post(weight, traces, events, t, fired, start, total, done, column, numbers, choices)
        if late:
            presynaptic_traces(traces, events, t, add)
        if by_pre:
            learn_at_pre(weight, traces, events, t, done, numbers, choices)
            if triplet:  # the spikes of this step count from the next one on
                append_spiking(traces, excitatory)
        if numbers[KEEP] != one:
            decay_weights(weight, numbers[KEEP], numbers[W_MIN], numbers[W_MAX])
    for b in range(batch):
        spikes[b] = zero
        for k in range(excitatory.count[b]):
            spikes[b, excitatory.neurons[b, k]] = one
        if two:
            i_spikes[b] = zero
            for k in range(inhibitory.count[b]):
                i_spikes[b, inhibitory.neurons[b, k]] = one
        if rule:
            for i in range(inputs):
                trace_pre[b, i] *= age[steps - 1 - traces.last[b, i]]
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
