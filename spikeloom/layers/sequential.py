"""Layers in a row."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from operator import index
from typing import Any, overload

from torch import Tensor, nn

from ..core import State, Stateful
from ..errors import ConfigError
from .inner import check_layer, check_parts, check_timed, described, run, start, step


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


class Container(Stateful):
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


class Sequential(Container):
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

    >>> import torch
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
