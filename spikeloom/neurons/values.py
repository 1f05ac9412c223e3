"""Values of neurons (time constants, thresholds, ...): numbers, tensors with one entry per neuron, or learned.

    learned as     value =                             parameter, initially 0
    time constant  start exp(log_tau_mem)              log_tau_mem
    positive       start (2^-10 + (1 - 2^-10) softplus(raw_threshold ln 2) / ln 2)      raw_threshold
    real           start + shift_bias                  shift_bias

A value named in `learn` is reparametrised in one of these ways. It cannot leave its range, the step of an optimiser is
relative to its size, and it starts at exactly the given value: at 0 every factor is 1, to the last bit. A positive
value grows in proportion to its parameter and never falls below a thousandth of its start, where a distance divided by
it would overflow.
"""

import math
from abc import ABC
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core import Whole
from ..errors import ConfigError

Number = float | Tensor
"""A number, a tensor that has one entry per neuron, or an nn.Parameter to be learned."""

Learn = str | Iterable[str] | Mapping[str, str]
"""Names of values to be learned; a mapping also gives their kind, "positive" or "real"."""

FLOOR = 2.0**-10
"""Fraction of its start below which a positive learned value never falls; 1 - FLOOR is exact."""
LN2 = math.log(2.0)


class Valued(Whole, ABC):
    """Base class of layers with named values. `layer.tau_mem` is the current value, learned or not."""

    values: list[str]
    starts: dict[str, tuple[str, float | None]]
    """For each learned value the name of its parameter and its start; None: the start is the buffer `<name>_start`."""

    def _hold(self, values: Mapping[str, Any], learn: Learn = (), fixed: Iterable[str] = ()) -> None:
        """Register values: numbers as attributes, tensors as buffers, nn.Parameter and learned values as parameters."""
        self.values, self.starts = list(values), {}
        kinds = self._kinds(values, learn, fixed)
        for name, value in values.items():
            value = self._checked(name, value)
            if name in kinds:
                self._learn(name, value, kinds[name])
            elif isinstance(value, nn.Parameter):
                self.register_parameter(name, value)
            elif isinstance(value, Tensor):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    def _kinds(self, values: Mapping[str, Any], learn: Learn, fixed: Iterable[str]) -> dict[str, str]:
        """Return the parametrisation of each learned value: "log" for a time constant, else "positive" or "real"."""
        owner, known = type(self).__name__, [name for name in values if name not in fixed]
        names = names_of(owner, learn)
        requested = learn if isinstance(learn, Mapping) else {}
        kinds = dict[str, str]()
        for name in names:
            if name not in known:
                raise ConfigError(f"{owner} can learn {', '.join(known) or 'nothing'}, but got learn={name!r}.")
            usual = "positive" if name == "threshold" or name.endswith("_strength") else "real"
            usual = "log" if name.startswith("tau_") else usual
            kind = requested.get(name, usual)
            if kind not in ("positive", "real") and kind != usual:
                raise ConfigError(f'{owner} learns values as "positive" or "real", but got {name}={kind!r}.')
            if kind == "real" and self._range(name)[0]:
                raise ConfigError(
                    f"{owner} needs {name} {self._range(name)[0]}, so it cannot be learned as a real number. Leave "
                    f'"real" out: learn=("{name}",).'
                )
            kinds[name] = "log" if usual == "log" else kind
        return kinds

    def _checked(self, name: str, value: Any) -> Number:
        """Return a value as a float or a tensor; raise ConfigError if it is out of range."""
        owner = type(self).__name__
        if not isinstance(value, Tensor) and (isinstance(value, bool) or not isinstance(value, Real)):
            raise ConfigError(
                f"{owner} needs {name} as a number or a tensor, but got {value!r}. Pass a number such as 20.0, or a "
                "tensor with one entry per neuron."
            )
        if isinstance(value, Tensor) and not value.is_floating_point():
            raise ConfigError(
                f"{owner} needs {name} finite and of a floating point type, but got a tensor of {value.dtype}. Call "
                ".float() on it."
            )
        held: Number = value if isinstance(value, Tensor) else float(value)
        numbers = held.detach() if isinstance(held, Tensor) else torch.tensor(held)
        if numbers.is_meta or type(numbers) is not Tensor:  # on the meta device, or fake: without values
            return held
        if not bool(torch.isfinite(numbers).all()):
            raise ConfigError(f"{owner} needs {name} finite, but got {value}. Pass a finite number.")
        above, advice = self._range(name)
        if above and not bool((numbers > 0 if above == "> 0" else numbers >= 0).all()):
            raise ConfigError(f"{owner} needs {name} {above}, but got {value}. {advice}")
        return held

    def _learn(self, name: str, value: Number, kind: str) -> None:
        """Register the parameter of a learned value, and its start."""
        owner = type(self).__name__
        if isinstance(value, nn.Parameter):
            raise ConfigError(
                f"{owner} got learn={name!r} and an nn.Parameter as {name}, which is learned as it is. Pass a number "
                "or a plain tensor, or leave it out of learn."
            )
        if kind == "positive" and not bool((torch.as_tensor(value) != 0).any()):
            raise ConfigError(
                f"{owner} learns {name} in proportion to where it starts, but it starts at 0. Start from another "
                "number, or pass an nn.Parameter."
            )
        held = {"log": "log_", "positive": "raw_", "real": "shift_"}[kind] + name
        for other in (held, name + "_start"):
            if other in self.values:
                raise ConfigError(
                    f"{owner} learns {name} and keeps it as {other}, so no other value can have that name. Rename it."
                )
        if isinstance(value, Tensor):
            self.register_buffer(name + "_start", value)
        zero = torch.zeros_like(value, requires_grad=False) if isinstance(value, Tensor) else torch.zeros(())
        self.register_parameter(held, nn.Parameter(zero))
        self.starts[name] = held, None if isinstance(value, Tensor) else value

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("starts", ()):
            return self.value(name)
        return super().__getattr__(name)

    def value(self, name: str, per: float = 1.0) -> Number:
        """Return the current value, divided by `per`."""
        if name not in self.starts:
            value: Number = getattr(self, name)
            return value if per == 1.0 else value / per
        held, number = self.starts[name]
        parameter, start = self._parameters[held], self._buffers[name + "_start"] if number is None else number
        assert parameter is not None
        assert start is not None
        if per != 1.0:
            start = start / per
        if held.startswith("shift_"):
            return start + (parameter if per == 1.0 else parameter / per)
        if held.startswith("log_"):
            return start * torch.exp(parameter)
        return start * (FLOOR + (1 - FLOOR) * functional.softplus(parameter, beta=LN2))

    def decay(self, name: str, dt: float) -> Number:
        """Return exp(-dt / tau) of the time constant with this name."""
        if name not in self.starts:
            tau: Number = getattr(self, name)
            return torch.exp(-dt / tau) if isinstance(tau, Tensor) else math.exp(-dt / tau)
        held, number = self.starts[name]
        parameter, start = self._parameters[held], self._buffers.get(name + "_start")
        assert parameter is not None
        ratio = torch.exp(-parameter)  # exp(-dt / start) to this power, which is exact at ratio 1
        if number is None:
            assert start is not None
            return torch.exp(-dt / start) ** ratio
        return torch.full_like(ratio, math.exp(-dt / number)) ** ratio

    def _range(self, name: str) -> tuple[str, str]:
        """Return the valid range of a value, "> 0", ">= 0" or "", and the advice for one outside it."""
        return ("> 0", "Pass a positive number.") if name.startswith("tau_") or name == "threshold" else ("", "")

    def check(self) -> None:
        """Raise ConfigError if a value is out of range now, on any device."""
        for name in self.values:
            self._check_value(name, everywhere=True)

    def _check_call(self) -> None:
        """Check values in a call: numbers and CPU tensors only, since reading others synchronises with their device."""
        if not torch.compiler.is_compiling():
            for name in self.values:
                self._check_value(name, everywhere=False)

    def _check_value(self, name: str, everywhere: bool) -> None:
        above = self._range(name)[0]
        if name in self.starts:
            held, number = self.starts[name]
            if name in self.__dict__:
                raise ConfigError(
                    f"{type(self).__name__}.{name} was set, but it is learned and starts at {number}. Build the layer "
                    f"with another {name}, or set its parameter {held}."
                )
            value: Any = self._parameters[held]
            above = ""
        elif name in self.__dict__:
            value = self.__dict__[name]
        else:
            value = getattr(self, name)
        if isinstance(value, Tensor):
            if not (everywhere or _readable(value)):
                return
            if value.numel() == 1:
                low = high = value.item()
            elif value.numel() == 0:
                return
            else:
                ends = torch.aminmax(value.detach())
                low, high = ends.min.item(), ends.max.item()
        elif isinstance(value, Real) and not isinstance(value, bool):
            low = high = value  # type: ignore[assignment]
        else:
            self._checked(name, value)
            return
        if low > -math.inf and high < math.inf and (not above or low > 0 or (low == 0 and above == ">= 0")):
            return
        owner, bad = type(self).__name__, high if high == math.inf else low
        shown = name if name not in self.starts else self.starts[name][0]
        needs = f"{above} and finite".removeprefix(" and ")
        if not isinstance(value, nn.Parameter):
            raise ConfigError(f"{owner} needs {shown} {needs}, but it is {bad} now. Set it to such a number.")
        remedy = "Lower the learning rate, or look for what is not a number in inputs and losses."
        if name not in self.starts and above:
            remedy = f'Pass a number and learn=("{name}",) instead of an nn.Parameter: it then stays in its range.'
        raise ConfigError(f"{owner} needs {shown} {needs}, but it is {bad} now. {remedy}")

    def _numbers(self) -> dict[str, float | str | bool | None]:
        """Return the values and starts that are numbers, and so not in the tensors of a `state_dict`."""
        current = {
            name: self.starts[name][1] if name in self.starts else self.__dict__.get(name) for name in self.values
        }
        numbers: dict[str, float | str | bool | None]
        numbers = {name: float(value) for name, value in current.items() if isinstance(value, Real)}
        return {**numbers, "learn": ", ".join(self.starts)} if self.starts else numbers

    def structure_fits(self, name: str, saved: Any, own: Any) -> bool:
        """Return whether a saved entry fits; a value that was saved as fixed may be learned now, but not vice versa."""
        return (name == "learn" and saved is None) or super().structure_fits(name, saved, own)

    def _shown(self) -> list[str]:
        """Return the values for `repr`."""
        parts = []
        for name in self.values:
            value = torch.as_tensor(self.value(name)).detach()
            text = tuple(value.shape) if value.dim() else float(value)
            parts.append(f"{name}={text}{' (learned)' * (name in self.starts)}")
        return parts


def names_of(owner: str, learn: Learn) -> list[str]:
    """Return the names in `learn`."""
    names = [learn] if isinstance(learn, str) else list(learn) if isinstance(learn, Iterable) else [learn]
    if not all(isinstance(name, str) for name in names):
        raise ConfigError(f'{owner} needs learn as names, such as "tau_mem" or ("tau_mem",), but got {learn!r}.')
    return names


def _readable(tensor: Tensor) -> bool:
    """Return whether reading values is free: on the CPU, not traced, and not transformed by torch.func."""
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.device.type == "cpu"
    return plain and torch._C._get_tracing_state() is None and not torch._C._are_functorch_transforms_active()
