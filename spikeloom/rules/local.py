"""Interface of local learning rules: they change weights by activity at the synapse, without labels or gradients."""

from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import ShapeError, check_dense

Traces = Any
"""A NamedTuple of tensors: low-passed spikes of the presynaptic and postsynaptic neurons."""


class LocalRule(Protocol):
    """Protocol of a local learning rule, a pair of functions without side effects."""

    def initial_traces(self, pre: Tensor, post: Tensor) -> Traces:
        """Return the traces before the first step; `pre` [B, I] and `post` [B, N] are slices of the spikes."""

    def update(self, weight: Tensor, pre: Tensor, post: Tensor, traces: Traces) -> tuple[Tensor, Traces]:
        """Return weight [N, I] and traces after one step with spikes `pre` [B, I] and `post` [B, N]."""


def zeros(*spikes: Tensor) -> tuple[Tensor, ...]:
    """Return traces of zeros like the spikes, of a floating point dtype also for integer or boolean spikes.

    >>> zeros(torch.ones(1, 2, dtype=torch.int64))
    (tensor([[0., 0.]]),)
    """
    for part in spikes:
        check_dense("initial_traces", part, "spikes")
    kinds = (part.dtype if part.is_floating_point() else torch.get_default_dtype() for part in spikes)
    return tuple(torch.zeros_like(part, dtype=kind) for part, kind in zip(spikes, kinds, strict=True))


def like_weight(owner: str, weight: Tensor, spikes: dict[str, Tensor], traces: dict[str, Tensor]) -> list[Tensor]:
    """Return spikes and traces in the dtype of the weight, in which a rule computes, in their order.

    `spikes` are "pre" [B, I] and "post" [B, N]; a trace whose name ends with "pre" has the shape of "pre", any other
    that of "post".

    Raises:
        ShapeError: the weight is not of a floating point dtype, or a tensor has another shape or device.
    """
    check_dense(owner, weight, "weight")
    if not weight.is_floating_point():
        raise ShapeError(
            f"{owner} needs a floating point weight, but got {weight.dtype}: steps of a rule are parts of one. Call "
            ".float() on it first."
        )
    result = []
    for name, part in (spikes | traces).items():
        shape = (spikes["pre"] if name.endswith("pre") else spikes["post"]).shape
        check_dense(owner, part, name)
        if part.shape != shape:
            got = f"{part.dtype} {list(part.shape)}"
            raise ShapeError(
                f"{owner} needs {name} {list(shape)} of real numbers, but got {got}. Start with "
                "initial_traces(pre, post) of these samples, or carry on with the traces that it returned."
            )
        if part.device != weight.device:
            raise ShapeError(
                f"{owner} has its weight on {weight.device}, but {name} on {part.device}. Move one with .to()."
            )
        result.append(part if part.dtype == weight.dtype else part.to(weight.dtype))
    return result
