"""Every layer against states that are not its own: an error that names the layer, never a wrong number.

A state is a tree of tensors. Each leaf is changed in each way, and the tree itself; only a state that says the same in
another form (a plain tuple) may be accepted, and then the result is that of the state.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from spikeloom.core import Stateful

from .judge import close, names, outcome, run
from .layers import LAYERS, N, valid

Change = Callable[[Any], Any]


@cache
def ready(key: str) -> tuple[Any, Tensor, Any]:
    """A layer, an input and a state of it."""
    layer, xs = LAYERS[key].make(N), valid(LAYERS[key])[:3]
    with torch.no_grad():
        return layer, xs, layer(xs)[1]


LEAF: dict[str, Change] = {
    "none": lambda x: None,
    "number": lambda x: 0.0,
    "text": lambda x: "state",
    "empty-tuple": lambda x: (),
    "list": lambda x: x.tolist(),
    "array": lambda x: x.detach().numpy(),
    "scalar": lambda x: x.new_zeros(()),
    "flat": lambda x: x.flatten(),
    "one-dimension-more": lambda x: x.unsqueeze(0),
    "one-more-last": lambda x: torch.cat([x, x[..., :1]], -1),
    "one-less-last": lambda x: x[..., :-1],
    "one-more-first": lambda x: torch.cat([x, x[:1]]),
    "one-less-first": lambda x: x[:-1],
    "broadcast-first": lambda x: x[:1],
    "broadcast-last": lambda x: x[..., :1],
    "swapped": lambda x: x.mT if x.dim() > 1 else x,
    "float16": lambda x: x.half(),
    "float64": lambda x: x.double(),
    "int32": lambda x: x.int(),
    "complex64": lambda x: x.to(torch.complex64),
    "meta": lambda x: x.to("meta"),
    "sparse": lambda x: x.to_sparse(),
}
OF_DIMENSIONS = [name for name in LEAF if name.startswith(("one-more", "one-less", "broadcast"))]

TREE: dict[str, Change] = {
    "text": lambda s: "state",
    "number": lambda s: 1.0,
    "tensor": lambda s: torch.zeros(3, 5),
    "dict": lambda s: dict(enumerate(s)),
    "empty": lambda s: (),
    "too-short": lambda s: tuple(s)[:-1],
    "too-long": lambda s: (*s, torch.zeros(3, 5)),
    "twice": lambda s: (s, s),
    "of-LIF": lambda s: ready("LIF")[2],
    "of-LIF-elsewhere": lambda s: LAYERS["LIF"].make(N)(torch.ones(2, 4, 6))[1],
    "of-ALIF": lambda s: ready("ALIF")[2],
    "of-SynapticLIF": lambda s: ready("SynapticLIF")[2],
    "of-Sequential": lambda s: ready("Sequential")[2],
    "of-DelayedLinear": lambda s: ready("DelayedLinear")[2],
}


def places(state: Any, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """Every leaf of a state and where it stands."""
    if isinstance(state, Tensor):
        yield path, state
    else:
        for index, part in enumerate(state):
            yield from places(part, (*path, index))


def replaced(state: Any, path: tuple[int, ...], value: Any) -> Any:
    """The state with another leaf, of the same classes."""
    if not path:
        return value
    parts = [replaced(part, path[1:], value) if i == path[0] else part for i, part in enumerate(state)]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def plain(state: Any) -> Any:
    return state if isinstance(state, Tensor) else tuple(plain(part) for part in state)


STATEFUL = [key for key, row in LAYERS.items() if isinstance(row.make(N), Stateful)]


def same_form(one: Any, other: Any) -> bool:
    """Whether two states have the same classes, shapes and types."""
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        alike = isinstance(one, Tensor) and isinstance(other, Tensor)
        return alike and one.shape == other.shape and one.dtype == other.dtype and one.device == other.device
    if type(one) is not type(other) or len(one) != len(other):
        return False
    return all(same_form(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("change", LEAF)
@pytest.mark.parametrize("key", STATEFUL)
def test_a_changed_part_of_a_state_is_refused(key: str, change: str) -> None:
    layer, xs, state = ready(key)
    accepted = []
    for path, leaf in places(state):
        if leaf.dim() == 0 and change in OF_DIMENSIONS:
            continue
        wrong = LEAF[change](leaf)
        if isinstance(wrong, Tensor) and same_form(wrong, leaf):
            continue

        def call(path: tuple[int, ...] = path, wrong: Any = wrong) -> Any:
            with torch.no_grad():
                return run(layer, xs, replaced(state, path, wrong))

        if outcome(call, names(layer)) is not None:
            accepted.append(path)
    assert not accepted, f"accepted at {accepted}"


@pytest.mark.parametrize("change", TREE)
@pytest.mark.parametrize("key", STATEFUL)
def test_another_state_is_refused(key: str, change: str) -> None:
    layer, xs, state = ready(key)
    wrong = TREE[change](state)
    if same_form(wrong, state):
        return

    def call() -> Any:
        with torch.no_grad():
            return run(layer, xs, wrong)

    assert outcome(call, names(layer)) is None, "accepted"


@pytest.mark.parametrize("key", STATEFUL)
def test_a_plain_tuple_says_the_same_or_is_refused(key: str) -> None:
    layer, xs, state = ready(key)
    with torch.no_grad():
        found = outcome(lambda: run(layer, xs, plain(state)), names(layer))
        if found is not None:
            close(found, run(layer, xs, state))
