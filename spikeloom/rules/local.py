"""The contract of every rule that changes weights by what happens at the synapse, without labels or gradients."""

from typing import Any, Protocol

from torch import Tensor

Traces = Any
"""A NamedTuple of tensors: what a rule remembers of the spikes of both sides."""


class LocalRule(Protocol):
    """How a synapse changes by what its two sides do. Pure: state in, state out."""

    def initial_traces(self, pre: Tensor, post: Tensor) -> Traces:
        """Traces of samples that have seen nothing; `pre` [B, I] and `post` [B, N] are slices of the spikes."""

    def update(self, weight: Tensor, pre: Tensor, post: Tensor, traces: Traces) -> tuple[Tensor, Traces]:
        """One step: weight [N, I] and the spikes of this step, [B, I] and [B, N]; the new weight and traces."""
