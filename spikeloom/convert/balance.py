"""Threshold calibration of integrate-and-fire neurons.

    maximum      threshold_l = the largest rate activation of the layer
    fraction     a fraction of it
    percentile   the activation below which 99.9 % of the layer's activations lie
    balance_thresholds    threshold_l = the largest current of the layer in any step, with spiking layers before it
    qcfs         learned, with the staircase activation that the spiking neuron follows:
                 y = threshold clip(floor(L z / threshold + 1/2) / L, 0, 1)

A threshold above 1 makes spikes rarer and larger, one below makes them more frequent and smaller; rates are unchanged.
Sources: Diehl et al., Fast-classifying, high-accuracy spiking deep networks, 2015 (maximum); Rueckauer et al., 2017
(percentile); Sengupta et al., Going deeper in spiking neural networks, 2019 (with spiking layers); Bu et al., 2022
(QCFS).
"""

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from ..arguments import explained
from ..errors import ConfigError, ShapeError, check_dense
from ..neurons import QCFSCurve, RateNeuron, rate_neurons
from .blocks import check_batch, check_whole, in_blocks
from .converted import Converted
from .pairs import to_rate, to_spiking

RELUS = (nn.ReLU, F.relu, F.relu_, torch.relu, torch.relu_, "relu")
"""ReLU modules, functions and methods in a traced model."""


@explained
def maximum(converted: Converted, batches: Iterable[Tensor]) -> dict[str, float]:
    """Set every threshold to the largest activation of its layer; return the thresholds by layer name.

    Afterwards, an input more than twice as large as the largest here raises an error where the model spikes.
    Shapes: batches of [B, *N].

    Raises:
        ConfigError: no integrate-and-fire neurons, a learned threshold, no batch, or a silent layer.

    >>> from spikeloom.convert.spiking import convert
    >>> model = nn.Sequential(nn.Identity(), nn.ReLU()).eval()
    >>> maximum(convert(model, example=torch.ones(1, 2)), [torch.tensor([[1.0, 4.0]])])
    {'1': 4.0}
    """
    return fraction(converted, batches, 1.0)


@explained
def fraction(converted: Converted, batches: Iterable[Tensor], share: float) -> dict[str, float]:
    """Set every threshold to a fraction `share` of the largest activation of its layer; see `maximum`.

    Raises:
        ConfigError: as for `maximum`, or the share is not positive.
    """
    if not 0.0 < share < float("inf"):
        raise ConfigError(f"fraction needs a share > 0, but got {share}.")
    thresholds = dict[str, float]()
    for name, values in _activations(converted, batches):
        thresholds[name] = max(thresholds.get(name, 0.0), share * float(values.max()))
    return _set(converted, thresholds)


@explained
def percentile(converted: Converted, batches: Iterable[Tensor], percent: float = 99.9) -> dict[str, float]:
    """Set every threshold to a percentile of the activations of its layer, zeros included; see `maximum`.

    With several batches, the mean of their percentiles, weighted by batch size, is used.

    Raises:
        ConfigError: as for `maximum`, or the percentage is not from 0 to 100.
    """
    if not 0.0 < percent <= 100.0:
        raise ConfigError(f"percentile needs a percentage above 0 and up to 100, but got {percent}.")
    total, weights = dict[str, float](), dict[str, int]()
    for name, values in _activations(converted, batches):
        flat = values.flatten()
        rank = max(1, min(len(flat), round(percent / 100 * len(flat))))
        total[name] = total.get(name, 0.0) + len(values) * float(flat.kthvalue(rank).values)
        weights[name] = weights.get(name, 0) + len(values)
    return _set(converted, {name: value / weights[name] for name, value in total.items()})


