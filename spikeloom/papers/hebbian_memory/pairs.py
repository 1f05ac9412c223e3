"""Samples of the associations task: random vectors with labels, and one of the vectors as the query.

Vectors are uniform in [0, 1); the labels of a sample are distinct; the query is one of its vectors, unchanged.
Source: Limbacher, Özdenizci, Legenstein, 2022 (arXiv:2205.11276).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ...arguments import explained
from ...errors import ConfigError


class Associations(NamedTuple):
    """Items, queries and targets of B samples of S items."""

    features: Tensor  # [S, B, F]
    labels: Tensor  # int64 [S, B]
    query: Tensor  # [B, F]
    target: Tensor  # int64 [B]

    def select(self, indices: Tensor) -> "Associations":
        """Return the samples with the given indices."""
        features, labels = self.features[:, indices], self.labels[:, indices]
        return Associations(features, labels, self.query[indices], self.target[indices])


@explained
def draw(batch: int, length: int, classes: int, features: int, *, generator: torch.Generator) -> Associations:
    """Draw samples of `length` items, whose labels are drawn from `classes` without replacement.

    Raises:
        ConfigError: a number is below 1, or there are more items than classes.

    >>> samples = draw(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    >>> samples.features.shape, samples.labels[:, 0].unique().shape
    (torch.Size([3, 2, 4]), torch.Size([3]))
    """
    if min(batch, length, features) < 1 or classes < length:
        raise ConfigError(
            "Associations need batch, length and features >= 1 and at least as many classes as items, but got "
            f"{batch}, {length}, {features} and {classes} classes."
        )
    vectors = torch.rand(length, batch, features, generator=generator)
    labels = torch.rand(batch, classes, generator=generator).argsort(1)[:, :length].T.contiguous()
    indices = torch.randint(length, (batch,), generator=generator)
    rows = torch.arange(batch)
    return Associations(vectors, labels, vectors[indices, rows], labels[indices, rows])
