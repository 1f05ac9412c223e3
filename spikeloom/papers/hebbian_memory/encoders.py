"""Convolutional encoders, trained as an ordinary network and then run with spikes.

    rates     images -> [conv 3x3 -> ReLU -> max pool 2x2] x 4 -> channels x remaining pixels
    spikes    pixel = constant current -> LIF -> [conv 3x3 -> integrate and fire -> max pool 2x2 in each step] x 4

Both networks share the weights. A spike has weight 1 in every layer, so each threshold is set to the largest current
that its layer receives while the previous layers spike. States start at zero for every image and there is no
randomness: an image always has the same spikes, which can be cached.
Sources: Limbacher, Özdenizci, Legenstein, 2022 (arXiv:2205.11276); Snell, Swersky, Zemel, Prototypical networks for
few-shot learning, 2017 (the encoder and its loss); Sengupta et al., 2019 (threshold balancing with spikes).
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from ...convert.balance import heard
from ...core import State, Stateful
from ...errors import ConfigError, ShapeError, check_count, check_positive
from ...kernels import engine_for
from ...layers import Sequential
from ...layers.hebbian_memory.layer import memory_neuron
from ...neurons import LIF, IntegrateAndFire
from ...neurons.rate import straight_through

if TYPE_CHECKING:
    from .encoder_loop import SpikeCounts

LIMIT = 1 << 28
"""Memory limit of currents, spikes and pools of one batch of images [bytes]: 256 MB."""


class ConvEncoder(nn.Module):
    """Convolutional encoder of images as vectors: blocks of convolution, ReLU and max pooling.

    Shapes: images [B, 1, H, W] -> [B, channels * pixels], pixels = (H // 2^blocks) * (W // 2^blocks).

    Args:
        channels: channels of every block.
        blocks: number of blocks.
        batch_norm: batch normalisation before the ReLU; such a network cannot be converted to spikes.
        bias: whether the convolutions have biases.
        bound: upper bound of the activity. With 1 / (1 + refractory steps), the largest firing rate per step, and
            trained on pixel rates, the network does not need `balance`: its thresholds are 1.
        generator: source of the weights, uniform in +-sqrt(2) sqrt(6 / (fan in + fan out)); biases are zero.

    Raises:
        ConfigError: a number is not positive.
        ShapeError: images have another shape, or are too small for the poolings.

    >>> encoder = ConvEncoder(16)
    >>> encoder(torch.rand(2, 1, 28, 28)).shape, encoder(torch.rand(2, 1, 30, 20)).shape
    (torch.Size([2, 16]), torch.Size([2, 16]))
    """

    def __init__(
        self, channels: int = 64, blocks: int = 4, *, batch_norm: bool = False, bias: bool = False,
        bound: float = math.inf, generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        check_positive("ConvEncoder", channels=channels, blocks=blocks)
        if not bound > 0.0:
            raise ConfigError(f"ConvEncoder needs bound > 0, but got {bound}. Leave it out for activity of any size.")
        self.channels, self.blocks, self.bound = channels, blocks, bound
        sizes = [1] + blocks * [channels]
        self.convs = nn.ModuleList(nn.Conv2d(n_in, n_out, 3, padding=1, bias=bias) for n_in, n_out in pairwise(sizes))
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) if batch_norm else nn.Identity() for _ in range(blocks))
        with torch.no_grad():
            for conv in self.convs:
                assert isinstance(conv, nn.Conv2d)
                bound = math.sqrt(2.0 * 6.0 / (9 * (conv.in_channels + conv.out_channels)))
                conv.weight.uniform_(-bound, bound, generator=generator)
                if conv.bias is not None:
                    conv.bias.zero_()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def batch_norm(self) -> bool:
        """Whether the encoder has batch normalisation."""
        return isinstance(self.norms[0], nn.BatchNorm2d)

    def features(self, height: int, width: int) -> int:
        """Return the number of features of an image of this size.

        Raises:
            ShapeError: the image is too small for the poolings.

        >>> ConvEncoder(64).features(30, 20)
        64
        """
        return _features(self.channels, self.blocks, height, width)

    def forward(self, images: Tensor) -> Tensor:
        check_images("ConvEncoder", images)
        self.features(*images.shape[2:])
        x = images.contiguous(memory_format=torch.channels_last)  # twice as fast on the CPU
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = max_pool2d(norm(conv(x)), 2)  # equal to ReLU before pooling, on a quarter of the values
            x = torch.relu(x) if self.bound == math.inf else _Bounded.apply(x, self.bound)  # type: ignore[no-untyped-call]
        return x.flatten(1)


class _Bounded(torch.autograd.Function):
    """min(max(x, 0), bound). Above the bound, only gradients that decrease x are passed on."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, bound: float) -> Tensor:
        return x.clamp(0.0, bound)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        x, ctx.bound = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,), (gradient,) = ctx.saved_tensors, gradients
        return gradient * ((x > 0) & ((x < ctx.bound) | (gradient > 0))), None


