"""Autograd functions for the memory loops, on the selected engine."""

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
    """Return the loops of the engine that runs tensors like this one.

    Raises:
        ConfigError: the engine is Triton, which cannot run here; see `gpu`.
    """
    if engine_for(like) != "triton":
        return CPU
    gpu.check_installed()
    from . import gpu as memory_triton

    gpu.check_device(like, memory_triton.INTERPRETED)
    return memory_triton.LOOPS


Definition = Callable[..., list[Tensor]]
"""Computes the same as a loop with torch operations, for second derivatives."""


def _own(tensor: Tensor) -> Tensor:
    """Return a contiguous copy, which a loop may overwrite."""
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
        arguments = (saved, ctx.constants, grad_out.contiguous(), grad_memory, grad_state)
        return ctx.loops.back_write(*arguments), grad_memory, grad_state, None, None, None, None


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, current: Tensor, feedback: Tensor, memory: Tensor, state: Tensor, history: Tensor,
        constants: Constants, learns: bool, loops: Loops, definition: Definition,
    ) -> Any:  # fmt: skip
        inputs = current, feedback, memory, state, history
        state, history = _own(state), history.contiguous()
        arguments = (current.contiguous(), feedback.T.contiguous(), memory.contiguous(), state, history)
        out, saved = loops.read(*arguments, constants, learns)
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
        grads = ctx.loops.back_read(saved, ctx.constants, grad_out.contiguous(), grad_state)
        grad_current, grad_memory, grad_history = grads
        fed_back = torch.cat([history, out[..., out.shape[2] // 2 :]])[: len(out)]
        grad_feedback = grad_current.flatten(0, 1).T @ fed_back.flatten(0, 1)
        return grad_current, grad_feedback, grad_memory, grad_state, grad_history, None, None, None, None


def write_sequence(
    current: Tensor, memory: Tensor, parts: list[Tensor], neuron: Any, rule: Any, recall: float, definition: Definition
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Run `HebbianWrite` over currents [T, B, 2 N]; return spikes, memory, and the parts of the next state.

    `parts` [B, N] are voltage, spikes and refractory steps left of keys, the same of values, and both traces.
    `definition` computes spikes, memory and stacked parts from current, memory and stacked parts.
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
    """Run `HebbianRead` over currents [T, B, N]; return spikes and the parts of the next state (without traces).

    `definition` computes spikes and stacked parts from current, feedback, memory, stacked parts and history.
    """
    arguments = (current, feedback, memory, torch.stack(parts, 1), history)
    learns = torch.is_grad_enabled() and any(part.requires_grad for part in arguments)
    out, after = _Read.apply(*arguments, Constants.of(neuron, current.dtype), learns, loops_for(current), definition)
    return out, after.unbind(1)
