"""ST-MNIST: the exact format, filters, a split whose labels are right, and every way a file can be wrong."""

import io
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.io import savemat

from spikeloom.data import events, stmnist, stored
from spikeloom.data.spike_trains import Array, SpikeTrains, raster
from spikeloom.data.stmnist import STMNISTOptions
from spikeloom.errors import ConfigError, DataError
from tests.fixtures import stmnist as examples
from tests.fixtures.formats import write_mat

DATA = Path(os.environ.get("SPIKELOOM_DATA") or "/nonexistent")
real = DATA / "samples" / "stmnist_sample.mat"
needs_sample = pytest.mark.skipif(not real.is_file(), reason="not in $SPIKELOOM_DATA/samples: stmnist_sample.mat")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path))
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "stmnist"


def attempt(read: Callable[[], Array]) -> Array | DataError:
    """What was read, or why it was refused: either is right for damaged bytes."""
    try:
        return read()
    except DataError as error:
        return error


def mat(**variables: object) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, variables)
    return buffer.getvalue()


def table(columns: int = 3) -> Array:
    """Taxel 12 is ON, then OFF, then ON, and so on, every 100 ms."""
    found = np.zeros((101, columns))
    found[12] = np.where(np.arange(columns) % 2, -1, 1)
    found[-1] = (1 + np.arange(columns)) / 10
    return found


def changed(place: tuple[int, int], value: float) -> Array:
    found = table()
    found[place] = value
    return found


def test_a_recording_is_read() -> None:
    given = table()
    given[99, 1] = 1  # two taxels in one column
    found = stmnist.read_mat(mat(spiketrain=given), "a.mat").tolist()
    assert found == [
        (2, 1, 100_000, True),
        (2, 1, 200_000, False),
        (9, 9, 200_000, True),
        (2, 1, 300_000, True),
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.int64])
def test_other_numbers_are_read(dtype: type) -> None:
    given = table()
    given[-1] = [1, 2, 2]
    given = given.astype(dtype)
    assert len(stmnist.read_mat(mat(spiketrain=given), "a.mat")) == 3


@given(seed=some.integers(0, 1000), count=some.integers(1, 60))
@settings(deadline=None, max_examples=40)
def test_any_events_survive_the_round_trip(seed: int, count: int) -> None:
    draws = np.random.default_rng(seed)
    time = np.sort(draws.choice(10_000_000, count, replace=False))
    written = events.make(draws.integers(0, 10, count), draws.integers(0, 10, count), time, draws.random(count) < 0.5)
    assert (stmnist.read_mat(write_mat(written), "a.mat") == written).all()


def test_polarity_order_and_window() -> None:
    found = stmnist.read_mat(mat(spiketrain=table(6)), "a.mat")
    wide = STMNISTOptions(polarity="merge")
    assert wide.choose(found).tolist() == found.tolist()
    assert [event[3] for event in STMNISTOptions().choose(found).tolist()] == [True] * 3
    assert [event[:2] for event in STMNISTOptions(order="columns").choose(found).tolist()] == [(1, 2)] * 3
    late = STMNISTOptions(polarity="both", t0=200.0, duration=300.0).choose(found)
    assert (late["t"].tolist(), late["p"].tolist()) == ([0, 100_000, 200_000], [False, True, False])


def test_busy_taxels_fall_silent_on_request() -> None:
    given = table(6)
    given[70, :2] = 1
    found = stmnist.read_mat(mat(spiketrain=given), "a.mat")
    assert len(STMNISTOptions("both", most_on=3).choose(found)) == 8
    assert STMNISTOptions("both", most_on=2).choose(found)["y"].tolist() == [7, 7]


def test_a_recording_whose_taxels_all_fall_silent_stays(home: Path) -> None:
    examples.write(home.parent)
    given = table(100)
    given[-1] = np.arange(100) / 100
    (home / "data_submission" / "0" / "writer_00.mat").write_bytes(mat(spiketrain=given))
    told: list[str] = []
    found = [stmnist.load(split, STMNISTOptions(most_on=40), told.append) for split in ("train", "test")]
    assert sum(int(np.sum(np.diff(one.first) == 0)) for one in found) == 1
    assert [len(one) for one in found] == [24, 6]
    assert len([news for news in told if news.startswith("1 of the ")]) == 1


