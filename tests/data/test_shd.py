"""The reader of SHD and SSC: whole files in every packing, and every way a file can be wrong."""

import gzip
import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as some

from spikeloom import hdf5
from spikeloom.data import shd, ssc
from spikeloom.data.spike_trains import Array, SpikeTrains
from spikeloom.errors import ConfigError, DataError

NAMES = tuple(f"digit {number}" for number in range(20))


def trains(samples: int = 5, seed: int = 0, classes: tuple[str, ...] = NAMES) -> SpikeTrains:
    draws = np.random.default_rng(seed)
    counts = draws.integers(1, 30, samples)
    times = [np.sort(draws.uniform(0, 1.3, count)).astype(np.float16).astype(np.float32) * 1000 for count in counts]
    units = [draws.integers(0, 700, count) for count in counts]
    return SpikeTrains.of(
        times, units, draws.integers(0, len(classes), samples), 700, classes, draws.integers(0, 12, samples)
    )


def same(a: SpikeTrains, b: SpikeTrains) -> bool:
    arrays = ("times", "units", "first", "labels", "speakers")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays) and a.classes == b.classes


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path))
    (tmp_path / "shd").mkdir()
    (tmp_path / "ssc").mkdir()
    return tmp_path


def test_what_is_written_is_read(home: Path) -> None:
    written = trains()
    shd.write(home / "shd" / "shd_train.h5", written)
    read = shd.load("train")
    assert same(read, written)
    assert (read.times.dtype, read.units.dtype, read.channels) == (np.dtype(np.float32), np.dtype(np.uint16), 700)
    with h5py.File(home / "shd" / "shd_train.h5") as file:
        assert h5py.check_vlen_dtype(file["spikes/times"].dtype) == np.float16
        assert h5py.check_vlen_dtype(file["spikes/units"].dtype) == np.uint16
        assert file["extra/keys"][3] == b"digit 3"


def test_every_float16_second_is_exact_in_milliseconds() -> None:
    seconds = np.arange(1, 0x4000, dtype=np.uint16).view(np.float16)  # all below 2 s
    in_float64 = seconds.astype(np.float64) * 1000
    assert (np.multiply(seconds, 1000, dtype=np.float32).astype(np.float64) == in_float64).all()


def test_compressed_files_are_read(home: Path) -> None:
    shd.write(home / "plain.h5", trains())
    content = (home / "plain.h5").read_bytes()
    (home / "shd" / "shd_train.h5.gz").write_bytes(gzip.compress(content))
    with zipfile.ZipFile(home / "shd" / "shd_test.h5.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("shd_test.h5", content)
    assert same(shd.load("train"), trains())
    assert same(shd.load("test"), trains())


def test_a_file_placed_by_hand_is_described(home: Path) -> None:
    shd.write(home / "shd" / "shd_test.h5", trains(7))
    (found,) = shd.describe("test")
    assert (found["file"], found["count"]) == ("shd_test.h5", 7)
    assert found["note"] == f"7 of the {found['official_count']:,} official test samples"
    assert found["sha256"] == hashlib.sha256((home / "shd" / "shd_test.h5").read_bytes()).hexdigest()


def test_speech_commands_have_three_splits_and_35_words(home: Path) -> None:
    words = tuple(f"word {number}" for number in range(35))
    written = trains(40, classes=words)
    for split in ssc.SPLITS:
        shd.write(home / "ssc" / f"ssc_{split}.h5", written)
        assert same(ssc.load(split), written)
        assert ssc.describe(split)[0]["count"] == 40
    assert written.labels.max() > 19
    with pytest.raises(ConfigError, match=r"SSC has the splits train, valid, test, but got 'dev'"):
        ssc.load("dev")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"SHD has the splits train and test, but got 'valid'. Hold out speakers"):
        shd.load("valid")  # type: ignore[arg-type]


def test_speakers_and_names_may_be_absent(tmp_path: Path) -> None:
    shd.write(tmp_path / "file.h5", trains())
    with h5py.File(tmp_path / "file.h5", "a") as file:
        del file["extra"]
    read = shd.read(tmp_path / "file.h5")
    assert read.speakers.tolist() == [-1] * 5
    assert read.classes == tuple(str(number) for number in range(20))


