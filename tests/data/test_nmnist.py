"""N-MNIST: folders, zip files, options, what is kept on disk, damaged files, the real subset."""

import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from spikeloom.data import babi, events, fsdd, members, mnist, nmnist, ntidigits, omniglot, stmnist, stored
from spikeloom.data.nmnist import NMNISTOptions
from spikeloom.data.spike_trains import SpikeTrains, raster
from spikeloom.errors import ConfigError, DataError
from tests.fixtures import nmnist as examples
from tests.fixtures.damage import attempt

DATA = os.environ.get("SPIKELOOM_DATA")
real = Path(DATA or "/nonexistent") / "nmnist_small" / "nmnist_small.zip"
needs_subset = pytest.mark.skipif(not real.is_file(), reason="not in $SPIKELOOM_DATA/nmnist_small: nmnist_small.zip")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path))
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "nmnist"


def pack(path: Path, source: Path, prefix: str = "", parts: tuple[str, ...] = ("Train", "Test")) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(source.rglob("*.bin"), reverse=True):
            name = file.relative_to(source).as_posix()
            if name.startswith(parts):
                archive.write(file, prefix + name)


def equal(a: SpikeTrains, b: SpikeTrains) -> bool:
    arrays = ("times", "units", "first", "labels", "speakers")
    return a.classes == b.classes and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)


def test_folders_and_zip_files_give_the_same_samples_in_the_order_of_mnist(home: Path, tmp_path: Path) -> None:
    examples.write(tmp_path / "made", classes=3, train=4, test=2)
    examples.write(home.parent, classes=3, train=4, test=2)
    unpacked = {split: nmnist.load(split) for split in ("train", "test")}
    assert unpacked["train"].labels.tolist() == [0, 1, 2] * 4
    assert unpacked["test"].labels.tolist() == [0, 1, 2] * 2
    assert unpacked["train"].times.max() < 105.0
    (tmp_path / "cache").rename(tmp_path / "away")
    for path in sorted(home.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    pack(home / "one.zip", tmp_path / "made" / "nmnist", "N-MNIST/")
    assert all(equal(nmnist.load(split), found) for split, found in unpacked.items())  # type: ignore[arg-type]
    (home / "one.zip").unlink()
    pack(home / "Train.zip", tmp_path / "made" / "nmnist", parts=("Train",))
    pack(home / "Test.zip", tmp_path / "made" / "nmnist", parts=("Test",))
    assert all(equal(nmnist.load(split), found) for split, found in unpacked.items())  # type: ignore[arg-type]
    home.rename(tmp_path / "nmnist_small")
    assert all(equal(nmnist.load(split), found) for split, found in unpacked.items())  # type: ignore[arg-type]


def test_every_event_of_a_sample_is_the_files(home: Path) -> None:
    examples.write(home.parent, classes=2, train=2)
    for options in (
        NMNISTOptions("both", "all"),
        NMNISTOptions("off", 2),
        NMNISTOptions("merge", 3, t0=20.0, duration=50.0),
    ):
        found = nmnist.load("train", options)
        for number, path in enumerate(sorted(home.glob("Train/*/*.bin"), key=lambda path: path.stem)):
            begin = int(1000 * options.start)
            expected = [
                (time - begin, 34 * y + x + 1156 * (on and options.polarity == "both"))
                for x, y, time, on in events.read_bin(path.read_bytes(), path.name).tolist()
                if begin <= time < begin + 1000 * options.length and not (on and options.polarity == "off")
            ]
            one = found.select([number])
            times = np.rint(1000 * one.times.astype(np.float64)).astype(int).tolist()
            assert list(zip(times, one.units.tolist(), strict=True)) == expected


def test_the_length_of_a_sample() -> None:
    assert (NMNISTOptions().length, NMNISTOptions(saccade="all").length, NMNISTOptions(saccade=2, t0=5.0).length) == (
        105.0,
        315.0,
        100.0,
    )
    assert (NMNISTOptions(saccade=2, t0=5.0).start, NMNISTOptions(saccade="all", t0=5.0).start) == (110.0, 5.0)
    assert NMNISTOptions(saccade="all", duration=400.0).length == 400.0


def test_options_without_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"The polarity is one of 'on', 'off', 'both', 'merge', but got 'up'"):
        NMNISTOptions(polarity="up")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"The saccade is one of 1, 2, 3, 'all', but got 0"):
        NMNISTOptions(saccade=0)  # type: ignore[arg-type]
    for wrong in ({"t0": -1.0}, {"t0": 105.0}, {"duration": 0.0}, {"duration": float("nan")}):
        with pytest.raises(ConfigError, match=r"A window needs 0 <= start"):
            NMNISTOptions(**wrong)  # type: ignore[arg-type]


