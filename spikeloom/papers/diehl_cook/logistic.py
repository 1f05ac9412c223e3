"""Multinomial logistic regression: a supervised linear readout of spike counts.

    logits[m] = W counts[m] + b
    W, b minimise  sum over m of cross entropy(logits[m], label[m]) + penalty / 2 sum of W^2

Unlike the votes of an unsupervised layer, it measures how well a linear classifier separates the features.
The bias is not penalised. The problem is convex; the optimisation starts at zero and is deterministic.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...errors import ConfigError, TrainingError, check_count, check_positive
from .votes import Vote, check_counts, check_labels, highest


class Logistic(NamedTuple):
    """Weights of a linear readout, in float64."""

    weight: Tensor  # [K, n]
    bias: Tensor  # [K]


def logistic(counts: Tensor, labels: Tensor, classes: int, penalty: float = 1.0, updates: int = 2000) -> Logistic:
    """Fit a linear readout to labelled counts (supervised).

    Shapes: counts [M, n], labels [M].

    Args:
        classes: K, at least 2.
        penalty: L2 penalty, > 0; the inverse of C in scikit-learn.
        updates: maximum number of L-BFGS updates.

    Raises:
        ConfigError: fewer than two classes, a label outside 0..K-1, a count below zero, a penalty not above zero.
        ShapeError: counts and labels do not fit each other.
        TrainingError: it has not converged after `updates` updates.

    >>> counts, labels = torch.tensor([[4, 0], [3, 1], [0, 3], [1, 5]]), torch.tensor([0, 0, 1, 1])
    >>> logistic_vote(torch.tensor([[5, 1], [0, 2], [0, 0]]), logistic(counts, labels, 2)).predictions.tolist()
    [0, 1, -1]
    """
    from scipy.optimize import minimize  # slow to load and rarely used

    check_counts("logistic", counts)
    check_labels("logistic", labels, len(counts), classes)
    check_positive("logistic", penalty=penalty, samples=len(counts))
    check_count("logistic", updates=updates)
    counts, labels = counts.double(), labels.long()
    mean = counts.mean(0)
    centred = counts - mean  # same optimum, fewer updates

    def loss_and_grad(flat: Any) -> tuple[float, Any]:
        parameters = torch.tensor(flat, device=counts.device).view(classes, -1)
        return _loss_and_slope(parameters, centred, labels, penalty)

    start = np.zeros(classes * (counts.shape[1] + 1))
    options = {"maxiter": updates, "maxfun": 2 * updates, "gtol": 1e-6, "ftol": 0.0}
    result = minimize(loss_and_grad, start, jac=True, method="L-BFGS-B", options=options)
    largest_grad = float(np.abs(result.jac).max())
    if not largest_grad < 1e-4:
        raise TrainingError(
            f"logistic still has a slope of {largest_grad:.1g} after {result.nit} updates. Pass more updates, or a "
            f"penalty above {penalty:g}."
        )
    parameters = torch.tensor(result.x, device=counts.device).view(classes, -1)
    weight = parameters[:, :-1].contiguous()
    return Logistic(weight, parameters[:, -1] - weight @ mean)


def logistic_vote(counts: Tensor, model: Logistic) -> Vote:
    """Predict the most probable class; a sample whose spiking neurons all have zero weights abstains.

    Shapes: counts [M, n] -> predictions [M], scores [M, K]: probabilities, zeros for samples that abstain.

    >>> model = Logistic(torch.eye(2).double(), torch.zeros(2).double())
    >>> logistic_vote(torch.tensor([[0, 3]]), model).predictions.tolist()
    [1]
    """
    check_counts("logistic_vote", counts, model.weight.shape[1])
    if not bool(model.weight.isfinite().all() and model.bias.isfinite().all()):
        raise ConfigError("logistic_vote got a read-out with values that are not finite. Learn it by logistic.")
    counts = counts.double()
    probabilities = torch.softmax(counts @ model.weight.T + model.bias, -1)
    used = counts @ (model.weight != 0).any(0).double()
    scores = probabilities.where(used[:, None] > 0, 0.0)
    return Vote(highest(scores), scores)


def _loss_and_slope(parameters: Tensor, counts: Tensor, labels: Tensor, penalty: float) -> tuple[float, Any]:
    """Return the loss per sample and its gradient at parameters (weight and bias) [K, n + 1]."""
    weight, bias = parameters[:, :-1], parameters[:, -1]
    logs = torch.log_softmax(counts @ weight.T + bias, -1)
    loss = penalty / 2 * weight.square().sum() - logs.gather(1, labels[:, None]).sum()
    errors = logs.exp()
    errors[torch.arange(len(labels), device=labels.device), labels] -= 1
    grad = torch.cat([errors.T @ counts + penalty * weight, errors.sum(0)[:, None]], 1)
    return float(loss) / len(counts), (grad / len(counts)).cpu().numpy().ravel()
