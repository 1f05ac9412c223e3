"""Presentation of samples to an unsupervised network, repeated with stronger input if it hardly responds.

A sample is presented up to `most` times, until the layer has at least `least` spikes. Each time, the input currents are
multiplied by `growth`, and the encoder is passed the number of the attempt. Training and test work alike.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...core import map_state
from ...encoding.events import Events
from ...errors import ConfigError
from .network import DiehlCookNetwork, Fired, NetworkState

Encode = Callable[[Tensor, int], Events]
"""Function from rows of the batch (on the CPU) and the attempt, from 0, to input events."""
STRONGEST = 1e30
"""Upper bound of the gain, so that sums of currents do not overflow in float32."""


@dataclass(frozen=True)
class Repeats:
    """Options of repeated presentations.

    Raises:
        ConfigError: a value is out of range.
    """

    least: int = 5
    """Spikes of the layer from which a sample is not presented again."""
    most: int = 5
    """Maximum number of presentations."""
    gain: float = 1.0
    """Factor of the input currents at the first presentation."""
    growth: float = 1.0
    """Growth factor of the gain from one presentation to the next."""
    carry: bool = False
    """Keep voltages, traces and refractory times from one presentation to the next, instead of a reset."""

    def __post_init__(self) -> None:
        whole = isinstance(self.least, int) and isinstance(self.most, int)
        if not whole or self.least < 0 or self.most < 1 or not (self.gain > 0.0 and self.growth > 0.0):
            raise ConfigError(
                f"Repeats needs least >= 0, most >= 1, gain and growth > 0, but got {self.least}, {self.most}, "
                f"{self.gain}, {self.growth}."
            )
        most = math.log(self.gain) + (self.most - 1) * math.log(self.growth)
        if not max(math.log(self.gain), most) < math.log(STRONGEST):
            raise ConfigError(
                f"From gain {self.gain:g} on, {self.most} presentations with growth {self.growth:g} reach a gain of "
                f"10^{most / math.log(10):.3g}, but currents need one below {STRONGEST:g}. Choose smaller ones."
            )


class Presentation(NamedTuple):
    """Spikes of the layer at the last presentation of each sample."""

    counts: Tensor  # [B, N], spikes; on the CPU
    fired: Fired  # in the order of the presentations; on the CPU
    repeats: int  # presentations beyond the first, of all samples


def present_(network: DiehlCookNetwork, state: NetworkState, encode: Encode, repeats: Repeats) -> Presentation:
    """Present a batch; `state` is updated in place, including the weights in train() mode.

    The encoder's events define the duration of a presentation.
    """
    start_(network, state, repeats.gain)
    rows = torch.arange(len(state.spikes))
    fired = on_cpu(network.advance_(encode(rows, 0), state))
    network.normalise_(state)
    counts = count(fired, *state.spikes.shape)
    spikes, again = [fired], 0
    for attempt in range(1, repeats.most):
        rows = (counts.sum(1) < repeats.least).nonzero().flatten()
        if not len(rows):
            break
        there = rows.to(state.weight.device)
        part = state if len(rows) == len(counts) else chosen(state, there)
        gain = repeats.gain * repeats.growth**attempt
        if repeats.carry:
            part.gain.fill_(gain)
        else:
            start_(network, part, gain)
        fired = on_cpu(network.advance_(encode(rows, attempt), part))
        network.normalise_(part)
        counts[rows] = count(fired, *part.spikes.shape)
        spikes = [drop(one, rows) for one in spikes] + [fired._replace(samples=rows[fired.samples])]
        put_back_(state, part, there)
        again += len(rows)
    joined = Fired(*(torch.cat(parts) for parts in zip(*spikes, strict=True)))
    return Presentation(counts, joined, again)


def start_(network: DiehlCookNetwork, state: NetworkState, gain: float) -> None:
    """Reset the samples of a state in place."""
    for old, new in zip(leaves(state), leaves(network.fresh(state, gain)), strict=True):
        if old is not new:
            old.copy_(new)


def leaves(state: object) -> list[Tensor]:
    """Return all tensors of a state."""
    if isinstance(state, Tensor):
        return [state]
    return [leaf for part in state for leaf in leaves(part)] if isinstance(state, tuple) else []


def shared(state: NetworkState) -> tuple[int, ...]:
    """Return the ids of the tensors shared by the samples of a state: weights and homeostasis."""
    return id(state.weight), id(state.neurons.homeostasis)


def chosen(state: NetworkState, rows: Tensor) -> NetworkState:
    """Return the state of the samples in `rows`: copies, except for weights and homeostasis."""
    common = shared(state)

    result: NetworkState = map_state(lambda part: part if id(part) in common else part[rows], state)
    return result


def put_back_(state: NetworkState, part: NetworkState, rows: Tensor) -> None:
    """Write the state of the samples in `rows` into the state of all samples."""
    for whole, some in zip(leaves(state), leaves(part), strict=True):
        if whole is not some:
            whole[rows] = some


def on_cpu(fired: Fired) -> Fired:
    """Move spikes to the CPU, where samples and labels are."""
    return Fired(*(tensor.cpu() for tensor in fired))


def count(fired: Fired, batch: int, size: int) -> Tensor:
    """Count the spikes [B, N] of each neuron in each sample.

    >>> count(Fired(torch.tensor([0, 3]), torch.tensor([0, 0]), torch.tensor([1, 1])), 1, 3)
    tensor([[0., 2., 0.]])
    """
    cells = fired.samples * size + fired.neurons
    return torch.bincount(cells, minlength=batch * size).view(batch, size).float()


def drop(fired: Fired, rows: Tensor) -> Fired:
    """Remove the spikes of the samples in `rows`."""
    keep = ~torch.isin(fired.samples, rows)
    return Fired(*(tensor[keep] for tensor in fired))
