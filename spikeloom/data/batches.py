"""Which samples come next: every epoch in a new random order, the last batch of an epoch as short as it is."""

from typing import Any

import torch
from torch import Tensor

from ..arguments import explained
from ..errors import CheckpointError, ConfigError


@explained
class Batches:
    """Indices of training batches; its state says where in which order it is, so training can be resumed.

    Args:
        count: number of samples.
        batch: samples per batch, at most `count`.
        generator: draws the order of each epoch.
        rank, world: of several processes with equal generators, each takes its part of every batch of
            `world * batch` samples; together they are the batch of one process. What the last batch of an epoch has
            beyond a multiple of `world` is left out.
        lengths: [count]; if given, batches hold samples of similar length, so that little of them is padding: the
            samples of every `pool` batches are sorted by length, then all batches are shuffled (the last one, which
            is short, stays last).

    Raises:
        ConfigError: the batch is empty or larger than the data, the pool is not positive, or there is not one length
            for every sample.

    >>> batches = Batches(5, 2, torch.Generator().manual_seed(0))
    >>> [len(batches.next()) for _ in range(4)], batches.epoch
    ([2, 2, 1, 2], 1)
    >>> batches = Batches(4, 2, torch.Generator().manual_seed(0), lengths=torch.tensor([9, 1, 8, 2]), pool=2)
    >>> [sorted(batches.next().tolist()) for _ in range(2)]
    [[1, 3], [0, 2]]
    """

    def __init__(
        self, count: int, batch: int, generator: torch.Generator, rank: int = 0, world: int = 1, *,
        lengths: Tensor | None = None, pool: int = 1,
    ) -> None:  # fmt: skip
        if not 0 <= rank < world:
            raise ConfigError(f"Batches needs world >= 1 and rank from 0 to world - 1, but got {world} and {rank}.")
        if not 1 <= batch * world <= count:
            of_each = f" for each of {world} processes" if world > 1 else ""
            raise ConfigError(
                f"A batch must hold 1 to {count // world} samples{of_each}, but got {batch}. Choose another batch size."
            )
        if pool < 1 or (lengths is not None and len(lengths) != count):
            known = "none" if lengths is None else f"{len(lengths):,}"
            raise ConfigError(
                f"Batches of similar length need a pool of at least 1 batch and one length for each of {count:,} "
                f"samples, but got a pool of {pool} and lengths of {known}."
            )
        self.count, self.batch, self.generator = count, batch * world, generator
        self.lengths, self.pool = lengths, pool
        self.rank, self.world = rank, world
        self.epoch, self.position = -1, count
        self.order = torch.empty(0, dtype=torch.int64)

    def next(self) -> Tensor:
        """The indices of the next batch, int64 [at most batch]; of this process's part, if there are several."""
        if self.position >= self.count:
            self.order = self._alike(torch.randperm(self.count, generator=self.generator))
            self.position = 0
            self.epoch += 1
        start, self.position = self.position, min(self.position + self.batch, self.count)
        size = (self.position - start) // self.world
        return self.order[start + self.rank * size : start + (self.rank + 1) * size] if size else self.next()

    def _alike(self, order: Tensor) -> Tensor:
        """The same samples, those of similar length in one batch."""
        if self.lengths is None or self.pool == 1:
            return order
        whole = self.count // self.batch * self.batch
        size = self.batch * self.pool
        parts = [order[start : min(start + size, whole)] for start in range(0, whole, size)]
        pools = [part[self.lengths[part].argsort(stable=True)] for part in parts]
        batches = torch.cat(pools).reshape(-1, self.batch)
        mixed = batches[torch.randperm(len(batches), generator=self.generator)].flatten()
        return torch.cat([mixed, order[whole:]])

    def state_dict(self) -> dict[str, Any]:
        """Order, position and epoch."""
        return {"order": self.order, "position": self.position, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        if len(state["order"]) not in (0, self.count):
            raise CheckpointError(
                f"The checkpoint shuffles {len(state['order']):,} samples, but there are {self.count:,} now. "
                "Resume with the same data files."
            )
        order, position = state["order"], state["position"]
        whole = torch.equal(order.sort().values, torch.arange(len(order)))
        if not (whole and 0 <= position <= self.count and (len(order) or position == self.count)):
            raise CheckpointError(
                f"The checkpoint does not hold an order of {self.count:,} samples and a place in it. Restore it from a "
                "copy, or train again."
            )
        self.order, self.position, self.epoch = state["order"], state["position"], state["epoch"]


@explained
def in_order(count: int, batch: int) -> list[Tensor]:
    """Indices of all samples, each once, in batches; the last one may be short.

    >>> [part.tolist() for part in in_order(5, 2)]
    [[0, 1], [2, 3], [4]]
    """
    if count < 0 or batch < 1:
        raise ConfigError(f"in_order needs count >= 0 and batch >= 1, but got {count} and {batch}.")
    return [torch.arange(start, min(start + batch, count)) for start in range(0, count, batch)]
