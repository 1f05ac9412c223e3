"""Safe reader of `torch.save` archives of tensors, numbers, strings, None and containers of them.

    archive = uncompressed zip:  NAME/data.pkl, NAME/data/0, NAME/data/1, ..., NAME/byteorder
    data.pkl = pickle of protocol 2, in which a tensor is a call of a rebuild function with the name of its storage

A forged file may declare anything: a storage larger than its content, sizes beyond the storage, functions to call, 10^9
memo entries. `torch.load` trusts some of it, so everything is checked here before memory is allocated: opcodes and
names are from allowlists, storages are as large as their members, sizes are within their storages.
"""

import collections
import io
import math
import pickle
import pickletools
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

OPERATIONS = {
    "PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BINPERSID", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "NONE",
    "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "EMPTY_DICT",
    "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS", "SETITEM", "SETITEMS",
}  # fmt: skip
"""Pickle opcodes of plain data in protocol 2; none of them allocates more memory than the file has."""
STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "ComplexDoubleStorage": torch.complex128, "ComplexFloatStorage": torch.complex64, "UntypedStorage": torch.uint8,
}  # fmt: skip
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}
Storage = tuple[torch.dtype, bytearray]


class ArchiveError(ValueError):
    """Bytes are not an archive of plain data; the message is part of a sentence."""


def read(data: bytes) -> Any:
    """Decode an archive; tensors are on the CPU.

    Raises:
        ArchiveError: the data are not an archive of `torch.save`, or hold or declare anything else.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as members:
            contents = _Reader(members, _check(members, len(data))).load()
    except ArchiveError:
        raise
    except _WRONG as error:
        raise ArchiveError(" ".join(str(error).split()).rstrip(".") or type(error).__name__) from error
    for count, _ in enumerate(_inside(contents)):
        if count > len(data):
            raise ArchiveError("it holds the same thing too often")
    return contents


_WRONG = (
    pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, struct.error, ValueError, TypeError, AttributeError,
    LookupError, EOFError, OverflowError, NotImplementedError, RuntimeError, MemoryError,
)  # fmt: skip
"""Errors that zipfile, pickle and torch raise for invalid content."""


def _check(members: zipfile.ZipFile, size: int) -> str:
    """Check the members of the archive and return its name."""
    listed = members.infolist()
    if len({member.filename for member in listed}) != len(listed):
        raise ArchiveError("two of its members have one name")
    if any(member.compress_type != zipfile.ZIP_STORED for member in listed):
        raise ArchiveError("it is compressed")
    if sum(member.file_size for member in listed) > size:
        raise ArchiveError("its members announce more than it holds")
    names = [member.filename.removesuffix("/data.pkl") for member in listed if member.filename.endswith("/data.pkl")]
    if len(names) != 1:
        raise ArchiveError("it has no data.pkl")
    order = f"{names[0]}/byteorder"
    if order in members.NameToInfo and members.read(order).decode() != sys.byteorder:
        raise ArchiveError(f"its numbers are not {sys.byteorder}-endian")
    return names[0]


class _Reader(pickle.Unpickler):
    """Unpickler of data.pkl that allows plain data only."""

    def __init__(self, members: zipfile.ZipFile, name: str) -> None:
        self.members, self.name = members, name
        program = members.read(f"{name}/data.pkl")
        for operation, argument, _ in pickletools.genops(program):
            if operation.name not in OPERATIONS:
                raise ArchiveError(f"its pickle has the operation {operation.name}")
            if operation.name == "LONG_BINPUT" and int(argument or 0) > len(program):
                raise ArchiveError("its pickle names more things than it has")
        super().__init__(io.BytesIO(program))
        self.storages = dict[str, Storage]()

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the few allowed globals."""
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_tensor_v3"): _tensor_of_bytes,
            ("collections", "OrderedDict"): collections.OrderedDict,
        }
        if (module, name) in known:
            return known[module, name]
        if module in ("torch", "torch.storage") and name in STORAGES:
            return STORAGES[name]
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise ArchiveError(f"it names {module}.{name}")

    def persistent_load(self, pid: Any) -> Storage:
        """Return the content of a storage, whose declared size must match its member."""
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise ArchiveError("one of its storages is none")
        if key not in self.storages:
            self.storages[key] = dtype, bytearray(self.members.read(f"{self.name}/data/{key}"))
        _, content = self.storages[key]
        if type(count) is not int or count * dtype.itemsize != len(content):
            raise ArchiveError(f"storage {key} announces {count} numbers but has {len(content):,} bytes")
        return dtype, content


def _tensor(storage: Storage, offset: int, size: Sequence[int], strides: Sequence[int], *_: Any) -> Tensor:
    """Build a tensor with its own memory; has the signature of `_rebuild_tensor_v2`."""
    return _build(*storage, offset, size, strides)


def _tensor_of_bytes(
    storage: Storage, offset: int, size: Sequence[int], strides: Sequence[int], _grad: Any, _hooks: Any, dtype: Any,
    *_: Any,
) -> Tensor:  # fmt: skip
    """Build a tensor of a dtype without a storage class; has the signature of `_rebuild_tensor_v3`."""
    if not isinstance(dtype, torch.dtype):
        raise ArchiveError("a tensor has no type")
    return _build(dtype, storage[1], offset, size, strides)


def _build(dtype: torch.dtype, content: bytearray, offset: Any, size: Any, strides: Any) -> Tensor:
    layout = [offset, *size, *strides]
    if any(type(number) is not int or number < 0 for number in layout) or len(size) != len(strides):
        raise ArchiveError("a tensor has a shape that is none")
    numbers, here = len(content) // dtype.itemsize, math.prod(size)
    last = offset + sum((length - 1) * stride for length, stride in zip(size, strides, strict=True)) if here else 0
    if here > numbers or last >= max(numbers, 1) or (here and not numbers):
        raise ArchiveError(f"a tensor {list(size)} lies beyond its storage of {numbers:,} numbers")
    if not here:
        return torch.empty(tuple(size), dtype=dtype)
    return torch.frombuffer(content, dtype=dtype).as_strided(size, strides, offset).clone()


def _inside(contents: Any) -> Iterator[Any]:
    """Yield all items of nested containers."""
    waiting = [contents]
    while waiting:
        one = waiting.pop()
        yield one
        if isinstance(one, dict):
            waiting.extend(one.keys())
            waiting.extend(one.values())
        elif isinstance(one, list | tuple):
            waiting.extend(one)


__all__ = ["ArchiveError", "read"]
