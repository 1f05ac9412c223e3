import collections
import io
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from spikeloom.errors import CheckpointError
from spikeloom.train import checkpoint, files
from spikeloom.train.checkpoint import Carry


class Moving(NamedTuple):
    voltage: torch.Tensor
    inner: tuple[Any, ...]


def contents() -> dict[str, Any]:
    shared = torch.arange(6.0)
    return {"update": 3, "parts": {"model": {"w": shared, "same": shared, "view": shared[::2]}}, "names": ["a", None]}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "last.pt", contents())
    loaded = checkpoint.load(tmp_path / "last.pt")
    assert loaded["update"] == 3
    assert loaded["names"] == ["a", None]
    assert torch.equal(loaded["parts"]["model"]["view"], torch.tensor([0.0, 2.0, 4.0]))


def test_torch_load_reads_the_file_as_it_is(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "last.pt", contents())
    loaded = torch.load(tmp_path / "last.pt", weights_only=True)
    assert torch.equal(loaded["parts"]["model"]["w"], torch.arange(6.0))


def test_equal_contents_give_equal_bytes_whatever_they_share() -> None:
    first = checkpoint.seal({"a": "value", "b": "value", "t": torch.ones(2), "pair": (1, (2,))})
    apart = b"value".decode()  # equal, another object
    second = checkpoint.seal({b"a".decode(): apart, "b": "value", "t": torch.ones(2).clone(), "pair": (1, (2,))})
    assert first == second
    assert first == checkpoint.seal(torch.load(io.BytesIO(first), weights_only=True))


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, contents())
    sound = path.read_bytes()
    for position in [*range(0, len(sound), 37), *range(len(sound) - 90, len(sound))]:
        damaged = bytearray(sound)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"damaged: its SHA-256|seal is missing"):
            checkpoint.load(path)


@pytest.mark.parametrize("kept", [0, 1, 100, -1, -64, -81, -82])
def test_a_truncated_file_is_noticed(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, contents())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"cut short or was not written by spikeloom.*Restore it from a copy"):
        checkpoint.load(path)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    torch.save({"model": torch.ones(2)}, tmp_path / "torch.pt")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps({"model": 1}))
    for name in ("torch.pt", "pickle.pt"):
        with pytest.raises(CheckpointError, match=r"was not written by spikeloom"):
            checkpoint.load(tmp_path / name)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this must never be printed",)


def test_a_foreign_pickle_with_a_valid_seal_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "last.pt"
    original = checkpoint.canonical
    try:
        checkpoint.canonical = lambda value, where="": value
        path.write_bytes(checkpoint.seal({"model": Evil()}))
    finally:
        checkpoint.canonical = original
    with pytest.raises(CheckpointError, match=r"holds more than tensors and numbers and is not opened"):
        checkpoint.load(path)
    assert capsys.readouterr().out == ""


def test_other_contents_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(checkpoint.seal([1]))  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=r"holds a list, not a checkpoint"):
        checkpoint.load(path)


def test_a_missing_or_unreadable_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"does not exist: this run has not saved it yet"):
        checkpoint.load(tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match=r"cannot be read: Is a directory"):
        checkpoint.load(tmp_path)


def test_what_cannot_be_kept_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"model\['a'\]\[1\] is a set, which a checkpoint cannot hold"):
        checkpoint.canonical({"a": [1, {2}]}, "model")


def test_a_failed_write_keeps_the_file_before(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"update": 1})

    def fail(stream: Any) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(
        CheckpointError, match=r"No space left on device. What was saved before is kept. Free some space"
    ):
        files.write_atomic(path, fail)
    assert checkpoint.load(path) == {"update": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_an_interrupted_write_leaves_no_temporary_file(tmp_path: Path) -> None:
    def interrupt(stream: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_atomic(tmp_path / "last.pt", interrupt)
    assert list(tmp_path.iterdir()) == []


def test_writing_below_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"cannot be written.*Make the folder writable"):
        checkpoint.save(tmp_path / "file" / "last.pt", {})
    with pytest.raises(CheckpointError, match=r"cannot be written: Not a directory"):
        files.append(tmp_path / "file" / "metrics.jsonl", "line\n")


def test_carry_brings_every_type_back(tmp_path: Path) -> None:
    carry = Carry(state=None, count=0, table={})
    carry.state = Moving(torch.ones(2), ((), torch.zeros(1)))
    carry.count = 4
    carry.table = {"a": [torch.ones(1)], "tuple": 5}
    checkpoint.save(tmp_path / "last.pt", {"carry": carry.state_dict()})
    again = Carry(state=None, count=0, table={})
    again.load_state_dict(checkpoint.load(tmp_path / "last.pt")["carry"], "cpu")
    assert isinstance(again.state, Moving)
    assert torch.equal(again.state.voltage, torch.ones(2))
    assert again.state.inner[0] == ()
    assert again.count == 4
    assert again.table["tuple"] == 5


def test_carry_names_are_fixed() -> None:
    carry = Carry(state=None)
    with pytest.raises(AttributeError, match=r"has no 'other'; name it when you create it"):
        carry.other = 1
    with pytest.raises(AttributeError, match=r"this Carry has no 'other'"):
        _ = carry.other
    with pytest.raises(CheckpointError, match=r"a Carry of state cannot take the saved other"):
        carry.load_state_dict(Carry(other=1).state_dict())


@pytest.mark.parametrize("name", ["nowhere:Moving", "collections:OrderedDict", "collections:nothing"])
def test_carry_builds_only_named_tuples(name: str) -> None:
    assert collections is not None
    with pytest.raises(CheckpointError, match=r"which this program has not imported"):
        Carry(state=None).load_state_dict({"state": {"tuple": name, "items": []}})
