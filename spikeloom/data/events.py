"""Events of event cameras, artificial cochleas and tactile sensors: readers, filters, conversion to spike trains.

    event           x, y: cell             t: time [us]        p: polarity, True is ON
    one dimension   y = 0
    unit            (y * width + x), plus (width * height) for ON events if polarities have separate units

Recordings are structured arrays with the field names of Tonic. Filters select whole events, so that cell, polarity and
time stay together. Files are big-endian with five bytes per event:

    .bin   x (8 bits)         y (8 bits)   p (1 bit)   t (23 bits); y = 240 adds 8192 us to all later events
    .bs1   channel (16 bits)               p (1 bit)   t (23 bits)

Source: Orchard, Jayawant, Cohen, Thakor, Converting static image datasets to spiking neuromorphic datasets using
saccades, Frontiers in Neuroscience 9:437, 2015.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from ..arguments import explained
from ..errors import ConfigError, DataError, ShapeError, check_count
from .spike_trains import LATEST, LONGEST, Array, SpikeTrains, unit_type, whole

Polarity = Literal["on", "off", "both", "merge"]
Saccade = Literal[1, 2, 3, "all"]
TimeUnit = Literal["us", "ms", "s"]
POLARITIES, SACCADES = get_args(Polarity), get_args(Saccade)
TIME_UNITS: dict[TimeUnit, int] = {"us": 1, "ms": 1_000, "s": 1_000_000}
"""Microseconds per unit."""

EVENT = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.bool_)])
MARKER, OVERFLOW = 240, 8192
"""Value of y that marks a time overflow, and its length in us."""
SACCADE = 105_000
"""Duration of each of the three saccades in us."""


@explained
def make(x: Array | int, y: Array | int, t: Array, p: Array | bool, unit: TimeUnit = "us") -> Array:
    """Create a recording from columns, each a scalar or one value per event.

    Units: t in `unit`, rounded to whole us.

    Args:
        x, y: cells, whole numbers from 0 to 32,767.
        t: times, 0 or above, in any order; whole numbers if `unit` is "us".
        p: polarities: bool, 0 and 1, or -1 and 1.
        unit: time unit, "us", "ms" or "s".

    Raises:
        ConfigError: the unit is unknown.
        DataError: a value is out of range or not a number, times in us are not whole numbers, or polarities are
            neither 0 and 1 nor -1 and 1.
        ShapeError: columns have different lengths.

    >>> make(np.array([7, 19]), 0, np.array([654, 2999]), True)["t"]
    array([ 654, 2999])
    >>> make(np.array([7, 19]), 0, np.array([0.0011, 0.5]), np.array([-1, 1]), unit="s").tolist()
    [(7, 0, 1100, False), (19, 0, 500000, True)]
    """
    check_choice("unit of times", unit, list(TIME_UNITS))
    columns = [np.asarray(column) for column in (x, y, t, p)]
    count = columns[2].shape
    if len(count) != 1 or any(column.shape not in ((), count) for column in columns):
        shapes = ", ".join(str(list(column.shape)) for column in columns)
        raise ShapeError(
            f"A recording needs a list of times t [E], and x, y and p of one value or [E], but x, y, t, p have the "
            f"shapes {shapes}. Pass a value for every event."
        )
    events = np.empty(count, EVENT)
    for name, column in zip("xy", columns, strict=False):
        events[name] = _cells(column, name)
    events["t"] = _microseconds(columns[2], unit)
    events["p"] = _on(columns[3])
    return events


def _recording(owner: str, events: Array) -> Array:
    """Return the events in the type of `make`; raise ShapeError unless they are a one-dimensional event array.

    Raises:
        DataError: a value does not fit that type.
    """
    if events.ndim != 1 or not {"x", "y", "t", "p"} <= set(events.dtype.names or ()):
        raise ShapeError(
            f"{owner} needs events as a list with the fields x, y, t and p, but got {events.dtype} "
            f"{list(events.shape)}. Make them by make(x, y, t, p)."
        )
    return events if events.dtype == EVENT else make(events["x"], events["y"], events["t"], events["p"])


def _exact(numbers: Array) -> Array:
    """Convert to float64: in a narrower type, the bound of a comparison would be rounded, or infinite."""
    return numbers.astype(np.float64) if numbers.dtype.kind == "f" else numbers


def _cells(column: Array, name: str) -> Array:
    """Return the column; raise DataError unless it holds whole numbers that fit the field."""
    most = np.iinfo(EVENT[name]).max
    wrong = np.ones(column.shape, bool)
    if column.dtype.kind in "iuf":
        exact = _exact(column)
        wrong = ~((exact >= 0) & (exact <= most))
        if column.dtype.kind == "f":
            wrong |= np.rint(exact) != exact
    _refuse_data(column, wrong, name, f"a whole number from 0 to {most:,}")
    return column


def _microseconds(times: Array, unit: TimeUnit) -> Array:
    """Return times in whole us."""
    if times.dtype.kind not in "iuf" and times.size:
        raise DataError(f"Times are numbers, but t is {times.dtype}. Convert them first.")
    scale = TIME_UNITS[unit]
    times = _exact(times)
    wrong = ~((times >= 0) & (times <= 1000 * LATEST / scale))
    _refuse_data(times, wrong, "time", f"0 to {1000 * LATEST / scale:.3g} {unit}")
    if unit == "us" and times.dtype.kind == "f":
        expected = 'a whole number of us; pass unit="s" or unit="ms" for times in seconds or milliseconds'
        _refuse_data(times, np.rint(times) != times, "time", expected)
    exact = times * scale if times.dtype.kind == "f" else times.astype(np.int64) * scale
    result: Array = np.rint(exact).astype(np.int64)
    return result


def _on(polarities: Array) -> Array:
    """Return a mask of the ON events."""
    if polarities.dtype == np.bool_:
        return polarities
    numbers = polarities.dtype.kind in "iuf"
    wrong = ~np.isin(polarities, (-1, 0, 1)) if numbers else np.ones(polarities.shape, bool)
    _refuse_data(polarities, wrong, "polarity", "true or false, 0 or 1, -1 or 1")
    if (polarities == -1).any() and (polarities == 0).any():
        raise DataError("Polarities are 0 and 1, or -1 and 1, but p has both -1 and 0. Say which of them is OFF.")
    result: Array = polarities > 0
    return result


def _refuse_data(values: Array, wrong: Array, what: str, expected: str) -> None:
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(
            f"Event {at} has the {what} {values.reshape(-1)[at]!s}, which is not {expected}. Correct or leave out this "
            "event."
        )


def check_split(dataset: str, split: str) -> None:
    """Raise ConfigError unless the split is train or test."""
    if split not in ("train", "test"):
        raise ConfigError(f"{dataset} is split into train and test, but got {split!r}. Hold out a part to validate.")


@explained
def read_bin(data: bytes, name: str) -> Array:
    """Read the events of a .bin file in file order; bytes after the last whole event are dropped, as the format says.

    Raises:
        DataError: there is no event.

    >>> read_bin(bytes.fromhex("070F80028E 1312000BB7"), "two.bin").tolist()
    [(7, 15, 654, True), (19, 18, 2999, False)]
    """
    columns, time, polarity = _unpacked(data)
    marks = columns[:, 1] == MARKER
    time += OVERFLOW * np.cumsum(marks)
    events = make(columns[:, 0], columns[:, 1], time, polarity)[~marks]
    return _some(events, data, name)


@explained
def read_bs1(data: bytes, name: str) -> Array:
    """Read the events of a one-dimensional .bs1 file in file order: x is the channel, y is 0.

    Raises:
        DataError: there is no event, or a channel is above 32767.
    """
    columns, time, polarity = _unpacked(data)
    channel = columns[:, 0].astype(np.int64) << 8 | columns[:, 1]
    if len(channel) and channel.max() > np.iinfo(np.int16).max:
        raise DataError(f"{name} has the channel {channel.max()}, but 0 to 32767 were expected. Download it again.")
    return _some(make(channel, 0, time, polarity), data, name)


@explained
def check(events: Array, width: int, height: int, name: str) -> Array:
    """Return the events; raise DataError unless they can come from a sensor of this size. `name` is used in messages.

    Raises:
        DataError: there is no event, a cell is outside the sensor, or a time is negative, above a minute or out of
            order.
    """
    events = _recording("check", events)
    _check_sensor("check", width, height)
    if not len(events):
        raise DataError(f"{name} is an empty recording. Remove it, or download it again.")
    x, y, time = events["x"], events["y"], events["t"]
    outside = (x < 0) | (x >= width) | (y < 0) | (y >= height)
    if outside.any():
        at = int(np.argmax(outside))
        raise DataError(
            f"{name}: event {at} is at x = {x[at]}, y = {y[at]}, but the sensor has {width} x {height} cells, counted "
            "from 0. Use the file of this data set, or download it again."
        )
    back = np.zeros(len(time), bool)
    back[1:] = time[1:] < time[:-1]
    wrong = back | (time < 0) | (time > 1000 * LONGEST)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(
            f"{name}: event {at} has the time {time[at]:,} us, but times rise from 0 to at most "
            f"{1000 * LONGEST:,.0f} us. Sort the events by time, or download the file again."
        )
    return events


def _check_sensor(owner: str, width: int, height: int) -> None:
    """Raise ConfigError unless the coordinates of a sensor of this size fit into a recording."""
    most = np.iinfo(EVENT["x"]).max + 1
    if not 1 <= min(width, height) <= max(width, height) <= most:
        raise ConfigError(
            f"{owner} needs width and height of 1 to {most:,} cells, but got {width} x {height}. Pass the size of the "
            "sensor."
        )


@explained
def polarity(events: Array, keep: Polarity) -> Array:
    """Return the events of one polarity; all for "both" and "merge", which differ only in their units."""
    events = _recording("polarity", events)
    check_choice("polarity", keep, POLARITIES)
    if keep in ("both", "merge"):
        return events
    kept: Array = events[events["p"] == (keep == "on")]
    return kept


@explained
def saccade(events: Array, number: Saccade) -> Array:
    """Return the events of one of the three saccades of 105 ms, with unchanged times; all events for "all"."""
    events = _recording("saccade", events)
    check_choice("saccade", number, SACCADES)
    if number == "all":
        return events
    kept: Array = events[events["t"] // SACCADE == number - 1]
    return kept


@explained
def stabilize(events: Array, width: int, height: int) -> Array:
    """Compensate the camera motion; events that leave the sensor are dropped.

        saccade 1   x' = x + 4 - 3.5 s        y' = y + 2 - 7 s        s = t / 105 ms
        saccade 2   x' = x + 0.5 - 3.5 s      y' = y - 5 + 7 s        s = t / 105 ms - 1
        saccade 3   x' = x - 3 + 7 s          y' = y + 2              s = t / 105 ms - 2

    Events are dropped before x' and y' are rounded.

    Raises:
        ConfigError: the sensor is too large for a recording.
    """
    events = _recording("stabilize", events)
    _check_sensor("stabilize", width, height)
    number = np.clip(events["t"] // SACCADE, 0, 2)
    moved = events["t"] / SACCADE - number
    x = events["x"] + np.array([4.0, 0.5, -3.0])[number] + np.array([-3.5, -3.5, 7.0])[number] * moved
    y = events["y"] + np.array([2.0, -5.0, 2.0])[number] + np.array([-7.0, 7.0, 0.0])[number] * moved
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    kept: Array = events[inside]
    kept["x"], kept["y"] = np.rint(x[inside]), np.rint(y[inside])
    return kept


@explained
def window(events: Array, start: float, duration: float) -> Array:
    """Return the events in [start, start + duration), with times relative to `start`.

    Units: start and duration in ms, rounded to whole us.

    Raises:
        ConfigError: start is negative, or duration is not positive.

    >>> window(make(np.zeros(3), 0, np.array([999, 1000, 3000]), True), 1.0, 2.0)["t"]
    array([0])
    """
    events = _recording("window", events)
    check_window(start, duration)
    begin, end = round(1000 * start), round(1000 * (start + duration))
    kept: Array = events[(events["t"] >= begin) & (events["t"] < end)]
    kept["t"] -= begin
    return kept


@explained
def units(events: Array, width: int, height: int, keep: Polarity) -> Array:
    """Return the unit index of every event; with "both", ON units come after all OFF units.

    Raises:
        ConfigError: the sensor is too large for a recording.
        DataError: an event is outside the sensor.

    >>> units(make(np.array([2, 2]), 1, np.zeros(2), np.array([False, True])), 10, 10, "both")
    array([ 12, 112], dtype=uint16)
    """
    events = _recording("units", events)
    _check_sensor("units", width, height)
    check_choice("polarity to keep", keep, POLARITIES)
    x, y = events["x"], events["y"]
    outside = (x < 0) | (x >= width) | (y < 0) | (y >= height)
    if outside.any():
        at = int(np.argmax(outside))
        raise DataError(
            f"Event {at} is at x = {x[at]}, y = {y[at]}, but the sensor has {width} x {height} cells, counted from 0. "
            "Pass the size of the sensor that recorded it."
        )
    cells = y.astype(np.int64) * width + x
    result: Array = cells + events["p"] * (width * height if keep == "both" else 0)
    return result.astype(unit_type(_channels(width, height, keep)))


def _channels(width: int, height: int, keep: Polarity) -> int:
    return width * height * (2 if keep == "both" else 1)


@explained
def milliseconds(microseconds: Array) -> Array:
    """Convert us to float32 ms, rounded up, so that floor(t / window) is exact for windows of whole us, as 0.1 ms."""
    exact = microseconds / np.float64(1000)
    near = exact.astype(np.float32)
    return np.where(near < exact, np.nextafter(near, np.float32(np.inf)), near)


@explained
def convert(
    recordings: Iterable[tuple[str, Array]],
    labels: Sequence[int] | Array,
    *,
    at_most: int,
    width: int,
    height: int,
    keep: Polarity,
    classes: tuple[str, ...],
    speakers: Sequence[int] | Array | None = None,
) -> SpikeTrains:
    """Convert filtered recordings, given as pairs (name, events), to spike trains; 6 or 8 bytes per event.

    `recordings` may be a generator. A recording without events becomes an empty sample; `say_empty` reports their
    number.

    Args:
        at_most: upper bound of the total number of events; costs address space, not memory.
        keep: "both" for separate units per polarity.

    Raises:
        ConfigError: no event is left in any recording.
        DataError: an event is outside the sensor, a time is negative or before its predecessor, a label is out of
            range, or there is not one label per recording.

    >>> trains = convert([("a", make(np.array([2]), 1, np.array([2500]), True))], [0], at_most=1, width=4, height=4,
    ...     keep="merge", classes=("yes",))
    >>> trains.times, trains.units, trains.channels
    (array([2.5], dtype=float32), array([6], dtype=uint16), 16)
    """
    check_choice("polarity", keep, POLARITIES)
    _check_sensor("convert", width, height)
    channels = _channels(width, height, keep)
    check_count("convert", least=0, at_most=at_most)
    if isinstance(recordings, str):
        raise ConfigError("convert needs recordings as pairs of a name and events, but got a text.")
    times, addresses = np.empty(at_most, np.float32), np.empty(at_most, unit_type(channels))
    first = np.zeros(len(labels) + 1, np.int64)
    last = ""
    number = -1
    for number, (name, events) in enumerate(recordings):
        if number == len(labels):
            break
        last = name
        start, end = first[number], first[number] + len(events)
        if end > at_most:
            raise ConfigError(f"convert needs at_most of at least all {end:,} events, but got {at_most:,}.")
        times[start:end] = milliseconds(events["t"])
        addresses[start:end] = units(events, width, height, keep)
        first[number + 1] = end
    if number + 1 != len(labels):
        raise DataError(f"There are {len(labels):,} labels, but not as many recordings. Pass a label for each of them.")
    if len(labels) and not first[-1]:
        raise ConfigError(
            f"None of {len(labels):,} recordings, the last of which is {last}, has an event that these options keep. "
            "Choose a longer window or another polarity."
        )
    times.resize(first[-1], refcheck=False)
    addresses.resize(first[-1], refcheck=False)
    known = np.full(len(labels), -1) if speakers is None else whole(speakers, "speakers")
    digits = whole(labels, "labels")
    return SpikeTrains(times, addresses, first, digits.astype(np.int64), known.astype(np.int64), channels, classes)


@explained
def say_empty(trains: SpikeTrains, what: str, tell: Callable[[str], None] | None) -> SpikeTrains:
    """Return the trains; first call `tell` with the number of samples without an event, if any."""
    empty = int(np.sum(np.diff(trains.first) == 0))
    if empty and tell is not None:
        tell(
            f"{empty:,} of the {len(trains):,} {what} have no event that these options keep. They stay, as samples "
            "without a spike."
        )
    return trains


def version() -> str:
    """Return the hash of this file, which determines the result together with the options."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


