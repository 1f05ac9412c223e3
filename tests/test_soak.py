"""Thousands of calls of changing shapes and values: memory, compiled modules and files stay what they were."""

import gc
import itertools
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from spikeloom import kernels
from spikeloom.kept import folder
from spikeloom.kernels import program
from spikeloom.kernels.engines import cache
from spikeloom.layers import DelayedLinear, Recurrent, SignedSparseLinear
from spikeloom.neurons import ALIF, LIF, FromEquation, LeakyReadout, SynapticLIF
from spikeloom.neurons.diehl_cook import DiehlCook
from spikeloom.papers.diehl_cook.network import DiehlCookNetwork
from spikeloom.rules import post_stdp
from spikeloom.surrogate import FastSigmoid, Triangle

pytestmark = pytest.mark.slow
MEGABYTE = 1 << 20


def leaking() -> Callable[..., Any]:
    """A new function object each time, as a notebook cell or a sweep makes them."""

    def leaking_sum(current, voltage, decay_mem, threshold):  # type: ignore[no-untyped-def]
        voltage = decay_mem * voltage + current
        return voltage - threshold, voltage

    return leaking_sum


def charging() -> Callable[..., Any]:
    def leaking_sum(current, voltage, decay_mem, threshold):  # type: ignore[no-untyped-def]
        voltage = decay_mem * voltage + (1 - decay_mem) * current
        return voltage - threshold, voltage

    return leaking_sum


def resident() -> int:
    """Bytes of memory that this process has."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def counted() -> dict[str, int]:
    """What may grow without anybody seeing it."""
    gc.collect()
    modules = [module for name, module in sys.modules.items() if name.startswith("spikeloom_")]
    loops = [loop for module in modules for loop in vars(module).values() if hasattr(loop, "signatures")]
    return {
        "modules": len(modules),
        "plans": cache.load.cache_info().currsize,
        "loops": sum(len(loop.signatures) for loop in loops),
        "files": len(list(folder("kernels").glob("*"))),
        "programs": len(program._KNOWN),
        "traced": len(program._TRACED),
        "threads": threading.active_count(),
    }


def layer(number: int) -> nn.Module:
    """A layer with values that no layer had before."""
    tau, threshold = 2.0 + number / 1000, 0.5 + number / 10_000
    size = 2 + number % 7
    makers: list[Callable[[], nn.Module]] = [
        lambda: LIF(tau, threshold, surrogate=FastSigmoid(steepness=1 + number / 100)),
        lambda: LIF(tau, threshold, surrogate=Triangle(gain=threshold), memory="lean", refractory=2.0),
        lambda: ALIF(tau, threshold=threshold, tau_adapt=tau * 3),
        lambda: SynapticLIF(tau_mem=tau, tau_syn=tau / 2, threshold=threshold),
        lambda: LIF(nn.Parameter(torch.full((size,), tau)), threshold),
        lambda: Recurrent(LIF(tau, threshold), nn.Linear(size, size, bias=False)),
        lambda: Recurrent(LIF(tau, threshold), DelayedLinear(size, size, delays=1 + number % 4)),
        lambda: LeakyReadout(tau),
        lambda: FromEquation(leaking(), tau_mem=tau, threshold=threshold),
        lambda: FromEquation(charging(), tau_mem=tau, threshold=threshold),
        lambda: SignedSparseLinear(size, size, connectivity=0.5),
        lambda: DiehlCookNetwork(size, DiehlCook(3, threshold=-52.0 + threshold), post_stdp(), scale=20.0),
    ]
    return makers[number % len(makers)]()


def call(count: int, start: int) -> int:
    """Make that many calls, eight for each layer, with changing lengths, batches, gradients and engines."""
    for number in itertools.count(start):
        made, size = layer(number), 2 + number % 7
        learns = not isinstance(made, DiehlCookNetwork)
        for more in range(8):
            xs = torch.rand(1 + (number + 5 * more) % 17, 1 + (number + more) % 5, size) * 3
            xs.requires_grad_(learns and more % 2 == 0)
            with kernels.use("torch" if more == 7 else "numba"):
                out = made(xs)
            out = out[0] if isinstance(out, tuple) else out
            if xs.requires_grad:
                out.sum().backward()
        count -= 8
        if count <= 0:
            break
    return number + 1


def test_ten_thousand_calls_leave_nothing_behind() -> None:
    number = call(1_000, 0)
    before, memory = counted(), resident()
    call(10_000, number)
    assert counted() == before
    assert resident() - memory < 8 * MEGABYTE


def test_functions_of_one_name_are_told_apart_for_ever() -> None:
    """Addresses are used again after a function is gone: what was compiled for the first must not run for the next."""
    xs = torch.full((4, 1, 1), 0.9)
    for _ in range(200):
        for make in (leaking, charging):
            neuron = FromEquation(make(), tau_mem=2.0, threshold=1.0)
            out, state = neuron(xs)
            with kernels.use("torch"):
                expected, last = neuron(xs)
            assert torch.equal(out, expected)
            torch.testing.assert_close(state[0], last[0])
            del neuron
