"""Export to and import from NIR, the format that simulators and neuromorphic chips exchange.

    NIR, in continuous time                                        spikeloom, in steps of dt
    LI       tau v' = v_leak - v + r i                             LeakyReadout
    LIF      as LI; v > v_threshold: spike, v = v_reset         LIF
    CubaLI   tau_syn j' = w_in x - j,  tau_mem v' = v_leak - v + r j    SynapticReadout, w_in = 1 / (1 - a)
    CubaLIF  as CubaLI, with spikes                                SynapticLIF, a = exp(-dt / tau_syn)
    IF       v' = r i; v > v_threshold: spike, v = v_reset         RateNeuron integrate_and_fire, r = 1000 gain / dt

NIR's time constants are in seconds, spikeloom's in ms. In continuous time a voltage never exceeds the threshold, so
that reset "subtract" and "zero" are equivalent: the reset of discrete steps and the maximum number of spikes per step
are stored in the metadata of a node (`reset`, `max_spikes`). Without metadata, LIF resets to zero and IF fires as often
as a constant current makes it. A RateNeuron of partner "lif" without refractory period is a LIF node; v_leak holds its
bias. All voltages start at 0. A spike in NIR is 1: other heights need a Scale node behind the neuron.
Source: Pedersen et al., Neuromorphic intermediate representation, Nature Communications, 2024; equations from the
package nir 1.0.8, seconds as in the paper's experiments.
"""

import io
import math
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import hdf5
from ..core import Stateful, renew_weights
from ..errors import ConfigError, DataError, ExportError, check_positive
from ..firing import Firing
from ..kept import regular
from ..layers import DelayedSynapses, Recurrent, Sequential
from ..neurons import ALIF, LIF, LeakyReadout, LIFCurve, RateNeuron, ReLUCurve, SynapticLIF, SynapticReadout
from .converted import Converted, Op, refs
from .operations import reshape_samples

if TYPE_CHECKING:
    import nir

NEURONS = (LIF, LeakyReadout, SynapticLIF, SynapticReadout, RateNeuron)
PASSIVE = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)
"""Modules that do nothing at inference, and get no node."""
NUMBERS = ("weight", "bias", "scale", "tau", "tau_mem", "tau_syn", "r", "v_leak", "v_threshold", "v_reset", "w_in")
"""Attributes of nodes that hold real numbers; those of a population have its shape."""
MOST = 1 << 31
"""Maximum number of values per sample."""
DAMAGED = (
    MemoryError, ArithmeticError, EOFError, OSError, KeyError, ValueError, TypeError, AssertionError, AttributeError,
    RuntimeError, IndexError,
)  # fmt: skip


class Scaling(nn.Module):
    """Multiplication by a constant: NIR's Scale.

    Shapes: [B, *N] -> [B, *N]; scale a number or [*N].

    >>> Scaling(2.0)(torch.ones(1, 3)).tolist()
    [[2.0, 2.0, 2.0]]
    """

    def __init__(self, scale: float | Tensor) -> None:
        super().__init__()
        self.scale: float | Tensor
        if isinstance(scale, Tensor):
            self.register_buffer("scale", scale)
        else:
            self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


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
    nir = _nir()
    input_shape = _size(input_shape)
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
        raise ExportError(f"NIR cannot express {_listed(problems)}. Replace these, or export the layers between them.")
    first = next(model.parameters(), torch.empty(0))
    x = torch.zeros(1, *input_shape, dtype=first.dtype, device=first.device)
    nodes = {_free("input", layers): nir.Input({"input": np.array(input_shape)})}
    for name, layer in layers:
        try:
            after = x if isinstance(layer, NEURONS) else _shown(layer, x)
            new = _nodes(name, layer, tuple(x.shape[1:]), tuple(after.shape[1:]))
            for node in new.values():
                _check_numbers(node)
            nodes |= new
        except ExportError as error:
            raise ExportError(f"NIR cannot express {name} ({type(layer).__name__}): {_line(error)}") from error
        except (RuntimeError, ValueError) as error:
            raise ExportError(
                f"{name} ({type(layer).__name__}) does not fit its input {list(x.shape[1:])}: {_line(error)} Check "
                f"input_shape, which is {list(input_shape)}, without time and batch."
            ) from error
        x = after
    nodes[_free("output", layers)] = nir.Output({"output": np.array(x.shape[1:])})
    names = list(nodes)
    metadata = {"made_by": "spikeloom"} | ({"dt_ms": next(iter(dts.values()))} if dts else {})
    return nir.NIRGraph(nodes, list(pairwise(names)), metadata, type_check=False)


