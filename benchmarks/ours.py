"""spikeloom's side of the measurements."""

import torch
from torch import Tensor, nn

from spikeloom.layers import DelayedLinear, Recurrent, Sequential
from spikeloom.neurons import ALIF, LIF

from .contenders import TAU, Work, two_passes
from .measure import OURS, Contender

MEMORY = {"fast": "keeps the distance to threshold", "lean": "keeps checkpoints, computes the rest again"}


def lif(work: Work, memory: str = "fast") -> Contender:
    """`LIF`, alone or behind a Linear, in either memory mode."""
    neuron = LIF(tau_mem=TAU, threshold=1.0, memory=memory)
    model: LIF | Sequential
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


def events(work: Work) -> Contender:
    """Synapses that add the rows of the inputs that fired, in place of the linear layer; they have no bias."""
    assert work.weight is not None
    post, pre = work.weight.shape
    synapses = DelayedLinear(pre, post)
    synapses.weight.data.copy_(work.weight)
    model = Sequential(synapses, LIF(tau_mem=TAU, threshold=1.0))
    mode = "DelayedLinear and LIF: event-driven synapses"
    return two_passes(f"{OURS}, events", mode, lambda: model(work.inputs)[0], list(synapses.parameters()), work.grad)


def named(memory: str) -> str:
    """The contender's name."""
    return OURS if memory == "fast" else f"{OURS}, {memory}"


def lsnn(
    weight_in: Tensor,
    weight_rec: Tensor,
    n_adaptive: int,
    settings: dict[str, float],
    inputs: Tensor,
    grad: Tensor,
    memory: str = "fast",
) -> Contender:
    """The recurrent part of an LSNN without delays, in either memory mode."""
    n = len(weight_rec)
    strength = torch.zeros(n)
    strength[n - n_adaptive :] = settings["adapt_strength"]
    neuron = ALIF(
        tau_adapt=settings["tau_adapt"], adapt_strength=strength, threshold=settings["threshold"], memory=memory
    )
    model = Sequential(DelayedLinear(weight_in.shape[1], n), Recurrent(neuron, DelayedLinear(n, n)))
    given = {"0.weight": weight_in, "1.synapse.weight": weight_rec}
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(next(value for end, value in given.items() if name.endswith(end)))
    mode = f"Recurrent(ALIF(memory='{memory}'), DelayedLinear), event-driven"
    return two_passes(named(memory), mode, lambda: model(inputs)[0], model.parameters(), grad)
