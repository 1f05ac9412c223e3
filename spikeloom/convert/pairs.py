"""Switch all rate neurons of a model between rates and spikes.

`to_rate`, `to_spiking` and `to_hybrid` return a new module tree that shares all parameters and buffers with the
original, so that training one trains the other.
"""

import copy
from collections.abc import Mapping
from typing import TypeVar

from torch import nn

from ..arguments import explained
from ..errors import ConfigError
from ..neurons import rate_neurons

Model = TypeVar("Model", bound=nn.Module)


@explained
def to_rate(model: Model) -> Model:
    """Return the model with rate neurons: without time, trainable.

    >>> from spikeloom.neurons import RateNeuron, ReLUCurve
    >>> to_rate(RateNeuron(ReLUCurve())).eval().spikes
    False
    """
    return _switched(model, "rate")


@explained
def to_spiking(model: Model) -> Model:
    """Return the model with the spiking partners of its rate neurons.

    >>> import torch
    >>> from spikeloom.neurons import RateNeuron, ReLUCurve
    >>> from spikeloom.layers import Sequential
    >>> net = Sequential(nn.Linear(2, 3), RateNeuron(ReLUCurve()))
    >>> spiking = to_spiking(net)
    >>> spiking.layers[0].weight is net.layers[0].weight, spiking.layers[1].mode, net.layers[1].mode
    (True, 'spiking', 'auto')
    """
    return _switched(model, "spiking")


@explained
def to_hybrid(model: Model) -> Model:
    """Return the model with spikes in the forward pass and the gradient of the rates in the backward pass.

    >>> from spikeloom.neurons import RateNeuron, ReLUCurve
    >>> to_hybrid(RateNeuron(ReLUCurve())).mode
    'hybrid'
    """
    return _switched(model, "hybrid")


def _switched(model: Model, mode: str) -> Model:
    """Copy the modules, but share their tensors, and set the mode of all rate neurons.

    Raises:
        ConfigError: the model has no rate neuron.
    """
    shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    generators = {id(g): g for module in model.modules() if (g := getattr(module, "generator", None))}
    tree = copy.deepcopy(model, {**shared, **generators})
    for neuron in rate_neurons(tree).values():
        neuron.mode = mode
    return tree


@explained
def set_scale(model: nn.Module, scale: float | Mapping[str, float]) -> None:
    """Set the firing rate scale of all rate neurons, or of those in a mapping. Modifies the model.

    Raises:
        ConfigError: there is no such rate neuron, or a scale is not positive or too large for `max_spikes`.

    >>> from spikeloom.neurons import RateNeuron, ReLUCurve
    >>> neuron = RateNeuron(ReLUCurve())
    >>> set_scale(neuron, 10.0)
    >>> neuron.scale
    10.0
    """
    neurons = rate_neurons(model)
    scales = scale if isinstance(scale, Mapping) else dict.fromkeys(neurons, scale)
    if unknown := sorted(set(scales) - set(neurons)):
        raise ConfigError(f"There are no rate neurons named {', '.join(unknown)}. The model has {', '.join(neurons)}.")
    for name, value in scales.items():
        try:
            neurons[name].check_scale(value)
        except ConfigError as error:
            raise ConfigError(f"{name or 'The model'}: {error}") from error
    for name, value in scales.items():
        neurons[name].scale = value
