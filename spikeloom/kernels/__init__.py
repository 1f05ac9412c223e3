"""From an equation to fast loops. Knows no neuron.

derive     an equation, its typed source and its adjoint; the words of `spikeloom.vocabulary` in SymPy
program    an equation with its frame: surrogate, refractory steps, what is kept for the backward pass
plan       what a compiled loop is made for, and the order of its arguments
loops      the loop over time: the definition in torch, and its source for Numba and for Triton
engines    which engine runs a loop, tensors into the generated modules and back, modules on disk, torch operators
synapses   products of spikes and weights on the CPU
noise      draws as a function of counters; draws: the same in compiled loops; repeat: under torch's checkpoint
"""

from .derive.equation import Equation
from .engines.choose import ENGINES, engine_for, neurons, project, recurrent, use
from .loops.definition import Moving
from .program import Program

__all__ = ["ENGINES", "Equation", "Moving", "Program", "engine_for", "neurons", "project", "recurrent", "use"]
