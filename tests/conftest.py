"""What every test starts from: no display, and the number of threads as it was."""

import os
from collections.abc import Iterator

import pytest
import torch

os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def _restored_threads() -> Iterator[None]:
    """A test may change the number of threads; the next one finds it as it was."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
