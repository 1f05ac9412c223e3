"""Omniglot: images, episodes, what the network answers, and how often it is right; options are those of the task."""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...data import omniglot
from ...data.omniglot import Episodes
from ...errors import DataError
from ...train import metrics
from ...train.run import Run
from .encoders import ConvEncoder, PackedSpikes, SpikingConvEncoder
from .networks import Recollection
from .options import of_data, steps
from .pretraining import embed

TEST_BATCH = 100
"""Episodes, or images, at once where no gradient is wanted."""


class Images(NamedTuple):
    """Images [N, 1, H, W], bytes; image n shows class n // drawings."""

    pixels: Tensor
    drawings: int
    upright: int  # classes that are not turned; they come first

    @property
    def classes(self) -> int:
        """How many, turned ones included."""
        return len(self.pixels) // self.drawings

    @property
    def by_class(self) -> Tensor:
        """[classes, drawings, 1, H, W]."""
        return self.pixels.reshape(self.classes, self.drawings, *self.pixels.shape[1:])


class Source:
    """What the network gets of an image: kept spikes or features, or what the encoder makes of it now.

    Args:
        images: all there are.
        kept: of the same images; None: they are encoded whenever they are asked for.
    """

    def __init__(self, config: Any, images: Images, kept: PackedSpikes | Tensor | None) -> None:
        self.config, self.images, self.kept = config, images, kept

    def take(self, encoder: nn.Module, chosen: Tensor, device: torch.device) -> Tensor:
        """Of images [S, B]: spikes [S T, B, F], or features [S, B, F]."""
        if isinstance(self.kept, PackedSpikes):
            return _in_row(self.kept.take(chosen)).to(device)
        if self.kept is not None:
            return self.kept[chosen].to(device)
        pixels = self.images.pixels[chosen.flatten()].to(device).float()
        if isinstance(encoder, SpikingConvEncoder):
            duration = steps(self.config, "item_ms")
            learns = torch.is_grad_enabled()
            spikes = encoder.encode(pixels, duration) if learns else encoder.spikes(pixels, duration).transpose(0, 1)
            return _in_row(spikes.reshape(duration, *chosen.shape, -1))
        features: Tensor = encoder(pixels)
        return features.view(*chosen.shape, -1)


def _in_row(spikes: Tensor) -> Tensor:
    """One image after the other: [T, S, B, F] -> [S T, B, F]."""
    return spikes.transpose(0, 1).flatten(0, 1)


class Learner(nn.Module):
    """What a checkpoint holds: the encoder, and the network with the memory."""

    def __init__(self, encoder: nn.Module, memory: nn.Module) -> None:
        super().__init__()
        self.encoder, self.memory = encoder, memory


def read(config: Any, part: omniglot.Split) -> omniglot.Characters:
    """The characters of a split; made-up ones are written and read."""
    if not config.made_up:
        return omniglot.load(part, config.side, config.resize)
    with tempfile.TemporaryDirectory() as place:
        omniglot.write_example(Path(place))
        return omniglot.load(part, config.side, config.resize, here=Path(place))


def turned(config: Any, characters: omniglot.Characters, chosen: Tensor | None = None) -> Images:
    """Some or all characters, with their quarter turns as further classes."""
    images = characters.images if chosen is None else characters.images[chosen]
    pixels = omniglot.rotated(images, config.turns).flatten(0, 1).unsqueeze(1)
    return Images(pixels.contiguous(), images.shape[1], len(images))


def split(config: Any, run: Run) -> tuple[Images, Images]:
    """Background images to train and to validate with."""
    background = read(config, "background")
    drawn = of_data(config, run, "held out", shared=True)
    training, held = omniglot.hold_out(background, config.validation_share, config.hold_out, drawn)
    return turned(config, background, training), turned(config, background, held)


def draw(config: Any, images: Images, count: int, generator: torch.Generator) -> Episodes:
    """Fresh episodes."""
    return omniglot.episodes(images.classes, images.drawings, config.ways, count, generator=generator)


def answer(learner: Learner, source: Source, shown: Episodes, device: torch.device) -> Recollection:
    """What the network says; of a protonet, the distances."""
    encoder = learner.encoder
    images, query = (source.take(encoder, part, device) for part in (shown.images, shown.query.unsqueeze(0)))
    if isinstance(learner.memory, nn.Identity):
        logits = -(images - query).square().sum(2).T
        return Recollection(logits, *[images.new_zeros(0)] * 5)
    if isinstance(encoder, ConvEncoder):
        query = query[0]
    found: Recollection = learner.memory(images, query)
    return found


@torch.no_grad()
def accuracy(learner: Learner, source: Source, shown: Episodes, run: Run) -> float:
    """Share of right answers; episodes in batches, on which nothing depends."""
    learner.eval()
    right = 0.0
    for start in range(0, len(shown.target), TEST_BATCH):
        part = slice(start, start + TEST_BATCH)
        few = Episodes(shown.images[:, part], shown.query[part], shown.target[part])
        right += len(few.target) * metrics.accuracy(
            answer(learner, source, few, run.device).logits, few.target.to(run.device)
        )
    return right / len(shown.target)


def nearest(features: Tensor, shown: Episodes) -> float:
    """Share of episodes in which the query's nearest image, by features [N, F], is the right one."""
    features = features.cpu()
    logits = -(features[shown.images] - features[shown.query]).square().sum(2).T
    return metrics.accuracy(logits, shown.target)


def named(name: str, accuracy: float, count: int) -> dict[str, float]:
    """An accuracy and its standard error over so many episodes."""
    return {name: accuracy, f"{name}_error": (accuracy * (1 - accuracy) / count) ** 0.5}


def of_runs(config: Any, run: Run, before: ConvEncoder, learner: Learner) -> dict[str, float]:
    """Accuracy in Lake's runs: the nearest of all characters of a run, and the network with `ways` of them."""
    if not config.run_episodes:
        return {}
    try:
        if config.made_up:
            with tempfile.TemporaryDirectory() as place:
                omniglot.write_example(Path(place))
                lake = omniglot.load_runs(config.side, config.resize, here=Path(place))
        else:
            lake = omniglot.load_runs(config.side, config.resize)
    except DataError as error:
        print(f"Lake's runs are left out: {error}", flush=True)
        return {}
    count, size = lake.answers.shape
    pixels = torch.cat([lake.training, lake.test]).flatten(0, 1).unsqueeze(1)
    images = Images(pixels, 1, len(pixels))
    every = omniglot.run_episodes(lake, size, 1, generator=of_data(config, run, "runs", shared=True))
    values = {f"runs_nearest_{size}_way": nearest(embed(before, pixels, run.device), every)}
    if config.model == "protonet" or config.ways > size:
        return values
    fixed = None
    if isinstance(learner.encoder, SpikingConvEncoder):
        fixed = PackedSpikes.of(learner.encoder, pixels, steps(config, "item_ms"))
        values[f"runs_nearest_spikes_{size}_way"] = nearest(fixed.counts(), every)
    shown = omniglot.run_episodes(
        lake, config.ways, config.run_episodes, generator=of_data(config, run, "runs", shared=True)
    )
    found = accuracy(learner, Source(config, images, fixed), shown, run)
    return values | named(f"runs_accuracy_{config.ways}_way", found, count * size)
