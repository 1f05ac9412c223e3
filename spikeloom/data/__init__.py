"""Data: readers of published data sets, one per module, and what they return as data sets of PyTorch.

`fetch` downloads and verifies files, `catalog` lists what there is. `datasets` has the `torch.utils.data.Dataset` of
each kind of data and `collate`; `event_frames` turns events into frames.
"""

from .datasets import ImageDataset, PaddedBatch, SoundDataset, SpikeDataset, StoryDataset, collate
from .event_frames import frames
from .spike_trains import SpikeTrains

__all__ = [
    "ImageDataset",
    "PaddedBatch",
    "SoundDataset",
    "SpikeDataset",
    "SpikeTrains",
    "StoryDataset",
    "collate",
    "frames",
]
