"""From a network to a NIR graph."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core import Stateful, renew_weights
from ...errors import ExportError
from ...firing import Firing
from ...layers import DelayedSynapses, Recurrent, Sequential
from ...neurons import ALIF, LIF, LeakyReadout, LIFCurve, RateNeuron, SynapticLIF, SynapticReadout
from ..converted import Converted, Op, refs
from ..operations import reshape_samples
from .values import NEURONS, Scaling, array, check_numbers, first_line, full, ints, listed, outputs, package, size_of

if TYPE_CHECKING:
    import nir

PASSIVE = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)
"""Modules that do nothing at inference, and get no node."""


def to_nir(model: nn.Module, input_shape: tuple[int, ...]) -> "nir.NIRGraph":
    """Export a network to a chain of nodes named after its layers. A rate neuron becomes its spiking partner.

    Shapes: input_shape is that of one sample in one step [*N].
    Units: NIR's time constants in s.

    Args:
        model: one layer, `Sequential` or nn.Sequential of layers, a module that only calls one of these, or a
            `Converted` chain of layers with v_init=0.

    Raises:
        ExportError: NIR cannot express some layers (all are named), the shape does not match, or nir is not installed.

    >>> graph = to_nir(Sequential(nn.Linear(4, 2), LIF(tau_mem=20.0)), (4,))
    >>> list(graph.nodes), graph.nodes["layers.1"].tau.tolist()
    (['input', 'layers.0', 'layers.1', 'output'], [0.02, 0.02])
    """
    nir = package()
    input_shape = size_of(input_shape)
    if not isinstance(model, nn.Module):
        raise ExportError(f"to_nir needs a network, an nn.Module, but got {type(model).__name__}.")
    if isinstance(model, Converted):
        layers = _chained(model)
    else:
        model, start = _unwrapped(model, input_shape)
        layers = [(name or type(layer).__name__, layer) for name, layer in _leaves(model, start)]
    problems = [(name, type(layer).__name__, reason) for name, layer in layers if (reason := _obstacle(layer))]
    dts = {name: layer.dt for name, layer in layers if isinstance(layer, NEURONS)}
    if len(set(dts.values())) > 1:
        steps = ", ".join(f"{dt} ms in {name}" for name, dt in dts.items())
        problems.append(("the network", type(model).__name__, f"its neurons differ in dt, {steps}"))
    if problems:
        raise ExportError(f"NIR cannot express {listed(problems)}. Replace these, or export the layers between them.")
    first = next(model.parameters(), torch.empty(0))
    x = torch.zeros(1, *input_shape, dtype=first.dtype, device=first.device)
    nodes = {_free("input", layers): nir.Input({"input": np.array(input_shape)})}
    for name, layer in layers:
        try:
            after = x if isinstance(layer, NEURONS) else outputs(layer, x)
            new = _nodes(name, layer, tuple(x.shape[1:]), tuple(after.shape[1:]))
            for node in new.values():
                check_numbers(node)
            nodes |= new
        except ExportError as error:
            raise ExportError(f"NIR cannot express {name} ({type(layer).__name__}): {first_line(error)}") from error
        except (RuntimeError, ValueError) as error:
            raise ExportError(
                f"{name} ({type(layer).__name__}) does not fit its input {list(x.shape[1:])}: {first_line(error)} "
                f"Check input_shape, which is {list(input_shape)}, without time and batch."
            ) from error
        x = after
    nodes[_free("output", layers)] = nir.Output({"output": np.array(x.shape[1:])})
    names = list(nodes)
    metadata = {"made_by": "spikeloom"} | ({"dt_ms": next(iter(dts.values()))} if dts else {})
    return nir.NIRGraph(nodes, list(pairwise(names)), metadata, type_check=False)


def _chained(model: Converted) -> list[tuple[str, nn.Module]]:
    """Return the layers of a converted model, which must be a chain; functions become modules named by their values."""
    timed = {op.name for op in model.ops if op.timed}
    before, layers, problems = "input", list[tuple[str, nn.Module]](), list[tuple[str, str, str]]()
    for op in model.ops:
        if not op.timed:
            continue
        reads = [ref.name for ref in refs(op) if ref.name in timed or ref.name == "input"]
        layer = model.get_submodule(op.target) if op.kind in ("stateful", "module") else _function(op)
        name = op.target if op.kind in ("stateful", "module") and op.target not in dict(layers) else op.name
        kind = str(getattr(op.target, "__name__", op.target)) if layer is None else type(layer).__name__
        if reads != [before]:
            problems.append((name, kind, f"it reads {', '.join(reads)}, and only chains can be exported"))
        elif layer is None:
            problems.append((name, kind, "no such node"))
        before = op.name
        layers += [] if layer is None else [(name, layer)]
    if problems:
        raise ExportError(f"NIR cannot express {listed(problems)}. Replace these, or export the layers between them.")
    return layers


def _function(op: Op) -> nn.Module | None:
    """Return the module for a function, if NIR supports it."""
    if op.target is reshape_samples and len(op.args) == 3 and op.args[2] == -1:
        return nn.Flatten()
    if op.target in (torch.flatten, "flatten"):
        start, end = op.kwargs.get("start_dim", 0), op.kwargs.get("end_dim", -1)
        return nn.Flatten(*(op.args[1:] + (start, end)[len(op.args) - 1 :]))
    return nn.AvgPool2d(*op.args[1:], **op.kwargs) if op.target is F.avg_pool2d else None


def _leaves(model: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield layers in order, with their names; a layer that is used twice comes twice."""
    if isinstance(model, (Sequential, nn.Sequential)):
        inner, below = (model.layers, ".layers") if isinstance(model, Sequential) else (model, "")
        for key, layer in inner._modules.items():
            assert layer is not None
            yield from _leaves(layer, f"{name}{below}.{key}".lstrip("."))
    elif not isinstance(model, PASSIVE):
        yield name, model


