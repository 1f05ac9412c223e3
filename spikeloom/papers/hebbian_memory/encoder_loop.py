"""Compiled CPU loops of the spiking encoder (`encoders`): image by image, event by event.

A pixel is a constant current into a LIF neuron. In each block, a spike adds its 3 x 3 weight rows to the currents
around it, all channels at once; integrate-and-fire neurons follow; a pool passes on the channels that spike in its
2 x 2 field. Spikes are rare, and the states of an image stay in the cache: the cost is that of the events and of one
pass over the neurons per step. Currents are summed in the order of the events, which differs from a convolution.

Names: v: voltage; z: spikes of the last step; left: remaining refractory steps. Layouts are channels-last.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...kernels.draws import njit
from ...kernels.engines import threads

Array = Any

# Indices into `numbers`, the array of constants; its dtype is that of the voltages.
DECAY, CHARGE, THRESHOLD = range(3)
# Indices into `choices`, the array of flags.
REFRACTORY, SUBTRACT = range(2)


@njit
def add(target: Array, row: Array) -> None:
    """Compute target += row."""
    for i in range(len(row)):
        target[i] += row[i]


@njit
def integrate(current: Array, v: Array, z: Array, threshold: Any) -> int:
    """Update a row of integrate-and-fire neurons with reset by subtraction; return the number of spikes.

    Sets the currents to zero. There is one function per case, without branches, so that loops are vectorised.
    """
    zero, one = v.dtype.type(0), v.dtype.type(1)
    total = 0
    for i in range(len(current)):
        voltage = v[i] + current[i] - threshold * z[i]
        fires = voltage > threshold
        total += fires
        v[i], z[i], current[i] = voltage, one if fires else zero, zero
    return total


@njit
def integrate_refractory(
    current: Array, v: Array, z: Array, left: Array, threshold: Any, refractory: Any, subtract: bool
) -> int:
    """Update a row of integrate-and-fire neurons with a refractory period and either reset; return the spike count."""
    zero, one = v.dtype.type(0), v.dtype.type(1)
    taken, held = (threshold, zero) if subtract else (zero, one)
    total = 0
    for i in range(len(current)):
        voltage = v[i] - held * (v[i] * z[i]) + current[i] - taken * z[i]
        fires = (voltage > threshold) & (left[i] <= zero)
        total += fires
        left[i] = refractory if fires else max(left[i] - one, zero)
        v[i], z[i], current[i] = voltage, one if fires else zero, zero
    return total


@njit
def leak(current: Array, v: Array, z: Array, left: Array, numbers: Array, choices: Array) -> None:
    """Update the LIF neurons of the pixels."""
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
def reach(current: Array, touched: Array, y: int, x: int, weight: Array) -> None:
    """Add weight [3, 3 C], rotated by 180 degrees, to the padded current [H + 2, (W + 2) C] around spike (y, x)."""
    wide = weight.shape[1]
    channels = wide // 3
    for i in range(3):
        touched[y + i] = 1
        add(current[y + i, x * channels : x * channels + wide], weight[i])


@njit
def pool(z: Array, y: int, x: int, channels: int, found: Array) -> int:
    """Write the channels that spike in a 2 x 2 field to `found`; return their number."""
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
    out: Array, seen: Array, fired: Array, passed: Array, start: int, stop: int,
) -> None:  # fmt: skip
    """Encode images[start:stop]: images [N, H, W], first [1, 3, 3 C], weights [L - 1, C, 3, 3 C], out [N, T, F].

    sizes [L + 1, 2]: height and width of the images and of the output of each block. Unless these arrays are empty,
    spikes are counted in seen [N, H W] (pixels), and in fired and passed [N, all blocks], before and after the pools,
    channels last.
    """
    kind, blocks, channels = images.dtype, len(thresholds), first.shape[2] // 3
    zero, refractory = kind.type(0), kind.type(choices[REFRACTORY])
    height, width = sizes[0]
    plain = choices[REFRACTORY] == 0 and choices[SUBTRACT] == 1
    pixels, spiking = np.empty((3, height * width), kind), np.empty(channels, np.int64)
    currents = [np.empty((sizes[k, 0] + 2, (sizes[k, 1] + 2) * channels), kind) for k in range(blocks)]
    states = [np.empty((3, sizes[k, 0], sizes[k, 1] * channels), kind) for k in range(blocks)]
    touched = [np.empty(sizes[k, 0] + 2, np.int64) for k in range(blocks)]  # rows that have ever received a current
    many = np.empty(height, np.int64)
    for n in range(start, stop):
        pixels[:] = zero
        for block in range(blocks):
            currents[block][:], states[block][:], touched[block][:] = zero, zero, 0
        image = images[n].reshape(-1)
        for t in range(out.shape[1]):
            leak(image, pixels[0], pixels[1], pixels[2], numbers, choices)
            first_fired, first_passed = 0, 0
            if len(seen) > 0:
                add(seen[n], pixels[1])
            for place in range(height * width):
                if pixels[1, place] > zero:
                    reach(currents[0], touched[0], place // width, place % width, first[0])
            for block in range(blocks):
                current, state, threshold = currents[block], states[block], thresholds[block]
                rows, wide = sizes[block, 0], sizes[block, 1] * channels
                tall, broad = sizes[block + 1]
                for y in range(rows):
                    many[y] = 0
                    if touched[block][y + 1] == 0:
                        continue
                    row = current[y + 1, channels : channels + wide]
                    if plain:
                        many[y] = integrate(row, state[0, y], state[1, y], threshold)
                    else:
                        many[y] = integrate_refractory(
                            row, state[0, y], state[1, y], state[2, y], threshold, refractory, choices[SUBTRACT] == 1
                        )
                    if len(fired) > 0 and many[y] > 0:
                        add(fired[n, first_fired + y * wide : first_fired + (y + 1) * wide], state[1, y])
                for y in range(tall):
                    if many[2 * y] + many[2 * y + 1] == 0:
                        continue
                    for x in range(broad):
                        for e in range(pool(state[1], y, x, channels, spiking)):
                            if len(passed) > 0:
                                passed[n, first_passed + (y * broad + x) * channels + spiking[e]] += 1
                            if block + 1 < blocks:
                                reach(currents[block + 1], touched[block + 1], y, x, weights[block, spiking[e]])
                            else:
                                out[n, t, (spiking[e] * tall + y) * broad + x] = 1
                first_fired += rows * wide
                first_passed += tall * broad * channels


class SpikeCounts(NamedTuple):
    """Spike counts of each image, summed over time."""

    pixels: Tensor  # [N, 1, H, W]
    fired: list[Tensor]  # of each block, [N, C, H, W]
    passed: list[Tensor]  # of each block, after its pool


def encode_images(
    images: Tensor, weights: Sequence[Tensor], thresholds: Sequence[float], steps: int, neuron: Sequence[float],
    refractory: int, subtract: bool, count: bool = False,
) -> tuple[Tensor, SpikeCounts | None]:  # fmt: skip
    """Return the spikes, uint8 [N, T, F], of images [N, H, W], and spike counts if `count` is True.

    Args:
        weights: weights of the convolutions, one per block, all with the same number of channels.
        neuron: decay, 1 - decay and threshold of the pixels.
    """
    kind = images.detach().numpy().dtype
    turned = [weight.detach().flip(2, 3).permute(1, 2, 3, 0).contiguous().flatten(2) for weight in weights]
    channels = weights[0].shape[0]
    rest = torch.stack(turned[1:]) if len(turned) > 1 else turned[0].new_empty(0, channels, 3, 3 * channels)
    sizes = [(images.shape[1], images.shape[2])]
    for _ in weights:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    out = torch.zeros(len(images), steps, channels * sizes[-1][0] * sizes[-1][1], dtype=torch.uint8)
    rows = len(images) if count else 0
    areas = [height * width for height, width in sizes]
    seen, fired, passed = (
        images.new_zeros(rows, size) for size in (areas[0], channels * sum(areas[:-1]), channels * sum(areas[1:]))
    )
    arrays = [
        images.detach().contiguous().numpy(), turned[0].numpy(), rest.numpy(), np.array(thresholds, kind),
        np.array(neuron, kind), np.array([refractory, subtract], np.int64), np.array(sizes, np.int64), out.numpy(),
        seen.numpy(), fired.numpy(), passed.numpy(),
    ]  # fmt: skip
    threads.run(encode, arrays, len(images), len(images) * steps * channels * areas[0])
    if not count:
        return out, None
    return out, SpikeCounts(
        seen.view(-1, 1, *sizes[0]), _by_block(fired, sizes[:-1], channels), _by_block(passed, sizes[1:], channels)
    )


def _by_block(counts: Tensor, sizes: Sequence[tuple[int, int]], channels: int) -> list[Tensor]:
    """Split channels-last counts of all blocks [N, all] into images [N, C, H, W] per block."""
    parts = torch.split(counts, [channels * height * width for height, width in sizes], 1)
    return [block.view(len(block), *size, channels).movedim(3, 1) for block, size in zip(parts, sizes, strict=True)]
