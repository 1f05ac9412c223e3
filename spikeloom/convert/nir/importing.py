"""From a NIR graph to a Sequential."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import ConfigError, ExportError, check_positive
from ...layers import Sequential
from ...neurons import LIF, LeakyReadout, LIFCurve, RateNeuron, ReLUCurve, SynapticLIF, SynapticReadout
from .values import (
    DAMAGED,
    NEURONS,
    Scaling,
    check_numbers,
    first_line,
    ints,
    listed,
    outputs,
    package,
    shape_of,
    size_of,
    value_of,
)

if TYPE_CHECKING:
    import nir


def from_nir(graph: "nir.NIRGraph", dt: float = 1.0, *, dtype: torch.dtype | None = None) -> Sequential:
    """Import a network from a graph that is one chain from its input to its output.

    With the dt of the exported network, the outputs are equal. NIR has neither surrogate gradients nor learned time
    constants: neurons have the default surrogate, and fixed time constants.
    Units: dt in ms; for a graph that counts time in steps instead of seconds, pass 1000.

    Args:
        dtype: type of weights and neuron parameters; by default that of the first weight.

    Raises:
        ExportError: there are unsupported nodes or edges (all are named), or shapes do not match.

    >>> from spikeloom.convert.nir import to_nir
    >>> graph = to_nir(Sequential(nn.Linear(4, 2), LIF(tau_mem=20.0)), (4,))
    >>> from_nir(graph).layers[1]
    LIF(tau_mem=20.0, threshold=1.0, surrogate=Triangle(gain=0.3), dt=1.0)
    """
    nir = package()
    check_positive("from_nir", dt=dt)
    if not isinstance(graph, nir.NIRGraph):
        raise ExportError(f"from_nir needs a NIRGraph, but got {type(graph).__name__}. Read one with read_nir(path).")
    if dtype not in (None, torch.float32, torch.float64):
        raise ConfigError(f"from_nir needs dtype torch.float32 or torch.float64, but got {dtype}.")
    chain = _chain(graph)
    kind = dtype or _dtype(graph)
    problems: list[tuple[str, str, str]] = []
    layers: list[nn.Module] = []
    x: Tensor | None = torch.zeros(1, *size_of(shape_of(graph.nodes[chain[0]])), dtype=kind)
    for name in chain[1:]:
        node = graph.nodes[name]
        try:
            if isinstance(node, nir.Output):
                x = _fitting(node, x)
                continue
            check_numbers(node)
            new = _layers(node, dt, kind)
            elementwise = isinstance(new[0], (*NEURONS, Scaling))
            x = _fitting(node, x) if elementwise else x if x is None else outputs(new[0], x)
            layers += new
        except (ExportError, ConfigError, *DAMAGED) as error:
            problems.append((name, type(node).__name__, first_line(error).rstrip(".")))
            x = None  # shapes after this layer are unknown
    if problems:
        raise ExportError(f"spikeloom cannot run {listed(problems)}. Change these nodes, or take the graph apart.")
    return Sequential(*_merged(layers, kind))


def _layers(node: Any, dt: float, kind: torch.dtype) -> list[nn.Module]:
    """Return the layers for a node."""
    nir = package()
    if isinstance(node, (nir.Linear, nir.Affine, nir.Conv1d, nir.Conv2d)):
        return [_weighted(node, kind)]
    if isinstance(node, nir.Flatten):
        start, end = (int(dim) + (dim >= 0) for dim in (node.start_dim, node.end_dim))
        return [nn.Flatten(start, end)]
    if isinstance(node, (nir.AvgPool2d, nir.SumPool2d)):
        window = (ints(v) for v in (node.kernel_size, node.stride, node.padding))
        kernel, stride, padding = window
        return [nn.AvgPool2d(kernel, stride, padding, divisor_override=1 if isinstance(node, nir.SumPool2d) else None)]
    if isinstance(node, nir.Scale):
        return [Scaling(value_of(node.scale, torch.float64))]
    if isinstance(node, (nir.LI, nir.LIF, nir.CubaLI, nir.CubaLIF, nir.IF)):
        return _neuron(node, dt, kind)
    raise ExportError("there is no such layer")


def _weighted(node: Any, kind: torch.dtype) -> nn.Module:
    """Return a linear or convolutional layer, without random initialisation of the weights, which are replaced."""
    nir = package()
    shape = node.weight.shape
    layer: Any
    if isinstance(node, (nir.Linear, nir.Affine)):
        if len(shape) != 2:
            raise ExportError(f"its weight has shape {list(shape)}, and only [post, pre] can be run")
        layer = nn.Linear(shape[1], shape[0], isinstance(node, nir.Affine), device="meta")
    else:
        conv: Any = nn.Conv1d if isinstance(node, nir.Conv1d) else nn.Conv2d
        stride, dilation = ints(node.stride), ints(node.dilation)
        padding = str(node.padding) if isinstance(node.padding, str) else ints(node.padding)
        groups = int(node.groups)
        layer = conv(shape[1] * groups, shape[0], shape[2:], stride, padding, dilation, groups, device="meta")
    layer.weight = nn.Parameter(torch.tensor(node.weight, dtype=kind))
    if layer.bias is not None:
        layer.bias = nn.Parameter(torch.tensor(node.bias, dtype=kind))
    assert isinstance(layer, nn.Module)
    return layer


def _neuron(node: Any, dt: float, kind: torch.dtype) -> list[nn.Module]:
    """Return a population, with a Scaling before or behind it where its resistance or spike height require it."""
    nir = package()
    metadata = node.metadata or {}
    if (reset := metadata.get("reset", "zero")) not in ("subtract", "zero"):
        raise ExportError(f'its metadata say reset {reset!r}, and only "subtract" and "zero" are known')
    leaks = isinstance(node, nir.LIF) and reset == "zero"
    for name in ("v_reset",) if leaks else ("v_reset", "v_leak"):
        if np.any(getattr(node, name, 0.0) != 0.0):
            raise ExportError(f"its {name} is not 0")
    if isinstance(node, nir.IF):
        gain, threshold = value_of(node.r * (dt / 1000), kind), value_of(node.v_threshold, kind, exact=True)
        most = int(metadata.get("max_spikes", 0))
        spikes = RateNeuron(
            ReLUCurve(), partner="integrate_and_fire", gain=gain, threshold=threshold, max_spikes=most, mode="spiking",
            dt=dt,
        )  # fmt: skip
        return [spikes, Scaling(value_of(1 / np.asarray(node.v_threshold, np.float64), torch.float64))]
    if leaks and (np.any(node.v_leak != 0.0) or "rate_neuron" in metadata):
        return [_biased(node, dt, kind)]
    if isinstance(node, nir.LI):
        return [Scaling(value_of(node.r, torch.float64)), LeakyReadout(value_of(node.tau * 1000, kind), dt=dt)]
    if isinstance(node, nir.LIF):
        tau, threshold = value_of(node.tau * 1000, kind), value_of(node.v_threshold, kind)
        return [Scaling(value_of(node.r, torch.float64)), LIF(tau, threshold, reset=reset, dt=dt)]
    mem, syn = value_of(node.tau_mem * 1000, kind), value_of(node.tau_syn * 1000, kind)
    enters = Scaling(value_of(-node.r * node.w_in * np.expm1(-dt / (1000 * node.tau_syn)), torch.float64))
    if isinstance(node, nir.CubaLI):
        return [enters, SynapticReadout(mem, syn, dt=dt)]
    return [enters, SynapticLIF(mem, syn, value_of(node.v_threshold, kind), dt=dt)]


def _biased(node: Any, dt: float, kind: torch.dtype) -> RateNeuron:
    """Return a LIF neuron that resets to zero and has a bias."""
    tau = value_of(node.tau * 1000, kind)
    if isinstance(tau, Tensor):
        raise ExportError("its v_leak is not 0 and its time constants differ")
    gain, bias = (value_of(v / node.v_threshold, kind) for v in (node.r, node.v_leak))
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
    nir = package()
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
            f"{listed(problems) if problems else 'no Input'}. Take it apart, or change these."
        )
    return chain


def _dtype(graph: Any) -> torch.dtype:
    """Return the dtype of the first weight."""
    weights = [node.weight for node in graph.nodes.values() if hasattr(node, "weight")]
    return torch.float64 if weights and getattr(weights[0], "dtype", None) == np.float64 else torch.float32


def _fitting(node: Any, x: Tensor | None) -> Tensor | None:
    """Return the signal; raise ExportError unless it has the input shape of the node."""
    expected = size_of(shape_of(node))
    if x is not None and tuple(x.shape[1:]) != expected:
        raise ExportError(f"it is for {list(expected)}, but gets {list(x.shape[1:])}")
    return x
