"""What the tasks with a Hebbian memory share: times in steps, costs and rates of spikes, a word about silence."""

from collections.abc import Mapping
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
"""Models that spike."""


class MemoryOptions(Protocol):
    """What costs and rates read of a task's options."""

    @property
    def model(self) -> str: ...
    @property
    def dt(self) -> float: ...
    @property
    def target_rate(self) -> float: ...


class TimeOptions(Protocol):
    """What `steps` reads of a task's options."""

    @property
    def dt(self) -> float: ...


class LayerOptions(Protocol):
    """What neurons and memories are made of."""

    @property
    def dt(self) -> float: ...
    @property
    def tau_mem(self) -> float: ...
    @property
    def threshold(self) -> float: ...
    @property
    def refractory(self) -> float: ...
    @property
    def reset(self) -> Literal["subtract", "zero"]: ...
    @property
    def gain(self) -> float: ...
    @property
    def w_max(self) -> float: ...
    @property
    def potentiation(self) -> float: ...
    @property
    def depression(self) -> float: ...
    @property
    def tau_trace(self) -> float: ...


class DataOptions(Protocol):
    """What `of_data` and `check_data_seed` read of a task's options."""

    @property
    def data_seed(self) -> int: ...


class Active(Protocol):
    """What happened in a network: activity [T, B, N] by population."""

    @property
    def layers(self) -> dict[str, Tensor]: ...


def steps(config: TimeOptions, name: str) -> int:
    """A time in steps."""
    time: float = getattr(config, name)
    found = round(time / config.dt)
    if found < 1 or abs(found * config.dt - time) > 1e-6 * config.dt:
        raise ConfigError(f"{name} must be a whole number of steps of {config.dt} ms, but is {time} ms.")
    return found


def neuron_of(config: LayerOptions, refractory: float | None = None) -> LIF:
    """LIF of all layers; with another refractory time [ms] if one is given."""
    return memory_neuron(
        config.tau_mem, config.threshold, config.refractory if refractory is None else refractory, reset=config.reset,
        dt=config.dt, slope=config.gain,
    )  # fmt: skip


def rule_of(config: LayerOptions, *, rates: bool = False) -> Hebbian:
    """The rule of the memory; as rates it has no traces."""
    return Hebbian(
        potentiation=config.potentiation, depression=config.depression, w_max=config.w_max,
        tau_trace=0.0 if rates else config.tau_trace, dt=config.dt,
    )  # fmt: skip


def check_layers(config: LayerOptions, *times: str, spikes: bool = True) -> None:
    """Raise ConfigError for times that are no whole steps, or for neurons and memories that there cannot be.

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
    """Raise ConfigError for a seed that there is not."""
    if config.data_seed < -1:
        raise ConfigError(f"data_seed must be at least 0, or -1 for the seed of the run, but is {config.data_seed}.")


def of_data(config: DataOptions, run: Run, purpose: str, *, shared: bool = False) -> torch.Generator:
    """The generator for samples: of data_seed, or of the run's seed if that is -1."""
    return run.generator(purpose, shared=shared, seed=None if config.data_seed < 0 else config.data_seed)


def squared_rates(config: MemoryOptions, spikes: Tensor) -> Tensor:
    """Mean over neurons of the squared distance of the rate, averaged over the batch, from the target [Hz^2].

    With several processes the batch is that of all.
    """
    return 1e6 / spikes.shape[2] * rate_cost(spikes, config.target_rate, config.dt, ranks.mean_of)


def rates(config: MemoryOptions, found: Active) -> dict[str, float]:
    """Mean rates [Hz]; nothing for a model without spikes."""
    if config.model not in SPIKING:
        return {}
    hertz = 1000.0 / config.dt
    return {
        f"rate_{name.replace(' ', '_')}": float(part.detach().mean()) * hertz for name, part in found.layers.items()
    }


def populations(hertz: Mapping[str, float], heard: Mapping[str, tuple[int, int, str | None]]) -> list[dict[str, Any]]:
    """Layers of activity.json: neurons, inputs of each, and whose rate they hear, by name; no rates: nothing spikes."""
    return [
        {
            "name": name, "neurons": count, "inputs": inputs,
            "rate_hz": hertz[f"rate_{name.replace(' ', '_')}"] if hertz else None,
            "input_rate_hz": hertz[source] if hertz and source else None, "synapses": count * inputs,
        }
        for name, (count, inputs, source) in heard.items()
    ]  # fmt: skip


class Silence:
    """Counts updates in which no value spiked while reading, and says so once: logits are then zero for ever."""

    def __init__(self) -> None:
        self.updates = 0

    def look(self, run: Run, found: Active, finished: int) -> None:
        """After an update."""
        values = found.layers.get("read values")
        self.updates = self.updates + 1 if values is not None and not bool(values.any()) else 0
        if self.updates == 20 and run.rank == 0:
            print(
                f"update {finished + 1}: the reading layer has been silent for 20 updates, so nothing is learned. Try "
                "a lower threshold or learning rate, or --initial aligned.", flush=True,
            )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.updates = int(state["updates"])
