"""Every generated kernel passes Triton's compiler, for compute capability 9.0 and without a GPU.

The interpreter accepts what the compiler refuses, so this runs the compiler itself: in a process of its own, because
Triton decides once per process which of the two it is. Run as a script, this file is that process.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from spikeloom.firing import GumbelSoftmax, SigmoidBernoulli, TanhBernoulli, TemperedGumbelSoftmax
from spikeloom.kernels import Equation, Program
from spikeloom.kernels.engines import cache, cpu, gpu
from spikeloom.kernels.loops import triton_source
from spikeloom.neurons import DYNAMICS
from spikeloom.neurons.alif import alif
from spikeloom.neurons.lif import lif
from spikeloom.neurons.parallel import difference, level
from spikeloom.neurons.readout import leak
from spikeloom.neurons.synaptic import membrane, synaptic_lif, waiting_lif
from spikeloom.surrogate import Arctan, FastSigmoid, Gaussian, Sigmoid, Surrogate, Triangle
from spikeloom.vocabulary import (
    Value,
    abs,
    clip,
    exp,
    expm1,
    floor,
    log1p,
    maximum,
    minimum,
    sigmoid,
    sqrt,
    tanh,
    where,
)

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")


def two_compartments(
    current: Value, voltage: Value, dendrite: Value, spikes: Value, reset: Value, decay_mem: Value,
    decay_dendrite: Value, threshold: Value,
) -> Value:  # fmt: skip
    """A neuron with a division, a choice and two states."""
    dendrite = decay_dendrite * dendrite + where(current > 0, current, 0.1 * current) / (1 + spikes)
    voltage = decay_mem * voltage * (1 - reset) + (1 - decay_mem) * dendrite
    return (voltage - threshold) / threshold, voltage, dendrite


def all_words(current: Value, voltage: Value, trace: Value, spikes: Value, gain: Value) -> Value:
    """A neuron that uses the whole vocabulary."""
    trace = 0.9 * trace + expm1(-abs(current)) + log1p(trace * trace) + floor(current) + tanh(gain * spikes)
    voltage = clip(voltage + sqrt(1 + trace**2), -2.0, 2.0) + sigmoid(minimum(current, trace)) * exp(
        -maximum(gain, 0.5)
    )
    return voltage - 1.0, voltage, trace


@dataclass(frozen=True)
class Case:
    """A neuron, and which of its parameters are learned and have a value per neuron."""

    equation: Equation
    surrogate: Surrogate = Triangle()
    learns: tuple[str, ...] = ()
    vectors: tuple[str, ...] = ()
    refractory: int = 0


def _dynamics(name: str) -> Equation:
    chosen = DYNAMICS[name]
    return Equation(
        alif,
        choices=(
            ("from_new", chosen.spike_from == "new"),
            ("by_baseline", chosen.reset_by == "baseline"),
            ("by_current", chosen.reset_by == "current_threshold"),
            ("adaptive_unit", chosen.normalise_by == "adaptive"),
            ("current_gain", chosen.current_gain),
            ("adaptation_gain", chosen.adaptation_gain),
        ),
    )


SQUASHED = (("by_sigmoid", False), ("by_tanh", True), ("rectified", True))
CASES = {
    "lif": Case(Equation(lif, choices=(("subtract", True),)), refractory=2),
    "lif_zero": Case(Equation(lif, "at", (("subtract", False),)), Arctan(), ("threshold",)),
    "alif_standard": Case(_dynamics("standard"), vectors=("adapt_strength",), refractory=5),
    "alif_legacy": Case(_dynamics("legacy"), FastSigmoid(), ("decay_mem", "adapt_strength"), ("adapt_strength",)),
    "alif_eprop": Case(_dynamics("eprop"), Sigmoid()),
    "leak": Case(Equation(leak, "never"), learns=("decay_mem",), vectors=("decay_mem",)),
    "leak_fixed": Case(Equation(leak, "never")),
    "two_compartments": Case(
        Equation(two_compartments), Gaussian(), ("decay_mem", "decay_dendrite"), ("decay_mem", "decay_dendrite"), 1
    ),
    "all_words": Case(Equation(all_words), learns=("gain",)),
    "membrane": Case(Equation(membrane, choices=(("given", False),)), SigmoidBernoulli(), ("decay_mem",)),
    "level": Case(
        Equation(level, choices=(("given", False), *SQUASHED)), learns=("threshold",), vectors=("threshold",)
    ),
    "difference": Case(Equation(difference, choices=(("given", False), *SQUASHED)), GumbelSoftmax()),
    "synaptic_lif": Case(Equation(synaptic_lif), TemperedGumbelSoftmax()),
    "waiting_lif": Case(Equation(waiting_lif), TanhBernoulli()),
}
"""Some with values learned, some with values per neuron."""
LIBRARY = ("all_words", "membrane", "level", "difference", "synaptic_lif", "waiting_lif")
"""Those whose forward pass needs an exponential or a tanh."""

RECURRENT = [name for name in CASES if CASES[name].equation.fires != "never"]
QUICK = [
    *(f"{name}/elementwise/fast/float32/21" for name in CASES),
    *(f"{name}/elementwise/lean/float32/21" for name in ("lif", "two_compartments")),
    "membrane/recurrent/fast/float32/21",
    *(f"{name}/recurrent/lean/float32/21" for name in ("alif_standard", "two_compartments")),
    "alif_legacy/recurrent/fast/float32/21",
    "lif/recurrent/none/float32/21",
    "lif/elementwise/fast/float64/21",
]
SLOW = [
    *(f"{name}/elementwise/{memory}/float32/21" for name in CASES for memory in ("none", "lean")),
    *(f"{name}/recurrent/{memory}/float32/21" for name in RECURRENT for memory in ("fast", "lean")),
    *(
        f"{name}/{loop}/lean/float64/21"
        for name in ("alif_standard", "all_words")
        for loop in ("elementwise", "recurrent")
    ),
    *(f"alif_standard/recurrent/fast/{dtype}/{size}" for dtype in ("float32", "float64") for size in (220, 1024)),
]
"""Name of a case, loop, memory, dtype, neurons."""
BATCH = 128


def compile_case(name: str) -> dict[str, str]:
    """The PTX of a module's kernels."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    label, loop, memory, dtype_name, size = name.split("/")
    case, dtype, neurons = CASES[label], getattr(torch, dtype_name), int(size)
    program = Program(case.equation, case.surrogate, case.refractory, False, "fast" if memory == "none" else memory)
    values = [torch.ones(neurons if key in case.vectors else ()) for key in case.equation.parameters]
    learns = " ".join(case.learns) if memory != "none" else ""
    module = cache.load(cpu.plan(program, values, dtype, loop == "recurrent", memory, learns), triton_source.write)
    shape = gpu.shape(loop, neurons, dtype, BATCH)
    constants = {"refractory": case.refractory, "every": 32 if memory == "lean" else 1, **shape.constants}
    result = {}
    for kernel in (module.forward, module.backward) if memory != "none" else (module.forward,):
        kinds = {}
        for argument in kernel.arg_names:
            if argument in constants:
                kinds[argument] = "constexpr"
            elif argument in ("steps", "batch", "size", "slots"):
                kinds[argument] = "i32"
            elif argument == "noise":
                kinds[argument] = "*i64"
            else:
                kinds[argument] = "*fp64" if argument.startswith("gp_") or dtype == torch.float64 else "*fp32"
        known = {key: value for key, value in constants.items() if key in kinds}
        aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(kinds.values()) if kind[0] == "*"}
        compiled = triton.compile(
            ASTSource(kernel, kinds, known, aligned),
            target=GPUTarget("cuda", 90, 32),
            options=shape.options,
        )
        result[kernel.__name__] = compiled.asm["ptx"]
    return result


