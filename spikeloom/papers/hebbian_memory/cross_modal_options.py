"""Cross-modal recall: words, pictures and the encoders that bring them to the memory; options are those of the task."""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ...data import mfcc, mnist
from ...data.fsdd import split_mixed
from ...errors import ConfigError
from ...train.run import Run
from . import digit_pairs, pretraining
from .digit_pairs import Pairs
from .encoders import ConvEncoder, SpikingConvEncoder, pixel_rates
from .options import SPIKING, neuron_of, of_data, steps
from .pretraining import Schedule, borrow, calibrate, embed, phase, pretrain_classes
from .recall import CrossModalNetwork

ALL = "0,1,2,3,4,5,6,7,8,9"
ALIKE = ("made_up", "channels", "batch_norm", "conv_bias", "conversion", "validation_share")
"""Options that must be the same where an encoder is borrowed."""
OF_WORDS = ("coefficients", "frames")
OF_PIXELS = ("item_ms", "dt", "threshold", "tau_mem", "refractory", "reset")
"""The same for words, and for encoders that were trained on the rates of pixels."""


@dataclass(frozen=True)
class Config:
    model: Literal["spiking", "relu", "frozen"] = "spiking"
    """spiking; relu: the same as rates; frozen: the memory stays at zero."""
    made_up: bool = False
    """Use a few made-up sounds and pictures in the formats of the data sets instead."""
    data_seed: int = -1
    """Seed of samples and of what is held out alone, -1: that of the run. Runs of several seeds then share them."""
    length: int = 3
    """Pairs of a sample."""
    train_digits: str = ALL
    """Digits to train and validate with."""
    test_digits: str = ALL
    """Digits to test with."""
    images: int = 0
    """Training pictures to use, the first of the file; 0: all."""
    coefficients: int = 20
    """MFCC of a frame, the first left out."""
    frames: int = 30
    """Frames of a word; fewer are filled up with zeros, of more those around the loudest are taken."""
    validation_share: float = 0.1
    """Share of the training recordings of every digit and speaker, and of its pictures, that validates."""
    item_ms: float = 100.0
    """Time of a pair, and of the query [ms]."""
    channels: int = 64
    """Channels of the encoders, which are the spike trains that a word becomes, and a picture."""
    batch_norm: bool = False
    """Encoders normalise; they cannot spike then."""
    conv_bias: bool = False
    """Convolutions of the encoders have biases."""
    pretraining: Literal["digits", "none"] = "digits"
    """How the encoders are trained before the memory; none: their neurons have the threshold of all others."""
    conversion: Literal["balanced", "bounded"] = "balanced"
    """How they come to spike. balanced: trained on values without bound, then thresholds are the largest currents of
    the spiking network; bounded: trained on the rates of their pixels with activity up to that of a neuron that always
    spikes, so that thresholds are 1."""
    words_from: str = ""
    """Folder of a run whose encoder of words is used, instead of training one."""
    pictures_from: str = ""
    """The same for pictures."""
    freeze_encoders: bool = False
    """Encoders stay as they were pre-trained; their spikes are then computed once."""
    learn_thresholds: bool = False
    """Thresholds of the encoders are learned, if they are not frozen; above a thousandth of what they were."""
    threshold_share: float = 1.0
    """Balanced thresholds: this share of the largest current."""
    calibration_batches: int = 10
    """Batches of training words, and of pictures, from which they are set."""
    calibration_batch: int = 64
    """Words or pictures of such a batch."""
    words_updates: int = 1000
    """Updates of the pre-training on words."""
    pictures_updates: int = 21_100
    """The same on pictures."""
    pretrain_batch: int = 256
    """Words or pictures of such an update."""
    pretrain_lr: float = 0.001
    """Initial learning rate of Adam in pre-training."""
    pretrain_decay: float = 0.85
    """Factor of that learning rate, five times while an encoder is trained."""
    redraw: float = 0.0
    """Pre-training on pictures also has a decoder draw them again from their features: weight of its squared error."""
    memory_size: int = 100
    """Key neurons, and as many value neurons."""
    initial: Literal["paper", "aligned", "centred"] = "paper"
    """aligned: writing and reading start with the same keys, of words alone, and values of pictures alone; centred: and
    the weights of each neuron add up to zero, so that what all words share does not drive it."""
    normalise: bool = False
    """relu: divide every key and every value by its root mean square."""
    w_max: float = 1.0
    """Soft bound of the memory."""
    potentiation: float = 0.3
    """Learning rate of the memory."""
    depression: float = 0.3
    """Rate at which a key forgets when it is used."""
    recall: float = 0.2
    """How strongly what a key already means drives the values while writing."""
    delay: float = 1.0
    """From a value spike to its effect on keys while reading [ms]."""
    hidden: int = 256
    """Neurons of the decoder between values and pixels."""
    white: float = 15.0
    """Spikes of a white pixel during the query."""
    readout_scale: float = 1.0
    """Factor of the weights to the pixels at the start."""
    threshold: float = 0.05
    """Firing threshold of all neurons but those in the blocks of the encoders."""
    tau_mem: float = 20.0
    """Time constant of the membrane [ms]."""
    tau_trace: float = 20.0
    """Time constant of the traces [ms]."""
    refractory: float = 3.0
    """Refractory time [ms]."""
    reset: Literal["subtract", "zero"] = "subtract"
    """What a spike does to the voltage."""
    gain: float = 1.0
    """Dampening factor of the surrogate slope."""
    dt: float = 1.0
    """Length of a step [ms]."""
    batch: int = 256
    """Samples per update."""
    updates: int = 4320
    """Updates."""
    stored: int = 9000
    """Training samples that are drawn once and shown again and again; 0: always new ones."""
    lr: float = 0.001
    """Initial learning rate of Adam."""
    lr_decay: float = 0.85
    """Factor of the learning rate."""
    lr_decay_every: int = 720
    """Updates between two decays."""
    clip: float = 40.0
    """Largest norm of the gradient; 0: any."""
    rate_cost: float = 1e-7
    """Coefficient of the squared distance of firing rates [Hz] from target_rate, for every population."""
    target_rate: float = 0.0
    """Rate towards which all populations are regularised [Hz]."""
    validation_samples: int = 1000
    """Samples of the validation, the same every time."""
    validate_every: int = 36
    """Updates between two validations."""
    select: Literal["best", "last"] = "best"
    """Weights to test: those with the smallest validation loss, or the last."""
    test_samples: int = 1000
    """Samples of the test."""
    checkpoint_every: int = 36
    """Updates between two checkpoints."""


