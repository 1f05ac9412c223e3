"""Simulated saccading event camera: images of digits to ON and OFF events.

    light        L(x, y, t) = image, blurred by `blur` pixels, at ((x, y) - centre - path(t)) / scale + 13.5
    signal       target = log(dark + L),   signal[t] = signal[t-dt] + (1 - exp(-dt / tau)) (target[t] - signal[t-dt])
    event        ON where signal - memory reaches threshold_on, OFF where it falls to -threshold_off; then the pixel is
                 blind for `refractory` and stores the signal as `memory` at the end of it
    thresholds   times 1 + mismatch g(pixel), the same in every recording, times 1 + jitter g'(event)
    noise        background events: a Poisson process for each polarity and pixel

An image is presented on a screen to 34 x 34 pixels that move along a triangle in three saccades of 105 ms, as N-MNIST
was recorded. These are not the N-MNIST recordings: docs/decisions/0012-event-camera.md compares the two. The path and
the other options were fitted to 500 of them.
Sources: Orchard, Jayawant, Cohen, Thakor, Front. Neurosci. 9:437, 2015 (the recordings); Lichtsteiner, Posch,
Delbruck, IEEE J. Solid-State Circuits 43, 2008 (the pixel).
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from ..arguments import explained
from ..data.events import EVENT, Polarity, Saccade, milliseconds
from ..data.events import version as version_of_events
from ..data.spike_trains import Array, SpikeTrains, whole
from ..data.stored import folder as folder_of_spikes
from ..data.stored import stored
from ..errors import ConfigError, DataError, check_positive

CLASSES = tuple("0123456789")
SIDE, IMAGE = 34, 28
"""Side lengths in pixels of the sensor and of an image."""
SACCADE = 105.0
"""Duration of one saccade in ms."""

FINE, MARGIN = 2, 14
"""The light is sampled at FINE points per image pixel, up to MARGIN image pixels beyond each edge of the image."""
FAR = 1e6
"""Largest number in a path (pixels or ms)."""
SHADES = 4096
"""Resolution of the lookup table for logarithms."""
CHUNK = 256
"""Number of images recorded at once."""
ROOM = 20.0
"""Initial buffer size in events per image and ms."""
MOST = 10_000_000
"""Maximum number of events per image; a recording of N-MNIST has about 4,000. Protects the memory."""

# fmt: off
PATH = (
    (0.0, -2.21, -1.79), (10.0, -2.23, -1.68), (20.0, -2.30, -1.32), (30.0, -2.36, -0.65),
    (40.0, -2.38, 0.46), (50.0, -2.28, 1.76), (60.0, -1.69, 2.76), (70.0, -1.14, 3.33),
    (80.0, -0.88, 3.47), (90.0, -0.81, 3.48), (100.0, -0.72, 3.37), (110.0, -0.59, 3.28),
    (120.0, -0.41, 3.26), (130.0, 0.00, 3.00), (140.0, 0.64, 2.22), (150.0, 1.15, 1.10),
    (160.0, 1.36, -0.01), (170.0, 1.74, -1.00), (180.0, 2.02, -1.45), (190.0, 2.18, -1.55),
    (200.0, 2.35, -1.48), (210.0, 2.54, -1.44), (220.0, 2.61, -1.48), (230.0, 2.36, -1.51),
    (240.0, 1.48, -1.42), (250.0, 0.57, -1.41), (260.0, -0.43, -1.45), (270.0, -1.35, -1.52),
    (280.0, -1.88, -1.62), (290.0, -2.27, -1.64), (300.0, -2.41, -1.60), (310.0, -2.42, -1.60),
    (315.0, -2.42, -1.60),
)
# fmt: on
"""(ms, x, y) in pixels: motion of the image over the sensor, fitted to the recordings."""


@explained
@dataclass(frozen=True)
class Camera:
    """Options of the event camera. The defaults were fitted to recordings (see the decision page).

    Units: times in ms, lengths and the path in pixels of the sensor, rates in Hz, thresholds in units of log intensity.

    Raises:
        ConfigError: a number is out of range, or the times of the path do not increase from 0 to 315 ms.
    """

    path: tuple[tuple[float, float, float], ...] = PATH
    """(ms, x, y) of the image centre relative to `centre`; smoothly interpolated."""
    centre: tuple[float, float] = (16.5, 16.5)
    """Position of the image centre on the sensor, without the path."""
    scale: float = 0.983
    """Sensor pixels per image pixel."""
    blur: float = 0.54
    """Standard deviation of the blur, in image pixels."""
    dark: float = 0.34
    """Intensity of a black pixel, where white adds 1."""
    ink: Literal["black", "white"] = "black"
    """Colour of the digit; the background is the other. (Large MNIST values are ink.)"""
    tau: float = 1.7
    """Time constant of the low-pass filter of the log intensity."""
    threshold_on: float = 0.169
    threshold_off: float = 0.161
    mismatch: float = 0.09
    """Relative standard deviation of the thresholds over pixels."""
    jitter: float = 0.08
    """Relative standard deviation of a threshold from event to event."""
    refractory: float = 0.56
    """Time after an event during which the pixel generates no event."""
    noise_on: float = 0.38
    """Rate of background ON events per pixel."""
    noise_off: float = 0.02
    dt: float = 1.0
    """Step of the simulation; events between steps are interpolated."""

    def __post_init__(self) -> None:
        positive = "scale", "blur", "dark", "tau", "threshold_on", "threshold_off", "dt"
        check_positive("Camera", **{name: getattr(self, name) for name in positive})
        if self.ink not in ("black", "white"):
            raise ConfigError(f'Camera needs ink "black" or "white", but got {self.ink!r}.')
        if self.blur > MARGIN / 4 or not 0.01 <= self.dt <= 5.0:
            raise ConfigError(
                f"Camera needs blur <= {MARGIN / 4:g} pixels and dt from 0.01 to 5 ms, but got {self.blur:g} and "
                f"{self.dt:g}."
            )
        for name in ("mismatch", "jitter", "refractory", "noise_on", "noise_off"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"Camera needs {name} >= 0 and finite, but got {getattr(self, name)}.")
        times = [point[0] for point in self.path]
        if len(times) < 2 or times != sorted(set(times)) or times[0] > 0 or times[-1] < 3 * SACCADE:
            raise ConfigError(f"Camera needs a path with rising times from 0 to {3 * SACCADE:g} ms, but got {times}.")
        places = np.array((*self.centre, *(number for point in self.path for number in point)), np.float64)
        if not (np.abs(places) <= FAR).all():
            raise ConfigError(
                f"Camera needs a centre and a path of finite numbers up to {FAR:,.0f}. Leave the broken point out."
            )


DEFAULT = Camera()


class CameraRecordings(NamedTuple):
    """Events of several images, concatenated: recording k owns events first[k] to first[k + 1]."""

    events: Array  # EVENT [E], sorted in time within a recording
    first: Array  # int64 [N + 1]

    def of(self, number: int) -> Array:
        """Return the events of one recording."""
        return self.events[self.first[number] : self.first[number + 1]]


def version() -> str:
    """Return a string that changes with the code that determines the recordings.

    It covers the source of this module, `event_camera_loop` and `events`, and the versions of numpy, scipy and numba.
    """
    here = Path(__file__)
    text = here.read_bytes() + here.with_name("event_camera_loop.py").read_bytes()
    return " ".join(
        [
            hashlib.sha256(text).hexdigest(),
            version_of_events(),
            *(version_of(name) for name in ("numpy", "scipy", "numba")),
        ]
    )


@explained
def record(
    images: Tensor | Array,
    options: Camera,
    generator: torch.Generator,
    *,
    numbers: Array | None = None,
    until: float = 3 * SACCADE,
) -> CameraRecordings:
    """Record every image with the camera.

    One key is drawn from `generator`. It determines the thresholds of the pixels and, together with the number of an
    image, all randomness of its recording, which thus does not depend on other images or on `until`.

    Shapes: images uint8 [N, 28, 28].
    Units: until in ms, event times in microseconds.

    Args:
        numbers: image numbers, by default 0 to N - 1; pass those of the data set to record a subset.
        until: end of the recording.

    Raises:
        ConfigError: `until` is not in the path, or the number of `numbers` differs from that of images.
        DataError: the images are not uint8 [N, 28, 28].

    >>> image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    >>> image[0, 4:24, 12:16] = 255
    >>> recordings = record(image, Camera(), torch.Generator().manual_seed(0))
    >>> recordings.events.dtype.names, len(recordings.of(0)) > 1000
    (('x', 'y', 't', 'p'), True)
    """
    key = _key(generator)
    pixels = _checked(images)
    numbers = np.arange(len(pixels)) if numbers is None else whole(numbers, "numbers").astype(np.int64)
    parts, firsts = [np.zeros(0, EVENT)], [np.zeros(1, np.int64)]
    for codes, first in _chunks(pixels, options, key, numbers, until):
        events = np.empty(len(codes), EVENT)
        events["x"], events["y"] = codes & 63, codes >> 6 & 63
        events["p"], events["t"] = codes >> 12 & 1, codes >> 13
        parts.append(events)
        firsts.append(first[1:] + firsts[-1][-1])
    return CameraRecordings(np.concatenate(parts), np.concatenate(firsts))


@explained
def spikes(
    images: Tensor | Array,
    labels: Tensor | Array | Sequence[int],
    options: Camera = DEFAULT,
    seed: int = 0,
    *,
    polarity: Polarity = "on",
    saccade: Saccade = 1,
    until: float | None = None,
    tell: Callable[[str], None] | None = None,
) -> SpikeTrains:
    """Return the images as camera spikes, cached on disk; image k has the number k.

    The cache key is a hash of all options, seed, images, labels, and the source code of the camera.

    Shapes: images uint8 [N, 28, 28], labels [N], 0 to 9; units 0 to 1155, or to 2311 for "both".
    Units: until in ms.

    Args:
        polarity: "on" or "off" keeps events of that polarity; "merge" keeps all, with unit 34 y + x as for a single
            polarity; "both" keeps all, with unit 1156 p + 34 y + x.
        saccade: number of the saccade; times are relative to its start. "all" keeps the whole recording.
        until: end of the sample in ms after that start; by default the end of the saccade.
        tell: called with a message before images are recorded.

    Raises:
        ConfigError: polarity or saccade is unknown, or `until` is not within the saccade.
        DataError: the images are not uint8 [N, 28, 28], there is not one label of 0 to 9 per image, or an image has
            no event.
    """
    start, end = _span(polarity, saccade, until)
    pixels, digits = _checked(images), whole(labels, "labels").astype(np.int64)
    if digits.shape != (len(pixels),):
        raise DataError(f"spikes got {len(pixels):,} images but labels {list(digits.shape)}. Pass one label per image.")
    wrong = digits[(digits < 0) | (digits >= len(CLASSES))]
    if len(wrong):
        raise DataError(f"A label is {wrong[0]}, but digits are 0 to 9. Pass mnist.load(split).labels.")

    def make() -> SpikeTrains:
        if tell is not None:
            tell(
                f"Recording {len(pixels):,} images for {end:g} ms, once: about {len(pixels) * end / 105_000:.0f} s on "
                f"one core. They are kept in {folder_of_spikes()}."
            )
        key = _key(torch.Generator().manual_seed(seed))
        chunks = _chunks(pixels, options, key, np.arange(len(pixels)), end)
        selected = [_choose(codes, first, polarity, start) for codes, first in chunks]
        times, units, counts = (np.concatenate(column) for column in zip(_nothing(), *selected, strict=True))
        first = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        speakers = np.full(len(pixels), -1, np.int64)
        return SpikeTrains(times, units, first, digits, speakers, _channels(polarity), CLASSES)

    content = hashlib.sha256(pixels.tobytes() + digits.tobytes()).hexdigest()
    return stored("camera", repr((options, seed, polarity, start, end, content, version())), make)


def _key(generator: torch.Generator) -> int:
    return int(torch.randint(2**62, (1,), generator=generator, device=generator.device))


def _checked(images: Tensor | Array) -> Array:
    """Return the images as an array; raise DataError unless they are uint8 [N, 28, 28]."""
    pixels = images.cpu().numpy() if isinstance(images, Tensor) else np.asarray(images)
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (IMAGE, IMAGE):
        raise DataError(
            f"The camera needs images uint8 [N, {IMAGE}, {IMAGE}], but got {pixels.dtype} {list(pixels.shape)}. "
            "Pass mnist.load(split).images."
        )
    return pixels


def _channels(polarity: Polarity) -> int:
    return SIDE * SIDE * (2 if polarity == "both" else 1)


def _span(polarity: Polarity, saccade: Saccade, until: float | None) -> tuple[float, float]:
    """Return start and end of the selected interval, in ms of the recording."""
    if polarity not in ("on", "off", "both", "merge"):
        raise ConfigError(f'polarity is "on", "off", "both" or "merge", but got {polarity!r}.')
    if saccade not in (1, 2, 3, "all"):
        raise ConfigError(f'saccade is 1, 2, 3 or "all", but got {saccade!r}.')
    start, length = (0.0, 3 * SACCADE) if saccade == "all" else ((saccade - 1) * SACCADE, SACCADE)
    until = length if until is None else until
    if not 0.0 < until <= length:
        raise ConfigError(f"until must be above 0 and at most {length:g} ms for saccade={saccade!r}, but got {until}.")
    return start, start + until


def _nothing() -> tuple[Array, Array, Array]:
    return np.zeros(0, np.float32), np.zeros(0, np.uint16), np.zeros(0, np.int64)


def _choose(codes: Array, first: Array, polarity: Polarity, start: float) -> tuple[Array, Array, Array]:
    """Select events by polarity and time; return times [ms], units, and counts per image."""
    on, time = codes >> 12 & 1, codes >> 13
    kept = time >= round(start * 1000)
    if polarity in ("on", "off"):
        kept &= on == (polarity == "on")
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])
    codes, on, time = codes[kept], on[kept], time[kept]
    unit = (codes >> 6 & 63) * SIDE + (codes & 63)
    if polarity == "both":
        unit += on * SIDE * SIDE
    times = milliseconds(time - round(start * 1000))
    return times, unit.astype(np.uint16), np.diff(before[first])


def _chunks(images: Array, options: Camera, key: int, numbers: Array, until: float) -> Iterator[tuple[Array, Array]]:
    """Yield, for chunks of images, their events as integer codes and the offset of each image."""
    if len(numbers) != len(images):
        raise ConfigError(f"record got {len(images):,} images but {len(numbers):,} numbers. Pass one per image.")
    if not 0.0 < until <= 3 * SACCADE:
        raise ConfigError(f"until must be above 0 and at most {3 * SACCADE:g} ms, but got {until}.")
    from . import event_camera_loop as loop

    steps = math.ceil(until / options.dt)
    pixels = _pixels(options, key, steps)
    last = np.int64(math.ceil(until * 1000)) << 13
    room = 1 + int(ROOM * min(CHUNK, len(images)) * until)
    for start in range(0, len(images), CHUNK):
        light = _light(images[start : start + CHUNK], options)
        keys = loop.keys(np.uint64(key), numbers[start : start + CHUNK])
        first = np.zeros(len(light) + 1, np.int64)
        while True:
            codes = np.empty(room, np.int64)
            if loop.record(light, pixels, keys, codes, first) == len(light):
                break
            room *= 2
            if room > MOST * len(light):
                raise ConfigError(
                    f"With these options an image makes more than {MOST:,} events. Raise the thresholds (now "
                    f"{options.threshold_on:g} and {options.threshold_off:g}) or lower the noise."
                )
        yield _cut(codes[: first[-1]], first, last)


def _cut(codes: Array, first: Array, last: np.int64) -> tuple[Array, Array]:
    """Drop the events of the last step that lie after the end."""
    kept = codes < last
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])
    return codes[kept], before[first]


def _light(images: Array, options: Camera) -> Array:
    """Return the blurred images on a finer grid, 0 to 1, float32 [N, grid, grid]."""
    spread = _spread(options.blur)
    blurred = spread @ (images.astype(np.float32) / np.float32(255)) @ spread.T
    light: Array = np.ascontiguousarray(np.clip(blurred, 0, 1))
    return light


@lru_cache(maxsize=32)
def _spread(blur: float) -> Array:
    """Return the weight of each image row for each row of the grid, [grid, IMAGE]."""
    fine = np.arange((IMAGE + 2 * MARGIN) * FINE) / FINE - MARGIN
    pixel = np.arange(-MARGIN, IMAGE + MARGIN)
    weight = np.exp(-0.5 * ((fine[:, None] - pixel) / blur) ** 2)
    weight /= weight.sum(1, keepdims=True)
    return weight[:, MARGIN:-MARGIN].astype(np.float32)


@lru_cache(maxsize=8)
def _pixels(options: Camera, key: int, steps: int) -> Any:
    """Return the parameters of the sensor and its motion for the loop."""
    from .event_camera_loop import Pixels

    path = np.array(options.path)
    times = np.minimum(np.arange(steps + 1) * options.dt, path[-1, 0])
    place = PchipInterpolator(path[:, 0], path[:, 1:])(times)
    column, column_share = _on_the_grid(place[:, 0] + options.centre[0], options.scale)
    row, row_share = _on_the_grid(place[:, 1] + options.centre[1], options.scale)
    white = np.arange(SHADES + 1) / SHADES
    samples = np.random.default_rng(key).standard_normal((2, SIDE, SIDE))
    on, off = np.maximum(1 + options.mismatch * samples, 0.2)
    noise = options.noise_on + options.noise_off
    return Pixels(
        column,
        column_share,
        row,
        row_share,
        np.log(options.dark + (white if options.ink == "white" else 1 - white)).astype(np.float32),
        on * options.threshold_on,
        off * options.threshold_off,
        follow=1 - math.exp(-options.dt / options.tau),
        jitter=options.jitter,
        refractory=options.refractory / options.dt,
        noise=noise / 1000 * options.dt * SIDE * SIDE,
        noise_on=options.noise_on / noise if noise else 0.0,
        microseconds=options.dt * 1000,
    )


def _on_the_grid(middle: Array, scale: float) -> tuple[Array, Array]:
    """Return, for each step and sensor pixel, the grid point before it and the fraction of the way to the next."""
    end = (IMAGE + 2 * MARGIN) * FINE - 2
    with np.errstate(over="ignore"):
        place = ((np.arange(SIDE) - middle[:, None]) / scale + (IMAGE - 1) / 2 + MARGIN) * FINE
    place = np.clip(place, 0, end)
    before = np.floor(place).astype(np.int64)
    return before, (place - before).astype(np.float32)
