"""N-gram readout of an unsupervised spiking layer: classification by the order in which its neurons fire.

    An n-gram is a tuple of neurons j1, ..., jn that fire in n successive steps; steps without spikes are left out.
    If several neurons fire in a step, each of them is a continuation (the Cartesian product).

    counts[g, k] = occurrences of n-gram g in the training samples of class k
    score[m, k]  = sum over the n-grams of sample m, including the last one, of counts[g, k]

The class with the highest score is predicted, the lowest one of several; a sample without a known n-gram abstains (-1).
Source: Hazan et al., 2018. Their code ignores the last n-gram in predictions; this one does not.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import ConfigError, ShapeError
from .votes import Vote, check_labels, highest


class NGrams(NamedTuple):
    """Counts of n-grams by class."""

    codes: Tensor  # [G], ascending: j1, ..., jn as the digits of a number to the base `neurons`
    counts: Tensor  # [G, K]
    neurons: int
    size: int


def ngrams(spikes: Tensor, labels: Tensor, classes: int, size: int = 2, before: NGrams | None = None) -> NGrams:
    """Count the n-grams of labelled samples. Many spikes per step give very many n-grams: pass small batches then.

    Shapes: spikes [T, B, n], labels [B].

    Args:
        classes: K, at least 2.
        size: n, neurons per n-gram, at least 1.
        before: counts of earlier samples, to which these are added.

    Raises:
        ConfigError: fewer than two classes, a label outside 0..K-1, a size below 1, more possible n-grams than 2^63.
        ShapeError: spikes, labels and `before` do not fit each other.

    >>> spikes = torch.eye(3)[[1, 2]].unsqueeze(1)  # neuron 1, then neuron 2
    >>> known = ngrams(spikes, torch.tensor([3]), classes=4)
    >>> known.codes.tolist(), known.counts.tolist()
    ([5], [[0, 0, 0, 1]])
    """
    _check("ngrams", spikes, size)
    check_labels("ngrams", labels, spikes.shape[1], classes)
    samples, codes = _occurrences(spikes, size)
    if before is None:
        before = NGrams(codes[:0], codes.new_zeros(0, classes), spikes.shape[2], size)
    known, expected = (before.neurons, before.counts.shape[1], before.size), (spikes.shape[2], classes, size)
    if known != expected:
        raise ShapeError(
            f"ngrams counts size {size} over {expected[0]} neurons and {classes} classes, but `before` has size "
            f"{known[2]} over {known[0]} neurons and {known[1]} classes. Pass before=None to start afresh."
        )
    all_codes, place = torch.unique(torch.cat([before.codes, codes]), return_inverse=True)
    counts = codes.new_zeros(len(all_codes), classes)
    counts[place[: len(before.codes)]] = before.counts
    here = place[len(before.codes) :], labels.long()[samples]
    counts.index_put_(here, torch.ones_like(samples), accumulate=True)
    return NGrams(all_codes, counts, spikes.shape[2], size)


def ngram_vote(spikes: Tensor, known: NGrams) -> Vote:
    """Predict the class in which the n-grams of a sample were most frequent.

    Shapes: spikes [T, B, n] -> predictions [B], scores [B, K].

    Raises:
        ShapeError: the spikes are not [T, B, n] of the neurons whose n-grams were counted.

    >>> spikes = torch.eye(3)[[1, 2]].unsqueeze(1)
    >>> ngram_vote(spikes, ngrams(spikes, torch.tensor([3]), classes=4)).predictions.tolist()
    [3]
    """
    _check("ngram_vote", spikes, known.size, known.neurons)
    samples, codes = _occurrences(spikes, known.size)
    place = torch.searchsorted(known.codes, codes)
    there = torch.cat([known.codes, known.codes.new_tensor([-1])])[place] == codes
    scores = known.counts.new_zeros(spikes.shape[1], known.counts.shape[1])
    scores.index_add_(0, samples[there], known.counts[place[there]])
    return Vote(highest(scores.double()), scores.double())


def _occurrences(spikes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the sample and the code of every n-gram; all spikes are extended at once, one step at a time."""
    samples, steps, neurons = spikes.transpose(0, 1).nonzero(as_tuple=True)  # in the order of samples, then steps
    moments = samples * len(spikes) + steps
    _, group, sizes = torch.unique_consecutive(moments, return_inverse=True, return_counts=True)
    starts = sizes.cumsum(0) - sizes
    owner = torch.cat([samples[starts], samples.new_tensor([-1])])  # sample of each step with spikes
    codes = neurons
    for _ in range(size - 1):
        goes_on = owner[group + 1] == samples
        samples, codes, group = samples[goes_on], codes[goes_on], group[goes_on] + 1
        ways = sizes[group]
        samples, codes, group = (one.repeat_interleave(ways) for one in (samples, codes, group))
        way = torch.arange(len(group), device=group.device) - (ways.cumsum(0) - ways).repeat_interleave(ways)
        codes = codes * spikes.shape[2] + neurons[starts[group] + way]
    return samples, codes


def _check(owner: str, spikes: Tensor, size: int, neurons: int | None = None) -> None:
    """Raise unless the arguments are valid for n-grams of this size."""
    if not isinstance(size, int) or size < 1:
        raise ConfigError(f"{owner} needs size >= 1 neurons in an n-gram, but got {size}. Pass 2 for pairs.")
    if spikes.dim() != 3 or 0 in spikes.shape or neurons not in (None, spikes.shape[-1]):
        raise ShapeError(
            f"{owner} needs spikes [T, B, {neurons or 'n'}], time first, none of them 0, but got {list(spikes.shape)}. "
            "Pass the spikes of every step, not counts."
        )
    if not bool((spikes >= 0).all()):  # nor NaN
        raise ConfigError(f"{owner} needs spikes or counts, 0 or above, but got {float(spikes.min()):g}. Pass spikes.")
    if spikes.shape[2] ** size >= 2**63:
        raise ConfigError(
            f"{owner} cannot number the n-grams of size {size} over {spikes.shape[2]} neurons: they are more than "
            "2^63. Pass a smaller size."
        )
