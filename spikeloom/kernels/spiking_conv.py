"""The spikes of `models.encoders` for the CPU, image by image and event by event.

A pixel is a constant current into a LIF neuron. In each block a spike adds its 3 x 3 rows of weights to the currents
around it, all channels at once; integrate-and-fire neurons follow; a pool passes on what spiked in its 2 x 2 field.
Spikes are rare, and the states of an image stay in the cache: the cost is that of the events and of one pass over the
neurons a step. Currents are summed in the order of the events, a convolution sums them in another.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import threads
from .draws import njit

Array = Any

# Places in the array of numbers; its dtype is that of the voltages.
DECAY, CHARGE, THRESHOLD = range(3)
# Places in the array of choices.
REFRACTORY, SUBTRACT = range(2)


@njit
def add(target: Array, row: Array) -> None:
    """target += row."""
    for i in range(len(row)):
        target[i] += row[i]


@njit
def integrate(current: Array, v: Array, z: Array, left: Array, threshold: Any, refractory: Any) -> Any:
    """One step of a row of integrate-and-fire neurons that a spike lowers by their threshold; how many spike."""
    zero, one = v.dtype.type(0), v.dtype.type(1)
    total = zero
    for i in range(len(current)):
        voltage = v[i] + current[i] - threshold * z[i]
        spike = one if voltage > threshold and left[i] <= zero else zero
        left[i] = refractory if spike > zero else max(left[i] - one, zero)
        v[i], z[i] = voltage, spike
        total += spike
    return total


@njit
def integrate_to_zero(current: Array, v: Array, z: Array, left: Array, threshold: Any, refractory: Any) -> Any:
    """The same with a reset to zero."""
    zero, one = v.dtype.type(0), v.dtype.type(1)
    total = zero
    for i in range(len(current)):
        voltage = v[i] - v[i] * z[i] + current[i]
        spike = one if voltage > threshold and left[i] <= zero else zero
        left[i] = refractory if spike > zero else max(left[i] - one, zero)
        v[i], z[i] = voltage, spike
        total += spike
    return total


@njit
def leak(current: Array, v: Array, z: Array, left: Array, numbers: Array, choices: Array) -> None:
    """One step of the pixels, LIF neurons."""
    zero, one = v.dtype.type(0), v.dtype.type(1)
    decay, charge, threshold = numbers[DECAY], numbers[CHARGE], numbers[THRESHOLD]
    refractory, subtract = v.dtype.type(choices[REFRACTORY]), choices[SUBTRACT] == 1
    for i in range(len(current)):
        held, taken = (v[i], threshold * z[i]) if subtract else (v[i] - v[i] * z[i], zero)
        voltage = decay * held + charge * current[i] - taken
        spike = one if voltage > threshold and left[i] <= zero else zero
        left[i] = refractory if spike > zero else max(left[i] - one, zero)
        v[i], z[i] = voltage, spike


@njit
def reach(current: Array, y: int, x: int, weight: Array) -> None:
    """A spike at (y, x) adds weight [3, 3 C], turned by half, to the padded current [H + 2, (W + 2) C] around it."""
    wide = weight.shape[1]
    channels = wide // 3
    for i in range(3):
        add(current[y + i, x * channels : x * channels + wide], weight[i])


@njit
def pool(z: Array, y: int, x: int, channels: int, found: Array) -> int:
    """Channels that spike in a field of 2 x 2 go to `found`; how many there are."""
    lo, middle, hi = 2 * x * channels, (2 * x + 1) * channels, (2 * x + 2) * channels
    a, b = z[2 * y, lo:middle], z[2 * y, middle:hi]
    c, d = z[2 * y + 1, lo:middle], z[2 * y + 1, middle:hi]
    many = 0
    for k in range(channels):
        if a[k] + b[k] + c[k] + d[k] > 0:
            found[many] = k
            many += 1
    return many


@njit
def encode(
    images: Array, first: Array, weights: Array, thresholds: Array, numbers: Array, choices: Array, sizes: Array,
    out: Array, start: int, stop: int,
) -> None:  # fmt: skip
    """Images start to stop: images [N, H, W], first [1, 3, 3 C], weights [L - 1, C, 3, 3 C], out [N, T, F].

    sizes [L + 1, 2] are height and width of the images and of what each block passes on.
    """
    kind, blocks, channels = images.dtype, len(thresholds), first.shape[2] // 3
    zero, refractory = kind.type(0), kind.type(choices[REFRACTORY])
    height, width = sizes[0]
    pixels, found = np.empty((3, height * width), kind), np.empty(channels, np.int64)
    currents = [np.empty((sizes[k, 0] + 2, (sizes[k, 1] + 2) * channels), kind) for k in range(blocks)]
    states = [np.empty((3, sizes[k, 0], sizes[k, 1] * channels), kind) for k in range(blocks)]
    for n in range(start, stop):
        pixels[:] = zero
        for state in states:
            state[:] = zero
        image = images[n].reshape(-1)
        for t in range(out.shape[1]):
            for current in currents:
                current[:] = zero
            leak(image, pixels[0], pixels[1], pixels[2], numbers, choices)
            for place in range(height * width):
                if pixels[1, place] > zero:
                    reach(currents[0], place // width, place % width, first[0])
            for block in range(blocks):
                current, state, threshold = currents[block], states[block], thresholds[block]
                rows, wide = sizes[block, 0], sizes[block, 1] * channels
                total = zero
                for y in range(rows):
                    row = current[y + 1, channels : channels + wide]
                    if choices[SUBTRACT] == 1:
                        total += integrate(row, state[0, y], state[1, y], state[2, y], threshold, refractory)
                    else:
                        total += integrate_to_zero(row, state[0, y], state[1, y], state[2, y], threshold, refractory)
                if total == zero:
                    continue
                tall, broad = sizes[block + 1]
                for y in range(tall):
                    for x in range(broad):
                        for e in range(pool(state[1], y, x, channels, found)):
                            if block + 1 < blocks:
                                reach(currents[block + 1], y, x, weights[block, found[e]])
                            else:
                                out[n, t, (found[e] * tall + y) * broad + x] = 1


def encode_images(
    images: Tensor, weights: Sequence[Tensor], thresholds: Sequence[float], steps: int, neuron: Sequence[float],
    refractory: int, subtract: bool,
) -> Tensor:  # fmt: skip
    """Spikes uint8 [N, T, F] of images [N, H, W]; weights as of convolutions, one a block, all of as many channels.

    `neuron` is decay, 1 - decay and threshold of the pixels.
    """
    kind = images.detach().numpy().dtype
    turned = [weight.detach().flip(2, 3).permute(1, 2, 3, 0).contiguous().flatten(2) for weight in weights]
    channels = weights[0].shape[0]
    rest = torch.stack(turned[1:]) if len(turned) > 1 else turned[0].new_empty(0, channels, 3, 3 * channels)
    sizes = [tuple(images.shape[1:])]
    for _ in weights:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    out = torch.zeros(len(images), steps, channels * sizes[-1][0] * sizes[-1][1], dtype=torch.uint8)
    arrays = [
        images.detach().contiguous().numpy(), turned[0].numpy(), rest.numpy(), np.array(thresholds, kind),
        np.array(neuron, kind), np.array([refractory, subtract], np.int64), np.array(sizes, np.int64), out.numpy(),
    ]  # fmt: skip
    threads.run(encode, arrays, len(images), len(images) * steps * channels * sizes[0][0] * sizes[0][1])
    return out
