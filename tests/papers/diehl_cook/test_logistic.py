"""The linear read-out: right on separable counts, at the optimum it states, the same every time."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from spikeloom.errors import ConfigError, ShapeError, TrainingError
from spikeloom.papers.diehl_cook.logistic import logistic, logistic_vote
from spikeloom.papers.diehl_cook.votes import accuracy, assign, soft_vote


def experiment(samples: int = 400, overlap: float = 1.0) -> tuple[Tensor, Tensor]:
    """Counts of 30 neurons, each answering to one of five classes and a little to another; the last is silent."""
    labels = torch.arange(samples) % 5
    own = torch.arange(30) % 5
    rates = 0.5 + 6.0 * (labels[:, None] == own) + overlap * (labels[:, None] == (own * 2 + 1) % 5)
    rates[:, -1] = 0
    return torch.poisson(rates, generator=torch.Generator().manual_seed(0)), labels


@pytest.mark.parametrize("dtype", [torch.int32, torch.float32, torch.float64])
def test_separable_counts_are_learnt(dtype: torch.dtype) -> None:
    counts, labels = experiment()
    model = logistic(counts[:300].to(dtype), labels[:300], 5)
    vote = logistic_vote(counts[300:].to(dtype), model)
    assert accuracy(vote.predictions, labels[300:]) == 1.0
    torch.testing.assert_close(vote.scores.sum(1), torch.ones(100, dtype=torch.float64))


def test_it_sees_what_no_vote_can() -> None:
    labels = torch.arange(40) % 2
    counts = torch.stack([torch.full((40,), 10), 4 + 2 * labels], 1)  # both neurons spike for both classes
    known = assign(counts, labels, 2)
    assert accuracy(soft_vote(counts, known).predictions, labels) == 0.5
    assert accuracy(logistic_vote(counts, logistic(counts, labels, 2)).predictions, labels) == 1.0


@pytest.mark.parametrize("penalty", [0.1, 10.0])
def test_the_weights_are_where_the_stated_loss_is_flat_and_lowest(penalty: float) -> None:
    counts, labels = experiment(100, overlap=5.0)
    weight, bias = (part.requires_grad_() for part in logistic(counts, labels, 5, penalty))

    def loss(weight: Tensor, bias: Tensor) -> Tensor:
        logits = counts.double() @ weight.T + bias
        return cross_entropy(logits, labels, reduction="sum") + penalty / 2 * weight.square().sum()

    for slope in torch.autograd.grad(loss(weight, bias), (weight, bias)):
        assert slope.abs().max() < 1e-2
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        aside = 0.01 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        assert loss(weight + aside, bias) > loss(weight, bias)


def test_it_draws_nothing_and_needs_no_gradients() -> None:
    counts, labels = experiment()
    with torch.inference_mode():
        first = logistic(counts, labels, 5)
    torch.manual_seed(123)
    second = logistic(counts, labels, 5)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_silent_neurons_have_no_weight_and_samples_of_them_alone_abstain() -> None:
    counts, labels = experiment()
    model = logistic(counts, labels, 5)
    assert not model.weight[:, -1].any()
    new = torch.zeros(2, 30)
    new[1, -1] = 5
    vote = logistic_vote(new, model)
    assert vote.predictions.tolist() == [-1, -1]
    assert not vote.scores.any()


def test_a_class_without_samples_is_never_the_answer() -> None:
    counts, labels = experiment()
    model = logistic(counts, labels, 6)
    assert 5 not in logistic_vote(counts, model).predictions


def test_what_does_not_fit_is_said() -> None:
    counts, labels = experiment(20)
    with pytest.raises(ConfigError, match=r"logistic needs penalty > 0 and finite, but got 0"):
        logistic(counts, labels, 5, penalty=0.0)
    with pytest.raises(ConfigError, match="logistic needs samples > 0"):
        logistic(counts[:0], labels[:0], 5)
    with pytest.raises(ConfigError, match="logistic needs at least 2 classes"):
        logistic(counts, labels * 0, 1)
    with pytest.raises(ShapeError, match=r"logistic needs labels \[20\]"):
        logistic(counts, labels[:-1], 5)
    with pytest.raises(TrainingError, match=r"slope of .* after 1 updates\. Pass more updates, or a penalty above 1"):
        logistic(counts, labels, 5, updates=1)
    with pytest.raises(ShapeError, match="logistic_vote got counts of 3 neurons, but learnt from 30"):
        logistic_vote(counts[:, :3], logistic(counts, labels, 5))


def test_a_read_out_of_no_numbers_is_refused() -> None:
    counts, labels = torch.tensor([[4, 0], [3, 1], [0, 3], [1, 5]]), torch.tensor([0, 0, 1, 1])
    model = logistic(counts, labels, 2)
    with pytest.raises(ConfigError, match="logistic_vote got a read-out with values that are not finite"):
        logistic_vote(counts, model._replace(weight=model.weight * float("nan")))
    with pytest.raises(ConfigError, match=r"logistic needs updates .*at least 1, but got 0"):
        logistic(counts, labels, 2, updates=0)
