"""Traced model that runs as a sequence model.

It is a list of operations. Stateless operations process all steps as one batch [T B, *N]; values that are constant in
time (`x.expand(T, *x.shape)`) are computed once and stay expanded. Neurons, low-pass filters and spiking pools process
[T, B, *N] and have a state. A value is freed once nothing reads it any more.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..core import State, Stateful, Whole
from ..errors import ConfigError, ShapeError, SpikeloomError, check_sequence
from ..layers import folded
from ..layers.inner import check_layer
from ..neurons import RateNeuron
from .pooling import SpikingMaxPool

FAR = 2.0
"""Largest allowed input, as a multiple of the largest input in calibration."""


@dataclass(frozen=True)
class Ref:
    """Reference to the value of an earlier operation."""

    name: str


@dataclass(frozen=True)
class Op:
    """One operation of a traced model.

    Args:
        name: name of its value.
        kind: a layer with a state, a module without, a function, a method of its first argument, or a tensor.
        target: path of the module or tensor, the function, or the name of the method.
        args: arguments, with `Ref` for values of earlier operations.
        timed: whether its value is a sequence [T, B, *N], rather than a size or a parameter.
    """

    name: str
    kind: Literal["stateful", "module", "function", "method", "tensor"]
    target: Any
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    timed: bool = True


def replace(value: Any, change: Callable[[Any], Any], kind: type = Ref) -> Any:
    """Map `change` over all items of type `kind` in nested tuples, lists, dicts and slices."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, (tuple, list)):
        parts = [replace(item, change, kind) for item in value]
        return parts if isinstance(value, list) else tuple(parts)
    if isinstance(value, dict):
        return {key: replace(item, change, kind) for key, item in value.items()}
    if isinstance(value, slice):
        return slice(*(replace(item, change, kind) for item in (value.start, value.stop, value.step)))
    return value


class Converted(Whole):
    """Traced model as a sequence model, created by `convert`. Its layers have the names of the original ones.

    Shapes: [T, B, *N] -> [T, B, K]; the state is a tuple with one item per neuron layer, low-pass filter and spiking
    pool. As long as no neuron spikes (train(), or `to_rate`), low-pass filters are skipped and pools are ordinary ones,
    which is their response to a constant.

    Args:
        ops: operations in execution order.
        output: name of the value that is returned.
        parts: modules, parameters and buffers by path.

    `largest` is the largest input in calibration, 0 before it; it is saved. `note`, if set, is called with the bytes of
    all values that are held at once (see `blocks`).

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
        for path, value in parts.items():
            owner, name = self._owner(path)
            if isinstance(value, nn.Parameter) or not isinstance(value, Tensor):
                setattr(owner, name, value)
            else:
                owner.register_buffer(name, value)
        for op in ops:
            if op.kind == "module":  # its steps are folded into the batch
                check_layer("Converted", self.get_submodule(op.target))

    def _owner(self, path: str) -> tuple[nn.Module, str]:
        """Return the module that holds a path, created if necessary, and the last name of the path."""
        owner: nn.Module = self
        *way, last = path.split(".")
        for name in way:
            if name not in owner._modules:
                owner.add_module(name, nn.Module())
            owner = owner.get_submodule(name)
        return owner, last

    @property
    def spikes(self) -> bool:
        """Whether the model spikes in its current mode."""
        return any(module.spikes for module in self.modules() if isinstance(module, RateNeuron))

    def before(self, path: str) -> "Converted":
        """Return the model up to the input of one layer; it shares the layers.

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
        """Raise ConfigError for an input far beyond those of calibration, such as bytes instead of 0 to 1."""
        largest = float(self.largest)
        if not largest:
            return
        received = float((xs[:1] if xs.stride(0) == 0 else xs).detach().abs().max())
        if not received <= FAR * largest:
            raise ConfigError(
                f"The input reaches {received:.4g}, but thresholds were calibrated with inputs up to {largest:.4g}. "
                "Scale it as for calibration, or calibrate again."
            )

    def initial_state(self, x: Tensor) -> State:
        return self._run(x.unsqueeze(0), None, start=True)[1]

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
        """Run all operations; with `start`, return the state before the first step as second result."""
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

    def _held(self, name: str, value: Any) -> bool:
        """Return whether the size of a value grows with the number of steps."""
        return name in self._timed and isinstance(value, Tensor)

    def _untimed(self, op: Op, values: dict[str, Any]) -> Any:
        """Run an operation without state."""
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
    """Return the module, parameter or buffer with a path."""
    for name in path.split("."):
        module = getattr(module, name)
    return module


def refs(op: Op) -> list[Ref]:
    """Return the references in the arguments of an operation, repeated ones too."""
    result = list[Ref]()
    replace((op.args, op.kwargs), result.append)
    return result


def _advance(layer: nn.Module, xs: Tensor, state: State, spikes: bool, start: bool) -> tuple[Tensor, State]:
    """Run a layer with a state."""
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