def test_a_missing_file_is_named_with_its_address(home: Path) -> None:
    with pytest.raises(
        DataError, match=r"shd_train.h5.zip is missing in .*shd. Run `spikeloom data fetch shd`"
    ) as error:
        shd.load("train")
    assert "https://zenkelab.org/datasets/shd_train.h5.zip" in str(error.value)


Content = dict[str, object]


def put(path: Path, content: Content) -> Path:
    """A file with these lists and arrays, well formed or not."""
    with h5py.File(path, "w") as file:
        for name, value in content.items():
            if isinstance(value, list):
                base = np.float16 if name.endswith("times") else np.int32
                lists = file.create_dataset(name, (len(value),), h5py.vlen_dtype(np.dtype(base)))
                for number, entry in enumerate(value):
                    lists[number] = np.array(entry, base)
            else:
                file[name] = value
    return path


def content(**changes: object) -> Content:
    well: Content = {
        "spikes/times": [[0.1, 0.2], [0.3]],
        "spikes/units": [[4, 5], [699]],
        "labels": np.array([0, 19], np.uint16),
        "extra/speaker": np.array([3, 4], np.uint16),
    }
    return {name: value for name, value in {**well, **changes}.items() if value is not None}


broken: dict[str, tuple[Content, str]] = {
    "no times": (content(**{"spikes/times": None}), "has no spikes/times, but holds extra, labels, spikes. Use"),
    "no units": (content(**{"spikes/units": None}), "has no spikes/units"),
    "no labels": (content(labels=None), "has no labels"),
    "fewer units": (
        content(**{"spikes/units": [[4], [699]]}),
        "from sample 0 on, spikes/times and spikes/units differ",
    ),
    "fewer lists": (
        content(**{"spikes/units": [[4, 5]]}),
        r"from sample 1 on, .* differ in length \(2 and 1 samples\)",
    ),
    "fewer labels": (content(labels=np.array([1])), "holds 3 times and 3 units, 1 labels, 2 samples and 2 speakers"),
    "fewer speakers": (content(**{"extra/speaker": np.array([1])}), "2 samples and 1 speakers"),
    "unsorted": (content(**{"spikes/times": [[0.2, 0.1], [0.3]]}), "event 1 of sample 0 has the time 99.9"),
    "negative": (content(**{"spikes/times": [[0.1, 0.2], [-0.5]]}), "event 0 of sample 1 has the time -500.0"),
    "nan": (content(**{"spikes/times": [[0.1, 0.2], [np.nan]]}), "event 0 of sample 1 has the time nan"),
    "infinite": (content(**{"spikes/times": [[0.1, np.inf], [0.3]]}), "event 1 of sample 0 has the time inf"),
    "absurd": (content(**{"spikes/times": [[0.1, 0.2], [6e4]]}), "which is not 0 to 60,000 ms"),
    "unit 700": (content(**{"spikes/units": [[4, 700], [1]]}), "event 1 of sample 0 has the unit 700, which is not 0"),
    "unit -1": (content(**{"spikes/units": [[4, 5], [-1]]}), "event 0 of sample 1 has the unit -1"),
    "unit 65540": (content(**{"spikes/units": [[4, 5], [65540]]}), "has the unit 65540"),
    "empty sample": (
        content(**{"spikes/times": [[0.1, 0.2], []], "spikes/units": [[4, 5], []]}),
        "sample 1 has no events",
    ),
    "label 20": (content(labels=np.array([0, 20])), "sample 1 has the label 20, but labels are 0 to 19"),
    "label -1": (content(labels=np.array([-1, 0])), "sample 0 has the label -1"),
    "labels of floats": (content(labels=np.array([0.0, 1.0])), r"labels is float64 \[2\], but one integer per sample"),
    "labels a matrix": (content(labels=np.zeros((2, 2), int)), r"labels is int64 \[2, 2\], but a list of numbers"),
    "labels a group": (content(labels=None) | {"labels/a": np.zeros(2, int)}, "has no labels"),
    "times a matrix": (
        content(**{"spikes/times": np.zeros((2, 3))}),
        r"spikes/times is float64 \[2, 3\], but one list",
    ),
    "a number per sample": (content(**{"spikes/times": np.zeros(2)}), r"spikes/times is float64 \[2\], but one list"),
    "no samples": (
        {"spikes/times": [], "spikes/units": [], "labels": np.zeros(0, int)},
        "holds no samples, but at least one was expected. Use",
    ),
    "one name for all": (
        content(**{"extra/keys": np.bytes_(b"abcdefghijklmnopqrst")}),
        r"extra/keys is \|S20 \[\], but a list of names",
    ),
    "labels without data": (content(labels=h5py.Empty("i8")), r"labels is int64 \[\], but a list of numbers"),
    "times without data": (content(**{"spikes/times": h5py.Empty("f2")}), r"spikes/times is float16 \[\], but one"),
    "other classes": (content(**{"extra/keys": np.array([b"a", b"b"])}), "names 2 classes, but 20 were expected"),
}


