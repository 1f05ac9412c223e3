"""Options of the task cross_modal, and its data and encoders: words, pictures and their activity."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn

from ...data import mnist
from ...data.fsdd import Split, split_mixed
from ...encoding import mfcc
from ...errors import ConfigError
from ...train.parts import CheckpointOptions, LearningRateOptions, NonNegative, NonNegativeInt, Positive, PositiveInt
from ...train.run import Run
from . import digit_pairs, pretraining
from .digit_pairs import Pairs
from .encoders import ConvEncoder, SpikingConvEncoder, pixel_rates
from .options import (
    BatchOptions,
    EncoderOptions,
    ItemOptions,
    RateCostOptions,
    SampleOptions,
    check_normalise,
    neuron_of,
    of_data,
    steps,
)
from .pretraining import Schedule, borrow, calibrate, embed, phase, pretrain_classes
from .recall import CrossModalNetwork

ALL = "0,1,2,3,4,5,6,7,8,9"
ALIKE = ("channels", "batch_norm", "conv_bias", "conversion", "validation_share")
"""Options that must be equal in a run whose encoder is reused."""
OF_WORDS = ("coefficients", "frames")
OF_PIXELS = ("item_ms", "dt", "threshold", "tau_mem", "refractory", "reset")
"""Further such options: of encoders of words, and of encoders pre-trained on pixel rates."""


@dataclass(frozen=True)
class Config(
    LearningRateOptions, CheckpointOptions, SampleOptions, EncoderOptions, ItemOptions, RateCostOptions, BatchOptions
):
    model: Literal["spiking", "relu", "frozen"] = "spiking"
    """Network: spiking, with a Hebbian memory; relu, its rate version; frozen, with a memory that stays at zero."""
    train_digits: str = ALL
    """Digits of training and validation, separated by commas."""
    test_digits: str = ALL
    """Digits of the test, separated by commas."""
    images: NonNegativeInt = 0
    """Number of training pictures to use, the first of the file; 0: all."""
    coefficients: Annotated[int, Interval(ge=16, le=127)] = 20
    """Number of MFCCs per frame, without the first one; four poolings need 16."""
    frames: Annotated[int, Ge(16)] = 30
    """Frames per word, at least 16; shorter words are zero-padded, longer ones cropped around the loudest frame."""
    pretraining: Literal["digits", "none"] = "digits"
    """Pre-training of the encoders, on digit classification; none: untrained, with the threshold of other neurons."""
    conversion: Literal["balanced", "bounded"] = "balanced"
    """Conversion of the encoders to spikes. balanced: pre-training with unbounded ReLU, then thresholds are set to the
    largest currents of the spiking network; bounded: pre-training on pixel firing rates with activity clipped to the
    largest rate of a neuron, so that thresholds are 1."""
    words_from: str = ""
    """Folder of a run whose pre-trained encoder of words is reused; empty: train one."""
    pictures_from: str = ""
    """Folder of a run whose pre-trained encoder of pictures is reused; empty: train one."""
    freeze_encoders: bool = False
    """Do not train the encoders after pre-training; their spikes are then computed once."""
    words_updates: PositiveInt = 1000
    """Number of pre-training updates of the encoder of words."""
    pictures_updates: PositiveInt = 21_100
    """Number of pre-training updates of the encoder of pictures."""
    pretrain_batch: PositiveInt = 256
    """Words or pictures per pre-training update."""
    redraw: NonNegative = 0.0
    """Weight of the mean squared error of a decoder that reconstructs pictures from their features in pre-training; 0:
    no decoder."""
    initial: Literal["paper", "aligned", "centred"] = "paper"
    """Initial weights: paper, independent; aligned, equal key weights for writing and reading, keys from words only and
    values from pictures only; centred, in addition the weights of each neuron sum to zero, so that what all words have
    in common does not drive it."""
    hidden: PositiveInt = 256
    """Hidden neurons of the decoder."""
    white: Positive = 15.0
    """Number of spikes of a white pixel during the query."""
    length: PositiveInt = 3
    validation_share: Annotated[float, Interval(gt=0, lt=1)] = 0.1
    """Fraction of the training recordings of every digit and speaker, and of the pictures of every digit, for
    validation."""
    pretrain_decay: Positive = 0.85
    """Factor of the pre-training learning rate at each of five decays."""
    threshold: Positive = 0.05
    """Firing threshold of all neurons except those in the blocks of the encoders."""
    updates: PositiveInt = 4320
    stored: NonNegativeInt = 9000
    lr: Positive = 0.001
    rate_cost: NonNegative = 1e-7
    select: Literal["best", "last"] = "best"
    """Weights to test: those with the smallest validation loss, or the last ones."""
    checkpoint_every: PositiveInt = 36

    def __post_init__(self) -> None:
        super().__post_init__()
        check_normalise(self, self.normalise)
        for name in ("train_digits", "test_digits"):
            digits, option = numbers(self, name), f"--{name.replace('_', '-')}"
            if len(set(digits)) < len(digits):
                raise ConfigError(f"{option} names a digit twice: {getattr(self, name)}. Name each once.")
            if self.length > len(digits):
                raise ConfigError(
                    f"Samples of {self.length} pairs need as many digits, but {option} has {len(digits)}. "
                    "Change it, or --length."
                )
        trained = self.pretraining == "digits"
        if self.spikes and self.batch_norm:
            raise ConfigError("Encoders that normalise cannot spike. Use --no-batch-norm, or --model relu.")
        if self.spikes and self.conv_bias and trained and self.conversion == "balanced":
            raise ConfigError('Balancing knows no biases. Switch conv_bias off, or choose conversion "bounded".')
        if self.learn_thresholds and (self.freeze_encoders or not self.spikes):
            raise ConfigError("learn_thresholds is for encoders in spikes that are not frozen.")
        if self.model == "relu" and self.conversion == "bounded":
            raise ConfigError('conversion "bounded" is for encoders that spike, not for relu. Choose "balanced".')
        if self.freeze_encoders and not (trained or (self.words_from and self.pictures_from)):
            raise ConfigError(
                "Frozen encoders that were never trained are of no use. Use --pretraining digits, or "
                "--no-freeze-encoders."
            )


def numbers(config: Config, name: str) -> list[int]:
    """Parse an option that lists digits."""
    text: str = getattr(config, name)
    words = [word.strip() for word in text.split(",")]
    if not all(len(word) == 1 and word in "0123456789" for word in words):
        raise ConfigError(f"--{name.replace('_', '-')} takes digits with commas, such as 0,3,7, but got {text!r}.")
    return [int(word) for word in words]


class WordsAndPictures(NamedTuple):
    """Words and pictures from which samples are drawn, with their digits."""

    words: Tensor  # float32 [N, 1, frames, coefficients]
    word_labels: Tensor  # int64 [N], digits of the words
    pictures: Tensor  # float32 [M, 1, 28, 28], 0 to 1
    picture_labels: Tensor  # int64 [M], digits of the pictures

    def take(self, words: Tensor, pictures: Tensor) -> "WordsAndPictures":
        """Return the words and pictures with these indices."""
        return WordsAndPictures(
            self.words[words], self.word_labels[words], self.pictures[pictures], self.picture_labels[pictures]
        )


class Senses(NamedTuple):
    """Functions that return the activity of the encoders: indices [*B] -> activity [T, *B, F]."""

    words: Callable[[Tensor], Tensor]
    pictures: Callable[[Tensor], Tensor]


def load(config: Config, run: Run) -> tuple[WordsAndPictures, WordsAndPictures, WordsAndPictures]:
    """Load the training, validation and test data."""
    (training, speakers), (test, _) = read(config, "train"), read(config, "test")
    drawn = of_data(config, run.fresh(), "split", shared=True)
    words = split_mixed(training.word_labels, speakers, config.validation_share, drawn)
    pictures = split_mixed(
        training.picture_labels, torch.zeros_like(training.picture_labels), config.validation_share, drawn
    )
    return training.take(words[0], pictures[0]), training.take(words[1], pictures[1]), test


def read(config: Config, split: Split) -> tuple[WordsAndPictures, Tensor]:
    """Read the words and pictures of a split; return the speakers of the words too."""
    words = digit_pairs.words(split, mfcc.MFCCOptions(config.coefficients, config.frames))
    digits = mnist.load(split)
    count = config.images or len(digits.labels) if split == "train" else len(digits.labels)
    pictures = digits.images[:count].unsqueeze(1).float() / 255
    return WordsAndPictures(words.pictures, words.labels, pictures, digits.labels[:count]), words.speakers


def encoder_of(config: Config, run: Run, name: str) -> ConvEncoder:
    """Build an encoder with rates, with weights drawn from the run's generator."""
    draws = run.generator(f"weights of {name}", shared=True)
    bound = math.inf if config.conversion == "balanced" else 1 / (1 + round(config.refractory / config.dt))
    encoder = ConvEncoder(
        config.channels, batch_norm=config.batch_norm, bias=config.conv_bias, bound=bound, generator=draws
    )
    return encoder.to(run.device)


