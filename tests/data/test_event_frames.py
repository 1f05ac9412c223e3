"""Events as frames: nothing lost, polarities apart, windows and equal parts, the same as a raster."""

import numpy as np
import pytest
import torch

from spikeloom import frames
from spikeloom.data import events
from spikeloom.data.spike_trains import Array, raster
from spikeloom.errors import ConfigError, DataError, ShapeError


@pytest.fixture
def clip() -> Array:
    draws = np.random.default_rng(1)
    times = np.sort(draws.integers(0, 30_000, 500))
    return events.make(draws.integers(0, 7, 500), draws.integers(0, 5, 500), times, draws.integers(0, 2, 500) > 0)


def test_frames_are_the_raster_of_the_same_events(clip: Array) -> None:
    trains = events.convert([("a", clip)], [0], at_most=500, width=7, height=5, keep="both", classes=("a",))
    expected = raster(trains, [0], window=2.5).spikes.view(-1, 2, 5, 7)
    found = frames(clip, 7, 5, window=2.5)
    assert found.dtype == torch.float32
    assert found.equal(expected)
    assert found.sum() == 500


def test_polarities_are_apart_or_merged(clip: Array) -> None:
    both = frames(clip, 7, 5, steps=6)
    assert both.shape == (6, 2, 5, 7)
    assert both.sum((0, 2, 3)).tolist() == [(~clip["p"]).sum(), clip["p"].sum()]
    for polarity, channel in (("off", 0), ("on", 1)):
        assert frames(clip, 7, 5, steps=6, polarity=polarity).equal(both[:, channel : channel + 1])  # type: ignore[arg-type]
    assert frames(clip, 7, 5, steps=6, polarity="merge").equal(both.sum(1, keepdim=True))


def test_steps_divide_the_recording_into_equal_parts() -> None:
    clip = events.make(np.zeros(8, int), 0, np.arange(8) * 10, True)
    assert frames(clip, 1, 1, steps=4)[:, 1, 0, 0].tolist() == [2.0, 2.0, 2.0, 2.0]
    assert frames(clip[::-1], 1, 1, steps=4)[:, 1, 0, 0].tolist() == [2.0, 2.0, 2.0, 2.0]  # in any order
    assert frames(clip, 1, 1, steps=9, window=0.01)[:, 1, 0, 0].tolist() == [1.0] * 8 + [0.0]
    assert frames(clip[:0], 1, 1, steps=3).shape == (3, 2, 1, 1)
    assert frames(clip[:0], 1, 1, window=3.0).sum() == 0


def test_what_cannot_be_framed_is_refused(clip: Array) -> None:
    with pytest.raises(ConfigError, match=r"frames needs steps or window, but got neither"):
        frames(clip, 7, 5)
    with pytest.raises(ConfigError, match=r"asked for steps=5 of window=2.0 ms, but an event has the time 29"):
        frames(clip, 7, 5, steps=5, window=2.0)
    with pytest.raises(DataError, match=r"is at x = 6, y = .*, but the sensor has 6 x 5 cells"):
        frames(clip, 6, 5, steps=5)
    with pytest.raises(ConfigError, match=r"frames would have 1,000,000,000,000 steps of 70 cells, more than"):
        frames(clip, 7, 5, steps=10**12)
    with pytest.raises(ShapeError, match=r"needs events as a list with the fields x, y, t and p, but got float64"):
        frames(np.zeros(3), 7, 5, steps=5)
    late = clip.copy()
    late["t"][0] = -1
    with pytest.raises(ConfigError, match=r"frames needs events with times of at least 0 us, but got -1"):
        frames(late, 7, 5, steps=5)
