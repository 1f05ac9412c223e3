import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeloom.train import metrics


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_values_come_back_to_the_last_bit(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    path = tmp_path_factory.mktemp("metrics") / "metrics.jsonl"
    for update, value in enumerate(values):
        metrics.write(path, update, {"loss": value})
    assert metrics.column(metrics.read(path), "loss") == (list(range(len(values))), values)


def test_cutting_leaves_an_exact_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics.cut(path, 3)
    assert not path.exists()
    for update in (1, 2, 3):
        metrics.write(path, update, {"loss": 0.1})
    before = path.stat()
    metrics.cut(path, 3)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    metrics.cut(path, 1)
    assert [json.loads(line)["update"] for line in path.read_text().splitlines()] == [1]


def test_statistics() -> None:
    assert metrics.mean([1.0, 2.0, 6.0]) == 3.0
    assert metrics.sd([2.0, 4.0]) == pytest.approx(math.sqrt(2))
    assert metrics.sd([2.0]) == 0.0
    assert math.isnan(metrics.mean([]))
    assert math.isnan(metrics.sd([]))
