"""Recordings of what happens inside a network: outputs, voltages and states of its layers, in every step.

    with watch(net) as seen:
        out, state = net(xs)
        loss(out).backward()
    seen["layers.1"].spikes         # [T, B, N]
    seen["layers.1"].voltage.grad   # [T, B, N]

The compiled loops keep no voltages. A watched layer therefore runs step by step, by its own `step` on the engine that
it runs on anyway, so what is recorded is what the network computed. This takes longer, and memory for every state.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..arguments import explained
from ..core import State, Stateful, map_state, scan
from ..errors import ConfigError
from ..neurons.neuron import Neuron
from .counting import may_spike
from .table import html_table, text_table
from .unchanged import tensors_in


@dataclass(frozen=True)
class WatchedCall:
    """Recording of one call of a layer.

    Args:
        outputs: what the layer returned, without its state: [T, B, *N]; of a module without time, as it returned it.
        states: states after each step, each tensor [T, ...], in the form of the layer's state; None if the layer has
            none, or only outputs are recorded.
    """

    outputs: Any
    states: State | None


@dataclass
class WatchedLayer:
    """Recordings of a layer. Its properties are those of the last call; `calls` has them all, oldest first.

    Args:
        name: name of the layer, as in `named_modules`.
        layer: the layer.
        calls: recordings, one per call.

    Raises:
        ConfigError: there was no call yet, or the layer does not have what is asked for.
    """

    name: str
    layer: nn.Module
    calls: list[WatchedCall] = field(default_factory=list)

    @property
    def outputs(self) -> Any:
        """Output of the layer, [T, B, *N]; its `.grad` is the gradient of the loss with respect to it."""
        return self._last().outputs

    @property
    def spikes(self) -> Tensor:
        """Spikes, [T, B, *N]: the output of a layer that spikes."""
        out = self._last().outputs
        if not may_spike(self.layer) or not isinstance(out, Tensor):
            raise ConfigError(f"{self._owner()} is no layer of spikes. Look at outputs, or watch a layer that spikes.")
        return out

    @property
    def voltage(self) -> Tensor:
        """Voltage after each step, [T, B, *N], as it is handed on to the next.

        Its `.grad` is the gradient along all later steps; that through the spike of the same step is `spikes.grad`.
        """
        return self.state("voltage")

    @property
    def states(self) -> State:
        """States after each step, in the form of the layer's state with tensors [T, B, *N]."""
        states = self._last().states
        if states is None:
            raise ConfigError(
                f"{self._owner()} has no recorded states. Watch a layer with a state, without watching a layer inside "
                "it, and with states=True."
            )
        return states

    def state(self, name: str) -> Tensor:
        """Return a part of the states by its name, such as "adaptation"; parts of neurons inside count too."""
        found = list(_named(self.layer, self.states))
        parts = [part for known, part in found if known == name]
        if len(parts) == 1:
            return parts[0]
        known = ", ".join(dict.fromkeys(known for known, _ in found)) or "nothing"
        wrong = f"has {len(parts)} states named {name!r}" if parts else f"has no state {name!r}, but {known}"
        raise ConfigError(
            f"{self._owner()} {wrong}. Look at states, which holds all of them in the form of the layer's state."
        )

    def _owner(self) -> str:
        return f"{self.name or 'the network'} ({type(self.layer).__name__})"

    def _last(self) -> WatchedCall:
        if not self.calls:
            raise ConfigError(
                f"{self._owner()} was not called while it was watched. Call the network inside the with block; a layer "
                "whose weights others use is never called itself."
            )
        return self.calls[-1]


class Watch(Mapping[str, WatchedLayer]):
    """Recordings of the layers of a network by name; see `watch`, which makes one."""

    def __init__(self, layers: Mapping[str, nn.Module], *, states: bool) -> None:
        self._layers = {name: WatchedLayer(name, layer) for name, layer in layers.items()}
        self._states = states
        self._stepping = False
        self._replaced = list[tuple[nn.Module, Any]]()

    def __getitem__(self, name: str) -> WatchedLayer:
        if name not in self._layers:
            raise ConfigError(f"Watch has no layer {name!r}. There is: {', '.join(map(repr, self._layers)) or 'none'}.")
        return self._layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __contains__(self, name: object) -> bool:
        return name in self._layers

    def __enter__(self) -> Self:
        if self._replaced:
            raise ConfigError("this Watch is recording already. Leave its with block first, or make another one.")
        for name, watched in self._layers.items():
            watched.calls.clear()
            inner = any(other.startswith(f"{name}." if name else "") and other != name for other in self._layers)
            steps = self._states and isinstance(watched.layer, Stateful) and not inner
            self._replace(watched, self._recording(watched, watched.layer.forward, steps))
        return self

    def __exit__(self, *_: object) -> None:
        for layer, before in reversed(self._replaced):
            del vars(layer)["forward"]
            if before is not None:
                vars(layer)["forward"] = before
        self._replaced = []

    def _replace(self, watched: WatchedLayer, forward: Callable[..., Any]) -> None:
        """Let a layer run by another `forward`, an attribute of the instance, until the end of the block."""
        own = vars(watched.layer)
        self._replaced.append((watched.layer, own.get("forward")))
        own["forward"] = forward

    def _recording(self, watched: WatchedLayer, original: Callable[..., Any], steps: bool) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            if self._stepping or torch.compiler.is_compiling():  # inside the steps of a layer that is recorded
                return original(*args, **kwargs)
            xs = args[0] if args else kwargs.get("xs")
            if not steps or not isinstance(xs, Tensor) or not xs.is_floating_point() or xs.dim() < 2 or not len(xs):
                result = original(*args, **kwargs)
                out = result[0] if isinstance(watched.layer, Stateful) else result
                watched.calls.append(WatchedCall(_keeping(out), None))
                return result
            state = args[1] if len(args) > 1 else kwargs.get("state")
            self._stepping = True
            try:
                out, states, state = _stepwise(watched.layer, xs, state)
            finally:
                self._stepping = False
            watched.calls.append(WatchedCall(_keeping(out), states))
            return out, state

        return forward

    def __str__(self) -> str:
        return text_table(*self._cells())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(*self._cells())

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        rows = []
        for name, watched in self._layers.items():
            last = watched.calls[-1] if watched.calls else WatchedCall(None, None)
            shapes = ", ".join(str(list(part.shape)) for part in tensors_in(last.outputs))
            names = ", ".join(dict.fromkeys(known for known, _ in _named(watched.layer, last.states)))
            rows.append([name or "(network)", f"{len(watched.calls)}", shapes, names])
        return ["layer", "calls", "last output", "states"], rows


