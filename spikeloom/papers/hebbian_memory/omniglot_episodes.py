"""Images, episodes, outputs and accuracy of the task omniglot."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...data import omniglot
from ...data.omniglot import Episodes
from ...errors import DataError
from ...train import metrics
from ...train.run import Run
from .encoders import ConvEncoder, PackedSpikes, SpikingConvEncoder
from .networks import Recollection
from .omniglot_options import Config
from .options import accuracy_of, of_data, steps
from .pretraining import embed


class Images(NamedTuple):
    """Images [N, 1, H, W], bytes; image n is of class n // drawings."""

    pixels: Tensor
    drawings: int
    upright: int  # number of upright classes, which come first

    @property
    def classes(self) -> int:
        """Number of classes, including rotated ones."""
        return len(self.pixels) // self.drawings

    @property
    def by_class(self) -> Tensor:
        """Images by class, [classes, drawings, 1, H, W]."""
        return self.pixels.reshape(self.classes, self.drawings, *self.pixels.shape[1:])


class EpisodeSource:
    """Source of encoded images: cached spikes or features, or those of the current encoder.

    Args:
        images: all images.
        kept: cached spikes or features of these images; None: images are encoded on demand.
    """

    def __init__(self, config: Config, images: Images, kept: PackedSpikes | Tensor | None) -> None:
        self.config, self.images, self.kept = config, images, kept

    def take(self, encoder: nn.Module, indices: Tensor, device: torch.device) -> Tensor:
        """Return the spikes [S T, B, F] or features [S, B, F] of images with indices [S, B]."""
        if isinstance(self.kept, PackedSpikes):
            return _in_row(self.kept.take(indices)).to(device)
        if self.kept is not None:
            return self.kept[indices].to(device)
        pixels = self.images.pixels[indices.flatten()].to(device).float()
        if isinstance(encoder, SpikingConvEncoder):
            duration = steps(self.config, "item_ms")
            with_grad = torch.is_grad_enabled()
            spikes = encoder.encode(pixels, duration) if with_grad else encoder.spikes(pixels, duration).transpose(0, 1)
            return _in_row(spikes.reshape(duration, *indices.shape, -1))
        features: Tensor = encoder(pixels)
        return features.view(*indices.shape, -1)


def _in_row(spikes: Tensor) -> Tensor:
    """Concatenate images in time: [T, S, B, F] -> [S T, B, F]."""
    return spikes.transpose(0, 1).flatten(0, 1)


class Learner(nn.Module):
    """Encoder and network with the memory, as saved in a checkpoint."""

    def __init__(self, encoder: nn.Module, memory: nn.Module) -> None:
        super().__init__()
        self.encoder, self.memory = encoder, memory


def read(config: Config, split: omniglot.Split) -> omniglot.Characters:
    """Load the characters of a split."""
    return omniglot.load(split, config.side, config.resize)


def turned(config: Config, characters: omniglot.Characters, indices: Tensor | None = None) -> Images:
    """Return the images of some or all characters, with rotations as additional classes."""
    images = characters.images if indices is None else characters.images[indices]
    pixels = omniglot.rotated(images, config.turns).flatten(0, 1).unsqueeze(1)
    return Images(pixels.contiguous(), images.shape[1], len(images))


def split(config: Config, run: Run) -> tuple[Images, Images]:
    """Return the background images for training and for validation."""
    background = read(config, "background")
    drawn = of_data(config, run, "held out", shared=True)
    training, held = omniglot.hold_out(background, config.validation_share, config.hold_out, drawn)
    return turned(config, background, training), turned(config, background, held)


def draw(config: Config, images: Images, count: int, generator: torch.Generator) -> Episodes:
    """Draw new episodes."""
    return omniglot.episodes(images.classes, images.drawings, config.ways, count, generator=generator)


def answer(learner: Learner, source: EpisodeSource, episodes: Episodes, device: torch.device) -> Recollection:
    """Run the network on episodes; the logits of a protonet are negative distances."""
    encoder = learner.encoder
    images, query = (source.take(encoder, part, device) for part in (episodes.images, episodes.query.unsqueeze(0)))
    if isinstance(learner.memory, nn.Identity):
        logits = -(images - query).square().sum(2).T
        return Recollection(logits, *[images.new_zeros(0)] * 5)
    if isinstance(encoder, ConvEncoder):
        query = query[0]
    outputs: Recollection = learner.memory(images, query)
    return outputs


@torch.no_grad()
def accuracy(learner: Learner, source: EpisodeSource, episodes: Episodes, run: Run) -> float:
    """Return the accuracy on all episodes."""
    learner.eval()
    return accuracy_of(lambda batch: answer(learner, source, batch, run.device).logits, episodes, run.device)


def nearest(features: Tensor, episodes: Episodes) -> float:
    """Return the accuracy of the nearest image to the query, by features [N, F]."""
    features = features.cpu()
    logits = -(features[episodes.images] - features[episodes.query]).square().sum(2).T
    return metrics.accuracy(logits, episodes.target)


def named(name: str, accuracy: float, count: int) -> dict[str, float]:
    """Return an accuracy and its standard error over `count` episodes, by name."""
    return {name: accuracy, f"{name}_error": (accuracy * (1 - accuracy) / count) ** 0.5}


def of_runs(config: Config, run: Run, before: ConvEncoder, learner: Learner) -> dict[str, float]:
    """Return the accuracy in the one-shot runs of Lake et al.: nearest of all characters, network with `ways` ones."""
    if not config.run_episodes:
        return {}
    try:
        lake = omniglot.load_runs(config.side, config.resize)
    except DataError as error:
        print(f"Lake's runs are left out: {error}", flush=True)
        return {}
    count, size = lake.answers.shape
    pixels = torch.cat([lake.training, lake.test]).flatten(0, 1).unsqueeze(1)
    images = Images(pixels, 1, len(pixels))
    all_ways = omniglot.run_episodes(lake, size, 1, generator=of_data(config, run, "runs", shared=True))
    values = {f"runs_nearest_{size}_way": nearest(embed(before, pixels, run.device), all_ways)}
    if config.model == "protonet" or config.ways > size:
        return values
    fixed = None
    if isinstance(learner.encoder, SpikingConvEncoder):
        fixed = PackedSpikes.of(learner.encoder, pixels, steps(config, "item_ms"))
        values[f"runs_nearest_spikes_{size}_way"] = nearest(fixed.counts(), all_ways)
    episodes = omniglot.run_episodes(
        lake, config.ways, config.run_episodes, generator=of_data(config, run, "runs", shared=True)
    )
    value = accuracy(learner, EpisodeSource(config, images, fixed), episodes, run)
    return values | named(f"runs_accuracy_{config.ways}_way", value, count * size)
