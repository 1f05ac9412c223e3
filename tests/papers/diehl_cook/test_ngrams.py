"""N-grams of firing neurons: found by plain loops too, the last one counted, the order of numbering without effect."""

from collections import Counter
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spikeloom.errors import ConfigError, ShapeError
from spikeloom.papers.diehl_cook.ngrams import NGrams, ngram_vote, ngrams


def train(steps: list[list[int]], neurons: int = 4) -> Tensor:
    """Spikes [T, 1, n] of the neurons that fire in each step."""
    spikes = torch.zeros(len(steps), 1, neurons)
    for t, firing in enumerate(steps):
        spikes[t, 0, firing] = 1
    return spikes


def counted(known: NGrams) -> dict[tuple[int, ...], list[int]]:
    """The counts by the neurons of the n-gram."""
    digits = [known.codes // known.neurons**place % known.neurons for place in reversed(range(known.size))]
    return dict(zip(map(tuple, torch.stack(digits, 1).tolist()), known.counts.tolist(), strict=True))


def by_loops(spikes: Tensor, size: int) -> list[Counter[tuple[int, ...]]]:
    """The n-grams of each sample as the definition says it."""
    found = []
    for sample in spikes.unbind(1):
        order = [step.nonzero().flatten().tolist() for step in sample if step.any()]
        runs = [order[start : start + size] for start in range(len(order) - size + 1)]
        found.append(Counter(gram for run in runs for gram in product(*run)))
    return found


def test_the_last_ngram_counts() -> None:
    known = ngrams(train([[1], [2]]), torch.tensor([3]), 4)
    assert counted(known) == {(1, 2): [0, 0, 0, 1]}
    assert ngram_vote(train([[1], [2]]), known).predictions.tolist() == [3]
    assert ngram_vote(train([[0], [], [1], [], [], [2]]), known).predictions.tolist() == [3]
    assert ngram_vote(train([[2], [1]]), known).predictions.tolist() == [-1]


def test_neurons_that_fire_together_are_alternatives() -> None:
    known = ngrams(train([[0, 1], [], [2, 3], [0]]), torch.tensor([1]), 2, size=3)
    assert counted(known) == {(a, b, 0): [0, 1] for a in (0, 1) for b in (2, 3)}


def test_samples_without_spikes_or_without_known_ngrams_abstain() -> None:
    known = ngrams(train([[], [1], []]), torch.tensor([0]), 2)
    assert counted(known) == {}
    assert ngram_vote(train([[0], [1]]), known).predictions.tolist() == [-1]
    assert ngram_vote(train([[], []]), known).scores.tolist() == [[0.0, 0.0]]


SPIKES = st.lists(st.booleans(), min_size=7 * 3 * 4, max_size=7 * 3 * 4).map(lambda s: torch.tensor(s).view(7, 3, 4))
ANSWERS = st.lists(st.integers(0, 2), min_size=3, max_size=3).map(torch.tensor)


@given(SPIKES, SPIKES, ANSWERS, st.integers(1, 4), st.permutations(range(4)))
@settings(max_examples=120, deadline=None)
def test_any_spikes(seen: Tensor, new: Tensor, labels: Tensor, size: int, order: list[int]) -> None:
    known = ngrams(seen, labels, 3, size)
    wanted: dict[tuple[int, ...], list[int]] = {}
    for label, found in zip(labels.tolist(), by_loops(seen, size), strict=True):
        for gram, times in found.items():
            wanted.setdefault(gram, [0, 0, 0])[label] += times
    assert counted(known) == wanted
    vote = ngram_vote(new, known)
    for scores, found in zip(vote.scores, by_loops(new, size), strict=True):
        sums = sum((times * torch.tensor(wanted.get(g, [0, 0, 0])) for g, times in found.items()), torch.zeros(3))
        assert scores.tolist() == sums.tolist()
    assert torch.equal(ngram_vote(new[..., order], ngrams(seen[..., order], labels, 3, size)).scores, vote.scores)
    one_by_one = None
    for b in range(3):
        one_by_one = ngrams(seen[:, b : b + 1].int(), labels[b : b + 1], 3, size, one_by_one)
    assert one_by_one is not None
    torch.testing.assert_close(one_by_one, known)


def test_what_does_not_fit_is_said() -> None:
    spikes, label = train([[1], [2]]), torch.tensor([0])
    with pytest.raises(ConfigError, match="ngrams needs size >= 1 neurons in an n-gram, but got 0"):
        ngrams(spikes, label, 2, size=0)
    with pytest.raises(ConfigError, match=r"size 32 over 4 neurons: they are more than 2\^63"):
        ngrams(spikes, label, 2, size=32)
    with pytest.raises(ConfigError, match="ngrams needs at least 2 classes"):
        ngrams(spikes, label, 1)
    with pytest.raises(ConfigError, match=r"ngrams needs labels in 0\.\.1, but got 2"):
        ngrams(spikes, label + 2, 2)
    with pytest.raises(ShapeError, match=r"ngrams needs spikes \[T, B, n\], time first, .* \[2, 4\]\. Pass the spikes"):
        ngrams(spikes[:, 0], label, 2)
    with pytest.raises(ShapeError, match=r"ngrams needs labels \[1\]"):
        ngrams(spikes, torch.tensor([0, 1]), 2)
    known = ngrams(spikes, label, 2)
    with pytest.raises(ShapeError, match="size 3 over 4 neurons and 2 classes, but `before` has size 2 over 4 neurons"):
        ngrams(spikes, label, 2, 3, known)
    with pytest.raises(ShapeError, match=r"ngram_vote needs spikes \[T, B, 4\].*\[2, 1, 3\]"):
        ngram_vote(spikes[..., :3], known)


@pytest.mark.parametrize("value", [float("nan"), -1.0])
def test_spikes_that_are_none_make_no_ngrams(value: float) -> None:
    spikes = torch.eye(3)[[1, 2]].unsqueeze(1)
    known = ngrams(spikes, torch.tensor([3]), classes=4)
    spikes[0, 0, 0] = value
    with pytest.raises(ConfigError, match=f"ngrams needs spikes or counts, 0 or above, but got {value:g}"):
        ngrams(spikes, torch.tensor([3]), classes=4)
    with pytest.raises(ConfigError, match="ngram_vote needs spikes or counts, 0 or above"):
        ngram_vote(spikes, known)
    with pytest.raises(ConfigError, match=r"ngrams needs size >= 1 neurons in an n-gram, but got 2\.5"):
        ngrams(spikes.abs(), torch.tensor([3]), 4, 2.5)  # type: ignore[arg-type]
