"""Labels of neurons and their votes: the worked example of the specification, and what must hold for any counts."""

from collections.abc import Callable
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spikeloom.errors import ConfigError, ShapeError
from spikeloom.papers.diehl_cook.votes import (
    VOTES,
    Assignment,
    Vote,
    accuracy,
    all_activity,
    assign,
    confusion,
    highest,
    labelled,
    proportion,
    soft_vote,
)

COUNTS = torch.tensor([[4, 0, 0], [2, 1, 0], [0, 3, 0], [1, 5, 0]])
LABELS = torch.tensor([0, 0, 1, 1])
NEW = torch.tensor([[3, 2, 0]])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def poisson(rates: Tensor, labels: Tensor, seed: int) -> Tensor:
    """Counts [M, n] of neurons whose mean count depends on the class, rates [K, n]."""
    return torch.poisson(rates[labels], generator=seeded(seed))


def close(found: Tensor, wanted: list[list[float]]) -> None:
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), atol=5e-7, rtol=0)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.float32, torch.float64])
def test_the_worked_example(dtype: torch.dtype) -> None:
    known = assign(COUNTS.to(dtype), LABELS, 2)
    assert known.rates.tolist() == [[3.0, 0.5], [0.5, 4.0], [0.0, 0.0]]
    close(known.proportions, [[0.857143, 0.142857], [0.111111, 0.888889], [0.0, 0.0]])
    assert known.labels.tolist() == [0, 1, -1]
    found = {name: vote(NEW.to(dtype), known) for name, vote in VOTES.items()}
    close(found["all"].scores, [[3.0, 2.0]])
    close(found["proportion"].scores, [[2.571429, 1.777778]])
    close(found["soft"].scores, [[2.793651, 2.206349]])
    assert [vote.predictions.tolist() for vote in found.values()] == [[0]] * 3


def test_a_silent_neuron_that_belonged_to_class_0_would_turn_the_answer() -> None:
    known = assign(COUNTS, LABELS, 2)
    original = known._replace(labels=known.labels.clamp(min=0))
    for vote, scores in ((all_activity, [[1.5, 2.0]]), (proportion, [[1.285714, 1.777778]])):
        close(vote(NEW, original).scores, scores)
        assert vote(NEW, original).predictions.tolist() == [1]
        assert vote(NEW, known).predictions.tolist() == [0]


@pytest.mark.parametrize("vote", VOTES.values(), ids=VOTES)
def test_samples_in_which_no_labelled_neuron_spikes_abstain(vote: Callable[[Tensor, Assignment], Vote]) -> None:
    known = assign(COUNTS, LABELS, 2)
    found = vote(torch.tensor([[0, 0, 0], [0, 0, 9], [0, 1, 9]]), known)
    assert found.predictions.tolist() == [-1, -1, 1]
    assert accuracy(found.predictions, torch.tensor([0, 0, 1])) == pytest.approx(1 / 3)


def test_before_anything_is_known_all_samples_abstain() -> None:
    nothing = assign(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), 2)
    assert nothing.labels.tolist() == [-1, -1, -1]
    assert soft_vote(NEW, nothing).predictions.tolist() == [-1]
    assert all_activity(torch.zeros(0, 3), nothing).predictions.shape == (0,)


def test_earlier_rates_are_kept_but_for_the_classes_that_occur() -> None:
    first = assign(COUNTS, LABELS, 3)
    second = assign(torch.tensor([[0, 2, 6]]), torch.tensor([2]), 3, first, alpha=0.5)
    assert second.rates.tolist() == [[3.0, 0.5, 0.0], [0.5, 4.0, 2.0], [0.0, 0.0, 6.0]]
    assert second.labels.tolist() == [0, 1, 2]
    third = assign(COUNTS, LABELS, 3, second, alpha=0.5)
    assert third.rates.tolist() == [[4.5, 0.75, 0.0], [0.75, 6.0, 2.0], [0.0, 0.0, 6.0]]
    assert assign(COUNTS, LABELS, 3, first).rates.equal(2 * first.rates)
    assert assign(COUNTS, LABELS, 3, first, alpha=0).rates.equal(first.rates)


def test_of_several_highest_scores_the_lowest_class_wins_whatever_the_rounding() -> None:
    assert highest(torch.tensor([[1 / 3, 0.1 + 0.2, 0.3], [0.3 - 1e-17, 0.1 + 0.2, 0.2]]).double()).tolist() == [0, 0]
    assert assign(torch.ones(4, 1), torch.tensor([2, 1, 0, 1]), 3).labels.tolist() == [0]


