"""One optimiser step."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from . import ranks


def descend(
    loss: Tensor, optimizer: Optimizer, parameters: nn.Module | Iterable[Tensor], max_norm: float = 0.0
) -> None:
    """Zero the gradients, backpropagate the loss, average the gradients over the ranks, clip them, and step.

    Args:
        parameters: learned parameters.
        max_norm: maximum Euclidean norm of all gradients together; 0 disables clipping.
    """
    learned = list(parameters.parameters() if isinstance(parameters, nn.Module) else parameters)
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    ranks.average_gradients(learned)
    if max_norm:
        nn.utils.clip_grad_norm_(learned, max_norm)
    optimizer.step()
