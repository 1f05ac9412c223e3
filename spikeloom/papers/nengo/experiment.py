"""Options, data and networks of the task mnist_rate, which training, conversion and figures share."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ...convert import Probe, present, set_scale, to_rate, to_spiking
from ...core import Stateful
from ...data import mnist
from ...data.batches import in_order
from ...errors import ConfigError, check_positive
from ...neurons import Curve, LeakyReLUCurve, LIFCurve, RateNeuron, ReLUCurve, rate_neurons
from ...train.run import Run
from .network import ConvRateNetwork, glorot

CLASSES = 10


@dataclass(frozen=True)
class Config:
    ann: bool = False
    """Train an ordinary ReLU network instead (conv 32, conv 64 by stride 2, dense 10) and convert it."""
    neuron: Literal["lif", "relu", "leaky_relu"] = "lif"
    """Neurons of the hidden layers."""
    smoothing: float = 0.05
    """Width of the rounded corner of the LIF rate curve; 0: hard, its slope infinite at the threshold."""
    max_rate: float = 100.0
    """Rate of every neuron at input 1 [Hz]."""
    intercept: float = 0.0
    """Input at which every neuron starts to fire."""
    amplitude: float = 0.01
    """Output for a rate of 1 Hz."""
    tau_mem: float = 20.0
    """Time constant of the membrane [ms]."""
    refractory: float = 2.0
    """Refractory period [ms]."""
    v_init: float = 0.0
    """Voltage at the first step, in thresholds; negative: drawn uniformly for every neuron (Nengo since 3.1)."""
    v_init_converted: float = 0.5
    """The same for the calibrated neurons of a converted network; 0 can be exported to NIR, which knows no other."""
    partner: Literal["", "stochastic", "poisson"] = ""
    """How neurons spike; empty: as their kind does."""
    scale: float = 1.0
    """Firing-rate scale when spiking; curves of LIF neurons it distorts."""
    width: int = 32
    """Channels of the first convolution; the others have two and four times as many."""
    white: float = 255.0
    """Brightness of a white pixel: 255 is the raw byte, as in NengoDL's example."""
    batch: int = 200
    """Images per update."""
    epochs: int = 10
    """Passes over the training images."""
    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    """rmsprop as in Keras (rho 0.9, epsilon 1e-7)."""
    lr: float = 0.001
    """Initial learning rate."""
    cosine: bool = False
    """Lower the learning rate to nothing, along half a cosine."""
    shift: int = 0
    """Training images move at random by up to this many pixels in both directions."""
    rate_target: float = 250.0
    """Rate towards which hidden layers are regularised [Hz]."""
    rate_weight: float = 0.0
    """Weight of the mean squared distance to it, for each layer; 0: none."""
    validation: int = 0
    """Training images set aside for validation, the last of the file."""
    steps: int = 30
    """Steps for which an image is shown."""
    tau_probe: float = 100.0
    """Time constant of the low-pass on the output [ms]."""
    debias: bool = False
    """Divide that low-pass by the weight of what it has seen; the answer stays the same."""
    untrained_images: int = 1_000
    """Test images that the network before training is shown."""
    checkpoint_every: int = 100
    """Updates between two checkpoints."""
    samples: int = 0
    """Use the first few images of each split only; 0: all."""
    figures: int = 5
    """Test digits to draw in detail."""


def load(split: mnist.Split, config: Config, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images [N, 1, 28, 28], bytes, and labels."""
    images, labels = mnist.load(split)
    count = config.samples or len(images)
    return images[:count].unsqueeze(1).to(device), labels[:count].to(device)


def brightness(images: Tensor, config: Config) -> Tensor:
    """Bytes as the network sees them."""
    return images.float() * (config.white / 255)


def curve(config: Config) -> Curve:
    """The rate curve of the hidden neurons."""
    if config.neuron == "lif":
        return LIFCurve(config.tau_mem, config.refractory, config.smoothing)
    return ReLUCurve() if config.neuron == "relu" else LeakyReLUCurve()


def network(config: Config, run: Run) -> ConvRateNetwork:
    """The network of these options, its weights drawn from the run's generator."""
    check(config)
    model = ConvRateNetwork(
        curve(config), max_rate=config.max_rate, intercept=config.intercept, amplitude=config.amplitude,
        channels=(config.width, 2 * config.width, 4 * config.width), partner=config.partner or None,
        v_init="uniform" if config.v_init < 0 else config.v_init, v_seed=run.seed,
        generator=run.generator("weights", shared=True), firing=run.generator("firing"),
    )  # fmt: skip
    return model.to(run.device)


def check(config: Config) -> None:
    """Raise ConfigError where options make no sense."""
    check_positive(
        "mnist_rate", batch=config.batch, epochs=config.epochs, steps=config.steps, width=config.width, lr=config.lr,
        white=config.white, rate_target=config.rate_target,
    )  # fmt: skip
    if min(config.rate_weight, config.tau_probe, config.validation, config.shift, config.samples) < 0:
        raise ConfigError("mnist_rate needs rate_weight, tau_probe, validation, shift and samples not below 0.")


def said(model: nn.Module, x: Tensor) -> Tensor:
    """Logits [B, K] of a network as rates, or of an ordinary one."""
    logits: Tensor = model(x.unsqueeze(0))[0][0] if isinstance(model, Stateful) else model(x)
    return logits


@torch.no_grad()
def rate_answers(config: Config, model: nn.Module, images: Tensor) -> Tensor:
    """Logits [N, K] of the network as rates, or of the ordinary network."""
    rates = to_rate(model).eval() if isinstance(model, Stateful) else model.eval()
    return torch.cat([said(rates, brightness(images[part], config)) for part in in_order(len(images), 500)])


def ordinary(config: Config, run: Run) -> nn.Sequential:
    """The ReLU network of the keras-to-snn walk-through."""
    check(config)
    draw, width = run.generator("weights", shared=True), config.width
    layers = glorot(nn.Conv2d(1, width, 3), draw), glorot(nn.Conv2d(width, 2 * width, 3, 2), draw)
    last = glorot(nn.Linear(2 * width * 12 * 12, CLASSES), draw)
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), nn.Flatten(), last)
    return model.to(run.device)