@torch.no_grad()
def _unwrapped(model: nn.Module, input_shape: tuple[int, ...]) -> tuple[nn.Module, str]:
    """Return the Sequential inside a module that only wraps it without changing its outputs, and its name."""
    children = list(model.named_children())
    if isinstance(model, Sequential) or not isinstance(model, Stateful) or len(children) != 1:
        return model, ""
    name, inner = children[0]
    if not isinstance(inner, Sequential) or len(list(model.parameters())) != len(list(inner.parameters())):
        return model, ""
    if any(_obstacle(layer) for _, layer in _leaves(inner, name)):
        return inner, name  # reported later; it cannot be run to compare the outputs
    modes = {module: module.training for module in model.modules()}
    first = next(model.parameters(), torch.empty(0))
    xs = torch.rand(2, 1, *input_shape, generator=torch.Generator().manual_seed(0)).to(first)
    try:
        outs = [module.eval()(xs)[0] for module in (model, inner)]
    finally:
        for module, training in modes.items():
            module.training = training
    same = all(isinstance(out, Tensor) for out in outs) and torch.equal(*outs)
    return (inner, name) if same else (model, "")


def _obstacle(layer: nn.Module) -> str:
    """Return why NIR has no node for a layer, or ""."""
    if isinstance(layer, (LIF, SynapticLIF)):
        waits = layer.program.refractory > 0 or "steps" in layer.values
        reasons = ["its refractory period"] * waits
        reasons += ["its spikes are drawn at random"] * isinstance(layer.program.surrogate, Firing)
        return " and ".join(reasons)
    if isinstance(layer, RateNeuron):
        return _rate_obstacle(layer)
    if isinstance(layer, (nn.Conv1d, nn.Conv2d)) and layer.padding_mode != "zeros":
        return f"its padding_mode {layer.padding_mode!r}, only zeros are known"
    if isinstance(layer, nn.Flatten) and layer.start_dim == 0:
        return "it flattens the samples into one another"
    if isinstance(layer, nn.AvgPool2d):
        padded = layer.padding not in (0, (0, 0)) and not layer.count_include_pad and layer.divisor_override is None
        odd = padded or layer.ceil_mode or layer.divisor_override not in (None, 1)
        return "its ceil_mode, count_include_pad or divisor_override" if odd else ""
    if isinstance(layer, DelayedSynapses):
        return "its delays, one per synapse" if layer.delays > 1 else ""
    if isinstance(layer, Recurrent):
        return "its loop takes a step of time, and NIR has no steps"
    if type(layer) in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Flatten, LeakyReadout, SynapticReadout, Scaling):
        return ""
    return "no node with an adapting threshold" if isinstance(layer, ALIF) else "no such node"


def _rate_obstacle(neuron: RateNeuron) -> str:
    """Return why NIR has no node for a rate neuron, or ""."""
    if neuron.partner not in ("lif", "integrate_and_fire"):
        return f"its spiking partner {neuron.partner}"
    flaws = [] if neuron.v_init == 0.0 else [f"its first voltage, v_init={neuron.v_init} (NIR has none: take v_init=0)"]
    if neuron.min_voltage > -math.inf:
        flaws.append(f"its lowest voltage, min_voltage={neuron.min_voltage:g} (-math.inf is none)")
    if isinstance(neuron.curve, LIFCurve) and neuron.curve.refractory:
        flaws.append("its refractory period")
    if neuron.partner == "integrate_and_fire" and bool((torch.as_tensor(neuron.bias) != 0).any()):
        flaws.append("its bias (move it into the layer before)")
    return " and ".join(flaws)


