"""A constant input for many steps, a block of steps at a time: as many as fit into a memory limit.

The first block is one step, in which the outputs of all layers are measured. A block then holds
limit / (2 x the largest output of a step) steps, fewer where a `Converted` holds more values than two at once.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..core import State, Stateful
from ..errors import ShapeError, SpikeloomError
from .converted import Converted

LIMIT = 1 << 28
"""Bytes of the values of one block: 256 MB."""


def in_blocks(
    model: Stateful,
    x: Tensor,
    steps: int,
    memory: int = LIMIT,
    state: State | None = None,
    begin: Callable[[int], None] | None = None,
) -> Iterator[tuple[Tensor, State]]:
    """Show `x` [B, *N] for some steps: outputs [T, B, K] and the state after each block.

    Args:
        memory: bytes of the values of a block; a block has at least one step.
        begin: is told the size of each block before it runs.

    Raises:
        ShapeError: the model cannot take this input.

    >>> from spikeloom.neurons import LIF
    >>> [len(out) for out, _ in in_blocks(LIF(), torch.ones(2, 3), 25, memory=500)]
    [1, 10, 10, 4]
    """
    largest, done, block = [0], 0, 1
    watched = [_watch(module, largest) for module in model.modules()]
    try:
        while done < steps:
            if begin is not None:
                begin(block)
            try:
                out, state = model(x.expand(block, *x.shape), state)
            except SpikeloomError:
                raise
            except (RuntimeError, IndexError, TypeError, ValueError) as error:
                if done or isinstance(error, torch.OutOfMemoryError):
                    raise
                raise ShapeError(
                    f"{type(model).__name__} cannot take the input {list(x.shape)} of {x.dtype}: "
                    f"{str(error).splitlines()[0]}. Pass a batch [B, *N] as in training."
                ) from error
            done += block
            while watched:
                watched.pop()()
            yield out, state
            block = max(1, min(memory // max(largest[0], 1), steps - done))
    finally:
        while watched:
            watched.pop()()


def _watch(module: nn.Module, largest: list[int]) -> Callable[[], None]:
    """Note how many bytes a module needs in a step; the result ends that."""

    def more(size: int) -> None:
        largest[0] = max(largest[0], size)

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        out = output[0] if isinstance(output, tuple) else output
        if isinstance(out, Tensor):
            more(2 * out.nbytes)

    def forget() -> None:
        handle.remove()
        if isinstance(module, Converted):
            module.note = None

    handle = module.register_forward_hook(hook)
    if isinstance(module, Converted):
        module.note = more
    return forget