@torch.no_grad()
@explained
def balance_thresholds(converted: Converted, batches: Iterable[Tensor], steps: int = 100) -> dict[str, float]:
    """Set every threshold to the largest current of its layer in any step while the layers before it spike.

    The layers are processed in order; each batch is presented for `steps` steps. A spike has the height of the
    threshold here. Where spikes have height 1 and the network has no biases, as in the Hebbian memory networks, the
    thresholds there are the ratios of consecutive layers, threshold_l / threshold_(l-1).
    Shapes: batches of [B, *N], read once per layer.

    Raises:
        ConfigError: as for `maximum`, fewer than one step, or the batches can be read only once.
    """
    check_whole("balance_thresholds", steps=steps)
    if isinstance(batches, Iterator):
        raise ConfigError("balance_thresholds reads the batches once per layer, but got an iterator. Pass a list.")
    neurons = _integrators(converted)
    converted.largest.zero_()
    spiking, thresholds = to_spiking(converted).eval(), dict[str, float]()
    for name in neurons:
        neuron, before = rate_neurons(spiking)[name], spiking.before(name)
        currents = (out for x in _checked(batches) for out, _ in in_blocks(before, x, steps))
        largest = [neuron.drive(out).max() for out in currents]
        thresholds |= _set(converted, {name: float(torch.stack(largest).max())} if largest else {}, only=name)
    for x in batches:
        _note_range(converted, x)
    return thresholds


@torch.no_grad()
@explained
def input_range(converted: Converted, batches: Iterable[Tensor]) -> float:
    """Record the largest absolute input, as calibration does, and return it; for learned thresholds (QCFS) or none.

    Afterwards, an input more than twice as large raises an error where the model spikes. Saved with the model.
    Shapes: batches of [B, *N].

    Raises:
        ConfigError: there is no batch, or the batches are not tensors of finite numbers.

    >>> from spikeloom.convert.spiking import convert
    >>> model = nn.Sequential(nn.Identity(), nn.ReLU()).eval()
    >>> input_range(convert(model, example=torch.ones(1, 2)), [torch.tensor([[1.0, -4.0]])])
    4.0
    """
    largest = [float(x.abs().max()) for x in _checked(batches)]
    if not largest:
        raise ConfigError("input_range got no batch. Pass a list of batches of inputs.")
    converted.largest.fill_(max(largest))
    return float(converted.largest)


def _note_range(converted: Converted, x: Tensor) -> None:
    """Update the largest absolute input."""
    converted.largest.fill_(max(float(converted.largest), float(x.abs().max())))


def _checked(batches: Iterable[Any]) -> Iterator[Tensor]:
    """Yield the batches; raise an error for an invalid one."""
    if isinstance(batches, Tensor):
        raise ConfigError(f"Calibration needs a list of batches, but got one tensor {list(batches.shape)}. Pass [x].")
    for x in batches:
        if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() < 2 or not len(x):
            got = f"{x.dtype} {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise ConfigError(
                f"Calibration needs batches that are floating point tensors [B, *N], but got {got}. Of a DataLoader "
                "with labels pass [x for x, _ in loader]."
            )
        check_batch("Calibration", x)
        yield x


def _integrators(converted: Converted) -> dict[str, RateNeuron]:
    """Return the integrate-and-fire neurons by name, each with its own threshold in a buffer."""
    neurons = {n: neuron for n, neuron in rate_neurons(converted).items() if neuron.partner == "integrate_and_fire"}
    if not neurons:
        raise ConfigError(
            'Only integrate_and_fire neurons have a threshold. Convert with that partner; "scale" is for all.'
        )
    like = next((parameter for parameter in converted.parameters() if parameter.is_floating_point()), torch.empty(()))
    for name, neuron in neurons.items():
        if isinstance(neuron.threshold, nn.Parameter):
            raise ConfigError(
                f"The threshold of {name} is learned (QCFS): there is nothing to calibrate. "
                "For a check of the range of inputs, call input_range."
            )
        if not isinstance(neuron.threshold, Tensor):
            value = neuron.threshold
            del neuron.threshold
            neuron.register_buffer("threshold", torch.tensor(value, dtype=like.dtype, device=like.device))
    return neurons


