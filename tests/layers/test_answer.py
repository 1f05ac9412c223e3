"""Answers, the cost of activity, and what masks leave out."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from spikeloom.errors import ConfigError, ShapeError
from spikeloom.layers import ANSWERS, activity_cost, answer, answer_loss

U = torch.tensor([[0.1, 0.2, 0.0], [0.3, 0.1, 0.0], [0.5, -0.2, 0.4], [0.2, 0.0, 0.6]], dtype=torch.float64)[:, None]
LOSSES = {"last": 1.197116, "max": 1.045911, "mean": 1.013095, "cumsum": 0.999515}


@pytest.mark.parametrize("mode", ANSWERS)
def test_f_loss_modes(mode: str) -> None:
    assert answer_loss(U, torch.tensor([0]), mode).item() == pytest.approx(LOSSES[mode], abs=6e-7)
    if mode == "cumsum":
        wanted = torch.tensor([[1.441403, 1.141136, 1.417462]], dtype=torch.float64)
        torch.testing.assert_close(answer(U, mode), wanted, atol=6e-7, rtol=0)


@pytest.mark.parametrize("mode", ANSWERS)
def test_what_comes_after_the_end_of_a_sample_counts_nowhere(mode: str) -> None:
    logits = torch.randn(9, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([9, 4, 1])
    valid = torch.arange(9)[:, None] < lengths
    both = answer(logits, mode, valid)
    for b, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(both[b], answer(logits[:length, b : b + 1], mode)[0])
    (grad,) = torch.autograd.grad(both.square().sum(), logits)
    assert not grad[~valid].any()


def test_answers_need_a_known_mode_and_a_step_per_sample() -> None:
    with pytest.raises(ConfigError, match=r"no answer mode 'sum'\. Choose one of last, max, mean, cumsum"):
        answer(U, "sum")
    with pytest.raises(ShapeError, match="at least one step per sample"):
        answer(U, "mean", torch.zeros(4, 1, dtype=torch.bool))
    with pytest.raises(ShapeError, match=r"answer needs valid as bool \[4, 1\]"):
        answer(U, "mean", torch.ones(4, 2, dtype=torch.bool))


def layers(rates: tuple[float, ...]) -> list[Tensor]:
    return [torch.full((10, 2, 128), rate, dtype=torch.float64) for rate in rates]


def test_e_activity_cost() -> None:
    assert activity_cost(layers((0.5, 0.2, 0.3)), 0.3).item() == pytest.approx(163.84)
    assert activity_cost(layers((0.5, 0.45, 0.4)), 0.4).item() == pytest.approx(368.64)
    assert activity_cost(layers((0.1, 0.2, 0.3)), 0.3).item() == 0.0


def test_the_activity_of_padding_is_free() -> None:
    spikes = (torch.rand(20, 3, 50, generator=torch.Generator().manual_seed(1)) < 0.5).double()
    valid = torch.arange(20)[:, None] < torch.tensor([20, 7, 2])
    loud = spikes.masked_fill(~valid[..., None], 1.0)
    quiet = spikes.masked_fill(~valid[..., None], 0.0)
    assert activity_cost([loud], 0.1, valid).item() == activity_cost([quiet], 0.1, valid).item()
    rates = torch.stack([spikes[valid][:, n].mean() for n in range(50)])
    assert activity_cost([loud], 0.1, valid).item() == pytest.approx((rates.sum() - 5.0).item() ** 2)


def test_activity_cost_errors() -> None:
    with pytest.raises(ConfigError, match="at least one layer"):
        activity_cost([], 0.1)
    with pytest.raises(ConfigError, match="needs allowed > 0"):
        activity_cost(layers((0.5,)), 0.0)
    with pytest.raises(ShapeError, match=r"activity_cost needs valid as bool .*but got torch.bool \[3, 2\]"):
        activity_cost(layers((0.5,)), 0.1, torch.ones(3, 2, dtype=torch.bool))


def test_the_loss_is_the_cross_entropy_of_the_answer() -> None:
    labels = torch.tensor([2])
    assert torch.equal(answer_loss(U, labels, "max"), cross_entropy(answer(U, "max"), labels))


@pytest.mark.parametrize(
    ("valid", "message"),
    [
        (torch.ones(4, 2), r"needs valid as bool \[4, 2\] for \[4, 2, 3\], but got torch.float32 \[4, 2\]"),
        (torch.ones(3, 2, dtype=torch.bool), r"but got torch.bool \[3, 2\]"),
        (torch.tensor([[False, True], [True, True], [True, False], [True, False]]), "Shift samples to step 0"),
        (torch.tensor([[True, True], [False, True], [True, False], [False, False]]), "Shift samples to step 0"),
    ],
)
def test_a_mask_that_would_pick_a_wrong_step_is_refused(valid: torch.Tensor, message: str) -> None:
    with pytest.raises(ShapeError, match=f"answer.*{message}"):
        answer(torch.rand(4, 2, 3), "last", valid)
    with pytest.raises(ShapeError, match=f"activity_cost.*{message}"):
        activity_cost([torch.rand(4, 2, 3)], 0.3, valid)


def test_no_valid_step_at_all_costs_nothing_that_is_a_number() -> None:
    with pytest.raises(ShapeError, match="activity_cost needs at least one valid step"):
        activity_cost([torch.rand(4, 2, 3)], 0.3, torch.zeros(4, 2, dtype=torch.bool))
