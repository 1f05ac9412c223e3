"""Artificial cochlea: sound to spike trains, channel 0 at the base (high frequencies), the last at the apex (low).

    middle ear         p(0) = i f / (i f + middle_ear) sound
    basilar membrane   p(x) = p(0) sqrt(k(0) / k(x)) exp(-i sum k dx),    k = waves f / sqrt(z),    v = i f base p / z
                       z(x) = s - f^2 + i f d,    s = base^2 exp(-alpha x) - floor^2
                       d = base exp(-alpha x / 2) / quality
    hair cells         k = g (v + A) / (v + A + B) above -A, else 0
                       dq/dt = y (1 - q) + x w - k q,   dc/dt = k q - (l + r) c,   dw/dt = r c - x w
                       each of `hair_cells` fires as a Poisson process of rate h c / (1 + h c refractory)
    bushy cell         i[t] = exp(-dt / tau_syn) i[t-1] + weight spikes[t]
                       v[t] = exp(-dt / tau_mem) v[t-1] + (1 - exp(-dt / tau_mem)) i[t]
                       fires at v > 1, then stays at 0 for `refractory`

Frequencies in Hz, x in cm. A travelling wave runs from the base to the place where it resonates and dies out behind it
(long-wave WKB approximation); the transmitter of a hair cell depletes while the sound is loud; a bushy cell fires when
many of its hair cells fire together. The stages are those of Cramer et al. for SHD, but the equations of the membrane
differ, so its spikes are not SHD. For a comparison see docs/decisions/0008-artificial-cochlea.md.
Sources: Cramer et al., IEEE TNNLS, 2020 (the stages); Zweig, Lipes, Pierce, J. Acoust. Soc. Am. 59, 1976 (long waves);
Meddis, J. Acoust. Soc. Am. 79, 1986, and 83, 1988 (the hair cell and its constants).
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy
import torch
from scipy import fft

from ..arguments import explained
from ..data.spike_trains import Array, unit_type
from ..errors import ConfigError, DataError, check_positive

LENGTH = 3.5
"""Length from base to apex in cm."""
SUBDIVISIONS = 3
"""Integration points of the wave per channel."""
TAIL = 0.05
"""Silence appended to a sound in s, during which the membrane comes to rest."""
ELEMENTS = 24_000_000
"""Maximum of steps times channels times recordings encoded at once: 100 MB."""

# The hair cell of Meddis (1988); rates in 1/s, A and B in units of the scaled membrane velocity.
A, B, G, Y, L, R, X, H = 5.0, 300.0, 2000.0, 5.05, 2500.0, 6580.0, 66.31, 50_000.0


@explained
@dataclass(frozen=True)
class Cochlea:
    """Options of the cochlea. The defaults were fitted to one recording with 70 channels (see the decision page).

    Units: middle_ear, base and floor in Hz, alpha in 1/cm, refractory and time constants in ms, rate in Hz.

    Raises:
        ConfigError: a number is not positive, or channels or hair_cells are below 1.
    """

    channels: int = 70
    middle_ear: float = 462.0
    """Cutoff frequency below which the middle ear attenuates, Hz."""
    base: float = 10_400.0
    """Resonance frequency at the base, Hz."""
    floor: float = 194.0
    """Lowers all resonance frequencies; the place where they reach zero is near the apex."""
    alpha: float = 3.0
    """Decay rate of the stiffness, 1/cm."""
    quality: float = 1.34
    """Sharpness of the local resonance."""
    waves: float = 13.9
    """Coupling to the fluid: number of waves that fit before the resonance, 1/cm."""
    level: float = 0.035
    """Root mean square that every sound is scaled to."""
    gain: float = 1140.0
    """Factor from membrane velocity to the units of the hair cell."""
    hair_cells: int = 100
    weight: float = 0.298
    """Weight of one hair cell spike, in thresholds."""
    tau_syn: float = 0.173
    tau_mem: float = 0.76
    refractory: float = 1.0
    rate: float = 16_000.0
    """Steps per second of the simulation."""

    def __post_init__(self) -> None:
        check_positive("Cochlea", **vars(self))
        if max(self.base, self.floor) > 1e6:
            raise ConfigError(f"Cochlea needs base and floor of at most 1e6 Hz, but got {self.base} and {self.floor}.")
        counts = self.channels, self.hair_cells, self.rate
        if any(number != int(number) for number in counts):
            raise ConfigError(
                f"Cochlea needs whole numbers of channels, hair_cells and rate, but got {counts}. Round them."
            )


DEFAULT = Cochlea()


def version() -> str:
    """Return a string that changes with the code that determines the spikes: this file, numpy and scipy."""
    return f"{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()} {np.__version__} {scipy.__version__}"


@explained
def encode(
    sounds: Sequence[Array], rate: int, options: Cochlea, generator: torch.Generator
) -> tuple[list[Array], list[Array]]:
    """Encode sounds as spikes; return times [ms] and channels of every sound, sorted by time.

    Each sound has its own random numbers, seeded from `generator` and the index of the sound, so that they do not
    depend on the sounds encoded with it.

    Shapes: each sound [length]; times float32 [spikes], channels uint16 [spikes] (uint32 above 65,536 channels).
    Units: rate in Hz.

    Raises:
        ConfigError: the rate is not a whole number of at least 1, or the membrane motion is not finite with these
            options.
        DataError: a sound is not one-dimensional, or is empty, silent or not finite.

    >>> tone = np.sin(np.arange(1600) * 2 * np.pi * 500 / 8000)
    >>> times, units = encode([tone], 8000, Cochlea(), torch.Generator().manual_seed(0))
    >>> len(times[0]) == len(units[0]) > 50
    True
    """
    if rate < 1:
        raise ConfigError(f"encode needs a rate of at least 1 Hz, but got {rate!r}.")
    if not isinstance(options, Cochlea):
        raise ConfigError(f"encode needs options as a Cochlea, but got {options!r}. Pass Cochlea(), for example.")
    seed = int(torch.randint(2**62, (1,), generator=generator))
    order = sorted(range(len(sounds)), key=lambda number: len(sounds[number]))
    times: list[Array] = [np.zeros(0, np.float32)] * len(sounds)
    units: list[Array] = [np.zeros(0, np.uint16)] * len(sounds)
    while order:
        longest = _steps(len(sounds[order[-1]]), rate, options)
        size = max(1, ELEMENTS // (longest * options.channels))
        group, order = order[-size:], order[:-size]
        drive = np.zeros((longest, len(group), options.channels), np.float32)
        steps = [_steps(len(sounds[number]), rate, options) for number in group]
        for place, number in enumerate(group):
            drive[: steps[place], place] = _membrane(np.asarray(sounds[number], np.float64), number, rate, options)
        _release(drive, options)
        for place, number in enumerate(group):
            draws = np.random.default_rng((seed, number))
            drive[: steps[place], place] = draws.poisson(drive[: steps[place], place])
            drive[steps[place] :, place] = 0
        when, who = _bushy(drive, options)
        sound, unit = np.divmod(who, options.channels)
        for place, number in enumerate(group):
            mine = sound == place
            times[number] = (when[mine] * (1000 / options.rate)).astype(np.float32)
            units[number] = unit[mine].astype(unit_type(options.channels))
    return times, units


def _steps(length: int, rate: int, options: Cochlea) -> int:
    return math.ceil(length * options.rate / rate)


def _membrane(sound: Array, number: int, rate: int, options: Cochlea) -> Array:
    """Return the scaled velocity of each channel, [steps, channels]: filtered and resampled in the frequency domain."""
    if sound.ndim != 1:
        raise DataError(f"Sound {number} has the shape {list(sound.shape)}, but a list of samples was expected.")
    power = float(np.mean(sound**2)) if len(sound) else 0.0
    if not 0.0 < power < float("inf"):
        raise DataError(f"Sound {number} is empty, silent or not finite (mean square {power}). Leave it out.")
    common = math.gcd(rate, int(options.rate))
    unit = math.ceil(0.125 * common) / common  # s; a multiple of it is a whole number of steps at both rates
    seconds = math.ceil((len(sound) / rate + TAIL) / unit) * unit
    size_in, size_out = round(seconds * rate), round(seconds * options.rate)
    spectrum = fft.rfft(sound, size_in)
    transfer = _transfer(options, size_out)
    count = min(len(spectrum), transfer.shape[1])
    scale = options.gain * options.level / math.sqrt(power) * size_out / size_in
    with np.errstate(over="ignore", invalid="ignore"):  # non-finite values raise an error below
        filtered = fft.irfft(transfer[:, :count] * (spectrum[:count] * scale).astype(np.complex64), size_out)
    velocity: Array = filtered[:, : _steps(len(sound), rate, options)].T
    if not np.isfinite(velocity).all():
        raise ConfigError(
            f"With these options of the cochlea the membrane does not stay finite: {options}. Change them."
        )
    return velocity


@lru_cache(maxsize=32)
def _transfer(options: Cochlea, size: int) -> Array:
    """Return membrane velocity of each channel per sound pressure at the base, complex64 [channels, frequencies]."""
    f = fft.rfftfreq(size, 1 / options.rate)[None]
    places = options.channels * SUBDIVISIONS
    x = ((np.arange(places) + 0.5) / places * LENGTH)[:, None]
    stiffness = options.base**2 * np.exp(-options.alpha * x) - options.floor**2
    damping = options.base * np.exp(-options.alpha * x / 2) / options.quality
    load = stiffness - f**2 + 1j * f * damping
    k = options.waves * f / np.sqrt(load)
    k = np.where(k.imag > 0, k.conj(), k)  # waves decay in the direction of travel
    k[:, 0] = 1.0
    pressure = (
        1j
        * f
        / (1j * f + options.middle_ear)
        * np.sqrt(k[:1] / k)
        * np.exp(-1j * np.cumsum(k, axis=0) * LENGTH / places)
    )
    velocity: Array = (1j * f * options.base * pressure / load)[SUBDIVISIONS // 2 :: SUBDIVISIONS]
    return velocity.astype(np.complex64)


def _release(drive: Array, options: Cochlea) -> None:
    """Convert membrane velocity [steps, sounds, channels] to expected hair cell spikes per channel, in place."""
    dt = np.float32(1 / options.rate)
    np.maximum(drive + np.float32(A), 0, out=drive)
    drive *= G / (drive + np.float32(B))
    rest = G * A / (A + B)
    q = np.full(drive.shape[1:], Y / (Y + L * rest / (L + R)), np.float32)
    c = rest * q / np.float32(L + R)
    w = np.float32(R / X) * c
    keep = np.float32(math.exp(-(L + R) / options.rate))
    for k in drive:
        flow = k * q
        returned = np.float32(X * dt) * w
        q += Y * dt * (1 - q) + returned - dt * flow
        w += np.float32(R * dt) * c - returned
        c *= keep
        c += flow * np.float32((1 - keep) / (L + R))
        k[...] = c
    drive *= np.float32(H)
    drive /= 1 + drive * np.float32(options.refractory / 1000)
    drive *= np.float32(options.hair_cells / options.rate)


def _bushy(arrivals: Array, options: Cochlea) -> tuple[Array, Array]:
    """Return the steps and cells of bushy cell spikes for hair cell spikes [steps, sounds, channels]."""
    dt = 1000 / options.rate
    decay_syn, decay_mem = (np.float32(math.exp(-dt / tau)) for tau in (options.tau_syn, options.tau_mem))
    pause = round(options.refractory / dt)
    arrivals *= np.float32(options.weight)
    current, voltage = np.zeros(arrivals.shape[1:], np.float32), np.zeros(arrivals.shape[1:], np.float32)
    recent: list[Array] = []
    when, who = [], []
    for step, arrived in enumerate(arrivals):
        current *= decay_syn
        current += arrived
        voltage *= decay_mem
        voltage += (1 - decay_mem) * current
        for fired in recent[-pause:]:
            voltage.flat[fired] = 0.0
        fired = np.flatnonzero(voltage > 1)
        recent = [*recent[-pause:], fired]
        if len(fired):
            voltage.flat[fired] = 0.0
            when.append(np.full(len(fired), step))
            who.append(fired)
    none = [np.zeros(0, np.int64)]
    return np.concatenate(none + when), np.concatenate(none + who)
