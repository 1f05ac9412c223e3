"""Options of the task cross_modal, and its data and encoders: words, pictures and their activity."""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ...data import mnist
from ...data.fsdd import split_mixed
from ...encoding import mfcc
from ...errors import ConfigError
from ...train.parts import CheckpointOptions, LearningRateOptions
from ...train.run import Run
from . import digit_pairs, pretraining
from .digit_pairs import Pairs
from .encoders import ConvEncoder, SpikingConvEncoder, pixel_rates
from .options import SPIKING, LayerOptions, RateCostOptions, neuron_of, of_data, steps
from .pretraining import Schedule, borrow, calibrate, embed, phase, pretrain_classes
from .recall import CrossModalNetwork

ALL = "0,1,2,3,4,5,6,7,8,9"
ALIKE = ("made_up", "channels", "batch_norm", "conv_bias", "conversion", "validation_share")
"""Options that must be equal in a run whose encoder is reused."""
OF_WORDS = ("coefficients", "frames")
OF_PIXELS = ("item_ms", "dt", "threshold", "tau_mem", "refractory", "reset")
"""Further such options: of encoders of words, and of encoders pre-trained on pixel rates."""


@dataclass(frozen=True)
class Config(LearningRateOptions, CheckpointOptions, LayerOptions, RateCostOptions):
    model: Literal["spiking", "relu", "frozen"] = "spiking"
    """Network: spiking, with a Hebbian memory; relu, its rate version; frozen, with a memory that stays at zero."""
    made_up: bool = False
    """Use a few made-up sounds and pictures in the formats of the data sets instead, to try the task."""
    data_seed: int = -1
    """Seed of samples and of the validation split, so that runs with different seeds share them; -1: the seed of the
    run."""
    length: int = 3
    """Number of pairs of a sample."""
    train_digits: str = ALL
    """Digits of training and validation, separated by commas."""
    test_digits: str = ALL
    """Digits of the test, separated by commas."""
    images: int = 0
    """Number of training pictures to use, the first of the file; 0: all."""
    coefficients: int = 20
    """Number of MFCCs per frame, without the first one."""
    frames: int = 30
    """Frames per word; shorter words are zero-padded, longer ones cropped around the loudest frame."""
    validation_share: float = 0.1
    """Fraction of the training recordings of every digit and speaker, and of the pictures of every digit, for
    validation."""
    item_ms: float = 100.0
    """Duration of a pair, and of the query [ms]."""
    channels: int = 64
    """Channels of the encoders: number of spike trains of an encoded picture, and of an encoded word."""
    batch_norm: bool = False
    """Batch normalisation in the encoders; relu only."""
    conv_bias: bool = False
    """Biases in the convolutions of the encoders."""
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
    learn_thresholds: bool = False
    """Train the thresholds of the encoders, unless frozen; they stay above a thousandth of their initial values."""
    threshold_share: float = 1.0
    """Balanced thresholds as a fraction of the largest current."""
    calibration_batches: int = 10
    """Number of batches of training words, and of pictures, for threshold balancing."""
    calibration_batch: int = 64
    """Words or pictures per batch of threshold balancing."""
    words_updates: int = 1000
    """Number of pre-training updates of the encoder of words."""
    pictures_updates: int = 21_100
    """Number of pre-training updates of the encoder of pictures."""
    pretrain_batch: int = 256
    """Words or pictures per pre-training update."""
    pretrain_lr: float = 0.001
    """Initial learning rate of Adam in pre-training."""
    pretrain_decay: float = 0.85
    """Factor of the pre-training learning rate at each of five decays."""
    redraw: float = 0.0
    """Weight of the mean squared error of a decoder that reconstructs pictures from their features in pre-training; 0:
    no decoder."""
    initial: Literal["paper", "aligned", "centred"] = "paper"
    """Initial weights: paper, independent; aligned, equal key weights for writing and reading, keys from words only and
    values from pictures only; centred, in addition the weights of each neuron sum to zero, so that what all words have
    in common does not drive it."""
    normalise: bool = False
    """Divide every key and every value by its root mean square; relu only."""
    hidden: int = 256
    """Hidden neurons of the decoder."""
    white: float = 15.0
    """Number of spikes of a white pixel during the query."""
    readout_scale: float = 1.0
    """Factor of the initial weights onto the pixels."""
    threshold: float = 0.05
    """Firing threshold of all neurons except those in the blocks of the encoders."""
    batch: int = 256
    """Samples per update."""
    updates: int = 4320
    """Number of optimiser updates."""
    stored: int = 9000
    """Size of a fixed training set, drawn once; 0: new samples in every update."""
    lr: float = 0.001
    clip: float = 40.0
    """Gradient clipping: largest norm of the gradient; 0: no clipping."""
    rate_cost: float = 1e-7
    validation_samples: int = 1000
    """Number of validation samples, the same in every validation."""
    select: Literal["best", "last"] = "best"
    """Weights to test: those with the smallest validation loss, or the last ones."""
    test_samples: int = 1000
    """Number of test samples."""
    checkpoint_every: int = 36


class WordsAndPictures(NamedTuple):
    """Words and pictures from which samples are drawn, with their digits."""

    words: Tensor  # float32 [N, 1, frames, coefficients]
    said: Tensor  # int64 [N], digits of the words
    pictures: Tensor  # float32 [M, 1, 28, 28], 0 to 1
    shown: Tensor  # int64 [M], digits of the pictures

    def take(self, words: Tensor, pictures: Tensor) -> "WordsAndPictures":
        """Return the words and pictures with these indices."""
        return WordsAndPictures(self.words[words], self.said[words], self.pictures[pictures], self.shown[pictures])