def from_nir(graph: "nir.NIRGraph", dt: float = 1.0, *, dtype: torch.dtype | None = None) -> Sequential:
    """Import a network from a graph that is one chain from its input to its output.

    With the dt of the exported network, the outputs are equal. NIR has neither surrogate gradients nor learned time
    constants: neurons have the default surrogate, and fixed time constants.
    Units: dt in ms; for a graph that counts time in steps instead of seconds, pass 1000.

    Args:
        dtype: type of weights and neuron parameters; by default that of the first weight.

    Raises:
        ExportError: there are unsupported nodes or edges (all are named), or shapes do not match.

    >>> graph = to_nir(Sequential(nn.Linear(4, 2), LIF(tau_mem=20.0)), (4,))
    >>> from_nir(graph).layers[1]
    LIF(tau_mem=20.0, threshold=1.0, surrogate=Triangle(gain=0.3), dt=1.0)
    """
    nir = _nir()
    check_positive("from_nir", dt=dt)
    if not isinstance(graph, nir.NIRGraph):
        raise ExportError(f"from_nir needs a NIRGraph, but got {type(graph).__name__}. Read one with read_nir(path).")
    if dtype not in (None, torch.float32, torch.float64):
        raise ConfigError(f"from_nir needs dtype torch.float32 or torch.float64, but got {dtype}.")
    chain = _chain(graph)
    kind = dtype or _dtype(graph)
    problems: list[tuple[str, str, str]] = []
    layers: list[nn.Module] = []
    x: Tensor | None = torch.zeros(1, *_size(_shape_of(graph.nodes[chain[0]])), dtype=kind)
    for name in chain[1:]:
        node = graph.nodes[name]
        try:
            if isinstance(node, nir.Output):
                x = _fitting(node, x)
                continue
            _check_numbers(node)
            new = _layers(node, dt, kind)
            elementwise = isinstance(new[0], (*NEURONS, Scaling))
            x = _fitting(node, x) if elementwise else x if x is None else _shown(new[0], x)
            layers += new
        except (ExportError, ConfigError, *DAMAGED) as error:
            problems.append((name, type(node).__name__, _line(error).rstrip(".")))
            x = None  # shapes after this layer are unknown
    if problems:
        raise ExportError(f"spikeloom cannot run {_listed(problems)}. Change these nodes, or take the graph apart.")
    return Sequential(*_merged(layers, kind))


def write_nir(graph: "nir.NIRGraph", path: Path | str) -> None:
    """Write a graph to a file, atomically.

    Raises:
        ExportError: the file cannot be written.
    """
    if not isinstance(graph, _nir().NIRGraph):
        raise ExportError(f"write_nir needs a NIRGraph, but got {type(graph).__name__}. Make one with to_nir(model).")
    path = Path(path)
    try:
        unfinished = regular(path).with_name(f".{path.name}.tmp")
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror}. Name a file.") from error
    buffer = io.BytesIO()
    _nir().write(buffer, graph)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as stream:
            stream.write(buffer.getvalue())
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        if unfinished.is_file():
            unfinished.unlink()
        raise ExportError(f"{path} cannot be written: {error.strerror}. Choose another place.") from error


def read_nir(path: Path | str) -> "nir.NIRGraph":
    """Read a graph from a file, for `from_nir`.

    Raises:
        DataError: the file is missing, damaged, refers to data elsewhere, or holds no graph.
    """
    nir, path = _nir(), Path(path)
    if not path.is_file():
        raise DataError(f"There is no file {path}. Name a file that `spikeloom export` or another program wrote.")
    hdf5.check(path, str(path), "Export it again.")
    try:
        graph = nir.read(path, type_check=False)
    except DAMAGED as error:
        raise DataError(
            f"{path} should hold a NIR graph, but it is damaged or of another kind: {_line(error)} Export it again."
        ) from error
    if not isinstance(graph, nir.NIRGraph):
        raise DataError(f"{path} should hold a NIR graph, but holds a {type(graph).__name__}. Put it into a graph.")
    return graph


