"""Data sets for `torch.utils.data.DataLoader`: samples as sequences, and batches padded time-first.

    sample     (data [T, *N], label)
    batch      data [T, B, *N], T of the longest sample; zero from step lengths[b] on

What a reader returns becomes a `Dataset` in one call, and `collate` joins its samples:

    SpikeDataset(shd.load("train"), window=4.0)                          SHD, SSC, N-TIDIGITS18; `fsdd.spikes`
    SpikeDataset(nmnist.load("train"), window=5.0, shape=(34, 34))       N-MNIST, ST-MNIST (10, 10) as frames
    ImageDataset(*mnist.load("train"))                                   MNIST, a sequence of one step
    ImageDataset.of_characters(omniglot.load("background"))              Omniglot
    SoundDataset(recordings.samples, recordings.labels)                  FSDD, with recordings = fsdd.load("train")
    StoryDataset(vocabulary.encode(files.train))                         bAbI

Samples do not depend on the process that reads them, so workers and shuffling are those of PyTorch. Whatever is drawn
at random, such as `rate`, is best applied to a batch: a copy of one generator in every worker would repeat its numbers.
The experiments of `spikeloom.papers` bin whole batches with `raster` instead, which is faster, and resume exactly.
"""

import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..arguments import explained
from ..errors import USUAL, ConfigError, ShapeError, check_count, check_dense, check_positive
from .babi import Stories
from .omniglot import Characters
from .spike_trains import Array, Rounding, SpikeTrains, raster, whole

Sample = tuple[Tensor, int]
"""A sequence [T, *N] and its label."""


class PaddedBatch(NamedTuple):
    """Batch of sequences of different lengths, made by `collate`.

    >>> batch = PaddedBatch(torch.zeros(3, 2, 5), torch.tensor([1, 0]), torch.tensor([3, 1]))
    >>> batch.mask[:, 1].tolist(), batch.to("cpu").data.shape
    ([True, False, False], torch.Size([3, 2, 5]))
    """

    data: Tensor  # [T, B, *N], zero after the end of a sample
    labels: Tensor  # int64 [B]
    lengths: Tensor  # int64 [B], steps of each sample

    @property
    def mask(self) -> Tensor:
        """Mask of the steps that belong to a sample, bool [T, B]."""
        return torch.arange(len(self.data), device=self.lengths.device)[:, None] < self.lengths

    def to(self, device: torch.device | str) -> "PaddedBatch":
        """Return the batch on `device`."""
        return PaddedBatch(*(tensor.to(device) for tensor in self))


@explained
def collate(samples: Sequence[tuple[Tensor, int | Tensor]]) -> PaddedBatch:
    """Join samples, given as pairs of a sequence and a label, to a batch; the `collate_fn` of a DataLoader.

    Shapes: sequences [T, *N] of any lengths -> data [T, B, *N], labels [B], lengths [B].

    Raises:
        ConfigError: there are no samples, or they are no pairs of a sequence and a whole number.
        ShapeError: sequences differ in the shape of a step or in dtype.

    >>> batch = collate([(torch.ones(2, 3), 0), (torch.ones(1, 3), 1)])
    >>> batch.data.shape, batch.data[:, 1, 0].tolist(), batch.lengths.tolist(), batch.mask.tolist()
    (torch.Size([2, 2, 3]), [1.0, 0.0], [2, 1], [[True, True], [True, False]])
    """
    if not len(samples):
        raise ConfigError("collate needs at least one of the samples, but got none.")
    if not all(isinstance(sample, tuple | list) and len(sample) == 2 for sample in samples):
        raise ConfigError("collate needs samples as pairs of a sequence and a label. Use the items of a data set.")
    sequences, labels = [sample[0] for sample in samples], [sample[1] for sample in samples]
    for sequence in sequences:
        check_dense("collate", sequence, "the sequences of samples")
        if sequence.dim() < 1 or (sequence.shape[1:], sequence.dtype) != (sequences[0].shape[1:], sequences[0].dtype):
            raise ShapeError(
                "collate needs samples whose sequences [T, *N] differ in T only, but got "
                f"{sequences[0].dtype} {list(sequences[0].shape)} and {sequence.dtype} {list(sequence.shape)}."
            )
    numbers = [_label(label) for label in labels]
    return PaddedBatch(
        torch.nn.utils.rnn.pad_sequence(sequences),
        torch.tensor(numbers),
        torch.tensor([len(sequence) for sequence in sequences]),
    )


def _label(label: object) -> int:
    try:
        return operator.index(label)  # type: ignore[arg-type]
    except TypeError as error:
        raise ConfigError(
            f"collate needs whole numbers as the labels of samples, but got {label!r}. Convert them first."
        ) from error


