"""Spiking Speech Commands (SSC): 35 spoken words as spikes of 700 cochlea channels, in the format of `shd`.

Split into train, valid and test by its authors; speakers are not always given.
Source: Cramer, Stradmann, Schemmel, Zenke, The Heidelberg spiking data sets, IEEE TNNLS, 2020. CC BY 4.0.
"""

from typing import Literal

from ..arguments import explained
from ..errors import ConfigError
from . import shd
from .fetch import About, DataFile, Description, locate
from .fetch import describe as describe_file
from .spike_trains import SpikeTrains

Split = Literal["train", "valid", "test"]

CLASSES = 35
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
FILES = (
    shd.official("ssc_train.h5", "d102be95e7144fcc0553d1f45ba94170", 75_466, "training samples"),
    shd.official("ssc_valid.h5", "b4eee3516a4a90dd0c71a6ac23a8ae43", 9_981, "validation samples"),
    shd.official("ssc_test.h5", "a35ff1e9cffdd02a20eb850c17c37748", 20_382, "test samples"),
)
ABOUT = About(
    "35 spoken words as spikes of 700 channels, 75,466 training, 9,981 validation and 20,382 test samples",
    "CC BY 4.0",
    shd.MIRRORS[0],
    SPLITS,
)


@explained
def load(split: Split) -> SpikeTrains:
    """Load all samples of a split, in file order.

    Raises:
        ConfigError: the split is unknown.
        DataError: the file is missing or damaged.
    """
    return shd.read(locate("ssc", _file(split)), CLASSES)


@explained
def describe(split: Split) -> list[Description]:
    """Describe the file of a split: name, hash, number of samples, difference from the official one."""
    file = _file(split)
    path = locate("ssc", file)
    return [describe_file(path, shd.count(path), file)]


def _file(split: str) -> DataFile:
    if split not in SPLITS:
        raise ConfigError(f"SSC has the splits {', '.join(SPLITS)}, but got {split!r}. Choose one of them.")
    return FILES[SPLITS.index(split)]
