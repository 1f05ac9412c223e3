"""Parts of the options of tasks: a task's `Config` inherits those it needs; the help shows each under a heading.

@dataclass(frozen=True)
class Config(LearningRateOptions, CheckpointOptions):
    updates: int = 1000
    lr: float = 0.01  # another default; the help text is that of the part
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LearningRateOptions:
    """Learning rate of an optimiser, with its decay in steps."""

    lr: float = 0.003
    """Initial learning rate of Adam."""
    lr_decay: float = 0.85
    """Factor of the learning rate at each decay."""
    lr_decay_every: int = 720
    """Updates between two decays of the learning rate."""


@dataclass(frozen=True)
class CheckpointOptions:
    """Validations and checkpoints of a training run."""

    validate_every: int = 36
    """Updates between two validations."""
    select: Literal["best", "last"] = "best"
    """Weights to test: those with the best validation result, or the last ones."""
    checkpoint_every: int = 100
    """Updates between two checkpoints."""
