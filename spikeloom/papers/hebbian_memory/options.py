"""Options, layers and statistics shared by the tasks with a Hebbian memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, Self

import torch
from annotated_types import Ge, Interval
from torch import Tensor

from ...data.batches import in_order
from ...errors import ConfigError
from ...layers import rate_cost
from ...layers.hebbian_memory.layer import memory_neuron
from ...neurons import LIF
from ...rules import Hebbian
from ...train import metrics, ranks
from ...train.parts import NonNegative, NonNegativeInt, Options, Positive, PositiveInt
from ...train.run import Run
from .networks import MemoryCore, RateMemory

SPIKING = ("spiking", "frozen", "recurrent")
"""Spiking models."""
TEST_BATCH = 100
"""Batch size without gradients."""
Populations = dict[str, tuple[int, int, str | None]]
"""Neurons, inputs per neuron, and the name of the rate of the input, of each population."""


@dataclass(frozen=True)
class LIFOptions(Options):
    """LIF neurons of all layers."""

    threshold: Positive = 0.1
    """Firing threshold of all neurons."""
    tau_mem: Positive = 20.0
    """Membrane time constant [ms]."""
    refractory: NonNegative = 3.0
    """Refractory period [ms]."""
    reset: Literal["subtract", "zero"] = "subtract"
    """Reset after a spike: subtract the threshold from the voltage, or set it to zero."""
    gain: Positive = 1.0
    """Dampening factor of the surrogate gradient."""
    dt: Positive = 1.0
    """Length of a step [ms]."""


@dataclass(frozen=True)
class HebbianMemoryOptions(Options):
    """Memory with a Hebbian rule."""

    memory_size: PositiveInt = 100
    """Size of the memory: number of key neurons, and of value neurons."""
    w_max: Positive = 1.0
    """Soft upper bound of the memory weights."""
    potentiation: NonNegative = 0.3
    """Learning rate of the Hebbian potentiation of the memory weights."""
    depression: NonNegative = 0.3
    """Rate of the depression of the memory weights of active keys."""
    recall: float = 0.2
    """Strength of the current from the memory to the value neurons while writing."""
    delay: Positive = 1.0
    """Delay of the feedback from value neurons to key neurons while reading [ms]."""
    tau_trace: NonNegative = 20.0
    """Time constant of the spike traces of the Hebbian rule [ms]."""


@dataclass(frozen=True)
class ItemOptions(HebbianMemoryOptions, LIFOptions):
    """Presentation of items to the layers of a network with a memory.

    Raises:
        ConfigError: a duration is not a whole number of steps.
    """

    item_ms: Positive = 100.0
    """Duration of an item, of the query, or of an observation [ms]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("item_ms", "delay"):
            steps(self, name)

    @property
    def model(self) -> str:
        """Name of the network; every task has it as an option."""
        raise NotImplementedError

    @property
    def spikes(self) -> bool:
        """Whether the network spikes."""
        return self.model in SPIKING


