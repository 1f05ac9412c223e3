"""Event recordings: file formats, filters that keep events whole, bins."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from spikeloom.data import events, stored
from spikeloom.data.events import MARKER, OVERFLOW, Polarity
from spikeloom.data.spike_trains import Array, SpikeTrains, raster
from spikeloom.errors import ConfigError, DataError, ShapeError
from tests.fixtures.damage import attempt
from tests.fixtures.formats import LAST, write_bin, write_bs1

DATA = Path(os.environ.get("SPIKELOOM_DATA") or "/nonexistent")


def sample(name: str) -> bytes:
    path = DATA / "samples" / name
    if not path.is_file():
        pytest.skip(f"not in $SPIKELOOM_DATA/samples: {name}")
    return path.read_bytes()


def recording(count: int = 1000, seed: int = 0, last: int = LAST, side: int = 34) -> Array:
    draws = np.random.default_rng(seed)
    time = np.sort(draws.integers(0, last, count, endpoint=True))
    return events.make(draws.integers(0, side, count), draws.integers(0, side, count), time, draws.random(count) < 0.5)


def trains(found: Array, keep: Polarity = "merge", side: int = 34) -> SpikeTrains:
    return events.convert(
        [("a recording", found)], [0], at_most=len(found), width=side, height=side, keep=keep, classes=("0",)
    )


def test_the_worked_examples_of_the_format() -> None:
    assert events.read_bin(bytes.fromhex("070F80028E"), "x").tolist() == [(7, 15, 654, True)]
    assert events.read_bin(bytes.fromhex("1312000BB7"), "x").tolist() == [(19, 18, 2999, False)]
    assert events.read_bin(bytes.fromhex("0000FFFFFF"), "x").tolist() == [(0, 0, LAST, True)]
    assert events.EVENT.names == ("x", "y", "t", "p")


@pytest.mark.parametrize("tail", [b"", b"\x01", b"\x01\x02\x03\x04"])
def test_a_thousand_events_are_read_as_written_whatever_the_tail(tail: bytes) -> None:
    written = recording()
    written["t"][-1] = LAST
    assert (events.read_bin(write_bin(written) + tail, "x") == written).all()


def test_an_overflow_marker_shifts_what_follows() -> None:
    data = bytes.fromhex("01020003E8 00F0000000 03048003E8 00F0800001 0506000000")
    read = events.read_bin(data, "x").tolist()
    assert read == [(1, 2, 1000, False), (3, 4, 1000 + OVERFLOW, True), (5, 6, 2 * OVERFLOW, False)]


def test_times_above_23_bits_are_written_with_markers() -> None:
    written = recording(last=60_000_000)
    data = write_bin(written)
    assert len(data) > 5 * len(written)
    assert (events.read_bin(data, "x") == written).all()


any_event = some.tuples(
    some.integers(0, 255), some.integers(0, 255).filter(lambda y: y != MARKER), some.integers(0, LAST), some.booleans()
)


@given(listed=some.lists(any_event, min_size=1, max_size=50), tail=some.binary(max_size=4))
def test_any_events_survive_the_round_trip(listed: list[tuple[int, int, int, bool]], tail: bytes) -> None:
    written = np.array(listed, events.EVENT)
    assert (events.read_bin(write_bin(written) + tail, "x") == written).all()


@given(times=some.lists(some.integers(0, 60_000_000), min_size=1, max_size=20))
@settings(deadline=None)
def test_any_ordered_times_survive_the_round_trip(times: list[int]) -> None:
    written = events.make(np.arange(len(times)), 0, np.sort(times), True)
    assert (events.read_bin(write_bin(written), "x") == written).all()


one_dimensional = some.tuples(some.integers(0, 32767), some.just(0), some.integers(0, LAST), some.booleans())


@given(listed=some.lists(one_dimensional, min_size=1, max_size=50))
def test_any_channels_survive_the_round_trip(listed: list[tuple[int, int, int, bool]]) -> None:
    written = np.array(listed, events.EVENT)
    assert (events.read_bs1(write_bs1(written), "x") == written).all()


@given(data=some.binary(max_size=60))
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (events.read_bin, events.read_bs1):

        def checked(read: Callable[[bytes, str], Array] = read) -> Array:
            return events.check(read(data, "some.bin"), 34, 34, "some.bin")

        found = attempt(checked)
        assert "some.bin" in str(found) if isinstance(found, DataError) else 0 < len(found) <= len(data) // 5


def test_files_without_events_and_high_channels_are_refused() -> None:
    with pytest.raises(DataError, match=r"a.bin has 4 bytes without an event, and an event has 5"):
        events.read_bin(b"\0\0\0\0", "a.bin")
    with pytest.raises(DataError, match=r"a.bin has 5 bytes without an event"):
        events.read_bin(bytes([0, MARKER, 0, 0, 0]), "a.bin")
    with pytest.raises(DataError, match=r"a.bs1 has the channel 32768, but 0 to 32767 were expected"):
        events.read_bs1(bytes.fromhex("8000000000"), "a.bs1")


def raw(x: int, t: int) -> Array:
    """An event that `make` refuses."""
    return np.array([(x, 0, t, True)], events.EVENT)


malformed: dict[str, tuple[Array, str]] = {
    "empty": (recording(0), r"a.bin is an empty recording. Remove it"),
    "x": (events.make(np.array([3, 34]), 0, np.array([1, 2]), True), r"event 1 is at x = 34, y = 0, .* 34 x 34 cells"),
    "y": (events.make(np.array([3]), 34, np.array([1]), True), r"event 0 is at x = 3, y = 34"),
    "negative x": (raw(-3, 1), r"x = -3"),
    "negative": (raw(3, -1), r"event 0 has the time -1 us"),
    "late": (events.make(np.array([3]), 0, np.array([60_000_001]), True), r"time 60,000,001 us, but times rise"),
    "unsorted": (events.make(np.array([3, 3, 3]), 0, np.array([5, 6, 4]), True), r"event 2 has the time 4 us"),
}


@pytest.mark.parametrize("name", malformed)
def test_what_a_sensor_cannot_have_recorded_is_refused(name: str) -> None:
    found, message = malformed[name]
    with pytest.raises(DataError, match=message) as error:
        events.check(found, 34, 34, "a.bin")
    assert "a.bin" in str(error.value)


@pytest.mark.parametrize("keep", ["on", "off", "both", "merge"])
@pytest.mark.parametrize("number", [1, 2, 3, "all"])
def test_filters_keep_whole_events(keep: Polarity, number: events.Saccade) -> None:
    given = recording(3000, last=400_000)
    kept = events.polarity(events.saccade(given, number), keep)
    expected = [
        event
        for event in given.tolist()
        if (number == "all" or 105_000 * (number - 1) <= event[2] < 105_000 * number)
        and (keep not in ("on", "off") or event[3] == (keep == "on"))
    ]
    assert kept.tolist() == expected
    assert given.tolist() == recording(3000, last=400_000).tolist()  # untouched


def test_unknown_filters_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"The polarity is one of 'on', 'off', 'both', 'merge', but got 'ON'"):
        events.polarity(recording(3), "ON")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"The saccade is one of 1, 2, 3, 'all', but got 4"):
        events.saccade(recording(3), 4)  # type: ignore[arg-type]
    for start, duration in ((-1.0, 5.0), (0.0, 0.0), (0.0, float("nan")), (float("inf"), 1.0), (0.0, -1.0)):
        with pytest.raises(ConfigError, match=r"A window needs 0 <= start and 0.001 <= duration"):
            events.window(recording(3), start, duration)


def test_a_window_has_its_start_but_not_its_end() -> None:
    given = events.make(np.arange(5), 0, np.array([299, 300, 310, 599, 600]), True)
    kept = events.window(given, 0.3, 0.3)  # 0.3 + 0.3 is not 0.6 in floating point
    assert (kept["x"].tolist(), kept["t"].tolist()) == ([1, 2, 3], [0, 10, 299])
    assert given["t"][1] == 300


def test_what_moves_with_the_camera_is_made_to_rest() -> None:
    time = np.arange(0, 315_000, 500)
    corners_x, corners_y = np.array([-4, -0.5, 3, -4]), np.array([-2, 5, -2, -2])
    knots = np.array([0, 105_000, 210_000, 315_000])
    x = np.rint(16 + np.interp(time, knots, corners_x)).astype(int)
    y = np.rint(16 + np.interp(time, knots, corners_y)).astype(int)
    rested = events.stabilize(events.make(x, y, time, True), 34, 34)
    assert len(rested) == len(time)
    assert np.abs(rested["x"] - 16).max() <= 1
    assert np.abs(rested["y"] - 16).max() <= 1
    assert (rested["t"] == time).all()


def test_nothing_leaves_the_sensor_when_stabilized() -> None:
    given = recording(5000, last=400_000)
    kept = events.stabilize(given, 34, 34)
    assert 0 < len(kept) < len(given)
    for axis in ("x", "y"):
        assert kept[axis].min() == 0
        assert kept[axis].max() == 33
    assert set(kept["t"].tolist()) <= set(given["t"].tolist())


@given(time=some.integers(0, 60_000_000))
def test_times_in_milliseconds_are_exact_to_float32_and_never_early(time: int) -> None:
    found = float(events.milliseconds(np.array([time]))[0])
    assert 0 <= found - time / 1000 <= time / 1000 * 2**-23
    assert time > 8_000_000 or round(1000 * found) == time


@pytest.mark.parametrize("microseconds", [100, 200, 300, 500, 700, 900, 1000, 2000])
def test_every_microsecond_lands_in_its_bin(microseconds: int) -> None:
    time = np.arange(315_000)
    bins = np.floor(events.milliseconds(time).astype(np.float64) / (microseconds / 1000)).astype(int)
    assert (bins == time // microseconds).all()


@pytest.mark.parametrize("dt", [0.1, 0.5, 1.0, 2.0])
def test_the_counts_of_a_raster_are_the_events_of_the_window(dt: float) -> None:
    given = recording(4000, last=150_000)
    kept = events.window(given, 10.0, 100.0)
    batch = raster(trains(kept), [0], window=dt, steps=round(100 / dt))
    assert int(batch.spikes.sum()) == len(kept) == int(((given["t"] >= 10_000) & (given["t"] < 110_000)).sum())
    for event in kept[::100]:
        assert batch.spikes[int(event["t"] // (1000 * dt)), 0, int(34 * event["y"] + event["x"])] >= 1


def test_units_of_both_polarities_are_apart() -> None:
    given = recording(500)
    both, merged = trains(given, "both"), trains(given, "merge")
    assert (both.channels, merged.channels) == (2312, 1156)
    assert (both.units == given["p"] * 1156 + 34 * given["y"].astype(int) + given["x"]).all()
    assert (both.units % 1156 == merged.units).all()
    assert (both.times.dtype, both.units.dtype) == (np.dtype(np.float32), np.dtype(np.uint16))
    both.check("both")


def test_recordings_follow_one_another_and_a_high_bound_costs_nothing() -> None:
    parts = [recording(count, seed) for seed, count in enumerate((5, 1, 7))]
    found = events.convert(
        ((str(number), part) for number, part in enumerate(parts)),
        [2, 0, 1],
        at_most=1 << 20,
        width=34,
        height=34,
        keep="merge",
        classes=("a", "b", "c"),
    )
    assert (found.first.tolist(), found.labels.tolist(), found.speakers.tolist()) == (
        [0, 5, 6, 13],
        [2, 0, 1],
        [-1] * 3,
    )
    assert found.times.nbytes + found.units.nbytes == 6 * 13
    for number, part in enumerate(parts):
        assert (found.select([number]).times == events.milliseconds(part["t"])).all()


@pytest.mark.parametrize("counts", [(0, 3, 0, 0, 2), (4, 0), (0, 0, 1)])
def test_a_recording_without_events_stays_as_an_empty_sample(
    counts: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make() -> SpikeTrains:
        return events.convert(
            [(str(number), recording(count)) for number, count in enumerate(counts)],
            [0] * len(counts), at_most=sum(counts), width=34, height=34, keep="merge", classes=("a",),
        )  # fmt: skip

    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path))
    for found in (make(), *(stored.stored("few", "key", make, empty=True) for _ in range(2))):
        assert np.diff(found.first).tolist() == list(counts)
    told: list[str] = []
    assert events.say_empty(found, "recordings", told.append) is found
    said = f"{counts.count(0)} of the {len(counts)} recordings have no event that these options keep. They stay, as "
    assert told == [said + "samples without a spike."]
    events.say_empty(found.select([int(np.argmax(counts))]), "recordings", told.append)
    assert len(told) == 1
    with pytest.raises(DataError, match="has no events"):
        stored.stored("few", "another", make)


def test_what_cannot_be_converted_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"None of 1 recordings, the last of which is a recording, has an event that"):
        trains(recording(0))
    with pytest.raises(ConfigError, match=r"The polarity is one of"):
        trains(recording(3), "ON")  # type: ignore[arg-type]
    with pytest.raises(
        DataError, match=r"is at x = \d+, y = \d+, but the sensor has 9 x 9 cells, counted from 0. Pass"
    ):
        trains(recording(300), "both", side=9)
    with pytest.raises(DataError, match=r"event 1 of sample 0 has the time 4.0, which is not at least the time before"):
        trains(events.make(np.array([1, 2]), 0, np.array([5000, 4000]), True))
    for count in (1, 3):
        with pytest.raises(DataError, match=rf"There are {count} labels, but not as many recordings"):
            events.convert([("a", recording(1)), ("b", recording(1))], [0] * count, at_most=2, width=34, height=34,
                           keep="merge", classes=("a",))  # fmt: skip


def test_a_sensor_of_1280_x_720_with_both_polarities_keeps_every_unit() -> None:
    """1,843,200 units, which 16 bits folded together."""
    corners = events.make(
        np.array([0, 1279, 0, 1279]), np.array([0, 719, 0, 719]), np.arange(4), np.array([0, 0, 1, 1])
    )
    expected = [0, 1280 * 720 - 1, 1280 * 720, 2 * 1280 * 720 - 1]
    assert events.units(corners, 1280, 720, "both").tolist() == expected
    made = events.convert([("a", corners)], [0], at_most=4, width=1280, height=720, keep="both", classes=("a",))
    assert (made.units.tolist(), made.units.dtype, made.channels) == (expected, np.dtype(np.uint32), 1_843_200)
    assert raster(made, [0]).spikes.nonzero()[:, 2].tolist() == expected


def made_of(x: object = 1, y: object = 0, t: object = (5, 6), p: object = True, unit: str = "us") -> Array:
    return events.make(x, y, np.array(t), p, unit)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int64, np.float32, np.float64])
def test_a_polarity_of_minus_one_is_off(dtype: type) -> None:
    assert made_of(p=np.array([-1, 1], dtype))["p"].tolist() == [False, True]
    assert made_of(p=np.array([0, 1], dtype))["p"].tolist() == [False, True]
    assert made_of(p=np.array(-1, dtype))["p"].tolist() == [False, False]


@pytest.mark.parametrize(
    ("unit", "times"),
    [("s", [0.0011, 0.5]), ("ms", [1.1, 500.0]), ("us", [1100.0, 500_000.0]), ("us", [1100, 500_000])],
)
def test_times_come_in_the_unit_that_is_named(unit: str, times: list[float]) -> None:
    assert made_of(t=times, unit=unit)["t"].tolist() == [1100, 500_000]


not_a_recording: dict[str, tuple[dict[str, object], str]] = {
    "seconds as us": (
        {"t": [0.0011, 0.5]},
        r'Event 0 has the time 0.0011, which is not a whole number of us; pass unit="s"',
    ),
    "negative": ({"t": [5, -1]}, r"Event 1 has the time -1, which is not 0 to 1e\+15 us"),
    "nan": ({"t": [float("nan"), 1.0]}, r"Event 0 has the time nan"),
    "infinite": ({"t": [1.0, float("inf")], "unit": "s"}, r"Event 1 has the time inf, which is not 0 to 1e\+09 s"),
    "words": ({"t": ["a", "b"]}, r"Times are numbers, but t is <U1"),
    "x below": ({"x": [1, -1]}, r"Event 1 has the x -1, which is not a whole number from 0 to 32,767"),
    "x beyond": ({"x": [40_000, 1]}, r"Event 0 has the x 40000"),
    "y that wraps": ({"y": [0, 65_536]}, r"Event 1 has the y 65536"),
    "x between": ({"x": [0.5, 1.0]}, r"Event 0 has the x 0.5"),
    "x nan": ({"x": float("nan")}, r"Event 0 has the x nan"),
    "x bool": ({"x": [True, False]}, r"Event 0 has the x True"),
    "polarity 2": ({"p": [0, 2]}, r"Event 1 has the polarity 2, which is not true or false, 0 or 1, -1 or 1"),
    "polarity nan": ({"p": [float("nan"), 1]}, r"Event 0 has the polarity nan"),
    "three polarities": ({"p": [-1, 0]}, r"p has both -1 and 0. Say which of them is OFF"),
}


@pytest.mark.parametrize("name", not_a_recording)
def test_columns_that_are_no_recording_are_refused(name: str) -> None:
    columns, message = not_a_recording[name]
    with pytest.raises(DataError, match=message):
        made_of(**columns)  # type: ignore[arg-type]


def test_columns_of_different_lengths_and_unknown_units_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"x, y, t, p have the shapes \[3\], \[\], \[2\], \[\]"):
        made_of(x=[1, 2, 3])
    with pytest.raises(ConfigError, match=r"The unit of times is one of 'us', 'ms', 's', but got 'minutes'"):
        made_of(unit="minutes")


def test_the_real_nmnist_file() -> None:
    found = events.check(events.read_bin(sample("nmnist_digit4.bin"), "4"), 34, 34, "4")
    assert (len(found), found["t"][0], found["t"][-1]) == (4325, 654, 311_175)
    assert round(100 * found["p"].mean(), 1) == 49.6
    assert [len(events.saccade(found, number)) for number in (1, 2, 3)] == [1391, 1343, 1591]
    assert len(events.stabilize(found, 34, 34)) > 3500


def test_stabilizing_sharpens_the_real_picture() -> None:
    found = events.read_bin(sample("nmnist_digit4.bin"), "4")

    def sharpness(part: Array) -> float:
        picture = np.bincount(34 * part["y"].astype(int) + part["x"], minlength=1156) / len(part)
        return float((picture**2).sum())

    assert sharpness(events.stabilize(found, 34, 34)) > 1.2 * sharpness(found)


def test_the_real_one_dimensional_files() -> None:
    found = events.check(events.read_bs1(sample("ntidigits_sample.bs1"), "x"), 64, 1, "x")
    assert (len(found), found["x"].max(), found["t"][-1]) == (898, 63, 1_079_040)
    for name, count in (("oxford_input.bs1", 1889), ("oxford_output.bs1", 10_361)):
        read = events.read_bs1(sample(name), name)
        assert (len(read), read["x"].min(), read["x"].max()) == (count, 0, 199)
        assert write_bs1(read) == sample(name)


def test_recordings_with_more_events_than_announced_are_refused() -> None:
    two = events.make(np.array([1, 2]), np.array([1, 1]), np.array([0, 5]), np.array([True, True]))
    with pytest.raises(ConfigError, match="at_most of at least all 2 events, but got 1"):
        events.convert([("a", two)], [0], at_most=1, width=4, height=4, keep="merge", classes=("yes",))


def test_recordings_of_other_types_are_read_as_what_they_say() -> None:
    signed = np.array([(1, 2, 3, -1), (4, 5, 9, 1)], dtype=[("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "i1")])
    assert events.read_bin(write_bin(signed), "a.bin").tolist() == [(1, 2, 3, False), (4, 5, 9, True)]
    assert events.polarity(signed, "off").tolist() == [(1, 2, 3, False)]
    assert events.units(signed, 10, 10, "both").tolist() == [21, 154]
    unsigned = signed.astype([("x", "u1"), ("y", "u1"), ("t", "u4"), ("p", "i1")])
    assert write_bin(unsigned) == write_bin(signed)
    seconds = signed.astype([("x", "i2"), ("y", "i2"), ("t", "f8"), ("p", "i1")])
    seconds["t"] = [0.25, 0.5]
    with pytest.raises(DataError, match='pass unit="s"'):
        events.check(seconds, 10, 10, "a recording")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": np.array([32768.0], np.float16)}, r"the x 3.277e\+04, which is not a whole number from 0 to 32,767"),
        ({"y": np.array([np.inf], np.float16)}, "the y inf"),
        ({"t": np.array([np.inf], np.float16)}, "the time inf, which is not 0 to"),
        ({"t": np.array([np.inf], np.float16), "unit": "s"}, "the time inf, which is not 0 to"),
        ({"t": np.array([2**64 - 1], np.uint64)}, "the time 18446744073709551615"),
        ({"p": np.array([np.inf], np.float16)}, "the polarity inf"),
    ],
)
def test_bounds_are_not_rounded_to_the_type_of_a_column(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        events.make(**{"x": np.array([1]), "y": 0, "t": np.array([5]), "p": True, **columns})


def test_a_sensor_beyond_the_cells_of_a_recording_is_refused() -> None:
    one = events.make(np.array([32767]), 2, np.array([5]), True)
    assert events.stabilize(one, 32768, 5)["x"].tolist() == []  # 4 cells on, it has left the sensor
    calls: tuple[Callable[[], Array], ...] = (
        lambda: events.stabilize(one, 32769, 5),
        lambda: events.units(one, 2**61, 5, "both"),
        lambda: events.check(one, 32769, 0, "a"),
    )
    for call in calls:
        with pytest.raises(ConfigError, match="needs width and height of 1 to 32,768 cells"):
            call()


def test_milliseconds_of_short_types_are_exact() -> None:
    assert events.milliseconds(np.array([2049.0, 60000.0]).astype(np.float16)).tolist() == [2.0480000972747803, 60.0]
