"""Presentation of a constant input to a spiking model for a number of steps, with probes.

The input is never repeated in memory. Steps run in blocks, as many as fit into a memory limit (see `blocks`): a
convolution processes a whole block as one batch, neurons run in one kernel per block, and layers before the first
neuron are computed once per block. Peak memory does not grow with the number of steps, except for recorded histories.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..arguments import explained
from ..core import State, Stateful
from ..errors import ConfigError, ShapeError, check_dense
from ..neurons import DiehlCook, Lowpass, MembraneLIF, Neuron, RateNeuron
from .blocks import LIMIT, check_batch, check_whole, in_blocks

IN_TIME = (DiehlCook, Lowpass, MembraneLIF, Neuron, RateNeuron)
"""Layers that have a `dt`."""


@explained
@dataclass(frozen=True)
class Probe:
    """Recording of a module's output.

    Args:
        layer: name of the module to record; "" for the whole model.
        tau_syn: time constant of a low-pass filter with a delay of one step [ms]; 0 for none.
        debias: divide the filter output by the sum of its weights so far.
        history: record every step, otherwise only the last.
        units: indices of the recorded units, after flattening all dimensions but the batch; () for all.
    """

    layer: str = ""
    tau_syn: float = 0.0
    debias: bool = False
    history: bool = True
    units: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.units, (tuple, list, range)) or not all(type(unit) is int for unit in self.units):
            raise ConfigError(f"Probe needs units as a tuple of whole numbers, but got {self.units!r}.")


class Presented(NamedTuple):
    """Recorded outputs by probe name, and the state to continue from."""

    probes: dict[str, Tensor]  # [T, B, *N] with history, [B, *N] without
    state: State
    filters: dict[str, Any]  # states of the probes


OUTPUT = {"out": Probe()}


@torch.no_grad()
@explained
def present(
    model: Stateful,
    x: Tensor,
    steps: int,
    *,
    probes: Mapping[str, Probe] = OUTPUT,
    dt: float = 1.0,
    memory: int = LIMIT,
    after: Presented | None = None,
) -> Presented:
    """Present `x` for `steps` steps.

    Shapes: x [B, *N]; the model maps [T, B, *N] to [T, B, K].
    Units: dt in ms, memory in bytes.

    Args:
        model: a spiking model: `to_spiking(model).eval()`.
        dt: step length for the filters of the probes; must be that of the model.
        after: result of an earlier call, to continue from there.

    Raises:
        ConfigError: the number of steps is not a whole number above 0, rate neurons of the model do not spike, `dt` is
            not that of the model, or a probe refers to a module that does not exist or runs several times.
        ShapeError: the input has no batch dimension, or the model does not accept it.

    >>> from spikeloom.layers import Sequential
    >>> from spikeloom.neurons import RateNeuron, ReLUCurve
    >>> model = Sequential(RateNeuron(ReLUCurve(), mode="spiking")).eval()
    >>> result = present(model, torch.full((1, 2), 250.0), 8)
    >>> result.probes["out"][:, 0, 0].tolist()
    [0.0, 0.0, 0.0, 1000.0, 0.0, 0.0, 0.0, 1000.0]
    """
    _check(model, x, steps)
    if any(probe.tau_syn for probe in probes.values()):
        _check_dt(model, dt)
    if after is not None and set(after.filters) != set(probes):
        raise ConfigError(
            f"present goes on with the probes it began with, {', '.join(after.filters)}, but got {', '.join(probes)}. "
            "Pass the same, or after=None."
        )
    readers = {
        name: _Reader(name, probe, dt, None if after is None else after.filters[name]) for name, probe in probes.items()
    }
    named = dict(model.named_modules())
    if unknown := sorted(reader.probe.layer for reader in readers.values() if reader.probe.layer not in named):
        known = ", ".join(name for name in named if name)
        raise ConfigError(f"There are no modules {', '.join(unknown)} to probe. The model has {known}.")
    hooks = [named[r.probe.layer].register_forward_hook(r.read) for r in readers.values() if r.probe.layer]

    def begin(block: int) -> None:
        for reader in readers.values():
            reader.block, reader.calls = (block, len(x)), 0

    state = None if after is None else after.state
    try:
        for block in in_blocks(model, x, steps, memory, state, begin):
            out, state = block
            for reader in readers.values():
                if not reader.probe.layer:
                    reader.take(out)
    finally:
        for hook in hooks:
            hook.remove()
    return Presented({name: r.result() for name, r in readers.items()}, state, {n: r.state for n, r in readers.items()})


def _check(model: nn.Module, x: Tensor, steps: int) -> None:
    """Raise an error for invalid arguments of `present`."""
    if not isinstance(model, Stateful):
        raise ConfigError(
            f"present shows models that live in time, but got {type(model).__name__}. Pass convert(model, example=x), "
            "or a spikeloom Sequential."
        )
    check_whole("present", steps=steps)
    check_batch("present", x, least=0)
    neurons = {name: module for name, module in model.named_modules() if isinstance(module, RateNeuron)}
    if rates := [name or "it" for name, module in neurons.items() if module.partner != "none" and not module.spikes]:
        raise ConfigError(
            f"present shows spikes, but the rate neurons {', '.join(rates)} would answer as rates (mode "
            f"{next(iter(neurons.values())).mode!r}{' in train()' if model.training else ''}). Call model.eval(), or "
            "pass to_spiking(model).eval()."
        )


def _check_dt(model: nn.Module, dt: float) -> None:
    """Raise ConfigError unless all layers have this dt."""
    other = {name: layer.dt for name, layer in model.named_modules() if isinstance(layer, IN_TIME) and layer.dt != dt}
    if other:
        name, expected = next(iter(other.items()))
        raise ConfigError(
            f"present filters its probes in steps of dt={dt:g} ms, but {name or 'the model'} has dt={expected:g}. "
            f"Pass dt={expected:g}."
        )


class _Reader:
    """Running state of a probe."""

    def __init__(self, name: str, probe: Probe, dt: float, state: Any) -> None:
        self.name, self.probe, self.state, self.kept = name, probe, state, list[Tensor]()
        self.block, self.calls = (1, 1), 0
        self.filter = Lowpass(probe.tau_syn, debias=probe.debias, dt=dt) if probe.tau_syn else None

    def read(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """Process the output of the module, as a forward hook."""
        out = output[0] if isinstance(output, tuple) else output
        self.calls += 1
        if self.calls > 1:
            raise ConfigError(
                f"The probe {self.name!r} cannot read {self.probe.layer}: it runs several times per step or step by "
                "step. Make two modules of one that stands in two places, or probe the layer around it."
            )
        if not isinstance(module, Stateful):  # time is folded into the batch, or missing if constant
            steps, batch = self.block
            out = out.unflatten(0, self.block) if len(out) == steps * batch else out.expand(steps, *out.shape)
        self.take(out)

    def take(self, out: Tensor) -> None:
        """Record a block of outputs [T, B, *N]."""
        if self.probe.units:
            out, (low, high) = out.flatten(2), (min(self.probe.units), max(self.probe.units))
            if low < 0 or high >= out.shape[2]:
                raise ConfigError(
                    f"The probe {self.name!r} reads units {low} to {high}, but there are units 0 to {out.shape[2] - 1}."
                )
            out = out[:, :, list(self.probe.units)]
        if self.filter is not None:
            out, self.state = self.filter(out, self.state)
        self.kept = [*self.kept, out.clone()] if self.probe.history else [out[-1:].clone()]

    def result(self) -> Tensor:
        if not self.kept:
            raise ConfigError(
                f"The probe {self.name!r} read nothing: {self.probe.layer} only holds other modules, or does not run. "
                "Probe a layer inside it."
            )
        return torch.cat(self.kept) if self.probe.history else self.kept[-1][-1]


@explained
def accuracy_over_steps(outputs: Tensor, labels: Tensor) -> Tensor:
    """Compute the accuracy after each step, [T], from the largest output at that step.

    Shapes: outputs [T, B, K], labels [B].

    >>> accuracy_over_steps(torch.tensor([[[0.0, 1.0]], [[2.0, 1.0]]]), torch.tensor([0])).tolist()
    [0.0, 1.0]
    """
    if outputs.dim() != 3 or 0 in outputs.shape:
        raise ShapeError(f"accuracy_over_steps needs outputs [T, B, K], none of them 0, but got {list(outputs.shape)}.")
    _check_labels("accuracy_over_steps", labels, *outputs.shape[1:])
    check_dense("accuracy_over_steps: outputs", outputs)
    if not bool(outputs.isfinite().all()):
        raise ConfigError("accuracy_over_steps got outputs that are not finite. Look for what made them so.")
    return (outputs.argmax(-1) == labels).float().mean(1)


def _check_labels(owner: str, labels: Tensor, samples: int, classes: int) -> None:
    """Raise an error unless there is one label from 0 to classes - 1 per sample."""
    whole = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    if tuple(labels.shape) != (samples,) or not whole:
        raise ShapeError(
            f"{owner} needs a label per sample, whole numbers [{samples}], but got {labels.dtype} "
            f"{list(labels.shape)}. Pass those of the same samples, as .long()."
        )
    if not bool(((labels >= 0) & (labels < classes)).all()):
        raise ConfigError(
            f"{owner} needs labels from 0 to {classes - 1}, one of the {classes} outputs, but got "
            f"{int(labels.min())} to {int(labels.max())}."
        )


@torch.no_grad()
@explained
def accuracy_curve(
    model: Stateful, x: Tensor, labels: Tensor, steps: int, *, batch: int = 100, memory: int = LIMIT
) -> Tensor:
    """Present `x`, predict by the mean output so far, and compute the accuracy after each step, [T].

    Shapes: x [B, *N], labels [B]; the model maps [T, B, *N] to [T, B, K].

    Args:
        batch: number of samples per batch.
        memory: memory limit of a block in bytes, see `present`.

    Raises:
        ConfigError, ShapeError: as for `present`; or the number of labels is not that of samples.

    >>> from spikeloom.convert import convert
    >>> model = nn.Sequential(nn.Identity(), nn.ReLU()).eval()
    >>> x, labels = torch.tensor([[0.1, 0.4], [0.9, 0.6]]), torch.tensor([1, 0])
    >>> accuracy_curve(convert(model, example=x), x, labels, 4).tolist()
    [0.5, 1.0, 1.0, 1.0]
    """
    check_whole("accuracy_curve", steps=steps, batch=batch)
    check_batch("accuracy_curve", x)
    if labels.shape != x.shape[:1]:
        raise ShapeError(f"accuracy_curve needs a label per sample of {list(x.shape)}, but got {list(labels.shape)}.")
    right = torch.zeros(steps, device=x.device)
    for start in range(0, len(x), batch):
        means = present(model, x[start : start + batch], steps, memory=memory).probes["out"].cumsum(0)
        _check_labels("accuracy_curve", labels[start : start + batch], *means.shape[1:])
        right += (means.argmax(-1) == labels[start : start + batch]).sum(1)
    return right / len(x)
