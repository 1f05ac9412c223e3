"""Encoder of the task omniglot: its construction, pre-training, conversion to spikes, and cached spikes."""

from dataclasses import replace

from torch import Tensor, nn

from ...train.run import Run
from .encoders import ConvEncoder, PackedSpikes, SpikingConvEncoder
from .omniglot_episodes import Images
from .omniglot_options import Config
from .options import steps
from .pretraining import (
    PretrainingEpisodes,
    Schedule,
    borrow,
    calibrate,
    embed,
    phase,
    pretrain_prototypes,
    spikes,
    tell,
)

ALIKE = ("channels", "batch_norm", "conv_bias", "side", "resize", "hold_out", "validation_share")
"""Options that must be equal in a run whose encoder is reused."""
PHASE, TUNING = "encoder", "tuning"
"""Folders of pre-training and of fine-tuning with spikes, inside the run folder."""


def convolutions(config: Config, run: Run) -> ConvEncoder:
    """Build the encoder with rates, with weights drawn from the run's generator."""
    draws = run.generator("encoder", shared=True)
    encoder = ConvEncoder(config.channels, batch_norm=config.batch_norm, bias=config.conv_bias, generator=draws)
    return encoder.to(run.device)


def reference(config: Config, run: Run, plain: ConvEncoder) -> ConvEncoder:
    """Return the encoder as pre-trained, before conversion and further training; `plain` without pre-training."""
    if config.pretraining == "none":
        return plain
    encoder = convolutions(config, run)
    phase(run, PHASE).load_best(encoder=encoder)
    return encoder


def pretrain(config: Config, run: Run, encoder: ConvEncoder, images: Images, held: Images) -> None:
    """Pre-train the encoder or load it from another run, as the options say."""
    inner = phase(run, PHASE)
    if config.encoder_from:
        borrow(inner, config.encoder_from, encoder, config, ALIKE)
    elif config.pretraining != "none":
        schedule = Schedule(
            config.pretrain_updates, config.pretrain_lr, config.pretrain_decay, config.pretrain_decay_every,
            config.pretrain_validate_every, config.checkpoint_every,
        )  # fmt: skip
        tell(inner, "Pre-training the encoder.")
        sizes = sizes_of(config, images)
        pretrain_prototypes(inner, encoder, images.by_class, held.by_class, sizes, schedule)


def convert(config: Config, run: Run, encoder: SpikingConvEncoder, images: Images, held: Images) -> None:
    """Balance the thresholds of the pre-trained encoder, and fine-tune it with spikes if the options say so."""
    duration = steps(config, "item_ms")
    calibrate(
        phase(run, PHASE), encoder, images.pixels, duration, batches=config.calibration_batches,
        batch=config.calibration_batch, share=config.threshold_share,
    )  # fmt: skip
    if config.tune_updates:
        tell(run, "Training the encoder by its spikes.")
        sizes = replace(sizes_of(config, images), ways=config.tune_ways, validation_classes=config.tune_classes)
        schedule = Schedule(
            config.tune_updates, config.tune_lr, 0.5, max(1, config.tune_updates // 3), config.tune_validate_every,
            config.checkpoint_every,
        )  # fmt: skip
        pretrain_prototypes(phase(run, TUNING), encoder, images.by_class, held.by_class, sizes, schedule, duration)


def sizes_of(config: Config, images: Images) -> PretrainingEpisodes:
    """Return the sizes of the episodes of pre-training."""
    queries = min(15, images.drawings - config.pretrain_shots)
    return PretrainingEpisodes(
        config.pretrain_ways, config.pretrain_shots, config.pretrain_queries, 5, queries, config.pretrain_episodes
    )


def kept(config: Config, run: Run, encoder: nn.Module, images: Images, split: str) -> PackedSpikes | Tensor | None:
    """Return the spikes or features of all images; None if the encoder is still trained."""
    if not config.freeze_encoder and split != "evaluation":
        return None
    if isinstance(encoder, SpikingConvEncoder):
        return spikes(phase(run, PHASE), encoder, images.pixels, steps(config, "item_ms"), split)
    assert isinstance(encoder, ConvEncoder)
    return embed(encoder, images.pixels, run.device)
