"""MFCC: against loops written from the definition, known values, the loudest frame, silence."""

import cmath
import importlib.util
import math
import os
from pathlib import Path

import numpy as np
import pytest

from spikeloom.data import fsdd
from spikeloom.data.spike_trains import Array
from spikeloom.encoding.mfcc import MFCCOptions, first_frame, mfcc, picture, standardised, triangles, trimmed
from spikeloom.errors import ConfigError, DataError

real = Path(os.environ.get("SPIKELOOM_DATA", "/nonexistent")) / "fsdd" / "fsdd_recordings.zip"


def noise(length: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(length).astype(np.float32) * np.float32(0.1)


def tone(hertz: float, length: int, rate: int = 8000) -> Array:
    return np.cos(2 * np.pi * hertz * np.arange(length) / rate)


def plain(samples: list[float], rate: int, n_fft: int, hop: int, bands: int, count: int) -> list[list[float]]:
    """The definition, one number at a time."""
    half = n_fft // 2
    reflected = [samples[half - n] for n in range(half)] + samples
    reflected += [samples[-2 - n] for n in range(half)]
    hann = [math.sin(math.pi * n / n_fft) ** 2 for n in range(n_fft)]
    turns = [cmath.exp(-2j * math.pi * n / n_fft) for n in range(n_fft)]

    def mel(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)

    corners = [700 * (10 ** (mel(rate / 2) * m / (bands + 1) / 2595) - 1) for m in range(bands + 2)]
    levels = []
    for start in range(0, len(samples) + 1, hop):
        power = []
        for f in range(half + 1):
            total = sum(hann[n] * reflected[start + n] * turns[f * n % n_fft] for n in range(n_fft))
            power.append(abs(total) ** 2)
        row = []
        for m in range(bands):
            low, middle, high = corners[m : m + 3]
            heard = 0.0
            for f in range(half + 1):
                hertz = f * rate / n_fft
                if low < hertz <= middle:
                    heard += power[f] * (hertz - low) / (middle - low)
                elif middle < hertz < high:
                    heard += power[f] * (high - hertz) / (high - middle)
            row.append(10 * math.log10(max(heard, 1e-10)))
        levels.append(row)
    loudest = max(max(row) for row in levels)
    found = []
    for row in levels:
        row = [max(level, loudest - 80.0) for level in row]
        frame = []
        for k in range(count):
            part = sum(row[m] * math.cos(math.pi * k * (m + 0.5) / bands) for m in range(bands))
            frame.append(part * math.sqrt((2 if k else 1) / bands))
        found.append(frame)
    return found


@pytest.mark.parametrize(("length", "rate"), [(401, 8000), (799, 8000), (800, 16000)])
def test_it_is_what_the_definition_says(length: int, rate: int) -> None:
    samples = noise(length)
    wanted = plain([float(sample) for sample in samples], rate, 400, 200, 128, 21)
    np.testing.assert_allclose(mfcc(samples, rate), np.array(wanted), atol=1e-9)


def test_other_numbers_are_options() -> None:
    samples = noise(300)
    found = mfcc(samples, 8000, MFCCOptions(coefficients=5, n_fft=64, hop=50, bands=20))
    np.testing.assert_allclose(found, np.array(plain(samples.tolist(), 8000, 64, 50, 20, 6)), atol=1e-9)


def test_a_tone_has_the_power_that_arithmetic_gives() -> None:
    # at a frequency of the transform, a cosine of height 1 gives (n_fft / 4)^2, its two neighbours a quarter of that
    weights = triangles(8000, 400, 128)
    power = np.zeros(201)
    power[[49, 50, 51]] = 2500, 10_000, 2500
    level = 10 * np.log10(np.maximum(weights @ power, 1e-10))
    level = np.maximum(level, level.max() - 80)
    found = mfcc(tone(1000.0, 2000), 8000)
    np.testing.assert_allclose(found[5, 0], level.sum() / math.sqrt(128), rtol=1e-9)
    assert np.argmax(level) == np.argmax(weights[:, 50])


def test_triangles_reach_half_the_sampling_rate_on_the_mel_scale() -> None:
    weights = triangles(8000, 400, 128)
    assert weights.shape == (128, 201)
    assert weights[:, 0].max() == weights[:, -1].max() == 0.0  # the corners are 0 Hz and 4,000 Hz
    assert 0.9 < weights.max() <= 1.0
    np.testing.assert_allclose(weights[:, 60:190].sum(0), 1.0)  # where triangles are wide, they add up to one


def test_the_first_coefficient_is_the_mean_level() -> None:
    quiet, loud = mfcc(noise(2000), 8000), mfcc(10 * noise(2000), 8000)
    np.testing.assert_allclose(loud[:, 0] - quiet[:, 0], 20 * math.sqrt(128), rtol=1e-6)
    np.testing.assert_allclose(loud[:, 1:], quiet[:, 1:], atol=1e-4)  # ten times louder is nothing else


@pytest.mark.skipif(importlib.util.find_spec("torchaudio") is None, reason="torchaudio is not installed")
def test_torchaudio_says_the_same() -> None:
    import torch
    import torchaudio  # type: ignore[import-not-found,unused-ignore]

    samples = noise(3000)
    theirs = torchaudio.transforms.MFCC(8000, 21)(torch.from_numpy(samples))
    np.testing.assert_allclose(mfcc(samples, 8000), theirs.numpy().T, atol=2e-3)


def test_a_picture_is_standardised_and_filled_up_at_the_right() -> None:
    found = picture(np.concatenate([np.zeros(500), noise(2100), np.zeros(300)]), 8000)
    assert found.shape == (1, 30, 20)
    assert found.dtype == np.float32
    assert found[0, 11:].any() == np.False_
    np.testing.assert_allclose(found[0, :11].mean(1), 0.0, atol=1e-6)
    np.testing.assert_allclose(found[0, :11].std(1, ddof=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(found[0, :11], standardised(mfcc(noise(2100), 8000)[:, 1:]), atol=1e-6)


@pytest.mark.parametrize(("at", "start"), [(1, 0), (10, 0), (25, 10), (40, 25), (48, 30), (58, 30)])
def test_frames_are_cut_around_the_loudest(at: int, start: int) -> None:
    samples = noise(59 * 200)
    samples[200 * at - 100 : 200 * at + 100] *= 20
    frames = standardised(mfcc(samples, 8000)[:, 1:])
    found = picture(samples, 8000)[0]
    np.testing.assert_allclose(found, frames[start : start + 30], atol=1e-6)
    assert len(frames) == 60
    assert found.any(1).all()  # never 29 frames


def test_a_sound_as_long_as_the_picture_is_kept_whole() -> None:
    for length, frames in ((29 * 200, 30), (29 * 200 - 1, 29), (30 * 200, 31)):
        samples = noise(length)
        assert mfcc(samples, 8000).shape == (frames, 21)
        assert picture(samples, 8000)[0].any(1).sum() == min(frames, 30)


def test_a_flat_frame_becomes_zeros() -> None:
    samples = np.concatenate([noise(1000), np.zeros(1200, np.float32), noise(1000)])
    found = picture(samples, 8000)[0]
    assert np.isfinite(found).all()
    assert not found[7:10].any()  # digital silence: every band is raised to the same level
    assert found[:4].any(1).all()


def test_the_loudest_is_in_the_middle_as_far_as_both_ends_allow() -> None:
    assert [first_frame(np.eye(9)[loudest], 4) for loudest in range(9)] == [0, 0, 0, 1, 2, 3, 4, 5, 5]
    assert first_frame(np.ones(3), 30) == 0


def test_silence_is_cut_off_at_both_ends_only() -> None:
    samples = np.array([0.0, 1e-6, -1e-6, -2e-6, 0.0, 0.0, 0.3, 1e-7])
    assert trimmed(samples).tolist() == [-2e-6, 0.0, 0.0, 0.3]


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.zeros(0), "9_anna_3.wav is silent: it has no samples"),
        (np.full(5000, 1e-7), r"silent: none of its 5,000 samples is above 1e-06"),
        (noise(200), "has 200 samples between its first and last sound, but MFCC in frames of 400 needs at least 201"),
        (np.concatenate([np.zeros(900), noise(150)]), "has 150 samples between"),
        (np.full(900, np.nan), "silent"),
        (np.where(np.arange(900) == 5, np.inf, 0.1), "finite floating point samples"),
        (np.ones(900, np.int16), "finite floating point samples, but is int16"),
        (np.ones((900, 2)), "must be a list of numbers, but is float64 .900, 2."),
    ],
)
def test_what_cannot_be_heard_is_refused(samples: Array, said: str) -> None:
    with pytest.raises(DataError, match=said):
        picture(samples, 8000, name="9_anna_3.wav")


