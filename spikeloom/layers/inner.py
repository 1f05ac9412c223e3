"""Layers inside a container, stateful ones and ordinary modules: checks, and the computation of one layer.

A `Stateful` layer gets the sequence [T, B, *N] and its state. A stateless module, such as nn.Linear or nn.Conv2d, gets
all steps folded into its batch [T B, *N]: it must not contain a stateful layer, since samples and steps would be mixed
silently. `check_layer` refuses modules that do.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from ..core import State, Stateful
from ..errors import ConfigError, ShapeError, check_dense
from ..neurons import PSN

_IN_TIME = (Stateful, PSN, nn.RNNBase, nn.RNNCellBase)
_NOT_ONE_INPUT = (nn.MultiheadAttention, nn.Bilinear, nn.Transformer, nn.TransformerDecoder, nn.TransformerDecoderLayer,
                  nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)  # fmt: skip


def folded(function: Callable[..., Any], *xs: Tensor, place: str = "") -> Any:
    """Apply a stateless module or function to sequences: to all steps as one batch, or once if they are constant.

    Shapes: xs [T, B, *N] -> [T, B, *M]; an input expanded along time is constant. A result that is not a tensor is
    returned unchanged.

    Raises:
        ShapeError: an input is not a sequence, or the function does not keep the samples apart.

    >>> ys = folded(torch.add, torch.ones(2, 3).expand(5, 2, 3), torch.ones(2, 3).expand(5, 2, 3))
    >>> ys.shape, ys.stride(0)
    (torch.Size([5, 2, 3]), 0)
    """
    place = place or (type(function).__name__ if isinstance(function, nn.Module) else "A function")
    if not callable(function) or not xs:
        raise ConfigError(f"folded needs a function and a sequence, but got {function!r} and {len(xs)} sequences.")
    for x in xs:
        check_timed(place, x)
    steps, batch = xs[0].shape[:2]
    once = steps > 1 and all(x.stride(0) == 0 for x in xs) and not _may_draw(function)
    if isinstance(function, nn.Module):
        _check_samples(place, function, xs[0])
    try:
        out = function(*(x[0] if once else x.flatten(0, 1) for x in xs))
    except RuntimeError as error:
        if not isinstance(function, nn.Module) or not type(function).__module__.startswith("torch.nn."):
            raise  # other modules may raise errors of their own
        own = next((part.dtype for part in function.parameters()), xs[0].dtype)
        if own != xs[0].dtype:
            raise ShapeError(
                f"{place} has parameters of {own} but got {xs[0].dtype}. Convert its input with .to({own})."
            ) from error
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ShapeError(f"{place} cannot take input {list(xs[0].shape)}: {error}. Change its sizes.") from error
    if not isinstance(out, Tensor):
        return out
    samples = batch if once else steps * batch
    if out.dim() == 0 or len(out) != samples:
        raise ShapeError(
            f"{place} turned {samples} samples into {list(out.shape)}. The first dimension must stay "
            "that of the samples: reduce, reshape and join along the others."
        )
    return out.expand(steps, *out.shape) if once else out.reshape(steps, batch, *out.shape[1:])


def _may_draw(function: Any) -> bool:
    """Return whether a module may be random: any in training mode, or one of another package."""
    return isinstance(function, nn.Module) and any(
        part.training or not type(part).__module__.startswith(("torch.nn.", "spikeloom."))
        for part in function.modules()
    )


def _check_samples(place: str, module: nn.Module, xs: Tensor) -> None:
    """Raise ShapeError if a module of torch would take the batch of all steps [T B, *N] for one sample."""
    first = module
    while isinstance(first, nn.Sequential) and len(first):
        first = first[0]
    if isinstance(first, nn.TransformerEncoder) and len(first.layers):
        first = first.layers[0]
    if isinstance(first, _ConvNd):
        dims, advice = 2 + len(first.kernel_size), "Add the channels' dimension: xs.unsqueeze(2)"
    elif isinstance(first, nn.TransformerEncoderLayer):
        dims, advice = 3, "It needs [T, B, tokens, features]"
        if not first.self_attn.batch_first:
            raise ConfigError(f"{place} takes samples second. Build it with batch_first=True.")
    else:
        return
    if xs.dim() - 1 != dims:
        raise ShapeError(
            f"{place} needs a sequence of {dims + 1} dimensions, but got {list(xs.shape)}, whose steps and samples "
            f"it would mix. {advice}."
        )


def check_timed(owner: str, xs: Tensor) -> None:
    """Raise ShapeError unless `xs` is a sequence [T, B, *N] of any dtype, with at least one step."""
    if not isinstance(xs, Tensor):
        raise ShapeError(
            f"{owner} needs a tensor [T, B, *N], but got {type(xs).__name__}. If it comes from a layer that "
            "returns more "
            "than a tensor, take the part that goes on."
        )
    check_dense(owner, xs)
    if xs.dim() < 2 or xs.shape[0] == 0:
        raise ShapeError(f"{owner} needs input [T, B, *N], time first, with T >= 1, but got {list(xs.shape)}.")


def check_layer(owner: str, layer: object) -> None:
    """Raise ConfigError unless a layer is `Stateful` itself, or a module without stateful layers inside.

    >>> check_layer("Sequential", nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 4)))
    Traceback (most recent call last):
    spikeloom.errors.ConfigError: Sequential got Sequential, which holds a layer that lives in time, 1 (LSTM), ...
    """
    if isinstance(layer, Stateful):
        return
    if not isinstance(layer, nn.Module):
        kind = f"the class {layer.__name__}" if isinstance(layer, type) else described(layer)
        raise ConfigError(f"{owner} needs modules as its layers, but got {kind}. Pass an instance of nn.Module.")
    if isinstance(layer, _NOT_ONE_INPUT):
        raise ConfigError(
            f"{owner} needs layers that turn one tensor into one tensor, but got {type(layer).__name__}. Wrap it in a "
            "module whose forward does."
        )
    inner = next(_in_time(layer), None)
    if inner is None:
        return
    path, part = inner
    name, kind = type(layer).__name__, type(part).__name__
    if isinstance(part, PSN):
        how = "A PSN sees its future and has no state: call it outside, or use SlidingPSN or MaskedPSN."
    elif not isinstance(part, Stateful):
        how = "Wrap it in a Stateful layer that carries its state, as LSTMBaseline does."
    elif hasattr(layer, "_orig_mod"):
        how = f"Pass the layer as it is and compile the whole: torch.compile({owner}(...))."
    else:
        how = (
            "Use Sequential of spikeloom, Residual or Branches instead, or derive it from Stateful "
            "(docs/how-to/blocks-of-your-own.md)."
        )
    what = f"which holds a layer that lives in time, {path} ({kind})," if path else "which lives in time"
    raise ConfigError(
        f"{owner} got {name}, {what} but is not Stateful itself: all steps would be folded into its batch, and "
        "steps and "
        f"samples would mix. {how}"
    )


def _in_time(layer: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the stateful modules in a module with their paths, including those in lists, tuples and dicts."""
    for path, module in layer.named_modules():
        if isinstance(module, _IN_TIME):
            yield path, module
        for name, value in vars(module).items():
            held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
            for part in held if not name.startswith("_") else ():
                if isinstance(part, nn.Module):
                    yield from ((f"{path}.{name}".lstrip("."), inner) for _, inner in _in_time(part))