class Part(NamedTuple):
    """Words and pictures from which samples are drawn, and what they show."""

    words: Tensor  # float32 [N, 1, frames, coefficients]
    said: Tensor  # int64 [N]
    pictures: Tensor  # float32 [M, 1, 28, 28], 0 to 1
    shown: Tensor  # int64 [M]

    def take(self, words: Tensor, pictures: Tensor) -> "Part":
        """Some of them."""
        return Part(self.words[words], self.said[words], self.pictures[pictures], self.shown[pictures])


class Senses(NamedTuple):
    """What the encoders say of words and pictures: indices [*B] -> activity [T, *B, F]."""

    words: Callable[[Tensor], Tensor]
    pictures: Callable[[Tensor], Tensor]


def numbers(config: Config, name: str) -> list[int]:
    """Digits of an option."""
    text: str = getattr(config, name)
    words = [word.strip() for word in text.split(",")]
    if not all(len(word) == 1 and word in "0123456789" for word in words):
        raise ConfigError(f"{name} are digits with commas, such as 0,3,7, but got {text!r}.")
    return [int(word) for word in words]


def load(config: Config, run: Run) -> tuple[Part, Part, Part]:
    """Training, validation and test."""
    if config.made_up:
        with tempfile.TemporaryDirectory() as place:
            digit_pairs.write_example(Path(place))
            found = [read(config, split, Path(place)) for split in ("train", "test")]
    else:
        found = [read(config, split, None) for split in ("train", "test")]
    (training, speakers), (test, _) = found
    drawn = of_data(config, run.fresh(), "split", shared=True)
    words = split_mixed(training.said, speakers, config.validation_share, drawn)
    pictures = split_mixed(training.shown, torch.zeros_like(training.shown), config.validation_share, drawn)
    return training.take(words[0], pictures[0]), training.take(words[1], pictures[1]), test


