"""Compiled time loops derived from a neuron's equation. This package knows no specific neuron.

derive     an equation, its typed source and its adjoint; the functions of `spikeloom.vocabulary` in SymPy
program    an equation with its surrogate, refractory steps, and what is saved for the backward pass
plan       the options of a compiled loop, and the order of its arguments
loops      the loop over time: the reference in torch ("the definition"), and source templates for Numba and Triton
engines    choice of the engine, calls of the generated modules, their disk cache, and torch operators
synapses   products of spikes and weights on the CPU
noise      counter-based random numbers in torch; `draws` computes the same numbers in Numba, and `repeat` gives a
           recomputation under torch.utils.checkpoint the numbers of the first pass
bounds     checks of the indices that compiled loops use; transforms: function transforms and second derivatives
"""

from .derive.equation import Equation
from .engines.choose import ENGINES, engine_for, neurons, project, recurrent, use
from .loops.definition import Moving
from .program import Program

__all__ = ["ENGINES", "Equation", "Moving", "Program", "engine_for", "neurons", "project", "recurrent", "use"]