def test_the_shortest_sound_is_one_sample_longer_than_half_a_frame() -> None:
    assert picture(noise(201), 8000)[0].any(1).sum() == 2


@pytest.mark.parametrize("options", [{"coefficients": 1}, {"coefficients": 128}, {"bands": 20}])
def test_coefficients_must_fit_the_bands(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="needs 2 to bands - 1 coefficients"):
        MFCCOptions(**options)


def test_numbers_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="MFCC needs hop > 0"):
        MFCCOptions(hop=0)


@pytest.mark.skipif(not real.is_file(), reason="not in $SPIKELOOM_DATA/fsdd: fsdd_recordings.zip")
def test_real_recordings_become_pictures() -> None:
    recordings = fsdd.load("test")
    found = np.stack(
        [picture(s, recordings.rate, name=n) for s, n in zip(recordings.samples, recordings.names, strict=True)]
    )
    assert found.shape == (len(recordings.names), 1, 30, 20)
    assert np.isfinite(found).all()
    heard = np.any(found, axis=3)[:, 0]
    assert (heard.sum(1) >= 6).all()
    np.testing.assert_allclose(found[:, 0].std(2, ddof=1)[heard], 1.0, rtol=1e-5)


@pytest.mark.parametrize("name", ["coefficients", "frames", "n_fft", "hop", "bands"])
def test_counts_are_whole(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"MFCCOptions needs {name} as a whole number, but got 20.5"):
        MFCCOptions(**{name: 20.5})  # type: ignore[arg-type]
