"""The IDX reader: whole files, and every way a file can be wrong."""

import gzip
import os
import struct
from pathlib import Path

import pytest
import torch

from spikeloom.data import mnist
from spikeloom.errors import DataError


def images(count: int, side: int = 28, magic: int = 0x803) -> bytes:
    pixels = bytes(i % 256 for i in range(count * side * side))
    return struct.pack(">IIII", magic, count, side, side) + pixels


def labels(*digits: int) -> bytes:
    return struct.pack(">II", 0x801, len(digits)) + bytes(digits)


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    return tmp_path / "mnist"


def test_a_pair_of_files_is_read_in_order(home: Path) -> None:
    put(home, "train-images-idx3-ubyte.gz", gzip.compress(images(3)))
    put(home, "train-labels-idx1-ubyte", labels(7, 0, 9))  # plain, without .gz
    digits = mnist.load("train")
    assert digits.images.shape == (3, 28, 28)
    assert digits.images.dtype == torch.uint8
    assert digits.images.flatten()[:300].tolist() == [i % 256 for i in range(300)]
    assert digits.labels.tolist() == [7, 0, 9]
    assert digits.labels.dtype == torch.int64


def test_compression_is_seen_in_the_bytes_not_in_the_name(tmp_path: Path) -> None:
    assert len(mnist.read_idx(put(tmp_path, "plain.gz", images(2)))) == 2
    assert len(mnist.read_idx(put(tmp_path, "packed", gzip.compress(images(2))))) == 2


def test_a_file_placed_by_hand_is_described(home: Path) -> None:
    put(home, "t10k-images-idx3-ubyte.gz", images(4))
    put(home, "t10k-labels-idx1-ubyte.gz", labels(1, 2, 3, 4))
    pictures, digits = mnist.describe("test")
    assert pictures["file"] == "t10k-images-idx3-ubyte.gz"
    assert (pictures["count"], pictures["official_count"]) == (4, 10_000)
    assert pictures["note"] == "4 of the 10,000 official test images"
    assert digits["note"] == "4 of the 10,000 official test labels"
    assert len(digits["sha256"]) == 64


def test_a_missing_file_is_named_with_its_address_checksum_and_folder(home: Path) -> None:
    with pytest.raises(
        DataError, match=r"train-images-idx3-ubyte.gz is missing in .*mnist. Run `spikeloom data fetch"
    ) as error:
        mnist.load("train")
    for part in (
        str(home),
        "https://ossci-datasets",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ):
        assert part in str(error.value)


packed = gzip.compress(images(2))
broken = {
    "wrong magic": (images(2, magic=0x802), "starts with 00000802, but IDX labels start with 00000801"),
    "empty": (b"", "starts with nothing"),
    "header cut": (images(2)[:9], "is cut short"),
    "data cut": (images(2)[:-1], r"cut short: it announces \[2, 28, 28\] items but holds 1,567 bytes"),
    "trailing byte": (images(2) + b"\0", "goes on after the 1,568 bytes it announces"),
    "trailing byte inside gzip": (gzip.compress(images(2) + b"\0"), "goes on after the 1,568 bytes"),
    "trailing byte behind gzip": (packed + b"x", "is a damaged gzip file"),
    "gzip cut": (packed[:-10], "is a damaged gzip file"),
    "gzip checksum": (packed[:-8] + bytes(4) + packed[-4:], "is a damaged gzip file"),
    "gzip body": (packed[:20] + bytes(8) + packed[28:], "is a damaged gzip file"),
    "absurd count": (struct.pack(">IIII", 0x803, 2**31, 28, 28), "which is absurd"),
    "absurd side": (struct.pack(">IIII", 0x803, 1, 2**20, 28), "which is absurd"),
}


@pytest.mark.parametrize("name", broken)
def test_a_damaged_file_is_refused(name: str, tmp_path: Path) -> None:
    content, message = broken[name]
    with pytest.raises(DataError, match=message):
        mnist.read_idx(put(tmp_path, "file", content))


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read: it is a folder"):
        mnist.read_idx(tmp_path)