@pytest.mark.parametrize("name", broken)
def test_a_malformed_file_is_refused(name: str, tmp_path: Path) -> None:
    parts, message = broken[name]
    path = put(tmp_path / "file.h5", parts)
    with pytest.raises(DataError, match=message) as error:
        shd.read(path)
    assert str(path) in str(error.value)


def test_the_well_formed_file_of_these_tests_is_accepted(tmp_path: Path) -> None:
    read = shd.read(put(tmp_path / "file.h5", content()))
    assert (read.units.tolist(), read.labels.tolist(), read.speakers.tolist()) == ([4, 5, 699], [0, 19], [3, 4])


NUMBERS, LISTS = ("labels", "extra/speaker", "extra/keys"), ("spikes/times", "spikes/units")


def forge(path: Path, name: str, shape: tuple[int, ...], chunks: tuple[int, ...] | None, base: type) -> Path:
    """The well-formed file with one part of any shape, of which nothing is written: it takes no room on the disk."""
    put(path, content())
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
        dtype = h5py.vlen_dtype(np.dtype(base)) if name in LISTS else np.dtype(base)
        file.create_dataset(name, shape, dtype, chunks=chunks, maxshape=(None,) * len(shape) if chunks else None)
    return path


@pytest.mark.parametrize(
    ("name", "shape", "chunks", "base"),
    [
        ("labels", (1 << 42,), (16,), np.uint16),
        ("labels", (2,), (1 << 30,), np.uint16),
        ("spikes/times", (1 << 40,), (16,), np.float16),
        ("spikes/units", (1 << 40,), (16,), np.uint16),
        ("extra/speaker", (1 << 42,), (16,), np.uint16),
        ("extra/keys", (20, 1 << 40), (1, 16), np.uint16),
    ],
)
def test_a_forged_shape_fills_no_memory(
    name: str, shape: tuple[int, ...], chunks: tuple[int, ...], base: type, tmp_path: Path
) -> None:
    path = forge(tmp_path / "file.h5", name, shape, chunks, base)
    assert path.stat().st_size < 1 << 20
    claim = rf"{path}: {name} claims to be .* \[{shape[0]}.*\], in chunks of \[{chunks[0]}.*\], .* and absurd. Use"
    with pytest.raises(DataError, match=claim):
        shd.read(path)
    if name == "labels":
        with pytest.raises(DataError, match=claim):
            shd.count(path)


def test_lists_that_all_point_to_one_place_fill_no_memory(tmp_path: Path) -> None:
    path, lists = tmp_path / "file.h5", 600
    with h5py.File(path, "w") as file:
        part = file.create_dataset("spikes/times", (lists,), h5py.vlen_dtype(np.dtype(np.float16)))
        part[0] = np.full(9999, 0.1, np.float16)
        offset = part.id.get_offset()
    data = bytearray(path.read_bytes())
    data[offset : offset + 16 * lists] = data[offset : offset + 16] * lists
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"lists of spikes/times have more than .* entries, but the file only .* bytes"):
        shd.read(path)


