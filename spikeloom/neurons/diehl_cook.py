"""Neurons of the unsupervised networks of Diehl & Cook: adaptive thresholds (homeostasis), and one winner per step.

    v <- rest + d (v - rest),   d = exp(-dt / tau_mem)
    h <- h exp(-dt / tau_homeostasis)                          while learning
    v <- v + i   where r <= dt / 2;   r <- r - dt
    crossed = v >= threshold + h:   v <- reset,   r <- refractory
    h <- h + homeostasis_step * (samples in which it crossed)  while learning
    spikes: one of those that crossed, chosen uniformly at random in each sample; or all of them

The homeostasis h is shared by the samples of a batch and outlives them. A current is a jump of the voltage: it is not
scaled by 1 - d. In a refractory step every current is lost, inhibition too. The comparison with half a step tolerates
rounding: a refractory time is the nearest whole number of steps. `MembraneLIF` has no h; its equations have
r <- r - dt before the current is added, which is equivalent.
Sources: Diehl and Cook, Unsupervised learning of digit recognition using STDP, 2015; parameters of the network
for N-MNIST by Lopez Gordillo, 2021.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..arguments import explained
from ..core import Stateful, constant
from ..errors import (
    ConfigError,
    ShapeError,
    as_number,
    check_count,
    check_dense,
    check_flag,
    check_generator,
    check_like,
    check_positive,
    check_state,
)
from ..kernels.noise import keys, later, uniform
from ..kernels.transforms import readable
from .neuron import check_noise


class DiehlCookState(NamedTuple):
    """State of a `DiehlCook` layer."""

    voltage: Tensor  # [B, N], mV
    refractory: Tensor  # [B, N], refractory time left in ms
    homeostasis: Tensor  # [N], mV
    noise: Tensor  # int64 [B, 2], key and step of each sample


@explained
class DiehlCook(Stateful):
    """Layer of excitatory neurons with an adaptive threshold; at most one per sample spikes in a step.

    The homeostasis changes in training mode and is constant in evaluation mode. `consolidate(state)` stores it for the
    next samples.
    Shapes: currents [T, B, N] -> spikes [T, B, N], 0 or 1.
    Units: times in ms, voltages, currents and homeostasis in mV.

    Args:
        size: number of neurons N.
        one_winner: whether only one neuron per sample and step spikes; False: all that cross (adaptive LIF neurons).
        lowest: lower limit of the voltage; -inf: none.
        homeostasis_step: increase of a neuron's threshold by each of its spikes.
        generator: random generator of the keys of the samples, which determine the winners.

    Raises:
        ConfigError: a time is not positive, the refractory time negative, or the reset not below the threshold.
        ShapeError: currents or state of a wrong shape, dtype or device.

    >>> neurons = DiehlCook(1, tau_mem=20.0)
    >>> spikes, state = neurons(torch.full((12, 1, 1), 4.0))
    >>> spikes.flatten().nonzero().flatten().tolist(), round(float(state.homeostasis), 4)
    ([3, 11], 0.4)
    """

    def __init__(
        self,
        size: int,
        *,
        rest: float = -65.0,
        reset: float = -60.0,
        threshold: float = -52.0,
        refractory: float = 5.0,
        tau_mem: float = 100.0,
        homeostasis_step: float = 0.2,
        tau_homeostasis: float = 1e7,
        one_winner: bool = True,
        lowest: float = -math.inf,
        dt: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_flag("DiehlCook", one_winner=one_winner)
        check_generator("DiehlCook", generator)
        self.size, self.rest, self.reset, self.threshold = size, rest, reset, threshold
        self.refractory, self.tau_mem, self.dt, self.lowest = refractory, tau_mem, dt, lowest
        self.homeostasis_step, self.tau_homeostasis, self.one_winner = homeostasis_step, tau_homeostasis, one_winner
        self.generator = generator
        self._check_numbers()
        self.homeostasis: Tensor
        self.register_buffer("homeostasis", torch.zeros(int(size)))

    def _check_numbers(self) -> None:
        check_membrane("DiehlCook", self)
        check_positive("DiehlCook", tau_homeostasis=self.tau_homeostasis)
        as_number(
            "DiehlCook", "homeostasis_step", self.homeostasis_step, ">= 0 and finite", lambda x: 0 <= x < math.inf
        )

    def check(self) -> None:
        self._check_numbers()
        if not bool(torch.isfinite(self.homeostasis).all()):
            raise ConfigError("DiehlCook needs a finite homeostasis, but a part of it is not a number or infinite now.")

    def structure(self) -> dict[str, float | str | bool | None]:
        numbers = {"homeostasis_step": self.homeostasis_step, "tau_homeostasis": self.tau_homeostasis}
        return {**membrane_numbers(self), **numbers, "one_winner": self.one_winner}

    def initial_state(self, x: Tensor) -> DiehlCookState:
        check_slice("DiehlCook", x, self.size)
        self._check_numbers()
        voltage = torch.full_like(x, self.rest)
        noise = keys(len(x), x.device, self.generator)
        return DiehlCookState(voltage, torch.zeros_like(x), self.homeostasis.to(x).clone(), noise)

    def step(self, x: Tensor, state: DiehlCookState) -> tuple[Tensor, DiehlCookState]:
        check_slice("DiehlCook", x, self.size)
        check_state("DiehlCook", state, DiehlCookState)
        check_like("DiehlCook", "voltage", state.voltage, tuple(x.shape), x)
        check_like("DiehlCook", "refractory", state.refractory, tuple(x.shape), x)
        check_like("DiehlCook", "homeostasis", state.homeostasis, (self.size,), x)
        check_noise("DiehlCook", state.noise, x.unsqueeze(0))
        homeostasis = state.homeostasis
        if self.training:
            homeostasis = homeostasis * constant(math.exp(-self.dt / self.tau_homeostasis), x)
        voltage = _membrane(self, x, state)
        level = homeostasis + constant(self.threshold, x)
        spikes, refractory = torch.zeros_like(x), state.refractory - constant(self.dt, x)
        if number := _crossing(voltage, level):  # in most steps no neuron crosses its threshold
            crossed = voltage >= level
            spikes = torch.where(voltage.isnan(), voltage, crossed.to(x.dtype))
            refractory = refractory.masked_fill(crossed, self.refractory)
            voltage = voltage.masked_fill(crossed, self.reset)
            if self.training:
                homeostasis = homeostasis + self.homeostasis_step * spikes.sum(0)
            if self.one_winner and number > 1:
                spikes = spikes * self._winners(crossed, state.noise)
        voltage = voltage.clamp(min=self.lowest) if self.lowest > -math.inf else voltage
        return spikes, DiehlCookState(voltage, refractory, homeostasis, later(state.noise, 1))

    def _winners(self, crossed: Tensor, noise: Tensor) -> Tensor:
        """Return a mask of one of the neurons that crossed, chosen at random in each sample."""
        rank = crossed.cumsum(1)
        count = rank[:, -1:]
        winner = (uniform(noise, 1, torch.float32) * count).long()
        return rank == winner + 1

    @torch.no_grad()
    def consolidate(self, state: DiehlCookState) -> None:
        """Store the homeostasis of a state in the layer."""
        self.homeostasis.copy_(state.homeostasis)


class MembraneLIFState(NamedTuple):
    """State of a `MembraneLIF` layer."""

    voltage: Tensor  # [B, N], mV
    refractory: Tensor  # [B, N], refractory time left in ms


@explained
class MembraneLIF(Stateful):
    """Layer of LIF neurons in mV, whose currents are jumps of the voltage: the inhibitory layer.

    Shapes: currents [T, B, N] -> spikes [T, B, N], 0 or 1.
    Units: times in ms, voltages and currents in mV.

    Args:
        size: number of neurons N.
        lowest: lower limit of the voltage; -inf: none.

    Raises:
        ConfigError: a time is not positive, the refractory time negative, or the reset not below the threshold.
        ShapeError: currents or state of a wrong shape, dtype or device.

    >>> spikes, state = MembraneLIF(1)(torch.full((4, 1, 1), 22.5))
    >>> spikes.flatten().tolist()
    [1.0, 0.0, 0.0, 1.0]
    """

    def __init__(
        self,
        size: int,
        *,
        rest: float = -60.0,
        reset: float = -45.0,
        threshold: float = -40.0,
        refractory: float = 2.0,
        tau_mem: float = 10.0,
        lowest: float = -math.inf,
        dt: float = 1.0,
    ) -> None:
        super().__init__()
        self.size, self.rest, self.reset, self.threshold = size, rest, reset, threshold
        self.refractory, self.tau_mem, self.dt, self.lowest = refractory, tau_mem, dt, lowest
        self.check()

    def check(self) -> None:
        check_membrane("MembraneLIF", self)

    def structure(self) -> dict[str, float | str | bool | None]:
        return membrane_numbers(self)

    def initial_state(self, x: Tensor) -> MembraneLIFState:
        check_slice("MembraneLIF", x, self.size)
        self.check()
        return MembraneLIFState(torch.full_like(x, self.rest), torch.zeros_like(x))

    def step(self, x: Tensor, state: MembraneLIFState) -> tuple[Tensor, MembraneLIFState]:
        check_slice("MembraneLIF", x, self.size)
        check_state("MembraneLIF", state, MembraneLIFState)
        for name, part in state._asdict().items():
            check_like("MembraneLIF", name, part, tuple(x.shape), x)
        voltage = _membrane(self, x, state)
        level, refractory = constant(self.threshold, x), state.refractory - constant(self.dt, x)
        spikes = torch.zeros_like(x)
        if _crossing(voltage, level):
            crossed = voltage >= level
            spikes = torch.where(voltage.isnan(), voltage, crossed.to(x.dtype))
            refractory = refractory.masked_fill(crossed, self.refractory)
            voltage = voltage.masked_fill(crossed, self.reset)
        voltage = voltage.clamp(min=self.lowest) if self.lowest > -math.inf else voltage
        return spikes, MembraneLIFState(voltage, refractory)


def _crossing(voltage: Tensor, level: Tensor) -> int:
    """Return the number of neurons not below their threshold; 2 (several) if values cannot be read, as in tracing."""
    return voltage.numel() - int((voltage < level).count_nonzero()) if readable(voltage) else 2


def _membrane(neurons: DiehlCook | MembraneLIF, x: Tensor, state: DiehlCookState | MembraneLIFState) -> Tensor:
    """Return the voltage after the leak and the currents."""
    rest, decay = constant(neurons.rest, x), constant(math.exp(-neurons.dt / neurons.tau_mem), x)
    voltage = (state.voltage - rest).mul_(decay).add_(rest)
    return torch.where(state.refractory <= constant(neurons.dt / 2, x), voltage + x, voltage)


def check_slice(owner: str, x: Tensor, size: int) -> None:
    """Raise ShapeError unless x is one dense slice of currents [B, N] in float32 or float64."""
    check_dense(owner, x)
    if x.dim() != 2 or x.shape[1] != size or x.dtype not in (torch.float32, torch.float64):
        raise ShapeError(
            f"{owner} has {size} neurons, so a slice of its currents is float32 or float64 [B, {size}], but got "
            f"{x.dtype} {list(x.shape)}."
        )


def membrane_numbers(neurons: DiehlCook | MembraneLIF) -> dict[str, float | str | bool | None]:
    """Return the entries of `structure()` that both layers have."""
    names = ("rest", "reset", "threshold", "refractory", "tau_mem", "lowest", "dt")
    return {name: float(getattr(neurons, name)) for name in names}


def check_membrane(owner: str, neurons: DiehlCook | MembraneLIF) -> None:
    """Raise ConfigError unless the values of a membrane are valid."""
    check_count(owner, size=neurons.size)
    check_positive(owner, tau_mem=neurons.tau_mem, dt=neurons.dt)
    as_number(owner, "refractory", neurons.refractory, ">= 0 and finite", lambda x: 0.0 <= x < math.inf)
    rest, reset, threshold = (
        as_number(owner, name, getattr(neurons, name), "finite", math.isfinite)
        for name in ("rest", "reset", "threshold")
    )
    lowest = as_number(owner, "lowest", neurons.lowest, "finite or -inf", lambda x: x < math.inf)
    if max(rest, reset, lowest) >= threshold:
        raise ConfigError(
            f"{owner} needs rest, reset and lowest below the threshold, but got {rest}, {reset}, {lowest} and "
            f"{threshold} mV: it would fire without input."
        )
