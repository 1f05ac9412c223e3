"""Folding of batch norms in eval mode into the layer before, or into a fixed affine layer.

    after a layer    W' = g W,   b' = g (b - mean) + shift,    g = weight / sqrt(var + eps)
    alone            y = g x + (shift - g mean)

Source: Rueckauer et al., Conversion of continuous-valued deep networks, 2017.
"""

import copy
from typing import TypeVar

from torch import Tensor, nn

from ..core import renew_weights
from ..errors import ConfigError

Module = TypeVar("Module", bound=nn.Module)


def shared_copy(module: Module) -> Module:
    """Copy the modules, but share their tensors."""
    tensors = [*module.parameters(), *module.buffers()]
    try:
        return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})
    except RuntimeError as error:
        raise ConfigError(
            f"{type(module).__name__} cannot be copied, as it holds a tensor that is a result and no parameter: "
            f"{str(error).splitlines()[0]} Of an old weight_norm, call torch.nn.utils.remove_weight_norm first."
        ) from error


class FixedAffine(nn.Module):
    """Fixed affine transform g x + shift per channel, in place of a batch norm.

    Shapes: [B, C, *N] -> [B, C, *N].

    >>> import torch
    >>> FixedAffine(torch.tensor([2.0]), torch.tensor([1.0]))(torch.ones(1, 1, 3)).tolist()
    [[[3.0, 3.0, 3.0]]]
    """

    def __init__(self, gain: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.gain: Tensor
        self.shift: Tensor
        self.register_buffer("gain", gain)
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        shape = (-1, *(1,) * (x.dim() - 2))
        return x * self.gain.reshape(shape) + self.shift.reshape(shape)


def affine_of(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return gain and shift of a batch norm in eval mode, in float64.

    >>> gain, shift = affine_of(nn.BatchNorm1d(1, eps=0.0).eval())
    >>> gain.item(), shift.item()
    (1.0, 0.0)
    """
    mean, var, weight, bias = norm.running_mean, norm.running_var, norm.weight, norm.bias
    assert isinstance(mean, Tensor)
    assert isinstance(var, Tensor)
    gain = (var.detach().double() + float(getattr(norm, "eps", 0.0))).rsqrt()
    if isinstance(weight, Tensor):
        gain = gain * weight.detach().double()
    shift = -gain * mean.double()
    return gain, shift + bias.detach().double() if isinstance(bias, Tensor) else shift


def fold_batchnorm(layer: nn.Module, norm: nn.Module) -> nn.Module:
    """Return a copy of a linear or convolutional layer that includes the batch norm after it.

    >>> layer = fold_batchnorm(nn.Linear(2, 3, bias=False), nn.BatchNorm1d(3).eval())
    >>> layer.bias.shape
    torch.Size([3])
    """
    gain, shift = affine_of(norm)
    renew_weights(layer)
    result, weight, bias = shared_copy(layer), layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    ones = (1,) * (weight.dim() - 2)
    if isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):  # weight [C_in, C / G, ...]
        wide = gain.reshape(layer.groups, 1, -1).expand(-1, layer.in_channels // layer.groups, -1)
        factor = wide.reshape(layer.in_channels, -1, *ones)
    else:
        factor = gain.reshape(-1, 1, *ones)
    moved = shift + gain * bias.detach().double() if isinstance(bias, Tensor) else shift
    learns = weight.requires_grad
    result.weight = nn.Parameter((weight.detach().double() * factor).to(weight.dtype), requires_grad=learns)
    result.bias = nn.Parameter(moved.to(weight.dtype), requires_grad=learns)
    return result
