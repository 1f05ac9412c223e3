"""Synaptic operations and estimated energy, from firing rates and connection counts.

    operations of a connection per sample = rate of its source [Hz] * duration [s]     (spiking source: additions)
                                          = steps, or 1 if it is constant            (analog source: multiply-adds)
    energy = additions * 0.9 pJ + multiply-adds * 4.6 pJ

Costs of 32-bit floating point arithmetic in a 45 nm process.
Source: M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014, figure 1.1.9.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import DataError

ADD_PJ = 0.9
"""Energy of one addition [pJ]: the cost of a spike at a synapse."""
MULTIPLY_ADD_PJ = 4.6
"""Energy of one multiplication (3.7) and one addition (0.9) [pJ]."""

ASSUMPTIONS = (
    f"45 nm, 32-bit floating point: {ADD_PJ} pJ per addition, {MULTIPLY_ADD_PJ} pJ per multiply-add (Horowitz, 2014).",
    "A spike costs one addition at each synapse it reaches.",
    "An analog input costs one multiply-add per synapse and step, or one in all if it is constant.",
    "A neuron costs one multiply-add per step for its leak.",
    "Memory traffic, routing and static power are left out, and usually cost more than the arithmetic.",
    "The dense figure is the same connections with one multiply-add per synapse and step, without neuron updates.",
    "Where the input is constant, what it alone determines is computed once, and dense is one pass of the network.",
)


@dataclass(frozen=True)
class Cost:
    """Cost of one sample in one layer, or in all of them."""

    name: str
    additions: float
    multiply_adds: float
    neuron_updates: float
    dense_multiply_adds: float

    @property
    def energy_nj(self) -> float:
        """Estimated energy [nJ]."""
        return (ADD_PJ * self.additions + MULTIPLY_ADD_PJ * (self.multiply_adds + self.neuron_updates)) / 1000

    @property
    def dense_energy_nj(self) -> float:
        """Estimated energy if every connection were used at every step [nJ]."""
        return MULTIPLY_ADD_PJ * self.dense_multiply_adds / 1000


def costs(activity: Mapping[str, Any]) -> list[Cost]:
    """Compute the cost of each layer, followed by the total.

    Args:
        activity: `{"dt_ms", "steps", "constant_input", "layers": [...]}` for one sample; the input varies if
            `constant_input` is absent. A layer has `name`, `neurons`, `rate_hz`, `synapses` (number of incoming
            connections), `recurrent_synapses` (those that come from the layer itself; 0 if absent) and `input_rate_hz`
            (mean rate of its inputs; null if they are analog).

    Raises:
        DataError: a layer lacks a value.

    >>> layer = {"name": "hidden", "neurons": 10, "rate_hz": 20.0, "synapses": 100, "input_rate_hz": 50.0}
    >>> costs({"dt_ms": 1.0, "steps": 1000, "layers": [layer]})[0].additions
    5000.0
    """
    try:
        steps = activity["steps"]
        seconds = steps * activity["dt_ms"] / 1000
        passes = 1 if activity.get("constant_input") else steps
        layers = [_layer(layer, steps, seconds, passes) for layer in activity["layers"]]
    except KeyError as error:
        raise DataError(f"activity.json lacks {error}. `spikeloom evaluate` writes it again.") from error
    return [*layers, _total(layers)]


def mean_rate(activity: Mapping[str, Any]) -> tuple[int, float] | None:
    """Return the number of spiking neurons in all listed layers and their mean rate [Hz]; None if there are none.

    >>> mean_rate({"layers": [{"neurons": 3, "rate_hz": 20.0}, {"neurons": 1, "rate_hz": 40.0}]})
    (4, 25.0)
    >>> mean_rate({"layers": [{"neurons": 3, "rate_hz": None}]}) is None
    True
    """
    spiking = [(layer["neurons"], layer["rate_hz"]) for layer in activity["layers"] if layer["rate_hz"] is not None]
    count = sum(neurons for neurons, _ in spiking)
    return (count, sum(neurons * hertz for neurons, hertz in spiking) / count) if count else None


def _layer(layer: Mapping[str, Any], steps: float, seconds: float, passes: float) -> Cost:
    recurrent = layer.get("recurrent_synapses", 0)
    feed = layer["synapses"] - recurrent
    analog = layer["input_rate_hz"] is None
    return Cost(
        name=layer["name"],
        additions=(recurrent * layer["rate_hz"] if recurrent else 0) * seconds
        + (0 if analog else feed * layer["input_rate_hz"] * seconds),
        multiply_adds=feed * passes if analog else 0,
        neuron_updates=layer["neurons"] * steps,
        dense_multiply_adds=layer["synapses"] * passes,
    )


def _total(layers: list[Cost]) -> Cost:
    return Cost(
        name="all",
        additions=sum(cost.additions for cost in layers),
        multiply_adds=sum(cost.multiply_adds for cost in layers),
        neuron_updates=sum(cost.neuron_updates for cost in layers),
        dense_multiply_adds=sum(cost.dense_multiply_adds for cost in layers),
    )
