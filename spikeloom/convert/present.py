"""Show a constant input to a spiking model for some steps, and see what probes say.

The input is never repeated in memory. Steps run in blocks, as many as fit into a memory limit: a convolution takes a
whole block as one batch, neurons run in one kernel per block, and what stands in front of the first neuron is computed
once. The peak does not grow with the number of steps, but for the histories that probes keep.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core import State, Stateful
from ..errors import ConfigError, ShapeError
from ..neurons import Lowpass

LIMIT = 1 << 28
"""Bytes of the outputs of one block: 256 MB."""


@dataclass(frozen=True)
class Probe:
    """What is read from a model.

    Args:
        layer: name of the module whose output is read; "": that of the whole model.
        tau_syn: time constant of a low-pass, with the delay of one step [ms]; 0: none.
        debias: divide the low-pass by the weight of what it has seen.
        history: keep every step, else the last one only.
        units: the first dimension after the batch is flattened to units and these are read; (): all.
    """

    layer: str = ""
    tau_syn: float = 0.0
    debias: bool = False
    history: bool = True
    units: tuple[int, ...] = ()


class Presented(NamedTuple):
    """What probes read, by name, and where to go on."""

    probes: dict[str, Tensor]  # [T, B, *N] with history, [B, *N] without
    state: State
    filters: dict[str, Any]  # states of the probes


OUTPUT = {"out": Probe()}


@torch.no_grad()
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
    """Show `x` for `steps` steps.

    Shapes: x [B, *N]; the model maps [T, B, *N] to [T, B, K].
    Units: dt in ms, memory in bytes.

    Args:
        model: in the mode it shall run in: `to_spiking(model).eval()`.
        after: what an earlier call returned, to go on from there.

    Raises:
        ConfigError: fewer than one step, or a probe names no module.
        ShapeError: the input has no batch dimension.

    >>> from spikeloom.layers import Sequential
    >>> from spikeloom.neurons import RateNeuron, ReLUCurve
    >>> model = Sequential(RateNeuron(ReLUCurve(), mode="spiking")).eval()
    >>> shown = present(model, torch.full((1, 2), 250.0), 8)
    >>> shown.probes["out"][:, 0, 0].tolist()
    [0.0, 0.0, 0.0, 1000.0, 0.0, 0.0, 0.0, 1000.0]
    """
    if steps < 1:
        raise ConfigError(f"present needs steps >= 1, but got {steps}.")
    if x.dim() < 2:
        raise ShapeError(f"present needs an input [B, *N], but got {list(x.shape)}. Add a batch dimension.")
    readers = {
        name: _Reader(probe, dt, None if after is None else after.filters[name]) for name, probe in probes.items()
    }
    named = dict(model.named_modules())
    if unknown := sorted(reader.probe.layer for reader in readers.values() if reader.probe.layer not in named):
        raise ConfigError(f"There are no modules {', '.join(unknown)} to probe. The model has {', '.join(named)}.")
    hooks = [named[r.probe.layer].register_forward_hook(r.read) for r in readers.values() if r.probe.layer]
    largest = [0]
    sizes = [module.register_forward_hook(_measure(largest)) for module in model.modules()]
    state, done, block = None if after is None else after.state, 0, 1
    try:
        while done < steps:
            for reader in readers.values():
                reader.block = block, len(x)
            out, state = model(x.expand(block, *x.shape), state)
            for reader in readers.values():
                if not reader.probe.layer:
                    reader.take(out)
            done += block
            while sizes:
                sizes.pop().remove()
            block = max(1, min(memory // max(2 * largest[0], 1), steps - done))
    finally:
        for hook in (*hooks, *sizes):
            hook.remove()
    return Presented({name: r.found() for name, r in readers.items()}, state, {n: r.state for n, r in readers.items()})


class _Reader:
    """A probe at work."""

    def __init__(self, probe: Probe, dt: float, state: Any) -> None:
        self.probe, self.state, self.kept = probe, state, list[Tensor]()
        self.block = (1, 1)
        self.filter = Lowpass(probe.tau_syn, debias=probe.debias, dt=dt) if probe.tau_syn else None

    def read(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """A forward hook."""
        out = output[0] if isinstance(output, tuple) else output
        if not isinstance(module, Stateful):  # time is folded into the batch, or left out if nothing changed
            steps, batch = self.block
            out = out.unflatten(0, self.block) if len(out) == steps * batch else out.expand(steps, *out.shape)
        self.take(out)

    def take(self, out: Tensor) -> None:
        """A block of outputs [T, B, *N]."""
        if self.probe.units:
            out = out.flatten(2)[:, :, list(self.probe.units)]
        if self.filter is not None:
            out, self.state = self.filter(out, self.state)
        self.kept = [*self.kept, out.clone()] if self.probe.history else [out[-1:].clone()]

    def found(self) -> Tensor:
        return torch.cat(self.kept) if self.probe.history else self.kept[-1][-1]


def _measure(largest: list[int]) -> Callable[..., None]:
    """A hook that notes the largest output of a step."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        out = output[0] if isinstance(output, tuple) else output
        if isinstance(out, Tensor):
            largest[0] = max(largest[0], out.numel() * out.element_size())

    return hook


def accuracy_over_steps(outputs: Tensor, labels: Tensor) -> Tensor:
    """Share of samples whose largest output is right, if one stops after each step: [T].

    Shapes: outputs [T, B, K], labels [B].

    >>> accuracy_over_steps(torch.tensor([[[0.0, 1.0]], [[2.0, 1.0]]]), torch.tensor([0])).tolist()
    [0.0, 1.0]
    """
    return (outputs.argmax(-1) == labels).float().mean(1)
