"""Presentation of a constant input for many steps, in blocks of as many steps as fit into a memory limit.

The first block is one step, in which the output sizes of all layers are measured. Further blocks have
limit / (2 x the largest output of a step) steps, or fewer where a `Converted` holds more than two values at once.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..core import State, Stateful
from ..errors import ConfigError, ShapeError, SpikeloomError
from .converted import Converted

LIMIT = 1 << 28
"""Default memory limit of one block in bytes: 256 MB."""


def check_batch(owner: str, x: Any, least: int = 1) -> None:
    """Raise an error unless `x` is a batch [B, *N] of at least `least` samples, of finite floating point numbers.

    Raises:
        ShapeError: the shape or type is wrong.
        ConfigError: a value is not finite.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() < 2 or len(x) < least:
        got = f"{x.dtype} {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ShapeError(
            f"{owner} needs a floating point batch [B, *N] with B >= {least}, but got {got}. Call .float() on whole "
            "numbers (and divide images of 0 to 255 by 255), and add a missing batch dimension."
        )
    if not bool(x.isfinite().all()):
        raise ConfigError(f"{owner} got an input with values that are not finite. Look for what made them so.")


def check_whole(owner: str, least: int = 1, **values: Any) -> None:
    """Raise ConfigError unless every value is a whole number of at least `least`."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(f"{owner} needs {name} >= {least}, a whole number, but got {value}.")


def check_finite(owner: str, module: nn.Module) -> None:
    """Raise ConfigError, naming them, if parameters or buffers of a module are not finite."""
    named = (*module.named_parameters(), *module.named_buffers())
    wrong = [n for n, tensor in named if tensor.is_floating_point() and not bool(tensor.isfinite().all())]
    if wrong:
        raise ConfigError(
            f"{owner} found values that are not finite in {', '.join(wrong)}. Load sound weights; a batch norm needs "
            "a variance that is not negative."
        )


def in_blocks(
    model: Stateful,
    x: Tensor,
    steps: int,
    memory: int = LIMIT,
    state: State | None = None,
    begin: Callable[[int], None] | None = None,
) -> Iterator[tuple[Tensor, State]]:
    """Present `x` [B, *N] for `steps` steps; yield outputs [T, B, K] and the state after each block.

    Args:
        memory: memory limit of a block in bytes; a block has at least one step.
        begin: called with the size of each block before it runs.

    Raises:
        ShapeError: the model does not accept this input.

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
    """Record the bytes that a module needs per step; return a function that removes the hook."""

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