def test_every_option_and_every_recording_counts_in_what_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples.write(home.parent, classes=2, train=2)
    told: list[str] = []
    first = nmnist.load("train", tell=told.append)
    assert told == [f"Reading 4 train recordings, once. The spikes are kept in {stored.folder()}."]
    assert equal(nmnist.load("train", tell=told.append), first)
    assert len(told) == 1
    changes = ({"polarity": "off"}, {"saccade": 2}, {"stabilize": True}, {"t0": 1.0}, {"duration": 50.0})
    for change in changes:
        assert not equal(nmnist.load("train", replace(nmnist.DEFAULT, **change), told.append), first)
    assert len(told) == 1 + len(changes)
    path = min(home.glob("Train/*/*.bin"))
    content = path.read_bytes()
    path.write_bytes(content[5:])
    nmnist.load("train", tell=told.append)
    assert len(told) == 2 + len(changes)
    path.write_bytes(content)
    monkeypatch.setattr(events, "version", lambda: "another")
    assert equal(nmnist.load("train", tell=told.append), first)
    assert len(told) == 3 + len(changes)


def test_recordings_are_described(home: Path) -> None:
    examples.write(home.parent, classes=3, train=4, test=2)
    (found,) = nmnist.describe("test")
    assert (found["file"], found["count"], found["official_count"]) == ("nmnist", 6, 10_000)
    assert found["note"] == "6 of the 10,000 official test recordings"
    path = min(home.glob("Test/*/*.bin"))
    path.write_bytes(path.read_bytes()[5:])
    assert nmnist.describe("test")[0]["sha256"] != found["sha256"]
    assert nmnist.describe("train")[0]["note"] == "12 of the 60,000 official train recordings"


damaged = {
    "empty": (b"", r"00002.bin.* has 0 bytes without an event"),
    "cut": (b"\0\0\0", r"00002.bin.* has 3 bytes without an event"),
    "outside": (bytes.fromhex("2200800000"), r"00002.bin.*: event 0 is at x = 34, y = 0, but the sensor has 34 x 34"),
    "unsorted": (bytes.fromhex("0000800005 0000800004"), r"00002.bin.*: event 1 has the time 4 us, but times rise"),
}


@pytest.mark.parametrize("name", damaged)
@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_recording_is_named(name: str, packed: bool, home: Path) -> None:
    data, message = damaged[name]
    examples.write(home.parent, classes=2, train=2)
    (home / "Train" / "1" / "00002.bin").write_bytes(data)
    if packed:
        pack(home / "all.zip", home)
    with pytest.raises(DataError, match=message) as error:
        nmnist.load("train")
    assert str(home) in str(error.value)


@given(data=some.binary(min_size=1, max_size=40))
@settings(deadline=None, max_examples=60)
def test_random_files_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPIKELOOM_DATA", str(folder))
        patch.setenv("SPIKELOOM_CACHE", str(folder / "cache"))
        (folder / "nmnist" / "Test" / "3").mkdir(parents=True)
        (folder / "nmnist" / "Test" / "3" / "00001.bin").write_bytes(data)
        found = attempt(lambda: nmnist.load("test", NMNISTOptions("both", "all", duration=60_000.0)))
    assert "00001.bin" in str(found) if isinstance(found, DataError) else len(found) == 1


