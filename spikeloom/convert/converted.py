"""A traced model that runs in time.

It is a list of operations. Those without a memory take all steps as one batch [T B, *N]; what is constant in time
(`x.expand(T, *x.shape)`) is computed once and stays expanded. Neurons, low-passes and spiking pools take [T, B, *N] and
hand on a state. A value is forgotten once nothing reads it any more.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..core import State, Stateful
from ..errors import ConfigError, ShapeError, SpikeloomError, check_sequence
from ..layers import folded
from ..layers.sequential import check_layer
from ..neurons import RateNeuron
from .pooling import SpikingMaxPool

FAR = 2.0
"""How many times the largest input of calibration an input may be."""


@dataclass(frozen=True)
class Ref:
    """The value of an earlier operation."""

    name: str


@dataclass(frozen=True)
class Op:
    """One operation of a traced model.

    Args:
        name: of its value.
        kind: a layer that lives in time, a module without, a function, a method of its first argument, a tensor.
        target: path of a module or tensor, a function, or the name of a method.
        args: values, with `Ref` where an earlier one is meant.
        timed: whether its value is a sequence [T, B, *N], not a size or a parameter.
    """

    name: str
    kind: Literal["stateful", "module", "function", "method", "tensor"]
    target: Any
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    timed: bool = True


def replace(value: Any, change: Callable[[Any], Any], kind: type = Ref) -> Any:
    """The same nest of tuples, lists, dicts and slices with everything of one kind changed."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, (tuple, list)):
        parts = [replace(part, change, kind) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    if isinstance(value, dict):
        return {key: replace(part, change, kind) for key, part in value.items()}
    if isinstance(value, slice):
        return slice(*(replace(part, change, kind) for part in (value.start, value.stop, value.step)))
    return value


class Converted(Stateful):
    """A traced model in time; `convert` makes it. Its layers have the names that they have in the original.

    Shapes: [T, B, *N] -> [T, B, K]; the state is a tuple with a part per neuron, low-pass and spiking pool.
    As long as no neuron spikes (train(), or `to_rate`), low-passes are left out and pools are ordinary ones: their
    answer to a constant.

    Args:
        ops: in the order in which they run.
        output: name of the value that is returned.
        parts: modules, parameters and buffers by path.

    `largest` is the largest input of calibration, 0 before it; it is saved. `note` is told how many bytes of values are
    held at once, while it is set (see `blocks`).

    >>> double = Op("y", "function", torch.mul, (Ref("input"), 2.0))
    >>> Converted((double,), "y", {})(torch.ones(1, 1, 1))
    (tensor([[[2.]]]), ())
    """

    def __init__(self, ops: tuple[Op, ...], output: str, parts: Mapping[str, Any]) -> None:
        super().__init__()
        self.ops, self.output = ops, output
        self.largest: Tensor
        self.register_buffer("largest", torch.zeros(()))
        self.note: Callable[[int], None] | None = None
        self._last = {name: index for index, op in enumerate(ops) for name in (op.name, *(r.name for r in refs(op)))}
        self._last[output] = len(ops)
        self._timed = {op.name for op in ops if op.timed} | {"input"}
        for path, part in parts.items():
            owner, name = self._owner(path)
            if isinstance(part, nn.Parameter) or not isinstance(part, Tensor):
                setattr(owner, name, part)
            else:
                owner.register_buffer(name, part)
        for op in ops:
            if op.kind == "module":  # its steps are folded into the batch
                check_layer("Converted", self.get_submodule(op.target))

    def _owner(self, path: str) -> tuple[nn.Module, str]:
        """The module that holds a path, made if need be."""
        owner: nn.Module = self
        *way, last = path.split(".")
        for name in way:
            if name not in owner._modules:
                owner.add_module(name, nn.Module())
            owner = owner.get_submodule(name)
        return owner, last

    @property
    def spikes(self) -> bool:
        """Whether the next call makes spikes."""
        return any(module.spikes for module in self.modules() if isinstance(module, RateNeuron))

    def before(self, path: str) -> "Converted":
        """The part of the model that computes the input of one layer; it shares the layers.

        Raises:
            ConfigError: there is no such layer.
        """
        place = next((index for index, op in enumerate(self.ops) if op.target == path and op.kind != "function"), None)
        if place is None:
            known = ", ".join(name for name, _ in self.named_modules() if name)
            raise ConfigError(f"There is no layer {path!r}. The model has {known}.")
        ops = self.ops[:place]
        paths = [op.target for op in ops if op.kind in ("stateful", "module", "tensor")]
        parts = {path: _at(self, path) for path in paths}
        return Converted(ops, self.ops[place].args[0].name, parts).train(self.training)

    def check_range(self, xs: Tensor) -> None:
        """Raise ConfigError for an input far beyond those of calibration, as bytes are beyond 0 to 1."""
        largest = float(self.largest)
        if not largest:
            return
        found = float((xs[:1] if xs.stride(0) == 0 else xs).abs().max())
        if not found <= FAR * largest:
            raise ConfigError(
                f"The input reaches {found:.4g}, but thresholds were calibrated with inputs up to {largest:.4g}. "
                "Scale it as for calibration, or calibrate again."
            )

    def initial_state(self, x: Tensor) -> State:
        return self._run(x.unsqueeze(0), None, start=True)[1]

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        out, state = self.forward(x.unsqueeze(0), state)
        return out[0], state

    def forward(self, xs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        check_sequence("Converted", xs)
        if self.spikes:
            self.check_range(xs)
        try:
            return self._run(xs, state)
        except SpikeloomError:
            raise
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise ShapeError(
                f"Converted cannot take the input {list(xs.shape)} of {xs.dtype}: {str(error).splitlines()[0]}. Pass "
                "a batch [B, *N] as in training, for each of T steps."
            ) from error

    def _run(self, xs: Tensor, state: State | None, *, start: bool = False) -> tuple[Tensor, State]:
        """All operations; with `start`, the second result is the state before the first step."""
        values: dict[str, Any] = {"input": xs}
        count, spikes = sum(op.kind == "stateful" for op in self.ops), self.spikes
        if state is not None and len(state) != count:
            raise ShapeError(f"Converted has {count} layers with a state but got {len(state)} parts. Pass state=None.")
        old, new = iter((None,) * count if state is None else state), list[State]()
        for index, op in enumerate(self.ops):
            if op.kind == "stateful":
                layer = self.get_submodule(op.target)
                values[op.name], moved = _advance(layer, values[op.args[0].name], next(old), spikes, start)
                new.append(moved)
            else:
                values[op.name] = self._untimed(op, values)
            if self.note is not None:
                self.note(sum(part.nbytes for name, part in values.items() if self._held(name, part)))
            for name in [name for name in values if self._last.get(name, -1) <= index]:
                del values[name]
        return values[self.output], tuple(new)

    def _held(self, name: str, part: Any) -> bool:
        """Whether a value grows with the steps."""
        return name in self._timed and isinstance(part, Tensor)

    def _untimed(self, op: Op, values: dict[str, Any]) -> Any:
        """An operation without time."""
        if op.kind == "tensor":
            return _at(self, op.target)
        names = list(dict.fromkeys(ref.name for ref in refs(op) if ref.name in self._timed))

        def call(*parts: Tensor) -> Any:
            here = values | dict(zip(names, parts, strict=True))
            args, kwargs = (replace(part, lambda ref: here[ref.name]) for part in (op.args, op.kwargs))
            return (
                getattr(args[0], op.target)(*args[1:], **kwargs) if op.kind == "method" else op.target(*args, **kwargs)
            )

        function = self.get_submodule(op.target) if op.kind == "module" else call
        return folded(function, *(values[name] for name in names), place=op.name) if names else call()


def _at(module: nn.Module, path: str) -> Any:
    """A module, parameter or buffer by path."""
    for name in path.split("."):
        module = getattr(module, name)
    return module


def refs(op: Op) -> list[Ref]:
    """What an operation reads, as often as it does."""
    found = list[Ref]()
    replace((op.args, op.kwargs), found.append)
    return found


def _advance(layer: nn.Module, xs: Tensor, state: State, spikes: bool, start: bool) -> tuple[Tensor, State]:
    """A layer that lives in time."""
    assert isinstance(layer, Stateful)
    if not spikes and not isinstance(layer, RateNeuron):
        return (layer.static(xs) if isinstance(layer, SpikingMaxPool) else xs), ()
    if state == () and not (isinstance(layer, RateNeuron) and not layer.spikes):
        raise ShapeError("Converted spikes but got the state of a model that ran as rates. Pass state=None.")
    if start:
        first = layer.initial_state(xs[0])
        return layer(xs, first)[0], first
    out, moved = layer(xs, state)
    return out, moved