class Shown(NamedTuple):
    """What a spiking network said to many images, and how much it fired."""

    steps: int
    outputs: Tensor  # as probed, [T, N, K]
    spikes: list[float]  # per image, of each layer
    silent: list[float]  # share of neurons of each layer without a spike in an image
    rates: list[float]  # [Hz], of each layer


def spiking(config: Config, model: Stateful) -> Stateful:
    """The same network, with spikes."""
    result = to_spiking(model).eval()
    set_scale(result, config.scale)
    return result


@torch.no_grad()
def shown(config: Config, model: Stateful, images: Tensor, probe: Probe, steps: int = 0) -> Shown:
    """Every image for `steps` steps; 0: as many as the options say."""
    steps = steps or config.steps
    neurons = list(rate_neurons(model).values())
    hidden = Hidden(neurons)
    outputs, spikes, silent, sizes = [], [0.0] * len(neurons), [0.0] * len(neurons), [0] * len(neurons)
    for part in in_order(len(images), 50):
        with hidden:
            outputs.append(present(model, brightness(images[part], config), steps, probes={"out": probe}).probes["out"])
        blocks = len(hidden.outputs) // len(neurons)
        for layer, neuron in enumerate(neurons):
            made = [out.abs().sum(0) for out in hidden.outputs[layer :: len(neurons)]]
            fired = torch.stack(made).sum(0) if blocks > 1 else made[0]
            spikes[layer] += float(fired.sum()) / float(torch.as_tensor(neuron.height))
            silent[layer] += float((fired == 0).float().mean()) * len(part)
            sizes[layer] = fired[0].numel()
    count, seconds = len(images), steps / 1000
    return Shown(
        steps, torch.cat(outputs, 1), [s / count for s in spikes], [s / count for s in silent],
        [s / count / size / seconds for s, size in zip(spikes, sizes, strict=True)],
    )  # fmt: skip


def confusions(answers: Tensor, labels: Tensor) -> list[list[int]]:
    """How often each digit is taken for each, [wanted][said]."""
    counts = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
    ones = torch.ones(len(labels), dtype=torch.int64)
    counts.index_put_((labels.cpu(), answers.argmax(-1).cpu()), ones, accumulate=True)
    result: list[list[int]] = counts.tolist()
    return result


def costs(model: nn.Module, found: Shown) -> dict[str, Any]:
    """activity.json: sizes, synapses and rates of each layer. A convolution has as many synapses as multiply-adds."""
    weights = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    layers, side, before, heard = [], 28, 28 * 28, None
    for number, layer in enumerate(weights):
        if isinstance(layer, nn.Conv2d):
            side = (side - 3) // layer.stride[0] + 1
            neurons = layer.out_channels * side * side
            synapses = neurons * layer.weight[0].numel()
        else:
            neurons, synapses = layer.out_features, layer.weight.numel()
        hertz = found.rates[number] if number < len(found.rates) else None
        name = f"convolution {number + 1}" if isinstance(layer, nn.Conv2d) else "readout"
        layers.append(
            {"name": name, "neurons": neurons, "inputs": before, "rate_hz": hertz, "input_rate_hz": heard,
             "synapses": synapses}
        )  # fmt: skip
        before, heard = neurons, hertz
    data = [*mnist.describe("train"), *mnist.describe("test")]
    return {"dt_ms": 1.0, "steps": found.steps, "constant_input": True, "layers": layers, "data": data}


def activations(model: nn.Module) -> list[nn.Module]:
    """The hidden neurons: rate neurons, or the ReLUs of an ordinary network, whose activations stand for Hz."""
    return [module for module in model.modules() if isinstance(module, (RateNeuron, nn.ReLU))]


class Hidden:
    """Reads the rates [Hz] of hidden neurons while it is entered."""

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
        """Of each layer: [T, B, *N], or [B, *N] of an ordinary network."""
        return [
            out / neuron.amplitude if isinstance(neuron, RateNeuron) else out
            for out, neuron in zip(self.outputs, self.neurons, strict=True)
        ]
