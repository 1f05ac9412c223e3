"""All weights of a module as one vector, so that an optimiser step is a few operations instead of a few per weight."""

import torch
from torch import Tensor, nn

from ..errors import ConfigError


def as_vector(module: nn.Module) -> nn.Parameter:
    """Return a vector of all learned weights for an optimiser; the weights of the module become views of it.

    The module computes, saves and loads as before; move it to its device first. Gradients are views of the vector's and
    accumulate, so set them to zero and not to None: `optimizer.zero_grad(set_to_none=False)`.

    Raises:
        ConfigError: the weights are on several devices, or have several types.

    >>> layer = nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD([as_vector(layer)], lr=1.0)
    >>> layer(torch.tensor([3.0, 5.0])).backward()
    >>> before = layer.weight.detach().clone()
    >>> optimizer.step()
    >>> (before - layer.weight).round()
    tensor([[3., 5.]], grad_fn=<RoundBackward0>)
    """
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    kinds = {f"{weight.dtype} on {weight.device}".removeprefix("torch.") for weight in weights}
    if len(kinds) != 1:
        types = " and ".join(sorted(kinds)) or "none that is learned"
        raise ConfigError(f"as_vector needs weights of one type on one device, but got {types}.")
    vector = nn.Parameter(torch.cat([weight.detach().flatten() for weight in weights]))
    vector.grad = torch.zeros_like(vector)

    def parts(whole: Tensor) -> list[Tensor]:
        split = torch.split(whole, [weight.numel() for weight in weights])
        return [piece.view_as(weight) for piece, weight in zip(split, weights, strict=True)]

    for weight, value, gradient in zip(weights, parts(vector.detach()), parts(vector.grad), strict=True):
        weight.data, weight.grad = value, gradient
    return vector


__all__ = ["as_vector"]
