"""Torch operations that can be converted, by the way they are converted."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers import SignedSparseLinear
from ..neurons import Curve, LeakyReLUCurve, ReLUCurve, SigmoidCurve, TanhCurve
from .balance import RELUS

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
GONE = (*DROPOUTS, nn.Identity)
MAX_POOLS: dict[Any, tuple[type[nn.Module], type[nn.Module]]] = {
    nn.MaxPool1d: (nn.MaxPool1d, nn.AvgPool1d), nn.AdaptiveMaxPool1d: (nn.AdaptiveMaxPool1d, nn.AdaptiveAvgPool1d),
    nn.MaxPool2d: (nn.MaxPool2d, nn.AvgPool2d), nn.AdaptiveMaxPool2d: (nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d),
    nn.MaxPool3d: (nn.MaxPool3d, nn.AvgPool3d), nn.AdaptiveMaxPool3d: (nn.AdaptiveMaxPool3d, nn.AdaptiveAvgPool3d),
}  # fmt: skip
for _size, _module in enumerate((nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d), start=1):
    for _home in (F, torch):
        MAX_POOLS[getattr(_home, f"max_pool{_size}d")] = MAX_POOLS[_module]
for _size, _adaptive in enumerate((nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d), start=1):
    MAX_POOLS[getattr(F, f"adaptive_max_pool{_size}d")] = MAX_POOLS[_adaptive]
LINEAR = (
    nn.Linear, *CONVS, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d, nn.Flatten, nn.Unflatten, nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle,
    nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d, nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d,
    nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d, nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d,
    SignedSparseLinear,
)  # fmt: skip
LINEAR_FUNCTIONS = {
    operator.add, operator.sub, operator.neg, operator.getitem, torch.add, torch.sub, torch.neg, torch.cat,
    torch.concat, torch.stack, torch.flatten, torch.unflatten, torch.permute, torch.transpose, torch.squeeze,
    torch.unsqueeze, torch.mean, torch.sum, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d, F.adaptive_avg_pool1d,
    F.adaptive_avg_pool2d, F.adaptive_avg_pool3d, F.pad, F.interpolate, F.pixel_shuffle, F.pixel_unshuffle,
}  # fmt: skip
LINEAR_METHODS = {
    "add", "sub", "neg", "flatten", "unflatten", "permute", "transpose", "squeeze", "unsqueeze", "mean", "sum",
    "contiguous", "clone",
}  # fmt: skip
PRODUCTS = {
    operator.mul, operator.truediv, operator.matmul, torch.mul, torch.div, torch.matmul, F.linear, F.conv1d, F.conv2d,
    F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d, "mul", "div", "matmul",
}  # fmt: skip
SIZES = (getattr, "size", "dim")
OUT_OF_PLACE = {operator.iadd: operator.add, operator.isub: operator.sub, operator.imul: operator.mul}
ACTIVATIONS: dict[Any, type[Curve]] = dict.fromkeys(RELUS, ReLUCurve)
ACTIVATIONS |= dict.fromkeys((nn.LeakyReLU, F.leaky_relu, F.leaky_relu_), LeakyReLUCurve)
ACTIVATIONS |= dict.fromkeys((nn.Sigmoid, F.sigmoid, torch.sigmoid, torch.sigmoid_, "sigmoid"), SigmoidCurve)
ACTIVATIONS |= dict.fromkeys((nn.Tanh, F.tanh, torch.tanh, torch.tanh_, "tanh"), TanhCurve)
SPLITS = {torch.chunk: torch.chunk, "chunk": torch.chunk, torch.split: torch.split, "split": torch.split}
CLAMPS = (torch.clamp, torch.clamp_min, torch.clip, "clamp", "clamp_min", "clip")
IN_PLACE = {F.relu_, torch.relu_, F.leaky_relu_, torch.sigmoid_, torch.tanh_, *OUT_OF_PLACE}
ADAPTIVE_OPTIONS = ("output_size", "return_indices")
POOL_OPTIONS = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices", "output_size")


def reshape_samples(x: Tensor, *sizes: Any) -> Tensor:
    """Return `x.reshape(*sizes)` for any number of samples."""
    shape = sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    return x.reshape(len(x) if shape[0] != -1 else -1, *shape[1:])


def part_of(split: Callable[..., Any], index: int, *args: Any, **kwargs: Any) -> Any:
    """Return one of the tensors that `torch.chunk` or `torch.split` returns."""
    return split(*args, **kwargs)[index]
