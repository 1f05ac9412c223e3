"""Draws from a layer's own generator under `torch.utils.checkpoint`.

Checkpointing runs a part of a network twice, in the forward pass and again when the backward pass needs it, and puts
torch's own generator back to where it was in between. It knows nothing of other generators: a layer that has one would
draw new numbers and get the gradient of another forward pass. So the state of the generator before each draw is noted
on the object that stands for the checkpointed part, and the recomputation draws from a copy in that state. The
generator itself moves on once, in the forward pass.

Which part is running is read from the call stack: in the forward pass a function of `torch.utils.checkpoint` is on it
that holds the part's frame (or the context of its autograd function, with use_reentrant=True), and the same object is
there when the part is recomputed.
"""

import sys
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch.utils import checkpoint

from ..errors import ConfigError

_FILE = checkpoint.__file__
_graph_task: Any = torch._C._current_graph_task_id


class _Notes(NamedTuple):
    """The draws of a checkpointed part."""

    states: list[tuple[torch.Generator, torch.Tensor]]  # of the forward pass, in order: generator, state before
    repeated: dict[Any, int]  # how many of them each recomputation has repeated


def repeatable(generator: torch.Generator) -> torch.Generator:
    """The generator to draw from: itself or, while a checkpointed part is recomputed, a copy that repeats its draws.

    Raises:
        ConfigError: a part is recomputed in a way that cannot be followed, so that it would draw other numbers.
    """
    running: list[Any] = []
    source = generator
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == _FILE:
            part, recomputation = _part(frame)
            if recomputation is not None:
                source = _repeat(part, recomputation, generator)
                break
            if part is not None:
                running.append(part)
        frame = frame.f_back
    else:
        if _graph_task() != -1:
            raise ConfigError(_UNFOLLOWED)
    for part in running:
        if not hasattr(part, "spikeloom_draws"):
            part.spikeloom_draws = _Notes([], {})
        part.spikeloom_draws.states.append((generator, source.get_state()))
    return source


_UNFOLLOWED = (
    "a layer draws from its own generator during a backward pass, and nothing says what it drew in the forward pass: "
    "recomputed like this it would draw other numbers. Use torch.utils.checkpoint, give the layer torch's own "
    "generator (generator=None), or pass its state from initial_state() as an argument."
)


def _part(frame: FrameType) -> tuple[Any, Any]:
    """What stands for the checkpointed part that a function of torch.utils.checkpoint runs, and, if it recomputes it,
    a name for this recomputation; None for other functions."""
    name, found = frame.f_code.co_name, frame.f_locals
    if name == "checkpoint" and "gen" in found:
        return found["gen"].gi_frame.f_locals.get("new_frame"), None
    if name == "forward" and "ctx" in found:
        return found["ctx"], None
    if name == "backward" and "ctx" in found:
        return found["ctx"], _graph_task()
    if name == "unpack_hook" and "frame" in found:
        return found["frame"], found.get("gid")
    return None, None


def _repeat(part: Any, recomputation: Any, generator: torch.Generator) -> torch.Generator:
    """A copy of the generator as it was before the next draw of the forward pass."""
    notes: _Notes | None = getattr(part, "spikeloom_draws", None)
    place = 0 if notes is None else notes.repeated.get(recomputation, 0)
    if notes is None or place >= len(notes.states):
        raise ConfigError(_UNFOLLOWED)
    drawn, state = notes.states[place]
    if drawn is not generator:
        raise ConfigError(_UNFOLLOWED)
    notes.repeated[recomputation] = place + 1
    copy = torch.Generator(generator.device)
    copy.set_state(state)
    return copy
