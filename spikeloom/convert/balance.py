"""Thresholds of integrate-and-fire neurons: how much input a spike stands for.

    maximum      threshold_l = the largest activation of the layer as rates
    fraction     a share of it
    percentile   the activation that 99.9 % of the layer's activations stay below
    balance_thresholds    threshold_l = the largest current of the layer in any step, the layers before it spiking
    qcfs         learned, with the staircase that the neuron will follow:
                 y = threshold clip(floor(L z / threshold + 1/2) / L, 0, 1)

A threshold above 1 makes spikes rarer and heavier, one below finer and more. Rates are not changed by it.
Sources: Diehl et al., Fast-classifying, high-accuracy spiking deep networks, 2015 (maximum); Rueckauer et al., 2017
(percentile); Sengupta et al., Going deeper in spiking neural networks, 2019 (with spikes); Bu et al., 2022 (QCFS).
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
"""What a ReLU is called in a traced model."""


@explained
def maximum(converted: Converted, batches: Iterable[Tensor]) -> dict[str, float]:
    """Set every threshold to the largest activation of its layer. Returns them by layer.

    From then on, an input more than twice as large as the largest here is an error where the model spikes.
    Shapes: batches of [B, *N].

    Raises:
        ConfigError: no integrate-and-fire neurons, a learned threshold, no batch, or a layer that is silent.

    >>> from spikeloom.convert.spiking import convert
    >>> model = nn.Sequential(nn.Identity(), nn.ReLU()).eval()
    >>> maximum(convert(model, example=torch.ones(1, 2)), [torch.tensor([[1.0, 4.0]])])
    {'1': 4.0}
    """
    return fraction(converted, batches, 1.0)


@explained
def fraction(converted: Converted, batches: Iterable[Tensor], share: float) -> dict[str, float]:
    """Set every threshold to a share of the largest activation of its layer; see `maximum`.

    Raises:
        ConfigError: as `maximum`, or the share is not positive.
    """
    if not 0.0 < share < float("inf"):
        raise ConfigError(f"fraction needs a share > 0, but got {share}.")
    found = dict[str, float]()
    for name, values in _activations(converted, batches):
        found[name] = max(found.get(name, 0.0), share * float(values.max()))
    return _set(converted, found)


@explained
def percentile(converted: Converted, batches: Iterable[Tensor], percent: float = 99.9) -> dict[str, float]:
    """Set every threshold to a percentile of the activations of its layer, zeros included; see `maximum`.

    Of several batches, the mean of their percentiles, weighted by their sizes.

    Raises:
        ConfigError: as `maximum`, or the percentage is not from 0 to 100.
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
    """Set every threshold to the largest current that its layer gets in any step while those before it spike.

    Layer by layer, each batch is shown for `steps` steps. A spike here weighs its threshold; where it weighs 1 and the
    network has no biases, as in the Hebbian memory networks, theirs are the ratios of neighbours:
    theirs_l = threshold_l / threshold_(l-1).
    Shapes: batches of [B, *N], read once per layer.

    Raises:
        ConfigError: as `maximum`, fewer than one step, or the batches can be read only once.
    """
    check_whole("balance_thresholds", steps=steps)
    if isinstance(batches, Iterator):
        raise ConfigError("balance_thresholds reads the batches once per layer, but got an iterator. Pass a list.")
    neurons = _integrators(converted)
    converted.largest.zero_()
    spiking, found = to_spiking(converted).eval(), dict[str, float]()
    for name in neurons:
        neuron, before = rate_neurons(spiking)[name], spiking.before(name)
        shown = (currents for x in _checked(batches) for currents, _ in in_blocks(before, x, steps))
        largest = [neuron.drive(currents).max() for currents in shown]
        found |= _set(converted, {name: float(torch.stack(largest).max())} if largest else {}, only=name)
    for x in batches:
        _note_range(converted, x)
    return found


@torch.no_grad()
@explained
def input_range(converted: Converted, batches: Iterable[Tensor]) -> float:
    """Remember the largest input, as calibration does, and return it: for learned thresholds (QCFS), or for none.

    From then on, an input more than twice as large is an error where the model spikes. It is saved with the model.
    Shapes: batches of [B, *N].

    Raises:
        ConfigError: there is no batch, or the batches are no tensors of finite numbers.

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
    """Remember how large inputs were."""
    converted.largest.fill_(max(float(converted.largest), float(x.abs().max())))


def _checked(batches: Iterable[Any]) -> Iterator[Tensor]:
    """The batches, if each is a batch."""
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
    """The integrate-and-fire neurons, each with a threshold of its own in a buffer."""
    found = {n: neuron for n, neuron in rate_neurons(converted).items() if neuron.partner == "integrate_and_fire"}
    if not found:
        raise ConfigError(
            'Only integrate_and_fire neurons have a threshold. Convert with that partner; "scale" is for all.'
        )
    like = next((part for part in converted.parameters() if part.is_floating_point()), torch.empty(()))
    for name, neuron in found.items():
        if isinstance(neuron.threshold, nn.Parameter):
            raise ConfigError(
                f"The threshold of {name} is learned (QCFS): there is nothing to calibrate. "
                "For a check of the range of inputs, call input_range."
            )
        if not isinstance(neuron.threshold, Tensor):
            value = neuron.threshold
            del neuron.threshold
            neuron.register_buffer("threshold", torch.tensor(value, dtype=like.dtype, device=like.device))
    return found


def _activations(converted: Converted, batches: Iterable[Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The activations [B, *N] as rates of every integrate-and-fire layer, for every batch."""
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
    """Write thresholds."""
    neurons = _integrators(converted)
    for name, neuron in neurons.items():
        if only in ("", name):
            assert isinstance(neuron.threshold, Tensor)
            neuron.threshold.fill_(heard(name, values.get(name, 0.0)))
    return values


def heard(name: str, largest: float) -> float:
    """The largest current of a layer, if it can be a threshold.

    Raises:
        ConfigError: it is not positive.
    """
    if not largest > 0.0:
        raise ConfigError(
            f"The layer {name} was silent, so it has no threshold. Show it batches of inputs that it answers."
        )
    return largest


@explained
class QCFS(nn.Module):
    """A ReLU in `levels` steps up to a learned threshold, for training; `convert` makes it spike.

    Shapes: [B, *N] -> [B, *N].

    Args:
        levels: steps of the staircase: the number of time steps after which the spiking neuron says the same.
        threshold: where it starts, > 0.

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
            shown = f"{x.dtype} {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise ShapeError(f"QCFS needs a floating point tensor [B, *N], but got {shown}. Call .float() on it.")
        check_dense("QCFS", x)
        return self.neuron.rates(x)

    def spiking(self, dt: float) -> RateNeuron:
        """The neuron that spikes; it shares the threshold."""
        return RateNeuron(self.neuron.curve, threshold=self.neuron.threshold, v_init=0.5, dt=dt)


@explained
def qcfs(model: nn.Module, levels: int = 4, threshold: float = 1.0) -> fx.GraphModule:
    """A copy of an ordinary model with a trainable `QCFS` in place of every ReLU: train it, then `convert` it.

    After T = `levels` steps of a constant input, the spiking first layer says exactly what it said in training.

    Raises:
        ConfigError: torch.fx cannot trace the model, it has no ReLU, or a dropout that is called as a function, whose
            mode would be that of now for ever.

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
    """The path of a ReLU, or a new one if a QCFS stands there already."""
    found = dict(traced.named_modules()).get(path)
    return path if found is None or type(found) is nn.ReLU else f"{path}_{count + 1}"
