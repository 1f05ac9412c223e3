"""The interface of all layers with a state over time: state in, state out, a sequence per call.

    out, state = layer(xs)             # [T, B, *N]: starts from the initial state
    out, state = layer(more, state)    # continues where the first call ended
    out, state = layer.step(x, state)  # one dt, the same numbers

A sequence processed whole, in chunks or step by step gives the same outputs, for every layer. The only Python loops
over time are `scan` and `record`.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from .errors import CheckpointError, ConfigError, check_steps

State = Any
"""A NamedTuple of tensors, nested by composition; `()` for a layer without state."""

Step = Callable[[Tensor, State], tuple[Any, State]]


STRUCTURE = "structure"
"""Key of a module's structure in its `state_dict`, after the module's prefix."""


class Structured(nn.Module):
    """A module whose `state_dict` also stores its structure: the options that its tensors depend on.

    `structure()` returns them, for example the largest delay, an order, or a time constant given as a number. They are
    saved as JSON in a uint8 tensor under "structure", so a `state_dict` stays a dict of tensors; one that was saved
    without them, by an earlier version, still loads.

    Raises:
        CheckpointError: a `state_dict` is loaded that was saved by a module of another structure.

    >>> class Order(Structured):
    ...     def __init__(self, order):
    ...         super().__init__()
    ...         self.order = order
    ...     def structure(self):
    ...         return {"order": self.order}
    >>> Order(3).load_state_dict(Order(6).state_dict())
    Traceback (most recent call last):
    spikeloom.errors.CheckpointError: Order was saved with order=6, but this one has order=3. ...
    """

    def structure(self) -> dict[str, float | str | bool | None]:
        """Return the numbers and strings, by name, that the saved tensors depend on; none by default."""
        return {}

    def check(self) -> None:
        """Raise ConfigError if a value of this module itself has left its range; checks nothing by default."""

    def refill(self) -> None:
        """Recompute non-persistent buffers after a load: a module made on the meta device has none."""

    def structure_fits(self, name: str, saved: Any, own: Any) -> bool:
        """Return whether a saved entry of the structure is compatible with this module: by default, if it is equal."""
        return bool(saved == own)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        structure = self.structure()
        if structure:
            text = json.dumps(structure).encode()
            destination[prefix + STRUCTURE] = torch.tensor(list(text), dtype=torch.uint8)

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, metadata: Any, strict: bool, missing: Any, unexpected: Any, errors: Any
    ) -> None:
        key, structure = prefix + STRUCTURE, self.structure()
        if structure and key in state_dict:
            self._check_structure(
                f"{type(self).__name__}{f' ({prefix[:-1]})' * bool(prefix)}", state_dict[key], structure
            )
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing, unexpected, errors)
        self.refill()
        if structure and key in unexpected:
            unexpected.remove(key)

    def _check_structure(self, owner: str, saved: Any, structure: dict[str, Any]) -> dict[str, Any]:
        try:
            if saved.is_floating_point() and bool((saved == saved.round()).all()):  # cast like the rest, e.g. to half
                saved = saved.to(torch.uint8)
            stored = json.loads(bytes(saved.cpu().tolist()))
            if not isinstance(stored, dict):
                raise TypeError(type(stored).__name__)
        except (AttributeError, TypeError, ValueError, RecursionError) as error:
            raise CheckpointError(
                f'{owner} was saved with a structure that cannot be read. The key "{STRUCTURE}" holds text as bytes: '
                "if this state_dict was averaged or converted, leave that key out; else the checkpoint is damaged."
            ) from error
        names = {**stored, **structure}
        differing = [name for name in names if not self.structure_fits(name, stored.get(name), structure.get(name))]
        if differing:
            was, has = (", ".join(f"{name}={part.get(name)}" for name in differing) for part in (stored, structure))
            raise CheckpointError(
                f"{owner} was saved with {was}, but this one has {has}. Build it with the saved values; or, if its "
                f'tensors are wanted with other values, leave the key "{STRUCTURE}" out of the state_dict.'
            )
        return stored


def renew_weights(module: nn.Module) -> None:
    """Recompute the weights of a module that are derived by the hooks of torch's old-style pruning and norms.

    These hooks run only when the module is called. Code that reads the weights without a call runs this first:
    otherwise they are those of the previous call, whose graph has been freed, or those before the last update.

    >>> from torch.nn.utils import prune
    >>> layer = prune.l1_unstructured(nn.Linear(2, 1), "weight", 1)
    >>> with torch.no_grad():
    ...     _ = layer.weight_orig.fill_(3.0)
    >>> renew_weights(layer)
    >>> sorted(layer.weight[0].tolist())
    [0.0, 3.0]
    """
    for hook in module._forward_pre_hooks.values():
        if type(hook).__module__.startswith("torch.nn.utils."):
            hook(module, ())


def check_values(module: nn.Module) -> None:
    """Check that the values of a module and its submodules (time constants, thresholds, ...) are in their ranges.

    On the CPU every call of a layer checks its own values. On a GPU that would synchronise with the device in every
    call, and a compiled graph holds no checks: a training loop calls this function where it reads values anyway.

    Raises:
        ConfigError: a value has left its range; the message names the layer and the value.

    >>> from spikeloom.neurons import LIF
    >>> layers = nn.Sequential(LIF(tau_mem=nn.Parameter(torch.tensor(20.0))))
    >>> check_values(layers)
    >>> _ = layers[0].tau_mem.data.fill_(-1.0)
    >>> check_values(layers)
    Traceback (most recent call last):
    spikeloom.errors.ConfigError: 0: LIF needs tau_mem > 0 and finite, but it is -1.0 now. ...
    """
    for name, part in module.named_modules():
        if isinstance(part, Structured):
            try:
                part.check()
            except ConfigError as error:
                raise ConfigError(f"{name}: {error}" if name else str(error)) from error


class Stateful(Structured, ABC):
    """Base class of layers with a state over time. Learned values are parameters; what changes in a sample is state.

    Shapes: xs [T, B, *N_in] -> [T, B, *N_out]; a slice x is [B, *N_in].

    >>> class Sum(Stateful):
    ...     def initial_state(self, x):
    ...         return torch.zeros_like(x)
    ...     def step(self, x, state):
    ...         return x + state, x + state
    >>> out, state = Sum()(torch.ones(4, 1, 1))
    >>> out.flatten().tolist()
    [1.0, 2.0, 3.0, 4.0]
    """

    @abstractmethod
    def initial_state(self, x: Tensor) -> State:
        """Return the state before the first step; `x` is one slice [B, *N]."""

    @abstractmethod
    def step(self, x: Tensor, state: State) -> tuple[Any, State]:
        """Compute one step of length dt: return the output and the next state, without side effects."""

    def forward(self, xs: Tensor, state: State | None = None) -> tuple[Any, State]:
        """Process a whole sequence: by default `scan(self.step, ...)`; an override may only be faster."""
        check_steps(type(self).__name__, xs)
        return scan(self.step, xs, self.initial_state(xs[0]) if state is None else state)


class Whole(Stateful):
    """Base class of layers that define `forward`, for whole sequences; a step is a sequence of length 1."""

    def step(self, x: Tensor, state: State) -> tuple[Any, State]:
        out, state = self.forward(x.unsqueeze(0), state)
        return out[0], state

    @abstractmethod
    def forward(self, xs: Tensor, state: State | None = None) -> tuple[Any, State]:
        """Process a whole sequence."""


def constant(value: float, like: Tensor) -> Tensor:
    """Return a number as a tensor of the dtype and device of `like`.

    An operation with this tensor takes half the time of one with a Python number.

    >>> constant(0.5, torch.zeros(2, dtype=torch.float64))
    tensor(0.5000, dtype=torch.float64)
    """
    if type(like) is not Tensor and not isinstance(like, nn.Parameter):  # e.g. a fake tensor, which must not be cached
        return torch.tensor(value, dtype=like.dtype, device=like.device)
    return _constant(value, like.dtype, like.device)


@lru_cache(maxsize=256)
def _constant(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # the cached tensor serves later calls outside inference mode, too
        return torch.tensor(value, dtype=dtype, device=device)


def scan(step: Step, xs: Tensor, state: State) -> tuple[Tensor, State]:
    """Call `step` on every slice of `xs` [T, B, *N] in turn and stack its outputs; return them and the last state.

    >>> total, last = scan(lambda x, state: (x + state, x + state), torch.ones(3, 1), torch.zeros(1))
    >>> total[:, 0].tolist(), last.item()
    ([1.0, 2.0, 3.0], 3.0)
    """
    check_steps("scan", xs)
    out = []
    for x in xs.unbind(0):
        y, state = step(x, state)
        out.append(y)
    return torch.stack(out), state


def record(step: Step, xs: Tensor, state: State) -> tuple[Tensor, State]:
    """Run `scan`, but return the states of all steps, stacked along time: for figures and tests.

    >>> _, states = record(lambda x, state: (x, x + state), torch.ones(3, 1), torch.zeros(1))
    >>> states[:, 0].tolist()
    [1.0, 2.0, 3.0]
    """
    check_steps("record", xs)
    out, states = [], []
    for x in xs.unbind(0):
        y, state = step(x, state)
        out.append(y)
        states.append(state)
    return torch.stack(out), map_state(lambda *slices: torch.stack(slices), *states)


def map_state(function: Callable[..., Tensor], *states: State) -> State:
    """Apply `function` to the corresponding tensors of one or several states.

    >>> map_state(torch.add, (torch.ones(1), ()), (torch.ones(1), ()))
    (tensor([2.]), ())
    """
    first = states[0]
    if isinstance(first, Tensor):
        return function(*states)
    parts = [map_state(function, *parts) for parts in zip(*states, strict=True)]
    return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)


def detach(state: State, *, copy: bool = False) -> State:
    """Return a state detached from its graph: the same values, but no gradient flows back through them.

    Args:
        copy: share no memory with `state`, which may be a view of a larger tensor.
    """
    return map_state((lambda tensor: tensor.detach().clone()) if copy else Tensor.detach, state)
