"""Voting readouts of an unsupervised spiking layer: each neuron is assigned the class for which it spikes most.

    rate[j, k] = alpha rate[j, k] + mean over the samples m of class k of counts[m, j],   for every class that occurs
    proportion[j, k] = rate[j, k] / sum over k of rate[j, k],   0 / 0 = 0
    label[j] = argmax over k of proportion[j, k],   -1 for a neuron that never fired

    all activity   score[m, k] = mean over the neurons j with label k of counts[m, j]
    proportion     score[m, k] = mean over the neurons j with label k of proportion[j, k] counts[m, j]
    soft vote      score[m, k] = sum over all neurons j of proportion[j, k] counts[m, j]

The class with the highest score is predicted, the lowest one of several. A neuron without a label never votes; a sample
in which no neuron votes has prediction -1 (it abstains), which counts as an error. Labels are used only here, never by
the learning rule.
Source: Diehl and Cook, 2015 (all activity); Hazan et al., 2018 (proportion); the soft vote is ours.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ...errors import ConfigError, ShapeError

TIE = 1e-9
"""Relative difference below which scores count as equal, so that the order of sums does not matter."""
BLOCK = 4096
"""Number of samples converted to float64 at a time."""


class Assignment(NamedTuple):
    """Class rates and labels of neurons, in float64, as returned by `assign`."""

    rates: Tensor  # [n, K], spikes per sample
    proportions: Tensor  # [n, K]
    labels: Tensor  # [n], -1 for silent neurons


class Vote(NamedTuple):
    """Predictions and scores of a vote."""

    predictions: Tensor  # [M], -1 for samples that abstain
    scores: Tensor  # [M, K], in float64


def assign(
    counts: Tensor, labels: Tensor, classes: int, before: Assignment | None = None, alpha: float = 1.0
) -> Assignment:
    """Assign to each neuron the class for which it spikes most.

    Shapes: counts [M, n], labels [M]. Without samples and `before`, no neuron has a label.
    Units: spikes per sample.

    Args:
        classes: K, at least 2.
        before: assignment of earlier samples.
        alpha: weight of the earlier rates, 0 to 1. The rates of a class without samples do not change.

    Raises:
        ConfigError: fewer than two classes, a label outside 0..K-1, a count below zero, alpha outside 0..1.
        ShapeError: counts, labels and `before` do not fit each other.

    >>> counts = torch.tensor([[4, 0, 0], [2, 1, 0], [0, 3, 0], [1, 5, 0]])
    >>> assignment = assign(counts, torch.tensor([0, 0, 1, 1]), classes=2)
    >>> assignment.rates.tolist(), assignment.labels.tolist()
    ([[3.0, 0.5], [0.5, 4.0], [0.0, 0.0]], [0, 1, -1])
    """
    check_counts("assign", counts)
    check_labels("assign", labels, len(counts), classes)
    if not 0 <= alpha <= 1:
        raise ConfigError(f"assign needs alpha from 0 (forget) to 1 (add up), but got {alpha}.")
    shape = (counts.shape[1], classes)
    if before is not None and before.rates.shape != shape:
        raise ShapeError(
            f"assign got counts of {shape[0]} neurons and {classes} classes, but earlier rates of shape "
            f"{list(before.rates.shape)}. Pass the assignment of this layer, or before=None to start afresh."
        )
    if before is not None:
        _check_assignment("assign", before)
    rates = counts.new_zeros(shape, dtype=torch.float64) if before is None else before.rates.double()
    members = one_hot(labels.long(), classes).double()
    parts = zip(torch.split(counts, BLOCK), torch.split(members, BLOCK), strict=True)
    sums = torch.stack([part.double().T @ one_hots for part, one_hots in parts]).sum(0)
    sizes = members.sum(0)
    rates = torch.where(sizes > 0, alpha * rates + sums / sizes.clamp(min=1), rates)
    totals = rates.sum(1, keepdim=True)
    proportions = rates / totals.where(totals > 0, 1.0)
    return Assignment(rates, proportions, highest(proportions))


def all_activity(counts: Tensor, assignment: Assignment) -> Vote:
    """Predict the class whose neurons spike most on average.

    Shapes: counts [M, n] -> predictions [M], scores [M, K].

    Raises:
        ShapeError: the counts are not [M, n] of the assigned neurons.
        ConfigError: a count is below zero or not a number.

    >>> known = assign(torch.tensor([[4, 0], [0, 5]]), torch.tensor([0, 1]), classes=2)
    >>> all_activity(torch.tensor([[3, 2], [0, 0]]), known).predictions.tolist()
    [0, -1]
    """
    return _vote("all_activity", counts, _voters(assignment), assignment)


def proportion(counts: Tensor, assignment: Assignment) -> Vote:
    """Predict like `all_activity`, but with less weight on neurons that spike for several classes.

    Shapes: counts [M, n] -> predictions [M], scores [M, K].

    >>> known = assign(torch.tensor([[3, 0], [1, 5]]), torch.tensor([0, 1]), classes=2)
    >>> proportion(torch.tensor([[4, 2]]), known).scores.tolist()
    [[3.0, 2.0]]
    """
    return _vote("proportion", counts, _voters(assignment) * assignment.proportions, assignment)


def soft_vote(counts: Tensor, assignment: Assignment) -> Vote:
    """Predict with votes of every neuron for every class in proportion, without labels or division by their number.

    Shapes: counts [M, n] -> predictions [M], scores [M, K].

    >>> known = assign(torch.tensor([[3, 0], [1, 5]]), torch.tensor([0, 1]), classes=2)
    >>> soft_vote(torch.tensor([[4, 2]]), known).scores.tolist()
    [[3.0, 3.0]]
    """
    return _vote("soft_vote", counts, assignment.proportions, assignment)


VOTES: Mapping[str, Callable[[Tensor, Assignment], Vote]] = {
    "all": all_activity, "proportion": proportion, "soft": soft_vote
}  # fmt: skip
"""Votes that only need counts and an assignment, by their names in tables and figures."""


def accuracy(predictions: Tensor, labels: Tensor) -> float:
    """Return the accuracy, 0 to 1; samples that abstain count as wrong.

    Shapes: predictions [M], labels [M].

    >>> accuracy(torch.tensor([1, 0, -1, 1]), torch.tensor([1, 0, 0, 0]))
    0.5
    """
    if len(predictions) == 0:
        raise ShapeError("accuracy needs at least one prediction, but got none. Pass the predictions of some samples.")
    check_labels("accuracy", labels, len(predictions))
    check_labels("accuracy", predictions, len(labels), name="predictions", lowest=-1)
    return float((predictions == labels).double().mean())


def confusion(predictions: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the confusion matrix, [label, prediction]; the last column counts the samples that abstain.

    Shapes: predictions [M] in -1..K-1, labels [M] -> [K, K + 1].

    >>> confusion(torch.tensor([1, 0, -1]), torch.tensor([1, 0, 0]), classes=2).tolist()
    [[1, 0, 1], [0, 1, 0]]
    """
    check_labels("confusion", labels, len(predictions), classes)
    check_labels("confusion", predictions, len(labels), classes, "predictions", -1)
    answers = predictions.where(predictions >= 0, classes)
    pairs = labels.long() * (classes + 1) + answers
    return torch.bincount(pairs, minlength=classes * (classes + 1)).view(classes, classes + 1)


