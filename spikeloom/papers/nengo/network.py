"""Convolutional networks of rate neurons, trained on rates and run with spikes.

    [T, B, 1, 28, 28] -> conv 32, k3 -> conv 64, k3, stride 2 -> conv 128, k3, stride 2 -> dense 10
                              neurons           neurons                   neurons

The example of NengoDL: 158,730 parameters, of which 34,048 are biases, one per neuron. The biases of the neurons are
trained, their gains are not.
Source: Rasmussen, NengoDL: combining deep learning and neuromorphic modelling methods, Neuroinformatics, 2019.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ...arguments import explained
from ...core import State, Stateful
from ...errors import check_count
from ...layers import Sequential
from ...neurons import Curve, RateNeuron
from ...neurons.curves import Number


@explained
class ConvRateNetwork(Stateful):
    """Convolutional network of rate neurons, as in the module docstring.

    Shapes: images [T, B, 1, 28, 28] -> logits [T, B, classes]; the state is that of the layers.

    Args:
        curve: rate curve of all neurons.
        max_rate, intercept: rate of each neuron at input 1 [Hz], and the input above which it fires.
        channels: channels of each convolution; the first has stride 1, the others 2.
        classes: number of logits.
        generator: source of the weights (Glorot, uniform).
        firing: source of the spikes of random partners.
        options: options of the `RateNeuron`s: amplitude, partner, v_init, mode, dt, ...

    Raises:
        ConfigError: the curve cannot reach max_rate and intercept, or an option is unknown.
        ShapeError: input or state has a wrong shape, dtype or device.

    >>> from spikeloom.neurons import LIFCurve
    >>> model = ConvRateNetwork(LIFCurve(), amplitude=0.01)
    >>> sum(parameter.numel() for parameter in model.parameters())
    158730
    """

    def __init__(
        self,
        curve: Curve,
        *,
        max_rate: Number = 100.0,
        intercept: Number = 0.0,
        channels: tuple[int, ...] = (32, 64, 128),
        classes: int = 10,
        generator: torch.Generator | None = None,
        firing: torch.Generator | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        check_count("ConvRateNetwork", classes=classes)
        layers: list[nn.Module] = []
        side, before = 28, 1
        for number, width in enumerate(channels):
            stride = 1 if number == 0 else 2
            layers.append(glorot(nn.Conv2d(before, width, 3, stride), generator))
            side, before = (side - 3) // stride + 1, width
            layers.append(
                RateNeuron.tuned(
                    curve, (width, side, side), max_rate=max_rate, intercept=intercept, generator=firing, **options
                )
            )
        self.layers = Sequential(*layers, nn.Flatten(), glorot(nn.Linear(before * side * side, classes), generator))

    def initial_state(self, x: Tensor) -> State:
        return self.layers.initial_state(x)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self.layers.step(x, state)

    def forward(self, xs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        result: tuple[Tensor, State] = self.layers(xs, state)
        return result


def glorot(layer: nn.Conv2d | nn.Linear, generator: torch.Generator | None) -> nn.Module:
    """Initialise a layer as in Keras: Glorot-uniform weights, zero biases."""
    nn.init.xavier_uniform_(layer.weight, generator=generator)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
