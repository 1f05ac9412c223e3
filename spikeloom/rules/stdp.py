"""Spike-timing dependent plasticity (STDP): one equation, of which the rules of the field are special cases.

    traces   x <- x exp(-dt / tau), then at each spike x = 1 ("set"), or x += 1 ("add")
    change   g = sum_b [ lr s_j (x_i - target) y_j - lr_pre s_i x_j ]        of the synapse from i onto j
    step     w <- clip((w + f(w) g) (1 - decay), w_min, w_max)

s is 1 in the step of a spike; b runs over the samples of a batch, which all use the w before the step. x includes the
spikes of this step: an input that spikes together with j has x_i = 1 although it did not contribute to the spike. y_j
is 1, or the slow trace of j before the spike (triplet; x_j is then also the trace before the spike). f scales
potentiation and depression separately:

    soft_bound   potentiation            depression
    none         1                       1
    post         (w_max - w)^power       1
    both         (w_max - w)^power       (w - w_min)^power
    original     (w_max - w)^power       (w_max - w)^power      a weight at w_max stays there for ever

Sources: Diehl and Cook, Unsupervised learning of digit recognition using STDP, 2015, and their released code (triplet);
Lopez Gordillo, 2021 (target and soft bound of the network for N-MNIST); BindsNET (pair, weight-dependent, Hebbian).
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ..arguments import explained
from ..core import constant
from ..errors import ConfigError, ShapeError, check_dense, check_positive
from .local import like_weight, zeros

SoftBound = Literal["none", "post", "both", "original"]
Reduction = Literal["sum", "mean", "max"]
REDUCTIONS = ("sum", "mean", "max")
SOFT_BOUNDS = ("none", "post", "both", "original")


ROUNDING = 1e-6
"""Tolerance for weights outside the bounds, relative to the largest bound: the rounding of float32."""


class STDPTraces(NamedTuple):
    """Traces of an `STDP` rule: low-passed spikes; `slow` is a second postsynaptic trace."""

    pre: Tensor  # [B, I]
    post: Tensor  # [B, N]
    slow: Tensor  # [B, N], constant unless `triplet`


@explained
@dataclass(frozen=True, kw_only=True)
class STDP:
    """STDP rule with the equation above; see `post_stdp`, `pair_stdp`, `triplet_stdp` and other special cases.

    Shapes: weight [N, I], spikes [B, I] and [B, N].
    Units: time constants and dt in ms.

    Args:
        lr: learning rate at a postsynaptic spike, >= 0.
        lr_pre: learning rate of the depression at a presynaptic spike; if negative, of a potentiation.
        target: trace of the input above which a postsynaptic spike strengthens the synapse.
        soft_bound, power: see f(w) above.
        w_min, w_max: hard bounds.
        decay: fraction of every weight that is lost in a step.
        tau_pre, tau_post, tau_slow: time constants of the traces.
        trace: effect of a spike on its trace, "set" or "add".
        triplet: whether y_j is the slow trace of j.
        trace_delay: 1: a postsynaptic spike uses the traces of inputs without the spikes of its own step.
        reduction: "sum" over the samples of a batch, their "mean", or for each synapse the change of largest magnitude
            ("max").

    Raises:
        ConfigError: a value is out of range, a weight is out of bounds, or a spike is negative or NaN.
        ShapeError: weight, spikes and traces do not fit together, or the weight is of an integer dtype.

    >>> rule = post_stdp(lr=0.05, target=0.4, power=0.2, soft_bound="original")
    >>> pre, post, weight = torch.ones(1, 1), torch.ones(1, 1), torch.full((1, 1), 0.3)
    >>> weight, traces = rule.update(weight, pre, post, rule.initial_traces(pre, post))
    >>> round(weight.item(), 4)
    0.3279
    """

    lr: float = 0.01
    lr_pre: float = 0.0
    target: float = 0.0
    soft_bound: SoftBound = "none"
    power: float = 1.0
    w_min: float = 0.0
    w_max: float = 1.0
    decay: float = 0.0
    tau_pre: float = 20.0
    tau_post: float = 20.0
    tau_slow: float = 40.0
    trace: Literal["set", "add"] = "set"
    triplet: bool = False
    trace_delay: int = 0
    reduction: Reduction = "sum"
    dt: float = 1.0

    def __post_init__(self) -> None:
        check_positive("STDP", tau_pre=self.tau_pre, tau_post=self.tau_post, tau_slow=self.tau_slow, dt=self.dt)
        if not (0.0 <= self.lr < math.inf and math.isfinite(self.lr_pre) and math.isfinite(self.target)):
            raise ConfigError(
                f"STDP needs lr >= 0 and finite lr_pre and target, but got {self.lr}, {self.lr_pre}, {self.target}."
            )
        if not (self.w_min < self.w_max and 0.0 <= self.decay < 1.0 and 0.0 <= self.power < math.inf):
            raise ConfigError(
                f"STDP needs w_min < w_max, decay from 0 to below 1 and power >= 0, but got {self.w_min} and "
                f"{self.w_max}, {self.decay}, {self.power}."
            )
        for name, value, known in (
            ("trace_delay", self.trace_delay, (0, 1)),
            ("soft_bound", self.soft_bound, SOFT_BOUNDS),
            ("reduction", self.reduction, REDUCTIONS),
            ("trace", self.trace, ("set", "add")),
        ):
            if value not in known:
                raise ConfigError(f"STDP needs {name} from {', '.join(map(str, known))}, but got {value!r}.")

    def initial_traces(self, pre: Tensor, post: Tensor) -> STDPTraces:
        """Return traces of zeros."""
        return STDPTraces(*zeros(pre, post, post))

    def update(self, weight: Tensor, pre: Tensor, post: Tensor, traces: STDPTraces) -> tuple[Tensor, STDPTraces]:
        """Return weight and traces after one step, in the dtype of the weight; spikes may have any real dtype."""
        self._check_kinds(weight, pre, post)
        for name, spikes in (("pre", pre), ("post", post)):
            if spikes.dtype.is_signed and not bool((spikes >= 0).all()):  # nor NaN
                raise ConfigError(
                    f"STDP needs spikes or counts, 0 or above, but {name} holds {float(spikes.min()):g}. Pass spikes, "
                    "not voltages or rates with a sign."
                )
        self.check_weight("STDP", weight)
        weight = weight.clone()
        return weight, self.update_(weight, pre, post, traces)

    @staticmethod
    def _check_kinds(weight: Tensor, pre: Tensor, post: Tensor) -> None:
        for name, part in (("weight", weight), ("pre", pre), ("post", post)):
            check_dense("STDP", part, name)
            if part.device != weight.device:
                raise ShapeError(
                    f"STDP has its weight on {weight.device}, but {name} on {part.device}. Move one with .to()."
                )
        if weight.is_meta:
            raise ShapeError("STDP looks at the values of weight, but one on meta has none. Pass it on the CPU.")

    def check_weight(self, owner: str, weight: Tensor) -> None:
        """Raise ConfigError unless all weights are numbers within the bounds of this rule."""
        if not weight.numel() or not weight.is_floating_point():
            return
        low, high = weight.aminmax()
        room = ROUNDING * max(abs(bound) for bound in (self.w_min, self.w_max, 0.0) if math.isfinite(bound))
        if not self.w_min - room <= float(low) <= float(high) <= self.w_max + room:
            raise ConfigError(
                f"{owner} keeps weights from {self.w_min:g} to {self.w_max:g}, but got weights from {float(low):g} to "
                f"{float(high):g}. Clamp them, or give the rule the bounds w_min and w_max of these weights."
            )

    def update_(self, weight: Tensor, pre: Tensor, post: Tensor, traces: STDPTraces) -> STDPTraces:
        """Update the weight in place and return the traces, without checking values; see `update`."""
        self._check_kinds(weight, pre, post)
        if weight.requires_grad and weight.is_leaf and torch.is_grad_enabled():
            raise ConfigError(
                "STDP.update_ changes the weight where it is, but this one requires a gradient. Call it inside "
                "torch.no_grad(), or take the new weight that update returns."
            )
        shared = any(count > 1 and step == 0 for count, step in zip(weight.shape, weight.stride(), strict=True))
        if shared or (weight.is_inference() and not torch.is_inference_mode_enabled()):
            kind = "is expanded, so that weights share their memory" if shared else "was made in inference mode"
            raise ShapeError(f"STDP.update_ changes the weight where it is, but this one {kind}. Pass a clone of it.")
        two = pre.dim() == post.dim() == 2
        if not two or weight.shape != (post.shape[-1], pre.shape[-1]) or len(pre) != len(post):
            raise ShapeError(
                f"STDP got weight {list(weight.shape)} for spikes {list(pre.shape)} and {list(post.shape)}. They must "
                "be [N, I], [B, I] and [B, N]."
            )
        if not isinstance(traces, STDPTraces):
            raise ShapeError(
                f"STDP needs STDPTraces, but got {type(traces).__name__}. Start with initial_traces(pre, post)."
            )
        named = {"trace_pre": traces.pre, "trace_post": traces.post, "slow": traces.slow}
        pre, post, *traced = like_weight("STDP", weight, {"pre": pre, "post": post}, named)
        traces = STDPTraces(*traced)
        x_pre = traces.pre * constant(math.exp(-self.dt / self.tau_pre), pre)
        x_post = traces.post * constant(math.exp(-self.dt / self.tau_post), post)
        slow = traces.slow * constant(math.exp(-self.dt / self.tau_slow), post) if self.triplet else traces.slow
        came, fired = pre > constant(0.0, pre), bool(post.count_nonzero())  # in most steps no neuron spikes
        if self.trace == "set" and not self.trace_delay:  # in place: the trace before is not used again
            after = STDPTraces(x_pre.masked_fill_(came, 1.0), x_post, slow)
        else:
            after = STDPTraces(self._raised(x_pre, came), x_post, slow)
        if fired:
            spikes = post > 0
            after = after._replace(
                post=self._raised(x_post, spikes), slow=self._raised(slow, spikes) if self.triplet else slow
            )
        if fired or self.lr_pre:
            seen_pre, seen_post = x_pre if self.trace_delay else after.pre, x_post if self.triplet else after.post
            self._change_(weight, came, post > 0, seen_pre, seen_post, slow)
        if self.decay:
            weight.mul_(1.0 - self.decay).clamp_(self.w_min, self.w_max)
        return after

    def _raised(self, trace: Tensor, spikes: Tensor) -> Tensor:
        return trace.masked_fill(spikes, 1.0) if self.trace == "set" else trace + spikes

    def _change_(self, weight: Tensor, pre: Tensor, post: Tensor, x_pre: Tensor, x_post: Tensor, slow: Tensor) -> None:
        """Compute w + f(w) g within bounds in place; neurons whose synapses do not change are skipped."""
        happens = post
        if self.lr_pre:
            happens = happens | ((x_post > 0) & pre.any(1, keepdim=True))
        rows = happens.any(0).nonzero().flatten()
        if len(rows) == 0:
            return
        post, pre = post[:, rows].to(weight.dtype), pre.to(weight.dtype)
        post = self.lr * (post * slow[:, rows] if self.triplet else post)
        ups, downs = [(post, (x_pre - self.target).clamp(min=0))], [(post, (self.target - x_pre).clamp(min=0))]
        if self.lr_pre:
            (ups if self.lr_pre < 0 else downs).append((abs(self.lr_pre) * x_post[:, rows], pre))
        w = weight.index_select(0, rows)
        weight.index_copy_(0, rows, (w + self._reduced(w, ups, downs)).clamp_(self.w_min, self.w_max))

    def _reduced(self, w: Tensor, ups: list[tuple[Tensor, Tensor]], downs: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Return f(w) g reduced over samples; `ups` and `downs` are pairs of factors [B, rows] and [B, I]."""
        samples = len(ups[0][0])
        if self.reduction != "max":
            change = self._change(w, ups, downs)
            return change / samples if self.reduction == "mean" else change
        largest = torch.zeros_like(w)
        for b in range(samples):
            one = self._change(w, *([(j[b : b + 1], i[b : b + 1]) for j, i in part] for part in (ups, downs)))
            largest = torch.where(one.abs() > largest.abs(), one, largest)
        return largest

    def _change(self, w: Tensor, ups: list[tuple[Tensor, Tensor]], downs: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Return f(w) g, summed over samples."""
        up, down = self._bounds(w)
        return up * _added(ups) - down * _added(downs)

    def _bounds(self, w: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Return f(w) for potentiation and for depression."""
        if self.soft_bound == "none":
            return 1.0, 1.0
        up = (self.w_max - w).clamp(min=0) ** self.power
        if self.soft_bound == "both":
            return up, (w - self.w_min).clamp(min=0) ** self.power
        return up, up if self.soft_bound == "original" else 1.0


def _added(factors: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the sum of j^T i over pairs of factors."""
    first, *others = (j.T @ i for j, i in factors)
    for other in others:
        first = first + other
    return first


@explained
def post_stdp(
    lr: float = 0.05, target: float = 0.4, power: float = 0.2, soft_bound: SoftBound = "both", **options: Any
) -> STDP:
    """Return a rule for postsynaptic spikes: inputs with a trace above `target` are strengthened, others weakened.

    w += lr s_j (x_i - target) f(w); see `STDP` for the other options, shapes, units and errors.

    >>> post_stdp(reduction="mean").target
    0.4
    """
    return STDP(lr=lr, target=target, power=power, soft_bound=soft_bound, **options)


@explained
def pair_stdp(lr: float = 0.01, lr_pre: float = 1e-4, **options: Any) -> STDP:
    """Return pair-based STDP: potentiation at postsynaptic spikes, depression at presynaptic ones, by trace.

    w += lr s_j x_i - lr_pre s_i x_j; see `STDP` for the other options, shapes, units and errors.

    >>> pair_stdp(w_max=2.0).soft_bound
    'none'
    """
    return STDP(lr=lr, lr_pre=lr_pre, **options)


@explained
def weight_dependent_stdp(lr: float = 0.01, lr_pre: float = 1e-4, power: float = 1.0, **options: Any) -> STDP:
    """Return `pair_stdp` with changes that vanish at both bounds.

    w += lr s_j x_i (w_max - w)^power - lr_pre s_i x_j (w - w_min)^power; see `STDP` for the rest.

    >>> weight_dependent_stdp().soft_bound
    'both'
    """
    return STDP(lr=lr, lr_pre=lr_pre, soft_bound="both", power=power, **options)


@explained
def triplet_stdp(lr: float = 0.01, lr_pre: float = 1e-4, **options: Any) -> STDP:
    """Return the rule of Diehl & Cook's released code: potentiation only if the neuron also spiked some time before.

    w += lr s_j x_i y_j - lr_pre s_i x_j, y_j a slow trace of j before the spike; see `STDP` for the rest.

    >>> triplet_stdp().tau_slow
    40.0
    """
    return STDP(lr=lr, lr_pre=lr_pre, triplet=True, **options)


@explained
def hebbian_stdp(lr: float = 0.01, lr_pre: float = 0.01, **options: Any) -> STDP:
    """Return Hebbian STDP: spikes of either order strengthen the synapse.

    w += lr s_j x_i + lr_pre s_i x_j; see `STDP` for the rest.

    >>> hebbian_stdp(lr_pre=0.5).lr_pre
    -0.5
    """
    return STDP(lr=lr, lr_pre=-lr_pre, **options)


@explained
def normalise(weight: Tensor, total: float, w_min: float = -math.inf, w_max: float = math.inf) -> Tensor:
    """Scale weights [N, I] so that the absolute values of each neuron's weights sum to `total`, within bounds.

    Weights that would exceed `w_max` are set to it, and the others compensate. A neuron whose weights are all zero is
    unchanged.

    Raises:
        ConfigError: the total is not positive, or more than all weights at `w_max`; a weight is not finite.
        ShapeError: the weights are not [N, I] of a floating point type.

    >>> [round(w, 4) for w in normalise(torch.tensor([[0.1, 0.2, 0.3]]), 78.4)[0].tolist()]
    [13.0667, 26.1333, 39.2]
    >>> normalise(torch.tensor([[0.25, 0.25, 1.0]]), 2.0, w_max=1.0).tolist()
    [[0.5, 0.5, 1.0]]
    """
    if weight.dim() != 2 or not weight.is_floating_point():
        raise ShapeError(
            f"normalise needs weights [N, I] of a floating point type, but got {weight.dtype} {list(weight.shape)}. "
            "Reshape them, or call .float() first."
        )
    if not w_min < w_max:
        raise ConfigError(f"normalise needs w_min < w_max, but got {w_min} and {w_max}.")
    if not bool(weight.isfinite().all()):
        raise ConfigError("normalise got weights that are not finite. Look for what made them so.")
    check_total("normalise", total, weight.shape[1], w_max)
    free, left = torch.ones_like(weight, dtype=torch.bool), weight.new_full((len(weight), 1), total)
    for _ in range(weight.shape[1]):
        sums = (weight.abs() * free).sum(1, keepdim=True)
        factor = torch.where((sums > 0) & (left > 0), left / sums, 1.0)
        weight = torch.where(free, (weight * factor).clamp(max=w_max), weight)
        reached = free & (weight >= w_max)
        if not bool(reached.any()):
            break
        free = free & ~reached
        left = total - w_max * (~free).sum(1, keepdim=True)
    return weight.clamp(min=w_min)


def check_total(owner: str, total: float, inputs: int, w_max: float) -> None:
    """Raise ConfigError unless `inputs` weights of at most `w_max` can have this sum."""
    check_positive(owner, total=total)
    if total > inputs * w_max:
        raise ConfigError(
            f"{owner} cannot make {inputs:,} weights of at most {w_max} sum up to {total}. Ask for a smaller total."
        )
