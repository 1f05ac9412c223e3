"""Fallbacks to the definition for everything that compiled loops do not support.

A compiled loop has a forward pass and a first derivative. PyTorch can require more in four ways: differentiate a
gradient (`create_graph=True`), transform a function (`torch.func`, forward-mode derivatives, batched gradients), trace
or export a network (`torch.jit.trace`, `torch.export`, ONNX), or pass tensors without memory (the meta device, fake
tensors, subclasses). The definition consists of ordinary torch operations and supports all of these: the last three run
by it from the start (`beyond_loops`), and a second derivative is that of the definition, recomputed from the inputs
that the loop saved (`definition_gradients`).
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

_PLAIN = {Tensor, nn.Parameter}
_has_storage: Any = torch._C._has_storage
_transforms: Any = torch._C._are_functorch_transforms_active
_tracing: Any = torch._C._get_tracing_state


def beyond_loops(tensor: Tensor) -> bool:
    """Return whether PyTorch transforms, traces or exports computations with this tensor, so no compiled loop can run.

    >>> torch.func.vmap(lambda x: x * beyond_loops(x))(torch.ones(2)), beyond_loops(torch.ones(2))
    (tensor([1., 1.]), False)
    """
    if torch.compiler.is_compiling():
        return torch.compiler.is_exporting()
    return type(tensor) not in _PLAIN or _transforms() or forward_ad._current_level >= 0 or _tracing() is not None


def readable(tensor: Tensor) -> bool:
    """Return whether Python may read the values of this tensor: they exist, and nothing is compiled or transformed."""
    return not (torch.compiler.is_compiling() or tensor.is_meta or beyond_loops(tensor))


def without_autocast(like: Tensor) -> AbstractContextManager[Any]:
    """Return a context in which products have the precision of their inputs, on the device of this tensor."""
    device = like.device.type
    active = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if active else nullcontext()


def beyond_backward(grads: Sequence[Tensor | None]) -> bool:
    """Return whether a backward pass must itself be differentiable, or gets batched gradients."""
    if torch.compiler.is_compiling():
        return False
    return torch.is_grad_enabled() or any(type(grad) is Tensor and not _has_storage(grad) for grad in grads)


def definition_gradients(
    definition: Callable[..., Sequence[Tensor]], inputs: Sequence[Any], grads: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Return the gradients of `inputs` by differentiating the definition; they have a graph if gradients are enabled.

    Args:
        definition: computes the outputs from the inputs with torch operations.
        inputs: the inputs that the forward pass saved, with their graphs; those that are no tensors, or need no
            gradient, are passed on unchanged.
        grads: gradients of the outputs, None for an output without one.

    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> (slope,) = definition_gradients(lambda x: [x**3], [x], [torch.tensor(1.0)])
    >>> torch.autograd.grad(slope, x)
    (tensor(18.),)
    """
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views, so that autograd.grad stops at the inputs and not in the graph that they were computed by.
        own = [x.view_as(x) if isinstance(x, Tensor) and x.requires_grad else x for x in inputs]
        outputs = definition(*own)
        pairs = [(out, grad) for out, grad in zip(outputs, grads, strict=True) if grad is not None]
        pairs = [(out, grad) for out, grad in pairs if out.requires_grad]
        places = [place for place, x in enumerate(own) if isinstance(x, Tensor) and x.requires_grad]
        result: list[Tensor | None] = [None] * len(own)
        if pairs:
            found = torch.autograd.grad(
                [out for out, _ in pairs], [own[place] for place in places], [grad for _, grad in pairs],
                create_graph=again, allow_unused=True,
            )  # fmt: skip
            for place, gradient in zip(places, found, strict=True):
                result[place] = gradient
    return result
