"""A run of a network that changes nothing in it: buffers, generators and random numbers are as before."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def unchanged(network: nn.Module) -> Iterator[None]:
    """Restore the buffers of a network, the generators of its layers and torch's random numbers after this block.

    >>> net = nn.BatchNorm1d(3)
    >>> with unchanged(net):
    ...     _ = net(torch.ones(4, 3)), torch.rand(1)
    >>> net.running_mean.tolist()
    [0.0, 0.0, 0.0]
    """
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    generators = [
        (value, value.get_state())
        for layer in network.modules()
        for value in vars(layer).values()
        if isinstance(value, torch.Generator)
    ]
    devices = list({part.device.index for part in (*network.parameters(), *network.buffers()) if part.is_cuda})
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)
            for generator, state in generators:
                generator.set_state(state)


def output_of(out: Any) -> Any:
    """Return what a network computed, without the state that layers return beside it.

    >>> output_of((1, "state")), output_of(1)
    (1, 1)
    """
    return out[0] if type(out) is tuple and out else out


def tensors_in(thing: Any) -> Iterator[Tensor]:
    """Yield the tensors in an output or a state, in order."""
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, tuple | list):
        for part in thing:
            yield from tensors_in(part)
    elif isinstance(thing, dict):
        yield from tensors_in(list(thing.values()))


def requiring(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return arguments whose floating point tensors require a gradient, so that one reaches the first layer too."""
    return tuple(x.detach().requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs)
