"""spikeloom's side of the measurements."""

from torch import nn

from spikeloom.layers import Sequential
from spikeloom.neurons import LIF

from .contenders import TAU, Work, two_passes
from .measure import OURS, Contender

MEMORY = {"fast": "keeps the distance to threshold", "lean": "keeps checkpoints, computes the rest again"}


def lif(work: Work, memory: str = "fast") -> Contender:
    """`LIF`, alone or behind a Linear, in either memory mode."""
    neuron = LIF(tau_mem=TAU, threshold=1.0, memory=memory)
    if work.weight is None:
        inputs, model = work.inputs.clone().requires_grad_(), neuron
        leaves = [inputs]
    else:
        linear = nn.Linear(work.weight.shape[1], work.weight.shape[0])
        linear.weight.data.copy_(work.weight)
        linear.bias.data.zero_()
        inputs, model = work.inputs, Sequential(linear, neuron)
        leaves = list(linear.parameters())
    mode = f"LIF(memory='{memory}'): {MEMORY[memory]}"
    return two_passes(named(memory), mode, lambda: model(inputs)[0], leaves, work.grad)


def named(memory: str) -> str:
    """The contender's name."""
    return OURS if memory == "fast" else f"{OURS}, {memory}"
