"""Every example runs, in at most 60 lines."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
SHORT = {"sparse_mlp.py": ["1500"]}
DATA = {"sparse_mlp.py": "mnist"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60
    needed = Path(os.environ.get("SPIKELOOM_DATA", "")) / DATA.get(path.name, "")
    if path.name in DATA and not ("SPIKELOOM_DATA" in os.environ and needed.is_dir()):
        pytest.skip(f"needs the {DATA[path.name]} files in $SPIKELOOM_DATA")
    environment = os.environ | {"PYTHONPATH": str(path.parents[1])}
    done = subprocess.run(
        [sys.executable, path, *SHORT.get(path.name, [])], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    losses = [float(line.split()[3]) for line in done.stdout.splitlines() if "  loss " in line]
    assert losses[-1] < losses[0]
