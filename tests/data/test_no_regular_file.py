"""Readers and writers that are given a folder or a pipe: refused, not waited for and not replaced."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from spikeloom.convert.nir import read_nir, to_nir, write_nir
from spikeloom.data import fetch, members, mnist, ntidigits, shd
from spikeloom.data.spike_trains import SpikeTrains
from spikeloom.errors import SpikeloomError
from spikeloom.layers import Sequential
from spikeloom.neurons import LIF
from spikeloom.train import checkpoint

READERS: dict[str, Callable[[Path], object]] = {
    "shd.read": shd.read,
    "shd.count": shd.count,
    "mnist.read_idx": mnist.read_idx,
    "ntidigits.read": lambda path: ntidigits.read(path, "test"),
    "fetch.digests": fetch.digests,
    "fetch.read_bytes": fetch.read_bytes,
    "members.read_tar": lambda path: members.read_tar(path, re.compile("a"), "Try again."),
    "read_nir": read_nir,
    "checkpoint.load": checkpoint.load,
}


def trains() -> SpikeTrains:
    return SpikeTrains.of([[0.5]], [[1]], [0], channels=4, classes=("a", "b"))


WRITERS: dict[str, Callable[[Path], object]] = {
    "shd.write": lambda path: shd.write(path, trains()),
    "write_nir": lambda path: write_nir(to_nir(Sequential(nn.Linear(2, 2), LIF()), (2,)), path),
    "checkpoint.save": lambda path: checkpoint.save(path, {"a": 1}),
}


@pytest.mark.parametrize("name", READERS | WRITERS)
@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a place without a name"])
def test_what_is_no_regular_file_is_refused_and_stays(name: str, kind: str, tmp_path: Path) -> None:
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    path = {"a pipe": pipe, "a folder": folder, "a place without a name": Path()}[kind]
    with pytest.raises(SpikeloomError, match=re.escape(str(path))):
        (READERS | WRITERS)[name](path)
    assert pipe.is_fifo()
    assert sorted(tmp_path.iterdir()) == [folder, pipe]
    assert not list(folder.iterdir())
