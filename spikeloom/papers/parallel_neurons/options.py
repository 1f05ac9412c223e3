"""Options of the tasks on spoken words, in parts: the help shows each under a heading."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from ...data.spike_trains import Augmentation
from ...errors import ConfigError
from ...train.parts import (
    CheckpointOptions,
    Fraction,
    LearningRateOptions,
    NonNegative,
    Options,
    Positive,
    PositiveInt,
    TimeLimitOptions,
)
from .network import NeuronOptions, check_options

Neuron = Literal["LIF", "non_spiking", "SB", "GS", "TRB", "T", "ST", "TT", "TRT", "D", "SD", "TD", "TRD"]
BelowOne = Annotated[float, Interval(ge=0, lt=1)]


@dataclass(frozen=True)
class HiddenLayerOptions(Options):
    """Hidden layers, and the reduction of their output to a prediction."""

    neuron: Neuron = "SB"
    """Neuron model of the hidden layers; LIF: sequential baseline; non_spiking: rectified units without memory;
    the others: firing functions of parallel neurons (ParaLIF)."""
    layers: PositiveInt = 3
    """Number of hidden layers."""
    hidden: PositiveInt = 128
    """Neurons per hidden layer."""
    loss: Literal["last", "max", "mean", "cumsum"] = "mean"
    """Reduction of the readout of all steps to one prediction."""
    memory: Literal["fast", "lean"] = "fast"
    """Memory for the backward pass: fast stores intermediate values, lean recomputes most of them."""


@dataclass(frozen=True)
class RasterOptions(Options):
    """Events as a raster."""

    window: Positive = 1.0
    """Length of a time step [ms]."""
    rounding: Literal["floor", "ceil"] = "floor"
    """Time step of an event: floor, the step it lies in; ceil, the next one (as in SPSN)."""


@dataclass(frozen=True)
class AugmentationOptions(Options):
    """Random changes of the training samples."""

    augmentation: Literal["none", "event", "image"] = "none"
    """Random shifts of the channels and random scales of both axes of training samples, applied to events or images."""
    shift: Fraction = 0.1
    """Largest shift of the augmentation [fraction of the channels]."""
    scale: BelowOne = 0.3
    """Largest relative change of scale of the augmentation."""
    drop: BelowOne = 0.0
    """Largest fraction of events dropped at random from a training sample; requires augmentation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.augmentation == "none" and self.drop:
            raise ConfigError("--drop is a part of --augmentation, which is none. Choose event or image, or drop 0.")

    def augment(self) -> Augmentation | None:
        """Return the augmentation of training samples, if any."""
        if self.augmentation == "none":
            return None
        return Augmentation(self.augmentation, self.shift, self.scale, self.drop)


@dataclass(frozen=True)
class RegularisationOptions(Options):
    """Regularisation of activity and weights."""

    reg_thr: NonNegative = 0.0
    """Activity above which the activity regularisation applies [spikes per step and neuron]; 0: no regularisation."""
    reg_thr_r: NonNegative = 0.0
    """Like reg_thr, for the hidden spikes of recurrent parallel neurons."""
    smoothing: BelowOne = 0.0
    """Label smoothing of the training loss, 0 to below 1."""
    weight_decay: NonNegative = 0.0
    """L2 penalty of Adamax."""


@dataclass(frozen=True)
class TrainingOptions(Options):
    """Batches and length of the training."""

    batch: PositiveInt = 64
    """Samples per update."""
    pool: PositiveInt = 1
    """Number of batches whose samples are sorted by length together, for less padding; 1: no sorting."""
    epochs: PositiveInt = 200
    """Passes over the training samples."""
    average: BelowOne = 0.0
    """Decay per update of an exponential moving average of the weights, which is tested; 0: test the last weights."""


@dataclass(frozen=True)
class EvaluationOptions(Options):
    """Validation and test."""

    validation: Literal["none", "mixed", "speakers"] = "none"
    """Validation samples: none; mixed, a tenth of the training samples of each speaker and word; speakers, all samples
    of some speakers."""
    robustness: bool = False
    """Also test with randomly flipped bits, at signal-to-noise ratios of 0 to 20 dB."""


@dataclass(frozen=True)
class SpokenOptions(
    RasterOptions, HiddenLayerOptions, NeuronOptions, AugmentationOptions, RegularisationOptions, TrainingOptions,
    TimeLimitOptions, LearningRateOptions, EvaluationOptions, CheckpointOptions,
):  # fmt: skip
    """Options of all tasks on spoken words; the defaults are those of the SPSN paper."""

    lr: Positive = 0.001
    """Initial learning rate of Adamax."""
    lr_decay: Positive = 1.0
    lr_decay_every: PositiveInt = 25
    """Epochs between two decays of the learning rate."""
    validate_every: PositiveInt = 5
    """Epochs between two validations."""
    checkpoint_every: PositiveInt = 2
    """Epochs between two checkpoints."""
    select: Literal["best", "last"] = "last"
    """Weights to test: those of the last epoch, or those with the best validation accuracy."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_options(self.neuron, self)
        if self.select == "best" and self.validation == "none":
            raise ConfigError("--select best needs samples to choose by. Set --validation to mixed or speakers.")
        if self.reg_thr_r and (self.recurrent == "none" or self.neuron in ("LIF", "non_spiking")):
            raise ConfigError(
                "--reg-thr-r is for the hidden spikes of recurrent parallel neurons, which this network lacks. Set it "
                "to 0."
            )
        if self.reg_thr and self.neuron == "non_spiking":
            raise ConfigError("--reg-thr limits spikes, but the non_spiking network has none. Set it to 0.")
