"""Cross-modal recall network: given a word, it reconstructs the picture that was stored with it.

    words ‖ pictures (spikes of their encoders) -> HebbianWrite; query -> HebbianRead -> decoder -> picture
    pixel = spikes of its neuron during the query / white

The rate version has one step per item, and a decoder of ReLU and sigmoid.
Source: Limbacher, Özdenizci, Legenstein, 2022 (arXiv:2205.11276).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...errors import ShapeError, check_positive
from ...layers.hebbian_memory.layer import xavier_
from ...neurons import LIF
from .networks import MemoryCore, RateMemory, Recollection


class Drawing(NamedTuple):
    """Output of a decoder: picture and spikes; tensors that a decoder does not have are empty."""

    picture: Tensor  # [B, H, W], 0 black, 1 white
    hidden: Tensor  # [T, B, N], spikes of the decoder
    pixels: Tensor  # [T, B, H W]


class Recall(NamedTuple):
    """Output of a `CrossModalNetwork`: picture and activity."""

    picture: Tensor  # [B, H, W]
    recollection: Recollection
    drawing: Drawing

    @property
    def layers(self) -> dict[str, Tensor]:
        """Activity by population; `words` and `pictures` are the stored ones."""
        found = self.recollection.layers
        query = found.pop("recall encoder")
        words = query.shape[-1]
        stored = found.pop("storage encoder")
        parts = {"words": stored[..., :words], "pictures": stored[..., words:], "query": query, **found}
        if self.drawing.pixels.numel():
            parts |= {"decoder": self.drawing.hidden, "pixels": self.drawing.pixels}
        return parts


class SpikingDecoder(nn.Module):
    """Decoder of spikes to a picture: two dense layers of LIF neurons without biases; a pixel is a spike count.

    Shapes: spikes [T, B, n_in] -> Drawing of [B, H, W].

    Args:
        n_in: number of inputs.
        hidden: neurons between input and pixels.
        height, width: size of the picture.
        neuron: LIF neuron of both layers; it has no learned parameters.
        white: spikes of a white pixel; more spikes give values above 1.
        scale: factor of the initial weights onto the pixels.
        generator: source of the weights.

    Raises:
        ConfigError: a number is not positive.

    >>> from spikeloom.layers.hebbian_memory.layer import memory_neuron
    >>> decoder = SpikingDecoder(4, 8, 5, 6, memory_neuron(), white=15.0)
    >>> decoder(torch.ones(100, 2, 4)).picture.shape
    torch.Size([2, 5, 6])
    """

    def __init__(
        self, n_in: int, hidden: int, height: int, width: int, neuron: LIF, *, white: float,
        scale: float = 1.0, generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        check_positive("SpikingDecoder", n_in=n_in, hidden=hidden, height=height, width=width, white=white, scale=scale)
        self.shape, self.neuron, self.white = (height, width), neuron, white
        self.first = nn.Parameter(xavier_(torch.empty(hidden, n_in), generator))
        self.second = nn.Parameter(scale * xavier_(torch.empty(height * width, hidden), generator))

    def forward(self, spikes: Tensor) -> Drawing:
        hidden, _ = self.neuron(spikes @ self.first.T)
        pixels, _ = self.neuron(hidden @ self.second.T)
        return Drawing((pixels.sum(0) / self.white).view(-1, *self.shape), hidden, pixels)


class RateDecoder(nn.Module):
    """Decoder of rates to a picture: dense, ReLU, dense, sigmoid, with biases.

    Shapes: [1, B, n_in] -> Drawing of [B, H, W].

    Raises:
        ConfigError: a number is not positive.

    >>> RateDecoder(4, 8, 5, 6)(torch.ones(1, 2, 4)).picture.shape
    torch.Size([2, 5, 6])
    """

    def __init__(
        self, n_in: int, hidden: int, height: int, width: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        check_positive("RateDecoder", n_in=n_in, hidden=hidden, height=height, width=width)
        self.shape = (height, width)
        self.first, self.second = nn.Linear(n_in, hidden), nn.Linear(hidden, height * width)
        with torch.no_grad():
            for layer in (self.first, self.second):
                xavier_(layer.weight, generator)
                layer.bias.zero_()

    def forward(self, values: Tensor) -> Drawing:
        pixels = torch.sigmoid(self.second(torch.relu(self.first(values[0]))))
        none = values.new_zeros(0)
        return Drawing(pixels.view(-1, *self.shape), none, none)


class CrossModalNetwork(nn.Module):
    """Network that stores words with pictures and reconstructs a picture given a word.

    Shapes: words [S T, B, F], pictures [S T, B, G], query [T, B, F] -> Recall; T = 1 for `RateMemory`.

    Args:
        core: the memory: `MemoryCore` or `RateMemory` of F + G and F inputs.
        decoder: `SpikingDecoder` or `RateDecoder` of the recalled values.
        words, pictures: encoders of the inputs; submodules in order to be trained and saved with the rest, not
            called by `forward`.

    Raises:
        ShapeError: words, pictures and query do not fit.
    """

    def __init__(
        self,
        core: MemoryCore | RateMemory,
        decoder: SpikingDecoder | RateDecoder,
        words: nn.Module,
        pictures: nn.Module,
    ) -> None:
        super().__init__()
        self.core, self.decoder, self.words, self.pictures = core, decoder, words, pictures

    def forward(self, words: Tensor, pictures: Tensor, query: Tensor) -> Recall:
        fits = words.dim() == pictures.dim() == query.dim() == 3 and words.shape[:2] == pictures.shape[:2]
        if not fits or words.shape[1:] != query.shape[1:] or len(words) % len(query):
            raise ShapeError(
                f"CrossModalNetwork got words {list(words.shape)}, pictures {list(pictures.shape)} and a query "
                f"{list(query.shape)}. They must be [S T, B, F], [S T, B, G] and [T, B, F]."
            )
        items = torch.cat([words, pictures], -1)
        if isinstance(self.core, RateMemory):
            recollection: Recollection = self.core(items, query[0])
            values = recollection.logits.unsqueeze(0)
        else:
            recollection = self.core.recollect(items, query)
            values = recollection.read[..., self.core.read.size :]
        drawing: Drawing = self.decoder(values)
        return Recall(drawing.picture, recollection, drawing)
