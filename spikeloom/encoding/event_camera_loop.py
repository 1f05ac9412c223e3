# mypy: disable-error-code="untyped-decorator, no-any-return"
"""Pixels of the event camera, compiled with numba; the equations are in `camera`.

    event code             ((microseconds 2 + p) 64 + y) 64 + x, so that sorted codes are in order of time
    random bits            splitmix64(key + counter 0x9E3779B97F4A7C15), whose halves give uniform numbers u, u'
    g'(event)              (u + u' - 1) sqrt(6), mean 0 and variance 1

Imported when a camera first records, because numba is slow to import.
Source of the random numbers: Steele, Lea and Flood, Fast splittable pseudorandom number generators, 2014.
"""

import math
from typing import NamedTuple

import numpy as np

from .. import compiled
from ..data.spike_trains import Array

njit = compiled.njit()

GOLDEN, FIRST, SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
HALF = np.uint64(0xFFFFFFFF)
OF_PIXEL = 1 << 24
"""Number of counters reserved per pixel; those of the noise come after all pixels."""


class Pixels(NamedTuple):
    """Sensor parameters shared by all images."""

    column: Array  # int64 [steps + 1, SIDE], index of the left neighbour on the light grid
    column_share: Array  # float32 [steps + 1, SIDE], fraction of the way to the right neighbour
    row: Array
    row_share: Array
    logarithm: Array  # float32 [shades + 1], lookup table: log intensity of light from 0 to 1
    on: Array  # float64 [SIDE, SIDE], thresholds
    off: Array
    follow: float  # 1 - exp(-dt / tau)
    jitter: float
    refractory: float  # steps
    noise: float  # events of the whole sensor per step
    noise_on: float  # fraction of ON events among them
    microseconds: float  # duration of a step


@njit
def mix(key: np.uint64, counter: int) -> np.uint64:
    """Return 64 random bits for a key and a counter (splitmix64)."""
    z = key + np.uint64(counter) * GOLDEN
    z = (z ^ (z >> np.uint64(30))) * FIRST
    z = (z ^ (z >> np.uint64(27))) * SECOND
    return z ^ (z >> np.uint64(31))


@njit
def keys(key: np.uint64, numbers: Array) -> Array:
    """Return the key of each image."""
    result = np.empty(len(numbers), np.uint64)
    for place in range(len(numbers)):
        result[place] = mix(key, numbers[place])
    return result


@njit
def halves(bits: np.uint64) -> tuple[float, float]:
    """Return two uniform numbers in (0, 1)."""
    return (float(bits & HALF) + 0.5) / 2.0**32, (float(bits >> np.uint64(32)) + 0.5) / 2.0**32


@njit
def spread(bits: np.uint64) -> float:
    """Return a random number with mean 0 and variance 1."""
    u, v = halves(bits)
    return (u + v - 1.0) * math.sqrt(6.0)


@njit
def seen(light: Array, pixels: Pixels, step: int, y: int, x: int) -> float:
    """Return the log intensity of a pixel at one step, by bilinear interpolation of the light."""
    i, j = pixels.row[step, y], pixels.column[step, x]
    down, right = pixels.row_share[step, y], pixels.column_share[step, x]
    above = light[i, j] + right * (light[i, j + 1] - light[i, j])
    below = light[i + 1, j] + right * (light[i + 1, j + 1] - light[i + 1, j])
    shades = np.float32(len(pixels.logarithm) - 1)
    return pixels.logarithm[int((above + down * (below - above)) * shades + np.float32(0.5))]


@njit
def code(time: float, on: bool, y: int, x: int, pixels: Pixels) -> int:
    """Encode an event as one integer."""
    return ((int(time * pixels.microseconds) * 2 + int(on)) * 64 + y) * 64 + x


@njit
def watch(light: Array, pixels: Pixels, key: np.uint64, y: int, x: int, codes: Array, count: int) -> int:
    """Append the events of one pixel to `codes` and return the new count."""
    counter = (y * pixels.on.shape[1] + x + 1) * OF_PIXEL
    signal = seen(light, pixels, 0, y, x)
    rest = halves(mix(key, counter))[0]
    on, off = pixels.on[y, x], pixels.off[y, x]
    memory = signal + off - rest * (on + off)
    blind, waiting = 0.0, False
    for step in range(1, len(pixels.row)):
        before, t = signal, step - 1.0
        signal += pixels.follow * (seen(light, pixels, step, y, x) - signal)
        since = 0.0
        if waiting:
            if blind >= step:
                continue
            waiting, since = False, blind - t
            memory = before + (signal - before) * since
        while count < len(codes):
            rises = signal - memory >= on
            if not rises and memory - signal < off:
                break
            level = memory + on if rises else memory - off
            share = (level - before) / (signal - before) if signal != before else since
            share = min(max(share, since), 1.0)
            codes[count] = code(t + share, rises, y, x, pixels)
            count += 1
            counter += 1
            factor = max(0.1, 1.0 + pixels.jitter * spread(mix(key, counter)))
            on, off = pixels.on[y, x] * factor, pixels.off[y, x] * factor
            blind = t + share + pixels.refractory
            if blind >= step:
                waiting = True
                break
            since = blind - t
            memory = before + (signal - before) * since
    return count


@njit
def add_noise(pixels: Pixels, key: np.uint64, codes: Array, count: int) -> int:
    """Append the noise events of an image to `codes` and return the new count."""
    side = pixels.on.shape[0]
    counter = (side * side + 1) * OF_PIXEL
    steps = len(pixels.row) - 1
    t = 0.0
    while pixels.noise > 0.0 and count < len(codes):
        t -= math.log(halves(mix(key, counter))[0]) / pixels.noise
        if t >= steps:
            break
        where, which = halves(mix(key, counter + 1))
        pixel = int(where * side * side)
        codes[count] = code(t, which < pixels.noise_on, pixel // side, pixel % side, pixels)
        count += 1
        counter += 2
    return count


@njit
def changes(dark: Array, pixels: Pixels, y: int, x: int) -> bool:
    """Return whether any light can reach a pixel; `dark` is the summed-area table of bright grid points."""
    top, bottom = pixels.row[:, y].min(), pixels.row[:, y].max() + 2
    left, right = pixels.column[:, x].min(), pixels.column[:, x].max() + 2
    return dark[bottom, right] - dark[top, right] - dark[bottom, left] + dark[top, left] > 0


@njit
def record(light: Array, pixels: Pixels, keys: Array, codes: Array, first: Array) -> int:
    """Write the events of images [N, grid, grid] to `codes`, sorted per image; first[k + 1] is where image k ends.

    Returns the number of images that fit into `codes`; the caller repeats with a larger buffer if some did not.
    """
    side = pixels.on.shape[0]
    size = light.shape[1] + 1
    bright = np.zeros((size, size), np.int64)
    count = 0
    for number in range(len(light)):
        for i in range(1, size):
            row = 0
            for j in range(1, size):
                row += int(light[number, i - 1, j - 1] > np.float32(1e-4))
                bright[i, j] = bright[i - 1, j] + row
        start = count
        for y in range(side):
            for x in range(side):
                if changes(bright, pixels, y, x):
                    count = watch(light[number], pixels, keys[number], y, x, codes, count)
        count = add_noise(pixels, keys[number], codes, count)
        if count == len(codes):
            return number
        codes[start:count].sort()
        first[number + 1] = count
    return len(light)