@dataclass(frozen=True)
class EmbeddingOptions(ItemOptions):
    """Embeddings, and spike counts as the output of the memory.

    Raises:
        ConfigError: the window is not a whole number of steps, or longer than an item.
    """

    embedding: PositiveInt = 80
    """Embedding dimension of an item: a vector, a label, a sentence or an observation."""
    window: Positive = 30.0
    """Final part of the query, or of an observation, in which value spikes are counted [ms]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if steps(self, "window") > steps(self, "item_ms") and self.spikes:
            raise ConfigError(
                f"Items of {self.item_ms:g} ms have no last {self.window:g} ms. Choose a smaller --window."
            )


@dataclass(frozen=True)
class InputOptions(EmbeddingOptions):
    """Input currents, and initial weights of the memory."""

    input_gain: Positive = 80.0
    """Factor of the input currents of the encoders."""
    initial: Literal["paper", "aligned"] = "paper"
    """Initial weights: paper, independent; aligned, equal key weights for writing and reading, without feedback."""


@dataclass(frozen=True)
class UpdateOptions(Options):
    """Optimiser steps."""

    updates: PositiveInt = 4500
    """Number of optimiser updates."""
    clip: NonNegative = 40.0
    """Gradient clipping: largest norm of the gradient; 0: no clipping."""


@dataclass(frozen=True)
class BatchOptions(UpdateOptions):
    """Batches, and the readout that is trained."""

    batch: PositiveInt = 256
    """Samples, episodes or questions per update."""
    readout_scale: NonNegative = 1.0
    """Factor of the initial weights of the readout, or of those onto the pixels."""


@dataclass(frozen=True)
class DataSeedOptions(Options):
    """Seed of the data."""

    data_seed: Annotated[int, Ge(-1)] = -1
    """Seed of samples, episodes or games and of the validation split, so that runs with different seeds share them; -1:
    the seed of the run."""


@dataclass(frozen=True)
class SampleOptions(DataSeedOptions):
    """Samples of several items."""

    length: PositiveInt = 10
    """Number of items of a sample: vectors with labels, or words with pictures."""
    stored: NonNegativeInt = 0
    """Size of a fixed training set, drawn once; 0: new samples in every update."""
    validation_samples: PositiveInt = 1000
    """Number of validation samples, the same in every validation."""
    test_samples: PositiveInt = 1000
    """Number of test samples, of each length if there are several."""


@dataclass(frozen=True)
class RateCostOptions(Options):
    """Rate regularisation."""

    rate_cost: NonNegative = 1e-05
    """Coefficient of the rate regularisation: squared distance of firing rates [Hz] from target_rate."""
    target_rate: NonNegative = 0.0
    """Target firing rate of the rate regularisation [Hz]."""


@dataclass(frozen=True)
class LateRateCostOptions(RateCostOptions):
    """Rate regularisation that begins after some updates."""

    rate_cost_after: NonNegativeInt = 36
    """Number of initial updates without the rate regularisation."""


@dataclass(frozen=True)
class EncoderOptions(Options):
    """Convolutional encoder, its pre-training and its conversion to spikes."""

    channels: PositiveInt = 64
    """Channels of each convolution, and number of outputs of an encoder."""
    batch_norm: bool = False
    """Batch normalisation in the encoder; not for an encoder that spikes."""
    conv_bias: bool = False
    """Biases in the convolutions; not for a pre-trained encoder whose thresholds are balanced."""
    validation_share: Annotated[float, Interval(gt=0, lt=1)] = 0.15
    """Fraction of the training data held out for validation."""
    pretrain_lr: Positive = 0.001
    """Initial learning rate of Adam in pre-training."""
    pretrain_decay: Positive = 0.5
    """Factor of the learning rate of pre-training at each decay."""
    calibration_batches: PositiveInt = 10
    """Number of batches of training images (or words) for threshold balancing."""
    calibration_batch: PositiveInt = 64
    """Images or words per batch of threshold balancing."""
    threshold_share: Positive = 1.0
    """Balanced thresholds as a fraction of the largest current; smaller values give more spikes."""
    learn_thresholds: bool = False
    """Train the thresholds of an encoder that spikes and is not frozen; they stay above a thousandth of their initial
    values."""
    normalise: bool = False
    """Divide every key and every value by its root mean square; relu only."""


class Active(Protocol):
    """Activity [T, B, N] of a network by population."""

    @property
    def layers(self) -> Mapping[str, Tensor]: ...


class Samples(Protocol):
    """Samples with a target each."""

    @property
    def target(self) -> Tensor: ...
    def select(self, indices: Any) -> Self: ...


def steps(config: ItemOptions, name: str) -> int:
    """Return a time option in steps; raise ConfigError unless it is a whole number of steps."""
    time: float = getattr(config, name)
    number = round(time / config.dt)
    if number < 1 or abs(number * config.dt - time) > 1e-6 * config.dt:
        option = name.replace("_", "-")
        raise ConfigError(
            f"--{option} must be a whole number of steps of {config.dt} ms, but is {time} ms. Change it, or --dt."
        )
    return number


def neuron_of(config: LIFOptions, refractory: float | None = None) -> LIF:
    """Return the LIF neuron of all layers, with another refractory period [ms] if given."""
    return memory_neuron(
        config.tau_mem, config.threshold, config.refractory if refractory is None else refractory, reset=config.reset,
        dt=config.dt, slope=config.gain,
    )  # fmt: skip


def rule_of(config: ItemOptions) -> Hebbian:
    """Return the Hebbian rule of the memory, without traces for networks of rates."""
    return Hebbian(
        potentiation=config.potentiation, depression=config.depression, w_max=config.w_max,
        tau_trace=config.tau_trace if config.spikes else 0.0, dt=config.dt,
    )  # fmt: skip


def memory_of(
    config: ItemOptions, n_in: int, n_query: int, generator: torch.Generator, *, window: str = "window",
    normalise: bool = False,
) -> MemoryCore | RateMemory:  # fmt: skip
    """Build the memory of the model: of spikes, of rates (relu), or of spikes and always zero (frozen).

    Args:
        n_in, n_query: number of currents of an item and of a query.
        window: name of the option for the window in which value spikes are counted.
        normalise: see `RateMemory`.
    """
    if not config.spikes:
        return RateMemory(n_in, n_query, config.memory_size, rule_of(config), normalise=normalise, generator=generator)
    return MemoryCore(
        n_in, n_query, config.memory_size, neuron_of(config), None if config.model == "frozen" else rule_of(config),
        steps=steps(config, "item_ms"), window=steps(config, window), delay=steps(config, "delay"),
        recall=config.recall, generator=generator,
    )  # fmt: skip


def check_normalise(config: ItemOptions, normalise: bool) -> None:
    """Raise ConfigError if rates are to be normalised, but the model is not relu."""
    if normalise and config.model != "relu":
        raise ConfigError(f"normalise is for relu, whose activity has no bound, not for {config.model}. Switch it off.")


def of_data(config: DataSeedOptions, run: Run, purpose: str, *, shared: bool = False) -> torch.Generator:
    """Return a generator for samples, seeded with data_seed, or with the seed of the run if that is -1."""
    return run.generator(purpose, shared=shared, seed=None if config.data_seed < 0 else config.data_seed)


def accuracy_of(logits: Callable[[Any], Tensor], samples: Samples, device: torch.device) -> float:
    """Return the accuracy on all samples, in batches; the result does not depend on the batch size.

    Args:
        logits: function that returns the logits of a batch.
    """
    correct = 0.0
    for indices in in_order(len(samples.target), TEST_BATCH):
        batch = samples.select(indices)
        correct += len(batch.target) * metrics.accuracy(logits(batch), batch.target.to(device))
    return correct / len(samples.target)


def squared_rates(config: Any, spikes: Tensor) -> Tensor:
    """Return the squared distance of the batch mean of the rate from the target [Hz^2], averaged over neurons.

    With several processes, the batch is that of all.
    """
    return 1e6 / spikes.shape[2] * rate_cost(spikes, config.target_rate, config.dt, ranks.mean_of)


def rates(config: ItemOptions, layers: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the mean rates [Hz] by population; empty for a model without spikes."""
    if not config.spikes:
        return {}
    hertz = 1000.0 / config.dt
    return {f"rate_{name.replace(' ', '_')}": float(part.detach().mean()) * hertz for name, part in layers.items()}


