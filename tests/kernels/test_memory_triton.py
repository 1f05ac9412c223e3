"""The memory's GPU kernels equal the definition: on CUDA where there is one, else in Triton's interpreter.

Run as a module, this file is a process in which Triton is the compiler; it needs no GPU.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from spikeloom import kernels
from spikeloom.errors import ConfigError
from spikeloom.kernels.engines import gpu
from spikeloom.layers.hebbian_memory.layer import HebbianRead, HebbianWrite, ReadState, WriteState, memory_neuron
from spikeloom.neurons import LIF
from spikeloom.neurons.lif import LIFState
from spikeloom.rules import Hebbian, hebb, inverted_oja, oja
from spikeloom.rules.fast_weights import HebbianTraces

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
INTERPRETED = DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"
READY = find_spec("triton") is not None and (DEVICE == "cuda" or INTERPRETED)
needs_triton = pytest.mark.skipif(
    not READY, reason="triton is not installed, or was imported as a compiler without a GPU"
)

RULES: dict[str, Hebbian | None] = {
    "inverted_oja": inverted_oja(), "oja": oja(), "hebb": hebb(w_max=2.0), "frozen": None,
}  # fmt: skip


class Case(NamedTuple):
    rule: str = "inverted_oja"
    steps: int = 11
    batch: int = 2
    size: int = 5
    delay: int = 1
    reset: str = "subtract"
    detach: bool = False
    refractory: float = 3.0
    scale: float = 3.0
    dtype: torch.dtype = torch.float64


class Outcome(NamedTuple):
    spikes: Tensor
    finals: list[Tensor]
    grads: list[Tensor]


class Draw:
    """Numbers that do not depend on the device; all that is drawn with `learn` is differentiated by."""

    def __init__(self, case: Case, device: str) -> None:
        self.case, self.device, self.leaves = case, device, list[Tensor]()
        self.random = torch.Generator().manual_seed(3)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.random, dtype=torch.float64).to(self.device, self.case.dtype)

    def learn(self, value: Tensor) -> Tensor:
        self.leaves.append(value.requires_grad_())
        return value

    def spikes(self, *shape: int, share: float = 0.3) -> Tensor:
        return self.learn((self.uniform(*shape) < share).to(self.case.dtype))

    def cells(self) -> LIFState:
        """Cells in the middle of something."""
        shape = (self.case.batch, self.case.size)
        left = torch.floor(self.uniform(*shape) * (self.case.refractory + 1))
        return LIFState(self.learn(0.12 * self.uniform(*shape)), self.spikes(*shape), left)


def neuron(case: Case) -> LIF:
    return memory_neuron(refractory=case.refractory, reset=case.reset, detach_reset=case.detach)


def parts(state: WriteState | ReadState) -> list[Tensor]:
    rest = state.traces if isinstance(state, WriteState) else [state.history]
    return [state.memory, *state.key[:2], *state.value[:2], *rest]


def finish(draw: Draw, spikes: Tensor, state: WriteState | ReadState, layer: HebbianWrite | HebbianRead) -> Outcome:
    """The gradients of a random functional of all that comes out."""
    finals = parts(state)
    loss = sum((part * (draw.uniform(*part.shape) - 0.3)).sum() for part in (spikes, *finals))
    wanted = [layer.weight, *draw.leaves]
    assert isinstance(loss, Tensor)
    found = torch.autograd.grad(loss, wanted, allow_unused=True)
    grads = [torch.zeros_like(one) if grad is None else grad for one, grad in zip(wanted, found, strict=True)]
    return Outcome(spikes, [*finals, state.key.refractory, state.value.refractory], grads)


def written(case: Case, engine: str, device: str = DEVICE) -> Outcome:
    draw = Draw(case, device)
    layer = HebbianWrite(6, case.size, neuron(case), rule=RULES[case.rule], generator=draw.random)
    layer = layer.to(device, case.dtype)
    with torch.no_grad():
        layer.weight.mul_(case.scale)
    xs = draw.spikes(case.steps, case.batch, 6, share=0.5)
    shape = (case.batch, case.size)
    traces = () if layer.rule is None else HebbianTraces(*(draw.learn(draw.uniform(*shape)) for _ in range(2)))
    memory = draw.learn(draw.uniform(*shape, case.size))
    with kernels.use(engine):
        spikes, state = layer(xs, WriteState(memory, draw.cells(), draw.cells(), traces))
    return finish(draw, spikes, state, layer)


def read_out(case: Case, engine: str, device: str = DEVICE) -> Outcome:
    draw = Draw(case, device)
    layer = HebbianRead(6, case.size, neuron(case), delay=case.delay, generator=draw.random).to(device, case.dtype)
    with torch.no_grad():
        layer.weight[:, :6].abs_()
    xs = draw.spikes(case.steps, case.batch, 6, share=0.5)
    memory = draw.learn(draw.uniform(case.batch, case.size, case.size) - 0.45)
    history = draw.spikes(case.delay, case.batch, case.size)
    with kernels.use(engine):
        spikes, state = layer(xs, ReadState(memory, draw.cells(), draw.cells(), history))
    return finish(draw, spikes, state, layer)


def compare(want: Outcome, got: Outcome, tolerance: float = 1e-12, of_gradients: float = 1e-9) -> None:
    assert torch.equal(got.spikes, want.spikes)
    assert all(0.0 < float(part.detach().mean()) < 1.0 for part in want.spikes.chunk(2, -1))
    for a, b in zip(want.finals, got.finals, strict=True):
        torch.testing.assert_close(b, a, rtol=tolerance, atol=tolerance)
    for a, b in zip(want.grads, got.grads, strict=True):
        assert a.shape == b.shape
        assert float((a - b).abs().max()) <= of_gradients * max(float(a.abs().max()), 1.0)


def label(case: Case) -> str:
    """What differs from the default."""
    changed = [f"{name}={value}" for name, value in case._asdict().items() if value != Case._field_defaults[name]]
    return ",".join(changed) or "default"


WRITTEN = [
    *(Case(rule) for rule in RULES),
    *(Case(rule, 17, 1, 17, reset="zero", refractory=0.0) for rule in RULES),
    *(Case(reset=reset, detach=True) for reset in ("subtract", "zero")),
    Case(steps=7, batch=3, refractory=0.0),
    Case(steps=2, batch=1, size=16, refractory=0.0),
]
READ = [
    *(Case(delay=delay, reset=reset) for delay in (1, 3) for reset in ("subtract", "zero")),
    *(Case(steps=12, batch=1, size=17, delay=delay, refractory=0.0) for delay in (1, 3)),
    *(Case(reset=reset, detach=True, delay=3) for reset in ("subtract", "zero")),
    Case(steps=7, batch=3, delay=20),
]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments that do not divide the steps, several launches of two segments, and rows of two programs."""
    from spikeloom.layers.hebbian_memory import gpu as memory_triton

    for name, value in {"SEGMENT": 4, "CHUNK": 8, "TILE": 512}.items():
        monkeypatch.setattr(memory_triton, name, value)
    assert memory_triton.shape("rows", 17).constants == {"ROWS": 16, "COLS": 32}


