"""The peers, each used as its documentation says and in the fastest mode it documents.

All do the same work: LIF neurons with time constant 20 steps and threshold 1 over currents [T, B, N] in float32,
forward and backward, each library with its own surrogate slope. The gradient of the spikes is given, so no loss is
timed. Where a work has weights, a plain nn.Linear stands before the neurons and its weight and bias get gradients;
where it has none, the currents do.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from .measure import Contender

TAU = 20.0
DECAY = math.exp(-1.0 / TAU)


@dataclass(frozen=True)
class Work:
    """Inputs of a workload. `weight` is None where the currents go straight into the neurons."""

    inputs: Tensor  # [T, B, N]
    grad: Tensor  # [T, B, N], of the spikes
    weight: Tensor | None  # [N, N]


def linear_work(steps: int, batch: int, n: int, gain: float = 6.0, activity: float = 0.1) -> Work:
    """Sparse 0/1 inputs into a weight matrix that makes some per cent of the neurons fire."""
    inputs = (torch.rand(steps, batch, n) < activity).float()
    weight = gain * torch.randn(n, n) / math.sqrt(n * activity)
    return Work(inputs, torch.randn(steps, batch, n), weight)


def current_work(steps: int, batch: int, n: int) -> Work:
    """Noisy currents around the threshold."""
    return Work(0.6 + 2.0 * torch.randn(steps, batch, n), torch.randn(steps, batch, n), None)


def torch_contender(
    name: str,
    mode: str,
    work: Work,
    neurons: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor],
    gain: float = 1.0,
) -> Contender:
    """`neurons(synapse, inputs)` -> spikes. `gain` replaces the factor (1 - decay) where a peer has none."""
    if work.weight is None:
        inputs = (gain * work.inputs).requires_grad_()
        leaves, synapse = [inputs], _identity
    else:
        inputs = work.inputs
        layer = nn.Linear(work.weight.shape[1], work.weight.shape[0])
        layer.weight.data.copy_(gain * work.weight)
        layer.bias.data.zero_()
        leaves, synapse = list(layer.parameters()), layer

    return two_passes(name, mode, lambda: neurons(synapse, inputs), leaves, work.grad)


def two_passes(
    name: str, mode: str, forward: Callable[[], Tensor], leaves: Iterable[Tensor], grad: Tensor
) -> Contender:
    """A contender of forward and backward pass, from its forward pass and the tensors that get gradients."""
    leaves = list(leaves)

    def run() -> Tensor:
        for leaf in leaves:
            leaf.grad = None
        spikes = forward()
        torch.autograd.backward(spikes, grad)
        return spikes.detach()

    return Contender(name, mode, run, forward=forward)


def _identity(currents: Tensor) -> Tensor:
    return currents


class Triangle(torch.autograd.Function):
    """A spike and its triangular surrogate, for the plain loop."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor) -> Tensor:
        ctx.save_for_backward(distance)
        return (distance > 0).to(distance.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        distance: Tensor = ctx.saved_tensors[0]
        return grads[0] * 0.3 * (1 - distance.abs()).clamp(min=0)


def plain_loop(work: Work) -> Contender:
    """Time loop that a careful user writes without any library."""

    def neurons(synapse: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        currents = synapse(inputs)
        voltage = torch.zeros_like(currents[0])
        spikes = torch.zeros_like(voltage)
        out = []
        for current in currents.unbind(0):
            voltage = DECAY * voltage + (1 - DECAY) * current - spikes
            spikes = Triangle.apply(voltage - 1.0)  # type: ignore[no-untyped-call]
            out.append(spikes)
        return torch.stack(out)

    return torch_contender("plain torch loop", "autograd; synapse folded over time; unbind", work, neurons)


def snntorch(work: Work, folded: bool) -> Contender:
    """snnTorch, `Leaky`.

    Its tutorials call the linear layer inside the time loop and stack spikes and voltages; `folded` does neither.
    """
    import snntorch as snn

    leaky = snn.Leaky(beta=DECAY)

    def neurons(synapse: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        voltage = leaky.init_leaky()
        out = []
        for current in synapse(inputs).unbind(0):
            spikes, voltage = leaky(current, voltage)
            out.append(spikes)
        return torch.stack(out)

    def neurons_in_the_loop(synapse: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        voltage = leaky.init_leaky()
        out, voltages = [], []
        for step in range(len(inputs)):
            spikes, voltage = leaky(synapse(inputs[step]), voltage)
            out.append(spikes)
            voltages.append(voltage)
        torch.stack(voltages)
        return torch.stack(out)

    if folded:
        return torch_contender("snnTorch, folded", "Leaky; synapse folded over time; unbind", work, neurons, 1 - DECAY)
    return torch_contender("snnTorch", "Leaky; as its tutorials: x[step]", work, neurons_in_the_loop, 1 - DECAY)


def spikingjelly(work: Work) -> Contender:
    """SpikingJelly 2, `LIFNode` in multi-step mode: its fused operator, of the implementation that it chooses."""
    from spikingjelly.activation_based import functional, neuron

    node = neuron.LIFNode(tau=TAU, v_reset=None, step_mode="m")

    def neurons(synapse: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        functional.reset_net(node)
        spikes: Tensor = node(synapse(inputs))
        return spikes

    return torch_contender("SpikingJelly", "LIFNode, step_mode='m'; synapse folded over time", work, neurons)


def norse(work: Work) -> Contender:
    """Norse, `LIFBoxCell`: its LIF without synaptic current, stepped over unbound slices."""
    from norse.torch import LIFBoxCell, LIFBoxParameters

    cell = LIFBoxCell(LIFBoxParameters(tau_mem_inv=torch.tensor(1e3 / TAU)))

    def neurons(synapse: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        state, out = None, []
        for current in synapse(inputs).unbind(0):
            spikes, state = cell(current, state)
            out.append(spikes)
        return torch.stack(out)

    return torch_contender("Norse", "LIFBoxCell; synapse folded over time; unbind", work, neurons)


def sinabs(work: Work, rounds: int | None = None) -> Contender:
    """sinabs, `LIF` with single spikes; it wants the batch first. Its time constant is a parameter: frozen here."""
    from sinabs.activation import SingleSpike
    from sinabs.layers import LIF

    layer = LIF(tau_mem=TAU, spike_fn=SingleSpike)
    layer.requires_grad_(False)

    def neurons(synapse: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        layer.reset_states()
        spikes: Tensor = layer(synapse(inputs).transpose(0, 1))
        return spikes.transpose(0, 1)

    made = torch_contender("sinabs", "LIF, SingleSpike; synapse folded over time", work, neurons)
    return replace(made, rounds=rounds)


def spyx(work: Work) -> Contender:
    """Spyx (JAX): `LIF` under lax.scan, the synapse folded over time, the whole of it compiled once."""
    import jax
    import jax.numpy as jnp
    from flax import nnx
    from spyx import nn as spyx_nn

    n = work.inputs.shape[-1]
    graph, values = nnx.split(spyx_nn.LIF((n,), beta=DECAY, rngs=nnx.Rngs(0)))
    has_weight = work.weight is not None
    inputs = jnp.asarray(work.inputs.numpy() * (1.0 if has_weight else 1 - DECAY))
    weight = None if work.weight is None else jnp.asarray((work.weight * (1 - DECAY)).numpy())
    leaf = inputs if weight is None else (weight, jnp.zeros(n))
    grad = jnp.asarray(work.grad.numpy())

    def forward(leaf: Any, inputs: Any) -> Any:
        currents = inputs @ leaf[0].T + leaf[1] if has_weight else leaf
        return spyx_nn.run(nnx.merge(graph, values), currents)[0]

    def both(leaf: Any, inputs: Any, grad: Any) -> Any:
        spikes, pull = jax.vjp(lambda leaf: forward(leaf, inputs), leaf)
        return spikes, pull(grad)

    compiled = jax.jit(both)

    def run() -> Any:
        return jax.block_until_ready(compiled(leaf, inputs, grad))[0]

    return Contender("Spyx", "LIF under lax.scan, jit; synapse folded over time", run)


def peers(work: Work) -> list[Contender]:
    """Every peer that is installed; Spyx, whose tensors are not torch's, only on the CPU.

    sinabs is quadratic in time where the currents need a gradient: one round then.
    """
    in_the_loop = work.weight is not None
    makers: list[tuple[str, Callable[[], Contender]]] = [
        *([] if work.inputs.is_cuda else [("spyx", lambda: spyx(work))]),
        ("spikingjelly", lambda: spikingjelly(work)),
        ("snntorch", lambda: snntorch(work, folded=True)),
        *([("snntorch", lambda: snntorch(work, folded=False))] if in_the_loop else []),
        ("norse", lambda: norse(work)),
        ("sinabs", lambda: sinabs(work, None if in_the_loop else 1)),
    ]
    return [make() for package, make in makers if find_spec(package) is not None]