def packed(data: bytes, *names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, data)
    return buffer.getvalue()


damaged: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "cannot be read as an HDF5 file"),
    "not hdf5": (lambda data: b"hello" * 100, "cannot be read as an HDF5 file"),
    "cut": (lambda data: data[: len(data) // 2], "cannot be read as an HDF5 file"),
    "gzip cut": (lambda data: gzip.compress(data)[:-20], "cannot be read as an HDF5 file"),
    "gzip body": (lambda data: gzip.compress(data)[:50] + bytes(40), "cannot be read as an HDF5 file"),
    "zip cut": (lambda data: packed(data, "a.h5")[:-20], "is a damaged zip file"),
    "zip with two": (lambda data: packed(data, "a.h5", "b.h5"), "holds 2 .h5 files where one was expected"),
    "zip with none": (lambda data: packed(data, "a.txt"), "holds 0 .h5 files"),
}


@pytest.mark.parametrize("name", damaged)
def test_a_damaged_file_is_refused(name: str, tmp_path: Path) -> None:
    change, message = damaged[name]
    shd.write(tmp_path / "good.h5", trains())
    path = tmp_path / "bad.h5"
    path.write_bytes(change((tmp_path / "good.h5").read_bytes()))
    with pytest.raises(DataError, match=message):
        shd.read(path)


def test_an_archive_that_would_fill_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shd, "LARGEST", 1 << 20)
    path = tmp_path / "bomb.h5.gz"
    path.write_bytes(gzip.compress(bytes(1 << 22)))
    with pytest.raises(DataError, match=r"unpacks to more than 1,048,576 bytes, which is absurd"):
        shd.read(path)


def test_malformed_trains_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"sample 0 has no events"):
        shd.write(tmp_path / "file.h5", SpikeTrains.of([[]], [[]], [0], 700, NAMES))
    with pytest.raises(DataError, match=r"cannot be written: .* Choose a folder you can write to"):
        shd.write(tmp_path / "absent" / "file.h5", trains())


any_time = some.floats(-1.0, 2.0, width=16) | some.just(float("nan"))
any_lists = some.lists(some.lists(any_time, max_size=4), max_size=4)
good_lists = some.lists(some.lists(some.floats(0.0, 2.0, width=16), min_size=1, max_size=4).map(sorted), max_size=4)


def well_formed(times: list[list[float]], units: list[list[int]], labels: list[int]) -> bool:
    """What a file must be, once more and plainly."""
    return (
        [len(entry) for entry in times] == [len(entry) for entry in units]
        and len(times) == len(labels) > 0
        and all(len(entry) > 0 and entry == sorted(entry) and min(entry) >= 0 for entry in times)
        and not any(np.isnan(entry).any() for entry in times)
        and all(0 <= unit < 700 for entry in units for unit in entry)
        and all(0 <= label < 20 for label in labels)
    )


@given(data=some.data(), times=any_lists | good_lists)
@settings(deadline=None, max_examples=30)
def test_any_lists_are_read_exactly_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: some.DataObject, times: list[list[float]]
) -> None:
    unit, label = some.integers(-1, 701), some.integers(-1, 21)
    fitting = some.tuples(*(some.lists(some.integers(0, 699), min_size=len(t), max_size=len(t)) for t in times))
    channels = data.draw(fitting.map(list) | some.lists(some.lists(unit, max_size=4), max_size=4))
    fitting_labels = some.lists(some.integers(0, 19), min_size=len(times), max_size=len(times))
    labels = data.draw(fitting_labels | some.lists(label, max_size=4))
    path = put(
        tmp_path_factory.mktemp("fuzz") / "file.h5",
        {"spikes/times": times, "spikes/units": channels, "labels": np.array(labels, np.int64)},
    )
    good = well_formed(times, channels, labels)
    event("well formed" if good else "malformed")
    if not good:
        with pytest.raises(DataError, match=r"file\.h5"):
            shd.read(path)
        return
    read = shd.read(path)
    flat: Array = np.array([time for entry in times for time in entry], np.float64)
    assert read.times.tolist() == (flat * 1000).tolist()
    assert read.units.tolist() == [unit for entry in channels for unit in entry]
    assert read.labels.tolist() == labels