def _nir() -> Any:
    """Import the optional package nir."""
    try:
        import nir
    except ImportError as error:
        raise ExportError("NIR needs a package that is not installed. Run `pip install spikeloom[nir]`.") from error
    return nir


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
        raise ExportError(f"NIR cannot express {_listed(problems)}. Replace these, or export the layers between them.")
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
        nodes[name + ".height"] = _nir().Scale(_full(layer.height, shape))
    for node in nodes.values():
        node.input_type = {"input": np.array(shape)}  # nir's own inference is wrong for groups and oblong kernels
        node.output_type = {"output": np.array(after)}
    return nodes


def _node(layer: nn.Module, shape: tuple[int, ...]) -> Any:
    """Return the node of a layer for inputs of this shape."""
    nir = _nir()
    renew_weights(layer)
    if isinstance(layer, (nn.Linear, DelayedSynapses)):
        if len(shape) != 1:
            raise ValueError("NIR's linear maps take one dimension, so put an nn.Flatten before it.")
        weight = _array(layer.weight)
        return nir.Linear(weight) if layer.bias is None else nir.Affine(weight, _array(layer.bias))
    if isinstance(layer, (nn.Conv1d, nn.Conv2d)):
        kind, size = (nir.Conv1d, shape[1]) if isinstance(layer, nn.Conv1d) else (nir.Conv2d, shape[1:])
        window = [v if isinstance(v, str) else _ints(v) for v in (layer.stride, layer.padding, layer.dilation)]
        weight = _array(layer.weight)
        bias = np.zeros_like(weight[:, 0, 0].reshape(len(weight), -1)[:, 0]) if layer.bias is None else layer.bias
        return kind(size, weight, *window, layer.groups, _array(bias))
    if isinstance(layer, nn.Flatten):
        start, end = (dim - 1 if dim >= 0 else dim + len(shape) for dim in (layer.start_dim, layer.end_dim))
        if start < 0:
            raise ValueError("It flattens the samples into one another.")
        return nir.Flatten({"input": np.array(shape)}, start, -1 if end == len(shape) - 1 else end)
    if isinstance(layer, nn.AvgPool2d):
        pool = nir.SumPool2d if layer.divisor_override == 1 else nir.AvgPool2d
        return pool(*(np.array(np.broadcast_to(v, 2)) for v in (layer.kernel_size, layer.stride, layer.padding)))
    return nir.Scale(_full(layer.scale, shape)) if isinstance(layer, Scaling) else _neuron_node(layer, shape)


def _neuron_node(neuron: nn.Module, shape: tuple[int, ...]) -> Any:
    """Return the node of a population."""
    nir = _nir()
    one, zero = np.ones(shape), np.zeros(shape)
    if isinstance(neuron, LeakyReadout):
        return nir.LI(_full(neuron.tau_mem, shape) / 1000, one, zero)
    if isinstance(neuron, LIF):
        reset = "subtract" if dict(neuron.program.equation.choices)["subtract"] else "zero"
        tau, threshold = _full(neuron.tau_mem, shape) / 1000, _full(neuron.threshold, shape)
        return nir.LIF(tau, one, zero, threshold, zero, metadata={"reset": reset})
    if isinstance(neuron, (SynapticLIF, SynapticReadout)):
        taus = neuron.time_constants()
        syn, mem = _full(taus["tau_syn"], shape), _full(taus["tau_mem"], shape)
        w_in = -1 / np.expm1(-neuron.dt / syn)
        if isinstance(neuron, SynapticReadout):
            return nir.CubaLI(syn / 1000, mem / 1000, one, zero, w_in)
        return nir.CubaLIF(syn / 1000, mem / 1000, one, zero, _full(neuron.constants()["threshold"], shape), zero, w_in)
    assert isinstance(neuron, RateNeuron)
    gain = _full(neuron.gain, shape) * neuron.scale
    if isinstance(neuron.curve, LIFCurve):
        tau, leak = np.full(shape, neuron.curve.tau_mem / 1000), _full(neuron.bias, shape) * neuron.scale
        return nir.LIF(tau, gain, leak, one, zero, metadata={"reset": "zero", "rate_neuron": 1})
    threshold = _full(neuron.threshold, shape)
    return nir.IF(gain * (1000 / neuron.dt), threshold, zero, metadata={"max_spikes": neuron.max_spikes})


