"""Every input that once failed is read or refused, and so are a few new ones of every target."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from . import Target
from .broken import TARGET
from .hunt import CORPUS, hunt, judged
from .targets import Reader, all_targets, digest


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader() as started:
        yield started


@pytest.mark.parametrize("target", all_targets(), ids=lambda target: target.name)
def test_what_once_failed_and_a_few_new_files_are_read_or_refused(
    target: Target, reader: Reader, tmp_path: Path
) -> None:
    target.write(tmp_path)
    written = {digest(target.read(path)) for path in tmp_path.iterdir() if path.is_file()}
    for path in sorted((CORPUS / target.name).glob("*.bin")):
        found = judged(target, reader.read(target, path), written)
        assert found.end in ("read", "refused"), f"{path.name}: {found.end}: {found.detail}"
    counts = hunt(target, reader, seed=1, seconds=1.0, files=10, corpus=tmp_path / "failed")
    assert counts
    assert set(counts) <= {"read", "refused"}, counts


def test_every_kept_file_is_of_a_target() -> None:
    assert {path.parent.name for path in CORPUS.glob("*/*")} <= {target.name for target in all_targets()}


def test_every_failure_is_noticed(reader: Reader, tmp_path: Path) -> None:
    """A reader that crashes, hangs, fills the memory, raises something else, or says what was not written."""
    ends = {}
    for kind in ("read", "refused", "crash", "no end", "unbounded memory", "foreign exception", "wrong content"):
        (tmp_path / "file").write_text(kind)
        ends[kind] = judged(TARGET, reader.read(TARGET, tmp_path / "file"), {digest("read")}).end
    assert ends == {kind: kind for kind in ends}
