"""Random numbers from a layer's own generator under `torch.utils.checkpoint`.

Checkpointing runs a region of a network twice, in the forward pass and again in the backward pass, and restores torch's
default generator in between. It does not know other generators: a layer with one would draw new numbers and get the
gradient of another forward pass. So the state of the generator before each draw is recorded on the object that
represents the checkpointed region, and the recomputation draws from a copy in that state. The generator itself advances
once, in the forward pass.

The region is identified by the call stack: in the forward pass it holds a function of `torch.utils.checkpoint` with the
frame of the region (or the context of its autograd function, with use_reentrant=True), and the same object is there
when the region is recomputed.
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
    """Recorded draws of a checkpointed region."""

    states: list[tuple[torch.Generator, torch.Tensor]]  # of the forward pass, in order: generator, state before
    repeated: dict[Any, int]  # how many of them each recomputation has repeated


def repeatable(generator: torch.Generator) -> torch.Generator:
    """Return the generator to draw from: `generator` or, in a recomputation, a copy that repeats its draws.

    Raises:
        ConfigError: a region is recomputed by other means than torch.utils.checkpoint, so it would draw other numbers.
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
    """Return the object of the checkpointed region that a frame of torch.utils.checkpoint runs, and an identifier of
    its recomputation (None in the forward pass); None and None for other frames."""
    name, variables = frame.f_code.co_name, frame.f_locals
    if name == "checkpoint" and "gen" in variables:  # use_reentrant=False, forward pass
        return variables["gen"].gi_frame.f_locals.get("new_frame"), None
    if name == "forward" and "ctx" in variables:  # use_reentrant=True, forward pass
        return variables["ctx"], None
    if name == "backward" and "ctx" in variables:  # use_reentrant=True, recomputation
        return variables["ctx"], _graph_task()
    if name == "unpack_hook" and "frame" in variables:  # use_reentrant=False, recomputation
        return variables["frame"], variables.get("gid")
    return None, None


def _repeat(part: Any, recomputation: Any, generator: torch.Generator) -> torch.Generator:
    """Return a copy of the generator in the state before the next recorded draw of the forward pass."""
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
