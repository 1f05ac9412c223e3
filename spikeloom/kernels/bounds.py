"""Checks of the indices (delays) that loops use, made before they start: compiled code does not check bounds."""

from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from ..errors import ShapeError
from .transforms import readable

_seen = WeakIdKeyDictionary()
"""Delays on a GPU whose range was checked, with their `_version` and the slots at that time."""


def check_delays(delays: Tensor | None, weight: Tensor, slots: int) -> None:
    """Raise ShapeError unless every synapse of weight [post, pre] has a delay of 0 .. slots - 1 whole steps.

    On a GPU the values are read again only after the tensor has changed (its version), because reading them
    synchronises with the device. On the CPU they are read in every call. Under torch.compile they are checked when the
    loops run.
    """
    if delays is None:
        if slots > 1:
            raise ShapeError(
                f"synapses with {slots} delay slots need a delay for each of {list(weight.shape)}, but there is none. "
                "Set `delay` to whole steps."
            )
        return
    if delays.is_floating_point() or delays.is_complex() or delays.shape != weight.shape:
        raise ShapeError(
            f"synapses of weight {list(weight.shape)} need as many delays in whole steps, but got "
            f"{list(delays.shape)} of {delays.dtype}. Pass int64 delays of that shape."
        )
    if delays.device != weight.device:
        raise ShapeError(
            f"synapses have a weight on {weight.device} but delays on {delays.device}. Move them with .to(device)."
        )
    if not readable(delays):
        return
    now = None if delays.is_cpu or delays.is_inference() else (delays._version, slots)
    if now is None or _seen.get(delays) != now:
        check_range(delays, slots)
        if now is not None:
            _seen[delays] = now


def check_range(delays: Tensor, slots: int) -> None:
    """Raise ShapeError unless all delays are 0 .. slots - 1."""
    if not delays.numel():
        return
    low, high = (int(value) for value in delays.aminmax())
    if low < 0 or high >= slots:
        hint = f"Build the layer with delays={high + 1}, or set smaller ones." if low >= 0 else "Set none below 0."
        raise ShapeError(
            f"delays must be from 0 to {slots - 1} steps in a layer with delays={slots}, but go from {low} to "
            f"{high}. {hint}"
        )
