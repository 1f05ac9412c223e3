"""Convolutional encoders: trained as an ordinary network, then run as spikes.

    rates     images -> [conv 3x3 -> ReLU -> max pool 2x2] x 4 -> channels x what is left of the image
    spikes    pixel = constant current -> LIF -> [conv 3x3 -> integrate and fire -> max pool 2x2 in each step] x 4

The spiking network has the weights of the other. A spike weighs 1, whatever the layer, so each threshold is the largest
current that its layer gets while the layers before it spike. States start at zero for every image, nothing is drawn:
an image always has the same spikes, and one that is shown again need not be computed again.
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

if TYPE_CHECKING:
    from .encoder_loop import Counts

LIMIT = 1 << 28
"""Bytes of currents, spikes and pools of one batch of images: 256 MB."""


class ConvEncoder(nn.Module):
    """Blocks of convolution, ReLU and pooling; an image becomes a vector.

    Shapes: images [B, 1, H, W] -> [B, channels * pixels], pixels = (H // 2^blocks) * (W // 2^blocks).

    Args:
        channels: of every block.
        blocks: how many.
        batch_norm: normalise before the ReLU; such a network cannot spike.
        bias: of the convolutions.
        bound: largest activity. With 1 / (1 + refractory steps), the most spikes per step of a neuron, and trained on
            the rates of its pixels, the network needs no balance: its thresholds are 1.
        generator: draws the weights, uniform up to sqrt(2) sqrt(6 / (fan in + fan out)); biases are zero.

    Raises:
        ConfigError: a number is not positive.
        ShapeError: images of another shape, or so small that nothing is left of them.

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
        """Whether it normalises."""
        return isinstance(self.norms[0], nn.BatchNorm2d)

    def features(self, height: int, width: int) -> int:
        """How many numbers an image of this size becomes.

        Raises:
            ShapeError: nothing is left of it.

        >>> ConvEncoder(64).features(30, 20)
        64
        """
        return _features(self.channels, self.blocks, height, width)

    def forward(self, images: Tensor) -> Tensor:
        check_images("ConvEncoder", images)
        self.features(*images.shape[2:])
        x = images.contiguous(memory_format=torch.channels_last)  # twice as fast on the CPU
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = max_pool2d(norm(conv(x)), 2)  # the same as the other way round, on a quarter of the values
            x = torch.relu(x) if self.bound == math.inf else _Bounded.apply(x, self.bound)  # type: ignore[no-untyped-call]
        return x.flatten(1)


class _Bounded(torch.autograd.Function):
    """min(max(x, 0), bound). What lies above can be drawn down by a gradient, but not further up."""

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
    """Spikes per step of the neuron of every pixel, from rest: images [B, 1, H, W] -> 0 to 1, the same shape.

    >>> pixel_rates(memory_neuron(), torch.tensor([[[[0.0, 0.2, 4.0]]]]), 100).flatten().round(decimals=2)
    tensor([0.0000, 0.0600, 0.2500])
    """
    check_images("pixel_rates", images)
    found = [neuron(few.expand(steps, *few.shape))[0].mean(0) for few in torch.split(images, 256)]
    return torch.cat(found)


def _features(channels: int, blocks: int, height: int, width: int) -> int:
    left = (height >> blocks) * (width >> blocks)
    if not left:
        raise ShapeError(
            f"Nothing is left of an image {height} x {width} after {blocks} poolings. Use fewer blocks, or images of "
            f"at least {1 << blocks} x {1 << blocks}."
        )
    return channels * left


class SpikingConvEncoder(Stateful):
    """The same network in spikes; it shares the weights of the encoder that it is made from.

    Shapes: currents [T, B, 1, H, W] -> spikes [T, B, channels * pixels]; the state is that of `Sequential`.

    Args:
        encoder: without batch normalisation.
        neuron: LIF of the pixels; the others take its refractory time, reset, slope and step.
        threshold: of all integrate-and-fire neurons until `balance` sets them; by default 1 if the encoder has a
            bound, otherwise that of `neuron`.
        learn_thresholds: they are parameters, one a layer; otherwise buffers. Both are saved.

    Raises:
        ConfigError: the encoder normalises.
        ShapeError: input or state of a wrong shape, dtype or device.

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
        """How many spike trains an image of this size becomes; see `ConvEncoder.features`."""
        return _features(self.channels, self.blocks, height, width)

    @property
    def neurons(self) -> list[IntegrateAndFire]:
        """Those of the blocks, in their order."""
        return [layer.neuron for layer in self.layers.layers if isinstance(layer, _ChannelsLast)]

    @property
    def thresholds(self) -> list[float]:
        """Of the blocks, in their order."""
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
        """Spikes [T, B, F] of images [B, 1, H, W], each shown for so many steps from a state of zero."""
        check_images("SpikingConvEncoder", images)
        spikes: Tensor = self(images.expand(steps, *images.shape))[0]
        return spikes

    def spikes(self, images: Tensor, steps: int) -> Tensor:
        """The same without a gradient, [B, T, F]: on the CPU event by event, which is several times as fast.

        Currents are summed in another order than by `encode`, which in float32 may move a spike in many thousands.
        """
        return self._events(images, steps)[0]

    def rates(self, images: Tensor, steps: int) -> Tensor:
        """Spikes per step [B, F], as counted; backwards as if they were rates, which is much cheaper than in time.

            rate_l = clip(conv(passed_l-1) / threshold_l, 0, top),   top = 1 / (1 + refractory steps)
            passed_l = top (1 - product over the field of (1 - rate_l / top))

        Forwards both are what was counted. A pool passes a spike of any neuron in its field: if they fire at their own
        times, more than the largest rate comes through.
        """
        _, counts = self._events(images, steps, count=True)
        assert counts is not None
        top = 1.0 / (1 + self.neurons[0].program.refractory)
        x = counts.pixels / steps
        for conv, neuron, fired, passed in zip(
            self._convs, self.neurons, counts.fired, counts.passed, strict=True
        ):  # fmt: skip
            rate = (conv(x) / neuron.threshold).clamp(0.0, top)
            x = _counted(passed / steps, _either(_counted(fired / steps, rate), top))
        return x.flatten(1)

    @property
    def _convs(self) -> list[nn.Conv2d]:
        return [layer.conv for layer in self.layers.layers if isinstance(layer, _SpikeConv)]

    @torch.no_grad()
    def _events(self, images: Tensor, steps: int, count: bool = False) -> "tuple[Tensor, Counts | None]":
        """Spikes [B, T, F], and how many there were inside."""
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

    def _dense(self, images: Tensor, steps: int, count: bool) -> "tuple[Tensor, Counts | None]":
        """The same layer by layer."""
        from .encoder_loop import Counts

        x, found = images.expand(steps, *images.shape), list[Tensor]()
        for layer in self.layers.layers:
            x = self._through(layer, x)
            if count and not isinstance(layer, (_SpikeConv, nn.Flatten)):
                found.append(x.sum(0))
        counts = Counts(found[0], found[1::2], found[2::2]) if count else None
        return x.transpose(0, 1), counts

    def populations(self, images: Tensor, steps: int) -> dict[str, Tensor]:
        """Spikes [T, B, N] of the pixels and of each block before its pool, for figures and measurements."""
        check_images("SpikingConvEncoder", images)
        found, x = dict[str, Tensor](), images.expand(steps, *images.shape)
        for layer in self.layers.layers:
            x = self._through(layer, x)
            if isinstance(layer, Stateful):
                found[f"block {len(found)}" if found else "pixels"] = x.flatten(2)
        return found

    def fingerprint(self) -> str:
        """A hash of everything that an image's spikes depend on but the image and the number of steps."""
        digest = hashlib.sha256(repr(self).encode())
        for name, part in sorted(self.state_dict().items()):
            digest.update(name.encode() + part.detach().cpu().numpy().tobytes())
        return digest.hexdigest()

    @staticmethod
    def _through(layer: nn.Module, x: Tensor) -> Tensor:
        """A layer from a state of zero."""
        out: Tensor = Sequential(layer)(x)[0]
        return out


class _SpikeConv(nn.Module):
    """A convolution of spikes. Images of a step in which nothing spikes are left out where no gradient needs them."""

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
    """Neurons of an image, in the order in which convolutions lay it out; so is their state, [B, H, W, C]."""

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


def _counted(counted: Tensor, rate: Tensor) -> Tensor:
    """What was counted, with the gradient of a rate."""
    return _Counted.apply(counted, rate)  # type: ignore[no-any-return, no-untyped-call]


class _Counted(torch.autograd.Function):
    """A Function, not `rate + (counted - rate).detach()`: that would round what was counted."""

    generate_vmap_rule = True

    @staticmethod
    def forward(counted: Tensor, rate: Tensor) -> Tensor:
        return counted.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        return None, grads[0]


def _either(rate: Tensor, top: float) -> Tensor:
    """Rate at which any neuron of a field of 2 x 2 spikes, if they fire independently: [B, C, H, W], half the size."""
    silent = 1.0 - rate / top
    height, width = (size // 2 * 2 for size in rate.shape[2:])
    rows = silent[:, :, 0:height:2] * silent[:, :, 1:height:2]
    return top * (1.0 - rows[..., 0:width:2] * rows[..., 1:width:2])


class Balance(NamedTuple):
    """What `balance` set, and what the layers get since."""

    thresholds: list[float]
    largest: list[float]  # current of a layer over all batches, with these thresholds

    @property
    def violations(self) -> list[int]:
        """Layers that get more than their threshold in a step: a later batch has raised a threshold before them."""
        pairs = enumerate(zip(self.thresholds, self.largest, strict=True))
        return [layer for layer, (threshold, largest) in pairs if largest > threshold]


@torch.no_grad()
def balance(spiking: SpikingConvEncoder, batches: Sequence[Tensor], steps: int, *, share: float = 1.0) -> Balance:
    """Set each threshold to the largest current that its layer gets in any step while those before it spike.

    For each batch, layer by layer: threshold_l <- max(threshold_l, share * largest current of layer l), from 0 on; then
    the layer spikes for the next one. With one batch every layer's largest current is its threshold then; with several
    a later one may change what layers behind get, which `Balance.violations` tells.

    Shapes: batches of images [B, 1, H, W].

    Args:
        steps: for which an image is shown.
        share: of the largest current; below 1 there are more spikes, and violations by design.

    Raises:
        ConfigError: no batch, a number that is not positive, or a layer that gets no positive current.
        ShapeError: images of another shape.
    """
    check_positive("balance", steps=steps, share=share)
    if isinstance(batches, Tensor) or not len(batches):
        raise ConfigError("balance needs a list of batches of images [B, 1, H, W]. Pass [images].")
    found = [0.0] * len(spiking.neurons)
    for images in batches:
        for number, (neuron, largest) in enumerate(_largest(spiking, images, steps)):
            found[number] = heard(f"block {number + 1}", max(found[number], share * largest))
            found[number] = float(_threshold(neuron).fill_(found[number]))  # as rounded
    after = [[largest for _, largest in _largest(spiking, images, steps)] for images in batches]
    return Balance(found, [max(values) for values in zip(*after, strict=True)])


def _threshold(neuron: IntegrateAndFire) -> Tensor:
    """What `balance` sets."""
    held = neuron.threshold
    assert isinstance(held, Tensor)
    return held


def _largest(spiking: SpikingConvEncoder, images: Tensor, steps: int) -> Iterator[tuple[IntegrateAndFire, float]]:
    """Each neuron and its largest current; it spikes with the threshold that it has once it is asked to go on."""
    check_images("balance", images)
    x = images.expand(steps, *images.shape)
    for layer in spiking.layers.layers:
        if isinstance(layer, _ChannelsLast):
            yield layer.neuron, float(x.max())
        x = spiking._through(layer, x)


class PackedSpikes:
    """Spikes of many images, a bit each.

    Args:
        bits: uint8 [N, ceil(T F / 8)], as numpy.packbits has them.
        steps, features: T and F.

    Raises:
        ShapeError: the bits are not of this size.
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
        """Compute the spikes of images [N, 1, H, W], bytes or numbers, as many at once as fit into the memory.

        >>> spiking = SpikingConvEncoder(ConvEncoder(8, generator=torch.Generator().manual_seed(0)))
        >>> images = torch.rand(3, 1, 28, 28)
        >>> torch.equal(PackedSpikes.of(spiking, images, 20).take(torch.tensor([2])), spiking.encode(images[2:], 20))
        True
        """
        weight = next(spiking.parameters())
        check_images("PackedSpikes", images[:0].to(weight.dtype))  # bytes too: they are converted piece by piece
        features = spiking.features(*images.shape[2:])
        count = at_once(images.shape, steps, spiking.channels, memory)
        found = []
        for few in torch.split(images, count):
            rows = spiking.spikes(few.to(weight.device, weight.dtype), steps).cpu().flatten(1).numpy()
            found.append(torch.from_numpy(np.packbits(rows > 0, axis=1)))
        bits = torch.cat(found) if found else torch.zeros(0, -(-steps * features // 8), dtype=torch.uint8)
        return cls(bits, steps, features)

    def take(self, chosen: Tensor) -> Tensor:
        """Spikes of some images, float32: indices [*B] -> [T, *B, F]."""
        rows = np.unpackbits(self.bits[chosen.flatten()].numpy(), axis=1, count=self.steps * self.features)
        spikes = torch.from_numpy(rows).view(*chosen.shape, self.steps, self.features)
        return spikes.movedim(-2, 0).float()

    def counts(self) -> Tensor:
        """How often each feature spikes, float32 [N, F]."""
        found = [self.take(few).sum(0) for few in torch.split(torch.arange(len(self)), 1000)]
        return torch.cat(found) if found else torch.zeros(0, self.features)


def at_once(shape: Sequence[int], steps: int, channels: int, memory: int = LIMIT) -> int:
    """Images [N, 1, H, W] whose spikes can be computed at once within so many bytes: at least one.

    >>> at_once((100, 1, 28, 28), 20, 32)
    44
    """
    values = steps * channels * shape[2] * shape[3]  # the first block's: current, spikes and what moves on
    return max(1, memory // (3 * 4 * values))


def check_images(owner: str, images: Tensor) -> None:
    """Raise ShapeError unless these are images [B, 1, H, W]."""
    if images.dim() != 4 or images.shape[1] != 1:
        raise ShapeError(f"{owner} needs images [B, 1, H, W], but got {list(images.shape)}.")
    if images.dtype not in (torch.float32, torch.float64):
        raise ShapeError(f"{owner} needs images of float32 or float64, but got {images.dtype}. Call .float() on them.")


def prototype_logits(support: Tensor, queries: Tensor) -> Tensor:
    """How near queries are to the mean of each class: minus the squared Euclidean distance.

    Shapes: support [N, K, F], queries [Q, F] -> logits [Q, N].

    >>> prototype_logits(torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]]]), torch.tensor([[0.0, 0.0]])).tolist()
    [[-0.0, -25.0]]
    """
    return -(queries.unsqueeze(1) - support.mean(1).unsqueeze(0)).square().sum(2)
