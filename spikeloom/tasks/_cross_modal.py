"""Cross-modal recall: words, pictures and the encoders that bring them to the memory; options are those of the task."""

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from ..data import cross_modal, mfcc, mnist
from ..data.cross_modal import Pairs
from ..data.fsdd import split_mixed
from ..errors import ConfigError
from ..models.cross_modal import CrossModalNetwork
from ..models.encoders import ConvEncoder, SpikingConvEncoder, pixel_rates
from ..train.run import Run
from . import _encoders
from ._encoders import Schedule, borrow, calibrate, embed, phase, pretrain_classes
from ._memory import SPIKING, neuron_of, of_data, steps

if TYPE_CHECKING:
    from .cross_modal import Config

ALIKE = ("made_up", "channels", "batch_norm", "conv_bias", "conversion", "validation_share")
"""Options that must be the same where an encoder is borrowed."""
OF_WORDS = ("coefficients", "frames")
OF_PIXELS = ("item_ms", "dt", "threshold", "tau_mem", "refractory", "reset")
"""The same for words, and for encoders that were trained on the rates of pixels."""


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


def numbers(config: "Config", name: str) -> list[int]:
    """Digits of an option."""
    text: str = getattr(config, name)
    words = [word.strip() for word in text.split(",")]
    if not all(len(word) == 1 and word in "0123456789" for word in words):
        raise ConfigError(f"{name} are digits with commas, such as 0,3,7, but got {text!r}.")
    return [int(word) for word in words]


def load(config: "Config", run: Run) -> tuple[Part, Part, Part]:
    """Training, validation and test."""
    if config.made_up:
        with tempfile.TemporaryDirectory() as place:
            cross_modal.write_example(Path(place))
            found = [read(config, split, Path(place)) for split in ("train", "test")]
    else:
        found = [read(config, split, None) for split in ("train", "test")]
    (training, speakers), (test, _) = found
    drawn = of_data(config, run.fresh(), "split", shared=True)
    words = split_mixed(training.said, speakers, config.validation_share, drawn)
    pictures = split_mixed(training.shown, torch.zeros_like(training.shown), config.validation_share, drawn)
    return training.take(words[0], pictures[0]), training.take(words[1], pictures[1]), test


def read(config: "Config", split: Any, here: Path | None) -> tuple[Part, Tensor]:
    """Words and pictures of a split, and who says the words."""
    options = mfcc.Options(config.coefficients, config.frames)
    words = cross_modal.words(split, options, here and here / "fsdd")
    if here is None:
        digits = mnist.load(split)
    else:
        first = 0 if split == "train" else 2
        digits = mnist.read(*(here / "mnist" / file.name for file in mnist.FILES[first : first + 2]))
    count = config.images or len(digits.labels) if split == "train" else len(digits.labels)
    pictures = digits.images[:count].unsqueeze(1).float() / 255
    return Part(words.pictures, words.labels, pictures, digits.labels[:count]), words.speakers


def encoder_of(config: "Config", run: Run, name: str) -> ConvEncoder:
    """An encoder as rates, its weights drawn from the run's generator."""
    draws = run.generator(f"weights of {name}", shared=True)
    encoder = ConvEncoder(
        config.channels, batch_norm=config.batch_norm, bias=config.conv_bias, bound=bound_of(config), generator=draws
    )
    return encoder.to(run.device)


def spiking_of(config: "Config", encoder: ConvEncoder) -> nn.Module:
    """The encoder as the network has it."""
    if config.model not in SPIKING:
        return encoder
    spiking = SpikingConvEncoder(
        encoder,
        neuron_of(config),
        learn_thresholds=config.learn_thresholds,
    )
    return spiking.to(next(encoder.parameters()).device)


def bound_of(config: "Config") -> float:
    """Most activity of an encoder in pre-training."""
    return math.inf if config.conversion == "balanced" else 1 / (1 + round(config.refractory / config.dt))


def prepared(config: "Config", run: Run, name: str, training: Part, held: Part) -> nn.Module:
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
    config: "Config", run: Run, model: CrossModalNetwork, part: Part, name: str, only: Pairs | None = None
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
                packed = _encoders.spikes(phase(run, what), encoder, images[used], length, name)
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