def compiled(names: list[str]) -> dict[str, dict[str, str]]:
    """The same for many, from a process in which triton is the compiler."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-W", "error", __file__, *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-4000:]
    result: dict[str, dict[str, str]] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def quick() -> dict[str, dict[str, str]]:
    return compiled(QUICK)


@pytest.fixture(scope="module")
def others() -> dict[str, dict[str, str]]:
    return compiled(SLOW)


def check(name: str, kernels: dict[str, str]) -> None:
    """No arithmetic is left for a later stage to contract, and only products with weights are fused."""
    label, loop, memory, dtype, size = name.split("/")
    assert set(kernels) == ({"forward"} if memory == "none" else {"forward", "backward"})
    for ptx in kernels.values():
        assert ".target sm_90" in ptx
        assert re.search(r"\b(?:add|sub|mul)\.rn\.f(?:32|64)", ptx)
        assert not re.search(r"\b(?:add|sub|mul|mad)\.f|\b(?:div|sqrt)\.(?:full|approx)", ptx)
    fused = len(re.findall(r"\bfma\.", kernels["forward"]))
    if label in LIBRARY:
        assert fused > 0  # of the library behind the words
    elif loop == "recurrent" and dtype == "float32":
        shape = gpu.shape(loop, int(size), torch.float32, BATCH)
        products = shape.constants["ROWS"] * shape.constants["COLS"] * shape.constants["CHUNK"]
        assert fused == products // (32 * shape.options["num_warps"])
    else:  # matrix instructions multiply float64
        assert fused == 0
        assert ("mma" in kernels["forward"]) == (loop == "recurrent")


@pytest.mark.parametrize("name", QUICK)
def test_kernels_compile(name: str, quick: dict[str, dict[str, str]]) -> None:
    check(name, quick[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_all_kernels_compile(name: str, others: dict[str, dict[str, str]]) -> None:
    check(name, others[name])


def test_elementwise_loops_fetch_ahead(quick: dict[str, dict[str, str]]) -> None:
    for ptx in quick["lif/elementwise/fast/float32/21"].values():
        assert "cp.async" in ptx


if __name__ == "__main__":
    json.dump({name: compile_case(name) for name in sys.argv[1:]}, sys.stdout)
