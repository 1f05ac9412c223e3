"""What folds: time into the batch, and batch norm into the layer before it; and the model that lives on it.

A traced model is a list of operations. Those without a memory take all steps as one batch [T B, *N]; what is constant
in time (`x.expand(T, *x.shape)`) is computed once and stays expanded. Neurons, low-passes and spiking pools take [T, B,
*N] and hand on a state.

    batch norm after a layer    W' = g W,   b' = g (b - mean) + shift,    g = weight / sqrt(var + eps)
    batch norm on its own       y = g x + (shift - g mean)

Sources: Rueckauer et al., Conversion of continuous-valued deep networks, 2017 (batch norm, max pooling by the winner).
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ..core import State, Stateful, scan
from ..errors import ConfigError, ShapeError, check_like, check_sequence
from ..neurons import RateNeuron

Module = TypeVar("Module", bound=nn.Module)


def folded(function: Callable[..., Any], *xs: Tensor, place: str = "") -> Any:
    """A module or function without time on sequences: all steps as one batch; what is constant in time, once.

    Shapes: xs [T, B, *N], each constant or not -> [T, B, *M]. What is no tensor, such as a size, comes back as it is.

    Raises:
        ShapeError: the function does not keep the samples apart.

    >>> ys = folded(torch.add, torch.ones(2, 3).expand(5, 2, 3), torch.ones(2, 3).expand(5, 2, 3))
    >>> ys.shape, ys.stride(0)
    (torch.Size([5, 2, 3]), 0)
    """
    steps, batch = xs[0].shape[:2]
    random = isinstance(function, nn.Module) and function.training
    once = steps > 1 and not random and all(x.stride(0) == 0 for x in xs)
    out = function(*(x[0] if once else x.flatten(0, 1) for x in xs))
    if not isinstance(out, Tensor):
        return out
    samples = batch if once else steps * batch
    if out.dim() == 0 or len(out) != samples:
        raise ShapeError(
            f"{place or 'A function'} turned {samples} samples into {list(out.shape)}. The first dimension must stay "
            "that of the samples: reduce, reshape and join along the others."
        )
    return out.expand(steps, *out.shape) if once else out.reshape(steps, batch, *out.shape[1:])


def shared_copy(module: Module) -> Module:
    """A copy of the modules, not of their tensors."""
    tensors = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})


def reshape_samples(x: Tensor, *sizes: Any) -> Tensor:
    """`x.reshape(*sizes)` for any number of samples."""
    wanted = sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    return x.reshape(len(x) if wanted[0] != -1 else -1, *wanted[1:])


class PoolState(NamedTuple):
    """What moves in a max pooling of spikes."""

    total: Tensor  # [B, C, *N], sum of the signal so far


class SpikingMaxPool(Stateful):
    """Max pooling of signals that only their means tell apart; S_i[t] is the sum of input i so far.

        winner   y[t] = x_k[t],  S_k[t] = max_i S_i[t]
        lead     y[t] = max_i S_i[t] - max_i S_i[t-1]

    The winner passes its own signal: inputs of nearly equal rates take turns, and the output gets spikes of several.
    The lead has exactly the largest mean.
    Shapes: [T, B, C, *N] -> [T, B, C, *M].

    Args:
        pool: a max pooling of torch that returns indices.
        rule: winner or lead.

    >>> pool = SpikingMaxPool(nn.MaxPool1d(2, return_indices=True))
    >>> spikes = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]).reshape(3, 1, 1, 2)
    >>> pool(spikes)[0].flatten().tolist()
    [1.0, 1.0, 0.0]
    """

    def __init__(self, pool: nn.Module, rule: Literal["winner", "lead"] = "winner") -> None:
        super().__init__()
        self.pool, self.rule = pool, rule

    def initial_state(self, x: Tensor) -> PoolState:
        return PoolState(torch.zeros_like(x, requires_grad=False))

    def step(self, x: Tensor, state: PoolState) -> tuple[Tensor, PoolState]:
        out, state = self.forward(x.unsqueeze(0), state)
        return out[0], state

    def forward(self, xs: Tensor, state: PoolState | None = None) -> tuple[Tensor, PoolState]:
        state = self.initial_state(xs[0]) if state is None else state
        check_like("SpikingMaxPool", "total", state.total, tuple(xs.shape[1:]), xs)
        signals = xs.detach() if self.rule == "winner" else xs
        totals, total = scan(lambda x, before: (x + before, x + before), signals, state.total)
        if self.rule == "winner":
            return folded(self._pass, xs, totals), PoolState(total)
        best = self.static(torch.cat([state.total.unsqueeze(0), totals]))
        return best[1:] - best[:-1], PoolState(total)

    def _pass(self, x: Tensor, total: Tensor) -> Tensor:
        winner = self.pool(total)[1]
        return x.flatten(2).gather(2, winner.flatten(2)).view_as(winner)

    def static(self, xs: Tensor) -> Tensor:
        """The ordinary pooling of every step."""
        result: Tensor = folded(lambda x: self.pool(x)[0], xs)
        return result


class FixedAffine(nn.Module):
    """g x + shift, one pair per channel: a batch norm that learns nothing any more.

    Shapes: [B, C, *N] -> [B, C, *N].

    >>> FixedAffine(torch.tensor([2.0]), torch.tensor([1.0]))(torch.ones(1, 1, 3)).tolist()
    [[[3.0, 3.0, 3.0]]]
    """

    def __init__(self, gain: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.gain: Tensor
        self.shift: Tensor
        self.register_buffer("gain", gain)
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        shape = (-1, *(1,) * (x.dim() - 2))
        return x * self.gain.reshape(shape) + self.shift.reshape(shape)


def affine_of(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Gain and shift of a batch norm in eval mode, in float64.

    >>> gain, shift = affine_of(nn.BatchNorm1d(1, eps=0.0).eval())
    >>> gain.item(), shift.item()
    (1.0, 0.0)
    """
    mean, var = norm.running_mean, norm.running_var
    assert isinstance(mean, Tensor)
    assert isinstance(var, Tensor)
    gain = (var.detach().double() + float(getattr(norm, "eps", 0.0))).rsqrt()
    if norm.weight is not None:
        gain = gain * norm.weight.detach().double()  # type: ignore[operator]
    shift = -gain * mean.double()
    return gain, shift if norm.bias is None else shift + norm.bias.detach().double()  # type: ignore[operator]


