"""CPU engine: calls the generated Numba modules with the memory of tensors, and returns tensors."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..bounds import check_range
from ..loops import numba_source
from ..loops.lanes import LANES
from ..plan import SEGMENT, Plan, backward_arguments, forward_arguments, surrogate_numbers
from ..program import Program
from ..synapses import products as synapses
from . import cache, threads

Array = Any


_FEW = 0.3
"""Fraction of existing synapses above which a product without delays is faster dense."""


class Lists(NamedTuple):
    """Synapses sorted by presynaptic neuron, in compressed sparse row format; see `synapses.products`."""

    dense: bool  # all pairs exist and have no delay; then first, post and delay are empty
    first: Array  # [pre + 1], start of the synapses of each presynaptic neuron
    post: Array  # [S], postsynaptic neuron of each synapse
    delay: Array  # [S], in steps
    weight: Array  # [S]
    pairs: Array | None = None  # [S], flat indices into weight [pre, post]; None if all pairs exist

    def places(self, stride: int) -> Array:
        """Return the flat offset from a spike to the target of each synapse, with `stride` elements per step."""
        return self.delay * stride + self.post

    def check(self, slots: int) -> None:
        """Raise ShapeError unless every delay is in 0 .. slots - 1."""
        check_range(torch.from_numpy(self.delay), slots)


def array(tensor: Tensor) -> Array:
    """Return the memory of a tensor as a contiguous array."""
    return tensor.detach().contiguous().numpy()


def lists(weight: Tensor, delays: Tensor | None, sparse: bool = False) -> Lists:
    """Return the synapses of weight [post, pre]: all pairs or, if `sparse` and faster, those with non-zero weight."""
    post, pre = weight.shape
    weights = array(weight.t()).reshape(-1)
    if sparse:
        index = np.flatnonzero(weights)
        if delays is not None or len(index) < _FEW * len(weights):
            first = np.searchsorted(index, np.arange(pre + 1, dtype=np.int64) * post)
            delay = np.zeros_like(index) if delays is None else array(delays.t()).reshape(-1)[index].astype(np.int64)
            return Lists(False, first, index % post, delay, weights[index], index)
    if delays is None:
        none = np.zeros(0, np.int64)
        return Lists(True, none, none, none, weights)
    first = np.arange(pre + 1, dtype=np.int64) * post
    return Lists(False, first, np.tile(np.arange(post), pre), array(delays.t().long()).reshape(-1), weights)


def plan(
    program: Program, parameters: list[Tensor], dtype: torch.dtype, recurrent: bool, memory: str, learns: str
) -> Plan:
    """Return the plan of the module for this call."""
    names = program.equation.parameters
    return Plan(
        program.equation,
        type(program.surrogate),
        program.detach_reset,
        str(dtype).removeprefix("torch."),
        program.refractory > 0,
        "recurrent" if recurrent else "elementwise",
        memory,
        tuple(learns.split()),
        frozenset(name for name, value in zip(names, parameters, strict=True) if value.dim() > 0),
        program.draws,
    )


def _parameters(plan: Plan, parameters: list[Tensor], rows: int) -> dict[str, Any]:
    """Return scalars in the kernel's dtype, and values per neuron repeated for each of `rows` samples."""
    kind = np.dtype(plan.dtype).type
    values = zip(plan.equation.parameters, parameters, strict=True)
    return {f"p_{name}": kind(p.item()) if p.dim() == 0 else np.tile(array(p), rows) for name, p in values}


