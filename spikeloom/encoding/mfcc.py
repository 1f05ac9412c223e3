"""Mel-frequency cepstral coefficients (MFCC) of sounds, and fixed-size MFCC images of spoken words.

    power[t, f] = |sum_n hann[n] x[hop t + n] exp(-2 pi i f n / n_fft)|^2     x reflected by n_fft / 2 at both ends
    level[t, m] = 10 log10 max(sum_f triangle[m, f] power[t, f], 1e-10)       at least the largest of the sound - top_db
    mfcc[t, k]  = sqrt(2 / M) sum_m level[t, m] cos(pi k (m + 1/2) / M)       for k = 0 sqrt(1 / M)

hann is periodic; the M triangles are evenly spaced on the mel scale 2595 log10(1 + f / 700) from 0 to half the
sampling rate, each with height 1. These are the defaults of torchaudio.

`picture` drops k = 0, which is the loudness of a frame, standardises every frame over its coefficients, and crops
frames around the loudest one. Loudness is the power before standardisation.
Source: Limbacher, Özdenizci, Legenstein, 2022 (arXiv:2205.11276); Davis and Mermelstein, IEEE Trans. ASSP 28, 1980.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft

from ..arguments import explained
from ..data.spike_trains import Array
from ..errors import ConfigError, DataError, check_positive

SILENCE = 1e-6
"""Samples with at most this magnitude are trimmed at both ends."""
SMALLEST = 1e-10
"""Floor of the power."""
FLAT = 1e-6
"""Standard deviation in dB below which a frame is flat; its coefficients are set to 0."""


@explained
@dataclass(frozen=True)
class MFCCOptions:
    """Options of the transform and the image; the defaults are those of the paper.

    Raises:
        ConfigError: a number is not positive, or there are fewer bands than coefficients.
    """

    coefficients: int = 20
    """Number per frame, without the first; at least 2, to have a standard deviation."""
    frames: int = 30
    """Number of frames per image."""
    n_fft: int = 400
    """Frame length in samples."""
    hop: int = 200
    """Hop length in samples."""
    bands: int = 128
    """Number of triangles on the mel scale."""
    top_db: float = 80.0
    """Dynamic range in dB: lower levels are clipped to the largest minus this."""

    def __post_init__(self) -> None:
        check_positive("MFCC", **vars(self))
        counts = self.coefficients, self.frames, self.n_fft, self.hop, self.bands
        if any(number != int(number) for number in counts):
            raise ConfigError(
                f"MFCC needs whole numbers of coefficients, frames, n_fft, hop and bands, but got {counts}. Round them."
            )
        if not 2 <= self.coefficients < self.bands:
            raise ConfigError(
                f"MFCC needs 2 to bands - 1 coefficients, but got {self.coefficients} of {self.bands} bands."
            )


DEFAULT = MFCCOptions()


@explained
def mfcc(samples: Array, rate: int, options: MFCCOptions = DEFAULT, name: str = "The sound") -> Array:
    """Compute all coefficients, including the first.

    Shapes: samples [length] -> float64 [1 + length // hop, 1 + coefficients].
    Units: rate in Hz.

    Raises:
        DataError: the sound is not one-dimensional and finite, or not longer than half a frame.

    >>> mfcc(np.sin(np.arange(1000.0)), 8000).shape
    (6, 21)
    """
    return _coefficients(_power(samples, options, name), rate, options)


@explained
def picture(samples: Array, rate: int, options: MFCCOptions = DEFAULT, name: str = "The sound") -> Array:
    """Compute the MFCC image of a word: trimmed, standardised per frame, cropped around the loudest or zero-padded.

    Shapes: samples [length] -> float32 [1, frames, coefficients].
    Units: rate in Hz.

    Raises:
        DataError: the sound is silent, or the rest after trimming is not longer than half a frame.

    >>> picture(np.sin(np.arange(1000.0)), 8000)[0, :, 0].nonzero()[0].tolist()
    [0, 1, 2, 3, 4]
    """
    power = _power(trimmed(samples, name), options, name)
    frames = standardised(_coefficients(power, rate, options)[:, 1:])
    start = first_frame(power.sum(1), options.frames)
    result = np.zeros((1, options.frames, options.coefficients), np.float32)
    kept = frames[start : start + options.frames]
    result[0, : len(kept)] = kept
    return result


@explained
def trimmed(samples: Array, name: str = "The sound") -> Array:
    """Trim silence at both ends.

    Raises:
        DataError: all samples are silent.

    >>> trimmed(np.array([0.0, 1e-7, 0.5, 0.0, 0.5, 0.0])).tolist()
    [0.5, 0.0, 0.5]
    """
    samples = np.asarray(samples)
    if samples.ndim != 1 or samples.dtype.kind not in "fiu":
        raise DataError(f"{name} must be a list of numbers, but is {samples.dtype} {samples.shape}.")
    heard = np.flatnonzero(np.abs(samples) > SILENCE)
    if not len(heard):
        what = f"none of its {len(samples):,} samples is above {SILENCE:g}" if len(samples) else "it has no samples"
        raise DataError(f"{name} is silent: {what}. Leave it out, or record it again.")
    return samples[heard[0] : heard[-1] + 1]


@explained
def standardised(frames: Array) -> Array:
    """Standardise frames [T, K] to mean 0 and (unbiased) standard deviation 1 per frame; flat frames become 0.

    >>> standardised(np.array([[1.0, 3.0, 5.0], [2.0, 2.0, 2.0]])).tolist()
    [[-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """
    if frames.ndim != 2 or frames.dtype.kind not in "fiu":
        raise DataError(f"standardised needs frames [T, K] of numbers, but got {frames.dtype} {list(frames.shape)}.")
    spread = frames.std(1, ddof=1, keepdims=True)
    flat = spread <= FLAT
    standard: Array = np.where(flat, 0.0, (frames - frames.mean(1, keepdims=True)) / np.where(flat, 1.0, spread))
    return standard


@explained
def first_frame(loudness: Array, frames: int) -> int:
    """Return the start of a crop of `frames` frames, centred on the loudest one as far as both ends allow.

    >>> [first_frame(np.eye(8)[loudest], 4) for loudest in (0, 3, 4, 7)]
    [0, 1, 2, 4]
    """
    if loudness.ndim != 1 or not loudness.size:
        raise DataError(f"first_frame needs the loudness of every frame, but got {list(loudness.shape)}.")
    return int(np.clip(int(np.argmax(loudness)) - frames // 2, 0, max(len(loudness) - frames, 0)))


@explained
@lru_cache(4)
def triangles(rate: int, n_fft: int, bands: int) -> Array:
    """Compute the filter bank: weights [bands, 1 + n_fft // 2] of the frequencies in each band.

    >>> triangles(8000, 400, 128).shape
    (128, 201)
    """
    corners = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), bands + 2) / 2595) - 1)
    low, middle, high = (corners[start : start + bands, None] for start in range(3))
    frequencies = np.linspace(0, rate / 2, 1 + n_fft // 2)
    weights: Array = np.maximum(
        0, np.minimum((frequencies - low) / (middle - low), (high - frequencies) / (high - middle))
    )
    weights.flags.writeable = False
    return weights


def _power(samples: Array, options: MFCCOptions, name: str) -> Array:
    """Compute the power [T, 1 + n_fft // 2] of the module docstring."""
    half = options.n_fft // 2
    if samples.ndim != 1 or samples.dtype.kind != "f" or not np.isfinite(samples).all():
        raise DataError(
            f"{name} must be a list of finite floating point samples, but is {samples.dtype} {samples.shape}."
        )
    if len(samples) <= half:
        raise DataError(
            f"{name} has {len(samples):,} samples between its first and last sound, but MFCC in frames of "
            f"{options.n_fft} needs at least {half + 1}. Leave it out, or record it again."
        )
    padded = np.pad(samples.astype(np.float64), half, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, options.n_fft)[:: options.hop]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(options.n_fft) / options.n_fft)
    power: Array = np.abs(fft.rfft(frames * window)) ** 2
    return power


def _coefficients(power: Array, rate: int, options: MFCCOptions) -> Array:
    bands = power @ triangles(rate, options.n_fft, options.bands).T
    level = 10 * np.log10(np.maximum(bands, SMALLEST))
    level = np.maximum(level, level.max() - options.top_db)
    result: Array = fft.dct(level, norm="ortho")[:, : options.coefficients + 1]
    return result
