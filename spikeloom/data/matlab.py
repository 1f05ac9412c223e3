"""Reader of one numeric matrix in a MATLAB 5 file; safe for damaged files, some of which crash SciPy's reader.

    file       header (128 bytes: text, version, byte order), then elements
    element    type and size (8 bytes, or 4 where the content has at most 4), content, zeros up to 8 bytes
    matrix     an element of elements: class and flags, dimensions, name, numbers in column-major order
    packed     an element that holds another one, compressed with zlib, without padding

Source: MathWorks, MAT-File Format, level 5.
"""

import struct
import zlib
from collections.abc import Iterator
from math import prod

import numpy as np

from ..arguments import explained
from ..errors import DataError
from .spike_trains import Array

NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
TEXT, INTEGERS, WORDS, MATRIX, PACKED = 1, 5, 6, 14, 15
NUMERIC = range(6, 16)
"""Matrix classes that hold numbers: double, single, and integers."""
COMPLEX = 0x800
HEADER = 128


class _DamageError(Exception):
    """Bytes are not such a file; the message says why."""


@explained
def read_matrix(data: bytes, variable: str, name: str, advice: str, largest: int) -> Array:
    """Return the matrix of a given name in its stored type.

    Args:
        name: name of the file for error messages.
        advice: last sentence of every error message.
        largest: maximum size in bytes after decompression.

    Raises:
        DataError: the file is damaged, or holds no real numeric matrix of this name.
    """
    try:
        order = _order(data)
        names = []
        for content in _matrices(data, order, largest):
            called, matrix = _matrix(content, order, variable)
            if matrix is not None:
                return matrix
            names.append(called)
    except (_DamageError, zlib.error, struct.error) as error:
        raise DataError(f"{name} cannot be read as a MATLAB 5 file ({error}). {advice}") from error
    raise DataError(f"{name} holds {names or 'no variable'}, but {variable} was expected. {advice}")


def _order(data: bytes) -> str:
    other = _other_version(data)
    if other:
        raise _DamageError(f"it is {other}: save with -v7 in MATLAB, or -v6")
    if len(data) <= HEADER:
        raise _DamageError(f"it has {len(data)} bytes")
    order = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}.get(data[HEADER - 4 : HEADER])
    if order is None:
        raise _DamageError(f"its header ends in {data[HEADER - 4 : HEADER].hex()} instead of 0001494d")
    return order


def _other_version(data: bytes) -> str:
    """Return the MATLAB or Octave format of a file, or "" if it may be level 5."""
    if data[:8] == b"\x89HDF\r\n\x1a\n" or data[HEADER - 4 : HEADER] in (b"\x00\x02IM", b"\x02\x00MI"):
        return "saved as version 7.3 (HDF5)"
    if data[:10] in (b"# Created ", b"Octave-1-L", b"Octave-1-B"):
        return "a file of Octave"
    for order in "<>" if len(data) >= 20 else "":  # header: type, rows, columns, complex or not, length of the name
        kind, rows, columns, imaginary, name = struct.unpack(f"{order}5i", data[:20])
        numbers = kind // 1000 in range(5) and kind // 100 % 10 == 0 and kind // 10 % 10 <= 5 and kind % 10 <= 2
        if numbers and rows >= 0 and columns >= 0 and imaginary in (0, 1) and 1 < name <= 64:
            return "saved as version 4"
    return ""


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield the type and content of consecutive elements."""
    place = 0
    while place < len(data):
        if len(data) - place < 8:
            raise _DamageError("it is cut short")
        kind, size = struct.unpack_from(f"{order}II", data, place)
        start = place + 8
        if kind >> 16:
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
            if size > 4:
                raise _DamageError(f"a short element has {size} bytes")
        if size > len(data) - start:
            raise _DamageError("it is cut short")
        yield kind, data[start : start + size]
        place = start + size + (0 if kind == PACKED else -(start + size - place) % 8)


def _matrices(data: bytes, order: str, largest: int) -> Iterator[memoryview]:
    for kind, content in _elements(memoryview(data)[HEADER:], order):
        if kind != PACKED:
            inner = [(kind, content)]
        else:
            unpacking = zlib.decompressobj()
            plain = unpacking.decompress(content, largest + 4096)
            if not unpacking.eof:
                raise _DamageError(f"it is cut short, or unpacks to more than {largest:,} bytes")
            inner = list(_elements(memoryview(plain), order))
        for kind_inside, matrix in inner:
            if kind_inside != MATRIX:
                raise _DamageError(f"it has an element of type {kind_inside} where a matrix was expected")
            yield matrix


def _matrix(content: memoryview, order: str, variable: str) -> tuple[str, Array | None]:
    """Return the name of a matrix, and the matrix itself if its name is `variable`."""
    parts = _elements(content, order)
    head = [item for _, item in zip(range(3), parts, strict=False)]
    if [kind for kind, _ in head] != [WORDS, INTEGERS, TEXT] or len(head[0][1]) != 8 or len(head[1][1]) % 4:
        raise _DamageError("a matrix does not begin with its class, shape and name")
    called = bytes(head[2][1]).decode("latin1")
    if called != variable:
        return called, None
    flags = struct.unpack_from(f"{order}I", head[0][1])[0]
    shape = [int(size) for size in np.frombuffer(head[1][1], f"{order}i4")]
    if flags & 0xFF not in NUMERIC or flags & COMPLEX:
        raise _DamageError(f"{variable} has the class {flags & 0xFF}, flags {flags >> 8}, and is no matrix of numbers")
    kind, numbers = next(parts, (0, memoryview(b"")))
    if kind not in NUMBERS:
        raise _DamageError(f"{variable} is stored in the type {kind}, which is no number")
    dtype = np.dtype(order + NUMBERS[kind])
    if min(shape, default=-1) < 0 or prod(shape) * dtype.itemsize != len(numbers):
        raise _DamageError(f"{variable} of shape {shape} has {len(numbers):,} bytes of {dtype.itemsize}-byte numbers")
    return called, np.frombuffer(numbers, dtype).reshape(shape, order="F")