def _layers(node: Any, dt: float, kind: torch.dtype) -> list[nn.Module]:
    """Return the layers for a node."""
    nir = _nir()
    if isinstance(node, (nir.Linear, nir.Affine, nir.Conv1d, nir.Conv2d)):
        return [_weighted(node, kind)]
    if isinstance(node, nir.Flatten):
        start, end = (int(dim) + (dim >= 0) for dim in (node.start_dim, node.end_dim))
        return [nn.Flatten(start, end)]
    if isinstance(node, (nir.AvgPool2d, nir.SumPool2d)):
        window = (_ints(v) for v in (node.kernel_size, node.stride, node.padding))
        kernel, stride, padding = window
        return [nn.AvgPool2d(kernel, stride, padding, divisor_override=1 if isinstance(node, nir.SumPool2d) else None)]
    if isinstance(node, nir.Scale):
        return [Scaling(_value(node.scale, torch.float64))]
    if isinstance(node, (nir.LI, nir.LIF, nir.CubaLI, nir.CubaLIF, nir.IF)):
        return _neuron(node, dt, kind)
    raise ExportError("there is no such layer")


def _weighted(node: Any, kind: torch.dtype) -> nn.Module:
    """Return a linear or convolutional layer, without random initialisation of the weights, which are replaced."""
    nir = _nir()
    shape = node.weight.shape
    layer: Any
    if isinstance(node, (nir.Linear, nir.Affine)):
        if len(shape) != 2:
            raise ExportError(f"its weight has shape {list(shape)}, and only [post, pre] can be run")
        layer = nn.Linear(shape[1], shape[0], isinstance(node, nir.Affine), device="meta")
    else:
        conv: Any = nn.Conv1d if isinstance(node, nir.Conv1d) else nn.Conv2d
        stride, dilation = _ints(node.stride), _ints(node.dilation)
        padding = str(node.padding) if isinstance(node.padding, str) else _ints(node.padding)
        groups = int(node.groups)
        layer = conv(shape[1] * groups, shape[0], shape[2:], stride, padding, dilation, groups, device="meta")
    layer.weight = nn.Parameter(torch.tensor(node.weight, dtype=kind))
    if layer.bias is not None:
        layer.bias = nn.Parameter(torch.tensor(node.bias, dtype=kind))
    assert isinstance(layer, nn.Module)
    return layer


def _neuron(node: Any, dt: float, kind: torch.dtype) -> list[nn.Module]:
    """Return a population, with a Scaling before or behind it where its resistance or spike height require it."""
    nir = _nir()
    metadata = node.metadata or {}
    if (reset := metadata.get("reset", "zero")) not in ("subtract", "zero"):
        raise ExportError(f'its metadata say reset {reset!r}, and only "subtract" and "zero" are known')
    leaks = isinstance(node, nir.LIF) and reset == "zero"
    for name in ("v_reset",) if leaks else ("v_reset", "v_leak"):
        if np.any(getattr(node, name, 0.0) != 0.0):
            raise ExportError(f"its {name} is not 0")
    if isinstance(node, nir.IF):
        gain, threshold = _value(node.r * (dt / 1000), kind), _value(node.v_threshold, kind, exact=True)
        most = int(metadata.get("max_spikes", 0))
        spikes = RateNeuron(
            ReLUCurve(), partner="integrate_and_fire", gain=gain, threshold=threshold, max_spikes=most, mode="spiking",
            dt=dt,
        )  # fmt: skip
        return [spikes, Scaling(_value(1 / np.asarray(node.v_threshold, np.float64), torch.float64))]
    if leaks and (np.any(node.v_leak != 0.0) or "rate_neuron" in metadata):
        return [_biased(node, dt, kind)]
    if isinstance(node, nir.LI):
        return [Scaling(_value(node.r, torch.float64)), LeakyReadout(_value(node.tau * 1000, kind), dt=dt)]
    if isinstance(node, nir.LIF):
        tau, threshold = _value(node.tau * 1000, kind), _value(node.v_threshold, kind)
        return [Scaling(_value(node.r, torch.float64)), LIF(tau, threshold, reset=reset, dt=dt)]
    mem, syn = _value(node.tau_mem * 1000, kind), _value(node.tau_syn * 1000, kind)
    enters = Scaling(_value(-node.r * node.w_in * np.expm1(-dt / (1000 * node.tau_syn)), torch.float64))
    if isinstance(node, nir.CubaLI):
        return [enters, SynapticReadout(mem, syn, dt=dt)]
    return [enters, SynapticLIF(mem, syn, _value(node.v_threshold, kind), dt=dt)]


