"""Setting of every test: no display, and the number of threads as it was; made-up data for those that ask."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.fixtures import write_all

os.environ.setdefault("MPLBACKEND", "Agg")
LISTED = [line for line in Path(__file__).with_name("slow.txt").read_text().splitlines() if not line.startswith("#")]
"""Tests of slow.txt, as FILE::NAME."""


@pytest.hookimpl(tryfirst=True)  # before pytest selects by markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow.txt."""
    listed = set(LISTED)
    for item in items:
        if item.nodeid.partition("[")[0] in listed:
            item.add_marker("slow")
            item.add_marker("listed")


@pytest.fixture(autouse=True)
def _restored_threads() -> Iterator[None]:
    """A test may change the number of threads; the next one finds it as it was."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def example_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with small made-up data sets in their real formats, to be used as $SPIKELOOM_DATA; not to be changed."""
    folder = tmp_path_factory.mktemp("example_data")
    write_all(folder)
    return folder