def _nodes(name: str, layer: nn.Module, shape: tuple[int, ...], after: tuple[int, ...]) -> dict[str, Any]:
    """Return the node of a layer, and a Scale behind it if its spikes are not 1."""
    nodes = {name: _node(layer, shape)}
    if isinstance(layer, RateNeuron) and bool((torch.as_tensor(layer.height) != 1).any()):
        nodes[name + ".height"] = package().Scale(full(layer.height, shape))
    for node in nodes.values():
        node.input_type = {"input": np.array(shape)}  # nir's own inference is wrong for groups and oblong kernels
        node.output_type = {"output": np.array(after)}
    return nodes


def _node(layer: nn.Module, shape: tuple[int, ...]) -> Any:
    """Return the node of a layer for inputs of this shape."""
    nir = package()
    renew_weights(layer)
    if isinstance(layer, (nn.Linear, DelayedSynapses)):
        if len(shape) != 1:
            raise ValueError("NIR's linear maps take one dimension, so put an nn.Flatten before it.")
        weight = array(layer.weight)
        return nir.Linear(weight) if layer.bias is None else nir.Affine(weight, array(layer.bias))
    if isinstance(layer, (nn.Conv1d, nn.Conv2d)):
        kind, size = (nir.Conv1d, shape[1]) if isinstance(layer, nn.Conv1d) else (nir.Conv2d, shape[1:])
        window = [v if isinstance(v, str) else ints(v) for v in (layer.stride, layer.padding, layer.dilation)]
        weight = array(layer.weight)
        bias = np.zeros_like(weight[:, 0, 0].reshape(len(weight), -1)[:, 0]) if layer.bias is None else layer.bias
        return kind(size, weight, *window, layer.groups, array(bias))
    if isinstance(layer, nn.Flatten):
        start, end = (dim - 1 if dim >= 0 else dim + len(shape) for dim in (layer.start_dim, layer.end_dim))
        if start < 0:
            raise ValueError("It flattens the samples into one another.")
        return nir.Flatten({"input": np.array(shape)}, start, -1 if end == len(shape) - 1 else end)
    if isinstance(layer, nn.AvgPool2d):
        pool = nir.SumPool2d if layer.divisor_override == 1 else nir.AvgPool2d
        return pool(*(np.array(np.broadcast_to(v, 2)) for v in (layer.kernel_size, layer.stride, layer.padding)))
    return nir.Scale(full(layer.scale, shape)) if isinstance(layer, Scaling) else _neuron_node(layer, shape)


def _neuron_node(neuron: nn.Module, shape: tuple[int, ...]) -> Any:
    """Return the node of a population."""
    nir = package()
    one, zero = np.ones(shape), np.zeros(shape)
    if isinstance(neuron, LeakyReadout):
        return nir.LI(full(neuron.tau_mem, shape) / 1000, one, zero)
    if isinstance(neuron, LIF):
        reset = "subtract" if dict(neuron.program.equation.choices)["subtract"] else "zero"
        tau, threshold = full(neuron.tau_mem, shape) / 1000, full(neuron.threshold, shape)
        return nir.LIF(tau, one, zero, threshold, zero, metadata={"reset": reset})
    if isinstance(neuron, (SynapticLIF, SynapticReadout)):
        taus = neuron.time_constants()
        syn, mem = full(taus["tau_syn"], shape), full(taus["tau_mem"], shape)
        w_in = -1 / np.expm1(-neuron.dt / syn)
        if isinstance(neuron, SynapticReadout):
            return nir.CubaLI(syn / 1000, mem / 1000, one, zero, w_in)
        return nir.CubaLIF(syn / 1000, mem / 1000, one, zero, full(neuron.constants()["threshold"], shape), zero, w_in)
    assert isinstance(neuron, RateNeuron)
    gain = full(neuron.gain, shape) * neuron.scale
    if isinstance(neuron.curve, LIFCurve):
        tau, leak = np.full(shape, neuron.curve.tau_mem / 1000), full(neuron.bias, shape) * neuron.scale
        return nir.LIF(tau, gain, leak, one, zero, metadata={"reset": "zero", "rate_neuron": 1})
    threshold = full(neuron.threshold, shape)
    return nir.IF(gain * (1000 / neuron.dt), threshold, zero, metadata={"max_spikes": neuron.max_spikes})


def _free(name: str, layers: list[tuple[str, nn.Module]]) -> str:
    """Return the name, extended until no layer has it."""
    return name if name not in dict(layers) else _free(name + "_", layers)
