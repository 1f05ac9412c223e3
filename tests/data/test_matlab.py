"""MATLAB files: what SciPy writes is read, and no bytes are too strange."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.io import savemat

from spikeloom.data.matlab import read_matrix
from spikeloom.data.spike_trains import Array
from spikeloom.errors import DataError


def by_scipy(compress: bool = False, **variables: Array) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, variables, do_compression=compress)
    return buffer.getvalue()


def read(data: bytes, largest: int = 10_000) -> Array:
    return read_matrix(data, "wanted", "a.mat", "Get another.", largest)


@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (2, 0), (2, 3, 2)])
def test_what_scipy_writes_is_read(dtype: str, compress: bool, shape: tuple[int, ...]) -> None:
    matrix = (10 * np.random.default_rng(0).random(shape)).astype(dtype)
    data = by_scipy(compress, other=np.ones((2, 2)), wanted=matrix, last=np.zeros((1, 1)))
    assert np.array_equal(read(data), matrix)


def test_a_big_endian_file_is_read() -> None:
    def element(kind: int, content: bytes) -> bytes:
        return struct.pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)

    parts = [
        (6, struct.pack(">II", 6, 0)),
        (5, struct.pack(">ii", 2, 1)),
        (1, b"wanted"),
        (9, struct.pack(">dd", 3, 4)),
    ]
    data = bytes(124) + b"\x01\x00MI" + element(14, b"".join(element(*part) for part in parts))
    assert read(data).tolist() == [[3.0], [4.0]]


plain, packed = by_scipy(wanted=np.eye(3)), by_scipy(True, wanted=np.eye(3))
refused = {
    "empty": (b"", r"cannot be read as a MATLAB 5 file \(it has 0 bytes\). Get another"),
    "header": (bytes(200), r"its header ends in 00000000 instead of 0001494d"),
    "cut": (plain[:-1], r"it is cut short"),
    "cut in a tag": (plain[:131], r"it is cut short"),
    "cut in the packed": (packed[:-9], r"it is cut short"),
    "packed body": (packed[:140] + bytes(len(packed) - 140), r"cannot be read as a MATLAB 5 file \(Error -"),
    "bomb": (by_scipy(True, wanted=np.zeros((200, 200))), r"or unpacks to more than 10,000 bytes"),
    "text": (by_scipy(wanted=np.array("hello")), r"wanted has the class 4, flags 0, and is no matrix of numbers"),
    "complex": (by_scipy(wanted=1j * np.eye(2)), r"wanted has the class 6, flags 8, and is no matrix of numbers"),
    "no matrix": (plain[:128] + struct.pack("<II", 9, 8) + bytes(8), r"element of type 9 where a matrix was expected"),
    "empty matrix": (plain[:128] + struct.pack("<II", 14, 0), r"does not begin with its class, shape and name"),
    "other name": (by_scipy(other=np.eye(3)), r"a.mat holds \['other'\], but wanted was expected. Get another"),
    "other shape": (plain.replace(struct.pack("<ii", 3, 3), struct.pack("<ii", 3, 4)), r"shape \[3, 4\] has 72 bytes"),
    "negative": (plain.replace(struct.pack("<ii", 3, 3), struct.pack("<ii", -3, -3)), r"shape \[-3, -3\] has 72"),
    "type": (plain.replace(struct.pack("<II", 9, 72), struct.pack("<II", 16, 72)), r"stored in the type 16, which"),
    "long short": (plain[:128] + struct.pack("<HHI", 9, 5, 0), r"a short element has 5 bytes"),
    "nothing": (packed[:128] + struct.pack("<II", 15, 8) + zlib.compress(b""), r"a.mat holds no variable, but wanted"),
}


@pytest.mark.parametrize("name", refused)
def test_other_bytes_are_refused(name: str) -> None:
    data, message = refused[name]
    with pytest.raises(DataError, match=message) as error:
        read(data)
    assert "a.mat" in str(error.value)


@given(
    data=some.sampled_from([plain, packed]),
    changes=some.lists(some.tuples(some.integers(128, 400), some.integers(0, 255)), min_size=1, max_size=4),
    end=some.integers(128, 500),
)
@settings(deadline=None, max_examples=400)
def test_damaged_bytes_are_read_or_refused(data: bytes, changes: list[tuple[int, int]], end: int) -> None:
    damaged = bytearray(data)
    for place, value in changes:
        damaged[min(place, len(data) - 1)] = value
    try:
        found = read(bytes(damaged[:end]))
    except DataError:
        return
    assert found.dtype.kind in "iuf"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(500), r"saved as version 7.3 \(HDF5\)"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x02\x00MI" + bytes(500), r"saved as version 7.3 \(HDF5\)"),
        (b"\x89HDF\r\n\x1a\n" + bytes(500), r"saved as version 7.3 \(HDF5\)"),
        (struct.pack("<5i", 0, 2, 2, 0, 2) + b"a\0" + bytes(200), "saved as version 4"),
        (struct.pack(">5i", 1000, 2, 2, 0, 2) + b"a\0" + bytes(200), "saved as version 4"),
        (struct.pack("<5i", 50, 2, 2, 0, 2) + b"a\0" + bytes(4), "saved as version 4"),
        (b"# Created by Octave 8.4.0\n# name: a\n" + bytes(200), "a file of Octave"),
        (b"Octave-1-L" + bytes(200), "a file of Octave"),
    ],
)
def test_other_versions_are_named_with_what_to_do(data: bytes, found: str) -> None:
    with pytest.raises(DataError, match=rf"x.mat cannot be read as a MATLAB 5 file \(it is {found}: save with -v7"):
        read_matrix(data, "a", "x.mat", "Get it.", 1000)