@given(at=some.floats(0, 1, exclude_max=True), value=some.integers(0, 255), cut=some.booleans())
@settings(deadline=None, max_examples=60)
def test_a_damaged_zip_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: float, value: int, cut: bool
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPIKELOOM_DATA", str(folder))
        patch.setenv("SPIKELOOM_CACHE", str(folder / "cache"))
        examples.write(folder / "made", classes=1, train=2, test=1)
        (folder / "nmnist").mkdir()
        pack(folder / "nmnist" / "all.zip", folder / "made" / "nmnist")
        data = bytearray((folder / "nmnist" / "all.zip").read_bytes())
        place = int(at * len(data))
        data[place] = value
        (folder / "nmnist" / "all.zip").write_bytes(data[:place] if cut else data)
        found = attempt(lambda: nmnist.load("train"))
    assert str(folder / "nmnist") in str(found) if isinstance(found, DataError) else 1 <= len(found) <= 2


def test_archives_that_leave_their_folder_are_refused(home: Path) -> None:
    home.mkdir()
    for name in ("../Train/3/00001.bin", "/Train/3/00001.bin", "..\\Train/3/00001.bin"):
        with zipfile.ZipFile(home / "a.zip", "w") as archive:
            archive.writestr(name, b"\0" * 5)
        with pytest.raises(
            DataError, match=r"a.zip holds .*Train/3/00001.bin', which leaves the archive. Get Train.zip"
        ):
            nmnist.load("train")


def test_absurd_sizes_and_repeated_recordings_are_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples.write(home.parent, classes=2, train=2)
    monkeypatch.setattr(members, "LARGEST_SET", 10_000)
    with pytest.raises(DataError, match=r"nmnist unpacks to more than 10,000 bytes, which is absurd"):
        nmnist.load("train")
    monkeypatch.undo()
    monkeypatch.setenv("SPIKELOOM_DATA", str(home.parent))
    large = home / "Train" / "1" / "70000.bin"
    large.write_bytes(bytes(members.LARGEST + 1))
    with pytest.raises(DataError, match=r"70000.bin twice, or with 4,194,305 bytes, more than 4,194,304"):
        nmnist.load("train")
    large.unlink()
    (home / "Train" / "1" / "1.bin").write_bytes(b"\0" * 5)
    with pytest.raises(DataError, match=r"holds recording 1 twice: Train/0/00001.bin and Train/1/1.bin. Remove one"):
        nmnist.load("train")


