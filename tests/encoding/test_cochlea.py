"""The artificial cochlea beside a reference that the makers of SHD published.

The statistics and their bounds were written down before the model (docs/decisions/0008-artificial-cochlea.md). What
breaks the order of channels or of time must fail them, or they would say nothing.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from spikeloom.encoding.cochlea import Cochlea, encode
from spikeloom.errors import ConfigError, DataError
from spikeloom.papers.parallel_neurons.spoken_digits import HEARING, Config

Array = NDArray[np.float64]
DATA = Path(os.environ.get("SPIKELOOM_DATA", "/nonexistent")) / "samples"
SOUND, REFERENCE = DATA / "lauscher_spoken_digit.flac", DATA / "lauscher_reference_70ch.npz"
needs_reference = pytest.mark.skipif(
    not (SOUND.is_file() and REFERENCE.is_file()),
    reason=f"not in $SPIKELOOM_DATA/samples: {SOUND.name} or {REFERENCE.name}",
)
BINS, CHANNELS = 80, 70
COUNT, TIMES, PLACES = 0.25, 40.0, 5.0  # a share; ms; channels
CORRELATIONS = {"psth": 0.85, "profile": 0.85, "joint": 0.75, "interaction": 0.5}


def image(times: Array, channels: Array) -> Array:
    """Spikes per 10 ms and channel."""
    counts = np.zeros((BINS, CHANNELS))
    np.add.at(counts, (np.minimum((times // 10).astype(int), BINS - 1), channels.astype(int)), 1)
    return counts


def views(times: Array, channels: Array) -> dict[str, Array]:
    counts = image(times, channels)
    alone = np.outer(counts.sum(1), counts.sum(0)) / counts.sum()
    return {
        "psth": gaussian_filter1d(counts.sum(1), 1.5),
        "profile": gaussian_filter1d(counts.sum(0), 1.5),
        "joint": gaussian_filter(counts, (1.5, 1.5)),
        "interaction": gaussian_filter(counts - alone, (2.0, 2.0)),
    }


def failures(times: Array, channels: Array, wanted: tuple[Array, Array]) -> set[str]:
    """Names of the statistics that are out of bounds."""
    failed = set()
    if abs(len(times) / len(wanted[0]) - 1) > COUNT:
        failed.add("count")
    shares = [0.05, 0.5, 0.95]
    if np.abs(np.quantile(times, shares) - np.quantile(wanted[0], shares)).max() > TIMES:
        failed.add("times")
    if np.abs(np.quantile(channels, shares) - np.quantile(wanted[1], shares)).max() > PLACES:
        failed.add("places")
    mine, theirs = views(times, channels), views(*wanted)
    for name, bound in CORRELATIONS.items():
        if not np.corrcoef(mine[name].ravel(), theirs[name].ravel())[0, 1] >= bound:
            failed.add(name)
    return failed


def reference() -> tuple[Array, Array]:
    times, channels = np.load(REFERENCE)["arr_0"]
    return times * 1000, channels


def encoded(seed: int, channels: int = CHANNELS, hearing: str = "reference") -> tuple[Array, Array]:
    import soundfile

    sound, rate = soundfile.read(SOUND)
    options = replace(HEARING[hearing], channels=channels)
    times, units = encode([sound], rate, options, torch.Generator().manual_seed(seed))
    return times[0].astype(np.float64), units[0].astype(np.float64)


@needs_reference
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_agrees_with_the_reference(seed: int) -> None:
    assert failures(*encoded(seed), reference()) == set()


@needs_reference
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_keen_hearing_is_outside_two_bounds_and_at_the_edge_of_a_third(seed: int) -> None:
    """What `spoken_digits` hears with by default: no fit, and decision 0008 says in what it differs."""
    times, channels = encoded(seed, hearing="keen")
    failed = failures(times, channels, reference())
    assert failed - {"times"} == {"places", "interaction"}
    assert 620 < len(times) < 750  # not the number of spikes
    assert np.quantile(channels, 0.05) < np.quantile(reference()[1], 0.05) - 10  # too near the base


def test_the_reference_is_heard_with_the_options_of_the_fit() -> None:
    assert HEARING["reference"] == Cochlea()
    assert Config().hearing == "keen"


@needs_reference
def test_the_reference_agrees_with_itself() -> None:
    assert failures(*reference(), reference()) == set()


def channels_permuted(times: Array, channels: Array, draw: np.random.Generator) -> tuple[Array, Array]:
    return times, draw.permutation(CHANNELS)[channels.astype(int)].astype(np.float64)


def channels_mirrored(times: Array, channels: Array, draw: np.random.Generator) -> tuple[Array, Array]:
    return times, CHANNELS - 1 - channels


def channels_shuffled(times: Array, channels: Array, draw: np.random.Generator) -> tuple[Array, Array]:
    return times, draw.permutation(channels)


def times_uniform(times: Array, channels: Array, draw: np.random.Generator) -> tuple[Array, Array]:
    return draw.uniform(times.min(), times.max(), len(times)), channels


def times_reversed(times: Array, channels: Array, draw: np.random.Generator) -> tuple[Array, Array]:
    return times.min() + times.max() - times, channels


@needs_reference
@pytest.mark.parametrize(
    ("surrogate", "must_fail"),
    [
        (channels_permuted, {"profile", "joint", "interaction"}),
        (channels_mirrored, {"profile"}),
        (channels_shuffled, {"interaction"}),
        (times_uniform, {"psth", "joint", "interaction"}),
        (times_reversed, {"psth"}),
    ],
)
def test_surrogates_of_the_reference_fail(
    surrogate: Callable[[Array, Array, np.random.Generator], tuple[Array, Array]], must_fail: set[str]
) -> None:
    for seed in range(5):
        changed = surrogate(*reference(), np.random.default_rng(seed))
        assert must_fail <= failures(*changed, reference()), surrogate.__name__


@needs_reference
def test_seven_hundred_channels_are_the_same_cochlea_in_finer_steps() -> None:
    times, units = encoded(0, 700)
    assert 3000 < len(times) < 12_000
    assert units.max() < 700
    coarse = np.floor(units / 10)
    wanted = reference()
    for name, bound in CORRELATIONS.items():
        mine, theirs = views(times, coarse)[name], views(*wanted)[name]
        assert np.corrcoef(mine.ravel(), theirs.ravel())[0, 1] > bound, name


def tone(hertz: float, seconds: float = 0.2, rate: int = 8000) -> Array:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_high_tones_are_heard_at_the_base_and_low_ones_at_the_apex() -> None:
    _, units = encode([tone(hertz) for hertz in (3000.0, 1500.0, 700.0, 300.0)], 8000, Cochlea(), seeded())
    places = [float(np.median(unit)) for unit in units]
    assert places == sorted(places)
    assert places[-1] - places[0] > 20


def test_equal_seeds_give_equal_spikes_whatever_is_encoded_beside() -> None:
    sounds = [tone(500.0), tone(1200.0, 0.3), tone(2000.0, 0.1)]
    first, second = (encode(sounds, 8000, Cochlea(), seeded(3)) for _ in range(2))
    other = encode(sounds, 8000, Cochlea(), seeded(4))
    alone = encode(sounds[:1], 8000, Cochlea(), seeded(3))
    assert all(np.array_equal(a, b) for a, b in zip(first[0], second[0], strict=True))
    assert np.array_equal(first[0][0], alone[0][0])
    assert not np.array_equal(first[0][0], other[0][0])
    assert all((np.diff(times) >= 0).all() for times in first[0])


def test_loudness_is_normalised() -> None:
    quiet, loud = (encode([level * tone(800.0)], 8000, Cochlea(), seeded()) for level in (0.01, 1.0))
    assert np.array_equal(quiet[1][0], loud[1][0])


@pytest.mark.parametrize("sound", [np.zeros(0), np.zeros(800), np.full(800, np.nan)])
def test_a_sound_without_sound_is_refused(sound: Array) -> None:
    with pytest.raises(DataError, match="Sound 1 is empty, silent or not finite"):
        encode([tone(500.0), sound], 8000, Cochlea(), seeded())


def test_options_must_make_sense() -> None:
    with pytest.raises(ConfigError, match="Cochlea needs gain > 0"):
        Cochlea(gain=0.0)
    with pytest.raises(ConfigError, match="whole numbers of channels, hair_cells and rate"):
        Cochlea(rate=8000.5)


def test_options_and_sounds_that_leave_the_range_of_numbers_are_refused() -> None:
    tone = np.sin(np.arange(400) * 0.4)
    extremes: tuple[dict[str, Any], ...] = ({"gain": 1e300}, {"level": 1e300})
    for option in extremes:
        with pytest.raises(ConfigError, match=r"the membrane does not stay finite: Cochlea\(channels=4"):
            encode([tone], 8000, Cochlea(channels=4, **option), torch.Generator())
    with pytest.raises(ConfigError, match=r"base and floor of at most 1e6 Hz, but got 1e\+200"):
        Cochlea(base=1e200)
    for rate in (0, -1, 8000.5):
        with pytest.raises(ConfigError, match=r"encode needs (a rate of at least 1 Hz|rate as a whole number)"):
            encode([tone], rate, Cochlea(channels=4), torch.Generator())  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"Sound 0 has the shape \[2, 200\], but a list of samples"):
        encode([tone.reshape(2, -1)], 8000, Cochlea(channels=4), torch.Generator())