@explained
class SpikeDataset(Dataset[Sample]):
    """Spike trains as a data set: each sample is a raster, binned when it is read.

    Shapes: a sample [T, channels], or [T, *shape]; float32 counts by default.
    Units: window in ms.

    Args:
        trains: samples of any reader, such as `shd.load("train")`.
        window: bin width.
        rounding: "floor" puts an event at t in bin floor(t / window), "ceil" in ceil(t / window).
        steps: T of every sample; by default that of its last event.
        shape: shape of a step, such as (34, 34) for N-MNIST or (2, 34, 34) with both polarities (OFF, ON).

    Raises:
        ConfigError: window is not positive, rounding or dtype is unknown, steps < 1, or `shape` does not fit the
            channels.

    >>> from torch.utils.data import DataLoader
    >>> times, units = [[0.0, 1.5, 3.0], [0.4], [2.0, 2.5]], [[1, 0, 0], [1], [0, 1]]
    >>> trains = SpikeTrains.of(times, units, labels=[0, 1, 1], channels=2, classes=("no", "yes"))
    >>> loader = DataLoader(SpikeDataset(trains), batch_size=3, collate_fn=collate)  # shuffle=True, num_workers=4
    >>> batch = next(iter(loader))
    >>> batch.data.shape, batch.labels.tolist(), batch.lengths.tolist()
    (torch.Size([4, 3, 2]), [0, 1, 1], [4, 1, 3])
    """

    def __init__(
        self, trains: SpikeTrains, *, window: float = 1.0, rounding: Rounding = "floor", steps: int | None = None,
        shape: tuple[int, ...] | None = None, dtype: torch.dtype = torch.float32,
    ) -> None:  # fmt: skip
        if not isinstance(trains, SpikeTrains):
            raise ConfigError(f"SpikeDataset needs trains as SpikeTrains, but got {type(trains).__name__}.")
        check_positive("SpikeDataset", window=window)
        if rounding not in ("floor", "ceil"):
            raise ConfigError(f'SpikeDataset needs rounding "floor" or "ceil", but got {rounding!r}.')
        if dtype not in USUAL:
            raise ConfigError(f"SpikeDataset needs a dtype of real numbers, such as torch.float32, but got {dtype!r}.")
        if steps is not None:
            check_count("SpikeDataset", steps=steps)
        if shape is not None and (min(shape, default=1) < 1 or int(np.prod(shape, dtype=object)) != trains.channels):
            raise ConfigError(
                f"SpikeDataset was asked for the shape {shape}, but each step has {trains.channels:,} channels."
            )
        self.trains, self.window, self.rounding = trains, float(window), rounding
        self.steps, self.shape, self.dtype = steps, shape, dtype

    def __len__(self) -> int:
        return len(self.trains)

    def __getitem__(self, index: int) -> Sample:
        batch = raster(
            self.trains, [_place(index, len(self))], window=self.window, rounding=self.rounding, steps=self.steps,
            dtype=self.dtype,
        )  # fmt: skip
        spikes = batch.spikes[:, 0]
        return spikes if self.shape is None else spikes.reshape(-1, *self.shape), int(batch.labels[0])


@explained
class ImageDataset(Dataset[Sample]):
    """Images as a data set of sequences: of one step, or of the steps that an encoder makes.

    Shapes: images [N, *S]; a sample [1, *S], values from 0 (black) to 1 (white) in float32.

    Args:
        white: value that becomes 1; 255 for bytes, 1 for the images of Omniglot.
        encode: maps the image as a batch of one, [1, *S], to a sequence [T, 1, *M], as the encoders of
            `spikeloom.encoding` do; the sample is then [T, *M]. With workers that are not forked it must be picklable:
            `functools.partial(latency, steps=20)`, not a lambda.

    Raises:
        ConfigError: there is not one whole number as the label of every image, or `white` is not positive.
        ShapeError: images are not a dense tensor of real numbers [N, *S].

    >>> from functools import partial
    >>> from spikeloom import latency
    >>> images, labels = torch.tensor([[[0, 255]], [[51, 0]]], dtype=torch.uint8), torch.tensor([3, 7])
    >>> ImageDataset(images, labels)[1][0].tolist()
    [[[0.20000000298023224, 0.0]]]
    >>> spikes, label = ImageDataset(images, labels, encode=partial(latency, steps=20))[0]
    >>> spikes.shape, label
    (torch.Size([20, 1, 2]), 3)
    """

    def __init__(
        self, images: Tensor, labels: Tensor | Array | Sequence[int], *, white: float = 255.0,
        encode: Callable[[Tensor], Tensor] | None = None,
    ) -> None:  # fmt: skip
        check_dense("ImageDataset", images, "images")
        check_positive("ImageDataset", white=white)
        if images.dim() < 2:
            raise ShapeError(f"ImageDataset needs images [N, *S], but got {list(images.shape)}.")
        self.images, self.labels = images, _labels("ImageDataset", labels, len(images), "images")
        self.white, self.encode = float(white), encode

    @classmethod
    @explained
    def of_characters(
        cls, characters: Characters, *, encode: Callable[[Tensor], Tensor] | None = None
    ) -> "ImageDataset":
        """Return all drawings of Omniglot; the label is the index of the character.

        >>> found = Characters(torch.ones(2, 3, 4, 4, dtype=torch.uint8), ["a", "b"], torch.tensor([0, 0]))
        >>> data = ImageDataset.of_characters(found)
        >>> len(data), data[4][0].shape, data[4][1]
        (6, torch.Size([1, 4, 4]), 1)
        """
        if not isinstance(characters, Characters):
            raise ConfigError(f"ImageDataset needs characters as Characters, but got {type(characters).__name__}.")
        count, drawings = characters.images.shape[:2]
        labels = torch.arange(count).repeat_interleave(drawings)
        return cls(characters.images.flatten(0, 1), labels, white=1.0, encode=encode)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        place = _place(index, len(self))
        image = (self.images[place].double() / self.white).float().unsqueeze(0)
        return _encoded("ImageDataset", image, self.encode), int(self.labels[place])