def test_a_forged_size_does_not_unpack_more_than_it_says(home: Path) -> None:
    home.mkdir()
    with zipfile.ZipFile(home / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Train/3/00001.bin", bytes(1 << 24))
    data = (home / "a.zip").read_bytes()
    (home / "a.zip").write_bytes(data.replace((1 << 24).to_bytes(4, "little"), (50).to_bytes(4, "little")))
    with pytest.raises(DataError, match=r"a.zip is a damaged zip file"):
        nmnist.load("train")


def test_what_is_missing_is_named(home: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"There is no folder .*nmnist. Get Train.zip and Test.zip from https://www.gar"
    ):
        nmnist.load("train")
    home.mkdir()
    with pytest.raises(DataError, match=r"nmnist holds no file like Test/7/00032.bin, in a zip file or unpacked. Get"):
        nmnist.load("test")
    examples.write(tmp_path / "made", train=1)
    pack(home / "a.zip", tmp_path / "made" / "nmnist")
    pack(home / "b.zip", tmp_path / "made" / "nmnist")
    with pytest.raises(DataError, match=r"holds the same part of the data in a.zip and b.zip. Leave one"):
        nmnist.load("train")
    with pytest.raises(ConfigError, match=r"N-MNIST is split into train and test, but got 'valid'"):
        nmnist.load("valid")  # type: ignore[arg-type]


def test_options_that_leave_nothing_name_the_recording(home: Path) -> None:
    examples.write(home.parent, classes=1, train=1)
    path = home / "Train" / "0" / "00001.bin"
    path.write_bytes(bytes.fromhex("0000000005"))
    with pytest.raises(ConfigError, match=r"None of 1 recordings, the last of which is .*00001.bin, has an event that"):
        nmnist.load("train")


def test_a_recording_without_on_events_stays(home: Path) -> None:
    examples.write(home.parent, classes=2, train=2)
    (home / "Train" / "1" / "00002.bin").write_bytes(bytes.fromhex("0000000005"))
    told: list[str] = []
    for found in (nmnist.load("train", tell=told.append), nmnist.load("train", tell=told.append)):
        assert np.diff(found.first).tolist()[1] == 0
        assert found.labels.tolist() == [0, 1, 0, 1]
        assert told[-1].startswith("1 of the 4 train recordings have no event that these options keep")
    assert len(told) == 3
    assert len(nmnist.load("train", NMNISTOptions("off"), told.append).times)
    assert len(told) == 4


def test_examples_are_the_same_for_every_seed_and_classes_can_be_told_apart(home: Path, tmp_path: Path) -> None:
    examples.write(home.parent, classes=3)
    examples.write(tmp_path / "again", classes=3)
    examples.write(tmp_path / "other", classes=3, seed=1)
    for path in home.rglob("*.bin"):
        assert path.read_bytes() == (tmp_path / "again" / "nmnist" / path.relative_to(home)).read_bytes()
        assert path.read_bytes() != (tmp_path / "other" / "nmnist" / path.relative_to(home)).read_bytes()
    train, test = nmnist.load("train"), nmnist.load("test")
    counts = [raster(trains, range(len(trains)), window=105.0).spikes[0] for trains in (train, test)]
    nearest = (counts[1] @ counts[0].T).argmax(1).numpy()
    assert (train.labels[nearest] == test.labels).all()


@needs_subset
def test_the_real_subset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path))
    (found,) = nmnist.describe("train")
    if found["file"] != "nmnist_small.zip":
        pytest.skip("$SPIKELOOM_DATA/nmnist is there and comes first")
    train, test = nmnist.load("train"), nmnist.load("test")
    assert (len(train), len(test), train.channels) == (1000, 80, 1156)
    assert found["note"] == "1,000 of the 60,000 official train recordings"
    assert train.times.max() < 105.0
    whole = nmnist.load("train", NMNISTOptions("both", "all"))
    assert whole.times.nbytes + whole.units.nbytes < 1.5e9 / 60  # 60,000 samples in less than 1.5 GB
    assert (whole.units.dtype, whole.times.dtype) == (np.dtype(np.uint16), np.dtype(np.float32))
    rested = nmnist.load("train", NMNISTOptions("both", "all", stabilize=True))
    assert 0.9 * len(whole.times) < len(rested.times) < len(whole.times)
    assert len(train.times) == int(((whole.times < 105.0) & (whole.units >= 1156)).sum())


@needs_subset
def test_the_labels_of_the_real_subset_are_those_of_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path))
    try:
        labels = mnist.load("train").labels[:1000]
    except DataError as error:
        pytest.skip(str(error))
    assert nmnist.load("train").labels.tolist() == labels.tolist()


def test_folders_may_be_words(example_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path / "cache"))
    here = {name: str(example_data / name) for name in ("nmnist", "stmnist", "omniglot", "babi", "ntidigits")}
    assert len(nmnist.load("test", here=here["nmnist"])) == 9
    assert len(stmnist.load("test", here=here["stmnist"])) == 6
    pictures = omniglot.load("background", here=Path(here["omniglot"]))
    assert omniglot.load("background", here=here["omniglot"]).names == pictures.names
    assert babi.load(1, here=here["babi"]).train.questions
    (tmp_path / "sounds").mkdir()
    with pytest.raises(DataError, match=r"sounds holds no recording like"):
        fsdd.load("test", str(tmp_path / "sounds"))
    assert len(ntidigits.read(f"{here['ntidigits']}/{ntidigits.FILE}", "test")) == 9
