"""Sequential MNIST: classify a digit that is read pixel by pixel.

Images are scanned row by row, or in a fixed random order (`permuted`). The input is a spike wherever the brightness
crosses a threshold, or the brightness itself (`encoding`). The prediction is the class with the highest logit, averaged
over the last steps. The first training images of the file are set aside for validation; the test images are used once,
by `evaluate`.

Paper: Bellec, Salaj, Subramoney, Legenstein, Maass, Long short-term memory and learning-to-learn in networks of spiking
neurons, NeurIPS 2018: 94.2 +- 0.3 % (best of 12: 94.7) with 12 % of the connections, rewired by DEEP R (`connectivity`;
for a difference, see `dormant_gradients`); dense connections about 93.3 % according to citing papers
(second-hand).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Interval, Le, MultipleOf
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from ...data import mnist
from ...data.batches import Batches, in_order
from ...encoding.threshold_crossing import POOLED_WHITE, WHITE, analog, crossing, pool
from ...errors import ConfigError
from ...rules import Counts, DeepR
from ...train import metrics
from ...train.parts import (
    CheckpointOptions,
    Fraction,
    NonNegative,
    NonNegativeInt,
    Options,
    Positive,
    PositiveInt,
    TimeLimitOptions,
)
from ...train.run import Run
from ...train.schedule import set_learning_rate, step_decay, time_limit
from ...train.step import descend
from ...train.supervised import fit
from .network import LSNN, LSTMBaseline, neuron_signs
from .options import LSNNOptions, build, layers, populations, rate_values, rates, regularised

CLASSES = 10
VALIDATION = 5_000
"""Training images set aside for validation: the first of the file, as in the authors' split."""


@dataclass(frozen=True)
class RewiringOptions(Options):
    """Sparse synapses, rewired by DEEP R."""

    connectivity: Fraction = 0.12
    """Fraction of existing synapses, 0 to 1, rewired by DEEP R; 0: dense weights of any sign, without rewiring."""
    excitatory: Fraction = 0.75
    """Fraction of excitatory inputs and neurons (Dale's law), the others are inhibitory; 0: signs by synapse."""
    l1: NonNegative = 0.01
    """DEEP R: strength of the L1 regularisation of synapses."""
    temperature: NonNegative = 0.0
    """DEEP R: temperature of the noise on synapses."""
    budget: Literal["global", "per_matrix"] = "global"
    """DEEP R: keep the number of synapses constant over all layers (global), or in each layer (per_matrix)."""
    soft: bool = False
    """DEEP R: let the number of synapses vary; requires l1 and temperature."""
    resample_sign: bool = False
    """DEEP R: draw a new sign for each created synapse; requires excitatory 0."""
    reset_moments: bool = False
    """DEEP R: set Adam's moments to zero for each created synapse."""
    dormant_gradients: bool = False
    """Compute gradients for synapses that do not exist too, as in the authors' code; slow. Adam's moments are then up
    to date when a synapse is created: its first step is about 0.2 learning rates, otherwise about 1.2."""


