"""When a cell is right."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from spikeloom import kernels
from spikeloom.errors import SpikeloomError, unusual

from .layers import B, N, Row


def leaves(thing: Any) -> Iterator[Tensor]:
    """All tensors of outputs and states, in order."""
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, (tuple, list)):
        for part in thing:
            yield from leaves(part)


def close(found: Any, wanted: Any, batch: int = B, others_only: bool = False) -> None:
    """Assert equality up to rounding; what is not finite must be so in both.

    In the first sample, which holds the hostile value, errors are relative to the largest value there is; the others
    must know nothing of it.
    """
    one, other = list(leaves(found)), list(leaves(wanted))
    assert len(one) == len(other), f"{len(one)} tensors instead of {len(other)}"
    for a, b in zip(one, other, strict=True):
        assert a.shape == b.shape, f"shape {list(a.shape)} instead of {list(b.shape)}"
        assert a.device.type != "meta"
        if not b.is_floating_point():
            assert torch.equal(a.to(b.dtype), b), "whole numbers differ"
            continue
        assert a.is_floating_point()
        a, b = a.detach().double(), b.detach().to(a.dtype).double()
        finite = b[b.isfinite()].abs()
        size = float(finite.max()) if finite.numel() else 0.0
        along = next((d for d, count in enumerate(b.shape) if count == batch and batch > 1), None)
        if (size < 1e6 and not others_only) or along is None:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * max(1.0, size), equal_nan=True)
            continue
        first, rest = torch.tensor([0]), torch.arange(1, batch)
        if not others_only:
            a0, b0 = a.index_select(along, first), b.index_select(along, first)
            torch.testing.assert_close(a0, b0, rtol=1e-4, atol=1e-5 * size, equal_nan=True)
        ar, br = a.index_select(along, rest), b.index_select(along, rest)
        torch.testing.assert_close(ar, br, rtol=1e-4, atol=1e-4, equal_nan=True)


def run(layer: nn.Module, xs: Any, state: Any = None) -> Any:
    """Output and state."""
    return layer(xs) if state is None else layer(xs, state)


@cache
def _known(row: Row) -> list[tuple[Tensor, Any]]:
    return []


def defined(row: Row, xs: Tensor) -> Any:
    """What the definition says to an input, or the error that it raises; worked out once for equal inputs."""
    for known, said in _known(row):
        if known.shape == xs.shape and torch.equal(known, xs):
            return said
    with kernels.use("torch"), torch.no_grad():
        try:
            said = run(row.make(N).double(), xs)
        except SpikeloomError as error:
            said = error
    _known(row).append((xs, said))
    return said


def names(layer: nn.Module) -> set[str]:
    """What a message may call a layer."""
    return {type(part).__name__ for part in layer.modules()} | {"input"}


def outcome(call: Callable[[], Any], known: set[str]) -> Any:
    """The result, or None for an error of ours that names one of `known`."""
    try:
        return call()
    except SpikeloomError as error:
        text = str(error)
        assert any(name in text for name in known), f"names none of {sorted(known)}: {text}"
        assert len(text) > 20
        return None


def gradient(layer: nn.Module, xs: Tensor) -> list[Tensor]:
    """Of a weighted sum of the first output, for the input and all parameters."""
    out = next(leaves(run(layer, xs)))
    weight = torch.linspace(0.5, 1.5, out.numel(), dtype=out.dtype).reshape(out.shape)
    wanted = [xs, *(part for part in layer.parameters() if part.requires_grad)]
    if not out.requires_grad:  # what a step says of the steps before it
        return [torch.zeros_like(x) for x in wanted]
    found = torch.autograd.grad((out * weight).sum(), wanted, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, wanted, strict=True)]


def untouched(xs: Any) -> Any:
    """A copy by which one sees whether a call changed its input."""
    with suppress(RuntimeError, NotImplementedError, TypeError):
        if isinstance(xs, Tensor) and xs.device.type != "meta" and not unusual(xs):
            return xs.detach().clone()
    return None