def _biased(node: Any, dt: float, kind: torch.dtype) -> RateNeuron:
    """Return a LIF neuron that resets to zero and has a bias."""
    tau = _value(node.tau * 1000, kind)
    if isinstance(tau, Tensor):
        raise ExportError("its v_leak is not 0 and its time constants differ")
    gain, bias = (_value(v / node.v_threshold, kind) for v in (node.r, node.v_leak))
    return RateNeuron(
        LIFCurve(tau, 0.0), amplitude=dt / 1000, gain=gain, bias=bias, min_voltage=-math.inf, mode="spiking", dt=dt
    )


def _merged(layers: list[nn.Module], kind: torch.dtype) -> list[nn.Module]:
    """Merge consecutive Scalings into one, and drop those by 1."""
    result: list[nn.Module] = []
    for layer in layers:
        last = result[-1] if result else None
        if isinstance(layer, Scaling) and isinstance(last, Scaling):
            result[-1] = Scaling(last.scale * layer.scale)
        else:
            result.append(layer)
    scales = {id(layer): torch.as_tensor(layer.scale) for layer in result if isinstance(layer, Scaling)}
    kept = [x for x in result if id(x) not in scales or bool(((scales[id(x)] - 1).abs() > 1e-12).any())]
    return [layer.to(kind) if isinstance(layer, Scaling) else layer for layer in kept]


def _chain(graph: Any) -> list[str]:
    """Return the names of all nodes from the input to the output."""
    nir = _nir()
    ahead, behind = ({name: set[str]() for name in graph.nodes} for _ in range(2))
    edges = graph.edges if isinstance(graph.edges, (list, tuple, set)) else [graph.edges]
    if wrong := [edge for edge in edges if not (isinstance(edge, (list, tuple)) and len(edge) == 2)]:
        raise ExportError(f"The edges of a graph are pairs of names of nodes, but one is {wrong[0]!r}. Correct it.")
    problems = [(f"{a} -> {b}", "edge", "no such node") for a, b in edges if not {a, b} <= set(graph.nodes)]
    for a, b in edges:
        ahead.get(a, set()).add(b)
        behind.get(b, set()).add(a)
    for name, node in graph.nodes.items():
        kind = type(node).__name__
        if len(ahead[name]) != (0 if isinstance(node, nir.Output) else 1):
            problems.append((name, kind, f"it leads to {', '.join(sorted(ahead[name])) or 'nothing'}"))
        if len(behind[name]) != (0 if isinstance(node, nir.Input) else 1):
            problems.append((name, kind, f"it is fed by {', '.join(sorted(behind[name])) or 'nothing'}"))
    starts = [name for name, node in graph.nodes.items() if isinstance(node, nir.Input)]
    chain = starts[:1]
    while not problems and chain and ahead[chain[-1]]:
        chain += ahead[chain[-1]]
    if not problems:
        lost = [name for name in graph.nodes if name not in chain]
        problems += [(name, type(graph.nodes[name]).__name__, "not on the way from the input") for name in lost]
    if problems or not chain:
        raise ExportError(
            f"spikeloom runs one chain from an Input to an Output, without branches and loops, but this graph has "
            f"{_listed(problems) if problems else 'no Input'}. Take it apart, or change these."
        )
    return chain


def _dtype(graph: Any) -> torch.dtype:
    """Return the dtype of the first weight."""
    weights = [node.weight for node in graph.nodes.values() if hasattr(node, "weight")]
    return torch.float64 if weights and getattr(weights[0], "dtype", None) == np.float64 else torch.float32


