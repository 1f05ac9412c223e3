"""Encoders that are trained as they will spike: bounded activity, rates of pixels, thresholds of 1."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from spikeloom.errors import ConfigError, ShapeError
from spikeloom.layers.hebbian_memory.layer import memory_neuron
from spikeloom.papers.hebbian_memory.encoders import ConvEncoder, SpikingConvEncoder, pixel_rates


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_activity_stays_within_the_bound() -> None:
    encoder, free = (ConvEncoder(6, bound=bound, generator=seeded()) for bound in (0.5, math.inf))
    x = 3 * torch.rand(4, 1, 28, 28, generator=seeded(1))
    assert float(free(x).detach().max()) > 0.5
    y = x
    for conv in encoder.convs:
        y = max_pool2d(conv(y).clamp(0.0, 0.5), 2)
        assert float(y.detach().max()) == 0.5 or conv is not encoder.convs[0]
    torch.testing.assert_close(encoder(x), y.flatten(1))


@pytest.mark.parametrize(("push", "wanted"), [(1.0, [0.0, 1.0, 1.0]), (-1.0, [0.0, -1.0, 0.0])])
def test_what_is_above_the_bound_can_only_come_down(push: float, wanted: list[float]) -> None:
    # the gradient of the loss is positive where a step against it makes the activity smaller
    encoder = ConvEncoder(1, 1, bound=1.0)
    with torch.no_grad():
        conv: Tensor = encoder.convs[0].weight  # type: ignore[assignment]
        conv.zero_()
        conv[0, 0, 1, 1] = 1.0
    x = torch.tensor([-0.5, 0.5, 1.5]).repeat_interleave(2).expand(2, 6).reshape(1, 1, 2, 6).clone().requires_grad_()
    torch.autograd.backward(push * encoder(x).sum())
    assert x.grad is not None
    assert x.grad[0, 0].sum(0).view(3, 2).sum(1).tolist() == wanted


def test_the_rates_of_pixels_are_those_of_their_neurons() -> None:
    neuron = memory_neuron(20.0, 0.1, 0.0, dt=5.0)
    images = torch.rand(300, 1, 4, 3, generator=seeded())
    spikes, _ = neuron(images.expand(20, *images.shape))
    torch.testing.assert_close(pixel_rates(neuron, images, 20), spikes.mean(0))
    assert float(pixel_rates(neuron, torch.full((1, 1, 1, 1), -2.0), 20).max()) == 0.0
    assert float(pixel_rates(memory_neuron(), torch.full((1, 1, 1, 1), 9.0), 100).max()) == 0.25  # 3 ms of rest
    with pytest.raises(ShapeError, match="pixel_rates needs images"):
        pixel_rates(neuron, images[0], 20)


def test_a_bounded_encoder_spikes_with_thresholds_of_one_at_its_rates() -> None:
    encoder = ConvEncoder(8, bound=1.0, generator=seeded())
    spiking = SpikingConvEncoder(encoder, memory_neuron(20.0, 0.1, 0.0, dt=5.0))
    assert spiking.thresholds == [1.0] * 4
    assert SpikingConvEncoder(encoder, threshold=0.7).thresholds == pytest.approx([0.7] * 4)
    images = torch.rand(4, 1, 28, 28, generator=seeded(1))
    pixels = spiking.layers.layers[0]
    with torch.no_grad():
        wanted = encoder.convs[0](pixel_rates(pixels, images, 400)).clamp(0.0, 1.0)  # type: ignore[arg-type]
        found = spiking.populations(images, 400)["block 1"].mean(0).view_as(wanted)
    assert 0.1 < float(wanted.mean()) < 0.9
    assert float((found - wanted).abs().mean()) < 0.01


def test_a_bound_is_positive() -> None:
    with pytest.raises(ConfigError, match=r"ConvEncoder needs bound > 0, but got 0\.0"):
        ConvEncoder(4, bound=0.0)
