"""Reduction of the readouts of all steps to one row of logits per sample. Steps after the end of a sample are ignored.

    last     u[T_b - 1]           max      max over t of u[t]
    mean     mean over t of u[t]  cumsum   sum over t of softmax(u[t])

Source: Yarga and Wood, 2023 (last, max, mean) and 2024 (cumsum; the cross entropy then takes a second softmax of it).
"""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..arguments import explained
from ..errors import ConfigError, ShapeError, check_dense, check_sequence

Answer = Literal["last", "max", "mean", "cumsum"]
ANSWERS: tuple[str, ...] = get_args(Answer)


@explained
def answer(logits: Tensor, mode: str, valid: Tensor | None = None) -> Tensor:
    """Reduce logits over time to one row per sample.

    Shapes: logits [T, B, K]; valid [T, B], true from the first step of a sample to its last; -> [B, K].

    Raises:
        ConfigError: there is no such mode.
        ShapeError: `valid` does not fit, or a sample has no valid step.

    >>> u = torch.tensor([[[0.1, 0.2]], [[0.5, 0.0]]])
    >>> answer(u, "last").tolist(), answer(u, "last", torch.tensor([[True], [False]])).tolist()
    ([[0.5, 0.0]], [[0.1..., 0.2...]])
    """
    if mode not in ANSWERS:
        raise ConfigError(f"There is no answer mode {mode!r}. Choose one of {', '.join(ANSWERS)}.")
    check_sequence("answer", logits)
    if logits.dim() != 3:
        raise ShapeError(f"answer needs logits [T, B, K], but got {list(logits.shape)}.")
    if valid is None:
        valid = torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
    check_dense("answer: valid", valid)
    check_valid("answer", valid, logits)
    if not bool(valid.any(0).all()):
        raise ShapeError(
            f"answer needs valid [{logits.shape[0]}, {logits.shape[1]}] with at least one step per sample, but got "
            f"{list(valid.shape)} with {valid.sum(0).tolist()[:8]} valid steps. Leave out empty samples."
        )
    mask = valid.unsqueeze(-1)
    if mode == "last":
        ends = valid.sum(0) - 1
        return logits[ends, torch.arange(logits.shape[1], device=logits.device)]
    if mode == "max":
        return logits.masked_fill(~mask, -torch.inf).amax(0)
    if mode == "mean":
        return (logits * mask).sum(0) / mask.sum(0)
    return (torch.softmax(logits, -1) * mask).sum(0)


def check_valid(owner: str, valid: Tensor, xs: Tensor) -> None:
    """Raise ShapeError unless `valid` is bool [T, B] for a sequence, true from a sample's first step to its last."""
    if not isinstance(valid, Tensor) or valid.dtype != torch.bool or valid.shape != xs.shape[:2]:
        actual = f"{valid.dtype} {list(valid.shape)}" if isinstance(valid, Tensor) else type(valid).__name__
        raise ShapeError(f"{owner} needs valid as bool {list(xs.shape[:2])} for {list(xs.shape)}, but got {actual}.")
    if bool((valid[1:] & ~valid[:-1]).any()):
        raise ShapeError(
            f"{owner} needs valid true from the first step of a sample to its last, but a sample begins or goes on "
            "after a step that is false. Shift samples to step 0."
        )


@explained
def answer_loss(logits: Tensor, labels: Tensor, mode: str, valid: Tensor | None = None) -> Tensor:
    """Return the cross entropy of the reduced logits, see `answer`, averaged over the samples.

    >>> round(answer_loss(torch.zeros(3, 2, 4), torch.tensor([0, 1]), "mean").item(), 6)
    1.386294
    """
    reduced = answer(logits, mode, valid)
    check_dense("answer_loss: labels", labels)
    whole = not labels.is_floating_point() and labels.dtype != torch.bool
    fits = tuple(labels.shape) == (len(reduced),) and whole
    if fits and labels.device.type == "cpu":
        fits = bool(((labels >= 0) & (labels < reduced.shape[1])).all())
    if not fits:
        raise ShapeError(
            f"answer_loss needs labels [{len(reduced)}], whole numbers from 0 to {reduced.shape[1] - 1}, but got "
            f"{labels.dtype} {list(labels.shape)}. Pass a class for every sample."
        )
    return cross_entropy(reduced, labels.long())