@given(keep=some.floats(0.0, 0.999))
@settings(deadline=None, max_examples=10)
def test_a_file_cut_anywhere_is_refused(tmp_path_factory: pytest.TempPathFactory, keep: float) -> None:
    folder = tmp_path_factory.mktemp("cut")
    shd.write(folder / "good.h5", trains())
    data = (folder / "good.h5").read_bytes()
    (folder / "cut.h5").write_bytes(data[: int(keep * len(data))])
    with pytest.raises(DataError, match=r"cut\.h5"):
        shd.read(folder / "cut.h5")


sizes = some.sampled_from([0, 1, 2, 3, 20, 300, 1 << 20, 1 << 42])


@given(
    name=some.sampled_from(NUMBERS + LISTS),
    shape=some.lists(sizes, max_size=2).map(tuple),
    chunk=some.sampled_from([0, 1, 16, 1 << 30]),
    base=some.sampled_from([np.uint16, np.int64, np.float16, np.float64, np.bool_]),
)
@settings(deadline=None, max_examples=30)
def test_parts_of_any_shape_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, shape: tuple[int, ...], chunk: int, base: type
) -> None:
    path = tmp_path_factory.mktemp("shape") / "file.h5"
    chunked = chunk > 0 and len(shape) > 0
    if not chunked and np.prod(shape, dtype=float) > 1e6:
        return  # would be written
    chunks = (min(chunk, 1 << 27), *[1] * (len(shape) - 1)) if chunked else None
    forge(path, name, shape, chunks, base)
    with h5py.File(path, "a") as file:
        written = name in NUMBERS and np.prod(shape, dtype=float) < 1e6 and (chunks or (0,))[0] <= 1 << 20
        if written:
            file[name][...] = np.zeros(shape, base)
    well_formed = shape == ((20,) if name == "extra/keys" else (2,)) and (chunks or (0,))[0] <= 1 << 20
    if name == "extra/keys" and well_formed:
        assert len(shd.read(path).classes) == 20
    elif name in NUMBERS and well_formed and np.issubdtype(base, np.integer):
        assert shd.read(path).first.tolist() == [0, 2, 3]
    else:
        with pytest.raises(DataError, match=r"file\.h5"):  # lists of which nothing is written are refused
            shd.read(path)


elsewhere: dict[str, tuple[Callable[[h5py.File, Path], None], str]] = {
    "virtual": (
        lambda file, other: file.create_virtual_dataset("labels", _virtual(other)),
        "labels keeps its numbers in other files, which are not read",
    ),
    "external storage": (
        lambda file, other: file.create_dataset("labels", (2,), "u2", external=[(other, 0, 4)]),
        "labels keeps its numbers in other files",
    ),
    "external link": (
        lambda file, other: file.__setitem__("labels", h5py.ExternalLink(str(other), "labels")),
        "labels is a link to another place, which is not followed",
    ),
    "soft link": (lambda file, other: file.__setitem__("labels", h5py.SoftLink("/extra/speaker")), "labels is a link"),
    "unknown filter": (
        lambda file, other: file.create_dataset("labels", data=[0, 19], chunks=(2,), scaleoffset=0),
        "labels is packed by filter 6, but only deflate, shuffle, fletcher32, lzf are read",
    ),
    "nothing written": (
        lambda file, other: file.create_dataset("labels", (2,), "u2"),
        r"labels claims to be uint16 \[2\], but not all of it is in the file",
    ),
    "a chunk not written": (
        lambda file, other: file.create_dataset("labels", (2,), "u2", chunks=(1,)).__setitem__(0, 1),
        r"labels claims to be uint16 \[2\], but not all of it is in the file",
    ),
}


def _virtual(other: Path) -> h5py.VirtualLayout:
    layout = h5py.VirtualLayout((2,), "u2")
    layout[:] = h5py.VirtualSource(str(other), "labels", (2,))
    return layout


