"""Latency encoding: one spike per value, the earlier the larger the value is.

    logarithmic    t(x) = tau log(x / (x - threshold))     x = max(x, threshold + 1e-7)
    linear         t(x) = tau (1 - x)                      x = max(x, threshold)
    step           round(t(x) / dt), at most the last one

The logarithmic code is the time at which a neuron with time constant `tau` and v(0) = 0, charged by the constant input
x, reaches the threshold: tau dv/dt = x - v. Without `tau`, the code is stretched over all steps: a value at the
threshold fires in the last one.
Sources: Thorpe, Delorme, Van Rullen, Spike-based strategies for rapid processing, Neural Networks 14, 2001; Eshraghian
et al., Training spiking neural networks using lessons from deep learning, Proc. IEEE 111, 2023.
"""

import torch
from torch import Tensor

from ..arguments import explained
from ..errors import as_number, check_positive
from .rates import check_samples, check_unit, kind_of

EPSILON = 1e-7
"""Distance from the threshold of the smallest values of the logarithmic code, which would otherwise never fire."""


@explained
def latency(
    values: Tensor, steps: int, *, tau: float | None = None, threshold: float = 0.01, linear: bool = False,
    clip: bool = False, dt: float = 1.0,
) -> Tensor:  # fmt: skip
    """Encode each value as the time of a single spike; the largest values fire first.

    Shapes: values [B, *N] -> spikes [steps, B, *N], 0 or 1, with one spike for each value; there may be no samples.
    Units: tau and dt in ms.

    Args:
        values: numbers from 0 to 1. The dtype of the spikes is theirs, the default dtype for integers; times are
            computed in float64.
        tau: time constant; None stretches the code over all steps. This is `normalize=True` of `spikegen.latency` of
            snnTorch, where the logarithmic code is stretched by the latest spike of the whole batch instead.
        threshold: value that is reached last, between 0 and 1. Smaller values fire in the last step.
        linear: the linear code instead of the logarithmic one.
        clip: values below the threshold do not fire at all.

    Raises:
        ConfigError: a value is NaN or not between 0 and 1, the threshold is not between 0 and 1, tau or dt is not
            positive, or steps < 1.
        ShapeError: values are not a real tensor [B, *N].

    >>> spikes = latency(torch.tensor([[0.02, 0.5, 1.0]]), 5, linear=True)
    >>> spikes.argmax(0).tolist(), spikes.sum(0).tolist()
    ([[4, 2, 0]], [[1.0, 1.0, 1.0]])
    """
    check_positive("latency", dt=dt)
    check_samples("latency", values, "values", steps)
    check_unit("latency", values)
    threshold = as_number("latency", "threshold", threshold, "between 0 and 1", lambda x: 0.0 < x < 1.0)
    if tau is not None:
        check_positive("latency", tau=tau)
    exact, last = values.double(), int(steps) - 1
    if linear:
        times, latest = 1 - exact.clamp(min=threshold), 1.0
    else:
        # -log1p(-threshold / x) = log(x / (x - threshold)), exact for small thresholds too
        smallest = torch.tensor(threshold + EPSILON, dtype=torch.float64)
        latest = float(-torch.log1p(-threshold / smallest))
        times = -torch.log1p(-threshold / exact.clamp(min=float(smallest)))
    scale = last / latest if tau is None else min(tau / dt, 1e300)
    fired = (times * scale).clamp(max=last).round().long()
    source = torch.ones_like(exact) if not clip else (values >= threshold).double()
    kind = kind_of(values)
    spikes = torch.zeros(int(steps), *values.shape, dtype=kind, device=values.device)
    return spikes.scatter_(0, fired.unsqueeze(0), source.to(kind).unsqueeze(0))
