"""DEEP R: a network learns while only a fixed number of its synapses exist.

Of every layer, weight = sign * max(theta, 0); a synapse is active while theta > 0. After each step of an optimiser:

    1. dormant synapses go back to where they were: 0 (hard) or their theta (soft)
    2. active ones:    theta -= lr l1;  theta += sqrt(2 lr temperature) N(0, 1)
    3. hard: as many dormant synapses as are missing from the budget are created at theta = 1e-12, uniformly at random
       soft: dormant ones move by the noise alone, not below theta_min, and come to life by themselves

The budget is floor(sum over layers of connectivity * size), shared by all layers: missing synapses are distributed by a
multinomial draw with the layers' shares. Or every layer keeps its own.

Sources: Bellec, Kappel, Maass, Legenstein, Deep rewiring, ICLR 2018; the order of the steps as in the authors' LSNN
code, where L1 and noise act after Adam and outside its moments.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..errors import ConfigError, TrainingError

NEWBORN = 1e-12
"""Theta of a synapse that was just created."""


class SignedSynapses(Protocol):
    """What `DeepR` needs of a layer."""

    connectivity: float

    @property
    def theta(self) -> Tensor:
        """Its parameter; a synapse is active where it is positive."""

    @property
    def sign(self) -> Tensor:
        """The fixed signs, like theta."""

    @property
    def allowed(self) -> Tensor | None:
        """False where a synapse may never exist; None if all may."""


class Counts(NamedTuple):
    """What one step did to one layer."""

    pruned: int
    created: int
    active: int


@dataclass(frozen=True)
class _Layer:
    name: str
    module: Any
    share: float
    """connectivity * size: synapses it should have on average"""
    group: dict[str, Any]

    @property
    def theta(self) -> Tensor:
        theta: Tensor = self.module.theta.data
        return theta

    def candidates(self) -> Tensor:
        """Places of dormant synapses that may exist."""
        dormant = self.theta <= 0
        return (dormant if self.module.allowed is None else dormant & self.module.allowed).flatten().nonzero().flatten()


class DeepR:
    """Rewires layers after each step of their optimiser: `optimizer.step(); rewire.step()`.

    Args:
        optimizer: any optimiser that holds the theta of every layer; its learning rate is the one of the equations.
        layers: layers with `theta`, `sign`, `allowed` and `connectivity`, by name or in order. For example
            `SignedSparseLinear`.
        l1: strength of the shrinkage; each step shrinks active theta by lr * l1.
        temperature: of the noise.
        budget: "global", the number of synapses of all layers together is kept; or "per_matrix". Hard DEEP R only.
        soft: no hard budget: dormant synapses walk at random above theta_min and re-activate themselves. Theta_min is
            -(1 - p) / p * temperature / l1 of each layer's connectivity p. In the first step those at zero are spread
            evenly above theta_min.
        resample_sign: a created synapse draws a new sign. Not with signs of whole neurons.
        reset_moments: a created synapse starts with moments of zero in the optimiser.
        generator: draws noise, places and signs; on the CPU. Ranks that train together must use equal ones.

    Raises:
        ConfigError: a layer that the optimiser does not hold or that is over budget, or values out of range.

    >>> from torch import nn
    >>> from torch.optim import SGD
    >>> class Synapses(nn.Module):  # or spikeloom.layers.SignedSparseLinear
    ...     connectivity, allowed, sign = 0.5, None, torch.ones(2, 3)
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.theta = nn.Parameter(torch.tensor([[0.3, 0.0, 0.0], [0.0, 0.2, 0.0]]))
    >>> layer = Synapses()
    >>> optimizer = SGD(layer.parameters(), lr=0.1)
    >>> rewire = DeepR(optimizer, [layer], l1=0.01)
    >>> layer.theta.sum().backward(); optimizer.step(); rewire.step()
    {'0': Counts(pruned=0, created=1, active=3)}
    """

    def __init__(
        self,
        optimizer: Optimizer,
        layers: Mapping[str, SignedSynapses] | Iterable[SignedSynapses],
        *,
        l1: float = 0.0,
        temperature: float = 0.0,
        budget: Literal["global", "per_matrix"] = "global",
        soft: bool = False,
        resample_sign: bool = False,
        reset_moments: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        if not (0.0 <= l1 < math.inf and 0.0 <= temperature < math.inf):
            raise ConfigError(f"DeepR needs l1 and temperature >= 0 and finite, but got {l1} and {temperature}.")
        if soft and not (l1 > 0.0 and temperature > 0.0):
            raise ConfigError(
                f"Soft DeepR needs l1 and temperature > 0, but got {l1} and {temperature}: their ratio decides how far "
                "dormant synapses go, and only noise brings them back. The original code uses 1e-5 and 2.5e-12."
            )
        if budget not in ("global", "per_matrix"):
            raise ConfigError(f'DeepR needs budget "global" or "per_matrix", but got {budget!r}.')
        named = dict(layers) if isinstance(layers, Mapping) else {str(i): layer for i, layer in enumerate(layers)}
        if not named:
            raise ConfigError("DeepR got no layers. Pass those whose synapses it rewires.")
        self.optimizer, self.l1, self.temperature, self.soft = optimizer, l1, temperature, soft
        self.budget, self.resample_sign, self.reset_moments = budget, resample_sign, reset_moments
        self.generator = torch.Generator().manual_seed(torch.initial_seed()) if generator is None else generator
        self.layers = [self._layer(name, layer) for name, layer in named.items()]
        self._check_budget()
        self._before: list[Tensor] | None = None
        self._hook = optimizer.register_step_pre_hook(lambda *_: self._remember())
        self.updates = 0
        self.created = 0
        self.pruned = 0

    def _layer(self, name: str, module: Any) -> _Layer:
        theta = module.theta
        group = next((group for group in self.optimizer.param_groups if any(p is theta for p in group["params"])), None)
        if group is None:
            raise ConfigError(
                f"DeepR layer {name!r}: its theta is not in the optimiser. Create the optimiser from the parameters of "
                "the model that holds the layer, and DeepR after it."
            )
        return _Layer(name, module, module.connectivity * theta.numel(), group)

    def _check_budget(self) -> None:
        for layers, room in self._budgets():
            there = sum(int((layer.theta > 0).sum()) for layer in layers)
            if there > room and not self.soft:
                names = ", ".join(layer.name for layer in layers)
                raise ConfigError(
                    f"DeepR keeps {room} synapses in {names}, but {there} exist. Draw the layers with the connectivity "
                    "they are to keep."
                )

    def _budgets(self) -> list[tuple[list[_Layer], int]]:
        """Layers that share a budget, and how many synapses it has."""
        groups = [self.layers] if self.budget == "global" else [[layer] for layer in self.layers]
        return [(group, math.floor(sum(layer.share for layer in group) + 1e-6)) for group in groups]

    def _remember(self) -> None:
        self._before = [layer.theta.clone() for layer in self.layers]

    @torch.no_grad()
    def step(self) -> dict[str, Counts]:
        """Rewire once; what happened to each layer.

        Raises:
            TrainingError: the optimiser has not moved since the last call, or theta is no longer a number.
        """
        before, self._before = self._before, None
        if before is None:
            raise TrainingError("DeepR.step() must follow optimizer.step(), which has not run since the last call.")
        for layer, old in zip(self.layers, before, strict=True):
            if not bool(torch.isfinite(layer.theta).all()):
                raise TrainingError(
                    f"DeepR layer {layer.name!r}: theta is no longer a finite number after the optimiser's step. "
                    "Lower the learning rate, or look for NaN in the loss."
                )
            self._move(layer, old)
        alive = [layer.theta > 0 for layer in self.layers]
        if not self.soft:
            for group, room in self._budgets():
                self._create(group, room)
        counts = {}
        for layer, old, left in zip(self.layers, before, alive, strict=True):
            new = layer.theta > 0
            created = int((new & ~left).sum()) if not self.soft else int((new & ~(old > 0)).sum())
            counts[layer.name] = Counts(int(((old > 0) & ~left).sum()), created, int(new.sum()))
        self.updates += 1
        self.created += sum(count.created for count in counts.values())
        self.pruned += sum(count.pruned for count in counts.values())
        return counts

    def _move(self, layer: _Layer, old: Tensor) -> None:
        """Undo what the optimiser did to dormant synapses; shrink and shake the active ones."""
        theta, lr = layer.theta, float(layer.group["lr"])
        dormant = old <= 0
        if self.soft and self.updates == 0:
            spread = torch.rand(theta.shape, generator=self.generator, dtype=theta.dtype).to(theta.device)
            old = torch.where(old == 0, spread * self.lowest(layer), old)
        theta.copy_(torch.where(dormant, old if self.soft else torch.zeros_like(old), theta))
        live = theta > 0
        moved = theta - lr * self.l1
        if self.temperature:
            noise = torch.randn(theta.shape, generator=self.generator, dtype=theta.dtype).to(theta.device)
            noise *= math.sqrt(2.0 * lr * self.temperature)
            moved += noise
            if self.soft:
                walked = (theta + noise).clamp(min=self.lowest(layer))
                theta.copy_(torch.where(dormant, walked, theta))
                if layer.module.allowed is not None:
                    theta.masked_fill_(~layer.module.allowed, 0.0)
        theta.copy_(torch.where(live, moved, theta))

    def lowest(self, layer: _Layer) -> float:
        """theta_min of soft DEEP R."""
        share = float(layer.module.connectivity)
        return -(1.0 - share) / share * self.temperature / self.l1

    def _create(self, group: list[_Layer], room: int) -> None:
        """Fill a budget up again."""
        missing = max(0, room - sum(int((layer.theta > 0).sum()) for layer in group))
        if missing == 0:
            return
        shares = torch.tensor([layer.share for layer in group], dtype=torch.float64)
        drawn = torch.multinomial(shares, missing, replacement=True, generator=self.generator)
        for layer, count in zip(group, torch.bincount(drawn, minlength=len(group)).tolist(), strict=True):
            candidates = layer.candidates()
            order = torch.randperm(len(candidates), generator=self.generator)[:count]
            chosen = candidates[order.to(candidates.device)]
            layer.theta.view(-1)[chosen] = NEWBORN
            if self.resample_sign:
                drawn_signs = 2 * torch.randint(0, 2, (len(chosen),), generator=self.generator) - 1
                layer.module.sign.view(-1)[chosen] = drawn_signs.to(layer.module.sign)
            if self.reset_moments:
                for value in self.optimizer.state.get(layer.module.theta, {}).values():
                    if isinstance(value, Tensor) and value.shape == layer.theta.shape:
                        value.view(-1)[chosen] = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Generator, counters and which synapses exist (which the layers' theta says too: the two are compared)."""
        return {
            "generator": self.generator.get_state(),
            "counters": [self.updates, self.created, self.pruned],
            "active": {layer.name: layer.theta > 0 for layer in self.layers},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken; load the layers first.

        Raises:
            ConfigError: the synapses of the layers are others than those of `state`.
        """
        for layer in self.layers:
            active = state["active"].get(layer.name)
            if active is None or not torch.equal(active.to(layer.theta.device), layer.theta > 0):
                raise ConfigError(
                    f"DeepR layer {layer.name!r}: its synapses are not those that were saved. Load the state of the "
                    "layers first, from the same checkpoint."
                )
        self.generator.set_state(state["generator"])
        self.updates, self.created, self.pruned = state["counters"]
