"""From an equation to fast loops. Knows no neuron.

vocabulary    (spikeloom.vocabulary) the words an equation may use; grammar: what it may say
derive        an equation, its typed source, its adjoint; symbols: the words in SymPy
program       an equation with its frame: surrogate, refractory steps, what is kept for the backward pass
loop_torch    the definition; loop_numba, loop_triton: the same loop as source for the CPU and for CUDA
cpu, gpu      tensors into the generated modules; cache: those modules on disk
synapses      sums over synapses on the CPU; lanes: their innermost loops
operators     the loops as torch operators; choose: which engine runs
"""

from .choose import ENGINES, engine_for, neurons, project, recurrent, use
from .derive import Equation
from .loop_torch import Moving
from .program import Program

__all__ = ["ENGINES", "Equation", "Moving", "Program", "engine_for", "neurons", "project", "recurrent", "use"]