def forward(
    program: Program, plan: Plan, current: Tensor, states: list[Tensor], spikes: Tensor, left: Tensor,
    parameters: list[Tensor], history: Tensor | None, synapse: Lists | None, noise: Tensor | None,
) -> list[Tensor]:  # fmt: skip
    """Run the forward pass; return [output spikes, refractory steps left, *final states, *kept]."""
    module = cache.load(plan, numba_source.write)
    steps, batch, size = current.shape
    recurrent = history is not None
    blocks = -(-batch // LANES)
    out, left = (
        torch.empty_like(current, memory_format=torch.contiguous_format),
        left.clone(memory_format=torch.contiguous_format),
    )
    finals = [state.clone(memory_format=torch.contiguous_format) for state in states]
    every = SEGMENT if plan.memory == "lean" else 1
    kept = keep_like(module.KEEP, current, len(states), every)
    values: dict[str, Any] = {
        "current": array(current).reshape(steps, -1),
        "out": out.numpy().reshape(steps, -1),
        "every": every,
        "spikes": array(spikes).reshape(-1).copy(),
        "left": left.numpy().reshape(-1),
        "refractory": program.refractory,
        **{f"s_{name}": final.numpy().reshape(-1) for name, final in zip(plan.equation.states, finals, strict=True)},
        **_parameters(plan, parameters, min(batch, LANES) if recurrent else batch),
        **_kept(plan, module.KEEP, kept),
        **_synapses(history, synapse),
        **_numbers(program, plan),
        **_noise(noise, size),
    }
    arguments = [values[name] for name in forward_arguments(plan, module.KEEP)]
    _run(module.forward, arguments, recurrent, blocks, current.numel(), batch * size)
    return [out, left, *finals, *kept]


def backward(
    program: Program, plan: Plan, grad_out: Tensor, grad_states: list[Tensor], current: Tensor, out: Tensor,
    spikes: Tensor, left: Tensor, parameters: list[Tensor], kept: list[Tensor], history: Tensor | None,
    synapse: Lists | None, noise: Tensor | None, weight_learns: bool,
) -> list[Tensor]:  # fmt: skip
    """Run the backward pass; return the gradients [current, *states, spikes, *learned parameters] and, if recurrent,
    those of the history and (if `weight_learns`) of the weight."""
    module = cache.load(plan, numba_source.write)
    steps, batch, size = current.shape
    recurrent = history is not None
    blocks = -(-batch // LANES)
    grad_current = torch.empty_like(current, memory_format=torch.contiguous_format)
    grads = [grad.clone(memory_format=torch.contiguous_format) for grad in grad_states]
    grad_spikes = torch.zeros_like(spikes, memory_format=torch.contiguous_format)
    # one float64 sum per element (or per block and lane): independent of the number of threads
    sums = {name: np.zeros((blocks, LANES * size) if recurrent else batch * size) for name in plan.learns}
    values: dict[str, Any] = {
        "grad_out": array(grad_out).reshape(steps, -1),
        "current": array(current).reshape(steps, -1),
        "out": array(out).reshape(steps, -1),
        "spikes": array(spikes).reshape(-1),
        "left": array(left).reshape(-1),
        "refractory": program.refractory,
        "count": np.empty(batch * size, plan.dtype),
        "g_spikes": grad_spikes.numpy().reshape(-1),
        "grad_current": grad_current.numpy().reshape(steps, -1),
        **_numbers(program, plan),
        **_noise(noise, size),
        **{f"g_{name}": grad.numpy().reshape(-1) for name, grad in zip(plan.equation.states, grads, strict=True)},
        **{f"gp_{name}": total for name, total in sums.items()},
        **_parameters(plan, parameters, min(batch, LANES) if recurrent else batch),
        **_kept(plan, module.KEEP, kept),
        **_synapses(history, synapse),
    }
    result = [grad_current, *grads, grad_spikes]
    if history is not None:
        grad_history = torch.empty_like(history, memory_format=torch.contiguous_format)
        values["grad_history"] = grad_history.numpy()
    arguments = [values[name] for name in backward_arguments(plan, module.KEEP)]
    _run(module.backward, arguments, recurrent, blocks, 3 * current.numel(), batch * size)
    for name in plan.learns:
        per_neuron = torch.from_numpy(sums[name].reshape(-1, size).sum(0))
        total = per_neuron if name in plan.vectors else per_neuron.sum()
        result.append(total.to(current.dtype))
    if history is not None and synapse is not None:
        result.append(grad_history)
        if weight_learns:
            # a spike of step t arrives at t + 1 + delay; those of the history were fired in steps -D .. -1
            inputs = [(history, 1 - history.shape[0]), (out, 1)]
            result.append(weight_gradient(inputs, grad_current, synapse, history.shape[0]))
    return result


def weight_gradient(inputs: list[tuple[Tensor, int]], grad: Tensor, synapse: Lists, slots: int) -> Tensor:
    """Return the sum over samples and time of input[t] * grad[t + offset + delay], per pair [pre * post].

    Args:
        inputs: pairs of an input [T, B, pre] and its offset in steps.
        slots: upper limit of the delays.

    Pairs that are not in the lists get zero.
    """
    synapse.check(slots)
    blocks = -(-grad.shape[1] // LANES)
    sums = np.zeros((blocks, len(synapse.weight)), array(grad).dtype)
    rest = [slots, synapse.dense, synapse.first, synapse.places(grad.shape[2]), sums]
    for xs, offset in inputs:
        threads.run(synapses.weight_gradient, [array(xs), array(grad), offset, *rest], blocks, xs.numel())
    total = sums.sum(0)
    if synapse.pairs is None:
        return torch.from_numpy(total)
    whole = np.zeros(inputs[0][0].shape[2] * grad.shape[2], total.dtype)
    whole[synapse.pairs] = total
    return torch.from_numpy(whole)


def project(xs: Tensor, past: Tensor, width: int, synapse: Lists) -> Tensor:
    """Compute the currents [T, B, width] of input synapses; `past` [D - 1, B, I] are the inputs before `xs`."""
    out = torch.empty(*xs.shape[:2], width, dtype=xs.dtype)
    slots = past.shape[0] + 1
    synapse.check(slots)
    rest = [slots, synapse.dense, synapse.first, synapse.places(width), synapse.weight]
    threads.run(synapses.project, [array(past), array(xs), out.numpy(), *rest], xs.shape[1], xs.numel())
    return out


def keep_like(keep: str, current: Tensor, states: int, every: int) -> list[Tensor]:
    """Allocate the tensors that the forward pass saves for the backward pass."""
    steps, batch, size = current.shape
    if keep == "distance":
        return [current.new_empty(steps, batch * size)]
    return [current.new_empty(-(-steps // every), batch * size) for _ in range(states if keep == "states" else 0)]


def _kept(plan: Plan, keep: str, kept: list[Tensor]) -> dict[str, Array]:
    names = ["kept_distance"] if keep == "distance" else [f"kept_{name}" for name in plan.equation.states]
    return {name: tensor.numpy() for name, tensor in zip(names, kept, strict=False)}


def _numbers(program: Program, plan: Plan) -> dict[str, Any]:
    """Return gain and numbers of the surrogate in the kernel's dtype."""
    names = ["gain", *surrogate_numbers(plan)]
    return dict(zip(names, map(np.dtype(plan.dtype).type, program.surrogate.numbers()), strict=True))


def _noise(noise: Tensor | None, width: int) -> dict[str, Any]:
    return {} if noise is None else {"noise": array(noise), "width": width}


def _synapses(history: Tensor | None, synapse: Lists | None) -> dict[str, Any]:
    """Return the arguments of a recurrent loop for its synapses."""
    if history is None or synapse is None:
        return {}
    size = history.shape[2]
    synapse.check(history.shape[0])
    # push writes rows [LANES samples, size]; pull reads rows [size, LANES] neuron by neuron
    lead, line = (synapse.places(stride) for stride in (LANES * size, size))
    return {
        "history": array(history),
        "dense": synapse.dense,
        "first": synapse.first,
        "weight": synapse.weight,
        "lead": lead,
        "line": line,
    }


def _run(kernel: Any, arguments: list[Any], recurrent: bool, blocks: int, work: int, elements: int) -> None:
    """Run a loop in threads: a recurrent one over blocks of samples, an elementwise one over elements."""
    if recurrent:
        threads.run(kernel, arguments, blocks, work)
    else:
        threads.run(kernel, arguments, elements, work, grain=64)
