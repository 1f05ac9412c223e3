"""GPU engine: calls the generated Triton modules. CPU tensors run in Triton's interpreter.

It has the functions of `cpu`, with the same results. The gradients of weight and history, sums over all steps, are a
few matrix products of torch.
"""

from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...errors import ConfigError
from ..loops import triton_source
from ..plan import SEGMENT, Plan
from ..program import Program
from . import cache as modules
from .cpu import keep_like

BLOCK = 128
"""Threads of a program of the elementwise loop: each processes one element, or two from MANY elements on."""
MANY = 2**20
OLDEST = (3, 6)
"""Oldest supported version of Triton: the first whose tl.dot takes float64."""
PROGRAMS = 64
"""Minimum number of programs of the recurrent loop, if there are as many samples."""
CHUNK = 16
"""Minimum number of presynaptic neurons multiplied at a time: Triton before 3.9 compiles no smaller tl.dot."""
TILE = 2**17
"""Maximum bytes of weights that a program holds at a time."""


class Synapses(NamedTuple):
    """Recurrent synapses: weight and delays [post, pre]."""

    weight: Tensor
    delays: Tensor | None

    def slots(self, count: int) -> list[Tensor]:
        """Return one weight [post, pre] for each of `count` delays."""
        if self.delays is None:
            return [self.weight]
        return [torch.where(self.delays == d, self.weight, torch.zeros_like(self.weight)) for d in range(count)]


class LaunchShape(NamedTuple):
    """Compile-time constants of a kernel, and options of the compiler."""

    constants: dict[str, int]
    options: dict[str, Any]


