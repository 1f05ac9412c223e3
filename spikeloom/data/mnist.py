"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28 x 28 bytes each, in IDX files.

    IDX: big-endian; magic 0x00000803 (images: count, rows, columns) or 0x00000801 (labels: count), then unsigned bytes

Files may be gzip-compressed or plain, under these names or as t10k-images.idx3-ubyte, in the folder of the data set or
in MNIST/raw, as torchvision stores them. A copy with fewer items is accepted; `describe` gives their number.
Source: LeCun, Bottou, Bengio, Haffner, Gradient-based learning applied to document recognition, Proc. IEEE, 1998.
"""

import gzip
import io
import math
import zlib
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..arguments import explained
from ..errors import ConfigError, DataError
from .fetch import About, DataFile, Description, locate, read_bytes
from .fetch import describe as describe_file

Split = Literal["train", "test"]

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
MAX_ITEMS = 1_000_000
"""Maximum number of items, more than in any published set of this format; protects against forged headers."""


LARGEST = 1 << 30
"""Maximum size of a file in bytes after decompression; EMNIST, the largest set of this format, has 640 million."""
DEFLATE = 1032
"""Maximum compression factor of DEFLATE."""
FOLDERS = ("", "raw/", "MNIST/raw/", "../MNIST/raw/")
"""Places of the files, relative to the folder of the data set; all but the first are those of torchvision."""


def _file(name: str, md5: str, sha256: str, count: int, what: str) -> DataFile:
    """Return a file, also accepted under its other common name: t10k-images.idx3-ubyte."""
    plain = name.removesuffix(".gz")
    names = (name, plain, plain.replace("-idx", ".idx") + ".gz", plain.replace("-idx", ".idx"), f"{plain}/{plain}")
    forms = tuple(place + form for place in FOLDERS for form in names)
    return DataFile(name, md5, tuple(mirror + name for mirror in MIRRORS), count, what, forms, (sha256,))


# The SHA-256 are those of TensorFlow Datasets.
FILES = (
    _file(
        "train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 60_000, "training images",
    ),
    _file(
        "train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 60_000, "training labels",
    ),
    _file(
        "t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 10_000, "test images",
    ),
    _file(
        "t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 10_000, "test labels",
    ),
)  # fmt: skip
ABOUT = About(
    "handwritten digits, 60,000 training and 10,000 test images",
    "CC BY-SA 3.0 (Keras documentation)",
    "http://yann.lecun.com/exdb/mnist/",
)


class Digits(NamedTuple):
    """Images and labels."""

    images: Tensor  # uint8 [N, 28, 28]
    labels: Tensor  # int64 [N], 0 to 9


@explained
def load(split: Split) -> Digits:
    """Load all images and labels of a split, in file order. Reads only the files of that split.

    Shapes: images uint8 [N, 28, 28], labels int64 [N].

    Raises:
        DataError: a file is missing or damaged, or images and labels do not match.
    """
    images, labels = (locate("mnist", file) for file in _files(split))
    return read(images, labels)


@explained
def describe(split: Split) -> list[Description]:
    """Describe the two files of a split: names, hashes, counts, difference from the official ones."""
    paths = [(file, locate("mnist", file)) for file in _files(split)]
    return [describe_file(path, len(read_idx(path)), file) for file, path in paths]


@explained
def read(images: Path | str, labels: Path | str) -> Digits:
    """Read images and labels from two IDX files.

    Raises:
        DataError: a file is damaged, the images are not 28 x 28, a label is above 9, or the counts differ.
    """
    images, labels = Path(images), Path(labels)
    pixels, digits = read_idx(images), read_idx(labels)
    if pixels.shape[1:] != (28, 28):
        raise DataError(
            f"{images} holds items of shape {list(pixels.shape[1:])}, but MNIST images are [28, 28]. "
            "Put the original file in its place."
        )
    if digits.ndim != 1:
        raise DataError(f"{labels} holds images where labels were expected. Put the original file in its place.")
    if len(pixels) != len(digits):
        raise DataError(
            f"{images} holds {len(pixels):,} images but {labels.name} {len(digits):,} labels. "
            "Take both from one source."
        )
    if len(digits) and digits.max() > 9:
        raise DataError(f"{labels} holds the label {digits.max()}, but digits are 0 to 9. Download the file again.")
    return Digits(torch.from_numpy(pixels), torch.from_numpy(digits.astype(np.int64)))


@explained
def read_idx(path: Path | str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Read the unsigned bytes of an IDX file with one or three dimensions, gzip-compressed or plain.

    Raises:
        DataError: wrong magic number, damaged compression, file too short or too long, or an absurd size.
    """
    path = Path(path)
    content = read_bytes(path)
    plain = io.BytesIO(content)
    stream = gzip.GzipFile(fileobj=plain) if content[:2] == b"\x1f\x8b" else plain
    try:
        magic = stream.read(4)
        if magic[:3] != b"\x00\x00\x08" or magic[3:] not in (b"\x01", b"\x03"):
            raise DataError(
                f"{path} starts with {magic.hex() or 'nothing'}, but IDX labels start with 00000801 and images with "
                "00000803. Download the file again."
            )
        dimensions = magic[3]
        header = stream.read(4 * dimensions)
        shape = tuple(int(size) for size in np.frombuffer(header[: len(header) // 4 * 4], ">u4"))
        if shape and (shape[0] > MAX_ITEMS or max(shape[1:], default=0) > 1000):
            raise DataError(f"{path} announces items of shape {list(shape)}, which is absurd. Download the file again.")
        size = math.prod(shape) if len(shape) == dimensions else 0
        if size > min(LARGEST, DEFLATE * len(content)):
            raise DataError(
                f"{path} announces {list(shape)} items, which its {len(content):,} bytes cannot hold. "
                "Download the file again."
            )
        data = stream.read(size + 1)  # one byte more: verifies the gzip checksum and detects trailing bytes
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is a damaged gzip file ({error}). Download the file again.") from error
    if len(shape) < dimensions or len(data) < size:
        raise DataError(
            f"{path} is cut short: it announces {list(shape)} items but holds {len(data):,} bytes. Download it again."
        )
    if len(data) > size:
        raise DataError(f"{path} goes on after the {size:,} bytes it announces. Download the file again.")
    return np.frombuffer(bytearray(data), np.uint8).reshape(shape)


def _files(split: Split) -> tuple[DataFile, DataFile]:
    if split not in ("train", "test"):
        raise ConfigError(f'There is no split {split!r} of MNIST. Choose "train" or "test".')
    return (FILES[0], FILES[1]) if split == "train" else (FILES[2], FILES[3])
