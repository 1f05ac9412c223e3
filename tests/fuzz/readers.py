"""Files of data sets, each as small as it can be."""

import gzip
import os
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from spikeloom.data import babi, events, fsdd, mnist, nmnist, ntidigits, omniglot, shd, stmnist, stored
from spikeloom.data.spike_trains import SpikeTrains
from tests import fixtures
from tests.fixtures import formats

from . import Target

Reader = Callable[[Path], object]


def _trains() -> SpikeTrains:
    draws = np.random.default_rng(0)
    counts = draws.integers(1, 30, 5)
    times = [np.sort(draws.uniform(0, 1.3, count)).astype(np.float16).astype(np.float32) * 1000 for count in counts]
    units = [draws.integers(0, 700, count) for count in counts]
    names = tuple(f"digit {number}" for number in range(20))
    return SpikeTrains.of(times, units, draws.integers(0, 20, 5), 700, names, draws.integers(0, 12, 5))


def _shd(folder: Path) -> None:
    """As `shd.write` does, in chunks with filters, and as the newest version of the format."""
    trains = _trains()
    shd.write(folder / "0", trains)
    for name, version, filters in (
        ("1", "earliest", {"chunks": (2,), "compression": "gzip"}),
        ("2", "latest", {"chunks": (2,), "shuffle": True, "compression": "gzip"}),
        ("3", "latest", {}),
    ):
        with h5py.File(folder / name, "w", libver=version) as file:
            for part, values, dtype in (("times", trains.times / 1000, np.float16), ("units", trains.units, np.uint16)):
                lists = file.create_dataset(f"spikes/{part}", (5,), h5py.vlen_dtype(np.dtype(dtype)), **filters)
                for number in range(5):
                    lists[number] = values[trains.first[number] : trains.first[number + 1]].astype(dtype)
            file.create_dataset("labels", data=trains.labels.astype(np.uint16), **filters, fletcher32=bool(filters))


def _shd_packed(folder: Path) -> None:
    shd.write(folder / "plain", _trains())
    content = (folder / "plain").read_bytes()
    (folder / "plain").unlink()
    (folder / "0").write_bytes(gzip.compress(content, mtime=0))
    for name, method in (("1", zipfile.ZIP_DEFLATED), ("2", zipfile.ZIP_STORED)):
        _zip(folder / name, {"shd_train.h5": content}, method)


def _zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)


def _ntidigits(folder: Path) -> None:
    fixtures.ntidigits.write(folder, train=2, test=1)
    (folder / "ntidigits" / ntidigits.FILE).rename(folder / "0")
    (folder / "ntidigits").rmdir()


def _idx(folder: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)
    (folder / "0").write_bytes(bytes.fromhex("00000803 00000003 0000001c 0000001c") + images.tobytes())
    (folder / "1").write_bytes(bytes.fromhex("00000801 00000003") + bytes([3, 1, 9]))


def _idx_packed(folder: Path) -> None:
    _idx(folder)
    for path in list(folder.iterdir()):
        path.write_bytes(gzip.compress(path.read_bytes(), mtime=0))


def _wav(folder: Path) -> None:
    for number, content in enumerate(_sounds()):
        (folder / str(number)).write_bytes(content)


def _sounds() -> list[bytes]:
    samples = (1000 * np.sin(np.arange(100))).astype("<i2").tobytes()
    head = b"fmt " + (16).to_bytes(4, "little") + bytes.fromhex("0100 0100 401f0000 803e0000 0200 1000")
    body = b"WAVE" + head + b"data" + len(samples).to_bytes(4, "little") + samples
    return [b"RIFF" + len(body).to_bytes(4, "little") + body]


def _fsdd_zip(folder: Path) -> None:
    (sound,) = _sounds()
    files = {f"recordings/{digit}_theo_{index}.wav": sound for digit in range(3) for index in (0, 7)}
    _zip(folder / "0", files)
    _zip(folder / "1", files, zipfile.ZIP_STORED)


def _as_file(suffix: str, read: Reader) -> Reader:
    """A reader of the folder that holds a file with this name."""

    def read_folder(path: Path) -> object:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / suffix).symlink_to(path.resolve())
            return read(Path(folder))

    return read_folder


def _recording() -> np.ndarray:
    draws = np.random.default_rng(1)
    return events.make(
        draws.integers(0, 34, 40), draws.integers(0, 34, 40), np.sort(draws.integers(0, 300_000, 40)),
        draws.integers(0, 2, 40).astype(bool),
    )  # fmt: skip


