"""What a single parallel neuron can do: a gallery of behaviours that biologists name, drawn into a PNG.

python examples/behaviours.py behaviours.png
"""

import sys

import torch

from spikeloom import ParaLIF
from spikeloom.core import record
from spikeloom.plot.behaviour import Behaviour, gallery

STEPS = 200


def during(start: int, end: int, height: float = 1.0) -> torch.Tensor:
    current = torch.zeros(STEPS)
    current[start:end] = height
    return current


def ramp(start: int, end: int, height: float) -> torch.Tensor:
    current = torch.zeros(STEPS)
    current[start:end] = torch.linspace(0, height, end - start)
    current[end:] = height
    return current


def answer(name: str, current: torch.Tensor, firing: str, tau: float, threshold: float) -> Behaviour:
    """One neuron without synapse, its membrane and its spikes."""
    neuron = ParaLIF(firing, tau_mem=tau, tau_syn=None, threshold=threshold)
    xs = current.reshape(-1, 1, 1)
    spikes, states = record(neuron.step, xs, neuron.initial_state(xs[0]))
    parts = (torch.arange(STEPS), current, states.voltage.flatten(), spikes.flatten())
    return Behaviour(name, *(part.numpy() for part in parts), threshold if firing == "T" else None)


def behaviours() -> list[Behaviour]:
    """T compares the membrane with a threshold, D its change in a step."""
    return [
        answer("tonic spiking", during(40, 160), "T", 10.0, 0.5),
        answer("class 2: silent below", during(40, 160, 0.45), "T", 10.0, 0.5),
        answer("coincidence: one pulse", during(60, 65), "T", 10.0, 0.5),
        answer("coincidence: two at once", during(60, 65, 2.0), "T", 10.0, 0.5),
        answer("phasic spiking", during(40, 160), "D", 10.0, 0.03),
        answer("rebound", during(40, 120, -1.0), "D", 10.0, 0.03),
        answer("accommodation: slow ramp", ramp(40, 160, 2.0), "D", 10.0, 0.03),
        answer("accommodation: fast ramp", ramp(40, 60, 2.0), "D", 10.0, 0.03),
    ]


if __name__ == "__main__":
    gallery(behaviours(), "One neuron, T above and D below").savefig(sys.argv[1], dpi=80)