@needs_triton
@pytest.mark.parametrize("case", WRITTEN, ids=label)
@pytest.mark.usefixtures("short")
def test_what_is_written(case: Case) -> None:
    want = written(case, "torch")
    compare(want, written(case, "triton"))
    assert case.detach or all(bool(grad.any()) for grad in want.grads)


@needs_triton
@pytest.mark.parametrize("case", READ, ids=label)
def test_what_is_read(case: Case) -> None:
    want = read_out(case, "torch")
    compare(want, read_out(case, "triton"))
    assert case.detach or all(bool(grad.any()) for grad in want.grads)


@needs_triton
def test_float32() -> None:
    case = Case(steps=11, batch=2, dtype=torch.float32, reset="zero", delay=2)
    for outcome in (written, read_out):
        compare(outcome(case, "torch"), outcome(case, "triton"), 1e-5, 1e-4)


@needs_triton
@pytest.mark.parametrize("delay", [1, 3])
def test_chunks_equal_the_whole_and_need_no_gradients(delay: int) -> None:
    draw = torch.Generator().manual_seed(1)
    write, read = HebbianWrite(6, 5, generator=draw), HebbianRead(6, 5, delay=delay, generator=draw)
    write, read = write.to(DEVICE, torch.float64), read.to(DEVICE, torch.float64)
    xs = (torch.rand(6, 1, 12, generator=draw) < 0.5).to(DEVICE, torch.float64).permute(2, 1, 0)
    with torch.no_grad():
        read.weight.mul_(3.0)
        write.weight.mul_(3.0)
    with kernels.use("triton"), torch.no_grad():
        whole, state = write(xs)
        found, last = read(xs, read.begin(state.memory))
        pieces, again = [], None
        for part in torch.split(xs, [1, 4, 7]):
            spikes, again = write(part, again)
            pieces.append(spikes)
        assert again is not None
        asked, after = [], read.begin(again.memory)
        for part in torch.split(xs, [1, 4, 7]):
            spikes, after = read(part, after)
            asked.append(spikes)
    assert whole.any()
    assert found.any()
    for a, b in zip(
        [whole, found, *parts(state), *parts(last)],
        [torch.cat(pieces), torch.cat(asked), *parts(again), *parts(after)],
        strict=True,
    ):
        assert torch.equal(a, b)


@needs_triton
def test_no_samples() -> None:
    xs = torch.rand(5, 0, 3, dtype=torch.float64, device=DEVICE, requires_grad=True)
    write, read = HebbianWrite(3, 4).to(DEVICE, torch.float64), HebbianRead(3, 4).to(DEVICE, torch.float64)
    with kernels.use("triton"):
        spikes, state = write(xs)
        found, _ = read(xs, read.begin(state.memory))
        (spikes.sum() + found.sum()).backward()
    assert spikes.shape == found.shape == (5, 0, 8)
    assert xs.grad is not None
    assert read.weight.grad is not None


