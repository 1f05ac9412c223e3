"""Evaluation of a conversion, layer by layer: activations of the model against the mean output of the spiking neurons.

    cosine           <a, y> / (|a| |y|),            a: activation of the model, y: mean output over the steps
    relative error   mean (y - a)^2 / mean a^2

Too few spikes make outputs wrong without an error: a layer whose median active neuron emits fewer than two spikes per
presentation is named in a warning. Use more steps, a larger `scale`, or thresholds from `balance`.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from ..arguments import explained
from ..errors import ConfigError, ShapeError
from ..neurons import RateNeuron, rate_neurons
from .blocks import check_batch, check_whole, in_blocks
from .converted import Converted
from .folding import shared_copy
from .pairs import to_rate, to_spiking
from .spiking import activations as original

FEW = 2.0
"""Minimum number of spikes of the median active neuron per presentation, below which a layer causes a warning."""


@dataclass(frozen=True)
class LayerReport:
    """Results of one layer of neurons, over all samples.

    Units: rates in Hz.
    """

    layer: str
    cosine: float
    relative_error: float
    mean_rate: float
    max_rate: float
    silent: float
    """Fraction of neurons without a spike, over all samples."""
    spikes: float
    """Number of spikes of the whole layer per presentation."""
    median_spikes: float
    """Number of spikes per presentation of the median active neuron; 0 if none is active."""


@dataclass(frozen=True)
class ConversionReport:
    """Results of all spiking layers, in execution order; `print` shows a table."""

    rows: tuple[LayerReport, ...]
    steps: int
    output_error: float = 0.0
    """Relative error of the mean output."""
    against: str = "its own rates"
    """Reference of the comparison."""

    def __str__(self) -> str:
        names = [field.name for field in fields(LayerReport)]
        lines = [[getattr(row, name) for name in names] for row in self.rows]
        cells = [[name.replace("_", " ") for name in names]]
        cells += [[str(line[0]), *(f"{value:.4g}" for value in line[1:])] for line in lines]
        widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
        table = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells]
        about = f"{self.steps} steps, against {self.against}; relative error of the output {self.output_error:.4g}"
        return "\n".join([about, *table])


@explained
def verify(
    converted: Converted,
    model: nn.Module,
    x: Tensor,
    atol: float = 1e-5,
    rtol: float = 1e-5,
    *,
    steps: int = 0,
    tolerance: float = 0.1,
) -> float:
    """Return the largest difference between the outputs of the model and of its conversion as rates, both in eval mode.

    Shapes: x [B, *N].

    Args:
        atol, rtol: tolerance of the rates, atol + rtol times the largest output of the model.
        steps: number of steps to present `x` to the spiking model as well; 0 to skip this.
        tolerance: tolerance of the mean spiking output, relative to the largest output of the model.

    Raises:
        ConfigError: a tolerance is exceeded.

    >>> from spikeloom.convert.spiking import convert
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    >>> verify(convert(model, example=torch.rand(3, 4)), model, torch.rand(3, 4)) < 1e-5
    True
    """
    check_batch("verify", x)
    check_whole("verify", 0, steps=steps)
    if not (atol >= 0.0 and rtol >= 0.0 and tolerance >= 0.0):
        raise ConfigError(f"verify needs atol, rtol and tolerance >= 0, but got {atol}, {rtol} and {tolerance}.")
    with torch.no_grad():
        try:
            expected = shared_copy(model).eval()(x.clone())
        except RuntimeError as error:
            raise ShapeError(f"verify: the model cannot take x {x.dtype} {list(x.shape)}: {error}.") from error
        output = to_rate(converted).eval()(x.unsqueeze(0))[0][0]
    if output.shape != expected.shape:
        raise ConfigError(f"The model gives {list(expected.shape)} but its conversion {list(output.shape)}.")
    difference = float((output - expected).abs().max())
    if not difference <= atol + rtol * float(expected.abs().max()):
        raise ConfigError(
            f"The rates of the conversion differ from the model by up to {difference:.3g}, allowed are {atol:g} and "
            f"{rtol:g} of the output. Look for swapped activations, replaced pools and operations in place."
        )
    if steps:
        _verify_spikes(converted, expected, x, steps, tolerance)
    return difference


@torch.no_grad()
def _verify_spikes(converted: Converted, expected: Tensor, x: Tensor, steps: int, tolerance: float) -> None:
    """Raise ConfigError unless the mean output of the spiking model is close to `expected`."""
    total = torch.zeros_like(expected)
    for out, _ in in_blocks(to_spiking(converted).eval(), x, steps):
        total += out.sum(0)
    difference, largest = float((total / steps - expected).abs().max()), float(expected.abs().max())
    if not difference <= tolerance * largest:
        raise ConfigError(
            f"After {steps} steps the mean output of spikes differs from the model by up to {difference:.3g}, allowed "
            f"are {tolerance:g} of its largest output {largest:.3g}. Take more steps, or look which layer loses with "
            "report(converted, x, steps, model): spikes too few want a scale, saturated ones higher thresholds."
        )


@torch.no_grad()
@explained
def report(converted: Converted, x: Tensor, steps: int, model: nn.Module | None = None) -> ConversionReport:
    """Present `x` for `steps` steps and compare the output and every layer with those of the model.

    Shapes: x [B, *N].

    Args:
        model: the original model; None: compare with the rates of the conversion, which does not show the error of
            replaced activations and pools.

    Raises:
        ConfigError: fewer than one step, no neuron spikes, or `model` is not the one that was converted.
        ShapeError: the input has no batch dimension.

    >>> from spikeloom.convert.spiking import convert
    >>> model = nn.Sequential(nn.Identity(), nn.ReLU()).eval()
    >>> result = report(convert(model, example=torch.ones(1, 2)), torch.tensor([[0.5, -1.0]]), 10)
    >>> print(result)
    10 steps, against its own rates; relative error of the output 0
    layer  cosine  relative error  mean rate  max rate  silent  spikes  median spikes
    1           1               0        250       500     0.5       5              5
    """
    check_whole("report", steps=steps)
    check_batch("report", x)
    spiking, rates = to_spiking(converted).eval(), to_rate(converted).eval()
    active = {name: neuron for name, neuron in rate_neurons(spiking).items() if neuron.spikes}
    if not active:
        raise ConfigError('No neuron of the model spikes: they have the partner "none". Convert with another.')
    outputs, counts = dict[str, Tensor](), dict[str, Tensor]()
    for name, neuron in active.items():
        neuron.register_forward_hook(_count(name, outputs, counts))
    total: Tensor | float = 0.0
    for out, _ in in_blocks(spiking, x, steps):
        total = total + out.sum(0)
    activations = dict[str, Tensor]()
    for name, neuron in rate_neurons(rates).items():
        neuron.register_forward_hook(_keep(name, activations))
    output = rates(x.unsqueeze(0))[0][0]
    if model is not None:
        activations, output = original(converted, model, x)
    seconds = steps * next(iter(active.values())).dt / 1000
    rows = tuple(_row(name, activations[name], outputs[name] / steps, counts[name], seconds) for name in counts)
    if few := [f"{row.layer} ({row.median_spikes:g})" for row in rows if row.median_spikes < FEW]:
        warnings.warn(
            f"In {steps} steps the median active neuron emits fewer than {FEW:g} spikes in {', '.join(few)}: answers "
            "will be wrong. Take more steps, a larger scale, or lower thresholds (spikeloom.convert.balance).",
            stacklevel=4,
        )
    error, power = (total / steps - output).double().square().mean(), output.double().square().mean()
    against = "its own rates" if model is None else "the model"
    return ConversionReport(rows, steps, float(error / power) if power else float(error), against)


def _count(name: str, outputs: dict[str, Tensor], counts: dict[str, Tensor]) -> Callable[..., None]:
    """Return a hook that adds up the outputs of a layer and its number of spikes, including negative ones."""

    def hook(neuron: nn.Module, inputs: Any, output: Any) -> None:
        assert isinstance(neuron, RateNeuron)
        out = output[0]
        spikes = neuron.hertz(out.abs()) * (len(out) * neuron.dt / 1000)
        outputs[name] = outputs.get(name, torch.zeros_like(spikes)) + out.sum(0)
        counts[name] = counts.get(name, torch.zeros_like(spikes)) + spikes.round()

    return hook


def _keep(name: str, activations: dict[str, Tensor]) -> Callable[..., None]:
    """Return a hook that stores the rate output of a layer."""

    def hook(neuron: nn.Module, inputs: Any, output: Any) -> None:
        activations[name] = output[0][0]

    return hook


def _row(name: str, expected: Tensor, output: Tensor, counts: Tensor, seconds: float) -> LayerReport:
    """Compute the results of a layer; all tensors [B, *N]."""
    expected, output, counts = expected.double(), output.double(), counts.double()
    power = float(expected.square().mean())
    active = counts[counts > 0]
    length = float(expected.norm() * output.norm())
    return LayerReport(
        layer=name,
        cosine=float((expected * output).sum()) / length if length else float(power == 0.0 and not output.any()),
        relative_error=float((output - expected).square().mean()) / power if power else float(bool(output.any())),
        mean_rate=float(counts.mean()) / seconds,
        max_rate=float(counts.max()) / seconds,
        silent=float((counts == 0).double().mean()),
        spikes=float(counts.flatten(1).sum(1).mean()),
        median_spikes=float(active.median()) if len(active) else 0.0,
    )
