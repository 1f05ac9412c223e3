"""Sparse synapses with fixed signs, as they are rewired by DEEP R.

    weight = sign * max(theta, 0)

A synapse exists (is active) while its theta is positive; else it is dormant. Dormant synapses get no gradient, and the
CPU loops skip them if synapses have delays or few exist. `spikeloom.rules.DeepR` updates theta, prunes and creates
synapses.

Sources: Bellec, Kappel, Maass, Legenstein, Deep rewiring, ICLR 2018; signs of whole neurons (Dale's law) as in Bellec,
Salaj, Subramoney, Legenstein, Maass, NeurIPS 2018.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..arguments import explained
from ..core import Structured
from ..errors import CheckpointError, ConfigError, ShapeError, check_dense
from ..rules.deep_r import budget
from .delay import DelayedSynapses


class Signed(torch.autograd.Function):
    """Weight sign * max(theta, 0), whose gradient passes to theta times sign, for active synapses or for all."""

    generate_vmap_rule = True

    @staticmethod
    def forward(theta: Tensor, sign: Tensor, dormant_gradients: bool) -> Tensor:
        return sign * theta.clamp(min=0.0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, bool], output: Tensor) -> None:
        theta, sign, dormant_gradients = inputs
        factor = sign if dormant_gradients else sign * (theta > 0)
        ctx.save_for_backward(factor)
        ctx.save_for_forward(factor)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (factor,) = ctx.saved_tensors
        return grads[0] * factor, None, None


signed: Callable[..., Tensor] = Signed.apply


class SignedSparse(Structured):
    """Base class of layers with a signed, sparse weight [n_out, n_in].

    Attributes:
        theta: the parameter [n_out, n_in]; a synapse is active where it is positive.
        sign: buffer [n_out, n_in] of -1 and 1.
        allowed: buffer [n_out, n_in], false where a synapse may never exist, or None.
        connectivity: fraction of the synapses that exist at first, and that DeepR keeps.
        dormant_gradients: whether dormant synapses get gradients, too; then sparsity saves no computation.

    Raises:
        CheckpointError: a loaded `state_dict` has another connectivity, signs that are not -1 or 1, or autapses that
            this layer must not have.
    """

    theta: Tensor
    sign: Tensor
    allowed: Tensor | None

    def make_synapses(
        self,
        n_in: int,
        n_out: int,
        connectivity: float,
        neuron_sign: Tensor | None,
        autapses: bool,
        dormant_gradients: bool,
        generator: torch.Generator | None,
    ) -> None:
        """Create exactly floor(connectivity * n_out * n_in) random active synapses."""
        if not 0.0 < connectivity <= 1.0:
            raise ConfigError(f"{type(self).__name__} needs connectivity in (0, 1], but got {connectivity}.")
        if budget(connectivity, n_out * n_in) == 0:
            raise ConfigError(
                f"{type(self).__name__} with connectivity {connectivity} has no synapse among {n_out} x {n_in}. "
                "Raise it."
            )
        if not autapses and n_in != n_out:
            raise ConfigError(
                f"{type(self).__name__} without autapses needs as many inputs as outputs, but got {n_in} and {n_out}. "
                "Autapses are synapses of a neuron with itself; leave out autapses=False."
            )
        self.connectivity, self.dormant_gradients = connectivity, dormant_gradients
        allowed = torch.ones(n_out, n_in, dtype=torch.bool) if autapses else ~torch.eye(n_out, dtype=torch.bool)
        active = draw_mask(allowed, budget(connectivity, n_out * n_in), generator)
        size = torch.randn(n_out, n_in, generator=generator).abs() / math.sqrt(n_in)
        if neuron_sign is None:
            sign = 2.0 * torch.randint(0, 2, (n_out, n_in), generator=generator) - 1.0
        else:
            sign = check_signs(type(self).__name__, neuron_sign, n_in).expand(n_out, n_in).clone()
            size = balance(size * active, sign)
        self.theta = nn.Parameter(size * active)
        self.register_buffer("sign", sign)
        self.register_buffer("allowed", None if autapses else allowed, persistent=False)

    def structure(self) -> dict[str, float | str | bool | None]:
        return {**super().structure(), "connectivity": self.connectivity, "autapses": self.allowed is None}

    def refill(self) -> None:
        if self.allowed is not None:
            self.allowed.copy_(~torch.eye(len(self.allowed), dtype=torch.bool))

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, metadata: Any, strict: bool, missing: Any, unexpected: Any, errors: Any
    ) -> None:
        self.refill()
        owner, parts = type(self).__name__, [state_dict.get(prefix + name) for name in ("sign", "theta")]
        if all(isinstance(part, Tensor) and part.shape == self.theta.shape for part in parts):
            sign, theta = parts
            if not bool((sign.abs() == 1).all()):
                raise CheckpointError(
                    f"{owner} has signs -1 and 1, but sign in the state_dict goes from {float(sign.min()):g} to "
                    f"{float(sign.max()):g}. Load what a {owner} saved."
                )
            if self.allowed is not None and bool((theta.to(self.allowed.device)[~self.allowed] > 0).any()):
                raise CheckpointError(
                    f"{owner} was made with autapses=False, but theta in the state_dict has some on its "
                    "diagonal. Build it "
                    "with autapses=True, as it was saved."
                )
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing, unexpected, errors)

    @property
    def weight(self) -> Tensor:
        """Weight of the synapses [n_out, n_in]."""
        return signed(self.theta, self.sign, self.dormant_gradients)

    @property
    def sparse(self) -> bool:
        """Whether the loops may skip dormant synapses."""
        return not self.dormant_gradients

    def active(self) -> int:
        """Return the number of synapses that exist."""
        return int((self.theta > 0).sum())


@explained
class SignedSparseLinear(SignedSparse):
    """Linear layer with signed sparse weights, for any network: x [..., n_in] -> [..., n_out].

    It multiplies with the dense weight, which is faster than torch's sparse products at these sizes; only the set of
    its synapses is sparse.

    Args:
        n_in, n_out: number of inputs and outputs.
        connectivity: fraction of the synapses that exist.
        neuron_sign: +1 or -1 for every input [n_in]: all synapses of an input have its sign (Dale's law). By default
            every synapse has a random sign of its own.
        bias: whether there is a (dense) bias, initially zero.
        dormant_gradients: whether dormant synapses get gradients, as in the authors' code.
        generator: random generator of synapses, signs and weights.

    Raises:
        ConfigError: connectivity is not in (0, 1].
        ShapeError: neuron_sign is not a vector of +1 and -1 of length n_in; or the input has another width, dtype or
            device.

    >>> layer = SignedSparseLinear(100, 20, connectivity=0.1)
    >>> layer.active(), layer(torch.rand(5, 100)).shape
    (200, torch.Size([5, 20]))
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        connectivity: float = 0.1,
        neuron_sign: Tensor | None = None,
        bias: bool = True,
        dormant_gradients: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(n_in, int) or not isinstance(n_out, int) or min(n_in, n_out) < 1:
            raise ConfigError(f"SignedSparseLinear needs n_in and n_out of at least 1, but got {n_in}, {n_out}.")
        self.in_features, self.out_features = n_in, n_out
        self.make_synapses(n_in, n_out, connectivity, neuron_sign, True, dormant_gradients, generator)
        self.bias = nn.Parameter(torch.zeros(n_out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Tensor) and (x.is_nested or x.is_mkldnn):
            check_dense("SignedSparseLinear", x)
        if not isinstance(x, Tensor) or x.dim() == 0 or x.shape[-1] != self.in_features or _no_steps(x):
            shape = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ShapeError(
                f"SignedSparseLinear has {self.in_features} inputs, but got {shape}. Pass a tensor [..., "
                f"{self.in_features}]."
            )
        if x.device != self.theta.device or (
            x.dtype != self.theta.dtype and not torch.is_autocast_enabled(x.device.type)
        ):
            raise ShapeError(
                f"SignedSparseLinear got input of {x.dtype} on {x.device} but its theta is {self.theta.dtype} on "
                f"{self.theta.device}. Move one to the other with .to(dtype=..., device=...)."
            )
        return nn.functional.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"n_in={self.in_features}, n_out={self.out_features}, connectivity={self.connectivity}"


@explained
class SparseDelayedLinear(SignedSparse, DelayedSynapses):
    """`DelayedLinear` with signed sparse weights; also usable as the synapses of `Recurrent`.

    An input without synapses has no effect, even if it is NaN; with `dormant_gradients` all inputs have an effect.

    Args:
        n_in, n_out, delays: see `DelayedLinear`.
        connectivity, neuron_sign, dormant_gradients, generator: see `SignedSparseLinear`.
        autapses: whether a neuron may have a synapse with itself; false needs n_in = n_out.

    Raises:
        ConfigError, ShapeError: see `DelayedLinear` and `SignedSparseLinear`.

    >>> layer = SparseDelayedLinear(50, 50, delays=5, connectivity=0.2, autapses=False)
    >>> currents, state = layer(torch.ones(10, 3, 50))
    >>> currents.shape, layer.active()
    (torch.Size([10, 3, 50]), 500)
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        delays: int = 1,
        connectivity: float = 0.1,
        neuron_sign: Tensor | None = None,
        autapses: bool = True,
        dormant_gradients: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(n_in, n_out, delays)
        self.make_synapses(n_in, n_out, connectivity, neuron_sign, autapses, dormant_gradients, generator)
        self.draw_delays(generator)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, connectivity={self.connectivity}"


def _no_steps(x: Tensor) -> bool:
    """Return whether this is a sequence [T, B, n_in] of no steps; a batch [0, n_in] without samples is allowed."""
    return x.dim() > 2 and x.shape[0] == 0


def draw_mask(allowed: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Return a random mask of `count` of the allowed entries, or of all if there are fewer; bool like `allowed`."""
    places = allowed.flatten().nonzero().flatten()
    indices = places[torch.randperm(len(places), generator=generator)[:count]]
    mask = torch.zeros(allowed.numel(), dtype=torch.bool)
    mask[indices] = True
    return mask.view_as(allowed)


def check_signs(owner: str, neuron_sign: Tensor, n_in: int) -> Tensor:
    """Return neuron_sign as floats.

    Raises:
        ShapeError: it is not a vector of +1 and -1 of length n_in.
    """
    if not isinstance(neuron_sign, Tensor):
        raise ShapeError(f"{owner} needs neuron_sign as a tensor [{n_in}], but got {type(neuron_sign).__name__}.")
    if tuple(neuron_sign.shape) != (n_in,) or not bool((neuron_sign.abs() == 1).all()):
        raise ShapeError(
            f"{owner} needs neuron_sign [{n_in}] of +1 and -1, one for each input, but got {list(neuron_sign.shape)} "
            f"with values from {float(neuron_sign.min())} to {float(neuron_sign.max())}."
        )
    return neuron_sign.float()


def balance(size: Tensor, sign: Tensor) -> Tensor:
    """Scale weight sizes [n_out, n_in] so that excitation and inhibition of every neuron that has both cancel.

    Excitatory and inhibitory sizes are scaled per neuron, then all sizes by one factor that keeps their mean square.
    """
    plus, minus = (size * (sign > 0)).sum(1, keepdim=True), (size * (sign < 0)).sum(1, keepdim=True)
    both = (plus > 0) & (minus > 0)
    middle = (plus * minus).sqrt()
    up = torch.where(both, middle / plus.clamp(min=1e-30), 1.0)
    down = torch.where(both, middle / minus.clamp(min=1e-30), 1.0)
    scaled = torch.where(sign > 0, up, down) * size
    return scaled * (size.square().sum() / scaled.square().sum().clamp(min=1e-30)).sqrt()
