"""Options of the task omniglot."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from ...data.omniglot import HoldOut, Resize
from ...errors import ConfigError
from ...train.parts import (
    CheckpointOptions,
    LearningRateOptions,
    NonNegative,
    NonNegativeInt,
    Options,
    Positive,
    PositiveInt,
    TimeLimitOptions,
)
from .options import (
    BatchOptions,
    DataSeedOptions,
    EmbeddingOptions,
    EncoderOptions,
    LateRateCostOptions,
    check_normalise,
)


@dataclass(frozen=True)
class PretrainingOptions(EncoderOptions):
    """Pre-training of the encoder, as a prototypical network."""

    pretraining: Literal["prototypes", "none"] = "prototypes"
    """Pre-training of the encoder, as a prototypical network; none: untrained, with the threshold of other neurons."""
    pretrain_updates: PositiveInt = 10_000
    """Number of pre-training updates, one episode each."""
    pretrain_ways: PositiveInt = 60
    """Classes per pre-training episode."""
    pretrain_shots: PositiveInt = 1
    """Drawings per class for its prototype in pre-training."""
    pretrain_queries: PositiveInt = 5
    """Drawings per class to be classified in pre-training."""
    pretrain_decay_every: PositiveInt = 2_000
    """Updates between two decays."""
    pretrain_validate_every: PositiveInt = 100
    """Updates between two validations of pre-training (5 classes, 15 queries each)."""
    pretrain_episodes: PositiveInt = 200
    """Episodes per validation of pre-training, the same in every validation."""


@dataclass(frozen=True)
class TuningOptions(Options):
    """Fine-tuning of the encoder with spikes."""

    tune_updates: NonNegativeInt = 0
    """Number of fine-tuning updates of the encoder with spikes, before the memory is trained."""
    tune_ways: PositiveInt = 20
    """Classes per episode of fine-tuning; the other sizes are those of pre-training."""
    tune_lr: Positive = 0.001
    """Initial learning rate of fine-tuning; it decays to a quarter in two steps."""
    tune_validate_every: PositiveInt = 50
    """Updates between two validations of fine-tuning."""
    tune_classes: NonNegativeInt = 100
    """Classes of the validation of fine-tuning; 0: all."""


@dataclass(frozen=True)
class Config(
    LearningRateOptions, CheckpointOptions, DataSeedOptions, PretrainingOptions, TuningOptions, EmbeddingOptions,
    LateRateCostOptions, BatchOptions, TimeLimitOptions,
):  # fmt: skip
    model: Literal["spiking", "relu", "frozen", "protonet"] = "spiking"
    """Network: spiking, with a Hebbian memory; relu, its rate version; frozen, with a memory that stays at zero;
    protonet, without memory, the nearest prototype by features of the encoder."""
    ways: PositiveInt = 5
    """Number of characters per episode."""
    side: Annotated[int, Interval(ge=16, le=105)] = 28
    """Height and width of the images [pixels]."""
    resize: Resize = "nearest"
    """Downsampling of the images from 105 x 105 pixels; ink: 1 where there is any ink."""
    turns: Annotated[int, Interval(ge=1, le=4)] = 4
    """Number of orientations (quarter turns) used as separate classes; 1: upright only."""
    hold_out: HoldOut = "alphabets"
    """Validation classes: whole background alphabets, or characters of each of them."""
    encoder_from: str = ""
    """Folder of a run whose pre-trained encoder is reused; empty: train one."""
    freeze_encoder: bool = False
    """Do not train the encoder together with the memory; spikes of an image are then computed once."""
    encoder_refractory: NonNegative = 3.0
    """Refractory period of the neurons of the encoder [ms]."""
    label_gain: Positive = 1.0
    """Factor of the input currents of the label encoder."""
    initial: Literal["paper", "aligned", "centred"] = "paper"
    """Initial weights: paper, independent; aligned, equal key weights for writing and reading; centred, in addition the
    weights of each key sum to zero, so that keys respond to differences between images."""
    key_gain: Positive = 1.0
    """Factor of the initial weights onto keys."""
    threshold: Positive = 0.1
    """Firing threshold of the neurons of the memory and of the pixels."""
    validation_episodes: PositiveInt = 2_000
    """Number of validation episodes, the same in every validation."""
    test_episodes: PositiveInt = 10_000
    """Number of test episodes."""
    run_episodes: NonNegativeInt = 10
    """Number of test episodes per drawing of the one-shot runs of Lake et al., with characters of the same alphabet; 0:
    none."""
    embedding: PositiveInt = 64
    updates: PositiveInt = 40_000
    lr: Positive = 0.001
    lr_decay_every: PositiveInt = 4_000
    validate_every: PositiveInt = 200
    rate_cost: NonNegative = 1e-6
    rate_cost_after: NonNegativeInt = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        trained = self.pretraining != "none"
        check_normalise(self, self.normalise)
        if self.spikes and self.batch_norm:
            raise ConfigError("An encoder with batch_norm cannot spike. Switch it off, or choose relu or protonet.")
        if self.spikes and self.conv_bias and trained:
            raise ConfigError('A converted encoder has no biases. Switch conv_bias off, or choose pretraining "none".')
        if not trained and (self.encoder_from or self.model == "protonet"):
            raise ConfigError('encoder_from and the model protonet need a pre-trained encoder, not pretraining "none".')
        if self.tune_updates and not (self.spikes and trained):
            raise ConfigError(
                f'tune_updates are for an encoder in spikes that was pre-trained, but model is "{self.model}" and '
                f'pretraining "{self.pretraining}". Choose tune_updates 0.'
            )
        if self.freeze_encoder and not trained:
            raise ConfigError(
                "A frozen encoder that was never trained is of no use. Use another --pretraining, or "
                "--no-freeze-encoder."
            )
        if self.learn_thresholds and (self.freeze_encoder or not self.spikes):
            raise ConfigError("learn_thresholds is for an encoder in spikes that is not frozen.")
