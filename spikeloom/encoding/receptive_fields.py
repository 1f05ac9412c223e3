"""Population encoding: a value as the activity of neurons with overlapping Gaussian receptive fields.

    activity_i(x) = exp(-(x - centre_i)^2 / (2 sigma^2)),   i = 1 .. n
    centre_i      = low + (i - 3/2) spacing,   spacing = (high - low) / (n - 2),   sigma = width spacing

The first and the last centre lie half a spacing outside of the range, so that its ends are covered like its middle.
Activities are between 0 and 1: `latency` makes one spike per neuron of them, `rate` spikes in each step, `repeat` a
constant current.
Source: Bohte, Kok, La Poutré, Error-backpropagation in temporally encoded networks of spiking neurons, Neurocomputing
48, 2002 (with width 1 / 1.5).
"""

import torch
from torch import Tensor

from ..arguments import explained
from ..errors import ConfigError, ShapeError, as_number, check_count, check_dense, check_positive
from .rates import MOST, kind_of


@explained
def population(values: Tensor, neurons: int, *, low: float = 0.0, high: float = 1.0, width: float = 1 / 1.5) -> Tensor:
    """Encode each value as the activities of neurons whose receptive fields cover a range.

    Shapes: values [B, *N] -> activities [B, *N, neurons], in the same way [T, B, *N] -> [T, B, *N, neurons].

    Args:
        values: numbers from `low` to `high`. The dtype of the activities is theirs, the default dtype for integers.
            Gradients pass through.
        neurons: number of receptive fields, at least 3.
        low, high: ends of the range that the receptive fields cover.
        width: standard deviation of a receptive field, in units of the distance between two centres.

    Raises:
        ConfigError: a value is NaN or outside of the range, the range is empty, neurons < 3, or width is not positive.
        ShapeError: values are not a real tensor.

    >>> population(torch.tensor([[0.1, 0.5, 0.9]]), 5).argmax(-1).tolist()
    [[1, 2, 3]]
    >>> from spikeloom import latency
    >>> latency(population(torch.tensor([[0.3]]), 5), 10, linear=True).shape
    torch.Size([10, 1, 1, 5])
    """
    check_count("population", least=3, neurons=neurons)
    check_positive("population", width=width)
    low, high = (
        as_number("population", name, value, "as a finite number", lambda x: abs(x) < float("inf"))
        for name, value in (("low", low), ("high", high))
    )
    if not low < high:
        raise ConfigError(f"population needs low < high, but got low={low} and high={high}. Swap them.")
    if not isinstance(values, Tensor) or values.is_complex() or values.dim() < 1:
        found = f"{values.dtype} {list(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise ShapeError(f"population needs a tensor of values [B, *N], but got {found}. Use torch.as_tensor.")
    check_dense("population", values, "values")
    if neurons * max(1, values.numel()) > MOST:
        raise ConfigError(
            f"population would return {neurons:,} neurons for {values.numel():,} values, more than {MOST:,} numbers."
        )
    exact = values.double()
    if not bool(((exact >= low) & (exact <= high)).all()):
        raise ConfigError(
            f"population needs values from low={low} to high={high}, but got values from {float(exact.min())} to "
            f"{float(exact.max())}. Scale them, or widen the range."
        )
    size = int(neurons)
    spacing = (high - low) / (size - 2)
    centres = (torch.arange(size, dtype=torch.float64, device=values.device) - 0.5) * spacing
    distance = ((exact - low).unsqueeze(-1) - centres) / (width * spacing)
    return torch.exp(-0.5 * distance.square()).to(kind_of(values))
