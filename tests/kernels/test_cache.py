"""Generated modules are written once; a second process finds them and their machine code."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys, time, torch
from spikeloom import kernels
from spikeloom.neurons import LIF
xs = torch.rand(5, 2, 3).requires_grad_()
start = time.perf_counter()
LIF()(xs)[0].sum().backward()
module = next(m for name, m in sys.modules.items() if name.startswith("spikeloom_lif_"))
print("sympy" in sys.modules and "spikeloom.kernels.symbols" in sys.modules)
print(*(sum(f.stats.cache_hits.values()) for f in (module.forward, module.backward)))
print(*(sum(f.stats.cache_misses.values()) for f in (module.forward, module.backward)))
"""


def run(cache: Path) -> list[str]:
    environment = os.environ | {"SPIKELOOM_CACHE": str(cache), "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split("\n")


def test_a_second_process_hits_the_cache(tmp_path: Path) -> None:
    assert run(tmp_path)[:3] == ["True", "0 0", "1 1"]
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.py")}
    assert len(written) == 1
    assert run(tmp_path)[:3] == ["False", "1 1", "0 0"]
    assert written == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.py")}
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_unwritable_cache_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    environment = os.environ | {"SPIKELOOM_CACHE": str(tmp_path / "file" / "below"), "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Set SPIKELOOM_CACHE to a folder you can write to" in done.stderr