def test_labels_follow_their_samples(home: Path) -> None:
    examples.write(home.parent, classes=3, samples=10)
    for seed in range(4):
        options = STMNISTOptions("merge", seed=seed)
        seen = []
        for split in ("train", "test"):
            found = stmnist.load(split, options)
            assert np.bincount(found.labels).tolist() == ([8] * 3 if split == "train" else [2] * 3)
            for number, label in enumerate(found.labels.tolist()):
                one = found.select([number])
                matches = [
                    path
                    for path in sorted(home.rglob("*.mat"))
                    if events.milliseconds(stmnist.read_mat(path.read_bytes(), "")["t"]).tolist() == one.times.tolist()
                ]
                assert [path.parent.name for path in matches] == [str(label)]
                seen += matches
        assert len(set(seen)) == len(seen) == 30  # every recording is in exactly one of the splits


def equal(a: SpikeTrains, b: SpikeTrains) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("times", "units", "first", "labels"))


def test_a_zip_file_gives_the_same_as_a_folder(home: Path) -> None:
    examples.write(home.parent)
    unpacked = {split: stmnist.load(split) for split in ("train", "test")}
    with zipfile.ZipFile(home / "STMNIST.zip", "w") as archive:
        for path in sorted(home.rglob("*.mat"), reverse=True):
            archive.write(path, f"STMNIST/{path.relative_to(home)}")
            archive.writestr(f"__MACOSX/data_submission/{path.parent.name}/._{path.name}", b"hello")
            path.unlink()
    for split, found in unpacked.items():
        assert equal(stmnist.load(split), found)  # type: ignore[arg-type]
    (described,) = stmnist.describe("test")
    assert (described["file"], described["count"], described["official_count"]) == ("STMNIST.zip", 30, 6953)
    assert described["note"].startswith("30 of the 6,953 official recordings; 6 of them are our test split (a share of")


def test_every_option_and_every_recording_counts(home: Path) -> None:
    examples.write(home.parent)
    told: list[str] = []
    first = stmnist.load("train", tell=told.append)
    assert told == [f"Reading 30 recordings, once. The spikes are kept in {stored.folder()}."]
    assert equal(stmnist.load("train", tell=told.append), first)
    changes = (
        *({"polarity": "off"}, {"order": "columns"}, {"most_on": 7}, {"t0": 1.0}, {"duration": 500.0}),
        *({"test_share": 0.3}, {"seed": 1}),
    )
    for change in changes:
        options = replace(stmnist.DEFAULT, **change)
        assert not equal(stmnist.load("train", options, told.append), first)
    assert len(told) == len(changes) - 1  # the split is drawn from what is kept
    path = min(home.rglob("*.mat"))
    path.write_bytes(mat(spiketrain=table()))
    stmnist.load("train", tell=told.append)
    assert len(told) == len(changes)


def test_examples_are_equal_for_equal_seeds_and_classes_can_be_told_apart(home: Path, tmp_path: Path) -> None:
    examples.write(home.parent)
    examples.write(tmp_path / "again")
    examples.write(tmp_path / "other", seed=1)
    for path in home.rglob("*.mat"):
        assert path.read_bytes() == (tmp_path / "again" / "stmnist" / path.relative_to(home)).read_bytes()
        assert path.read_bytes() != (tmp_path / "other" / "stmnist" / path.relative_to(home)).read_bytes()
    train, test = stmnist.load("train"), stmnist.load("test")
    counts = [raster(trains, range(len(trains)), window=2000.0).spikes[0] for trains in (train, test)]
    assert (train.labels[(counts[1] @ counts[0].T).argmax(1).numpy()] == test.labels).all()


def test_options_and_splits_without_sense_are_refused(home: Path) -> None:
    wrong: list[tuple[dict[str, object], str]] = [
        ({"polarity": "up"}, r"The polarity is one of"),
        ({"order": "down"}, r"The order is one of 'rows', 'columns', but got 'down'"),
        ({"most_on": 0}, r"most_on must be at least 1, but got 0. Pass None to keep all"),
        ({"test_share": 1.0}, r"test_share must be between 0 and 1, but got 1.0"),
        ({"duration": -1.0}, r"A window needs 0 <= start"),
    ]
    for options, message in wrong:
        with pytest.raises(ConfigError, match=message):
            STMNISTOptions(**options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"ST-MNIST is split into train and test, but got 'valid'"):
        stmnist.load("valid")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"There is no folder .*stmnist. Get the data set from https://www.benjamintee"):
        stmnist.load("train")
    home.mkdir()
    with pytest.raises(DataError, match=r"stmnist holds no file like data_submission/7/NAME.mat"):
        stmnist.load("train")