pairs = {
    "counts": (images(2), labels(1, 2, 3), "holds 2 images but labels 3 labels. Take both from one source"),
    "label out of range": (images(2), labels(1, 10), "holds the label 10, but digits are 0 to 9"),
    "other size": (
        images(2, side=14),
        labels(1, 2),
        r"holds items of shape \[14, 14\], but MNIST images are \[28, 28\]",
    ),
    "labels for images": (labels(1, 2), labels(1, 2), r"holds items of shape \[\]"),
    "images for labels": (images(2), images(2), "holds images where labels were expected"),
}


@pytest.mark.parametrize("name", pairs)
def test_images_and_labels_that_do_not_belong_together_are_refused(name: str, tmp_path: Path) -> None:
    pictures, digits, message = pairs[name]
    with pytest.raises(DataError, match=message):
        mnist.read(put(tmp_path, "images", pictures), put(tmp_path, "labels", digits))


def official() -> str | None:
    """Why the real files cannot be read here."""
    folder = Path(os.environ.get("SPIKELOOM_DATA", "/nonexistent")) / "mnist"
    missing = [file.name for file in mnist.FILES if not (folder / file.name).is_file()]
    return f"not in $SPIKELOOM_DATA/mnist: {', '.join(missing)}" if missing else None


@pytest.mark.skipif(official() is not None, reason=str(official()))
def test_the_real_training_set_has_its_published_counts() -> None:
    digits = mnist.load("train")
    assert digits.images.shape == (60_000, 28, 28)
    assert torch.bincount(digits.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert [entry["count"] for entry in mnist.describe("train")] == [60_000, 60_000]


@pytest.mark.skipif(official() is not None, reason=str(official()))
def test_the_real_test_images_and_labels_belong_together() -> None:
    digits = mnist.load("test")
    assert len(digits.images) == len(digits.labels) == mnist.describe("test")[0]["count"] <= 10_000
    assert set(digits.labels.tolist()) == set(range(10))


@pytest.mark.parametrize(
    "form",
    [
        "mnist/t10k-{}-idx{}-ubyte", "mnist/t10k-{}.idx{}-ubyte", "mnist/t10k-{}.idx{}-ubyte.gz",
        "mnist/t10k-{0}-idx{1}-ubyte/t10k-{0}-idx{1}-ubyte", "mnist/raw/t10k-{}-idx{}-ubyte",
        "mnist/MNIST/raw/t10k-{}-idx{}-ubyte.gz", "MNIST/raw/t10k-{}-idx{}-ubyte", "MNIST/raw/t10k-{}-idx{}-ubyte.gz",
    ],
)  # fmt: skip
def test_other_common_names_and_the_folders_of_torchvision_are_found(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path))  # without a folder `mnist`, if the form has none
    for what, dimensions, content in (("images", 3, images(2)), ("labels", 1, labels(7, 1))):
        path = tmp_path / form.format(what, dimensions)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    assert mnist.load("test").labels.tolist() == [7, 1]
    assert mnist.describe("test")[0]["count"] == 2
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz is missing in .*mnist"):
        mnist.load("train")


def test_paths_may_be_words(tmp_path: Path) -> None:
    paths = put(tmp_path, "a", images(2)), put(tmp_path, "b", labels(3, 4))
    assert mnist.read(*map(str, paths)).labels.tolist() == [3, 4]
    assert len(mnist.read_idx(str(paths[0]))) == 2


@pytest.mark.parametrize("shape", [(1_000_000, 1000, 1000), (60_000, 28, 28), (1_000_000,)])
@pytest.mark.parametrize("packed", [True, False])
def test_a_file_that_cannot_hold_what_it_announces_is_refused_before_room_is_made(
    shape: tuple[int, ...], packed: bool, tmp_path: Path
) -> None:
    head = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    path = put(tmp_path, "file", gzip.compress(head) if packed else head)
    with pytest.raises(
        DataError, match=rf"announces \[{shape[0]}.*\] items, which its \d+ bytes cannot hold|is cut short"
    ):
        mnist.read_idx(path)
