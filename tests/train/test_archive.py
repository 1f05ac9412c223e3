"""Archives of torch.save that announce what they do not hold, or ask for calls."""

import collections
import io
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
import torch

from spikeloom.train import archive
from spikeloom.train.archive import ArchiveError

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool, torch.complex64, torch.complex128, torch.uint16, torch.uint32,
)  # fmt: skip


def saved(contents: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(contents, buffer)
    return buffer.getvalue()


def repacked(data: bytes, change: Callable[[dict[str, bytes]], Any], method: int = zipfile.ZIP_STORED) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as members:
        inside = {name: members.read(name) for name in members.namelist()}
    change(inside)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as changed:
        for name, content in inside.items():
            changed.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_of_every_type_come_back(dtype: torch.dtype) -> None:
    tensor = torch.arange(6).view(2, 3).to(dtype)
    contents = {"a": tensor, "t": tensor.T, "part": tensor[1], "none": tensor[:0], "one": tensor[0, 1]}
    found = archive.read(saved(contents))
    for name, value in contents.items():
        assert torch.equal(found[name], value)
        assert found[name].dtype == dtype


def test_plain_values_come_back() -> None:
    contents = {"n": [1, -5, 2**40, 2**70, 1.5, None, True], "t": ((), ("ä" * 300,)), 3: collections.OrderedDict(a=1)}
    assert archive.read(saved(contents)) == contents


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this must never be printed",)


def program(code: bytes) -> bytes:
    return repacked(saved([1]), lambda inside: inside.update({"archive/data.pkl": code}))


def storage(count: int, size: str = "(K\x02K\x02t", strides: str = "(K\x02K\x01t") -> bytes:
    """An archive of one tensor of 4 numbers whose pickle says something else."""
    start = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    start += b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ" + count.to_bytes(4, "little") + b"tQK\x00"
    code = start + size.encode("latin-1") + strides.encode("latin-1") + b"\x89ccollections\nOrderedDict\n)RtR."
    return repacked(saved(torch.ones(2, 2)), lambda inside: inside.update({"archive/data.pkl": code}))


NESTED: Any = 0
for _ in range(60):
    NESTED = (NESTED, NESTED)

WRONG: dict[str, tuple[Callable[[], bytes], str]] = {
    "a call": (lambda: saved(Evil()), "it names __builtin__.print"),
    "a module": (lambda: saved(torch.nn.Linear(1, 1)), "its pickle has the operation NEWOBJ|it names torch.nn"),
    "a parameter": (lambda: saved(torch.nn.Parameter(torch.ones(1))), "it names torch._utils._rebuild_parameter"),
    "a sparse tensor": (lambda: saved(torch.ones(2, 2).to_sparse()), "it names torch._utils._rebuild_sparse_tensor"),
    "text": (lambda: b"PK" * 50, "File is not a zip file"),
    "compressed": (lambda: repacked(saved([1]), lambda _: None, zipfile.ZIP_DEFLATED), "it is compressed"),
    "no program": (lambda: repacked(saved([1]), lambda inside: inside.pop("archive/data.pkl")), "it has no data.pkl"),
    "two programs": (lambda: repacked(saved([1]), lambda inside: inside.update({"b/data.pkl": b"."})), "no data.pkl"),
    "no storage": (lambda: repacked(saved(torch.ones(1)), lambda inside: inside.pop("archive/data/0")), "no item"),
    "other bytes": (
        lambda: repacked(saved([1]), lambda inside: inside.update({"archive/byteorder": b"big"})), "not little-endian",
    ),
    "a large array": (lambda: program(b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b"."), "bytearray8"),
    "a large memo": (lambda: program(b"\x80\x02K\x01r\xff\xff\xff\x7f."), "its pickle names more things than it has"),
    "a dangling name": (lambda: program(b"\x80\x02h\x07."), "Memo value not found|7"),
    "nothing": (lambda: program(b""), "pickle exhausted|no data|end"),
    "a large storage": (lambda: storage(2**31 - 1), "storage 0 announces 2147483647 numbers but has 16 bytes"),
    "a small storage": (lambda: storage(3), "storage 0 announces 3 numbers but has 16 bytes"),
    "beyond": (lambda: storage(4, "(K\x02K\x05t"), r"a tensor \[2, 5\] lies beyond its storage of 4 numbers"),
    "strides": (lambda: storage(4, strides="(K\x04K\x01t"), "lies beyond its storage"),
    "expanded": (lambda: storage(4, "(J\x00\x00\x00\x7fK\x02t", "(K\x00K\x01t"), "lies beyond its storage"),
    "negative": (lambda: storage(4, "(J\xff\xff\xff\xffK\x02t"), "a tensor has a shape that is none"),
    "other dimensions": (lambda: storage(4, "(K\x04t"), "a tensor has a shape that is none"),
    "the same too often": (lambda: saved(NESTED), "it holds the same thing too often"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_plain_data_is_refused(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    make, why = WRONG[kind]
    with pytest.raises(ArchiveError, match=why):
        archive.read(make())
    assert capsys.readouterr().out == ""


def test_doubled_members_are_refused() -> None:
    out = io.BytesIO(saved([1]))
    with zipfile.ZipFile(out, "a") as members, pytest.warns(UserWarning, match="Duplicate name"):
        members.writestr("archive/data.pkl", pickle.dumps(2, 2))
    with pytest.raises(ArchiveError, match="two of its members have one name"):
        archive.read(out.getvalue())