def test_many_samples_go_in_blocks_and_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.arange(50) % 3
    counts = poisson(torch.rand(3, 7, generator=seeded()) * 4, labels, 1)
    whole = assign(counts, labels, 3)
    votes = [vote(counts, whole) for vote in VOTES.values()]
    monkeypatch.setattr("spikeloom.papers.diehl_cook.votes.BLOCK", 8)
    torch.testing.assert_close(assign(counts, labels, 3), whole)
    for vote, before in zip(VOTES.values(), votes, strict=True):
        torch.testing.assert_close(vote(counts, whole), before)


@st.composite
def experiments(draw: st.DrawFn) -> tuple[Tensor, Tensor, int]:
    """Counts [M, n], labels [M] and the number of classes."""
    samples, neurons, classes = draw(st.integers(1, 12)), draw(st.integers(1, 9)), draw(st.integers(2, 4))
    one = st.integers(0, 3)
    counts = draw(st.lists(one, min_size=samples * neurons, max_size=samples * neurons))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=samples, max_size=samples))
    return torch.tensor(counts).view(samples, neurons), torch.tensor(labels), classes


@given(experiments(), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_votes_of_any_counts(experiment: tuple[Tensor, Tensor, int], random: Random) -> None:
    counts, labels, classes = experiment
    known = assign(counts, labels, classes)
    fires = counts.sum(0) > 0
    assert torch.equal(known.labels >= 0, fires)
    torch.testing.assert_close(known.proportions.sum(1), fires.double())
    random.shuffle(order := list(range(counts.shape[1])))
    permuted = assign(counts[:, order], labels, classes)
    assert torch.equal(permuted.labels, known.labels[order])
    for vote in VOTES.values():
        found = vote(counts, known)
        assert torch.equal(found.predictions >= 0, counts.sum(1) > 0)
        assert torch.equal(vote(counts[:, order], permuted).predictions, found.predictions)
        assert torch.equal(vote(counts[-1:], known).predictions, found.predictions[-1:])
        assert torch.equal(vote(7 * counts, known).predictions, found.predictions)
        table = confusion(found.predictions, labels, classes)
        assert table.sum(1).tolist() == labels.bincount(minlength=classes).tolist()
        assert int(table.trace()) / len(labels) == pytest.approx(accuracy(found.predictions, labels))
        assert int(table[:, -1].sum()) == int((found.predictions < 0).sum())


@given(experiments())
@settings(max_examples=60, deadline=None)
def test_the_equations_loop_by_loop(experiment: tuple[Tensor, Tensor, int]) -> None:
    counts, labels, classes = experiment
    known = assign(counts, labels, classes)
    wanted = torch.zeros(len(counts), classes, dtype=torch.float64)
    partly = wanted.clone()
    for j in range(counts.shape[1]):
        means = [counts[labels == k, j].double().mean().nan_to_num().item() for k in range(classes)]
        assert known.rates[j].tolist() == pytest.approx(means)
        if (k := int(known.labels[j])) >= 0:
            assert k == means.index(max(means))
            share = counts[:, j] / int((known.labels == k).sum())
            wanted[:, k] += share
            partly[:, k] += share * known.proportions[j, k]
    torch.testing.assert_close(all_activity(counts, known).scores, wanted, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(proportion(counts, known).scores, partly, rtol=1e-6, atol=1e-6)


def test_one_labelled_sample_in_a_hundred_is_enough_to_be_above_chance() -> None:
    rates = 0.3 + 4 * torch.rand(10, 100, generator=seeded(3)) ** 4
    labels = torch.arange(2000) % 10
    counts = poisson(rates, labels, 4)
    chosen = labelled(labels, 0.01, seeded(5))
    assert labels[chosen].bincount().tolist() == [2] * 10
    known = assign(counts[chosen], labels[chosen], 10)
    for vote in VOTES.values():
        assert accuracy(vote(counts, known).predictions, labels) > 0.5


def test_the_labelled_samples_are_drawn_per_class_by_the_generator() -> None:
    labels = torch.tensor([0] * 100 + [2] * 7 + [1] * 41)[torch.randperm(148, generator=seeded(6))]
    chosen = labelled(labels, 0.1, seeded())
    assert labels[chosen].bincount().tolist() == [10, 4, 1]
    assert torch.equal(chosen, torch.unique(chosen))
    assert torch.equal(chosen, labelled(labels, 0.1, seeded()))
    assert not torch.equal(chosen, labelled(labels, 0.1, seeded(1)))
    assert torch.equal(labelled(labels, 1.0, seeded()), torch.arange(148))
    drawn = torch.cat([labelled(torch.zeros(4, dtype=torch.long), 0.25, seeded(s)) for s in range(400)])
    assert drawn.bincount(minlength=4).min() > 70


def test_confusion_counts_abstentions_in_the_last_column() -> None:
    table = confusion(torch.tensor([0, 1, -1, -1, 2]), torch.tensor([0, 0, 0, 2, 2]), 3)
    assert table.tolist() == [[1, 1, 0, 1], [0, 0, 0, 0], [0, 0, 1, 1]]


def test_what_does_not_fit_is_said() -> None:
    known = assign(COUNTS, LABELS, 2)
    with pytest.raises(ShapeError, match=r"assign needs counts \[M, n\].* \[4, 3, 1\]\. Sum spikes \[T, B, n\] over"):
        assign(COUNTS[..., None], LABELS, 2)
    with pytest.raises(ShapeError, match=r"assign needs labels \[4\], one whole number per sample, .*int64 \[3\]"):
        assign(COUNTS, LABELS[:3], 2)
    with pytest.raises(ShapeError, match=r"assign needs labels \[4\].*float32 \[4\]"):
        assign(COUNTS, LABELS.float(), 2)
    with pytest.raises(ConfigError, match=r"assign needs labels in 0\.\.1, but got 2\. Number the classes from 0"):
        assign(COUNTS, LABELS + 1, 2)
    with pytest.raises(ConfigError, match=r"assign needs labels in 0\.\.1, but got -1"):
        assign(COUNTS, LABELS - 1, 2)
    with pytest.raises(ConfigError, match="assign needs at least 2 classes to choose from, but got 1"):
        assign(COUNTS, LABELS * 0, 1)
    with pytest.raises(ConfigError, match=r"assign needs alpha from 0 \(forget\) to 1 \(add up\), but got 1\.5"):
        assign(COUNTS, LABELS, 2, alpha=1.5)
    with pytest.raises(ConfigError, match=r"finite and not below zero\. Pass spikes, not voltages"):
        assign(COUNTS - 1, LABELS, 2)
    with pytest.raises(ConfigError, match="finite and not below zero"):
        all_activity(NEW * torch.nan, known)
    with pytest.raises(ShapeError, match=r"3 neurons and 3 classes, but earlier rates of shape \[3, 2\]"):
        assign(COUNTS, LABELS, 3, known)
    with pytest.raises(ShapeError, match=r"proportion got counts of 2 neurons, but learnt from 3\. Pass counts of the"):
        proportion(NEW[:, :2], known)


def test_scores_need_predictions_that_fit_their_labels() -> None:
    with pytest.raises(ShapeError, match="accuracy needs at least one prediction"):
        accuracy(LABELS[:0], LABELS[:0])
    with pytest.raises(ShapeError, match=r"accuracy needs labels \[4\]"):
        accuracy(LABELS, LABELS[:2])
    with pytest.raises(ShapeError, match=r"accuracy needs predictions \[4\].*\[4, 1\]"):
        accuracy(LABELS[:, None], LABELS)
    with pytest.raises(ConfigError, match=r"accuracy needs labels in 0\.\., but got -1"):
        accuracy(LABELS, LABELS - 1)
    with pytest.raises(ConfigError, match=r"confusion needs predictions in -1\.\.1, but got 2"):
        confusion(LABELS * 2, LABELS, 2)
    with pytest.raises(ConfigError, match="labelled needs a share above 0 and at most 1, but got 5"):
        labelled(LABELS, 5, seeded())


def test_an_assignment_is_three_tensors_that_can_be_stored() -> None:
    known = assign(COUNTS, LABELS, 2)
    assert Assignment(*known) == known
    assert (known.rates.dtype, known.labels.dtype) == (torch.float64, torch.int64)


NAN = float("nan")
TWO, CLASSES = torch.tensor([[4, 0], [3, 1], [0, 3], [1, 5]]), torch.tensor([0, 0, 1, 1])


def test_an_assignment_of_no_numbers_or_other_classes_is_refused() -> None:
    known = assign(TWO, CLASSES, 2)
    broken = known._replace(rates=known.rates * NAN)
    with pytest.raises(ConfigError, match="assign got an assignment whose rates or proportions are not finite"):
        assign(TWO, CLASSES, 2, before=broken)
    with pytest.raises(ConfigError, match="all_activity got an assignment whose rates or proportions are not finite"):
        all_activity(TWO, broken)
    other = known._replace(labels=known.labels + 7)
    with pytest.raises(ConfigError, match="an assignment of 2 classes with labels from 7 to 8"):
        all_activity(TWO, other)
    with pytest.raises(ConfigError, match=r"assign needs at least 2 classes to choose from, but got 2\.5"):
        assign(TWO, CLASSES, 2.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int64, torch.float16, torch.float32, torch.float64])
def test_counts_of_every_type_vote_alike(kind: torch.dtype) -> None:
    known = assign(TWO.to(kind), CLASSES.to(torch.uint8), 2)
    assert torch.equal(known.rates, assign(TWO, CLASSES, 2).rates)
    assert torch.equal(all_activity(TWO.to(kind), known).scores, all_activity(TWO, known).scores)
