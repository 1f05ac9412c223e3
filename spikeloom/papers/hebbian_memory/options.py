"""Code shared by the tasks with a Hebbian memory: times in steps, rate regularisation, a warning about silence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from ...errors import ConfigError
from ...layers import rate_cost
from ...layers.hebbian_memory.layer import memory_neuron
from ...neurons import LIF
from ...rules import Hebbian
from ...train import ranks
from ...train.run import Run

SPIKING = ("spiking", "frozen", "recurrent")
"""Spiking models."""


class MemoryOptions(Protocol):
    """Task options for the rate regularisation and the firing rates."""

    @property
    def model(self) -> str: ...
    @property
    def dt(self) -> float: ...
    @property
    def target_rate(self) -> float: ...


class TimeOptions(Protocol):
    """Task options for `steps`."""

    @property
    def dt(self) -> float: ...


@dataclass(frozen=True)
class LIFOptions:
    """LIF neurons of all layers."""

    threshold: float = 0.1
    """Firing threshold of all neurons."""
    tau_mem: float = 20.0
    """Membrane time constant [ms]."""
    refractory: float = 3.0
    """Refractory period [ms]."""
    reset: Literal["subtract", "zero"] = "subtract"
    """Reset after a spike: subtract the threshold from the voltage, or set it to zero."""
    gain: float = 1.0
    """Dampening factor of the surrogate gradient."""
    dt: float = 1.0
    """Length of a step [ms]."""


@dataclass(frozen=True)
class HebbianOptions:
    """Memory with a Hebbian rule."""

    memory_size: int = 100
    """Size of the memory: number of key neurons, and of value neurons."""
    w_max: float = 1.0
    """Soft upper bound of the memory weights."""
    potentiation: float = 0.3
    """Learning rate of the Hebbian potentiation of the memory weights."""
    depression: float = 0.3
    """Rate of the depression of the memory weights of active keys."""
    recall: float = 0.2
    """Strength of the current from the memory to the value neurons while writing."""
    delay: float = 1.0
    """Delay of the feedback from value neurons to key neurons while reading [ms]."""
    tau_trace: float = 20.0
    """Time constant of the spike traces of the Hebbian rule [ms]."""


@dataclass(frozen=True)
class LayerOptions(HebbianOptions, LIFOptions):
    """Options of the layers of a network with a memory."""


@dataclass(frozen=True)
class RateCostOptions:
    """Rate regularisation."""

    rate_cost: float = 1e-05
    """Coefficient of the rate regularisation: squared distance of firing rates [Hz] from target_rate."""
    target_rate: float = 0.0
    """Target firing rate of the rate regularisation [Hz]."""


class DataOptions(Protocol):
    """Task options for `of_data` and `check_data_seed`."""

    @property
    def data_seed(self) -> int: ...


class Active(Protocol):
    """Activity [T, B, N] of a network by population."""

    @property
    def layers(self) -> dict[str, Tensor]: ...


def steps(config: TimeOptions, name: str) -> int:
    """Return a time option in steps; raise ConfigError unless it is a whole number of steps."""
    time: float = getattr(config, name)
    number = round(time / config.dt)
    if number < 1 or abs(number * config.dt - time) > 1e-6 * config.dt:
        raise ConfigError(f"{name} must be a whole number of steps of {config.dt} ms, but is {time} ms.")
    return number


def neuron_of(config: LayerOptions, refractory: float | None = None) -> LIF:
    """Return the LIF neuron of all layers, with another refractory period [ms] if given."""
    return memory_neuron(
        config.tau_mem, config.threshold, config.refractory if refractory is None else refractory, reset=config.reset,
        dt=config.dt, slope=config.gain,
    )  # fmt: skip


def rule_of(config: LayerOptions, *, rates: bool = False) -> Hebbian:
    """Return the Hebbian rule of the memory, without traces for networks of rates."""
    return Hebbian(
        potentiation=config.potentiation, depression=config.depression, w_max=config.w_max,
        tau_trace=0.0 if rates else config.tau_trace, dt=config.dt,
    )  # fmt: skip


def check_layers(config: LayerOptions, *times: str, spikes: bool = True) -> None:
    """Raise ConfigError for times that are not whole steps, or invalid options of neurons and memories.

    Args:
        times: names of options.
        spikes: whether the network spikes.
    """
    duration = {name: steps(config, name) for name in times}
    rule_of(config, rates=not spikes)
    if spikes:
        neuron_of(config)
        if duration.get("window", 0) > duration["item_ms"]:
            raise ConfigError(
                f"Items of {duration['item_ms'] * config.dt:g} ms have no last {duration['window'] * config.dt:g} ms. "
                "Choose a smaller window."
            )


def check_data_seed(config: DataOptions) -> None:
    """Raise ConfigError for a data seed below -1."""
    if config.data_seed < -1:
        raise ConfigError(f"data_seed must be at least 0, or -1 for the seed of the run, but is {config.data_seed}.")


def of_data(config: DataOptions, run: Run, purpose: str, *, shared: bool = False) -> torch.Generator:
    """Return a generator for samples, seeded with data_seed, or with the seed of the run if that is -1."""
    return run.generator(purpose, shared=shared, seed=None if config.data_seed < 0 else config.data_seed)


def squared_rates(config: MemoryOptions, spikes: Tensor) -> Tensor:
    """Return the squared distance of the batch mean of the rate from the target [Hz^2], averaged over neurons.

    With several processes, the batch is that of all.
    """
    return 1e6 / spikes.shape[2] * rate_cost(spikes, config.target_rate, config.dt, ranks.mean_of)


def rates(config: MemoryOptions, found: Active) -> dict[str, float]:
    """Return the mean rates [Hz] by population; empty for a model without spikes."""
    if config.model not in SPIKING:
        return {}
    hertz = 1000.0 / config.dt
    return {
        f"rate_{name.replace(' ', '_')}": float(spikes.detach().mean()) * hertz for name, spikes in found.layers.items()
    }


def populations(hertz: Mapping[str, float], heard: Mapping[str, tuple[int, int, str | None]]) -> list[dict[str, Any]]:
    """Return the layers of activity.json.

    Args:
        hertz: rates by name; empty for a model without spikes.
        heard: for each population: neurons, inputs per neuron, and the name of the rate of its input.
    """
    return [
        {
            "name": name, "neurons": count, "inputs": inputs,
            "rate_hz": hertz[f"rate_{name.replace(' ', '_')}"] if hertz else None,
            "input_rate_hz": hertz[source] if hertz and source else None, "synapses": count * inputs,
        }
        for name, (count, inputs, source) in heard.items()
    ]  # fmt: skip


class Silence:
    """Counter of updates without value spikes while reading; prints a warning once, since logits then stay zero."""

    def __init__(self) -> None:
        self.updates = 0

    def look(self, run: Run, found: Active, finished: int) -> None:
        """Count an update."""
        values = found.layers.get("read values")
        self.updates = self.updates + 1 if values is not None and not bool(values.any()) else 0
        if self.updates == 20 and run.rank == 0:
            print(
                f"update {finished + 1}: the reading layer has been silent for 20 updates, so nothing is learned. Try "
                "a lower threshold or learning rate, or --initial aligned.", flush=True,
            )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the state from a checkpoint."""
        self.updates = int(state["updates"])