def start(layer: nn.Module, x: Tensor) -> tuple[Tensor, State]:
    """Return the output of a layer for the first slice [B, *N], and its initial state."""
    if isinstance(layer, Stateful):
        state = layer.initial_state(x)
        norms = [part for part in layer.modules() if isinstance(part, _NormBase) and part.training]
        counted = [buffer for norm in norms for buffer in norm.buffers()]
        before = [buffer.clone() for buffer in counted]
        out = layer.step(x, state)[0]
        for buffer, value in zip(counted, before, strict=True):  # undo batch norm statistics: the slice is run again
            buffer.copy_(value)
        return out, state
    buffers = {name: value.clone() for name, value in layer.named_buffers()} if layer.training else {}
    if buffers:  # keep batch norm statistics: the slice is run again
        return torch.func.functional_call(layer, buffers, (x,)), ()
    return layer(x), ()


def step(layer: nn.Module, x: Tensor, state: State) -> tuple[Tensor, State]:
    """Compute one step of a stateful or stateless layer."""
    return layer.step(x, state) if isinstance(layer, Stateful) else (layer(x), ())


def run(layer: nn.Module, xs: Tensor, state: State | None) -> tuple[Tensor, State]:
    """Process a sequence by a stateful or stateless layer."""
    if isinstance(layer, Stateful):
        moved: tuple[Tensor, State] = layer(xs, state)
        return moved
    out = folded(layer, xs)
    if not isinstance(out, Tensor):
        raise ShapeError(
            f"{type(layer).__name__} returned {described(out)}, but a module without time must return one "
            "tensor. If it "
            "lives in time, derive it from Stateful."
        )
    return out, ()


def check_parts(owner: str, state: State, layers: Iterable[nn.Module]) -> None:
    """Raise ShapeError unless a state is a tuple with one item per layer, `()` for stateless ones."""
    parts = list(layers)
    if type(state) is not tuple or len(state) != len(parts):
        needed = ", ".join(type(layer).__name__ if isinstance(layer, Stateful) else "()" for layer in parts)
        raise ShapeError(
            f"{owner} got {described(state)} as its state, but needs a tuple of {len(parts)} parts, those of "
            "its layers: "
            f"({needed}). Pass state=None to start afresh, or the state that it returned."
        )
    for place, (layer, part) in enumerate(zip(parts, state, strict=True)):
        if not isinstance(layer, Stateful) and (not isinstance(part, tuple) or part):
            raise ShapeError(
                f"{owner} got {described(part)} as part {place} of its state, but layer {place} "
                f"({type(layer).__name__}) "
                "has none: it needs (). Pass state=None to start afresh, or the state that it returned."
            )


def described(thing: object) -> str:
    """Return a short description of a state, or of what was passed in its place, for messages.

    >>> described(torch.zeros(2, 3)), described((1, 2)), described(None)
    ('a tensor [2, 3]', 'a tuple of 2 parts', 'NoneType')
    """
    name = type(thing).__name__
    if isinstance(thing, Tensor):
        return f"a tensor {list(thing.shape)}"
    if isinstance(thing, tuple) and hasattr(thing, "_fields"):
        return f"a {name}({', '.join(thing._fields)})"
    return f"a {name} of {len(thing)} parts" if isinstance(thing, tuple | list) else name