@pytest.mark.parametrize("layer", [HebbianWrite, HebbianRead])
def test_large_memories_and_other_neurons_take_the_definition(monkeypatch: pytest.MonkeyPatch, layer: Any) -> None:
    from spikeloom.layers.hebbian_memory import autograd

    monkeypatch.setattr(autograd, "loops_for", lambda like: pytest.fail("a kernel was asked for"))
    xs = torch.ones(2, 1, 3, device=DEVICE)
    learned = LIF(torch.nn.Parameter(torch.tensor(20.0)))
    for size, cells, engine in ((129, None, "triton"), (4, learned, "torch")):
        with kernels.use(engine):
            assert layer(3, size, cells).to(DEVICE)(xs)[0].shape == (2, 1, 2 * size)


def test_without_triton_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    with kernels.use("triton"), pytest.raises(ConfigError, match=r"pip install 'spikeloom\[triton\]'"):
        HebbianWrite(3, 4)(torch.ones(5, 2, 3))


@needs_triton
def test_cpu_tensors_need_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    from spikeloom.layers.hebbian_memory import gpu as memory_triton

    monkeypatch.setattr(memory_triton, "INTERPRETED", False)
    with kernels.use("triton"), pytest.raises(ConfigError, match="set TRITON_INTERPRET=1 before Python starts"):
        HebbianRead(3, 4)(torch.ones(5, 2, 3))


KERNELS = {
    "write_keys": "keys", "write_rows": "rows", "back_rows": "rows", "back_keys": "keys", "read_sample": "sample",
    "back_sample": "sample",
}  # fmt: skip
"""Kernels and what they loop over."""
FLAGS = {"REFRACTORY": 3, "SUBTRACT": True, "DETACH": False, "RULE": True, "SOFT": True, "FORGETS": 1, "KEEP": True}
OTHERS = {"REFRACTORY": 0, "SUBTRACT": False, "DETACH": True, "RULE": True, "SOFT": False, "FORGETS": 2, "KEEP": True}
COMPILED: dict[str, dict[str, Any]] = {
    "float32/100": FLAGS | {"NEXT": True}, "float32/20": OTHERS | {"NEXT": False},
    "float32/128": OTHERS | {"NEXT": True}, "float32/5": FLAGS | {"RULE": False, "NEXT": True},
    "float64/100": FLAGS | {"NEXT": False},
}  # fmt: skip
"""Dtype and size, and the constants of the kernels."""


def compile_case(name: str) -> dict[str, Any]:
    """PTX and spilled bytes of every kernel, for compute capability 9.0."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from spikeloom.layers.hebbian_memory import gpu as memory_triton

    dtype, size = name.split("/")
    result = {}
    for kernel, loop in KERNELS.items():
        function, shape = getattr(memory_triton, kernel), memory_triton.shape(loop, int(size))
        stages = memory_triton.AHEAD[loop] if loop != "sample" or COMPILED[name]["NEXT"] else 1
        constants = COMPILED[name] | shape.constants
        constants |= {"SIZE": int(size), "SEGMENT": memory_triton.SEGMENT, "STAGES": stages, "BLOCKS": 7}
        kinds = {}
        for argument in function.arg_names:
            whole = argument in ("steps", "batch", "delay", "begin", "stop")
            kinds[argument] = "constexpr" if argument in constants else "i32" if whole else f"*fp{dtype[-2:]}"
        compiled = triton.compile(
            ASTSource(
                function, kinds, {key: value for key, value in constants.items() if key in kinds},
                {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(kinds.values()) if kind[0] == "*"},
            ),
            target=GPUTarget("cuda", 90, 32),
            options=shape.options | {"enable_fp_fusion": function in memory_triton.FUSED},
        )  # fmt: skip
        result[kernel] = {"ptx": compiled.asm["ptx"], "spilled": spilled(compiled.asm["cubin"])}
    return result


def spilled(cubin: bytes) -> int:
    """Bytes of a thread's stack; -1 where the tool that says so is missing."""
    from triton import knobs

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        try:
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            return -1
    found = re.search(r"STACK:(\d+)", said)
    return int(found[1]) if found else -1


def check_compiled(names: list[str]) -> None:
    """Spikes are not contracted into fused multiply-adds, and the memory stays in registers."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-W", "error", "-m", "tests.kernels.test_memory_triton", *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-4000:]
    for name, found in json.loads(done.stdout).items():
        assert set(found) == set(KERNELS)
        for kernel, made in found.items():
            assert ".target sm_90" in made["ptx"]
            if kernel.startswith(("write", "read")):
                written = kernel == "write_rows" and COMPILED[name]["RULE"]  # the memory is
                assert bool(re.search(r"\bfma\.", made["ptx"])) == written
                assert not re.search(r"\b(?:add|sub|mul|mad)\.f", made["ptx"])
            if name.startswith("float32"):
                assert made["spilled"] <= 64


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_kernels_compile_for_a_gpu_and_stay_in_registers() -> None:
    check_compiled(["float32/100", "float32/20"])


@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_all_kernels_compile() -> None:
    check_compiled(["float32/128", "float32/5", "float64/100"])


if __name__ == "__main__":
    json.dump({name: compile_case(name) for name in sys.argv[1:]}, sys.stdout)
