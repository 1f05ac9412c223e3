"""Torch operators for the loops, so that autograd, torch.compile, autocast and DDP see ordinary operators.

spikeloom::spikes           (current, states, ..., synapses) -> [spikes, left, *states, *kept]
spikeloom::spikes_backward  -> gradients
spikeloom::project          input synapses with delays, event by event

Operators that take lists cost half a millisecond of Python per call. So `run` uses `spikes` only under torch.compile,
and the same two functions in an ordinary autograd function otherwise. A backward pass that must itself be
differentiable uses the definition; see `transforms`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from ..loops import definition
from ..loops.definition import Moving
from ..plan import SEGMENT
from ..program import Program, find, trace
from ..transforms import beyond_backward, definition_gradients, without_autocast
from . import cpu


def _engine(engine: str) -> Any:
    if engine == "numba":
        return cpu
    from . import gpu  # triton arrives with CUDA builds of torch, or as a test extra for its interpreter

    return gpu


def _lists(engine: str, weight: Tensor, delays: Tensor | None, sparse: bool) -> Any:
    return _engine(engine).lists(weight, delays, sparse)


def _spikes(
    current: Tensor, states: list[Tensor], past: Tensor, left: Tensor, parameters: list[Tensor], history: Tensor | None,
    weight: Tensor | None, delays: Tensor | None, noise: Tensor | None, sparse: bool, memory: str, learns: str,
    key: str, engine: str,
) -> list[Tensor]:  # fmt: skip
    """Run a program over current [T, B, N]; recurrent if there are a weight [post, pre] and a history [D, B, N].

    `past` [B, N] are the spikes and `left` [B, N] the refractory steps left before the first step; `learns` names the
    parameters that need a gradient, separated by spaces; `key` is that of the program.
    """
    program = find(key)
    plan = cpu.plan(program, parameters, current.dtype, weight is not None, memory, learns)
    synapse = None if weight is None else _lists(engine, weight, delays, sparse)
    result: list[Tensor] = _engine(engine).forward(
        program, plan, current, states, past, left, parameters, history, synapse, noise
    )
    return result


spikes = custom_op("spikeloom::spikes", _spikes, mutates_args=())


@spikes.register_fake
def _(
    current: Tensor, states: list[Tensor], past: Tensor, left: Tensor, parameters: list[Tensor], history: Tensor | None,
    weight: Tensor | None, delays: Tensor | None, noise: Tensor | None, sparse: bool, memory: str, learns: str,
    key: str, engine: str,
) -> list[Tensor]:  # fmt: skip
    from ..loops import numba_source
    from . import cache

    plan = cpu.plan(trace(key), parameters, current.dtype, weight is not None, memory, learns)
    every = SEGMENT if memory == "lean" else 1
    kept = cpu.keep_like(cache.load(plan, numba_source.write).KEEP, current, len(states), every)
    finals = [torch.empty_like(state, memory_format=torch.contiguous_format) for state in (left, *states)]
    return [torch.empty_like(current, memory_format=torch.contiguous_format), *finals, *kept]


def _spikes_backward(
    grad_out: Tensor, grad_states: list[Tensor], current: Tensor, out: Tensor, past: Tensor, left: Tensor,
    parameters: list[Tensor], kept: list[Tensor], history: Tensor | None, weight: Tensor | None, delays: Tensor | None,
    noise: Tensor | None, sparse: bool, weight_learns: bool, memory: str, learns: str, key: str, engine: str,
) -> list[Tensor]:  # fmt: skip
    """Return the gradients [current, *states, past, *learned, history, weight]; the last two only if recurrent."""
    program = find(key)
    plan = cpu.plan(program, parameters, current.dtype, weight is not None, memory, learns)
    synapse = None if weight is None else _lists(engine, weight, delays, sparse)
    result: list[Tensor] = _engine(engine).backward(
        program,
        plan,
        grad_out,
        grad_states,
        current,
        out,
        past,
        left,
        parameters,
        kept,
        history,
        synapse,
        noise,
        weight_learns,
    )
    if weight is not None and weight_learns:  # [pre * post] -> [post, pre]
        result[-1] = result[-1].reshape(weight.shape[1], weight.shape[0]).t().contiguous()
    return result


spikes_backward = custom_op("spikeloom::spikes_backward", _spikes_backward, mutates_args=())


@spikes_backward.register_fake
def _(
    grad_out: Tensor, grad_states: list[Tensor], current: Tensor, out: Tensor, past: Tensor, left: Tensor,
    parameters: list[Tensor], kept: list[Tensor], history: Tensor | None, weight: Tensor | None, delays: Tensor | None,
    noise: Tensor | None, sparse: bool, weight_learns: bool, memory: str, learns: str, key: str, engine: str,
) -> list[Tensor]:  # fmt: skip
    names = find(key).equation.parameters
    learnt = [parameter for name, parameter in zip(names, parameters, strict=True) if name in learns.split()]
    like = [current, *grad_states, past, *learnt]
    if history is not None and weight is not None:
        like += [history, weight] if weight_learns else [history]
    return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in like]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    """Save the inputs and outputs of `spikes` for the backward pass."""
    current, states, past, left, parameters, history, weight, delays, noise, sparse, memory, learns, key, engine = (
        inputs
    )
    kept = output[2 + len(states) :]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(
        current, past, left, history, weight, delays, noise, output[0], *states, *parameters, *kept
    )  # fmt: skip
    ctx.states, ctx.parameters = len(states), len(parameters)
    ctx.sparse, ctx.memory, ctx.learns, ctx.key, ctx.engine = sparse, memory, learns, key, engine
    ctx.weight_learns = weight is not None and weight.requires_grad


def _pull(ctx: Any, grads: Sequence[Tensor | None], backward: Any = spikes_backward) -> tuple[Any, ...]:
    """Return the gradients of all arguments of `spikes`, None for those without one."""
    current, past, left, history, weight, delays, noise, out, *rest = ctx.saved_tensors
    states, parameters, kept = rest[: ctx.states], rest[ctx.states :][: ctx.parameters], rest[ctx.states :]
    kept = kept[ctx.parameters :]
    output_grads = grads[: 2 + ctx.states]
    if beyond_backward(output_grads):
        return _differentiable(
            ctx, output_grads, current, states, past, left, parameters, history, weight, delays, noise
        )
    grad_out = torch.zeros_like(out) if grads[0] is None else grads[0]
    grad_states = [
        torch.zeros_like(state) if grad is None else grad for state, grad in zip(states, output_grads[2:], strict=True)
    ]
    pulled = backward(
        grad_out, grad_states, current, out, past, left, parameters, kept, history, weight, delays, noise, ctx.sparse,
        ctx.weight_learns, ctx.memory, ctx.learns, ctx.key, ctx.engine,
    )  # fmt: skip
    learns, names = ctx.learns.split(), find(ctx.key).equation.parameters
    learnt = dict(zip(learns, pulled[2 + ctx.states :], strict=False))
    tail = pulled[2 + ctx.states + len(learns) :]
    return (
        pulled[0], pulled[1 : 1 + ctx.states], pulled[1 + ctx.states], None, [learnt.get(name) for name in names],
        tail[0] if tail else None, tail[1] if len(tail) > 1 else None, None, None, None, None, None, None, None,
    )  # fmt: skip


def _differentiable(
    ctx: Any, grads: Sequence[Tensor | None], current: Tensor, states: list[Tensor], past: Tensor, left: Tensor,
    parameters: list[Tensor], history: Tensor | None, weight: Tensor | None, delays: Tensor | None,
    noise: Tensor | None,
) -> tuple[Any, ...]:  # fmt: skip
    """Return the gradients of `_pull` by the definition, so that they can be differentiated again."""
    program, many = find(ctx.key), ctx.states

    def in_torch(
        current: Tensor, past: Tensor, history: Tensor | None, weight: Tensor | None, *rest: Tensor
    ) -> list[Tensor]:
        values = dict(zip(program.equation.parameters, rest[many:], strict=True))
        moving = Moving(rest[:many], past, left, noise=() if noise is None else noise)
        if history is None or weight is None:
            out, moving = definition.neurons(program, current, moving, values)
        else:
            moving = moving._replace(spikes=history[-1], history=history[:-1].unbind(0))
            out, moving = definition.recurrent(program, current, moving, values, weight, delays)
        return [out, moving.left, *moving.states]

    inputs = [current, past, history, weight, *states, *parameters]
    current, past, history, weight, *rest = definition_gradients(in_torch, inputs, grads)  # type: ignore[assignment]
    return (
        current, rest[:many], past, None, rest[many:], history, weight, None, None, None, None, None, None, None,
    )  # fmt: skip


spikes.register_autograd(_pull, setup_context=_keep)


class _Spikes(torch.autograd.Function):
    """Autograd function for `spikes` without lists: (number of states, *non-tensor arguments), then the tensors."""

    @staticmethod
    def forward(rest: tuple[Any, ...], *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(_spikes(*_listed(rest, tensors)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(output[1], *output[2 + inputs[0][0] :])
        _keep(ctx, _listed(inputs[0], inputs[1:]), list(output))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        current, states, past, left, parameters, *tail = _pull(ctx, grads, _spikes_backward)[:9]
        return None, current, past, left, *tail, *states, *parameters


def _listed(rest: tuple[Any, ...], tensors: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of `spikes` from those of `_Spikes`."""
    states, *others = rest
    current, past, left, history, weight, delays, noise, *lists = tensors
    return current, lists[:states], past, left, lists[states:], history, weight, delays, noise, *others


