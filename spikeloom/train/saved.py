"""Validation of checkpoint contents: structure, options of the run, and fit with the parts.

    {"format", "task", "preset", "seed", "update", "options", "metrics": {"bytes", "sha256"}, "best", "shared",
     "files": {name: sha256}, "parts": {name: state},
     "ranks": [{"generators": {purpose: state}, "parts": {name: state}}, ...]}

`metrics` describes the beginning of metrics.jsonl at that time, `best` is the value of checkpoints/best.pt, and `files`
are those written by `Run.write_json(..., kept=True)`. Checkpoints of earlier versions have none of these, and no
options.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .checkpoint import Carry

MAY_CHANGE = ("updates", "epochs", "minutes", "checkpoint_every")
"""Options that may change in config.json on resumption: duration of the training and checkpoint interval."""
KINDS: dict[str, type | tuple[type, ...]] = {
    "format": int, "task": str, "preset": str, "seed": int, "update": int, "parts": dict, "ranks": list,
    "shared": list, "files": dict, "options": (dict, type(None)), "metrics": dict, "best": (float, int, type(None)),
}  # fmt: skip
OPTIONAL = ("shared", "files", "options", "metrics", "best")
MISFITS = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError)
"""Exceptions raised when a state that does not fit is loaded."""


def flaw(contents: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the contents of a checkpoint, as the end of a sentence, or None."""
    for name, kind in KINDS.items():
        if name not in contents:
            if name in OPTIONAL:
                continue
            return f"it has no {name!r}"
        if not isinstance(contents[name], kind) or isinstance(contents[name], bool):
            return f"its {name!r} is a {type(contents[name]).__name__}"
    try:
        json.dumps(contents.get("options"))
    except (TypeError, ValueError, RecursionError):
        return "its options are no plain values"
    if contents["update"] < 0:
        return f"its update is {contents['update']}"
    known = contents.get("files", {})
    if not all(isinstance(name, str) for name in (*contents["parts"], *contents.get("shared", ()), *known)):
        return "a part, a generator or a file has no name"
    if any(Path(name).name != name for name in known):
        return "one of its files is not in the folder of the run"
    recorded = contents.get("metrics")
    if recorded is not None and not (type(recorded.get("bytes")) is int and isinstance(recorded.get("sha256"), str)):
        return "it does not say what metrics.jsonl held"
    if contents.get("best") is not None and not math.isfinite(contents["best"]):
        return f"its best value is {contents['best']}"
    ranks = contents["ranks"]
    whole = all(
        isinstance(one, dict)
        and isinstance(one.get("parts"), dict)
        and isinstance(one.get("generators"), dict)
        and all(isinstance(state, Tensor) and state.dtype == torch.uint8 for state in one["generators"].values())
        for one in ranks
    )
    return None if ranks and whole else "it does not hold the generators and parts of every process"


def changed(saved: Mapping[str, Any] | None, options: Mapping[str, Any] | None) -> dict[str, tuple[Any, Any]]:
    """Return the options that differ from a checkpoint as (saved, now); options on one side only are left out."""
    if saved is None or options is None:
        return {}
    return {
        name: (saved[name], value)
        for name, value in options.items()
        if name in saved and saved[name] != value and json.dumps(saved[name]) != json.dumps(value)  # NaN is not NaN
    }


def give(part: Any, state: Any, device: torch.device) -> None:
    """Load a state into a part.

    Raises:
        CheckpointError, or one of MISFITS: the state does not fit.
    """
    if isinstance(part, Carry):
        part.load_state_dict(state, device)
        return
    if not isinstance(state, dict):
        raise TypeError(f"it is a {type(state).__name__}")
    if isinstance(part, nn.Module):
        for name, own in part.state_dict().items():
            if isinstance(state.get(name), Tensor) and state[name].dtype != own.dtype:
                raise ValueError(f"{name} is {state[name].dtype} there and {own.dtype} here")
        part.load_state_dict(state)
        if wrong := not_a_number(part):
            raise ValueError(f"{wrong} is no longer a number there")
    elif isinstance(part, Optimizer):
        _check_groups(part, state)
        part.load_state_dict(state)
        _check_moments(part)
    else:
        _check_alike(part.state_dict(), state, "it")
        part.load_state_dict(state)


