"""Samples of cross-modal recall: spoken digits paired with pictures of digits, and a query.

A sample pairs recordings of S distinct digits with pictures. In matching pairs, word and picture are of the same digit;
otherwise the pictures of these digits are permuted at random, so that only the memory determines which picture belongs
to a word. The query is another recording of one of the digits; the target is the picture that was stored with it.
Source: Limbacher, Özdenizci, Legenstein, 2022 (arXiv:2205.11276).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...arguments import explained
from ...data import fsdd
from ...data.fsdd import Split
from ...encoding import mfcc
from ...errors import ConfigError, ShapeError, check_positive

SIDE = 28


class Pairs(NamedTuple):
    """B samples of S pairs, as indices of recordings and pictures."""

    sounds: Tensor  # int64 [S, B]
    images: Tensor  # int64 [S, B]
    query: Tensor  # int64 [B], a recording
    asked: Tensor  # int64 [B], 0 to S - 1: the pair of the query

    @property
    def target(self) -> Tensor:
        """The picture stored with the digit of the query, int64 [B]."""
        return self.images[self.asked, torch.arange(len(self.asked))]

    def select(self, indices: Tensor | slice) -> "Pairs":
        """Return the samples with the given indices."""
        return Pairs(*(part[..., indices] for part in self))


class Words(NamedTuple):
    """Recordings as images of their MFCCs."""

    pictures: Tensor  # float32 [N, 1, frames, coefficients]
    labels: Tensor  # int64 [N]
    speakers: Tensor  # int64 [N]
    names: list[str]


@explained
class DigitPairs:
    """Sampler of pairs, from recordings and pictures by digit.

    Args:
        sounds: digits of the recordings, int64 [N].
        images: digits of the pictures, int64 [M].
        classes: digits to use.
        length: S, pairs per sample.

    Raises:
        ConfigError: a digit occurs twice in `classes`, has fewer than two recordings or no picture; or there are
            fewer digits than pairs.

    >>> sounds, images = torch.arange(10).repeat(2), torch.arange(10)
    >>> pairs = DigitPairs(sounds, images, range(10), 3).draw(4, True, torch.Generator().manual_seed(0))
    >>> torch.equal(sounds[pairs.sounds], images[pairs.images]), torch.equal(sounds[pairs.query], images[pairs.target])
    (True, True)
    """

    def __init__(self, sounds: Tensor, images: Tensor, classes: Sequence[int], length: int) -> None:
        if not 1 <= length <= len(classes):
            raise ConfigError(f"Samples of {length} pairs need as many digits, but there are {len(classes)}.")
        if len(set(classes)) < len(classes):
            raise ConfigError(f"Every digit may be named once, but got {', '.join(map(str, classes))}.")
        if sounds.dim() != 1 or images.dim() != 1:
            raise ShapeError(
                f"Members needs sounds [N] and images [M], a digit each, but got {list(sounds.shape)} and "
                f"{list(images.shape)}."
            )
        self.length = length
        self.sounds, self.images = ([torch.nonzero(labels == n)[:, 0] for n in classes] for labels in (sounds, images))
        for digit, recordings, pictures in zip(classes, self.sounds, self.images, strict=True):
            if len(recordings) < 2 or not len(pictures):
                raise ConfigError(
                    f"Digit {digit} has {len(recordings)} recordings and {len(pictures)} pictures, but two recordings "
                    "(one is stored, one asks) and a picture are needed. Leave it out, or use more data."
                )

    def draw(self, count: int, matching: bool, generator: torch.Generator) -> Pairs:
        """Draw new samples, in which pictures match the words or are permuted.

        Raises:
            ConfigError: fewer than one sample.
        """
        check_positive("DigitPairs", count=count)
        digits = torch.rand(count, len(self.sounds), generator=generator).argsort(1)[:, : self.length].T
        image_digits = digits
        if not matching:
            image_digits = digits.gather(0, torch.rand(self.length, count, generator=generator).argsort(0))
        sounds, places = _one_of(self.sounds, digits, generator)
        images, _ = _one_of(self.images, image_digits, generator)
        asked = torch.randint(self.length, (count,), generator=generator)
        digit, first = digits[asked, torch.arange(count)], places[asked, torch.arange(count)]
        sizes = torch.tensor([len(indices) for indices in self.sounds])[digit]
        other = (first + 1 + _below(sizes - 1, generator)) % sizes
        return Pairs(sounds, images, _at(self.sounds, digit, other), asked)


@explained
def words(split: Split, options: mfcc.MFCCOptions = mfcc.DEFAULT, here: Path | None = None) -> Words:
    """Load the recordings of a split as images of their MFCCs.

    Args:
        here: folder to read instead of that of `fsdd`.

    Raises:
        DataError: there are no recordings, or one is damaged, silent or too short.
    """
    recordings = fsdd.load(split, here)
    pictures = [
        mfcc.picture(samples, recordings.rate, options, name)
        for samples, name in zip(recordings.samples, recordings.names, strict=True)
    ]
    return Words(torch.from_numpy(np.stack(pictures)), recordings.labels, recordings.speakers, recordings.names)


def _one_of(members: list[Tensor], classes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw a member of each class; return the members and their positions within the class."""
    places = _below(torch.tensor([len(part) for part in members])[classes], generator)
    return _at(members, classes, places), places


def _at(members: list[Tensor], classes: Tensor, places: Tensor) -> Tensor:
    first = torch.tensor([0, *(len(part) for part in members)]).cumsum(0)
    return torch.cat(members)[first[classes] + places]


def _below(sizes: Tensor, generator: torch.Generator) -> Tensor:
    """Draw an integer from 0 to size - 1 for each size."""
    return (torch.rand(sizes.shape, generator=generator, dtype=torch.float64) * sizes).long()