def run(
    current: Tensor, states: list[Tensor], past: Tensor, left: Tensor, parameters: list[Tensor], history: Tensor | None,
    weight: Tensor | None, delays: Tensor | None, noise: Tensor | None, sparse: bool, memory: str, learns: str,
    program: Program, engine: str,
) -> list[Tensor]:  # fmt: skip
    """Run `spikes` as an operator under torch.compile, else as an autograd function, which is faster."""
    if torch.compiler.is_compiling():
        outputs: list[Tensor] = spikes(
            current, states, past, left, parameters, history, weight, delays, noise, sparse, memory, learns,
            program.key, engine,
        )  # fmt: skip
        return [outputs[0], outputs[1].detach(), *outputs[2:]]
    rest = (len(states), sparse, memory, learns, program, engine)
    return list(_Spikes.apply(rest, current, past, left, history, weight, delays, noise, *states, *parameters))


_SPARSE = 0.15
"""Inputs with a larger fraction of non-zero values use a dense matrix product."""


@custom_op("spikeloom::project", mutates_args=())
def project(
    xs: Tensor, past: Tensor, weight: Tensor, delays: Tensor | None, sparse: bool, events: bool = False
) -> Tensor:
    """Compute the currents [T, B, post] of inputs xs [T, B, pre] through weight [post, pre] with delays.

    Event by event if `events`, or if there are delays, or if few inputs are non-zero; else as a dense product.
    """
    if delays is None and not events and dense(xs):
        return definition.project(xs, past, weight, None, sparse)
    synapses = cpu.lists(weight, delays, sparse)
    xs = definition.heard(xs, weight) if sparse and synapses.dense else xs
    return cpu.project(xs, past, weight.shape[0], synapses)