class Senses(NamedTuple):
    """Functions that return the activity of the encoders: indices [*B] -> activity [T, *B, F]."""

    words: Callable[[Tensor], Tensor]
    pictures: Callable[[Tensor], Tensor]


def numbers(config: Config, name: str) -> list[int]:
    """Parse an option that lists digits."""
    text: str = getattr(config, name)
    words = [word.strip() for word in text.split(",")]
    if not all(len(word) == 1 and word in "0123456789" for word in words):
        raise ConfigError(f"{name} are digits with commas, such as 0,3,7, but got {text!r}.")
    return [int(word) for word in words]


def load(config: Config, run: Run) -> tuple[WordsAndPictures, WordsAndPictures, WordsAndPictures]:
    """Load the training, validation and test data."""
    if config.made_up:
        with tempfile.TemporaryDirectory() as place:
            digit_pairs.write_example(Path(place))
            splits = [read(config, split, Path(place)) for split in ("train", "test")]
    else:
        splits = [read(config, split, None) for split in ("train", "test")]
    (training, speakers), (test, _) = splits
    drawn = of_data(config, run.fresh(), "split", shared=True)
    words = split_mixed(training.said, speakers, config.validation_share, drawn)
    pictures = split_mixed(training.shown, torch.zeros_like(training.shown), config.validation_share, drawn)
    return training.take(words[0], pictures[0]), training.take(words[1], pictures[1]), test


def read(config: Config, split: Any, here: Path | None) -> tuple[WordsAndPictures, Tensor]:
    """Read the words and pictures of a split; return the speakers of the words too."""
    options = mfcc.MFCCOptions(config.coefficients, config.frames)
    words = digit_pairs.words(split, options, here and here / "fsdd")
    if here is None:
        digits = mnist.load(split)
    else:
        first = 0 if split == "train" else 2
        digits = mnist.read(*(here / "mnist" / file.name for file in mnist.FILES[first : first + 2]))
    count = config.images or len(digits.labels) if split == "train" else len(digits.labels)
    pictures = digits.images[:count].unsqueeze(1).float() / 255
    return WordsAndPictures(words.pictures, words.labels, pictures, digits.labels[:count]), words.speakers


def encoder_of(config: Config, run: Run, name: str) -> ConvEncoder:
    """Build an encoder with rates, with weights drawn from the run's generator."""
    draws = run.generator(f"weights of {name}", shared=True)
    encoder = ConvEncoder(
        config.channels, batch_norm=config.batch_norm, bias=config.conv_bias, bound=bound_of(config), generator=draws
    )
    return encoder.to(run.device)


def spiking_of(config: Config, encoder: ConvEncoder) -> nn.Module:
    """Return the encoder of the network: spiking, or the same for relu."""
    if config.model not in SPIKING:
        return encoder
    spiking = SpikingConvEncoder(
        encoder,
        neuron_of(config),
        learn_thresholds=config.learn_thresholds,
    )
    return spiking.to(next(encoder.parameters()).device)


def bound_of(config: Config) -> float:
    """Return the upper bound of the activity of an encoder in pre-training."""
    return math.inf if config.conversion == "balanced" else 1 / (1 + round(config.refractory / config.dt))


def prepared(config: Config, run: Run, name: str, training: WordsAndPictures, held: WordsAndPictures) -> nn.Module:
    """Return an encoder of words or pictures, pre-trained and converted to spikes as the options say."""
    encoder, part = encoder_of(config, run, name), phase(run, name)
    source = config.words_from if name == "words" else config.pictures_from
    (images, labels), (others, names) = (found[:2] if name == "words" else found[2:] for found in (training, held))
    if source:
        alike = ALIKE + (OF_WORDS if name == "words" else ()) + (OF_PIXELS if config.conversion == "bounded" else ())
        borrow(part, source, encoder, config, alike)
    elif config.pretraining == "digits":
        neuron, length = neuron_of(config), steps(config, "item_ms")
        updates = config.words_updates if name == "words" else config.pictures_updates
        every = max(updates // 20, 1)
        pretrain_classes(
            part, encoder, images, labels, (others, names), 10, config.pretrain_batch,
            Schedule(updates, config.pretrain_lr, config.pretrain_decay, max(updates // 5, 1), every, every),
            redraw=config.redraw if name == "pictures" else 0.0,
            seen=(lambda shown: pixel_rates(neuron, shown, length)) if config.conversion == "bounded" else None,
        )  # fmt: skip
    spiking = spiking_of(config, encoder)
    if (
        isinstance(spiking, SpikingConvEncoder)
        and (source or config.pretraining == "digits")
        and config.conversion == "balanced"
    ):
        calibrate(
            part, spiking, images, steps(config, "item_ms"), batches=config.calibration_batches,
            batch=config.calibration_batch, share=config.threshold_share,
        )  # fmt: skip
    return spiking


def perceive(
    config: Config, run: Run, model: CrossModalNetwork, part: WordsAndPictures, name: str, only: Pairs | None = None
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

    words, pictures = torch.arange(len(part.said)), torch.arange(len(part.shown))
    if only is not None:
        words = torch.unique(torch.cat([only.sounds.flatten(), only.query]))
        pictures = torch.unique(only.images)
    of_words, of_pictures = (
        activity_of(model.words, part.words, "words", words),
        activity_of(model.pictures, part.pictures, "pictures", pictures),
    )
    return Senses(of_words, of_pictures)
