"""DEEP R: training with a fixed number of synapses, which are rewired after each step of the optimiser.

In every layer weight = sign * max(theta, 0); a synapse is active while theta > 0. After each step of an optimiser:

    1. dormant synapses are restored: theta = 0 (hard) or the theta before the step (soft)
    2. active ones:    theta -= lr l1;  theta += sqrt(2 lr temperature) N(0, 1)
    3. hard: as many dormant synapses as are missing from the budget are created at theta = 1e-12, uniformly at random
       soft: dormant ones move by the noise alone, not below theta_min, and become active when theta exceeds 0

The budget is floor(sum over layers of connectivity * size), shared by all layers: missing synapses are distributed by
multinomial sampling, in proportion to the layers' numbers of synapses. Alternatively every layer has its own budget.

Sources: Bellec, Kappel, Maass, Legenstein, Deep rewiring, ICLR 2018; the order of the steps as in the authors' LSNN
code, where L1 and noise act after Adam and outside its moments.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..arguments import explained
from ..errors import CheckpointError, ConfigError, TrainingError

NEWBORN = 1e-12
"""Theta of a synapse that was just created."""


class SignedSynapses(Protocol):
    """Protocol of the layers that `DeepR` rewires."""

    connectivity: float

    @property
    def theta(self) -> Tensor:
        """Parameter of the layer; a synapse is active where it is positive."""

    @property
    def sign(self) -> Tensor:
        """Fixed signs, -1 or 1, in the shape of theta."""

    @property
    def allowed(self) -> Tensor | None:
        """False where a synapse may never exist; None if all may."""


class Counts(NamedTuple):
    """Numbers of synapses of a layer that a step pruned and created, and that are active after it."""

    pruned: int
    created: int
    active: int


def budget(connectivity: float, pairs: float) -> int:
    """Return the number of synapses that exist: connectivity * pairs + 1e-6, rounded down.

    >>> budget(0.12, 17_600), budget(0.29, 100)
    (2112, 29)
    """
    return math.floor(connectivity * pairs + 1e-6)


@dataclass(frozen=True)
class _Layer:
    """Named layer that is rewired."""

    name: str
    module: Any

    @property
    def theta(self) -> Tensor:
        theta: Tensor = self.module.theta
        return theta

    @property
    def wanted(self) -> float:
        """Number of synapses by its connectivity, not rounded."""
        return float(self.module.connectivity) * self.theta.numel()

    def active(self) -> int:
        return int((self.theta > 0).sum())

    def candidates(self) -> tuple[Tensor, ...]:
        """Return the indices of dormant synapses that may exist."""
        dormant = self.theta <= 0
        return (dormant if self.module.allowed is None else dormant & self.module.allowed).nonzero(as_tuple=True)


@explained
class DeepR:
    """Rewiring of layers after each step of their optimiser: `optimizer.step(); rewire.step()`.

    Args:
        optimizer: any optimiser of the theta of every layer; its current learning rate for theta is lr above.
        layers: layers with `theta`, `sign`, `allowed` and `connectivity`, by name or in order. For example
            `SignedSparseLinear`.
        l1: strength of L1 regularisation; each step shrinks active theta by lr * l1.
        temperature: temperature of the noise.
        budget: fixed number of synapses: "global" (of all layers together) or "per_matrix". Hard DEEP R only.
        soft: whether there is no hard budget: dormant theta perform a random walk above theta_min and may become active
            again. Theta_min is -(1 - p) / p * temperature / l1 with each layer's connectivity p. In the first step
            theta of zero are distributed uniformly above theta_min.
        resample_sign: whether a created synapse gets a new random sign. Hard DEEP R only, and not with signs of whole
            neurons.
        reset_moments: whether a created synapse starts with moments of zero in the optimiser. Hard DEEP R only.
        generator: random generator of noise, positions and signs, on the CPU. Ranks that train together must use equal
            ones. By default one that is seeded by torch's.

    Raises:
        ConfigError: a layer is not in the optimiser, over budget or without synapses, options exclude each other, or
            values are out of range.

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
        if soft and (resample_sign or reset_moments or budget != "global"):
            raise ConfigError(
                "Soft DeepR creates no synapses and keeps no budget: leave out resample_sign, reset_moments, budget."
            )
        self.optimizer, self.l1, self.temperature, self.soft = optimizer, l1, temperature, soft
        self.budget, self.resample_sign, self.reset_moments = budget, resample_sign, reset_moments
        if generator is not None and generator.device.type != "cpu":
            raise ConfigError(
                f"DeepR draws on the CPU, but its generator is on {generator.device}. Pass a CPU generator."
            )
        if generator is None:
            generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        self.generator = generator
        self.layers = [_Layer(name, layer) for name, layer in _named(layers).items()]
        self._check_layers()
        self._check_budget()
        self._before: list[Tensor] | None = None
        self._hook = optimizer.register_step_pre_hook(lambda *_: self._remember())
        self.updates = 0
        self.created = 0
        self.pruned = 0

    def _lr(self, layer: _Layer) -> float | None:
        """Return the current learning rate of a layer; None if the optimiser does not hold it."""
        groups = self.optimizer.param_groups
        return next((float(group["lr"]) for group in groups if any(p is layer.theta for p in group["params"])), None)

    def _check_layers(self) -> None:
        for place, layer in enumerate(self.layers):
            theta, sign = layer.theta, layer.module.sign
            if self._lr(layer) is None:
                raise ConfigError(
                    f"DeepR layer {layer.name!r}: its theta is not in the optimiser. Create the optimiser from the "
                    "parameters of the model that holds the layer, and DeepR after it."
                )
            if any(theta is other.theta for other in self.layers[:place]):
                raise ConfigError(f"DeepR layer {layer.name!r} is there twice. Pass every layer once.")
            self._check_values(layer)
            if torch.finfo(theta.dtype).tiny > NEWBORN:
                raise ConfigError(
                    f"DeepR layer {layer.name!r}: a new synapse of size {NEWBORN} is zero in {theta.dtype}. Keep theta "
                    "in float32, and let autocast shorten what is computed from it."
                )
            if self.resample_sign and len(sign) > 1 and bool((sign == sign[:1]).all()):
                raise ConfigError(
                    f"DeepR layer {layer.name!r}: resample_sign gives synapses new signs, but those of a neuron are "
                    "all alike there (Dale's law). Leave out neuron_sign or resample_sign."
                )

    def _check_values(self, layer: _Layer) -> None:
        """Raise ConfigError unless a layer holds numbers that can be rewired."""
        theta, sign, allowed = layer.theta, layer.module.sign, layer.module.allowed
        if not theta.is_floating_point() or not bool(theta.isfinite().all()):
            raise ConfigError(
                f"DeepR layer {layer.name!r}: theta must hold finite floating point numbers, but is {theta.dtype} with "
                f"{int((~theta.isfinite()).sum())} that are not. Draw the layer afresh, or load a sound state."
            )
        if sign.shape != theta.shape or not bool((sign.abs() == 1).all()):
            raise ConfigError(
                f"DeepR layer {layer.name!r}: sign must be -1 or 1 for each theta {list(theta.shape)}, but is "
                f"{list(sign.shape)} with {int((sign.abs() != 1).sum())} others: no synapse is without a sign."
            )
        if allowed is not None and (allowed.shape != theta.shape or allowed.dtype != torch.bool):
            raise ConfigError(
                f"DeepR layer {layer.name!r}: allowed must be None or boolean {list(theta.shape)}, but is "
                f"{allowed.dtype} {list(allowed.shape)}."
            )
        if not 0.0 < layer.module.connectivity <= 1.0:
            raise ConfigError(
                f"DeepR layer {layer.name!r} needs connectivity in (0, 1], but has {layer.module.connectivity}."
            )

    def _check_budget(self) -> None:
        for layers, room in self._budgets():
            there = sum(layer.active() for layer in layers)
            if room < 1:
                names = ", ".join(layer.name for layer in layers)
                raise ConfigError(f"DeepR has no synapse to keep in {names}: raise its connectivity.")
            if there > room and not self.soft:
                names = ", ".join(layer.name for layer in layers)
                raise ConfigError(
                    f"DeepR keeps {room} synapses in {names}, but {there} exist. Draw the layers with the connectivity "
                    "they are to keep."
                )

    def _budgets(self) -> list[tuple[list[_Layer], int]]:
        """Return the groups of layers that share a budget, with the number of synapses of each."""
        groups = [self.layers] if self.budget == "global" else [[layer] for layer in self.layers]
        return [(group, budget(1.0, sum(layer.wanted for layer in group))) for group in groups]

    def _remember(self) -> None:
        """Save theta before the step of the optimiser."""
        if self._before is not None:
            raise TrainingError(
                "optimizer.step() ran again without DeepR.step() after the last one, which would bring dormant "
                "synapses to life. Call rewire.step() after every optimizer.step()."
            )
        self._before = [layer.theta.detach().clone() for layer in self.layers]

    @torch.no_grad()
    def step(self) -> dict[str, Counts]:
        """Rewire once; return the numbers of changed synapses of each layer.

        Raises:
            TrainingError: the optimiser made no step since the last call, theta is not finite, or the learning rate is
                negative or not finite.
        """
        before, self._before = self._before, None
        if before is None:
            raise TrainingError(
                "DeepR.step() must follow optimizer.step(), which has not run since the last call. (A GradScaler "
                "leaves it out after an overflow: leave out DeepR.step() then, too.)"
            )
        for layer in self.layers:
            lr = self._lr(layer)
            if lr is None or not 0.0 <= lr < math.inf:
                raise TrainingError(
                    f"DeepR layer {layer.name!r}: its learning rate must be >= 0 and finite, but "
                    + ("its theta has left the optimiser. " if lr is None else f"is {lr}. ")
                    + "Make DeepR again after changing the parameter groups of the optimiser."
                )
            if not bool(torch.isfinite(layer.theta).all()):
                raise TrainingError(
                    f"DeepR layer {layer.name!r}: theta is no longer a finite number after the optimiser's step. "
                    "Lower the learning rate, or look for NaN in the loss."
                )
        for layer, old in zip(self.layers, before, strict=True):
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
        """Undo the optimiser's changes of dormant synapses; apply L1 and noise to the active ones."""
        theta, lr = layer.theta, self._lr(layer)
        assert lr is not None  # checked by `step`
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
        """Return theta_min of soft DEEP R."""
        p = float(layer.module.connectivity)
        return -(1.0 - p) / p * self.temperature / self.l1

    def _create(self, group: list[_Layer], room: int) -> None:
        """Create the synapses missing from a budget; those that do not fit into a layer go to others with room."""
        missing = room - sum(layer.active() for layer in group)
        while missing > 0:
            candidates = [layer.candidates() for layer in group]
            free = torch.tensor([len(places[0]) for places in candidates])
            if not bool(free.any()):
                return
            shares = torch.tensor([layer.wanted for layer in group], dtype=torch.float64) * (free > 0)
            drawn = torch.multinomial(shares, missing, replacement=True, generator=self.generator)
            counts = torch.bincount(drawn, minlength=len(group)).minimum(free)
            for layer, places, count in zip(group, candidates, counts.tolist(), strict=True):
                order = torch.randperm(len(places[0]), generator=self.generator)[:count].to(places[0].device)
                self._bring_to_life(layer, tuple(index[order] for index in places))
            missing -= int(counts.sum())

    def _bring_to_life(self, layer: _Layer, indices: tuple[Tensor, ...]) -> None:
        """Create the synapses at these indices."""
        layer.theta[indices] = NEWBORN
        if self.resample_sign:
            drawn = 2 * torch.randint(0, 2, (len(indices[0]),), generator=self.generator) - 1
            layer.module.sign[indices] = drawn.to(layer.module.sign)
        if self.reset_moments:
            for value in self.optimizer.state.get(layer.theta, {}).values():
                if isinstance(value, Tensor) and value.shape == layer.theta.shape:
                    value[indices] = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return generator, counters, budgets, and masks of active synapses, to be compared with the layers' theta."""
        return {
            "budgets": self._saved_budgets(),
            "generator": self.generator.get_state(),
            "counters": [self.updates, self.created, self.pruned],
            "active": {layer.name: layer.theta > 0 for layer in self.layers},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state; load the layers first.

        Raises:
            ConfigError: layers, budgets or synapses differ from those of `state`.
            CheckpointError: `state` is not one of DeepR.
        """
        if missing := [part for part in ("generator", "counters", "active") if part not in state]:
            raise CheckpointError(f"This is no state of DeepR: it has no {', '.join(missing)}. Load what it saved.")
        if (names := sorted(layer.name for layer in self.layers)) != sorted(state["active"]):
            raise ConfigError(
                f"DeepR was saved with layers {', '.join(state['active'])}, but has {', '.join(names)}. Make it with "
                "the layers that were saved."
            )
        if (budgets := state.get("budgets", self._saved_budgets())) != self._saved_budgets():  # none before 0.2
            raise ConfigError(
                f"DeepR was saved with budgets {budgets}, but has {self._saved_budgets()}. Make it with the same "
                "layers, connectivity, `budget` and `soft`."
            )
        for layer in self.layers:
            active = state["active"][layer.name]
            if not torch.equal(active.to(layer.theta.device), layer.theta > 0):
                raise ConfigError(
                    f"DeepR layer {layer.name!r}: its synapses are not those that were saved. Load the state of the "
                    "layers first, from the same checkpoint."
                )
        self.generator.set_state(state["generator"])
        self.updates, self.created, self.pruned = state["counters"]

    def _saved_budgets(self) -> dict[str, int]:
        """Return the budget of each group of layers by their names; none for soft DEEP R."""
        return {} if self.soft else {" ".join(layer.name for layer in part): room for part, room in self._budgets()}


def _named(layers: Any) -> dict[str, Any]:
    """Return the layers by name; those without a name are numbered."""
    if isinstance(layers, nn.Module) and not isinstance(layers, nn.ModuleDict | nn.ModuleList | nn.Sequential):
        raise ConfigError(
            f"DeepR needs several layers, by name or in order, but got one {type(layers).__name__}: [it]."
        )
    by_name = isinstance(layers, Mapping | nn.ModuleDict)
    named = dict(layers.items()) if by_name else {str(i): layer for i, layer in enumerate(layers)}
    if not named:
        raise ConfigError("DeepR got no layers. Pass those whose synapses it rewires.")
    for name, layer in named.items():
        missing = [part for part in ("theta", "sign", "allowed", "connectivity") if not hasattr(layer, part)]
        if missing:
            raise ConfigError(
                f"DeepR layer {name!r} is a {type(layer).__name__} without {', '.join(missing)}. Pass layers with "
                "signed sparse weights, for example SignedSparseLinear."
            )
    return named