@torch.no_grad()
def pixel_rates(neuron: LIF, images: Tensor, steps: int) -> Tensor:
    """Return the spikes per step, 0 to 1, of a LIF neuron for every pixel, starting at rest: [B, 1, H, W], as images.

    >>> pixel_rates(memory_neuron(), torch.tensor([[[[0.0, 0.2, 4.0]]]]), 100).flatten().round(decimals=2)
    tensor([0.0000, 0.0600, 0.2500])
    """
    check_images("pixel_rates", images)
    rates = [neuron(batch.expand(steps, *batch.shape))[0].mean(0) for batch in torch.split(images, 256)]
    return torch.cat(rates)


def _features(channels: int, blocks: int, height: int, width: int) -> int:
    left = (height >> blocks) * (width >> blocks)
    if not left:
        raise ShapeError(
            f"Nothing is left of an image {height} x {width} after {blocks} poolings. Use fewer blocks, or images of "
            f"at least {1 << blocks} x {1 << blocks}."
        )
    return channels * left


class SpikingConvEncoder(Stateful):
    """Spiking version of a `ConvEncoder`, which shares its weights.

    Shapes: currents [T, B, 1, H, W] -> spikes [T, B, channels * pixels]; the state is that of `Sequential`.

    Args:
        encoder: encoder without batch normalisation.
        neuron: LIF neuron of the pixels; the others have its refractory period, reset, surrogate gradient and dt.
        threshold: threshold of all integrate-and-fire neurons until `balance` sets them; by default 1 if the encoder
            has a bound, otherwise that of `neuron`.
        learn_thresholds: make the thresholds parameters, one per layer, instead of buffers. Both are saved.

    Raises:
        ConfigError: the encoder has batch normalisation.
        ShapeError: input or state has a wrong shape, dtype or device.

    >>> spiking = SpikingConvEncoder(ConvEncoder(8, generator=torch.Generator().manual_seed(0)))
    >>> balanced = balance(spiking, [torch.rand(4, 1, 28, 28)], steps=20)
    >>> balanced.violations, spiking.encode(torch.rand(2, 1, 28, 28), 20).shape
    ([], torch.Size([20, 2, 8]))
    """

    def __init__(
        self, encoder: ConvEncoder, neuron: LIF | None = None, *, threshold: float | None = None,
        learn_thresholds: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if encoder.batch_norm:
            raise ConfigError("An encoder with batch normalisation cannot spike. Train one without (batch_norm=False).")
        pixels = memory_neuron() if neuron is None else neuron
        self.channels, self.blocks = encoder.channels, encoder.blocks
        layers: list[nn.Module] = [pixels]
        usual = 1.0 if encoder.bound < math.inf else float(torch.as_tensor(pixels.constants()["threshold"]))
        start = usual if threshold is None else threshold
        for conv in encoder.convs:
            held = torch.full((), start, dtype=next(encoder.parameters()).dtype)
            layers += [
                _SpikeConv(conv),
                _ChannelsLast(
                    IntegrateAndFire(
                        nn.Parameter(held) if learn_thresholds else held,
                        refractory=pixels.program.refractory * pixels.dt,
                        reset="subtract" if dict(pixels.program.equation.choices)["subtract"] else "zero",
                        surrogate=pixels.program.surrogate,
                        dt=pixels.dt,
                    )
                ),
                nn.MaxPool2d(2),
            ]
        self.layers = Sequential(*layers, nn.Flatten())

    def features(self, height: int, width: int) -> int:
        """Return the number of spike trains of an image of this size; see `ConvEncoder.features`."""
        return _features(self.channels, self.blocks, height, width)

    @property
    def neurons(self) -> list[IntegrateAndFire]:
        """Neurons of the blocks, in order."""
        return [layer.neuron for layer in self.layers.layers if isinstance(layer, _ChannelsLast)]

    @property
    def thresholds(self) -> list[float]:
        """Thresholds of the blocks, in order."""
        return [float(_threshold(neuron).detach()) for neuron in self.neurons]

    def initial_state(self, x: Tensor) -> State:
        return self.layers.initial_state(x)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self.layers.step(x, state)

    def forward(self, xs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        if xs.dim() != 5:
            raise ShapeError(
                f"SpikingConvEncoder needs currents [T, B, 1, H, W], but got {list(xs.shape)}. "
                "Call encode(images, steps) for images [B, 1, H, W]."
            )
        self.features(*xs.shape[3:])
        result: tuple[Tensor, State] = self.layers(xs, state)
        return result

    def encode(self, images: Tensor, steps: int) -> Tensor:
        """Return the spikes [T, B, F] of images [B, 1, H, W], each presented for `steps` steps from a zero state."""
        check_images("SpikingConvEncoder", images)
        spikes: Tensor = self(images.expand(steps, *images.shape))[0]
        return spikes

    def spikes(self, images: Tensor, steps: int) -> Tensor:
        """Return the spikes without gradients, [B, T, F]; on the CPU event by event, much faster than `encode`.

        The order of sums differs from `encode`, which in float32 may shift one spike in many thousands.
        """
        return self._events(images, steps)[0]

    def rates(self, images: Tensor, steps: int) -> Tensor:
        """Return the spikes per step [B, F]; the backward pass treats them as rates, cheaper than backward in time.

            rate_l = clip(conv(passed_l-1) / threshold_l, 0, top),   top = 1 / (1 + refractory steps)
            passed_l = top (1 - product over the field of (1 - rate_l / top))

        In the forward pass, both are the counted spikes. A pool passes on the spikes of all neurons in its field: if
        they fire at different times, its rate exceeds the largest one.
        """
        _, counts = self._events(images, steps, count=True)
        assert counts is not None
        top = 1.0 / (1 + self.neurons[0].program.refractory)
        x = counts.pixels / steps
        for conv, neuron, fired, passed in zip(
            self._convs, self.neurons, counts.fired, counts.passed, strict=True
        ):  # fmt: skip
            rate = (conv(x) / neuron.threshold).clamp(0.0, top)
            x = straight_through(passed / steps, _either(straight_through(fired / steps, rate), top))
        return x.flatten(1)

    @property
    def _convs(self) -> list[nn.Conv2d]:
        return [layer.conv for layer in self.layers.layers if isinstance(layer, _SpikeConv)]

    @torch.no_grad()
    def _events(self, images: Tensor, steps: int, count: bool = False) -> "tuple[Tensor, SpikeCounts | None]":
        """Return spikes [B, T, F], and the spike counts of all layers if `count` is True."""
        check_images("SpikingConvEncoder", images)
        check_count("SpikingConvEncoder", steps=steps)
        self.features(*images.shape[2:])
        pixels = self.layers.layers[0]
        assert isinstance(pixels, LIF)
        plain = isinstance(pixels.threshold, float) and all(conv.bias is None for conv in self._convs)
        if not plain or engine_for(images) != "numba":
            return self._dense(images, steps, count)
        from .encoder_loop import encode_images  # numba takes half a second to load

        constants = pixels.constants()
        decay = float(constants["decay_mem"])
        spikes, counts = encode_images(
            images[:, 0], [conv.weight for conv in self._convs], self.thresholds, steps,
            (decay, 1 - decay, float(constants["threshold"])), pixels.program.refractory,
            bool(dict(pixels.program.equation.choices)["subtract"]), count,
        )  # fmt: skip
        return spikes.to(images.dtype), counts

    def _dense(self, images: Tensor, steps: int, count: bool) -> "tuple[Tensor, SpikeCounts | None]":
        """Run `_events` layer by layer in torch."""
        from .encoder_loop import SpikeCounts

        x, sums = images.expand(steps, *images.shape), list[Tensor]()
        for layer in self.layers.layers:
            x = self._through(layer, x)
            if count and not isinstance(layer, (_SpikeConv, nn.Flatten)):
                sums.append(x.sum(0))
        counts = SpikeCounts(sums[0], sums[1::2], sums[2::2]) if count else None
        return x.transpose(0, 1), counts

    def populations(self, images: Tensor, steps: int) -> dict[str, Tensor]:
        """Return the spikes [T, B, N] of the pixels and of each block before its pool, for figures and measurements."""
        check_images("SpikingConvEncoder", images)
        spikes, x = dict[str, Tensor](), images.expand(steps, *images.shape)
        for layer in self.layers.layers:
            x = self._through(layer, x)
            if isinstance(layer, Stateful):
                spikes[f"block {len(spikes)}" if spikes else "pixels"] = x.flatten(2)
        return spikes

    def fingerprint(self) -> str:
        """Return a hash of everything that the spikes depend on, except the image and the number of steps."""
        digest = hashlib.sha256(repr(self).encode())
        for name, part in sorted(self.state_dict().items()):
            digest.update(name.encode() + part.detach().cpu().numpy().tobytes())
        return digest.hexdigest()

    @staticmethod
    def _through(layer: nn.Module, x: Tensor) -> Tensor:
        """Run a layer from a zero state."""
        out: Tensor = Sequential(layer)(x)[0]
        return out


class _SpikeConv(nn.Module):
    """Convolution of spikes. Without gradients, images without spikes in a step are skipped."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        assert isinstance(conv, nn.Conv2d)
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        if self.conv.bias is not None or (x.requires_grad and torch.is_grad_enabled()):
            out: Tensor = self.conv(x)
            return out
        rows = x.sum((1, 2, 3)).nonzero().squeeze(1)
        shape = (len(x), self.conv.out_channels, *x.shape[2:])
        empty = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last).zero_()
        return empty.index_copy(0, rows, self.conv(x[rows])) if len(rows) else empty


class _ChannelsLast(Stateful):
    """Neurons of a feature map with channels-last memory layout; so is their state, [B, H, W, C]."""

    def __init__(self, neuron: IntegrateAndFire) -> None:
        super().__init__()
        self.neuron = neuron

    def initial_state(self, x: Tensor) -> State:
        return self.neuron.initial_state(x.movedim(1, -1))

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        out, state = self.neuron.step(x.movedim(1, -1), state)
        return out.movedim(-1, 1), state

    def forward(self, xs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        out, state = self.neuron(xs.movedim(2, -1), state)
        return out.movedim(-1, 2), state


def _either(rate: Tensor, top: float) -> Tensor:
    """Return the rate at which any neuron of a 2 x 2 field spikes, assuming independence: [B, C, H // 2, W // 2]."""
    silent = 1.0 - rate / top
    height, width = (size // 2 * 2 for size in rate.shape[2:])
    rows = silent[:, :, 0:height:2] * silent[:, :, 1:height:2]
    return top * (1.0 - rows[..., 0:width:2] * rows[..., 1:width:2])


class Balance(NamedTuple):
    """Result of `balance`: thresholds, and the largest currents with these thresholds."""

    thresholds: list[float]
    largest: list[float]  # current of a layer over all batches, with these thresholds

    @property
    def violations(self) -> list[int]:
        """Layers whose largest current exceeds their threshold, after a later batch raised a threshold before them."""
        pairs = enumerate(zip(self.thresholds, self.largest, strict=True))
        return [layer for layer, (threshold, largest) in pairs if largest > threshold]


@torch.no_grad()
def balance(spiking: SpikingConvEncoder, batches: Sequence[Tensor], steps: int, *, share: float = 1.0) -> Balance:
    """Set each threshold to the largest current of its layer in any step, while the previous layers spike.

    For each batch, layer by layer: threshold_l <- max(threshold_l, share * largest current of layer l), starting at 0;
    the spikes of the layer are then the input of the next one. With one batch, the largest current of every layer is
    its threshold; with several, a later batch may change the input of later layers: see `Balance.violations`.

    Shapes: batches of images [B, 1, H, W].

    Args:
        steps: steps per image.
        share: threshold as a fraction of the largest current; below 1, there are more spikes, and violations by design.

    Raises:
        ConfigError: there is no batch, a number is not positive, or a layer receives no positive current.
        ShapeError: images have another shape.
    """
    check_positive("balance", steps=steps, share=share)
    if isinstance(batches, Tensor) or not len(batches):
        raise ConfigError("balance needs a list of batches of images [B, 1, H, W]. Pass [images].")
    thresholds = [0.0] * len(spiking.neurons)
    for images in batches:
        for number, (neuron, largest) in enumerate(_largest(spiking, images, steps)):
            thresholds[number] = heard(f"block {number + 1}", max(thresholds[number], share * largest))
            thresholds[number] = float(_threshold(neuron).fill_(thresholds[number]))  # as rounded
    currents = [[largest for _, largest in _largest(spiking, images, steps)] for images in batches]
    return Balance(thresholds, [max(values) for values in zip(*currents, strict=True)])


def _threshold(neuron: IntegrateAndFire) -> Tensor:
    """Return the threshold tensor of a neuron."""
    held = neuron.threshold
    assert isinstance(held, Tensor)
    return held


def _largest(spiking: SpikingConvEncoder, images: Tensor, steps: int) -> Iterator[tuple[IntegrateAndFire, float]]:
    """Yield each neuron with its largest current; set its threshold before the next one is requested."""
    check_images("balance", images)
    x = images.expand(steps, *images.shape)
    for layer in spiking.layers.layers:
        if isinstance(layer, _ChannelsLast):
            yield layer.neuron, float(x.max())
        x = spiking._through(layer, x)


class PackedSpikes:
    """Spikes of many images, stored as bits.

    Args:
        bits: uint8 [N, ceil(T F / 8)], as returned by numpy.packbits.
        steps, features: T and F.

    Raises:
        ShapeError: the bits have another shape or dtype.
    """

    def __init__(self, bits: Tensor, steps: int, features: int) -> None:
        if bits.dim() != 2 or bits.dtype != torch.uint8 or bits.shape[1] != -(-steps * features // 8):
            raise ShapeError(
                f"PackedSpikes of {steps} steps and {features} features needs uint8 [N, {-(-steps * features // 8)}], "
                f"but got {bits.dtype} {list(bits.shape)}."
            )
        self.bits, self.steps, self.features = bits, steps, features

    def __len__(self) -> int:
        return len(self.bits)

    @classmethod
    @torch.no_grad()
    def of(cls, spiking: SpikingConvEncoder, images: Tensor, steps: int, memory: int = LIMIT) -> "PackedSpikes":
        """Compute the spikes of images [N, 1, H, W], bytes or floats, in batches that fit into `memory` bytes.

        >>> spiking = SpikingConvEncoder(ConvEncoder(8, generator=torch.Generator().manual_seed(0)))
        >>> images = torch.rand(3, 1, 28, 28)
        >>> torch.equal(PackedSpikes.of(spiking, images, 20).take(torch.tensor([2])), spiking.encode(images[2:], 20))
        True
        """
        weight = next(spiking.parameters())
        check_images("PackedSpikes", images[:0].to(weight.dtype))  # bytes are converted batch by batch
        features = spiking.features(*images.shape[2:])
        count = at_once(images.shape, steps, spiking.channels, memory)
        packed = []
        for batch in torch.split(images, count):
            rows = spiking.spikes(batch.to(weight.device, weight.dtype), steps).cpu().flatten(1).numpy()
            packed.append(torch.from_numpy(np.packbits(rows > 0, axis=1)))
        bits = torch.cat(packed) if packed else torch.zeros(0, -(-steps * features // 8), dtype=torch.uint8)
        return cls(bits, steps, features)

    def take(self, chosen: Tensor) -> Tensor:
        """Return the spikes of images, float32: indices [*B] -> [T, *B, F]."""
        rows = np.unpackbits(self.bits[chosen.flatten()].numpy(), axis=1, count=self.steps * self.features)
        spikes = torch.from_numpy(rows).view(*chosen.shape, self.steps, self.features)
        return spikes.movedim(-2, 0).float()

    def counts(self) -> Tensor:
        """Return the spike count of each feature, float32 [N, F]."""
        counts = [self.take(rows).sum(0) for rows in torch.split(torch.arange(len(self)), 1000)]
        return torch.cat(counts) if counts else torch.zeros(0, self.features)


def at_once(shape: Sequence[int], steps: int, channels: int, memory: int = LIMIT) -> int:
    """Return how many images [N, 1, H, W] can be encoded at once within `memory` bytes, at least one.

    >>> at_once((100, 1, 28, 28), 20, 32)
    44
    """
    values = steps * channels * shape[2] * shape[3]  # of the first block, the largest: current, spikes and pool
    return max(1, memory // (3 * 4 * values))


def check_images(owner: str, images: Tensor) -> None:
    """Raise ShapeError unless these are images [B, 1, H, W]."""
    if images.dim() != 4 or images.shape[1] != 1:
        raise ShapeError(f"{owner} needs images [B, 1, H, W], but got {list(images.shape)}.")
    if images.dtype not in (torch.float32, torch.float64):
        raise ShapeError(f"{owner} needs images of float32 or float64, but got {images.dtype}. Call .float() on them.")


def prototype_logits(support: Tensor, queries: Tensor) -> Tensor:
    """Return minus the squared Euclidean distance of queries to the mean of each class.

    Shapes: support [N, K, F], queries [Q, F] -> logits [Q, N].

    >>> prototype_logits(torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]]]), torch.tensor([[0.0, 0.0]])).tolist()
    [[-0.0, -25.0]]
    """
    return -(queries.unsqueeze(1) - support.mean(1).unsqueeze(0)).square().sum(2)
