"""Parallel spiking neurons and their baseline as their authors compute them: the contenders of the SHD network.

    LIF     i = a i + x, u = b u' + (1 - b) i, z = [u > 1], u' = u (1 - z): a Python loop over time
    SB, GS  u = irfft(rfft(x, 2T) rfft(a^n, 2T) rfft((1 - b) b^n, 2T), 2T)[:T], then a draw per step

Written from the equations, not from their code. Batch first, [B, T, C], as the originals have it. Three sequences need
3T - 2 points, so in 2T the end of a sequence falls on its beginning; that is theirs too.
Source: Yarga and Wood, Accelerating SNN training with stochastic parallelizable spiking neurons, 2023.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

TAU = 20.0
DECAY = math.exp(-1 / TAU)
"""Decay per step of synapse and membrane alike."""
SIZES = (700, 128, 128, 128, 20)

Fire = Callable[[Tensor], Tensor]


class FastSigmoidSpike(torch.autograd.Function):
    """1 above 0; backward 1 / (100 |x| + 1)^2."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor) -> Tensor:
        ctx.save_for_backward(distance)
        return (distance > 0).to(distance.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        distance: Tensor = ctx.saved_tensors[0]
        return grads[0] / (100 * distance.abs() + 1) ** 2


class Bernoulli(torch.autograd.Function):
    """1 with probability v; backward dz/dv = v."""

    @staticmethod
    def forward(ctx: Any, probability: Tensor, generator: torch.Generator | None) -> Tensor:
        ctx.save_for_backward(probability)
        return torch.bernoulli(probability, generator=generator)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (probability,) = ctx.saved_tensors
        return grads[0] * probability, None


class Hard(torch.autograd.Function):
    """1 above one half; backward the identity."""

    @staticmethod
    def forward(ctx: Any, soft: Tensor) -> Tensor:
        return (soft > 0.5).to(soft.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class LoopedLIF(nn.Module):
    """LIF neurons, or their membrane alone if they do not fire.

    Backward, every slice xs[:, t] fills a gradient of the size of xs with zeros: quadratic in time; `unbind` is linear.
    """

    def __init__(self, fires: bool, unbind: bool) -> None:
        super().__init__()
        self.fires, self.unbind = fires, unbind

    def forward(self, xs: Tensor) -> Tensor:
        current = voltage = torch.zeros_like(xs[:, 0])
        out = []
        slices = xs.unbind(1) if self.unbind else (xs[:, t] for t in range(xs.shape[1]))
        for x in slices:
            current = DECAY * current + x
            voltage = DECAY * voltage + (1 - DECAY) * current
            if self.fires:
                spikes = FastSigmoidSpike.apply(voltage - 1)  # type: ignore[no-untyped-call]
                voltage = voltage * (1 - spikes.detach())
                out.append(spikes)
            else:
                out.append(voltage)
        return torch.stack(out, 1)


class FourierNeuron(nn.Module):
    """A membrane without reset by FFT, and what fires on it, if anything. Kernels are made anew for a new length."""

    def __init__(self, fire: Fire | None) -> None:
        super().__init__()
        self.fire = fire
        self.kernels = torch.empty(2, 0)

    def forward(self, xs: Tensor) -> Tensor:
        steps = xs.shape[1]
        if self.kernels.shape[1] != steps:
            powers = DECAY ** torch.arange(steps, dtype=xs.dtype, device=xs.device)
            self.kernels = torch.stack([powers, (1 - DECAY) * powers])
        synapse, membrane = torch.fft.rfft(self.kernels, 2 * steps)[:, :, None]
        spectrum = torch.fft.rfft(xs, 2 * steps, dim=1) * synapse * membrane
        voltages = torch.fft.irfft(spectrum, 2 * steps, dim=1)[:, :steps]
        return voltages if self.fire is None else self.fire(voltages)


def bernoulli(generator: torch.Generator | None = None) -> Fire:
    """SB: a spike with probability sigmoid(u); dz/du = p^2 (1 - p)."""
    return lambda voltages: Bernoulli.apply(torch.sigmoid(voltages), generator)  # type: ignore[no-untyped-call]


def gumbel(generator: torch.Generator | None = None) -> Fire:
    """GS: a spike where the first of two logits, u and -u, wins after a Gumbel draw each; backward their softmax."""

    def fire(voltages: Tensor) -> Tensor:
        logits = torch.stack([voltages, -voltages], -1)
        uniform = torch.rand(logits.shape, generator=generator, dtype=logits.dtype, device=logits.device)
        soft = torch.softmax(logits - torch.log(-torch.log(uniform)), -1)[..., 0]
        return Hard.apply(soft)  # type: ignore[no-any-return, no-untyped-call]

    return fire


class Network(nn.Module):
    """Linear layers 700-128-128-128-20 with neurons between: inputs [B, T, 700] and labels [B] -> loss."""

    def __init__(self, hidden: Callable[[], nn.Module], readout: nn.Module, generator: torch.Generator | None) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(SIZES):
            linear = nn.Linear(n_in, n_out)
            nn.init.kaiming_uniform_(linear.weight, nonlinearity="linear", generator=generator)
            nn.init.zeros_(linear.bias)
            layers += [linear, hidden()]
        self.layers = nn.Sequential(*layers[:-1], readout)

    def traces(self, inputs: Tensor) -> Tensor:
        """Return the output of the readout, [B, T, 20]."""
        traces: Tensor = self.layers(inputs)
        return traces

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(self.traces(inputs).mean(1), labels)


NAMES = ("original_lif", "lif_unbind", "original_sb", "original_gs", "non_spiking")


def build(name: str, generator: torch.Generator | None = None) -> Network:
    """A network of one of `NAMES`: called with inputs and labels it gives the loss, and it has parameters.

    >>> loss = build("non_spiking")(torch.zeros(2, 5, 700), torch.tensor([0, 3]))
    >>> round(loss.item(), 4) == round(math.log(20), 4)
    True
    """
    if name in ("original_lif", "lif_unbind"):
        unbind = name == "lif_unbind"
        return Network(lambda: LoopedLIF(True, unbind), LoopedLIF(False, unbind), generator)
    if name == "non_spiking":
        return Network(nn.ReLU, nn.Identity(), generator)
    if name in ("original_sb", "original_gs"):
        fire = bernoulli(generator) if name == "original_sb" else gumbel(generator)
        return Network(lambda: FourierNeuron(fire), FourierNeuron(None), generator)
    raise ValueError(f"build needs a name from {', '.join(NAMES)}, but got {name!r}.")