@dataclass(frozen=True)
class ImageOptions(Options):
    """Images as sequences, and the steps of the answer."""

    encoding: Literal["crossing", "analog"] = "crossing"
    """Input: crossing, spikes where the brightness crosses thresholds; analog, the brightness itself in one channel."""
    downsampled: bool = False
    """Average blocks of 2 x 2 pixels first, for images of 14 x 14."""
    permuted: bool = False
    """Read the pixels in a fixed random order, the same for all images and seeds (psMNIST)."""
    n_in: Annotated[int, Ge(4), Le(1 << 16), MultipleOf(2)] = 80
    """Input channels of the crossing encoding; the analog encoding has one channel."""
    ext_time: PositiveInt = 1
    """Time steps per pixel."""
    answer_rows: NonNegativeInt = 2
    """Length of the output period after the image [image rows]; crossing encoding only."""
    answer_window: NonNegativeInt = 0
    """Number of last steps whose mean logits are the prediction; 0: pixels per image row, or 1 for analog input."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rows = self.side + (self.answer_rows if self.encoding == "crossing" else 0)
        steps = rows * self.side * self.ext_time
        if self.answer_window > steps:
            raise ConfigError(
                f"A sequence has {steps} steps, so --answer-window must be 0 to {steps}, but is {self.answer_window}."
            )

    @property
    def side(self) -> int:
        """Pixels per row and column of an image."""
        return 14 if self.downsampled else 28


@dataclass(frozen=True)
class Config(LSNNOptions, ImageOptions, RewiringOptions, CheckpointOptions, TimeLimitOptions):
    model: Literal["lsnn", "lif", "lstm"] = "lsnn"
    """Network: lsnn; lif, without adaptation; lstm, an LSTM with as many weights as the dense LSNN."""
    batch_train: PositiveInt = 256
    """Images per update."""
    batch_validation: PositiveInt = 256
    """Images per batch in validation and test."""
    validation_images: Annotated[int, Interval(ge=1, le=VALIDATION)] = VALIDATION
    """Images per validation, 1 to 5,000 (all); fewer are drawn at random each time (256 in the authors' code)."""
    n_regular: NonNegativeInt = 120
    n_adaptive: NonNegativeInt = 100
    updates: PositiveInt = 36_000
    """Maximum number of optimiser updates."""
    refractory: NonNegative = 5.0
    adapt_strength: float = 1.8
    tau_adapt: Positive = 700.0
    lr_decay: Positive = 0.8
    lr_decay_every: PositiveInt = 2_500
    validate_every: PositiveInt = 400
    select: Literal["best", "last"] = "best"
    """Weights to test: those with the best validation accuracy, or the last ones (as in the authors' code)."""
    figures: Annotated[int, Interval(ge=0, le=VALIDATION)] = 3
    """Number of validation images to plot in detail."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resample_sign and self.excitatory:
            raise ConfigError("--resample-sign gives synapses new signs, which --excitatory forbids. Set that to 0.")


PAPER = Config()
CPU = replace(
    PAPER, downsampled=True, delays=56, tau_adapt=200.0, gain=0.5, connectivity=0.2, l1=0.001, batch_train=64,
    updates=10_000, lr=0.004, lr_decay=0.7, lr_decay_every=1_500, validate_every=500,
)  # fmt: skip
DATA = ("mnist",)
PRESETS = {
    "paper": PAPER,
    "paper_2ms": replace(PAPER, ext_time=2),
    "psmnist": replace(PAPER, permuted=True),
    "cpu": CPU,
    "lif": replace(CPU, model="lif"),
    "lstm": replace(CPU, model="lstm"),
    "smoke": replace(
        CPU, n_in=8, n_regular=6, n_adaptive=4, delays=4, batch_train=8, validation_images=32, updates=4,
        validate_every=2, checkpoint_every=2, figures=1,
    ),
}  # fmt: skip

_PAPER = "Bellec et al., NeurIPS 2018, as quoted by others (second-hand)"
_ROWS = {
    "accuracy": (0.942, "LSNN 100 + 120, DEEP R with 12 % of the synapses, 28 x 28, 1 ms; mean of 12, sd 0.003"),
    "accuracy_max": (0.947, "the best of these 12: the paper's headline number"),
    "accuracy_2ms": (0.938, "LSNN 100 + 120, DEEP R, 2 ms; mean of 12, sd 0.058"),
    "accuracy_2ms_max": (0.964, "the best of these 12: the paper's headline number"),
    "accuracy_dense": (0.933, "dense LSNN, 100 + 120, 28 x 28, 1 ms per pixel; only via citing papers"),
    "accuracy_dense_2ms": (0.937, "the same at 2 ms per pixel; which value belongs to which is inferred"),
    "accuracy_deep_r_large": (0.961, "LSNN 350 + 350, DEEP R 12 %, 1 ms; 1 run"),
    "accuracy_deep_r_large_2ms": (0.971, "LSNN 350 + 350, DEEP R 12 %, 2 ms; 1 run"),
    "accuracy_lstm": (0.798, "LSTM 128, dense, 1 ms; mean of 12, sd 0.266"),
    "accuracy_lstm_max": (0.985, "the best of these 12"),
    "accuracy_lstm_2ms": (0.482, "LSTM 128, dense, 2 ms; mean of 12, sd 0.399"),
    "accuracy_lstm_2ms_max": (0.980, "the best of these 12"),
    "accuracy_lif": (0.609, "220 neurons without adaptation, 1 ms; mean of 12"),
    "accuracy_lif_max": (0.633, "the best of these 12"),
    "accuracy_lif_2ms": (0.346, "220 neurons without adaptation, 2 ms; mean of 12"),
    "accuracy_lif_2ms_max": (0.518, "the best of these 12"),
}
PUBLISHED = {name: {"value": value, "source": _PAPER, "note": note} for name, (value, note) in _ROWS.items()}


def train(config: Config, run: Run) -> None:
    """Train on all but the first 5,000 training images, and validate on those."""
    images, labels = (tensor.to(run.device) for tensor in mnist.load("train"))
    training, validation = (images[VALIDATION:], labels[VALIDATION:]), (images[:VALIDATION], labels[:VALIDATION])
    model = network(config, run)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    rewire = rewiring(config, run, model, optimizer)
    batches = Batches(len(training[0]), config.batch_train, run.generator("batches", shared=True), run.rank, run.world)

    def step(finished: int) -> dict[str, float]:
        lr = step_decay(finished, config.lr, config.lr_decay, config.lr_decay_every)
        set_learning_rate(optimizer, lr)
        indices = batches.next().to(run.device)
        activity, _ = model(encode(training[0][indices], config))
        targets = training[1][indices]
        logits = answer(activity.logits, config)
        loss = regularised(cross_entropy(logits, targets), activity, config)
        descend(loss, optimizer, model)
        values = rate_values(activity, config)
        if rewire is not None:
            values |= rewired(rewire.step())
        return {
            "loss": loss.item(),
            "accuracy": metrics.accuracy(logits, targets),
            "lr": lr,
            "epoch": batches.epoch,
            **values,
        }

    def validate(finished: int) -> dict[str, float]:
        indices = torch.arange(VALIDATION)
        if config.validation_images < VALIDATION:
            order = torch.randperm(VALIDATION, generator=run.generator("validation"))
            indices = order[: config.validation_images]
        logits = answers(model, validation[0], indices, config).logits
        targets = validation[1][indices.to(run.device)]
        loss = cross_entropy(logits, targets)
        return {"validation_accuracy": metrics.accuracy(logits, targets), "validation_loss": loss.item()}

    parts = {"model": model, "optimizer": optimizer, "batches": batches}
    fit(
        run,
        parts=parts if rewire is None else {**parts, "rewire": rewire},
        updates=config.updates,
        step=step,
        validate=validate,
        validate_every=config.validate_every,
        checkpoint_every=config.checkpoint_every,
        stop=time_limit(config.minutes, run),
        best="validation_accuracy" if config.select == "best" else None,
        better="higher",
    )


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Return the accuracy of the selected weights on all test images."""
    model = network(config, run)
    update = run.load_best(model=model)
    images, labels = (tensor.to(run.device) for tensor in mnist.load("test"))
    outputs = answers(model, images, torch.arange(len(images)), config)
    counts = torch.zeros(CLASSES, CLASSES, dtype=torch.int64, device=run.device)
    counts.index_put_((labels, outputs.logits.argmax(-1)), torch.ones_like(labels), accumulate=True)
    run.write_json("confusion.json", counts.tolist())
    spiking = config.encoding == "crossing"
    run.write_json(
        "activity.json",
        {
            "dt_ms": config.dt,
            "steps": outputs.steps,
            "layers": layers(
                model, config, channels(config), CLASSES, outputs.rate, outputs.input_rate if spiking else None
            ),
            "data": [*mnist.describe("train"), *mnist.describe("test")],
        },
    )
    validation = run.logged(update, "validation_accuracy")
    return {
        "accuracy": metrics.accuracy(outputs.logits, labels),
        "validation_accuracy": validation,
        "update": float(update),
        "test_images": float(len(images)),
    }


@torch.no_grad()
def plot(config: Config, run: Run) -> None:
    """Plot some digits in detail, the learning curves, the firing rates and, after a test, the confusion matrix."""
    from ...plot.confusion import confusion
    from ...train.figures import plot_learning_curves, to_numpy
    from .draw_episode import digit
    from .draw_weights import connectivity
    from .figures import firing_rates

    model = network(config, run)
    run.load_best(model=model)
    images, labels = (tensor[:VALIDATION] for tensor in mnist.load("train"))
    count = max(config.figures, 32)  # firing rates need more than a few images
    spikes = encode(images[:count].to(run.device), config)
    activity: Any = model.trace(spikes) if isinstance(model, LSNN) else model(spikes)[0]
    predictions = answer(activity.logits, config).argmax(-1).tolist()
    for b in range(config.figures):
        figure = digit(
            to_numpy(pool(images[b : b + 1])[0] if config.downsampled else images[b]),
            to_numpy(spikes[:, b]),
            populations(config, to_numpy(activity.spikes[:, b]), inhibitory(config)),
            to_numpy(activity.logits[:, b]),
            int(labels[b]),
            predictions[b],
            to_numpy(activity.threshold[:, b, config.n_regular :]) if config.model == "lsnn" else None,
            (len(spikes) - window(config)) * config.dt,
            config.dt,
        )
        run.figure(f"digit_{b}", figure, "A validation image, from the input to the answer.")
    charts = {
        "loss": {"training": "loss", "validation": "validation_loss"},
        "accuracy": {"training": "accuracy", "validation": "validation_accuracy"},
        "rate [Hz]": {"mean": "rate", "highest": "rate_max"},
    }
    sparse = model.sparse_layers() if isinstance(model, LSNN) else {}
    if sparse:
        charts["synapses"] = {name: f"active_{name}" for name in sparse}
        charts["synapses per update"] = {"created": "synapses_created"}
    levels = {"accuracy": {"chance": 0.1}, "rate [Hz]": {"target": config.target_rate}}
    plot_learning_curves(run, "Learning sequential MNIST", charts, levels, smooth=max(config.updates // 60, 1))
    firing_rates(run, config, activity.spikes, inhibitory(config))
    if sparse:
        weights = {name: to_numpy(layer.weight) for name, layer in sparse.items()}
        run.figure("connectivity", connectivity(weights), "Synapses of the tested weights: blue excites, red inhibits.")
    if (run.folder / "confusion.json").exists():
        counts = torch.tensor(run.read_json("confusion.json")).numpy()
        run.figure("confusion", confusion(counts, title="Test images"), "Which digit is taken for which.")


def network(config: Config, run: Run) -> LSNN | LSTMBaseline:
    """Build the network of these options."""
    sparse: dict[str, Any] = {}
    if config.connectivity:
        sparse = {"connectivity": config.connectivity, "dormant_gradients": config.dormant_gradients}
        sparse["excitatory"] = config.excitatory or None
    return build(config, run, channels(config), CLASSES, bias=True, **sparse)


def rewiring(config: Config, run: Run, model: nn.Module, optimizer: Optimizer) -> DeepR | None:
    """Return DEEP R for a sparse network, None for a dense one; all ranks draw the same numbers."""
    if not isinstance(model, LSNN) or not model.sparse_layers():
        return None
    return DeepR(
        optimizer,
        model.sparse_layers(),
        l1=config.l1,
        temperature=config.temperature,
        budget=config.budget,
        soft=config.soft,
        resample_sign=config.resample_sign,
        reset_moments=config.reset_moments,
        generator=run.generator("rewiring", shared=True),
    )


def inhibitory(config: Config) -> int:
    """Return the number of inhibitory neurons (Dale's law)."""
    signs = neuron_signs(config.n_regular + config.n_adaptive, config.excitatory or None)
    return int((signs < 0).sum()) if signs is not None and config.connectivity else 0


def rewired(counts: Mapping[str, Counts]) -> dict[str, float]:
    """Return the synapse counts of a DEEP R step, for the log."""
    values = {f"active_{name}": float(count.active) for name, count in counts.items()}
    values["synapses_pruned"] = float(sum(count.pruned for count in counts.values()))
    values["synapses_created"] = float(sum(count.created for count in counts.values()))
    return values


def channels(config: Config) -> int:
    """Return the number of input channels of the network."""
    return config.n_in if config.encoding == "crossing" else 1


def encode(images: Tensor, config: Config) -> Tensor:
    """Encode images for the network: bytes [B, 28, 28] -> [T, B, channels]."""
    pixels, white = (pool(images), POOLED_WHITE) if config.downsampled else (images, WHITE)
    if config.permuted:
        pixels = pixels.flatten(1)[:, permutation(pixels[0].numel())].view_as(pixels)
    if config.encoding == "analog":
        return analog(pixels, config.ext_time, white)
    return crossing(pixels, config.n_in, config.ext_time, config.answer_rows, white)


def permutation(pixels: int) -> Tensor:
    """Return the fixed random order in which a permuted image of this many pixels is read."""
    return torch.randperm(pixels, generator=torch.Generator().manual_seed(92_916))


def window(config: Config) -> int:
    """Return the number of last steps whose mean logits are the prediction."""
    return config.answer_window or (config.side if config.encoding == "crossing" else 1)


def answer(logits: Tensor, config: Config) -> Tensor:
    """Average the logits over the last steps: [T, B, K] -> [B, K]."""
    return logits[-window(config) :].mean(0)


@dataclass(frozen=True)
class ImageAnswers:
    """Outputs of a network for many images, with its mean firing rates [Hz]."""

    logits: Tensor  # [N, K]
    steps: int
    rate: float
    input_rate: float


@torch.no_grad()
def answers(model: nn.Module, images: Tensor, indices: Tensor, config: Config) -> ImageAnswers:
    """Run the network on the images with these indices, in batches; rates are means over all of them."""
    logits, rate, input_rate, steps = [], 0.0, 0.0, 0
    for rows in in_order(len(indices), config.batch_validation):
        spikes = encode(images[indices[rows].to(images.device)], config)
        activity, _ = model(spikes)
        logits.append(answer(activity.logits, config))
        rate += float(rates(activity.spikes, config.dt).mean()) * len(rows)
        input_rate += float(rates(spikes, config.dt).mean()) * len(rows)
        steps = len(spikes)
    return ImageAnswers(torch.cat(logits), steps, rate / len(indices), input_rate / len(indices))