def labelled(labels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Draw samples whose labels may be used: a fraction `share` of each class, rounded, but at least one of each.

    Shapes: labels [M] -> indices, in ascending order.

    Raises:
        ConfigError: the share is not above 0 and at most 1.

    >>> chosen = labelled(torch.tensor([0, 1, 0, 1, 0, 0]), 0.5, torch.Generator().manual_seed(0))
    >>> torch.tensor([0, 1, 0, 1, 0, 0])[chosen].bincount().tolist()
    [2, 1]
    """
    if not 0 < share <= 1:
        raise ConfigError(f"labelled needs a share above 0 and at most 1, but got {share}. Pass 0.01 for one per cent.")
    check_labels("labelled", labels, len(labels))
    drawn = torch.randperm(len(labels), generator=generator, device=generator.device).to(labels.device)
    drawn = drawn[labels[drawn].argsort(stable=True)]  # sorted by class, in random order within each
    sizes = labels.long().bincount()
    quotas = (share * sizes).round().clamp(min=1)
    sorted_labels = labels.long()[drawn]
    rank = torch.arange(len(labels), device=labels.device) - (sizes.cumsum(0) - sizes)[sorted_labels]
    return drawn[rank < quotas[sorted_labels]].sort().values


def highest(scores: Tensor) -> Tensor:
    """Return the lowest class with the highest score, -1 if no score is above 0; scores [*, K].

    >>> highest(torch.tensor([[1.0, 3.0, 3.0], [0.0, 0.0, 0.0]])).tolist()
    [1, -1]
    """
    best = scores.amax(-1, keepdim=True)
    first = (scores >= best - TIE * best.abs()).to(torch.uint8).argmax(-1)
    return first.where(best.squeeze(-1) > 0, -1)


def check_counts(owner: str, counts: Tensor, neurons: int | None = None) -> None:
    """Raise unless `counts` are spike counts [M, n], of `neurons` neurons if given."""
    if counts.dim() != 2 or counts.shape[1] == 0 or counts.is_complex():
        raise ShapeError(
            f"{owner} needs counts [M, n], spikes per sample and neuron, but got {counts.dtype} {list(counts.shape)}. "
            "Sum spikes [T, B, n] over time first."
        )
    if neurons not in (None, counts.shape[1]):
        raise ShapeError(
            f"{owner} got counts of {counts.shape[1]} neurons, but learnt from {neurons}. "
            "Pass counts of the same layer."
        )
    if not bool((counts >= 0).all() and counts.isfinite().all()):
        raise ConfigError(f"{owner} needs counts that are finite and not below zero. Pass spikes, not voltages.")


def check_labels(
    owner: str, labels: Tensor, samples: int, classes: int | None = None, name: str = "labels", lowest: int = 0
) -> None:
    """Raise unless `labels` are `samples` integers, at least `lowest`, below `classes` if given."""
    if classes is not None and (not isinstance(classes, int) or classes < 2):
        raise ConfigError(f"{owner} needs at least 2 classes to choose from, but got {classes}.")
    whole = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    if labels.shape != (samples,) or not whole:
        raise ShapeError(
            f"{owner} needs {name} [{samples}], one whole number per sample, but got {labels.dtype} "
            f"{list(labels.shape)}. Pass samples and labels of the same set, as .long()."
        )
    end = int(labels.max()) if classes is None and samples else (classes or 1) - 1
    wrong = (labels < lowest) | (labels > end)
    if bool(wrong.any()):
        raise ConfigError(
            f"{owner} needs {name} in {lowest}..{'' if classes is None else end}, but got {int(labels[wrong][0])}. "
            "Number the classes from 0."
        )


def _check_assignment(owner: str, assignment: Assignment) -> None:
    """Raise ConfigError unless an assignment is finite, with labels of its classes."""
    rates, proportions, labels = assignment
    if not bool(rates.isfinite().all() and proportions.isfinite().all()):
        raise ConfigError(f"{owner} got an assignment whose rates or proportions are not finite. Make it by assign.")
    if not bool(((labels >= -1) & (labels < rates.shape[1])).all()):
        raise ConfigError(
            f"{owner} got an assignment of {rates.shape[1]} classes with labels from {int(labels.min())} to "
            f"{int(labels.max())}. Make it by assign."
        )


def _voters(assignment: Assignment) -> Tensor:
    """Return [n, K]: 1 / (neurons with label k) if neuron j has label k, else 0."""
    classes = torch.arange(assignment.rates.shape[1], device=assignment.labels.device)
    has = (assignment.labels[:, None] == classes).double()
    return has / has.sum(0).clamp(min=1)


def _vote(owner: str, counts: Tensor, table: Tensor, assignment: Assignment) -> Vote:
    """Return the vote with scores counts @ table, for a table [n, K] of votes per spike."""
    check_counts(owner, counts, len(assignment.labels))
    _check_assignment(owner, assignment)
    scores = torch.cat([block.double() @ table.double() for block in torch.split(counts, BLOCK)])
    return Vote(highest(scores), scores)
