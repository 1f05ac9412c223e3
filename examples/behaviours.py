"""What a single parallel neuron can do: eight behaviours of biological neurons, each with the current that shows it.

T neurons compare their membrane with a threshold, D neurons its change since the step before. Nothing is reset: a
neuron whose value stays above the threshold spikes in every step. Currents and voltages in one unit, times in ms.

    python examples/behaviours.py behaviours.png
"""

import sys

import numpy as np
import torch

from spikeloom import ParaLIF
from spikeloom.papers.parallel_neurons.draw_behaviour import Behaviour, gallery

TIME = np.arange(100.0)


def pulse(start: float, stop: float, height: float) -> np.ndarray:
    """A current of this height from start until stop."""
    return float(height) * ((start <= TIME) & (stop > TIME))


def ramp(start: float, stop: float, height: float) -> np.ndarray:
    """A current that rises from 0 at start to this height at stop, and ends there."""
    return pulse(start, stop, height) * (TIME - start) / (stop - start)


def answer(name: str, firing: str, tau_mem: float, threshold: float, current: np.ndarray) -> Behaviour:
    """What a neuron without synaptic filter does with this current; D: the value drawn is the change."""
    neuron = ParaLIF(firing, tau_mem=tau_mem, tau_syn=None, threshold=threshold)
    xs = torch.from_numpy(current).reshape(-1, 1, 1)
    spikes = neuron(xs)[0].flatten().numpy()
    value = neuron.integrate(xs, neuron.initial_state(xs[0]))[0].flatten().numpy()
    value = np.diff(value, prepend=0.0) if firing == "D" else value
    return Behaviour(f"{name} ({firing})", TIME, current, value, spikes, threshold)


def behaviours() -> list[Behaviour]:
    near, far = pulse(20, 21, 5) + pulse(22, 23, 5), pulse(55, 56, 5) + pulse(80, 81, 5)
    inhibition, excitation, both = pulse(10, 20, -0.5), pulse(45, 50, 0.5), pulse(70, 80, -0.5) + pulse(80, 85, 0.5)
    return [
        answer("tonic spiking", "T", 10.0, 1.0, pulse(20, 80, 1.5)),
        answer("class 2", "T", 5.0, 1.0, ramp(10, 90, 2.0)),
        answer("coincidence", "T", 5.0, 1.2, near + far),
        answer("phasic spiking", "D", 2.0, 0.3, pulse(20, 80, 1.0)),
        answer("phasic bursting", "D", 10.0, 0.04, pulse(20, 80, 1.0)),
        answer("rebound", "D", 2.0, 0.3, pulse(20, 60, -1.0)),
        answer("accommodation", "D", 2.0, 0.1, ramp(5, 65, 1.0) + ramp(85, 90, 1.0)),
        answer("threshold varies", "D", 2.0, 0.3, inhibition + excitation + both),
    ]


if __name__ == "__main__":
    gallery(behaviours(), "Parallel neurons").savefig(sys.argv[1], dpi=110)