@explained
def check_choice(what: str, value: object, choices: Collection[object]) -> None:
    """Raise ConfigError unless the value is one of the choices."""
    if value not in choices:
        known = ", ".join(repr(choice) for choice in choices)
        raise ConfigError(f"The {what} is one of {known}, but got {value!r}. Choose one of them.")


@explained
def check_window(start: float, duration: float) -> None:
    """Raise ConfigError unless events can lie in a window that begins at `start` [ms] and lasts `duration` [ms]."""
    if not (0.0 <= start <= LONGEST and 0.001 <= duration <= LONGEST):
        raise ConfigError(
            f"A window needs 0 <= start and 0.001 <= duration, both at most {LONGEST:,.0f} ms, but got {start} and "
            f"{duration}. Pass milliseconds, such as 0.0 and 105.0."
        )


def _unpacked(data: bytes) -> tuple[Array, Array, Array]:
    """Unpack events of 5 bytes into columns [E, 5], times and polarities."""
    columns = np.frombuffer(data, np.uint8, count=len(data) // 5 * 5).reshape(-1, 5)
    high, middle, low = columns[:, 2:].astype(np.int64).T
    return columns, (high & 0x7F) << 16 | middle << 8 | low, high >= 0x80


def _some(events: Array, data: bytes, name: str) -> Array:
    if not len(events):
        raise DataError(f"{name} has {len(data)} bytes without an event, and an event has 5. Download it again.")
    return events
