"""Data and networks of the task mnist_rate, shared by training, conversion and figures."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...convert import Probe, present, set_scale, to_rate, to_spiking
from ...core import Stateful
from ...data import mnist
from ...data.batches import in_order
from ...neurons import RateNeuron, rate_neurons
from ...train.run import Run
from .network import ConvRateNetwork, glorot
from .options import Config

CLASSES = 10


def load(split: mnist.Split, config: Config, device: torch.device) -> tuple[Tensor, Tensor]:
    """Load the images of a split, bytes [N, 1, 28, 28], and their labels [N]."""
    images, labels = mnist.load(split)
    count = config.samples or len(images)
    return images[:count].unsqueeze(1).to(device), labels[:count].to(device)


def brightness(images: Tensor, config: Config) -> Tensor:
    """Convert bytes to input values."""
    return images.float() * (config.white / 255)


def network(config: Config, run: Run) -> ConvRateNetwork:
    """Build the network of these options, with weights drawn from the run's generator."""
    model = ConvRateNetwork(
        config.curve(), max_rate=config.max_rate, intercept=config.intercept, amplitude=config.amplitude,
        channels=(config.width, 2 * config.width, 4 * config.width), partner=config.partner or None,
        v_init="uniform" if config.v_init < 0 else config.v_init, v_seed=run.seed,
        generator=run.generator("weights", shared=True), firing=run.generator("firing"),
    )  # fmt: skip
    return model.to(run.device)


def network_output(model: nn.Module, x: Tensor) -> Tensor:
    """Return the logits [B, K] of a network of rate neurons, or of an ordinary one."""
    logits: Tensor = model(x.unsqueeze(0))[0][0] if isinstance(model, Stateful) else model(x)
    return logits


@torch.no_grad()
def rate_answers(config: Config, model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits [N, K] for all images, with rates or of an ordinary network."""
    rates = to_rate(model).eval() if isinstance(model, Stateful) else model.eval()
    return torch.cat([network_output(rates, brightness(images[part], config)) for part in in_order(len(images), 500)])


def ordinary(config: Config, run: Run) -> nn.Sequential:
    """Build the ReLU network of the keras-to-snn walk-through."""
    draw, width = run.generator("weights", shared=True), config.width
    layers = glorot(nn.Conv2d(1, width, 3), draw), glorot(nn.Conv2d(width, 2 * width, 3, 2), draw)
    last = glorot(nn.Linear(2 * width * 12 * 12, CLASSES), draw)
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), nn.Flatten(), last)
    return model.to(run.device)


class SpikingOutputs(NamedTuple):
    """Outputs of a spiking network for many images, with its spike counts and firing rates."""

    steps: int
    outputs: Tensor  # [T, N, K], of the probe
    spikes: list[float]  # per image, of each layer
    silent: list[float]  # of each layer, fraction of neurons without a spike, mean over images
    rates: list[float]  # [Hz], of each layer


def spiking(config: Config, model: Stateful) -> Stateful:
    """Return the network with spiking neurons."""
    result = to_spiking(model).eval()
    set_scale(result, config.scale)
    return result


@torch.no_grad()
def run_spiking(config: Config, model: Stateful, images: Tensor, probe: Probe, steps: int = 0) -> SpikingOutputs:
    """Run the network on every image for `steps` steps; 0: as many as in the options."""
    steps = steps or config.steps
    neurons = list(rate_neurons(model).values())
    hidden = Hidden(neurons)
    outputs, spikes, silent, sizes = [], [0.0] * len(neurons), [0.0] * len(neurons), [0] * len(neurons)
    for part in in_order(len(images), 50):
        with hidden:
            outputs.append(present(model, brightness(images[part], config), steps, probes={"out": probe}).probes["out"])
        blocks = len(hidden.outputs) // len(neurons)
        for layer, neuron in enumerate(neurons):
            counts = [out.abs().sum(0) for out in hidden.outputs[layer :: len(neurons)]]
            fired = torch.stack(counts).sum(0) if blocks > 1 else counts[0]
            spikes[layer] += float(fired.sum()) / float(torch.as_tensor(neuron.height))
            silent[layer] += float((fired == 0).float().mean()) * len(part)
            sizes[layer] = fired[0].numel()
    count, seconds = len(images), steps / 1000
    return SpikingOutputs(
        steps, torch.cat(outputs, 1), [s / count for s in spikes], [s / count for s in silent],
        [s / count / size / seconds for s, size in zip(spikes, sizes, strict=True)],
    )  # fmt: skip


def confusions(answers: Tensor, labels: Tensor) -> list[list[int]]:
    """Return the confusion matrix as lists, [label][prediction]."""
    counts = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
    ones = torch.ones(len(labels), dtype=torch.int64)
    counts.index_put_((labels.cpu(), answers.argmax(-1).cpu()), ones, accumulate=True)
    result: list[list[int]] = counts.tolist()
    return result


def costs(model: nn.Module, outputs: SpikingOutputs) -> dict[str, Any]:
    """Return activity.json: sizes, synapses and rates of each layer; a convolution has a synapse per multiply-add."""
    weights = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    layers, side, before, input_hertz = [], 28, 28 * 28, None
    for number, layer in enumerate(weights):
        if isinstance(layer, nn.Conv2d):
            side = (side - 3) // layer.stride[0] + 1
            neurons = layer.out_channels * side * side
            synapses = neurons * layer.weight[0].numel()
        else:
            neurons, synapses = layer.out_features, layer.weight.numel()
        hertz = outputs.rates[number] if number < len(outputs.rates) else None
        name = f"convolution {number + 1}" if isinstance(layer, nn.Conv2d) else "readout"
        layers.append(
            {"name": name, "neurons": neurons, "inputs": before, "rate_hz": hertz, "input_rate_hz": input_hertz,
             "synapses": synapses}
        )  # fmt: skip
        before, input_hertz = neurons, hertz
    data = [*mnist.describe("train"), *mnist.describe("test")]
    return {"dt_ms": 1.0, "steps": outputs.steps, "constant_input": True, "layers": layers, "data": data}


def activations(model: nn.Module) -> list[nn.Module]:
    """Return the hidden neurons: rate neurons, or the ReLUs of an ordinary network, whose activations count as Hz."""
    return [module for module in model.modules() if isinstance(module, (RateNeuron, nn.ReLU))]


class Hidden:
    """Context manager that records the rates [Hz] of hidden neurons."""

    def __init__(self, neurons: Iterable[nn.Module]) -> None:
        self.neurons = list(neurons)
        self.outputs: list[Tensor] = []
        self.hooks: list[Any] = []

    def __enter__(self) -> None:
        self.outputs = []
        self.hooks = [neuron.register_forward_hook(self._read) for neuron in self.neurons]

    def _read(self, neuron: nn.Module, inputs: Any, out: Any) -> None:
        self.outputs.append(out[0] if isinstance(neuron, RateNeuron) else out)

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def hertz(self) -> list[Tensor]:
        """Return the rates of each layer: [T, B, *N], or [B, *N] for an ordinary network."""
        return [
            out / neuron.amplitude if isinstance(neuron, RateNeuron) else out
            for out, neuron in zip(self.outputs, self.neurons, strict=True)
        ]
