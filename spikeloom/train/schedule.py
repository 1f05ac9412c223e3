"""Learning rate schedules and time limits."""

import time
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from ..errors import ConfigError, check_positive
from . import ranks
from .run import Run


def step_decay(update: int, lr: float, decay: float, every: int) -> float:
    """Return the learning rate of an update: lr * decay ** (update // every).

    Args:
        update: number of finished updates.
        lr: learning rate of the first update, > 0.
        decay: factor applied every `every` updates, > 0; 1 for no decay.
        every: updates, at least 1.

    Raises:
        ConfigError: a value is out of range.

    >>> round(step_decay(2500, 0.01, 0.8, 2500), 6)
    0.008
    """
    check_positive("The learning rate", lr=lr, lr_decay=decay)
    if every < 1:
        raise ConfigError(f"The learning rate needs lr_decay_every >= 1, but got {every}. Use lr_decay 1 for no decay.")
    return lr * decay ** (update // every)


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def time_limit(minutes: float, run: Run) -> Callable[[int, list[dict[str, Any]]], bool] | None:
    """Return a `stop` function for `fit` that is true once the run has trained this long, including earlier restarts.

    All ranks use the clock of rank 0.

    Args:
        minutes: 0 for no limit; None is returned then.
    """
    if not minutes:
        return None
    start = time.monotonic() - run.seconds()
    return lambda finished, history: bool(ranks.shared(time.monotonic() - start > 60.0 * minutes))
