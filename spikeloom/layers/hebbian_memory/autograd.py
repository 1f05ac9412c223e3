"""The loops of the memory as functions with a gradient, on the engine that is in use."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...kernels.engines import gpu
from ...kernels.engines.choose import engine_for
from ...kernels.transforms import beyond_backward, definition_gradients
from .cpu import CPU
from .plan import Constants, Loops


def loops_for(like: Tensor) -> Loops:
    """The loops of the engine that runs tensors like this one.

    Raises:
        ConfigError: it is Triton, and Triton cannot run here; see `gpu`.
    """
    if engine_for(like) != "triton":
        return CPU
    gpu.check_installed()
    from . import gpu as memory_triton

    gpu.check_device(like, memory_triton.INTERPRETED)
    return memory_triton.LOOPS


Definition = Callable[..., list[Tensor]]
"""Computes what a loop does by operations of torch, for second derivatives."""


def _own(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)


class _Write(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, current: Tensor, memory: Tensor, state: Tensor, constants: Constants, learns: bool, loops: Loops,
        definition: Definition,
    ) -> Any:  # fmt: skip
        first, memory, state = (memory, state), _own(memory), _own(state)
        out, saved = loops.write(current.contiguous(), memory, state, constants, learns)
        ctx.save_for_backward(current, *first, *saved)
        ctx.constants, ctx.loops, ctx.definition = constants, loops, definition
        return out, memory, state

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor, grad_memory: Tensor, grad_state: Tensor) -> Any:
        current, memory, state, *saved = ctx.saved_tensors
        grads = [grad_out, grad_memory, grad_state]
        if beyond_backward(grads):
            return *definition_gradients(ctx.definition, [current, memory, state], grads), None, None, None, None
        grad_memory, grad_state = _own(grad_memory), _own(grad_state)
        given = (saved, ctx.constants, grad_out.contiguous(), grad_memory, grad_state)
        return ctx.loops.back_write(*given), grad_memory, grad_state, None, None, None, None


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, current: Tensor, feedback: Tensor, memory: Tensor, state: Tensor, history: Tensor,
        constants: Constants, learns: bool, loops: Loops, definition: Definition,
    ) -> Any:  # fmt: skip
        inputs = current, feedback, memory, state, history
        state, history = _own(state), history.contiguous()
        given = (current.contiguous(), feedback.T.contiguous(), memory.contiguous(), state, history)
        out, saved = loops.read(*given, constants, learns)
        ctx.save_for_backward(*inputs, out, *saved)
        ctx.constants, ctx.loops, ctx.definition = constants, loops, definition
        return out, state

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor, grad_state: Tensor) -> Any:
        current, feedback, memory, state, history, out, *saved = ctx.saved_tensors
        if beyond_backward([grad_out, grad_state]):
            inputs = [current, feedback, memory, state, history]
            return *definition_gradients(ctx.definition, inputs, [grad_out, grad_state]), None, None, None, None
        grad_state = _own(grad_state)
        to_current, to_memory, to_history = ctx.loops.back_read(saved, ctx.constants, grad_out.contiguous(), grad_state)
        heard = torch.cat([history, out[..., out.shape[2] // 2 :]])[: len(out)]
        to_feedback = to_current.flatten(0, 1).T @ heard.flatten(0, 1)
        return to_current, to_feedback, to_memory, grad_state, to_history, None, None, None, None


def write_sequence(
    current: Tensor, memory: Tensor, parts: list[Tensor], neuron: Any, rule: Any, recall: float, definition: Definition
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """`HebbianWrite` over currents [T, B, 2 N]: spikes, memory, and the parts of the next state.

    `parts` [B, N] are voltage, spikes and steps left of keys, of values, and both traces. `definition` computes
    spikes, memory and stacked parts from current, memory and stacked parts.
    """
    state = torch.stack(parts, 1)
    learns = torch.is_grad_enabled() and any(part.requires_grad for part in (current, memory, state))
    constants = Constants.of(neuron, current.dtype, rule, recall)
    out, memory, after = _Write.apply(current, memory, state, constants, learns, loops_for(current), definition)
    return out, memory, after.unbind(1)


def read_sequence(
    current: Tensor, feedback: Tensor, memory: Tensor, parts: list[Tensor], history: Tensor, neuron: Any,
    definition: Definition,
) -> tuple[Tensor, tuple[Tensor, ...]]:  # fmt: skip
    """`HebbianRead` over currents [T, B, N]: spikes and the parts of the next state; parts as above, without traces.

    `definition` computes spikes and stacked parts from current, feedback, memory, stacked parts and history.
    """
    given = (current, feedback, memory, torch.stack(parts, 1), history)
    learns = torch.is_grad_enabled() and any(part.requires_grad for part in given)
    out, after = _Read.apply(*given, Constants.of(neuron, current.dtype), learns, loops_for(current), definition)
    return out, after.unbind(1)