def _check_groups(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Raise ValueError if options of an optimiser have another type than before."""
    own = optimizer.state_dict()
    if not (isinstance(state.get("state"), dict) and isinstance(state.get("param_groups"), list)):
        raise ValueError("it is not the state of an optimiser")
    if not set(state["state"]) <= {index for group in own["param_groups"] for index in group["params"]}:
        raise ValueError("it is of other parameters")
    for mine, theirs in zip(own["param_groups"], state["param_groups"], strict=False):
        for name, value in theirs.items():
            if mine.get(name, value) is None and not isinstance(value, bool | None):
                raise ValueError(f"its {name} is {value!r:.80} and not a yes or no")
            if name in mine:
                _check_alike(mine[name], value, f"its {name}")


def _check_moments(optimizer: Optimizer) -> None:
    """Raise ValueError unless optimiser state has the shape of its parameter, or is a number."""
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            fits = not isinstance(value, Tensor) or value.dim() == 0 or value.shape == parameter.shape
            if not (fits and (value is None or isinstance(value, Tensor | int | float))):
                raise ValueError(f"its {name} does not have the shape {list(parameter.shape)} of its parameter")


def _check_alike(own: Any, other: Any, where: str) -> None:
    """Raise ValueError unless two states have the same keys and types; tensors may differ in length."""
    if own is None:
        return
    if isinstance(own, Tensor):
        if not (isinstance(other, Tensor) and other.dtype == own.dtype and other.dim() == own.dim()):
            raise ValueError(f"{where} is not a tensor of {own.dim()} dimensions of {own.dtype}")
    elif isinstance(own, dict):
        if not (isinstance(other, dict) and own.keys() == other.keys()):
            raise ValueError(f"{where} does not have the parts {', '.join(map(str, own))}")
        for name, value in own.items():
            _check_alike(value, other[name], f"{where}[{name!r}]")
    elif isinstance(own, list | tuple):
        if not (isinstance(other, list | tuple) and len(own) == len(other)):
            raise ValueError(f"{where} does not have {len(own)} items")
        for place, (value, theirs) in enumerate(zip(own, other, strict=True)):
            _check_alike(value, theirs, f"{where}[{place}]")
    elif isinstance(own, bool | str):
        if type(own) is not type(other):
            raise ValueError(f"{where} is {other!r:.80} and not a {type(own).__name__}")
    elif not (type(other) in (int, float) or (isinstance(other, Tensor) and other.dim() == 0)) or other != other:
        raise ValueError(f"{where} is {other!r:.80} and not a number")


def not_a_number(module: nn.Module) -> str | None:
    """Return the name of the first parameter with an infinite or NaN value, or None.

    >>> layer = nn.Linear(2, 1)
    >>> not_a_number(layer) is None
    True
    >>> layer.bias.data.fill_(float("nan"))
    tensor([nan])
    >>> not_a_number(layer)
    'bias'
    """
    return _first_wrong({name: parameter.detach() for name, parameter in module.named_parameters()})


def wrong_gradient(module: nn.Module) -> str | None:
    """Return the name of the first parameter whose gradient has an infinite or NaN value, or None."""
    return _first_wrong(
        {
            name: value.grad
            for name, value in module.named_parameters()
            if value.grad is not None and not value.grad.is_sparse
        }
    )


def _first_wrong(tensors: Mapping[str, Tensor]) -> str | None:
    kinds: dict[tuple[torch.device, torch.dtype], dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel():
            kinds.setdefault((tensor.device, tensor.dtype), {})[name] = tensor
    for some in kinds.values():
        largest = torch.stack(list(torch._foreach_norm(list(some.values()), math.inf)))
        finite = largest.isfinite().tolist()  # one transfer for all: a GPU has a high latency
        if not all(finite):
            return next(name for name, fine in zip(some, finite, strict=True) if not fine)
    return None


__all__ = ["MAY_CHANGE", "MISFITS", "changed", "flaw", "give", "not_a_number", "wrong_gradient"]
