"""Every test of these tasks finds small made-up data sets where the user's would be."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _example_data(example_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKELOOM_DATA", str(example_data))
