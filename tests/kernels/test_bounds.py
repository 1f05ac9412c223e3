"""Bounds checking of numba: that it is on where it should be, and that what it finds reaches the caller."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

CODE = """
import numpy as np, torch
from spikeloom.kernels.engines import threads
from spikeloom.kernels.synapses import products as synapses
torch.set_num_threads(2)
xs, past = np.ones((4, 64, 3), np.float32), np.zeros((1, 64, 3), np.float32)
out, first, weight = np.empty((4, 64, 2), np.float32), np.arange(0, 7, 2), np.ones(6, np.float32)
line = np.array([0, 1, 0, 1, {line}, 1])
threads.run(synapses.project, [past, xs, out, 2, False, first, line, weight], 64, 10**6)
print("no error")
"""
PULL = """
import numpy as np
from spikeloom.kernels.synapses import products as synapses
first, weight, line = np.arange(0, 7, 2), np.ones(6, np.float32), np.array([0, 1, 0, 1, {line}, 1])
synapses.pull(np.empty(3 * 16, np.float32), 3, np.ones((2, 32), np.float32), 0, False, first, line, weight)
print("no error")
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "NUMBA_BOUNDSCHECK": "1"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("code", [CODE, PULL], ids=["in a thread", "inside vector instructions"])
def test_an_index_out_of_bounds_reaches_the_caller(code: str) -> None:
    wrong = run(code.format(line=50))
    assert wrong.returncode == 1
    assert wrong.stderr.strip().splitlines()[-1].startswith("IndexError")
    assert run(code.format(line=2)).stdout == "no error\n"


@pytest.mark.skipif(not numba.config.BOUNDSCHECK, reason="make bounds sets NUMBA_BOUNDSCHECK=1")
def test_make_bounds_checks_bounds() -> None:
    from spikeloom.kernels.synapses.products import axpy

    with pytest.raises(IndexError):
        axpy(1.0, np.ones(3), np.ones(50))
