"""Hebbian rules of fast weights: a memory per sample, written while the sample is processed.

    traces    x <- (1 - d) s + d x,   d = exp(-dt / tau_trace)                  of both sides; tau_trace 0: x = s
    gain      a_ij = min(potentiation y_i x_j, 1)                               x pre- and y postsynaptic trace
    loss      b_ij = min(depression f_ij, 1 - a_ij),   f = x_j^2 (pre), y_i^2 (post), 0 (never)
    step      w_ij <- w_ij (1 - a_ij - b_ij) + w_max a_ij                       soft bound
              w_ij <- w_ij (1 - b_ij) + a_ij                                    no bound

With presynaptic forgetting, a key that is used again loses its old association, and one that is not used keeps it (an
inverted Oja rule); postsynaptic forgetting gives Oja's rule, no forgetting Hebb's. With the soft bound weights stay
between 0 and w_max; the two minima only matter for unbounded activity, such as ReLU.
Sources: Limbacher, Özdenizci, Legenstein, Memory-enriched computation and learning in spiking neural networks through
Hebbian plasticity, 2022 (inverted Oja); Oja, 1982.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ..arguments import explained
from ..errors import ConfigError, ShapeError, check_dense, check_positive
from .local import like_weight, zeros

Forgets = Literal["pre", "post", "never"]
FORGETS: tuple[Forgets, ...] = ("pre", "post", "never")


class HebbianTraces(NamedTuple):
    """Traces of a `Hebbian` rule: low-passed presynaptic and postsynaptic activity."""

    pre: Tensor  # [B, I]
    post: Tensor  # [B, N]


@explained
@dataclass(frozen=True, kw_only=True)
class Hebbian:
    """Hebbian rule with the equation above; see `inverted_oja`, `oja` and `hebb`.

    Shapes: weight [B, N, I], spikes [B, I] and [B, N].
    Units: tau_trace and dt in ms.

    Args:
        potentiation, depression: the two learning rates.
        w_max: the soft bound; unused without `soft_bound`.
        forgets: activity by which a synapse forgets: "pre", "post" or "never".
        tau_trace: time constant of both traces; 0: the traces are the activity itself.

    Raises:
        ConfigError: a value is out of range.
        ShapeError: weight and spikes do not fit together.

    >>> rule = Hebbian(potentiation=0.1, depression=0.1, tau_trace=0.0)
    >>> keys, values = torch.tensor([[2.0, 0.5]]), torch.tensor([[1.0, 3.0]])
    >>> weight = torch.tensor([[[0.0, 0.2], [0.5, 1.0]]])
    >>> weight, _ = rule.update(weight, keys, values, rule.initial_traces(keys, values))
    >>> [round(w, 4) for w in weight.flatten().tolist()]
    [0.2, 0.235, 0.6, 0.975]
    """

    potentiation: float = 0.3
    depression: float = 0.3
    w_max: float = 1.0
    soft_bound: bool = True
    forgets: Forgets = "pre"
    tau_trace: float = 20.0
    dt: float = 1.0

    def __post_init__(self) -> None:
        check_positive("Hebbian", w_max=self.w_max, dt=self.dt)
        numbers = self.potentiation, self.depression, self.tau_trace
        if not all(0.0 <= number < math.inf for number in numbers):
            raise ConfigError(
                f"Hebbian needs potentiation, depression and tau_trace >= 0 and finite, but got {numbers}."
            )
        if self.forgets not in FORGETS:
            raise ConfigError(f"Hebbian forgets by one of {', '.join(FORGETS)}, but got {self.forgets!r}.")

    @property
    def decay_trace(self) -> float:
        """Decay d of the traces."""
        return math.exp(-self.dt / self.tau_trace) if self.tau_trace else 0.0

    def initial_traces(self, pre: Tensor, post: Tensor) -> HebbianTraces:
        """Return traces of zeros."""
        return HebbianTraces(*zeros(pre, post))

    def update(self, weight: Tensor, pre: Tensor, post: Tensor, traces: HebbianTraces) -> tuple[Tensor, HebbianTraces]:
        """Return weight and traces after one step, in the dtype of the weight; spikes may have any real dtype."""
        for name, part in (("weight", weight), ("pre", pre), ("post", post)):
            check_dense("Hebbian", part, name)
        two = pre.dim() == post.dim() == 2
        if not two or tuple(weight.shape) != (len(pre), post.shape[-1], pre.shape[-1]) or len(pre) != len(post):
            raise ShapeError(
                f"Hebbian got weight {list(weight.shape)} for spikes {list(pre.shape)} and {list(post.shape)}. They "
                "must be [B, N, I], [B, I] and [B, N]: every sample has weights of its own."
            )
        if not isinstance(traces, tuple) or len(traces) != 2:
            raise ShapeError(
                f"Hebbian needs traces of both sides, but got {traces!r}. Start with initial_traces(pre, post)."
            )
        named = {"trace_pre": traces[0], "trace_post": traces[1]}
        pre, post, *traced = like_weight("Hebbian", weight, {"pre": pre, "post": post}, named)
        decay = self.decay_trace
        x, y = ((1 - decay) * spikes + decay * trace for spikes, trace in zip((pre, post), traced, strict=True))
        gain = (self.potentiation * y.unsqueeze(2) * x.unsqueeze(1)).clamp(max=1.0)
        kept = 1.0 - gain if self.soft_bound else torch.ones_like(gain)
        if self.forgets != "never":
            forgotten = x.square().unsqueeze(1) if self.forgets == "pre" else y.square().unsqueeze(2)
            kept = kept - torch.minimum(self.depression * forgotten, 1.0 - gain)
        return weight * kept + (self.w_max * gain if self.soft_bound else gain), HebbianTraces(x, y)


@explained
def inverted_oja(**options: Any) -> Hebbian:
    """Return the rule with presynaptic forgetting: using a key again overwrites its old association.

    See `Hebbian` for options, shapes and errors.

    w += potentiation (w_max - w) y x - depression x^2 w

    >>> inverted_oja(tau_trace=4.0).forgets
    'pre'
    """
    return Hebbian(**options)


@explained
def oja(**options: Any) -> Hebbian:
    """Return Oja's rule: the weights of a neuron compete; see `Hebbian` for options, shapes and errors.

    w += potentiation y x - depression y^2 w

    >>> oja().soft_bound
    False
    """
    return Hebbian(soft_bound=False, forgets="post", **options)


@explained
def hebb(**options: Any) -> Hebbian:
    """Return Hebb's rule without forgetting; see `Hebbian` for options, shapes and errors.

    w += potentiation (w_max - w) y x

    >>> hebb(w_max=2.0).forgets
    'never'
    """
    return Hebbian(depression=0.0, forgets="never", **options)
