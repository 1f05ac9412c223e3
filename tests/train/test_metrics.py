import math
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeloom.errors import CheckpointError
from spikeloom.train import metrics


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_values_come_back_to_the_last_bit(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    path = tmp_path_factory.mktemp("metrics") / "metrics.jsonl"
    for update, value in enumerate(values):
        metrics.write(path, update, {"loss": value})
    assert metrics.column(metrics.read(path), "loss") == (list(range(len(values))), values)


def test_lines_up_to_an_update_keep_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for update in (1, 2, 3):
        metrics.write(path, update, {"loss": 0.1 / update})
    data = path.read_bytes()
    assert metrics.up_to(data, 3, path) == data
    assert metrics.up_to(data + b'{"update": 4, "lo', 5, path) == data
    assert data.startswith(kept := metrics.up_to(data, 1, path))
    assert kept.count(b"\n") == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"nonsense", "it is not JSON: Expecting value"), (b"\xff\xfe", "it is not UTF-8 text"),
        (b"[" * 100_000, "it is nested too deeply"), (b"{}", "it is not an object of \"update\" and finite numbers"),
        (b"[]", "it is not an object"), (b'{"update": true}', "it is not an object"),
        (b'{"update": 1, "loss": NaN}', "it is not an object"), (b'{"update": 1, "a": 1e999}', "it is not an object"),
        (b'{"update": 1, "loss": "a"}', "it is not an object"), (b'{"update": 1.5}', "it is not an object"),
        (b"1" * 5000, "it is not JSON"), (b"", "it is not JSON"),
    ],
)  # fmt: skip
def test_a_line_that_is_none_is_named(tmp_path: Path, text: bytes, why: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"update": 1, "loss": 0.5}\n' + text + b"\n")
    with pytest.raises(CheckpointError, match=rf"metrics.jsonl is damaged in line 2: {re.escape(why)}.*from a copy"):
        metrics.read(path)


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "real").write_text('{"update": 1}\n')
    (tmp_path / "metrics.jsonl").symlink_to(tmp_path / "real")
    with pytest.raises(CheckpointError, match=r"metrics.jsonl cannot be read: it is a link, which is not followed"):
        metrics.read(tmp_path / "metrics.jsonl")
    with pytest.raises(CheckpointError, match=r"cannot be read: Is a directory"):
        metrics.read(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match=r"cannot be read: it is no regular file"):
        metrics.read(tmp_path / "pipe")


def test_statistics() -> None:
    assert metrics.mean([1.0, 2.0, 6.0]) == 3.0
    assert metrics.sd([2.0, 4.0]) == pytest.approx(math.sqrt(2))
    assert metrics.sd([2.0]) == 0.0
    assert math.isnan(metrics.mean([]))
    assert math.isnan(metrics.sd([]))