@pytest.mark.parametrize("name", elsewhere)
def test_nothing_is_read_that_is_not_in_the_file(name: str, tmp_path: Path) -> None:
    """Another file may be on this machine, and numbers that nobody wrote are zeros."""
    change, message = elsewhere[name]
    other, path = put(tmp_path / "other.h5", content()), put(tmp_path / "file.h5", content(labels=None))
    with h5py.File(path, "a") as file:
        change(file, other)
    with pytest.raises(DataError, match=f"file.h5: {message}"):
        shd.read(path)


def test_units_and_times_of_the_other_kind_are_refused(tmp_path: Path) -> None:
    for name, base, message in (
        ("spikes/times", np.int32, "spikes/times are int32, but floating point numbers were expected"),
        ("spikes/units", np.float32, "spikes/units are float32, but whole numbers were expected"),
    ):
        path = put(tmp_path / "file.h5", content(**{name: None}))
        with h5py.File(path, "a") as file:
            lists = file.create_dataset(name, (2,), h5py.vlen_dtype(np.dtype(base)))
            lists[0], lists[1] = np.array([1, 2], base), np.array([3], base)
        with pytest.raises(DataError, match=message):
            shd.read(path)


def test_a_file_that_the_library_never_returns_from_is_refused() -> None:
    """A file with one byte changed; it was read for ever. Its time limit is one of the processor, not of the clock."""
    with pytest.raises(
        DataError, match=r"cannot be read as an HDF5 file \(the HDF5 library does not come to an end\). Use"
    ):
        shd.read(Path(__file__).parents[1] / "fuzz" / "corpus" / "shd" / "endless.bin")


def test_a_part_that_unpacks_to_a_hundred_times_the_file_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "file.h5", content())
    with h5py.File(path, "a") as file:
        for number in range(3):
            file.create_dataset(f"zeros{number}", data=np.zeros(1 << 22), compression="gzip")
    with (
        path.open("rb") as source,
        pytest.raises(DataError, match=r"here unpacks to a hundred times its size, which is absurd. Advice"),
    ):
        hdf5.read(source, [hdf5.DataSetRequest(f"zeros{number}", "numbers") for number in range(3)], "here", "Advice")


def test_many_units_labels_and_speakers_are_written_as_they_are(tmp_path: Path) -> None:
    """More than 16 bits hold: they were folded without a word."""
    names = tuple(map(str, range(70_000)))
    written = SpikeTrains.of([[1.0, 2.0]], [[70_000, 99_999]], [69_999], 100_000, names, [80_000])
    shd.write(str(tmp_path / "file.h5"), written)
    read = shd.read(str(tmp_path / "file.h5"), classes=70_000, channels=100_000)
    assert (read.units.tolist(), read.labels.tolist(), read.speakers.tolist()) == ([70_000, 99_999], [69_999], [80_000])
    assert read.units.dtype == np.uint32


@pytest.mark.parametrize(
    ("death", "message"),
    [
        ("import os; os.abort()", r"cannot be read as an HDF5 file \(the HDF5 library crashed on it: SIGABRT\). Use a"),
        ("raise ImportError('no h5py')", r"HDF5 files ended with status 1: ImportError: no h5py. Check that"),
        ("print('no message')", r"cannot be read as an HDF5 file \(the process that read it ended\)"),
    ],
)
def test_the_end_of_the_reading_process_costs_one_sentence(
    death: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which file the library crashes on changes with its version, so the crash is brought about here."""
    (tmp_path / "child.py").write_text(death)
    monkeypatch.setattr(hdf5, "CHILD", tmp_path / "child.py")
    with pytest.raises(DataError, match=message):
        shd.read(put(tmp_path / "file.h5", content()))


def test_lists_in_another_byte_order_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        for name, values, kind in (("spikes/times", [0.1, 0.2], "<f2"), ("spikes/units", [1, 2], ">u2")):
            file.create_dataset(name, (1,), h5py.vlen_dtype(np.dtype(kind)))[0] = np.array(values, kind)
        file["labels"] = np.array([0])
    with pytest.raises(DataError, match="lists in another byte order"):
        shd.read(path)
