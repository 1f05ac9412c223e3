"""Export to and import from NIR, the format that simulators and neuromorphic chips exchange.

    NIR, in continuous time                                        spikeloom, in steps of dt
    LI       tau v' = v_leak - v + r i                             LeakyReadout
    LIF      as LI; v > v_threshold: spike, v = v_reset         LIF
    CubaLI   tau_syn j' = w_in x - j,  tau_mem v' = v_leak - v + r j    SynapticReadout, w_in = 1 / (1 - a)
    CubaLIF  as CubaLI, with spikes                                SynapticLIF, a = exp(-dt / tau_syn)
    IF       v' = r i; v > v_threshold: spike, v = v_reset         RateNeuron integrate_and_fire, r = 1000 gain / dt

NIR's time constants are in seconds, spikeloom's in ms. In continuous time a voltage never exceeds the threshold, so
that reset "subtract" and "zero" are equivalent: the reset of discrete steps and the maximum number of spikes per step
are stored in the metadata of a node (`reset`, `max_spikes`). Without metadata, LIF resets to zero and IF fires as often
as a constant current makes it. A RateNeuron of partner "lif" without refractory period is a LIF node; v_leak holds its
bias. All voltages start at 0. A spike in NIR is 1: other heights need a Scale node behind the neuron.
Source: Pedersen et al., Neuromorphic intermediate representation, Nature Communications, 2024; equations from the
package nir 1.0.8, seconds as in the paper's experiments.
"""

from .exporting import to_nir
from .files import read_nir, write_nir
from .importing import from_nir
from .values import Scaling

__all__ = ["Scaling", "from_nir", "read_nir", "to_nir", "write_nir"]