broken = {
    "empty": (b"", r"cannot be read as a MATLAB 5 file"),
    "not matlab": (b"hello" * 100, r"cannot be read as a MATLAB 5 file"),
    "hdf5": (
        b"MATLAB 7.3".ljust(124) + b"\x00\x02IM" + bytes(50),
        r"it is saved as version 7.3 \(HDF5\): save with -v7",
    ),
    "cut": (mat(spiketrain=table())[:-50], r"cannot be read as a MATLAB 5 file \(it is cut short\)"),
    "other name": (mat(spikes=table()), r"holds \['spikes'\], but spiketrain was expected"),
    "transposed": (mat(spiketrain=table().T), r"spiketrain has the shape \[3, 101\], but \[101, events\] was"),
    "fewer taxels": (mat(spiketrain=table()[1:]), r"spiketrain has the shape \[100, 3\]"),
    "words": (mat(spiketrain="hello"), r"spiketrain has the class 4, flags 0, and is no matrix of numbers"),
    "cells": (mat(spiketrain=np.array([["a", 2]] * 101, object)), r"spiketrain has the class 1, flags 0, and is no"),
    "complex": (mat(spiketrain=1j * table()), r"spiketrain has the class 6, flags 8, and is no"),
    "value 2": (mat(spiketrain=changed((4, 1), 2)), r"taxel 4 of column 1 is 2.0, but -1, 0 or 1 was expected"),
    "value nan": (mat(spiketrain=changed((4, 1), np.nan)), r"taxel 4 of column 1 is nan"),
    "nan": (mat(spiketrain=changed((100, 1), np.nan)), r"column 1 has the time nan, but 0 to 60 s was expected"),
    "infinite": (mat(spiketrain=changed((100, 2), np.inf)), r"column 2 has the time inf"),
    "negative": (mat(spiketrain=changed((100, 0), -1)), r"column 0 has the time -1.0"),
    "unsorted": (mat(spiketrain=changed((100, 0), 9)), r"event 1 has the time 200,000 us, but times rise"),
    "no columns": (mat(spiketrain=np.zeros((101, 0))), r"is an empty recording"),
    "no events": (mat(spiketrain=np.zeros((101, 5))), r"is an empty recording"),
}


@pytest.mark.parametrize("name", broken)
def test_a_malformed_file_is_refused(name: str, home: Path) -> None:
    data, message = broken[name]
    examples.write(home.parent)
    path = home / "data_submission" / "1" / "bad.mat"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as error:
        stmnist.load("train")
    assert str(path) in str(error.value)


def test_an_absurd_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stmnist, "MOST", 2)
    with pytest.raises(DataError, match=r"spiketrain has the shape \[101, 3\]"):
        stmnist.read_mat(mat(spiketrain=table()), "a.mat")


@given(data=some.binary(max_size=400))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DataError, match=r"a\.mat"):
        stmnist.read_mat(data, "a.mat")


plain, packed = mat(spiketrain=table()), write_mat(stmnist.read_mat(mat(spiketrain=table()), "a.mat"))


@given(
    data=some.sampled_from([plain, packed]),
    changes=some.lists(some.tuples(some.integers(0, 10_000), some.integers(0, 255)), min_size=1, max_size=4),
    end=some.integers(0, 10_000),
)
@settings(deadline=None, max_examples=400)
def test_damaged_bytes_are_read_or_refused(data: bytes, changes: list[tuple[int, int]], end: int) -> None:
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % min(300, len(data))] = value  # header and descriptions; SciPy's reader does not survive this
    found = attempt(lambda: stmnist.read_mat(bytes(damaged[: end or None]), "a.mat"))
    assert "a.mat" in str(found) if isinstance(found, DataError) else len(found) > 0


@needs_sample
def test_the_real_sample() -> None:
    found = stmnist.read_mat(real.read_bytes(), "real")
    assert (len(found), int(found["p"].sum())) == (2346, 1601)
    assert (found["t"][0], found["t"][-1]) == (196_626, 895_745)
    on = STMNISTOptions().choose(found)
    counts = np.bincount(10 * on["y"] + on["x"], minlength=100)
    assert (len(on), int((counts > 0).sum())) == (1601, 31)
    quiet = STMNISTOptions(most_on=40).choose(found)
    assert len(on) - len(quiet) == 1238
    assert int((counts > 40).sum()) == 19