def dense(xs: Tensor) -> bool:
    """Return whether many inputs are non-zero, judged by about 16 of the steps."""
    return float((xs.detach()[:: max(1, xs.shape[0] // 16)] != 0).float().mean()) > _SPARSE


@project.register_fake
def _(xs: Tensor, past: Tensor, weight: Tensor, delays: Tensor | None, sparse: bool, events: bool = False) -> Tensor:
    return xs.new_empty(*xs.shape[:2], weight.shape[0])


@custom_op("spikeloom::project_backward", mutates_args=())
def project_backward(
    grad: Tensor, xs: Tensor, past: Tensor, weight: Tensor, delays: Tensor | None, sparse: bool
) -> Tensor:
    """Return the gradient of the weight of `project`."""
    if delays is None and dense(xs):
        with without_autocast(xs):
            xs = definition.heard(xs, weight) if sparse else xs
            return grad.reshape(-1, grad.shape[2]).t() @ xs.reshape(-1, xs.shape[2])
    synapses = cpu.lists(weight, delays, sparse)
    xs = definition.heard(xs, weight) if sparse and synapses.dense else xs
    inputs = [(part, offset) for part, offset in ((past, -past.shape[0]), (xs, 0)) if part.shape[0]]
    result = cpu.weight_gradient(inputs, grad, synapses, past.shape[0] + 1)
    return result.reshape(weight.shape[1], weight.shape[0]).t().contiguous()


@project_backward.register_fake
def _(grad: Tensor, xs: Tensor, past: Tensor, weight: Tensor, delays: Tensor | None, sparse: bool) -> Tensor:
    return torch.empty_like(weight, memory_format=torch.contiguous_format)


def _project_keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.sparse, _ = inputs
    ctx.save_for_backward(*tensors)


def _project_pull(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None, None]:
    xs, past, weight, delays = ctx.saved_tensors
    if beyond_backward([grad]):
        inputs = [xs, past, weight]
        grads = definition_gradients(
            lambda xs, past, own: [definition.project(xs, past, own, delays, ctx.sparse)], inputs, [grad]
        )
        return grads[0], grads[1], grads[2], None, None, None
    grad_weight = project_backward(grad, xs, past, weight, delays, ctx.sparse) if ctx.needs_input_grad[2] else None
    grad_xs = grad_past = None
    if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
        rows, ahead = past.shape[0] + xs.shape[0], past.shape[0]
        whole = torch.zeros(rows, *xs.shape[1:], dtype=xs.dtype, device=xs.device)
        with without_autocast(xs):
            for d in range(ahead + 1):  # input t acted on current t + d
                part = weight if delays is None else torch.where(delays == d, weight, torch.zeros_like(weight))
                whole[ahead - d : rows - d] += grad @ part
        grad_past, grad_xs = whole[:ahead], whole[ahead:].clone()
    return grad_xs, grad_past, grad_weight, None, None, None


project.register_autograd(_project_pull, setup_context=_project_keep)