@explained
def watch(network: nn.Module, layers: str | Iterable[str] | None = None, *, states: bool = True) -> Watch:
    """Record outputs, voltages and states of layers in the calls inside a `with` block, with their gradients.

    Shapes: recorded tensors [T, B, *N], one row per step.

    The network computes what it computes without being watched, up to the rounding of layers that add up in another
    order over a whole sequence. Recorded tensors are part of the graph: a loss may use them, and after `backward()`
    their `.grad` is the gradient with respect to the layer's output, or to a state that a step hands on to the next.
    Graphs that torch.compile has made are not recorded: watch a network before it is compiled.

    Args:
        network: any module.
        layers: names of the layers, as in `named_modules`; by default every layer that spikes and every neuron.
        states: whether to record states. If not, only outputs are recorded, and the layers run as fast as ever.

    Raises:
        ConfigError: a name that no layer has.

    >>> from spikeloom.neurons import LIF
    >>> from spikeloom.layers import Sequential
    >>> net = Sequential(nn.Linear(4, 8), LIF(threshold=0.1), nn.Linear(8, 2))
    >>> with watch(net) as seen:
    ...     out, _ = net(torch.ones(10, 3, 4))
    ...     out.square().mean().backward()
    >>> seen["layers.1"].voltage.shape, seen["layers.1"].spikes.grad.shape
    (torch.Size([10, 3, 8]), torch.Size([10, 3, 8]))
    """
    known = dict(network.named_modules())
    if layers is None:
        return Watch(_usual(known), states=states)
    names = [layers] if isinstance(layers, str) else list(layers)
    for name in names:
        if name not in known:
            there = ", ".join(repr(one) for one in known if one) or "none"
            raise ConfigError(f"watch needs layers by name, but the network has no {name!r}. There is: {there}.")
    return Watch({name: known[name] for name in names}, states=states)


def _usual(known: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Return the layers that spike and the neurons, without those inside another of them."""
    found = dict[str, nn.Module]()
    for name, layer in known.items():
        inside = any(name.startswith(f"{outer}." if outer else "") for outer in found)
        if not inside and (may_spike(layer) or isinstance(layer, Neuron)):
            found[name] = layer
    return found


def _stepwise(layer: nn.Module, xs: Tensor, state: State | None) -> tuple[Any, State, State]:
    """Run a layer step by step; return its outputs, the states after each step, and the last state."""
    assert isinstance(layer, Stateful)
    outs, states = list[Any](), list[State]()

    def step(x: Tensor, state: State) -> tuple[Tensor, State]:
        out, state = layer.step(x, state)
        outs.append(out)
        states.append(state)
        return next(tensors_in(out)), state

    out, last = scan(step, xs, layer.initial_state(xs[0]) if state is None else state)
    if not isinstance(outs[0], Tensor):
        out = map_state(lambda *parts: torch.stack(parts), *outs)
    return out, map_state(_stacked, *states), last


def _stacked(*parts: Tensor) -> Tensor:
    """Return a state of every step as one tensor, whose `.grad` gathers the gradients of the steps."""
    whole = torch.stack(parts)
    if whole.requires_grad:
        whole.retain_grad()
        known, total = weakref.ref(whole), torch.zeros_like(whole, requires_grad=False)
        for place, part in enumerate(parts):
            if part.requires_grad:
                part.register_hook(_gathering(known, total, place))  # type: ignore[no-untyped-call]
    return whole


def _gathering(known: "weakref.ref[Tensor]", total: Tensor, place: int) -> Callable[[Tensor], None]:
    def gather(gradient: Tensor) -> None:
        whole = known()
        if whole is not None:
            total[place] += gradient.detach()
            whole.grad = total

    return gather


def _keeping(out: Any) -> Any:
    """Return an output whose tensors keep their gradients."""
    for part in tensors_in(out):
        if part.requires_grad:
            part.retain_grad()
    return out


def _named(layer: nn.Module, states: State | None) -> Iterator[tuple[str, Tensor]]:
    """Yield the parts of a state with their names: fields of its tuples, or the states of a neuron's equation."""
    if states is None or isinstance(states, Tensor):
        return
    names = getattr(states, "_fields", None)
    if names is None and isinstance(layer, Neuron):
        names = (*layer.program.equation.states, "spikes", "refractory", "noise")
    for number, part in enumerate(states):
        if isinstance(part, Tensor):
            yield (names[number] if names is not None else str(number)), part
        else:
            yield from _named(getattr(layer, "neuron", layer), part)
