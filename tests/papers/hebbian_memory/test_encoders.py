"""Convolutional encoders: sizes, the spiking network against a plain loop, thresholds, spikes that are kept."""

import copy
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d

from spikeloom import kernels
from spikeloom.errors import ConfigError, ShapeError
from spikeloom.layers.hebbian_memory.layer import memory_neuron
from spikeloom.papers.hebbian_memory.encoders import (
    ConvEncoder,
    PackedSpikes,
    SpikingConvEncoder,
    at_once,
    balance,
    prototype_logits,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def glyphs(count: int = 6, height: int = 28, width: int = 28, seed: int = 1) -> Tensor:
    return (torch.rand(count, 1, height, width, generator=seeded(seed)) < 0.15).float()


def spiking(channels: int = 6, dtype: torch.dtype = torch.float32, **options: Any) -> SpikingConvEncoder:
    encoder = ConvEncoder(channels, generator=seeded()).to(dtype)
    return SpikingConvEncoder(encoder, memory_neuron(20.0, 0.4, 5.0, dt=5.0), **options)


@pytest.mark.parametrize(("height", "width", "blocks", "pixels"), [(28, 28, 4, 1), (30, 20, 4, 1), (28, 30, 3, 9)])
def test_features_are_what_is_left_of_the_image(height: int, width: int, blocks: int, pixels: int) -> None:
    encoder = ConvEncoder(5, blocks, generator=seeded())
    assert encoder(torch.rand(2, 1, height, width)).shape == (2, 5 * pixels)
    assert encoder.features(height, width) == 5 * pixels


def test_weights_are_drawn_as_in_the_paper() -> None:
    first, second = (conv.weight for conv in list(ConvEncoder(64, generator=seeded()).convs)[:2])
    for weight, fans in ((first, 9 * 65), (second, 9 * 128)):
        bound = 2**0.5 * (6 / fans) ** 0.5
        assert 0.98 * bound < float(weight.detach().abs().max()) <= bound  # type: ignore[operator]
    assert [name for name, _ in ConvEncoder().named_parameters()] == [f"convs.{layer}.weight" for layer in range(4)]


def test_batch_norm_stands_before_the_relu_and_does_not_spike() -> None:
    encoder = ConvEncoder(3, 1, batch_norm=True, bias=True, generator=seeded()).eval()
    with torch.no_grad():
        encoder.norms[0].running_mean.fill_(0.3)  # type: ignore[operator]
    x = torch.rand(2, 1, 4, 4)
    wanted = max_pool2d(torch.relu((encoder.convs[0](x) - 0.3) / (1 + 1e-5) ** 0.5), 2).flatten(1)
    torch.testing.assert_close(encoder(x), wanted)
    with pytest.raises(ConfigError, match="batch normalisation cannot spike"):
        SpikingConvEncoder(encoder)


def plain(network: SpikingConvEncoder, images: Tensor, steps: int, refractory: int) -> np.ndarray[Any, Any]:
    """The definition, step by step, from the paper's equations."""
    decay, thresholds = np.exp(-5.0 / 20.0), network.thresholds
    weights = [part for name, part in network.named_parameters() if name.endswith("weight")]
    cells: list[list[Any]] = []

    def cell(place: int, current: Tensor, threshold: float, leak: float) -> Tensor:
        if place == len(cells):
            cells.append([torch.zeros_like(current) for _ in range(3)])
        v, fired, r = cells[place]
        blocked = r > 0
        v = leak * v + (current if leak == 1 else (1 - leak) * current) - threshold * fired
        z: Tensor = ((v - threshold) / threshold > 0).to(v.dtype) * ~blocked
        r = torch.where(blocked, (r - 1).clamp(0, refractory), refractory * z)
        cells[place] = [v, z, r]
        return z

    found = []
    for _ in range(steps):
        x = cell(0, images, 0.4, float(decay))
        for layer, weight in enumerate(weights):
            x = max_pool2d(cell(layer + 1, conv2d(x, weight, padding=1), thresholds[layer], 1.0), 2)
        found.append(x.flatten(1))
    return torch.stack(found).detach().numpy()


@pytest.mark.parametrize(("height", "width"), [(28, 28), (30, 20)])
@pytest.mark.parametrize("grey", [False, True])
def test_the_spiking_network_is_the_plain_loop(height: int, width: int, grey: bool) -> None:
    network = spiking(dtype=torch.float64)
    images = glyphs(4, height, width).double()
    images = images * torch.rand(images.shape, generator=seeded(2)) if grey else images
    balance(network, [images[:2]], 20, share=0.4)
    wanted = plain(network, images, 20, 1)
    assert 0.005 < wanted.mean() < 0.5
    assert np.array_equal(network.encode(images, 20).detach().numpy(), wanted)
    with torch.no_grad():
        assert np.array_equal(network.encode(images, 20).numpy(), wanted)
    assert np.array_equal(network.spikes(images, 20).transpose(0, 1).numpy(), wanted)
    with kernels.use("torch"):
        assert np.array_equal(network.encode(images, 20).detach().numpy(), wanted)
    assert np.array_equal(PackedSpikes.of(network, images, 20).take(torch.arange(4)).numpy(), wanted)


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_spikes_are_counted_alike_event_by_event_and_layer_by_layer(reset: str) -> None:
    encoder = ConvEncoder(6, generator=seeded()).double()
    network = SpikingConvEncoder(encoder, memory_neuron(20.0, 0.4, 5.0, dt=5.0, reset=reset))
    images = glyphs(3, 30, 21).double() * torch.rand(3, 1, 30, 21, generator=seeded(3), dtype=torch.float64)
    balance(network, [images], 20, share=0.4)
    events, counts = network._events(images, 20, count=True)
    with kernels.use("torch"):
        dense, wanted = network._events(images, 20, count=True)
    assert counts is not None
    assert wanted is not None
    assert torch.equal(events, dense)
    every, others = ([part.pixels, *part.fired, *part.passed] for part in (counts, wanted))
    for found, other in zip(every, others, strict=True):
        assert found.shape == other.shape
        assert float(other.sum()) > 0
        assert torch.equal(found, other)
    assert torch.equal(counts.passed[-1].flatten(1), events.sum(1))


def test_rates_are_counts_with_the_gradient_of_rates() -> None:
    network, images = spiking(dtype=torch.float64, learn_thresholds=True), glyphs(3).double()
    balance(network, [images], 20, share=0.4)
    found = network.rates(images, 20)
    assert torch.equal(found * 20, network.spikes(images, 20).sum(1))
    scale = torch.linspace(0, 1, found.numel(), dtype=torch.float64).view(found.shape)
    gradients = torch.autograd.grad((found * scale).sum(), list(network.parameters()))
    _, counts = network._events(images, 20, count=True)
    assert counts is not None
    top, x = 0.5, counts.pixels / 20
    for conv, neuron, fired, passed in zip(
        network._convs, network.neurons, counts.fired, counts.passed, strict=True
    ):  # the same, written as rates that are moved to what was counted
        rate = torch.clamp(conv(x) / neuron.threshold, 0.0, top)
        rate = rate + (fired / 20 - rate).detach()
        even = rate[:, :, : rate.shape[2] // 2 * 2, : rate.shape[3] // 2 * 2]
        silent = 1 - torch.unflatten(torch.unflatten(even, 3, (-1, 2)), 2, (-1, 2)) / top
        pooled = top * (1 - silent.prod(3).prod(4))
        x = pooled + (passed / 20 - pooled).detach()
    wanted = torch.autograd.grad((x.flatten(1) * scale).sum(), list(network.parameters()))
    for a, b in zip(gradients, wanted, strict=True):
        assert a.abs().sum() > 0
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_whole_equals_chunks_and_steps() -> None:
    network, images = spiking(dtype=torch.float64), glyphs(3).double()
    balance(network, [images], 20, share=0.4)
    xs = images.expand(20, *images.shape)
    whole, _ = network(xs)
    first, state = network(xs[:7])
    second, _ = network(xs[7:], state)
    assert torch.equal(torch.cat([first, second]), whole)
    state = network.initial_state(xs[0])
    for x, wanted in zip(xs, whole, strict=True):
        out, state = network.step(x, state)
        assert torch.equal(out, wanted)
    assert torch.equal(network.encode(images[1:2], 20)[:, 0], whole[:, 1])


def test_gradients_of_weights_and_thresholds_are_those_of_the_definition() -> None:
    network, images = spiking(dtype=torch.float64, learn_thresholds=True), glyphs(3).double()
    balance(network, [images], 12, share=0.4)
    found = []
    for engine in ("numba", "torch"):
        with kernels.use(engine):
            out = network.encode(images, 12)
            scale = torch.linspace(0, 1, out.numel(), dtype=torch.float64).view(out.shape)
            found.append(torch.autograd.grad((out * scale).sum(), list(network.parameters())))
    assert len(found[0]) == 8
    for a, b in zip(*found, strict=True):
        assert a.abs().sum() > 0
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_fine_tuning_changes_the_encoder_it_was_made_from() -> None:
    encoder = ConvEncoder(6, generator=seeded())
    network = SpikingConvEncoder(encoder)
    assert {id(p) for p in encoder.parameters()} == {id(p) for p in network.parameters()}
    assert copy.deepcopy(network).fingerprint() == network.fingerprint()
    before = network.fingerprint()
    balance(network, [glyphs()], 60)
    assert network.fingerprint() != before


def test_one_batch_balances_exactly_and_later_ones_never_lower_a_threshold() -> None:
    network = spiking(12)
    few = [glyphs(3, seed=seed) for seed in (4, 0, 1, 5)]
    found = []
    for count in range(1, 5):
        found.append(balance(network, few[:count], 20))
        assert found[-1].thresholds == network.thresholds
    one = found[0]
    assert one.largest == one.thresholds
    assert one.violations == []
    for before, after in pairwise(found):
        assert all(a <= b for a, b in zip(before.thresholds, after.thresholds, strict=True))
    assert found[-1].thresholds[0] > one.thresholds[0]


def test_a_violation_is_reported() -> None:
    network = spiking(12)
    reports = [balance(network, [glyphs(2, seed=a), glyphs(2, seed=a + 100)], 20) for a in range(12)]
    violated = [report for report in reports if report.violations]
    assert violated
    for report in violated:
        assert all(report.largest[layer] > report.thresholds[layer] for layer in report.violations)


def test_thresholds_are_saved() -> None:
    network = spiking()
    balance(network, [glyphs()], 20)
    again = spiking()
    assert again.thresholds == pytest.approx([0.4] * 4)
    again.load_state_dict(network.state_dict())
    assert again.thresholds == network.thresholds


def test_a_share_of_the_largest_current_makes_more_spikes() -> None:
    counts = []
    for share in (1.0, 0.4):
        network = spiking()
        balance(network, [glyphs()], 20, share=share)
        counts.append(float(network.encode(glyphs(), 20).detach().sum()))
    assert counts[1] > counts[0]


def test_nothing_is_ever_divided_by_a_threshold_of_zero() -> None:
    network = spiking()
    with pytest.raises(ConfigError, match="block 1 was silent"):
        balance(network, [torch.zeros(2, 1, 28, 28)], 20)
    assert bool(network.encode(glyphs(), 20).isfinite().all())
    with pytest.raises(ConfigError, match="threshold > 0"):
        spiking(threshold=0.0)


@pytest.mark.parametrize(
    ("batches", "options", "said"),
    [
        ([], {}, "needs a list of batches"),
        (glyphs(), {}, "needs a list of batches"),
        ([glyphs()], {"share": 0.0}, "share > 0"),
        ([glyphs()], {"steps": 0}, "steps > 0"),
    ],
)
def test_calibration_needs_images(batches: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        balance(spiking(), batches, **{"steps": 20, **options})


def test_wrong_images_are_refused() -> None:
    network = spiking()
    for call in (lambda x: network.encode(x, 5), ConvEncoder(4), lambda x: balance(network, [x], 5)):
        with pytest.raises(ShapeError, match=r"needs images \[B, 1, H, W\], but got \[2, 28, 28\]"):
            call(torch.zeros(2, 28, 28))
    with pytest.raises(ShapeError, match="Nothing is left of an image 28 x 12 after 4 poolings"):
        network.encode(torch.zeros(2, 1, 28, 12), 5)
    with pytest.raises(ShapeError, match=r"needs currents \[T, B, 1, H, W\]"):
        network(torch.zeros(2, 1, 28, 28))
    with pytest.raises(ConfigError, match="channels > 0"):
        ConvEncoder(0)


def test_kept_spikes_are_those_computed_afresh_whatever_the_batches() -> None:
    network, images = spiking(), glyphs(9)
    balance(network, [images], 20, share=0.4)
    whole = PackedSpikes.of(network, (255 * images).to(torch.uint8) // 255, 20)
    few = PackedSpikes.of(network, images, 20, memory=1)
    assert torch.equal(whole.bits, few.bits)
    chosen = torch.tensor([[3, 8], [0, 3]])
    with torch.no_grad():
        fresh = network.encode(images, 20)
    assert fresh.any()
    assert torch.equal(whole.take(chosen), fresh[:, chosen])
    assert len(whole) == 9
    assert len(PackedSpikes.of(network, images[:0], 20)) == 0
    with pytest.raises(ShapeError, match=r"needs uint8 \[N, 15\]"):
        PackedSpikes(whole.bits[:, :3], 20, 6)


def test_populations_are_those_of_the_way() -> None:
    network, images = spiking(), glyphs(2)
    balance(network, [images], 20, share=0.4)
    found = network.populations(images, 20)
    assert [(name, part.shape[2]) for name, part in found.items()] == [
        ("pixels", 784), ("block 1", 6 * 784), ("block 2", 6 * 196), ("block 3", 6 * 49), ("block 4", 6 * 9)
    ]  # fmt: skip
    last = torch.unflatten(found["block 4"], 2, (6, 3, 3))
    assert torch.equal(last[..., :2, :2].amax((3, 4)), network.encode(images, 20))


def test_memory_bounds_the_batch() -> None:
    assert at_once((10, 1, 28, 28), 20, 32, memory=1) == 1
    assert at_once((10, 1, 28, 28), 20, 32, memory=1 << 28) * 12 * 20 * 32 * 784 <= 1 << 28


def test_the_nearest_prototype_wins() -> None:
    support = torch.rand(3, 2, 4, generator=seeded())
    queries = torch.rand(5, 4, generator=seeded(1))
    wanted = [[-float(((q - s.mean(0)) ** 2).sum()) for s in support] for q in queries]
    torch.testing.assert_close(prototype_logits(support, queries), torch.tensor(wanted))