@explained
class SoundDataset(Dataset[Sample]):
    """Recordings as a data set of sequences: a sample of the sound per step, or the steps that an encoder makes.

    Shapes: each sound [length]; a sample [length, 1], float32.

    Args:
        encode: maps a sound, a NumPy array [length], to a sequence [T, *N], such as
            `lambda sound: torch.from_numpy(mfcc(sound, 8000))`.

    Raises:
        ConfigError: there is not one whole number as the label of every sound.
        ShapeError: a sound is not a flat array.

    >>> sounds = [np.zeros(3, np.float32), np.ones(2, np.float32)]
    >>> batch = collate(list(SoundDataset(sounds, [5, 8])))
    >>> batch.data[..., 0].T.tolist(), batch.labels.tolist(), batch.lengths.tolist()
    ([[0.0, 0.0, 0.0], [1.0, 1.0, 0.0]], [5, 8], [3, 2])
    """

    def __init__(
        self, sounds: Sequence[Array], labels: Tensor | Array | Sequence[int], *,
        encode: Callable[[Array], Tensor] | None = None,
    ) -> None:  # fmt: skip
        arrays = [np.asarray(sound) for sound in sounds]
        for number, sound in enumerate(arrays):
            if sound.ndim != 1 or sound.dtype.kind not in "fiu":
                raise ShapeError(
                    f"SoundDataset needs sounds as flat arrays of numbers, but number {number} is {sound.dtype} "
                    f"{list(sound.shape)}. Convert it first."
                )
        self.sounds, self.labels = arrays, _labels("SoundDataset", labels, len(arrays), "sounds")
        self.encode = encode

    def __len__(self) -> int:
        return len(self.sounds)

    def __getitem__(self, index: int) -> Sample:
        place = _place(index, len(self))
        sound = self.sounds[place]
        if self.encode is None:
            return torch.from_numpy(sound.astype(np.float32)).unsqueeze(1), int(self.labels[place])
        return self.encode(sound), int(self.labels[place])


@explained
class StoryDataset(Dataset[Sample]):
    """Questions of bAbI as a data set: the statements before a question, then the question, one sentence per step.

    Shapes: a sample int64 [statements + 1, P], word indices padded with 0; the label is the index of the answer.

    Raises:
        ConfigError: stories are not made by `Vocabulary.encode`.

    >>> from spikeloom.data import babi
    >>> file = babi.parse(b"1 Mary left.\\n2 John stayed.\\n3 Who left? \\tMary\\t1\\n", "a file")
    >>> vocabulary = babi.Vocabulary.of([file])
    >>> data, label = StoryDataset(vocabulary.encode(file))[0]
    >>> data.shape, vocabulary.words[label]
    (torch.Size([3, 2]), 'mary')
    """

    def __init__(self, stories: Stories) -> None:
        if not isinstance(stories, Stories):
            raise ConfigError(
                f"StoryDataset needs stories as Stories, but got {type(stories).__name__}. Make them with "
                "Vocabulary.encode."
            )
        self.stories = stories

    def __len__(self) -> int:
        return len(self.stories.target)

    def __getitem__(self, index: int) -> Sample:
        batch = self.stories.batch(torch.tensor([_place(index, len(self))]))
        return torch.cat([batch.statements, batch.query]), int(batch.target[0])


def _place(index: int, count: int) -> int:
    """Return an index counted from 0; raise IndexError, which ends a loop over a data set, if it is out of range."""
    place = operator.index(index)
    if not -count <= place < count:
        raise IndexError(f"The data set has {count:,} samples, but number {place:,} was asked for.")
    return place % count


def _labels(owner: str, labels: Tensor | Array | Sequence[int], count: int, what: str) -> Array:
    numbers = whole(labels, f"{owner}: labels")
    if numbers.shape != (count,):
        raise ConfigError(f"{owner} needs a label for each of {count:,} {what}, but got labels {list(numbers.shape)}.")
    return numbers.astype(np.int64)


def _encoded(owner: str, image: Tensor, encode: Callable[[Tensor], Tensor] | None) -> Tensor:
    """Return an image [1, *S] as a sequence [T, *M]."""
    if encode is None:
        return image
    encoded = encode(image)
    if not isinstance(encoded, Tensor) or encoded.dim() < 2 or encoded.shape[1] != 1:
        found = list(encoded.shape) if isinstance(encoded, Tensor) else type(encoded).__name__
        raise ShapeError(
            f"{owner} needs encode to return a sequence [T, 1, *M] of the image {list(image.shape)}, but got {found}."
        )
    return encoded[:, 0]
