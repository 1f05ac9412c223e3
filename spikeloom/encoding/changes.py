"""Delta encoding: spikes where a sequence has changed by a threshold.

    ON     x[t] - level >= threshold         OFF    level - x[t] >= threshold

    level "last_spike"    moves by the threshold with each spike, up or down: send on delta, step-forward encoding
    level "last_step"     is x[t-1], whether there was a spike or not

With "last_spike", start + threshold x (ON - OFF spikes so far) follows the sequence to within one threshold, as long as
no step changes it by more; it is what the pixel of an event camera does. With "last_step", slow changes go unnoticed.
Sources: Lichtsteiner, Posch, Delbruck, IEEE J. Solid-State Circuits 43, 2008; Petro, Kasabov, Kiss, Selection and
optimization of temporal spike encoding methods for spiking neural networks, IEEE TNNLS 31, 2020.
"""

from typing import Literal

import torch
from torch import Tensor

from ..arguments import explained
from ..errors import ConfigError, ShapeError, as_number, check_dense, check_flag, check_positive
from .rates import kind_of

Level = Literal["last_spike", "last_step"]


@explained
def delta(
    values: Tensor, threshold: float = 0.1, *, off: bool = False, level: Level = "last_spike",
    start: float | None = 0.0,
) -> Tensor:  # fmt: skip
    """Encode a sequence as spikes where it has risen, or has changed, by a threshold.

    Shapes: values [T, B, *N] -> spikes [T, B, *N], 0 or 1; with `off`, [T, B, 2, *N]: OFF is channel 0, ON channel 1,
    as the polarities of events.

    Args:
        values: the dtype of the spikes is theirs, the default dtype for integers; levels are computed in float64.
        threshold: change that makes a spike.
        off: also return the spikes of falling values, in a channel of their own.
        level: what values are compared with, the level of the last spike or the last step. "last_step" gives the spikes
            of `spikegen.delta` of snnTorch, which marks OFF spikes by -1 instead.
        start: level before the first step; None takes the first values, so that the first step is silent
            (`padding=True` of snnTorch).

    Raises:
        ConfigError: a value is not finite, the threshold is not positive, or the level is unknown.
        ShapeError: values are not a real tensor [T, B, *N].

    >>> delta(torch.tensor([1.0, 2.0, 2.9, 3.0, 3.9]).view(5, 1, 1), threshold=1.0).flatten().tolist()
    [1.0, 1.0, 0.0, 1.0, 0.0]
    >>> delta(torch.tensor([1.0, 2.0, 0.0]).view(3, 1, 1), threshold=1.0, off=True)[:, 0, :, 0].tolist()
    [[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]
    """
    check_positive("delta", threshold=threshold)
    check_flag("delta", off=off)
    if not isinstance(values, Tensor) or values.is_complex() or values.dim() < 2:
        found = f"{values.dtype} {list(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise ShapeError(f"delta needs a sequence of values [T, B, *N], but got {found}. Convert it first.")
    check_dense("delta", values, "values")
    if level not in ("last_spike", "last_step"):
        raise ConfigError(f'delta needs level "last_spike" or "last_step", but got {level!r}.')
    if start is not None:
        start = as_number("delta", "start", start, "as a finite number", lambda x: abs(x) < float("inf"))
    exact = values.detach().double()
    if not bool(exact.isfinite().all()):
        raise ConfigError("delta needs finite values, but got some that are NaN or infinite. Replace them first.")
    if not len(exact):
        rises = falls = exact
    else:
        base = exact[0] if start is None else torch.full_like(exact[0], start)
        compare = _since_last_spike if level == "last_spike" else _since_last_step
        rises, falls = compare(exact, base, float(threshold))
    return (torch.stack([falls, rises], 2) if off else rises).to(kind_of(values))


def _since_last_step(values: Tensor, base: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    change = torch.diff(values, dim=0, prepend=base.unsqueeze(0))
    return (change >= threshold).double(), (change <= -threshold).double()


def _since_last_spike(values: Tensor, base: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    rises, falls = torch.zeros_like(values), torch.zeros_like(values)
    moved = torch.zeros_like(base)  # ON minus OFF spikes; their product with the threshold is exact, a sum would drift
    for step, value in enumerate(values):
        change = value - (base + threshold * moved)
        rises[step], falls[step] = change >= threshold, change <= -threshold
        moved += rises[step] - falls[step]
    return rises, falls
