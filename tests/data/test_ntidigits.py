"""N-TIDIGITS18: the exact format, what becomes of zero and oh, late events, and every way a file can be wrong."""

import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from spikeloom.data import events, ntidigits, stored
from spikeloom.data.ntidigits import NTIDIGITSOptions
from spikeloom.data.spike_trains import Array, raster
from spikeloom.errors import ConfigError, DataError
from tests.fixtures import ntidigits as examples
from tests.fixtures.damage import attempt


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path))
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "ntidigits"


Sample = tuple[object, object]


def put(path: Path, samples: dict[str, Sample], split: str = "train", names: object = None) -> Path:
    """A file with these times [s] and channels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file[f"{split}_labels"] = np.array([name.encode() for name in samples]) if names is None else names
        for name, (times, channels) in samples.items():
            file[f"{split}_timestamps/{name}"] = times
            file[f"{split}_addresses/{name}"] = channels
    return path


def test_single_digits_are_read_and_sorted(home: Path) -> None:
    samples: dict[str, Sample] = {
        "woman-ac-a-7": (np.array([0.25, 0.5]), np.array([63, 0])),
        "man-ae-b-z": (np.array([0.0]), np.array([5], np.uint8)),
        "man-ae-a-zo1": (np.array([0.1]), np.array([4])),
        "man-ae-a-9": (np.array([0.001], np.float32), np.array([2.0])),
    }
    put(home / "n-tidigits.hdf5", samples)
    found = ntidigits.load("train")
    assert found.labels.tolist() == [9, 0, 7]
    assert found.times.tolist() == [1.0, 0.0, 250.0, 500.0]
    assert found.units.tolist() == [2, 5, 63, 0]
    assert found.speakers.tolist() == [0, 0, 1]
    assert (found.channels, found.classes, found.times.dtype) == (64, tuple("0123456789"), np.dtype(np.float32))


@pytest.mark.parametrize(
    ("oh", "labels", "classes"), [("exclude", [0, 1], 10), ("class", [10, 0, 1], 11), ("zero", [0, 0, 1], 10)]
)
def test_zero_is_0_and_oh_is_selectable(oh: ntidigits.Oh, labels: list[int], classes: int, home: Path) -> None:
    one: Sample = (np.array([0.1]), np.array([4]))
    put(home / "n-tidigits.hdf5", {"a-b-a-z": one, "a-b-a-o": one, "b-b-a-1": one})
    found = ntidigits.load("train", NTIDIGITSOptions(oh=oh))
    assert (found.labels.tolist(), len(found.classes)) == (labels, classes)


def test_late_events_drop_out_instead_of_piling_up(home: Path) -> None:
    times = np.array([0.0, 0.1, 0.9999, 1.0, 1.2])
    put(home / "n-tidigits.hdf5", {"a-b-a-1": (times, np.arange(5))})
    found = ntidigits.load("train")
    assert found.units.tolist() == [0, 1, 2]
    assert raster(found, [0], steps=1000).spikes[999].sum() == 1
    assert ntidigits.load("train", NTIDIGITSOptions(t0=100.0, duration=1000.0)).units.tolist() == [1, 2, 3]
    assert ntidigits.load("train", NTIDIGITSOptions(t0=100.0, duration=1000.0)).times[0] == 0
    with pytest.raises(ConfigError, match=r"n-tidigits.hdf5: a-b-a-1, has an event that these options keep"):
        ntidigits.load("train", NTIDIGITSOptions(t0=2000.0))


def test_a_sample_behind_which_nothing_is_left_stays(home: Path) -> None:
    early: Sample = (np.array([0.1]), np.array([4]))
    put(home / "n-tidigits.hdf5", {"a-b-a-1": early, "a-b-a-2": (np.array([1.5]), np.array([5]))})
    told: list[str] = []
    for _ in range(2):
        found = ntidigits.load("train", tell=told.append)
        assert (found.labels.tolist(), found.first.tolist()) == ([1, 2], [0, 1, 1])
        assert told[-1].startswith("1 of the 2 train samples have no event that these options keep")


def test_every_option_and_the_file_count_in_what_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples.write(home.parent, "12zo")
    told: list[str] = []
    first = ntidigits.load("train", tell=told.append)
    path = home / ntidigits.FILE
    assert told == [f"Reading the train samples of {path}, once. The spikes are kept in {stored.folder()}."]
    again = ntidigits.load("train", tell=told.append)
    assert len(told) == 1
    for name in ("times", "units", "first", "labels", "speakers"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert first.classes == again.classes
    changes = (
        NTIDIGITSOptions(oh="class"),
        NTIDIGITSOptions(oh="zero"),
        NTIDIGITSOptions(t0=1.0),
        NTIDIGITSOptions(duration=500.0),
    )
    for number, options in enumerate(changes):
        ntidigits.load("train", options, told.append)
        assert len(told) == 2 + number
    ntidigits.load("test", tell=told.append)
    monkeypatch.setattr(events, "version", lambda: "another")
    ntidigits.load("train", tell=told.append)
    examples.write(home.parent, "12zo", seed=1)
    ntidigits.load("train", tell=told.append)
    assert len(told) == 8


def test_the_file_is_described(home: Path) -> None:
    examples.write(home.parent, "12zo", train=4, test=2, sequences=("1z", "221"))
    (found,) = ntidigits.describe("test")
    assert (found["file"], found["count"], found["official_count"]) == ("n-tidigits.hdf5", 6, 2260)
    assert found["note"] == "6 of the 2,260 official single test digits"
    assert found["sha256"] == hashlib.sha256((home / "n-tidigits.hdf5").read_bytes()).hexdigest()
    (with_oh,) = ntidigits.describe("train", NTIDIGITSOptions(oh="class"))
    assert (with_oh["count"], with_oh["official_count"]) == (16, 2464)


def test_examples_are_equal_for_equal_seeds_and_classes_can_be_told_apart(home: Path, tmp_path: Path) -> None:
    examples.write(home.parent, "12zo")
    examples.write(tmp_path / "again", "12zo")
    examples.write(tmp_path / "other", "12zo", seed=1)
    paths = [folder / "ntidigits" / ntidigits.FILE for folder in (home.parent, tmp_path / "again", tmp_path / "other")]
    contents = [path.read_bytes() for path in paths]
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]
    train, test = (ntidigits.load(split, NTIDIGITSOptions(oh="class")) for split in ("train", "test"))
    assert (len(train), len(test)) == (24, 12)
    counts = [raster(trains, range(len(trains)), window=1000.0).spikes[0] for trains in (train, test)]
    assert (train.labels[(counts[1] @ counts[0].T).argmax(1).numpy()] == test.labels).all()


def test_options_and_splits_without_sense_are_refused(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"The treatment of oh is one of 'exclude', 'class', 'zero', but got 'drop'"):
        NTIDIGITSOptions(oh="drop")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"A window needs 0 <= start"):
        NTIDIGITSOptions(duration=0.0)
    with pytest.raises(ConfigError, match=r"N-TIDIGITS is split into train and test, but got 'valid'"):
        ntidigits.load("valid")  # type: ignore[arg-type]
    with pytest.raises(
        DataError,
        match=r"n-tidigits.hdf5 is missing in .*ntidigits. Run `spikeloom data fetch ntidigits`, or get it from https",
    ):
        ntidigits.load("train")


def one(times: object, channels: object) -> dict[str, Sample]:
    return {"a-b-a-1": (times, channels)}


good: tuple[Array, Array] = (np.array([0.1, 0.2]), np.array([4, 5]))
broken: dict[str, tuple[dict[str, Sample], object, str]] = {
    "no times": ({}, np.array([b"a-b-a-1"]), r"has no train_timestamps/a-b-a-1, but holds train_labels. Get n-tid"),
    "no labels": ({}, np.array([], "S3"), r"train_labels names no single digit, such as woman-ac-a-7"),
    "twice": (one(*good), np.array([b"a-b-a-1"] * 2), r"train_labels names a sample twice"),
    "no digit": ({"a-b-a-x": good}, None, r"holds the name 'a-b-a-x', but names end in letters of z123456789o"),
    "no name": (one(*good), np.array([b""]), r"holds the name ''"),
    "labels of numbers": (one(*good), np.zeros((2, 2)), r"train_labels is float64 \[2, 2\], but a list of names"),
    "one label": (one(*good), np.array(3), r"train_labels is int64 \[\], but a list of names"),
    "times a matrix": (
        one(np.zeros((2, 2)), good[1]),
        None,
        r"timestamps/a-b-a-1 is float64 \[2, 2\], but a list of num",
    ),
    "times of words": (
        one(np.array([b"x", b"y"]), good[1]),
        None,
        r"timestamps/a-b-a-1 is \|S1 \[2\], but a list of num",
    ),
    "fewer times": (one(good[0][:1], good[1]), None, r"a-b-a-1 has 1 times but 2 channels, and they belong together"),
    "nan": (one(np.array([0.1, np.nan]), good[1]), None, r"event 1 of a-b-a-1 is nan, but times \[s\] are 0 to 60"),
    "negative": (one(np.array([-0.1, 0.2]), good[1]), None, r"event 0 of a-b-a-1 is -0.1, but times"),
    "absurd": (one(np.array([0.1, 61.0]), good[1]), None, r"event 1 of a-b-a-1 is 61.0, but times"),
    "unsorted": (one(np.array([0.2, 0.1]), good[1]), None, r"a-b-a-1: event 1 has the time 100,000 us, but times rise"),
    "channel 64": (one(good[0], np.array([4, 64])), None, r"event 1 of a-b-a-1 is 64, but channels are 0 to 63"),
    "channel -1": (one(good[0], np.array([-1, 5])), None, r"event 0 of a-b-a-1 is -1, but channels are 0 to 63"),
    "half a channel": (one(good[0], np.array([1.5, 5])), None, r"event 0 of a-b-a-1 is 1.5, but channels"),
    "empty": (one(np.zeros(0), np.zeros(0)), None, r"a-b-a-1 is an empty recording"),
}


@pytest.mark.parametrize("name", broken)
def test_a_malformed_file_is_refused(name: str, home: Path) -> None:
    samples, names, message = broken[name]
    path = put(home / "n-tidigits.hdf5", samples, names=names)
    with pytest.raises(DataError, match=message) as error:
        ntidigits.load("train")
    assert str(path) in str(error.value)


def test_a_file_of_the_other_split_names_what_is_missing(home: Path) -> None:
    put(home / "n-tidigits.hdf5", one(*good), "test")
    assert len(ntidigits.load("test")) == 1
    with pytest.raises(DataError, match=r"has no train_labels, but holds test_addresses, test_labels, test_timestamps"):
        ntidigits.load("train")


def test_an_absurd_size_is_refused(home: Path) -> None:
    put(home / "n-tidigits.hdf5", {}, names=np.array([b"a-b-a-1"]))
    with h5py.File(home / "n-tidigits.hdf5", "a") as file:
        file.create_dataset("train_timestamps/a-b-a-1", (1 << 40,), "f8", chunks=(1 << 10,))
    with pytest.raises(
        DataError, match=r"a-b-a-1 claims to be float64 \[1099511627776\], in chunks of \[1024\], .* absurd"
    ):
        ntidigits.load("train")


@given(at=some.floats(0, 1, exclude_max=True), value=some.integers(0, 255), cut=some.booleans())
@settings(deadline=None, max_examples=15)
def test_a_damaged_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: float, value: int, cut: bool
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    examples.write(folder, "1", train=2, test=1)
    path = folder / "ntidigits" / ntidigits.FILE
    data = bytearray(path.read_bytes())
    place = int(at * len(data))
    data[place] = value
    path.write_bytes(data[:place] if cut else data)
    found = attempt(lambda: ntidigits.read(path, "train", NTIDIGITSOptions(duration=60_000.0)))
    assert str(path) in str(found) if isinstance(found, DataError) else len(found) >= 1


any_times = some.lists(some.floats(-1, 70) | some.just(float("nan")), max_size=5)
any_channels = some.lists(some.integers(-2, 66), max_size=5)


@given(times=any_times | any_times.map(lambda found: sorted(map(abs, found))), channels=any_channels)
@settings(deadline=None, max_examples=15)
def test_any_events_are_read_exactly_or_refused(
    tmp_path_factory: pytest.TempPathFactory, times: list[float], channels: list[int]
) -> None:
    path = put(tmp_path_factory.mktemp("fuzz") / "a.hdf5", one(np.array(times, float), np.array(channels, int)))
    well = (
        0 < len(times) == len(channels)
        and all(0 <= time < 60 for time in times)
        and times == sorted(times)
        and all(0 <= channel < 64 for channel in channels)
    )
    if well:
        found = ntidigits.read(path, "train", NTIDIGITSOptions(duration=60_000.0))
        assert found.units.tolist() == channels
        assert np.abs(found.times / 1000 - times).max() < 1e-5
    else:
        with pytest.raises((DataError, ConfigError), match=r"a-b-a-1"):
            ntidigits.read(path, "train", NTIDIGITSOptions(duration=60_000.0))
