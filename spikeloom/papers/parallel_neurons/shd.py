"""Spiking Heidelberg Digits: classify twenty spoken digits, German or English, from the spikes of a cochlea model.

Events are binned into time steps and processed by layers of parallel neurons, or of others (`neuron`, `recurrent`); the
readout of all steps is reduced to one prediction (`loss`). `spikeloom table shd` runs the table of the SPSN paper: LIF
neurons, two kinds of parallel neurons and rectified units, each as it is, with data augmentation, and with a
regularisation of the activity. There is no official validation split; speakers of the training file can be held out
(`--validation speakers`).

Data: Cramer, Stradmann, Schemmel, Zenke, The Heidelberg spiking data sets, IEEE TNNLS, 2020. Method: Yarga and Wood,
Accelerating SNN training with stochastic parallelizable spiking neurons, IJCNN 2023, whose numbers are accuracies after
the last of 200 epochs, with one seed; ParaLIF presets from its successor, 2024. Here, padding follows a sample and is
masked out; theirs precedes it and is treated as input.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from ...data import shd
from ...errors import ConfigError
from ...train.parts import PositiveInt
from ...train.run import Run
from ...train.table import Table
from . import spoken
from .options import SpokenOptions
from .spoken import COLUMNS, FOUR, SpokenSplits, rows


@dataclass(frozen=True)
class Config(SpokenOptions):
    held_out: PositiveInt = 2
    """Number of speakers of the training file held out for validation; used with validation speakers."""


PAPER = Config(rounding="ceil")
_SUCCESSOR = replace(PAPER, neuron="D", rounding="floor", lr_decay=0.5, learn_threshold=True, shift=0.05, scale=0.15)
DATA = ("shd",)
PRESETS = {
    **rows(PAPER, "image"),
    "paralif": replace(_SUCCESSOR, augmentation="image"),
    "paralif_recurrent": replace(
        _SUCCESSOR, augmentation="image", layers=1, hidden=256, recurrent="spikes", epochs=300
    ),
    "smoke": replace(
        PAPER, hidden=8, batch=12, epochs=2, validation="speakers", held_out=1, validate_every=1,
        checkpoint_every=1,
    ),
}  # fmt: skip

_SOURCE = "Yarga and Wood, IJCNN 2023: result files of its repository"
ROWS = {
    "lif": 0.71378, "lif_aug": 0.83039, "sb": 0.77164, "sb_aug": 0.86087, "sb_aug_reg": 0.89708, "gs": 0.75663,
    "gs_aug": 0.86087, "gs_aug_reg": 0.89399, "non_spiking": 0.71820, "non_spiking_aug": 0.66078,
}  # fmt: skip
PUBLISHED = {
    f"accuracy_{name}": {
        "value": value,
        "of": "accuracy",
        "source": _SOURCE,
        "note": f"row {name}; last of 200 epochs, seed 0; for the accuracy of preset {name}",
    }
    for name, value in ROWS.items()
}
TABLES: Mapping[str, Table] = {
    "neurons": Table.of_presets(
        "Accuracy on the Spiking Heidelberg Digits, last epoch", FOUR, COLUMNS, published=ROWS, source=_SOURCE
    )
}


def train(config: Config, run: Run) -> None:
    """Train on the training file, without the samples held out for validation."""
    spoken.train(config, run, splits(config, run))


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Return the accuracy on all samples of the test file."""
    data = [*shd.describe("train"), *shd.describe("test")]
    return spoken.evaluate(config, run, splits(config, run), data)


def plot(config: Config, run: Run) -> None:
    """Plot a test sample through all layers, learning curves, firing rates, confusion matrix."""
    spoken.plot(config, run, splits(config, run), "Learning spoken digits (SHD)")


def splits(config: Config, run: Run) -> SpokenSplits:
    """Load both files and split the training file into training and validation samples."""
    training, test = shd.load("train"), shd.load("test")
    speakers = np.unique(training.speakers)
    held_out: list[int] = []
    if config.validation == "speakers":
        if config.held_out >= len(speakers):
            raise ConfigError(
                f"--held-out must be 1 to {len(speakers) - 1}, since the training file has {len(speakers)} speakers, "
                f"but is {config.held_out}."
            )
        order = torch.randperm(len(speakers), generator=run.fresh().generator("speakers", shared=True))
        held_out = [int(speakers[i]) for i in order[: config.held_out]]
    return spoken.split(config, training, test, held_out, run)