def shape(loop: str, size: int, dtype: torch.dtype, batch: int) -> LaunchShape:
    """Return the shape of a loop over `size` neurons of `batch` samples.

    A recurrent program owns ROWS samples and all neurons, padded to COLS; it multiplies CHUNK neurons at a time. Small
    batches get few samples per program: every program reads all weights in every step, but only many programs occupy
    the whole GPU.
    """
    options = {"num_warps": BLOCK // 32, "num_stages": 1, "enable_fp_fusion": False}
    if loop == "elementwise":
        return LaunchShape({"BLOCK": BLOCK if batch * size < MANY else 2 * BLOCK}, options)
    cols = max(16, 1 << (size - 1).bit_length())  # Triton's blocks have powers of two as sizes
    rows = min(16, 16384 // cols, 1 << max(batch // PROGRAMS, 1).bit_length() - 1)
    chunk = min(max(32768 // (cols * dtype.itemsize), CHUNK), 32, cols)
    options |= {"num_warps": min(max(rows * cols // 128, 1), 16), "num_stages": 2}
    return LaunchShape({"ROWS": rows, "COLS": cols, "CHUNK": chunk}, options)


def lists(weight: Tensor, delays: Tensor | None, sparse: bool = False) -> Synapses:
    """Return the synapses as `forward` and `backward` take them; all pairs, even if `sparse`.

    Raises:
        ConfigError: there are more neurons than one program can hold.
    """
    largest = TILE // (CHUNK * weight.dtype.itemsize)
    if len(weight) > largest:
        raise ConfigError(
            f"the triton engine runs recurrent populations of at most {largest} neurons in {weight.dtype}, but got "
            f'{len(weight)}. Split the population, or choose the definition with kernels.use("torch").'
        )
    return Synapses(weight.detach(), delays)


@cache
def release() -> str:
    """Return the installed version of Triton."""
    return version("triton")


def check_installed() -> None:
    """Raise ConfigError unless Triton is installed and recent enough."""
    if find_spec("triton") is None:
        raise ConfigError(
            "the triton engine needs Triton, which is not installed. Run pip install 'spikeloom[triton]', or choose "
            'the definition with kernels.use("torch").'
        )
    if tuple(map(int, release().split(".")[:2])) < OLDEST:
        raise ConfigError(
            f"the triton engine needs Triton {'.'.join(map(str, OLDEST))} or newer, but {release()} is "
            'installed. Install a newer PyTorch, which brings one, or choose the definition with kernels.use("torch").'
        )


def check_device(like: Tensor, interpreted: bool) -> None:
    """Raise ConfigError if tensors are on the CPU and Triton does not run in its interpreter."""
    if like.device.type == "cpu" and not interpreted:
        raise ConfigError(
            'the triton engine got tensors on the CPU. Move them to CUDA, or leave out kernels.use("triton"); only '
            "for a test of the kernels, set TRITON_INTERPRET=1 before Python starts."
        )


def module_for(plan: Plan, like: Tensor) -> Any:
    """Return the module for this plan, if Triton can run it on tensors like this one.

    Raises:
        ConfigError: Triton is missing or too old, or the tensor is on the CPU outside Triton's interpreter.
    """
    check_installed()
    module = modules.load(plan, triton_source.write)
    check_device(like, module.INTERPRETED)
    return module


def forward(
    program: Program, plan: Plan, current: Tensor, states: list[Tensor], spikes: Tensor, left: Tensor,
    parameters: list[Tensor], history: Tensor | None, synapse: Synapses | None, noise: Tensor | None,
) -> list[Tensor]:  # fmt: skip
    """Run the forward pass; return [output spikes, refractory steps left, *final states, *kept]."""
    module = module_for(plan, current)
    out = _empty(current)
    left, *finals = (tensor.clone(memory_format=torch.contiguous_format) for tensor in (left, *states))
    every = SEGMENT if plan.memory == "lean" else 1
    kept = keep_like(module.KEEP, current, len(states), every)
    values: dict[str, Any] = {"refractory": program.refractory, "every": every}
    if plan.draws != "none":
        values["numbers"] = _numbers(tuple(program.surrogate.numbers()), current.dtype, current.device)
    if noise is not None:
        values["noise"] = noise
    if history is not None and synapse is not None:
        slots = len(history)
        whole = current.new_empty(len(current) + slots, *current.shape[1:])
        out, whole[len(current) :] = whole[: len(current)], history  # steps -D .. -1 are stored behind the last step
        values |= {"slots": slots, "weights": _padded([weight.t() for weight in synapse.slots(slots)])}
    _launch(
        module.forward, plan, current,
        {
            "current": current, "out": out, "spikes": spikes, "left": left,
            **_named("s_", plan.equation.states, finals),
            **_named("p_", plan.equation.parameters, parameters),
            **_named("", triton_source.kept_names(plan, module.KEEP), kept),
            **values,
        },
    )  # fmt: skip
    return [out, left, *finals, *kept]


def backward(
    program: Program, plan: Plan, grad_out: Tensor, grad_states: list[Tensor], current: Tensor, out: Tensor,
    spikes: Tensor, left: Tensor, parameters: list[Tensor], kept: list[Tensor], history: Tensor | None,
    synapse: Synapses | None, noise: Tensor | None, weight_learns: bool,
) -> list[Tensor]:  # fmt: skip
    """Run the backward pass; return the gradients [current, *states, spikes, *learned parameters] and, if recurrent,
    those of the history and (if `weight_learns`) of the weight."""
    module = module_for(plan, current)
    states = plan.equation.states
    grad_current, grad_spikes = _empty(current), torch.zeros_like(spikes, memory_format=torch.contiguous_format)
    grads = [grad.clone(memory_format=torch.contiguous_format) for grad in grad_states]
    sums = [current.new_zeros(current.shape[1:], dtype=torch.float64) for _ in plan.learns]
    values: dict[str, Any] = {"refractory": program.refractory}
    if noise is not None:
        values["noise"] = noise
    if plan.memory == "lean" and module.KEEP == "states":
        values |= {f"r_{name}": current.new_empty(SEGMENT, *current.shape[1:]) for name in states}
    weights: list[Tensor] = []
    if history is not None and synapse is not None:
        weights = synapse.slots(len(history))
        values |= {"weights": _padded(weights), "slots": len(history)}
        if module.KEEP == "states":  # the kernel reads the whole current of a step here before it writes the gradient
            _whole_current(grad_current, current, history, out, weights)
    _launch(
        module.backward, plan, current,
        {
            "grad_out": grad_out, "current": current, "out": out, "spikes": spikes, "left": left,
            "g_spikes": grad_spikes, "grad_current": grad_current,
            "numbers": _numbers(tuple(program.surrogate.numbers()), current.dtype, current.device),
            **_named("g_", states, grads),
            **_named("gp_", plan.learns, sums),
            **_named("p_", plan.equation.parameters, parameters),
            **_named("", triton_source.kept_names(plan, module.KEEP), kept),
            **values,
        },
    )  # fmt: skip
    learnt = [
        total.sum(0) if name in plan.vectors else total.sum() for name, total in zip(plan.learns, sums, strict=True)
    ]
    result = [grad_current, *grads, grad_spikes, *(total.to(current.dtype) for total in learnt)]
    if history is not None and synapse is not None:
        grad_history = torch.zeros_like(history, memory_format=torch.contiguous_format)
        grad_history[-1] = grad_spikes
        for d, weight in enumerate(weights):  # spikes of the history arrive with delay d in the first d + 1 steps
            early = grad_current[: d + 1]
            grad_history[len(history) - 1 - d :][: len(early)] += early @ weight
        grad_spikes.copy_(grad_history[-1])
        result.append(grad_history)
        if weight_learns:
            result.append(_weight_gradient(grad_current, history, out, synapse))
    return result


def _empty(like: Tensor) -> Tensor:
    return torch.empty_like(like, memory_format=torch.contiguous_format)


def _named(prefix: str, names: tuple[str, ...] | list[str], tensors: list[Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in zip(names, tensors, strict=True)}


@lru_cache(maxsize=256)
def _numbers(numbers: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return gain and numbers of the surrogate as a tensor."""
    return torch.tensor(numbers, dtype=dtype, device=device)


def _padded(weights: list[Tensor]) -> Tensor:
    """Return weights as the recurrent loop reads them, padded to [slots, COLS, COLS]."""
    size = len(weights[0])
    room = shape("recurrent", size, weights[0].dtype, 1).constants["COLS"] - size
    return torch.nn.functional.pad(torch.stack(weights), (0, room, 0, room))


def _launch(kernel: Any, plan: Plan, like: Tensor, values: dict[str, Any]) -> None:
    """Run a kernel over currents like [T, B, N]."""
    steps, batch, size = like.shape
    if like.numel() == 0:
        return
    constants, options = shape(plan.loop, size, like.dtype, batch)
    programs = -(-batch // constants["ROWS"]) if plan.loop == "recurrent" else -(-batch * size // constants["BLOCK"])
    values = {name: value.contiguous() if isinstance(value, Tensor) else value for name, value in values.items()}
    with torch.cuda.device(like.device if like.is_cuda else -1), np.errstate(all="ignore"):  # masked elements too
        kernel[(programs,)](**values, **constants, steps=steps, batch=batch, size=size, **options)


def _arriving(history: Tensor, out: Tensor, d: int) -> Iterator[tuple[Tensor, slice]]:
    """Yield the spikes that arrive with delay d, first those of the history, and the steps in which they arrive."""
    early = min(d + 1, len(out))
    yield history[len(history) - 1 - d :][:early], slice(0, early)
    yield out[: len(out) - early], slice(early, len(out))


def _whole_current(total: Tensor, current: Tensor, history: Tensor, out: Tensor, weights: list[Tensor]) -> None:
    """total = current plus the currents of the recurrent synapses."""
    size = current.shape[-1]
    total.copy_(current)
    for d, weight in enumerate(weights):
        for past, when in _arriving(history, out, d):
            total[when].view(-1, size).addmm_(past.reshape(-1, size), weight.t())


def _weight_gradient(grad_current: Tensor, history: Tensor, out: Tensor, synapse: Synapses) -> Tensor:
    """Return the sum over samples and steps of spike times gradient, per pair [pre * post]."""
    size = out.shape[-1]
    total = torch.zeros(size, size, dtype=out.dtype, device=out.device)
    for d in range(1 if synapse.delays is None else len(history)):
        part = torch.zeros_like(total)
        for past, when in _arriving(history, out, d):
            part.addmm_(past.reshape(-1, size).t(), grad_current[when].reshape(-1, size))
        total = part if synapse.delays is None else torch.where(synapse.delays.t() == d, part, total)
    return total.reshape(-1)