def fold_batchnorm(layer: nn.Module, norm: nn.Module) -> nn.Module:
    """A copy of a linear or convolutional layer with new weights that does the work of the batch norm behind it.

    >>> layer = fold_batchnorm(nn.Linear(2, 3, bias=False), nn.BatchNorm1d(3).eval())
    >>> layer.bias.shape
    torch.Size([3])
    """
    gain, shift = affine_of(norm)
    result, weight, bias = shared_copy(layer), layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    ones = (1,) * (weight.dim() - 2)
    if isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):  # weight [C_in, C / G, ...]
        wide = gain.reshape(layer.groups, 1, -1).expand(-1, layer.in_channels // layer.groups, -1)
        factor = wide.reshape(layer.in_channels, -1, *ones)
    else:
        factor = gain.reshape(-1, 1, *ones)
    moved = shift if bias is None else shift + gain * bias.detach().double()  # type: ignore[operator]
    learns = weight.requires_grad
    result.weight = nn.Parameter((weight.detach().double() * factor).to(weight.dtype), requires_grad=learns)
    result.bias = nn.Parameter(moved.to(weight.dtype), requires_grad=learns)
    return result


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

    >>> double = Op("y", "function", torch.mul, (Ref("input"), 2.0))
    >>> Converted((double,), "y", {})(torch.ones(1, 1, 1))
    (tensor([[[2.]]]), ())
    """

    def __init__(self, ops: tuple[Op, ...], output: str, parts: Mapping[str, Any]) -> None:
        super().__init__()
        self.ops, self.output = ops, output
        self._timed = {op.name for op in ops if op.timed} | {"input"}
        for path, part in parts.items():
            owner, name = self._owner(path)
            if isinstance(part, nn.Parameter) or not isinstance(part, Tensor):
                setattr(owner, name, part)
            else:
                owner.register_buffer(name, part)

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

    def initial_state(self, x: Tensor) -> State:
        return self._run(x.unsqueeze(0), None, start=True)[1]

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        out, state = self.forward(x.unsqueeze(0), state)
        return out[0], state

    def forward(self, xs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        check_sequence("Converted", xs)
        return self._run(xs, state)

    def _run(self, xs: Tensor, state: State | None, *, start: bool = False) -> tuple[Tensor, State]:
        """All operations; with `start`, the second result is the state before the first step."""
        values: dict[str, Any] = {"input": xs}
        count, spikes = sum(op.kind == "stateful" for op in self.ops), self.spikes
        if state is not None and len(state) != count:
            raise ShapeError(f"Converted has {count} layers with a state but got {len(state)} parts. Pass state=None.")
        old, new = iter((None,) * count if state is None else state), list[State]()
        for op in self.ops:
            if op.kind == "stateful":
                layer = self.get_submodule(op.target)
                values[op.name], moved = _advance(layer, values[op.args[0].name], next(old), spikes, start)
                new.append(moved)
            else:
                values[op.name] = self._untimed(op, values)
        return values[self.output], tuple(new)

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


def in_blocks(model: Stateful, x: Tensor, steps: int, block: int = 10) -> Iterator[Tensor]:
    """Show a constant input `x` [B, *N] for some steps; the outputs, a block of steps at a time.

    >>> model = Converted((Op("y", "function", torch.neg, (Ref("input"),)),), "y", {})
    >>> [len(out) for out in in_blocks(model, torch.ones(2, 3), 25)]
    [10, 10, 5]
    """
    state: State | None = None
    for size in [block] * (steps // block) + [steps % block] * (steps % block > 0):
        out, state = model(x.expand(size, *x.shape), state)
        yield out
