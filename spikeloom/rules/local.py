"""The contract of every rule that changes weights by what happens at the synapse, without labels or gradients."""

from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import ShapeError, check_dense

Traces = Any
"""A NamedTuple of tensors: what a rule remembers of the spikes of both sides."""


class LocalRule(Protocol):
    """How a synapse changes by what its two sides do. Pure: state in, state out."""

    def initial_traces(self, pre: Tensor, post: Tensor) -> Traces:
        """Traces of samples that have seen nothing; `pre` [B, I] and `post` [B, N] are slices of the spikes."""

    def update(self, weight: Tensor, pre: Tensor, post: Tensor, traces: Traces) -> tuple[Tensor, Traces]:
        """One step: weight [N, I] and the spikes of this step, [B, I] and [B, N]; the new weight and traces."""


def zeros(*spikes: Tensor) -> tuple[Tensor, ...]:
    """Traces of nothing: like the spikes, but real numbers, also of whole-number or boolean spikes.

    >>> zeros(torch.ones(1, 2, dtype=torch.int64))
    (tensor([[0., 0.]]),)
    """
    for part in spikes:
        check_dense("initial_traces", part, "spikes")
    kinds = (part.dtype if part.is_floating_point() else torch.get_default_dtype() for part in spikes)
    return tuple(torch.zeros_like(part, dtype=kind) for part, kind in zip(spikes, kinds, strict=True))


def like_weight(owner: str, weight: Tensor, spikes: dict[str, Tensor], traces: dict[str, Tensor]) -> list[Tensor]:
    """Spikes and traces in the dtype of the weight, in their order: a rule computes in that.

    `spikes` are "pre" [B, I] and "post" [B, N]; each trace belongs to the one whose name its own begins with, `slow` to
    "post".

    Raises:
        ShapeError: the weight holds no real numbers, or something is of another shape or on another device.
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