def read(config: Config, split: Any, here: Path | None) -> tuple[Part, Tensor]:
    """Words and pictures of a split, and who says the words."""
    options = mfcc.Options(config.coefficients, config.frames)
    words = digit_pairs.words(split, options, here and here / "fsdd")
    if here is None:
        digits = mnist.load(split)
    else:
        first = 0 if split == "train" else 2
        digits = mnist.read(*(here / "mnist" / file.name for file in mnist.FILES[first : first + 2]))
    count = config.images or len(digits.labels) if split == "train" else len(digits.labels)
    pictures = digits.images[:count].unsqueeze(1).float() / 255
    return Part(words.pictures, words.labels, pictures, digits.labels[:count]), words.speakers


def encoder_of(config: Config, run: Run, name: str) -> ConvEncoder:
    """An encoder as rates, its weights drawn from the run's generator."""
    draws = run.generator(f"weights of {name}", shared=True)
    encoder = ConvEncoder(
        config.channels, batch_norm=config.batch_norm, bias=config.conv_bias, bound=bound_of(config), generator=draws
    )
    return encoder.to(run.device)


def spiking_of(config: Config, encoder: ConvEncoder) -> nn.Module:
    """The encoder as the network has it."""
    if config.model not in SPIKING:
        return encoder
    spiking = SpikingConvEncoder(
        encoder,
        neuron_of(config),
        learn_thresholds=config.learn_thresholds,
    )
    return spiking.to(next(encoder.parameters()).device)


def bound_of(config: Config) -> float:
    """Most activity of an encoder in pre-training."""
    return math.inf if config.conversion == "balanced" else 1 / (1 + round(config.refractory / config.dt))


def prepared(config: Config, run: Run, name: str, training: Part, held: Part) -> nn.Module:
    """An encoder of words or pictures that was pre-trained and spikes, as far as options want that."""
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
    config: Config, run: Run, model: CrossModalNetwork, part: Part, name: str, only: Pairs | None = None
) -> Senses:
    """Activity of the encoders for what a part holds: computed once if they are frozen, otherwise when it is needed.

    Args:
        only: samples for whose words and pictures alone it is computed.
    """

    def one(encoder: nn.Module, images: Tensor, what: str, used: Tensor) -> Callable[[Tensor], Tensor]:
        length = steps(config, "item_ms")
        if config.freeze_encoders:
            place = torch.zeros(len(images), dtype=torch.int64)
            place[used] = torch.arange(len(used))
            if isinstance(encoder, SpikingConvEncoder):
                packed = pretraining.spikes(phase(run, what), encoder, images[used], length, name)
                return lambda chosen: packed.take(place[chosen])
            assert isinstance(encoder, ConvEncoder)
            table = embed(encoder, images[used], run.device)
            return lambda chosen: table[place[chosen]].unsqueeze(0)

        def said(chosen: Tensor) -> Tensor:
            shown = images[chosen.flatten()].to(run.device)
            if isinstance(encoder, SpikingConvEncoder):
                found = encoder.encode(shown, length)
            else:
                found = torch.unsqueeze(encoder(shown), 0)
            return found.view(len(found), *chosen.shape, found.shape[2])

        return said

    words, pictures = torch.arange(len(part.said)), torch.arange(len(part.shown))
    if only is not None:
        words = torch.unique(torch.cat([only.sounds.flatten(), only.query]))
        pictures = torch.unique(only.images)
    heard, seen = one(model.words, part.words, "words", words), one(model.pictures, part.pictures, "pictures", pictures)
    return Senses(heard, seen)