def spiking_of(config: Config, encoder: ConvEncoder) -> nn.Module:
    """Return the encoder of the network: spiking, or the same for relu."""
    if not config.spikes:
        return encoder
    spiking = SpikingConvEncoder(encoder, neuron_of(config), learn_thresholds=config.learn_thresholds)
    return spiking.to(next(encoder.parameters()).device)


def prepared(config: Config, run: Run, name: str, training: WordsAndPictures, held: WordsAndPictures) -> nn.Module:
    """Return an encoder of words or pictures, pre-trained and converted to spikes as the options say."""
    encoder, inner = encoder_of(config, run, name), phase(run, name)
    source = config.words_from if name == "words" else config.pictures_from
    (images, labels), (others, names) = (data[:2] if name == "words" else data[2:] for data in (training, held))
    if source:
        alike = ALIKE + (OF_WORDS if name == "words" else ()) + (OF_PIXELS if config.conversion == "bounded" else ())
        borrow(inner, source, encoder, config, alike)
    elif config.pretraining == "digits":
        neuron, length = neuron_of(config), steps(config, "item_ms")
        updates = config.words_updates if name == "words" else config.pictures_updates
        every = max(updates // 20, 1)
        pretrain_classes(
            inner, encoder, images, labels, (others, names), 10, config.pretrain_batch,
            Schedule(updates, config.pretrain_lr, config.pretrain_decay, max(updates // 5, 1), every, every),
            redraw=config.redraw if name == "pictures" else 0.0,
            transform=(lambda images: pixel_rates(neuron, images, length)) if config.conversion == "bounded" else None,
        )  # fmt: skip
    spiking = spiking_of(config, encoder)
    trained = source or config.pretraining == "digits"
    if trained and config.conversion == "balanced" and isinstance(spiking, SpikingConvEncoder):
        calibrate(
            inner, spiking, images, steps(config, "item_ms"), batches=config.calibration_batches,
            batch=config.calibration_batch, share=config.threshold_share,
        )  # fmt: skip
    return spiking


def perceive(
    config: Config, run: Run, model: CrossModalNetwork, data: WordsAndPictures, name: str, only: Pairs | None = None
) -> Senses:
    """Return functions for the activity of the encoders: computed once if they are frozen, otherwise on demand.

    Args:
        only: samples to whose words and pictures the computation is limited; None: all.
    """

    def activity_of(encoder: nn.Module, images: Tensor, what: str, used: Tensor) -> Callable[[Tensor], Tensor]:
        length = steps(config, "item_ms")
        if config.freeze_encoders:
            place = torch.zeros(len(images), dtype=torch.int64)
            place[used] = torch.arange(len(used))
            if isinstance(encoder, SpikingConvEncoder):
                packed = pretraining.spikes(phase(run, what), encoder, images[used], length, name)
                return lambda indices: packed.take(place[indices])
            assert isinstance(encoder, ConvEncoder)
            table = embed(encoder, images[used], run.device)
            return lambda indices: table[place[indices]].unsqueeze(0)

        def on_demand(indices: Tensor) -> Tensor:
            batch = images[indices.flatten()].to(run.device)
            if isinstance(encoder, SpikingConvEncoder):
                activity = encoder.encode(batch, length)
            else:
                activity = torch.unsqueeze(encoder(batch), 0)
            return activity.view(len(activity), *indices.shape, activity.shape[2])

        return on_demand

    words, pictures = torch.arange(len(data.word_labels)), torch.arange(len(data.picture_labels))
    if only is not None:
        words = torch.unique(torch.cat([only.sounds.flatten(), only.query]))
        pictures = torch.unique(only.images)
    return Senses(
        activity_of(model.words, data.words, "words", words),
        activity_of(model.pictures, data.pictures, "pictures", pictures),
    )
