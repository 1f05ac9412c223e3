"""Max pooling of spikes.

Source: Rueckauer et al., Conversion of continuous-valued deep networks, 2017 (the winner).
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..core import Whole, scan
from ..errors import check_like
from ..layers import folded


class PoolState(NamedTuple):
    """State of max pooling over spikes."""

    total: Tensor  # [B, C, *N], sum of the signal so far


class SpikingMaxPool(Whole):
    """Max pooling of spiking signals, which compares their sums so far; S_i[t] is the sum of input i.

        winner   y[t] = x_k[t],  S_k[t] = max_i S_i[t]
        lead     y[t] = max_i S_i[t] - max_i S_i[t-1]

    "winner" passes the signal of the input with the largest sum: inputs with nearly equal rates take turns, so the
    output contains spikes of several. "lead" has exactly the largest mean.
    Shapes: [T, B, C, *N] -> [T, B, C, *M].

    Args:
        pool: max pooling module of torch that returns indices.
        rule: "winner" or "lead".

    >>> pool = SpikingMaxPool(nn.MaxPool1d(2, return_indices=True))
    >>> spikes = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]).reshape(3, 1, 1, 2)
    >>> pool(spikes)[0].flatten().tolist()
    [1.0, 1.0, 0.0]
    """

    def __init__(self, pool: nn.Module, rule: Literal["winner", "lead"] = "winner") -> None:
        super().__init__()
        self.pool, self.rule = pool, rule

    def initial_state(self, x: Tensor) -> PoolState:
        return PoolState(torch.zeros_like(x, requires_grad=False))

    def forward(self, xs: Tensor, state: PoolState | None = None) -> tuple[Tensor, PoolState]:
        state = self.initial_state(xs[0]) if state is None else state
        check_like("SpikingMaxPool", "total", state.total, tuple(xs.shape[1:]), xs)
        signals = xs.detach() if self.rule == "winner" else xs
        totals, total = scan(lambda x, before: (x + before, x + before), signals, state.total)
        if self.rule == "winner":
            return folded(self._pass, xs, totals), PoolState(total)
        best = self.static(torch.cat([state.total.unsqueeze(0), totals]))
        return best[1:] - best[:-1], PoolState(total)

    def _pass(self, x: Tensor, total: Tensor) -> Tensor:
        winner = self.pool(total)[1]
        return x.flatten(2).gather(2, winner.flatten(2)).view_as(winner)

    def static(self, xs: Tensor) -> Tensor:
        """Apply the ordinary pooling at every step."""
        result: Tensor = folded(lambda x: self.pool(x)[0], xs)
        return result