def _check_numbers(node: Any) -> None:
    """Raise ExportError unless the numbers of a node are real, finite, in range and of the right shape."""
    nir = _nir()
    population = isinstance(node, (nir.LI, nir.LIF, nir.CubaLI, nir.CubaLIF, nir.IF, nir.Scale))
    for name in (name for name in NUMBERS if hasattr(node, name)):
        numbers = np.asarray(getattr(node, name))
        if numbers.dtype.kind not in "fiu":
            raise ExportError(f"its {name} should hold real numbers, but is {_line(Exception(repr(numbers.tolist())))}")
        if not np.isfinite(numbers).all():
            raise ExportError(f"its {name} holds values that are not finite")
        if (name.startswith("tau") or name == "v_threshold") and not (numbers > 0).all():
            raise ExportError(f"its {name} holds values that are not above 0")
        if population:
            whole = _size(_shape_of(node))
            sides = zip(reversed(numbers.shape), reversed(whole), strict=False)
            if numbers.ndim > len(whole) or any(side not in (1, expected) for side, expected in sides):
                raise ExportError(f"its {name} has shape {list(numbers.shape)}, but it is for {list(whole)}")


def _shape_of(node: Any) -> Any:
    """Return the input shape that a node states, or None."""
    types = getattr(node, "input_type", None)
    return types.get("input") if isinstance(types, dict) else None


def _value(array: Any, kind: torch.dtype, *, exact: bool = False) -> float | Tensor:
    """Return one number if all values are equal, rounded to 15 digits (0.02 s is 20 ms) unless exact, else a tensor.

    Thresholds are exact, because one at the largest current makes neurons spike at equality.
    """
    values = np.asarray(array, np.float64)
    if values.size and bool(np.all(values == values.flat[0])):
        return float(values.flat[0]) if exact else float(f"{values.flat[0]:.15g}")
    return torch.tensor(values, dtype=kind)


def _full(value: Any, shape: tuple[int, ...]) -> Any:
    """Broadcast a number or an array to every neuron."""
    numbers = torch.as_tensor(value, dtype=torch.float64).detach().cpu().numpy()
    return np.array(np.broadcast_to(numbers, shape))


def _array(tensor: Any) -> Any:
    return np.array(tensor.detach().cpu().numpy() if isinstance(tensor, Tensor) else tensor)


def _ints(value: Any) -> Any:
    """Return one integer or a tuple of several, as torch takes them."""
    numbers = tuple(int(v) for v in np.atleast_1d(value))
    return numbers[0] if len(numbers) == 1 else numbers


def _size(shape: Any) -> tuple[int, ...]:
    if shape is None:
        raise ExportError("A node of the graph has no shape. Give Input and Output theirs.")
    sides = np.atleast_1d(np.asarray(shape))
    whole = sides.size == 0 or (sides.ndim == 1 and sides.dtype.kind in "fiu" and bool((sides % 1 == 0).all()))
    if not whole or bool((sides < 1).any()) or math.prod(int(side) for side in sides) > MOST:
        raise ExportError(f"A shape is whole numbers above 0, and at most {MOST:,} values, but one is {shape!r}.")
    return tuple(int(side) for side in sides)


def _fitting(node: Any, x: Tensor | None) -> Tensor | None:
    """Return the signal; raise ExportError unless it has the input shape of the node."""
    expected = _size(_shape_of(node))
    if x is not None and tuple(x.shape[1:]) != expected:
        raise ExportError(f"it is for {list(expected)}, but gets {list(x.shape[1:])}")
    return x


@torch.no_grad()
def _shown(layer: nn.Module, x: Tensor) -> Tensor:
    """Return the output of a stateless layer for one step."""
    result: Tensor = layer.step(x, layer.initial_state(x))[0] if isinstance(layer, Stateful) else layer(x)
    return result


def _free(name: str, layers: list[tuple[str, nn.Module]]) -> str:
    """Return the name, extended until no layer has it."""
    return name if name not in dict(layers) else _free(name + "_", layers)


def _listed(problems: list[tuple[str, str, str]]) -> str:
    return "; ".join(f"{name} ({kind}): {reason}" for name, kind, reason in problems)


def _line(error: Exception) -> str:
    """Return an error message as one sentence."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if text.endswith(".") else text + "."