def memory_populations(
    size: int, n_in: int, n_query: int, storage: str = "rate_storage_encoder", recall: str = "rate_recall_encoder"
) -> Populations:
    """Return the populations of a memory.

    Args:
        size: number of keys, and of values.
        n_in, n_query: inputs while writing and while reading.
        storage, recall: names of the rates of these inputs.
    """
    return {
        "write keys": (size, n_in, storage), "write values": (size, n_in, storage),
        "read keys": (size, n_query, recall), "read values": (size, size, "rate_read_keys"),
    }  # fmt: skip


def layers_of(hertz: Mapping[str, float], populations: Populations) -> list[dict[str, Any]]:
    """Return the layers of activity.json.

    Args:
        hertz: rates by name; empty for a model without spikes.
    """
    return [
        {
            "name": name, "neurons": count, "inputs": inputs,
            "rate_hz": hertz[f"rate_{name.replace(' ', '_')}"] if hertz else None,
            "input_rate_hz": hertz[source] if hertz and source else None, "synapses": count * inputs,
        }
        for name, (count, inputs, source) in populations.items()
    ]  # fmt: skip


def activity_of(
    config: ItemOptions, items: float, layers: Sequence[Mapping[str, Any]], data: Sequence[Any] = ()
) -> dict[str, Any]:
    """Return the content of activity.json.

    Args:
        items: number of items including the query, on average.
        layers: see `layers_of`.
        data: descriptions of the data files.
    """
    dt, each = (config.dt, steps(config, "item_ms")) if config.spikes else (config.item_ms, 1)
    return {"dt_ms": dt, "steps": round(items * each), "layers": list(layers), "data": list(data)}


class Silence:
    """Counter of updates without value spikes while reading; prints a warning once, since logits then stay zero."""

    def __init__(self) -> None:
        self.updates = 0

    def look(self, run: Run, outputs: Active, finished: int) -> None:
        """Count an update."""
        values = outputs.layers.get("read values")
        self.updates = self.updates + 1 if values is not None and not bool(values.any()) else 0
        if self.updates == 20 and run.rank == 0:
            print(
                f"update {finished + 1}: the reading layer has been silent for 20 updates, so nothing is learned. Try "
                "a lower threshold or learning rate, or --initial aligned.", flush=True,
            )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the state from a checkpoint."""
        self.updates = int(state["updates"])