def _bin(folder: Path) -> None:
    (folder / "0").write_bytes(formats.write_bin(_recording()))


def _read_bin(path: Path) -> object:
    recording = events.check(events.read_bin(path.read_bytes(), "file"), 34, 34, "file")
    return events.convert([("file", recording)], [0], at_most=len(recording), width=34, height=34, keep="both",
                          classes=("0",)).check("file")  # fmt: skip


def _bs1(folder: Path) -> None:
    recording = _recording()
    recording["y"] = 0
    (folder / "0").write_bytes(formats.write_bs1(recording))


def _nmnist_zip(folder: Path) -> None:
    content = formats.write_bin(_recording())
    files = {f"Test/{digit}/{5 * digit + number + 1:05}.bin": content for digit in range(3) for number in range(2)}
    _zip(folder / "0", files)
    _zip(folder / "1", files, zipfile.ZIP_STORED)


def _read_nmnist(folder: Path) -> object:
    files = nmnist._files("test", folder)
    return dict(zip(files.sizes, files.read(list(files.sizes)), strict=True))


def _mat(folder: Path) -> None:
    recording = _recording()[:10]
    recording["x"] %= 10
    recording["y"] %= 10
    (folder / "0").write_bytes(formats.write_mat(recording))


def _png(folder: Path) -> None:
    points = np.random.default_rng(0).uniform(15, 90, (5, 2))
    (folder / "0").write_bytes(fixtures.omniglot.draw(points))


def _omniglot_zip(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        fixtures.omniglot.write(Path(place), 2, 2, 2)
        shutil.copy(Path(place) / "omniglot" / "images_background.zip", folder)


def _read_omniglot(folder: Path) -> object:
    files = omniglot._files("background", folder)
    return dict(zip(files.sizes, files.read(list(files.sizes)), strict=True))


def _babi(folder: Path) -> None:
    for place, text in enumerate(
        (
            b"1 Mary moved to the bathroom.\n2 John went to the hallway.\n3 Where is Mary? \tbathroom\t1\n",
            b"1 Mary left.\n2 Who left? \tMary\t1\n1 A b.\n2 C d.\n3 E? \tn,s\t1 2\n",
        )
    ):
        (folder / str(place)).write_bytes(text)


def _babi_tar(folder: Path) -> None:
    _babi_tar_gz(folder)
    packed = folder / babi.ARCHIVE
    (folder / "0").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()


def _babi_tar_gz(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        fixtures.babi.write(Path(place), (1,), train=2, test=2)
        shutil.copy(Path(place) / "babi" / babi.ARCHIVE, folder)


def _npz(folder: Path) -> None:
    stored._write(folder / "0", _trains())


def _read_npz(path: Path) -> object:
    """What is in the cache, or else what is made again."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SPIKELOOM_CACHE"] = folder
        kept = stored._path("file", "key")
        kept.parent.mkdir()
        kept.symlink_to(path.resolve())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return stored.stored("file", "key", _trains)


TARGETS = [
    Target("shd", _shd, shd.read, seconds=120.0),
    Target("shd_packed", _shd_packed, shd.read, exact=True, seconds=120.0),
    Target("ntidigits", _ntidigits, lambda path: ntidigits.read(path, "train"), seconds=120.0),
    Target("idx", _idx, mnist.read_idx),
    Target("idx_packed", _idx_packed, mnist.read_idx, exact=True),
    Target("wav", _wav, lambda path: fsdd.read_wav(path.read_bytes(), "file")),
    Target("fsdd_zip", _fsdd_zip, _as_file("file.zip", lambda here: fsdd.load("test", here)), exact=True),
    Target("bin", _bin, _read_bin),
    Target("bs1", _bs1, lambda path: events.read_bs1(path.read_bytes(), "file")),
    Target("nmnist_zip", _nmnist_zip, _as_file("Test.zip", _read_nmnist), exact=True),
    Target("mat", _mat, lambda path: stmnist.read_mat(path.read_bytes(), "file")),
    Target("png", _png, lambda path: omniglot.read_png(path.read_bytes(), "file")),
    Target("omniglot_zip", _omniglot_zip, _as_file("images_background.zip", _read_omniglot), exact=True),
    Target("babi", _babi, lambda path: babi.parse(path.read_bytes(), "file")),
    Target("babi_tar", _babi_tar, _as_file("file.tar", lambda here: babi.load(1, here=here))),
    Target("babi_tar_gz", _babi_tar_gz, _as_file("file.tar.gz", lambda here: babi.load(1, here=here)), exact=True),
    Target("npz", _npz, _read_npz, exact=True),
]
