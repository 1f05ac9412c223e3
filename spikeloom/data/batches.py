"""Sampling of training batches: each epoch in a new random order; the last batch of an epoch may be smaller."""

from typing import Any

import torch
from torch import Tensor

from ..arguments import explained
from ..errors import CheckpointError, ConfigError


@explained
class Batches:
    """Sampler of training batches as index tensors, whose state can be saved to resume training.

    Args:
        count: number of samples.
        batch: samples per batch, at most `count`.
        generator: used to shuffle each epoch.
        rank, world: process index and number of processes. With equal generators, each process gets its share of every
            batch of `world * batch` samples; together they form the batch of a single process. Samples of the last
            batch of an epoch beyond a multiple of `world` are dropped.
        lengths: [count]; if given, batches contain samples of similar length to reduce padding: the samples of every
            `pool` batches are sorted by length, then the batches are shuffled (the last, smaller one stays last).

    Raises:
        ConfigError: the batch is empty or larger than the data, the pool is not positive, or lengths are not given
            for all samples.

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
        if count < world:
            raise ConfigError(
                f"Batches needs count >= world, a sample for each process, but got count {count} and world {world}. "
                "Take more samples, or hold fewer of them out."
            )
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
        """Return the indices of the next batch, int64 [at most batch]; with several processes, this one's share."""
        if self.position >= self.count:
            self.order = self._alike(torch.randperm(self.count, generator=self.generator))
            self.position = 0
            self.epoch += 1
        start, self.position = self.position, min(self.position + self.batch, self.count)
        size = (self.position - start) // self.world
        return self.order[start + self.rank * size : start + (self.rank + 1) * size] if size else self.next()

    def _alike(self, order: Tensor) -> Tensor:
        """Group the samples of a shuffled order into batches of similar length, and shuffle the batches."""
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
        """Return order, position and epoch."""
        return {"order": self.order, "position": self.position, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state returned by `state_dict`."""
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
    """Split the indices 0 to count - 1 into consecutive batches; the last may be smaller.

    >>> [batch.tolist() for batch in in_order(5, 2)]
    [[0, 1], [2, 3], [4]]
    """
    if count < 0 or batch < 1:
        raise ConfigError(f"in_order needs count >= 0 and batch >= 1, but got {count} and {batch}.")
    return [torch.arange(start, min(start + batch, count)) for start in range(0, count, batch)]
