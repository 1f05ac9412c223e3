"""The loops on the CPU: arrays into the generated modules, and what they return back into tensors."""

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
"""Share of synapses above which a product without delays is faster dense."""


class Lists(NamedTuple):
    """Synapses sorted by the neuron before them; see synapses.py."""

    dense: bool
    first: Array  # [pre + 1]
    post: Array  # [synapses]
    delay: Array  # [synapses], in steps
    weight: Array  # [synapses]
    pairs: Array | None = None  # [synapses], places in weight [pre, post] flattened; None: all of them

    def places(self, stride: int) -> Array:
        """Where each synapse leads, in an array with `stride` elements a step."""
        return self.delay * stride + self.post

    def check(self, slots: int) -> None:
        """Raise ShapeError if a synapse leads beyond `slots` steps."""
        check_range(torch.from_numpy(self.delay), slots)


def array(tensor: Tensor) -> Array:
    """The memory of a tensor, contiguous."""
    return tensor.detach().contiguous().numpy()


def lists(weight: Tensor, delays: Tensor | None, sparse: bool = False) -> Lists:
    """All pairs of weight [post, pre]; if `sparse`, only those whose weight is not zero, where that is less work."""
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
    """The plan of the module for this call."""
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
    """Scalars of the kernel's type; values per neuron repeated for each of `rows` samples."""
    kind = np.dtype(plan.dtype).type
    values = zip(plan.equation.parameters, parameters, strict=True)
    return {f"p_{name}": kind(p.item()) if p.dim() == 0 else np.tile(array(p), rows) for name, p in values}


def forward(
    program: Program, plan: Plan, current: Tensor, states: list[Tensor], spikes: Tensor, left: Tensor,
    parameters: list[Tensor], history: Tensor | None, synapse: Lists | None, noise: Tensor | None,
) -> list[Tensor]:  # fmt: skip
    """[spikes out, steps left, *final states, *kept]."""
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
    """[current, *states, spikes, *learnt parameters, history and weight if recurrent]: the gradients."""
    module = cache.load(plan, numba_source.write)
    steps, batch, size = current.shape
    recurrent = history is not None
    blocks = -(-batch // LANES)
    grad_current = torch.empty_like(current, memory_format=torch.contiguous_format)
    grads = [grad.clone(memory_format=torch.contiguous_format) for grad in grad_states]
    grad_spikes = torch.zeros_like(spikes, memory_format=torch.contiguous_format)
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
            inputs = [(history, 1 - history.shape[0]), (out, 1)]
            result.append(weight_gradient(inputs, grad_current, synapse, history.shape[0]))
    return result


def weight_gradient(inputs: list[tuple[Tensor, int]], grad: Tensor, synapse: Lists, slots: int) -> Tensor:
    """Sum over samples and time of input [t] times gradient [t + offset + delay], per pair [pre * post].

    Delays are below `slots`. Zero for pairs that are not in the lists.
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
    """Currents [T, B, width] of input synapses; `past` are the inputs of the steps before."""
    out = torch.empty(*xs.shape[:2], width, dtype=xs.dtype)
    slots = past.shape[0] + 1
    synapse.check(slots)
    rest = [slots, synapse.dense, synapse.first, synapse.places(width), synapse.weight]
    threads.run(synapses.project, [array(past), array(xs), out.numpy(), *rest], xs.shape[1], xs.numel())
    return out


def keep_like(keep: str, current: Tensor, states: int, every: int) -> list[Tensor]:
    """Room for what the backward pass reads."""
    steps, batch, size = current.shape
    if keep == "distance":
        return [current.new_empty(steps, batch * size)]
    return [current.new_empty(-(-steps // every), batch * size) for _ in range(states if keep == "states" else 0)]


def _kept(plan: Plan, keep: str, kept: list[Tensor]) -> dict[str, Array]:
    names = ["kept_distance"] if keep == "distance" else [f"kept_{name}" for name in plan.equation.states]
    return {name: tensor.numpy() for name, tensor in zip(names, kept, strict=False)}


def _numbers(program: Program, plan: Plan) -> dict[str, Any]:
    """Gain and numbers of the surrogate, of the kernel's type."""
    names = ["gain", *surrogate_numbers(plan)]
    return dict(zip(names, map(np.dtype(plan.dtype).type, program.surrogate.numbers()), strict=True))


def _noise(noise: Tensor | None, width: int) -> dict[str, Any]:
    return {} if noise is None else {"noise": array(noise), "width": width}


def _synapses(history: Tensor | None, synapse: Lists | None) -> dict[str, Any]:
    if history is None or synapse is None:
        return {}
    size = history.shape[2]
    synapse.check(history.shape[0])
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
    if recurrent:
        threads.run(kernel, arguments, blocks, work)
    else:
        threads.run(kernel, arguments, elements, work, grain=64)
