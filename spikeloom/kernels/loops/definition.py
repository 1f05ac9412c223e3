"""The definition: the reference implementation of the loops, step by step with torch operations and autograd.

i[t] = current[t] + sum_d W_d s[t - 1 - d]                       recurrent loops only
distance, states = equation(i[t], states, spikes = reset = s[t - 1], parameters)
s[t] = spike(distance), or fire(distance, noise), but 0 for `refractory` steps after a spike
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...core import scan
from ...firing import fire
from ...surrogate import spike
from ..noise import later, uniform
from ..transforms import without_autocast


class Moving(NamedTuple):
    """State of a loop, carried from step to step."""

    states: tuple[Tensor, ...]  # [B, N] each, of the equation
    spikes: Tensor  # [B, N], of the step before
    left: Tensor  # [B, N], refractory steps left
    history: tuple[Tensor, ...] = ()  # [B, N] each, spikes of the steps before that, oldest first
    noise: Any = ()  # int64 [B, 2], key and step of a stochastic neuron


def advance(program: Any, x: Tensor, moving: Moving, parameters: dict[str, Tensor]) -> tuple[Tensor, Moving]:
    """Compute one step of neurons that receive the current `x`; return their output and the next state."""
    equation, spikes = program.equation, moving.spikes
    values = dict(zip(equation.states, moving.states, strict=True))
    reset = spikes.detach() if program.detach_reset else spikes
    distance, *states = equation({**values, **parameters, "current": x, "spikes": spikes, "reset": reset})
    if equation.fires == "never":
        return distance, moving._replace(states=tuple(states))
    noise, left = moving.noise, moving.left
    if program.draws == "none":
        out = spike(distance, program.surrogate, equation.fires == "above")
    elif program.draws == "half":
        out = fire(distance, torch.full_like(distance, 0.5, requires_grad=False), program.surrogate)
    else:
        out = fire(distance, uniform(noise, distance.shape[1], distance.dtype), program.surrogate)
        noise = later(noise, 1)
    if program.refractory:
        out = torch.where(left > 0, torch.zeros_like(out), out)
        left = torch.where(out > 0, torch.full_like(left, program.refractory), (left - 1).clamp(min=0))
    return out, Moving(tuple(states), out, left.detach(), moving.history, noise)


def neurons(program: Any, xs: Tensor, moving: Moving, parameters: dict[str, Tensor]) -> tuple[Tensor, Moving]:
    """Run an elementwise loop over currents xs [T, B, N]; return outputs and the last state."""
    return scan(lambda x, state: advance(program, x, state, parameters), xs, moving)


def recurrent(
    program: Any, xs: Tensor, moving: Moving, parameters: dict[str, Tensor], weight: Tensor, delays: Tensor | None
) -> tuple[Tensor, Moving]:
    """Run a recurrent loop over currents xs [T, B, N]; weight and delays [post, pre]."""
    slots = 1 + len(moving.history)  # number of different delays, D
    weights = [
        weight if delays is None else torch.where(delays == d, weight, torch.zeros_like(weight)) for d in range(slots)
    ]

    def step(x: Tensor, state: Moving) -> tuple[Tensor, Moving]:
        past = (*state.history, state.spikes)  # past[-1 - d]: spikes that arrive now with delay d
        for d, part in enumerate(weights):
            x = x + past[-1 - d] @ part.t()
        out, new = advance(program, x, state, parameters)
        return out, new._replace(history=past[1:])

    with without_autocast(xs):
        return scan(step, xs, moving)


def heard(xs: Tensor, weight: Tensor) -> Tensor:
    """Set inputs that no synapse of a sparse weight reads to zero, so that even NaN in them has no effect.

    >>> heard(torch.tensor([[[1.0, float("nan")]]]), torch.tensor([[2.0, 0.0]])).tolist()
    [[[1.0, 0.0]]]
    """
    return xs.masked_fill((weight == 0).all(0), 0.0)


def project(xs: Tensor, past: Tensor, weight: Tensor, delays: Tensor | None, sparse: bool = False) -> Tensor:
    """Compute the currents of input synapses: current[t] = sum_d W_d x[t - d].

    Shapes: past [D - 1, B, I], the inputs before xs [T, B, I]; weight and delays [N, I]; -> [T, B, N].

    With `sparse` a weight of zero is a synapse that does not exist.
    """
    if sparse:
        xs, past = heard(xs, weight), heard(past, weight)
    with without_autocast(xs):
        if delays is None:
            return torch.nn.functional.linear(xs, weight)
        slots, steps = 1 + past.shape[0], xs.shape[0]
        whole = torch.cat([past, xs])
        parts = [torch.where(delays == d, weight, torch.zeros_like(weight)) for d in range(slots)]
        return torch.stack([whole[slots - 1 - d :][:steps] @ part.t() for d, part in enumerate(parts)]).sum(0)