def _activations(converted: Converted, batches: Iterable[Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield the rate activations [B, *N] of every integrate-and-fire layer, for every batch."""
    seen = list[tuple[str, Tensor]]()
    names, rates = list(_integrators(converted)), to_rate(converted).eval()
    converted.largest.zero_()
    for name in names:
        neuron = rate_neurons(rates)[name]
        neuron.register_forward_hook(lambda module, inputs, out, name=name: seen.append((name, out[0][0])))
    for x in _checked(batches):
        _note_range(converted, x)
        with torch.no_grad():
            rates(x.unsqueeze(0))
        yield from seen
        seen.clear()


@torch.no_grad()
def _set(converted: Converted, values: dict[str, float], only: str = "") -> dict[str, float]:
    """Set the thresholds and return them."""
    neurons = _integrators(converted)
    for name, neuron in neurons.items():
        if only in ("", name):
            assert isinstance(neuron.threshold, Tensor)
            neuron.threshold.fill_(heard(name, values.get(name, 0.0)))
    return values


def heard(name: str, largest: float) -> float:
    """Return the largest current of a layer, if it is a valid threshold.

    Raises:
        ConfigError: the value is not positive.
    """
    if not largest > 0.0:
        raise ConfigError(
            f"The layer {name} was silent, so it has no threshold. Show it batches of inputs that it answers."
        )
    return largest


@explained
class QCFS(nn.Module):
    """Quantised, clipped ReLU with a learned threshold, for training; `convert` replaces it by a spiking neuron.

    Shapes: [B, *N] -> [B, *N].

    Args:
        levels: number of steps of the staircase: the number of time steps after which the spiking output is equal.
        threshold: initial threshold, > 0.

    >>> QCFS(levels=4)(torch.tensor([[-0.1, 0.13, 0.9, 1.2]])).tolist()
    [[0.0, 0.25, 1.0, 1.0]]
    """

    def __init__(self, levels: int = 4, threshold: float = 1.0) -> None:
        super().__init__()
        check_whole("QCFS", levels=levels)
        self.neuron = RateNeuron(
            QCFSCurve(levels), threshold=nn.Parameter(torch.tensor(float(threshold))), v_init=0.5, mode="rate"
        )

    def forward(self, x: Tensor) -> Tensor:
        self.neuron._check_call()
        if not isinstance(x, Tensor) or x.dim() == 0 or not x.is_floating_point():
            received = f"{x.dtype} {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise ShapeError(f"QCFS needs a floating point tensor [B, *N], but got {received}. Call .float() on it.")
        check_dense("QCFS", x)
        return self.neuron.rates(x)

    def spiking(self, dt: float) -> RateNeuron:
        """Return the spiking neuron, which shares the threshold."""
        return RateNeuron(self.neuron.curve, threshold=self.neuron.threshold, v_init=0.5, dt=dt)


@explained
def qcfs(model: nn.Module, levels: int = 4, threshold: float = 1.0) -> fx.GraphModule:
    """Return a copy of an ordinary model with a trainable `QCFS` in place of every ReLU: train it, then `convert` it.

    After T = `levels` steps of a constant input, the output of the spiking first layer equals that in training.

    Raises:
        ConfigError: torch.fx cannot trace the model, it has no ReLU, or it calls a dropout function, whose training
            mode would be fixed by tracing.

    >>> net = qcfs(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), levels=8)
    >>> type(net.get_submodule("1")).__name__
    'QCFS'
    """
    try:
        traced = fx.symbolic_trace(copy.deepcopy(model))
    except (TypeError, ValueError, RuntimeError, AttributeError, NameError) as error:
        raise ConfigError(f"torch.fx cannot trace {type(model).__name__}: {error}") from error
    modules, count = dict(traced.named_modules()), 0
    for node in list(traced.graph.nodes):
        if node.op == "call_function" and node.target in (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d):
            raise ConfigError("qcfs found F.dropout, which a traced model cannot switch off. Use nn.Dropout.")
        kind: Any = type(modules[node.target]) if node.op == "call_module" else node.target
        if kind in RELUS or (node.op == "call_method" and kind == "relu_"):
            path = _free(traced, str(node.target) if node.op == "call_module" else node.name, count)
            traced.add_submodule(path, QCFS(levels, threshold))
            with traced.graph.inserting_after(node):
                node.replace_all_uses_with(traced.graph.call_module(path, (node.all_input_nodes[0],)))
            traced.graph.erase_node(node)
            count += 1
    if not count:
        raise ConfigError("The model has no ReLU to replace.")
    traced.recompile()
    return traced


def _free(traced: nn.Module, path: str, count: int) -> str:
    """Return the path of a ReLU, or a new path if a QCFS has it already."""
    existing = dict(traced.named_modules()).get(path)
    return path if existing is None or type(existing) is nn.ReLU else f"{path}_{count + 1}"
