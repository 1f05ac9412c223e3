"""Containers for layers in a row or in parallel, stateful ones and ordinary modules.

A `Stateful` layer gets the sequence [T, B, *N] and its state. A stateless module, such as nn.Linear or nn.Conv2d, gets
all steps folded into its batch [T B, *N]: it must not contain a stateful layer, since samples and steps would be mixed
silently. `check_layer` refuses modules that do.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from operator import index
from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from ..arguments import explained
from ..core import State, Stateful
from ..errors import ConfigError, ShapeError, check_dense, check_like, check_sequence, check_state
from ..kernels.noise import keys, uniform
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


class Layers(nn.Sequential):
    """Layers of a container, by number or by name; each is checked before it is added."""

    def add_module(self, name: str, module: nn.Module | None) -> None:
        check_layer("Sequential", module)
        super().add_module(name, module)

    def insert(self, index: int, module: nn.Module) -> "Layers":
        check_layer("Sequential", module)
        super().insert(index, module)
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, nn.Module) or name in self.__dict__.get("_modules", ()):
            check_layer("Sequential", value)
        super().__setattr__(name, value)


class _Container(Stateful):
    """Base class of `Sequential` and `Branches`: ordered layers by number or name."""

    def __init__(self, layers: tuple[Any, ...]) -> None:
        super().__init__()
        named = len(layers) == 1 and isinstance(layers[0], OrderedDict)
        for layer in layers[0].values() if named else layers:
            check_layer(type(self).__name__, layer)
        try:
            self.layers = Layers(*layers)
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"{type(self).__name__} cannot call a layer so: {error.args[0]}. Pass an OrderedDict whose keys are "
                "words without a dot that no attribute of a module has."
            ) from error

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.layers)


class Sequential(_Container):
    """Layers in a row. A stateless module, such as nn.Linear or nn.Conv2d, gets all steps folded into its batch.

    As with `nn.Sequential`, layers are accessed by number, by a slice (a `Sequential` that shares them), by name, and
    by iteration. Containers may be nested.

    Shapes: input of the first layer -> output of the last; the state is a tuple with `()` for stateless modules.

    Args:
        layers: `Stateful` layers and ordinary modules; or one OrderedDict of them by name.

    Raises:
        ConfigError: a layer is not a module, or a module that is not `Stateful` contains one that is, or a recurrent
            layer of torch: folded into the batch, its samples and steps would mix. Use `Residual`, `Branches` or a
            nested `Sequential`.
        ShapeError: the input is not a sequence, or the state is that of another network.

    >>> from spikeloom.neurons import LIF
    >>> net = Sequential(nn.Linear(4, 8), LIF(), nn.Linear(8, 2))
    >>> out, state = net(torch.rand(10, 3, 4))
    >>> out.shape, len(state)
    (torch.Size([10, 3, 2]), 3)
    >>> net[0].weight.shape, len(net[:2])
    (torch.Size([8, 4]), 2)
    """

    @overload
    def __init__(self, layers: "OrderedDict[str, nn.Module]", /) -> None: ...

    @overload
    def __init__(self, *layers: nn.Module) -> None: ...

    def __init__(self, *layers: Any) -> None:
        super().__init__(layers)

    @overload
    def __getitem__(self, place: int | str) -> nn.Module: ...

    @overload
    def __getitem__(self, place: slice) -> "Sequential": ...

    def __getitem__(self, place: int | str | slice) -> nn.Module:
        if isinstance(place, slice):
            return Sequential(OrderedDict(self._part(place)))
        if isinstance(place, str) and "." in place:  # the path of a nested layer
            try:
                return self.layers.get_submodule(place)
            except AttributeError as error:
                raise ConfigError(f"Sequential has no layer {place!r}: {error}. Look at named_modules().") from error
        layer = self.layers._modules[self._name(place)]
        assert layer is not None
        return layer

    def __setitem__(self, place: int | str, layer: nn.Module) -> None:
        """Replace a layer."""
        setattr(self.layers, self._name(place), layer)

    def __delitem__(self, place: int | str | slice) -> None:
        """Remove layers; those without names are renumbered."""
        gone = [name for name, _ in self._part(place)] if isinstance(place, slice) else [self._name(place)]
        self._set([(name, layer) for name, layer in self._named() if name not in gone])

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """Append a layer with a name, or replace the layer of this name."""
        check_layer("Sequential", module)
        self.layers = Layers(OrderedDict([*self._named()]))
        try:
            self.layers.add_module(name, module)
        except (KeyError, TypeError) as error:
            raise ConfigError(f"Sequential cannot call a layer so: {error.args[0]}. Choose another name.") from error

    def pop(self, place: int | str) -> nn.Module:
        """Remove a layer and return it."""
        layer = self[self._name(place)]
        del self[place]
        return layer

    def append(self, layer: nn.Module) -> "Sequential":
        """Append a layer."""
        return self.insert(len(self), layer)

    def extend(self, layers: Iterable[nn.Module]) -> "Sequential":
        """Append layers."""
        if not isinstance(layers, Iterable):
            raise ConfigError(f"Sequential needs layers as a list, but got {described(layers)}. Or use append.")
        for layer in list(layers):
            self.append(layer)
        return self

    def insert(self, place: int, layer: nn.Module) -> "Sequential":
        """Insert a layer before the one at `place`; layers without names are renumbered."""
        named = self._named()
        if layer is self:
            raise ConfigError("Sequential cannot hold itself. Add another layer.")
        free = next(str(number) for number in range(len(named) + 1) if str(number) not in dict(named))
        named.insert(self._index(place, len(named)), (free, layer))
        self._set(named)
        return self

    def _named(self) -> list[tuple[str, nn.Module]]:
        """Return the layers by name; the same layer may appear several times."""
        return [(name, layer) for name, layer in self.layers._modules.items() if layer is not None]

    def _set(self, named: list[tuple[str, nn.Module]]) -> None:
        """Replace all layers; if no present layer has a name, they are numbered."""
        numbered = all(name.isdigit() for name, _ in self._named())
        named = [(str(number) if numbered else name, layer) for number, (name, layer) in enumerate(named)]
        self.layers = Layers(OrderedDict(named))

    def _name(self, place: Any) -> str:
        """Return the name of the layer with this number or name."""
        names = list(self.layers._modules)
        if not isinstance(place, str):
            return names[self._index(place, len(names) - 1)]
        if place not in names:
            raise ConfigError(f"Sequential has no layer {place!r}, but {names}. Use one of these names, or append.")
        return place

    def _index(self, place: Any, last: int) -> int:
        """Return a place as an int, after a check; negative ones count from the end."""
        try:
            number = index(place)
        except TypeError as error:
            raise ConfigError(
                f"Sequential needs a place as a whole number, but got {place!r} ({type(place).__name__}). Count the "
                "layers from 0."
            ) from error
        count = len(self.layers)
        if not -count <= number <= last:
            raise ConfigError(
                f"Sequential has {count} layers, 0 to {count - 1}, but was asked for place {number}. Count from 0."
            )
        return number

    def _part(self, place: slice) -> list[tuple[str, nn.Module]]:
        try:
            return self._named()[place]
        except (TypeError, ValueError) as error:
            raise ConfigError(f"Sequential cannot take {place}: {error}. Pass whole numbers.") from error

    def initial_state(self, x: Tensor) -> tuple[State, ...]:
        states: list[State] = []
        for layer in self.layers:
            x, state = start(layer, x)
            states.append(state)
        return tuple(states)

    def step(self, x: Tensor, state: tuple[State, ...]) -> tuple[Tensor, tuple[State, ...]]:
        check_parts("Sequential", state, self.layers)
        new: list[State] = []
        for layer, old in zip(self.layers, state, strict=True):
            x, moved = step(layer, x, old)
            new.append(moved)
        return x, tuple(new)

    def forward(self, xs: Tensor, state: tuple[State, ...] | None = None) -> tuple[Tensor, tuple[State, ...]]:
        check_timed("Sequential", xs)
        if state is not None:
            check_parts("Sequential", state, self.layers)
        new: list[State] = []
        for number, layer in enumerate(self.layers):
            xs, moved = run(layer, xs, None if state is None else state[number])
            new.append(moved)
        return xs, tuple(new)


class Branches(_Container):
    """Parallel layers: each gets the same input, and their outputs are summed or concatenated.

    Shapes: xs [T, B, *N]; outputs [T, B, *M], of one shape to be summed; to be concatenated they may differ in the
    first dimension after the batch (the features, or the channels of an image). The state is a tuple, an item per
    layer.

    Args:
        layers: `Stateful` layers and ordinary modules; or one OrderedDict of them by name.
        reduce: "sum" or "concatenate".

    Raises:
        ConfigError: no layer, an unknown `reduce`, or a layer that `Sequential` would refuse.
        ShapeError: outputs that do not fit together, or the state of another network.

    >>> from spikeloom.neurons import LIF
    >>> fast, slow = (Sequential(nn.Linear(4, 3), LIF(tau_mem)) for tau_mem in (5.0, 50.0))
    >>> Branches(fast, slow, reduce="concatenate")(torch.rand(10, 2, 4))[0].shape
    torch.Size([10, 2, 6])
    """

    def __init__(self, *layers: Any, reduce: Literal["sum", "concatenate"] = "sum") -> None:
        super().__init__(layers)
        if reduce not in ("sum", "concatenate"):
            raise ConfigError(f'Branches needs reduce "sum" or "concatenate", but got {reduce!r}.')
        if not len(self):
            raise ConfigError("Branches needs at least one layer, but got none.")
        self.reduce = reduce

    def structure(self) -> dict[str, float | str | bool | None]:
        return {"reduce": self.reduce}

    def initial_state(self, x: Tensor) -> tuple[State, ...]:
        return tuple(start(layer, x)[1] for layer in self.layers)

    def step(self, x: Tensor, state: tuple[State, ...]) -> tuple[Tensor, tuple[State, ...]]:
        check_parts("Branches", state, self.layers)
        outs, new = zip(*(step(layer, x, old) for layer, old in zip(self.layers, state, strict=True)), strict=True)
        return self._joined(outs, 1), new

    def forward(self, xs: Tensor, state: tuple[State, ...] | None = None) -> tuple[Tensor, tuple[State, ...]]:
        check_timed("Branches", xs)
        if state is not None:
            check_parts("Branches", state, self.layers)
        old = (None,) * len(self) if state is None else state
        outs, new = zip(*(run(layer, xs, part) for layer, part in zip(self.layers, old, strict=True)), strict=True)
        return self._joined(outs, 2), new

    def _joined(self, outs: tuple[Tensor, ...], dim: int) -> Tensor:
        """Return the outputs summed, or concatenated along `dim`, that of the features."""
        add_up = self.reduce == "sum"
        shapes = [out.shape if add_up else (*out.shape[:dim], *out.shape[dim + 1 :]) for out in outs]
        if len(set(shapes)) > 1:
            raise ShapeError(
                f"Branches cannot {self.reduce} outputs {', '.join(str(list(out.shape)) for out in outs)}. They must "
                f"{'be of one shape' if add_up else f'differ in dimension {dim} alone'}: end each branch with a "
                "layer that "
                "makes them so."
            )
        return sum(outs[1:], outs[0]) if add_up else torch.cat(outs, dim)

    def extra_repr(self) -> str:
        return f"reduce={self.reduce!r}"


class ResidualState(NamedTuple):
    """State of a `Residual`."""

    layer: State
    shortcut: State


@explained
class Residual(Stateful):
    """Layer with a residual connection: `x + layer(x)`, or `shortcut(x) + layer(x)`.

    Shapes: xs [T, B, *N] -> [T, B, *M]; without a shortcut M = N.

    Args:
        layer: for example `Sequential(conv, LIF())`.
        shortcut: module on the residual connection, for example nn.Conv2d(8, 16, 1); None for the identity.

    Raises:
        ConfigError: a layer that `Sequential` would refuse.
        ShapeError: layer and shortcut return different shapes, or the state is that of another network.

    >>> from spikeloom.neurons import LIF
    >>> block = Residual(Sequential(nn.Conv2d(2, 2, 3, padding=1), LIF()))
    >>> block(torch.rand(5, 1, 2, 8, 8))[0].shape
    torch.Size([5, 1, 2, 8, 8])
    """

    def __init__(self, layer: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        shortcut = nn.Identity() if shortcut is None else shortcut
        for part in (layer, shortcut):
            check_layer("Residual", part)
        self.layer, self.shortcut = layer, shortcut

    def initial_state(self, x: Tensor) -> ResidualState:
        return ResidualState(start(self.layer, x)[1], start(self.shortcut, x)[1])

    def step(self, x: Tensor, state: ResidualState) -> tuple[Tensor, ResidualState]:
        self._check(state)
        out, layer = step(self.layer, x, state.layer)
        around, shortcut = step(self.shortcut, x, state.shortcut)
        return self._sum(around, out), ResidualState(layer, shortcut)

    def forward(self, xs: Tensor, state: ResidualState | None = None) -> tuple[Tensor, ResidualState]:
        check_timed("Residual", xs)
        if state is not None:
            self._check(state)
        old = ResidualState(None, None) if state is None else state
        out, layer = run(self.layer, xs, old.layer)
        around, shortcut = run(self.shortcut, xs, old.shortcut)
        return self._sum(around, out), ResidualState(layer, shortcut)

    def _check(self, state: ResidualState) -> None:
        check_state("Residual", state, ResidualState)
        check_parts("Residual", tuple(state), (self.layer, self.shortcut))

    def _sum(self, around: Tensor, out: Tensor) -> Tensor:
        if around.shape != out.shape:
            raise ShapeError(
                f"Residual adds its layer's output {list(out.shape)} to {list(around.shape)}, which differ. "
                "Pass a shortcut "
                "that makes the second like the first, for example nn.Linear or nn.Conv2d(..., kernel_size=1, "
                "stride=...)."
            )
        return around + out


class SequenceDropoutState(NamedTuple):
    """State of a `SequenceDropout`."""

    mask: Tensor  # [B, *N], 0 or 1 / (1 - p)


@explained
class SequenceDropout(Stateful):
    """Dropout with one mask for the whole sequence: a value that is dropped in one step is dropped in all.

    nn.Dropout in a `Sequential` samples a new mask in every step. In training mode a sample's mask is sampled with its
    initial state and kept there, so a sequence in chunks gives the same output as a whole one; in evaluation mode the
    input is returned unchanged.

    Shapes: xs [T, B, *N] -> [T, B, *N].

    Args:
        p: probability that a value is dropped, in [0, 1); the others are scaled by 1 / (1 - p).
        generator: random generator of a key for each sample; by default torch's default one.

    Raises:
        ConfigError: p is out of range.
        ShapeError: the input is not a sequence, or the state has another shape, dtype or device.

    >>> out, _ = SequenceDropout(0.5, generator=torch.Generator().manual_seed(0))(torch.ones(3, 1, 6))
    >>> out[:, 0].tolist()
    [[...], [...], [...]]
    >>> bool((out == out[0]).all())
    True
    """

    def __init__(self, p: float = 0.5, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ConfigError(f"SequenceDropout needs p in [0, 1), but got {p}.")
        self.p, self.generator = p, generator

    def initial_state(self, x: Tensor) -> SequenceDropoutState:
        if not self.training or not self.p:
            return SequenceDropoutState(torch.ones_like(x, requires_grad=False))
        drawn = uniform(keys(len(x), x.device, self.generator), x[:1].numel(), torch.float32).view(x.shape)
        return SequenceDropoutState((drawn >= self.p).to(x.dtype) / (1.0 - self.p))

    def step(self, x: Tensor, state: SequenceDropoutState) -> tuple[Tensor, SequenceDropoutState]:
        check_state("SequenceDropout", state, SequenceDropoutState)
        check_like("SequenceDropout", "mask", state.mask, tuple(x.shape), x)
        return x * state.mask if self.training else x, state

    def forward(self, xs: Tensor, state: SequenceDropoutState | None = None) -> tuple[Tensor, SequenceDropoutState]:
        check_sequence("SequenceDropout", xs)
        state = self.initial_state(xs[0]) if state is None else state
        check_state("SequenceDropout", state, SequenceDropoutState)
        check_like("SequenceDropout", "mask", state.mask, tuple(xs.shape[1:]), xs)
        return xs * state.mask if self.training else xs, state

    def extra_repr(self) -> str:
        return f"p={self.p}"
