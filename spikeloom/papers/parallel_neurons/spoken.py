"""Code shared by the tasks on spoken words as spikes: network, training, evaluation, figures.

    raster [T, B, channels] -> ParallelNetwork -> logits per sample;  loss = cross entropy + activity regularisation

Samples of a batch end at different steps; steps after the end of a sample are masked out.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...data.batches import Batches, in_order
from ...data.fsdd import split_mixed, split_speakers
from ...data.spike_trains import Augmentation, Batch, SpikeTrains, flip, raster
from ...layers import activity_cost, answer
from ...train import metrics
from ...train.run import Run
from ...train.schedule import set_learning_rate, step_decay, time_limit
from ...train.step import descend
from ...train.supervised import fit
from .network import ParallelActivity, ParallelNetwork
from .options import SpokenOptions

SNR = (0, 5, 10, 15, 20)
"""Signal-to-noise ratios of the robustness test [dB]."""
REPEATS = 5
FOUR = {
    "LIF": ("lif", "lif_aug", None),
    "SB": ("sb", "sb_aug", "sb_aug_reg"),
    "GS": ("gs", "gs_aug", "gs_aug_reg"),
    "non-spiking": ("non_spiking", "non_spiking_aug", None),
}
"""Table of the SPSN paper: presets by row, in the order of `COLUMNS`."""
COLUMNS = ("basic", "augmented", "augmented, activity limited")


class SpokenSplits(NamedTuple):
    """Samples of a task; `validation` may be None."""

    training: SpikeTrains
    validation: SpikeTrains | None
    test: SpikeTrains


def network(options: SpokenOptions, run: Run, channels: int, classes: int) -> ParallelNetwork:
    """Build the network of these options, with weights drawn from the run's generator."""
    model = ParallelNetwork(
        channels, options.hidden, classes, layers=options.layers, neuron=options.neuron, options=options,
        dt=options.window, memory=options.memory, generator=run.generator("weights", shared=True),
        noise=run.generator("firing"),
    )  # fmt: skip
    return model.to(run.device)


def train(options: SpokenOptions, run: Run, splits: SpokenSplits) -> None:
    """Train, with validation if there are validation samples."""
    training = splits.training
    model = network(options, run, training.channels, len(training.classes))
    tested = network(options, run, training.channels, len(training.classes)) if options.average else model
    optimizer = torch.optim.Adamax(model.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    batches = Batches(
        len(training), options.batch, run.generator("batches", shared=True), run.rank, run.world,
        lengths=torch.from_numpy(training.durations), pool=options.pool,
    )  # fmt: skip
    augment = options.augment()
    epoch = -(-len(training) // (options.batch * run.world))
    averaged = {"averaged": tested} if options.average else {}

    def step(finished: int) -> dict[str, float]:
        lr = step_decay(finished // epoch, options.lr, options.lr_decay, options.lr_decay_every)
        set_learning_rate(optimizer, lr)
        model.train()
        batch = show(options, training, batches.next(), augment, run.generator("augmentation"), run.device)
        activity, _ = model(batch.spikes)
        logits = answer(activity.logits, options.loss, batch.valid)
        loss = cross_entropy(logits, batch.labels, label_smoothing=options.smoothing)
        values = {"accuracy": metrics.accuracy(logits, batch.labels), "lr": lr, "epoch": float(finished // epoch)}
        if options.reg_thr:
            loss = loss + activity_cost(activity.spikes, options.reg_thr, batch.valid)
        if options.reg_thr_r:
            loss = loss + activity_cost(activity.hidden, options.reg_thr_r, batch.valid)
        descend(loss, optimizer, model)
        if options.average:
            new = max(1.0 - options.average, 1.0 / (finished + 1))  # the plain mean at first
            with torch.no_grad():
                torch._foreach_lerp_(list(tested.parameters()), list(model.parameters()), new)
        return {"loss": loss.item(), **values, **firing(activity, batch.valid)}

    def validate(finished: int) -> dict[str, float]:
        assert splits.validation is not None
        outputs = answers(options, tested, splits.validation, run.device)
        return {
            "validation_accuracy": metrics.accuracy(outputs.answers, outputs.labels),
            "validation_loss": float(cross_entropy(outputs.answers, outputs.labels)),
        }

    fit(
        run,
        parts={"model": model, "optimizer": optimizer, "batches": batches, **averaged},
        updates=options.epochs * epoch,
        step=step,
        validate=validate if splits.validation is not None else None,
        validate_every=options.validate_every * epoch,
        checkpoint_every=options.checkpoint_every * epoch,
        stop=time_limit(options.minutes, run),
        best="validation_accuracy" if options.select == "best" else None,
        better="higher",
    )


def evaluate(options: SpokenOptions, run: Run, splits: SpokenSplits, data: list[Any]) -> dict[str, float]:
    """Return the accuracy of the selected weights on all test samples; write confusion.json and activity.json."""
    trains = splits.test
    model = network(options, run, trains.channels, len(trains.classes))
    update = load(options, run, model)
    outputs = answers(options, model, trains, run.device)
    counts = torch.zeros(len(trains.classes), len(trains.classes), dtype=torch.int64)
    counts.index_put_((outputs.labels, outputs.answers.argmax(-1)), torch.ones_like(outputs.labels), accumulate=True)
    run.write_json("confusion.json", counts.tolist())
    run.write_json("activity.json", costs(options, trains, outputs, data))
    values = {"accuracy": metrics.accuracy(outputs.answers, outputs.labels)}
    if splits.validation is not None:
        held_out = answers(options, model, splits.validation, run.device)
        values["validation_accuracy"] = metrics.accuracy(held_out.answers, held_out.labels)
    values |= {"update": float(update), "test_samples": float(len(trains))}
    values |= {f"spikes_per_step_{i + 1}": rate for i, rate in enumerate(outputs.rates)}
    if options.robustness:
        for snr in SNR:
            scores = []
            for _ in range(REPEATS):
                noisy = answers(options, model, trains, run.device, snr, run.generator("flips"))
                scores.append(metrics.accuracy(noisy.answers, noisy.labels))
            values[f"accuracy_{snr}_db"] = float(np.mean(scores))
            values[f"accuracy_{snr}_db_sd"] = float(np.std(scores, ddof=1))
    return values


def load(options: SpokenOptions, run: Run, model: ParallelNetwork) -> int:
    """Load the weights to test; return their update."""
    return run.load_best(**{"averaged" if options.average else "model": model})


class Tested(NamedTuple):
    """Outputs of a network for many samples, with its activity."""

    answers: Tensor  # [N, K], logits
    labels: Tensor  # [N]
    rates: list[float]  # spikes per valid step and neuron, for each layer
    input_rate: float  # events per valid step and channel
    steps: float  # mean length of a sample


@torch.no_grad()
def answers(
    options: SpokenOptions,
    model: ParallelNetwork,
    trains: SpikeTrains,
    device: torch.device,
    snr: float | None = None,
    generator: torch.Generator | None = None,
) -> Tested:
    """Run the network on all samples, with flipped bits if `snr` [dB] is given."""
    model.eval()
    logits, labels, fired, events, steps = [], [], np.zeros(len(model.neurons)), 0.0, 0.0
    for indices in in_order(len(trains), 64):
        batch = show(options, trains, indices, None, None, device)
        spikes = batch.spikes
        if snr is not None and generator is not None:
            spikes = flip(spikes, snr, generator, batch.lengths)
        activity, _ = model(spikes)
        logits.append(answer(activity.logits, options.loss, batch.valid).cpu())
        labels.append(batch.labels.cpu())
        weight = float(batch.lengths.sum())
        fired += weight * np.array([float(rate) for rate in rates(activity.spikes, batch.valid)])
        events += float(spikes.sum()) / trains.channels
        steps += weight
    return Tested(torch.cat(logits), torch.cat(labels), (fired / steps).tolist(), events / steps, steps / len(trains))


def show(
    options: SpokenOptions,
    trains: SpikeTrains,
    indices: Tensor,
    augment: Augmentation | None,
    generator: torch.Generator | None,
    device: torch.device,
) -> Batch:
    """Return the raster of the samples with these indices, on the device."""
    batch = raster(
        trains, indices, window=options.window, rounding=options.rounding, augment=augment,
        generator=None if augment is None else generator,
    )  # fmt: skip
    return Batch(*(tensor.to(device) for tensor in batch))


def rates(layers: tuple[Tensor, ...], valid: Tensor) -> list[Tensor]:
    """Return the spikes per valid step and neuron of each layer."""
    weights = valid.flatten().float()
    return [(weights @ layer.detach().flatten(0, 1)).mean() / weights.sum() for layer in layers]


def firing(activity: ParallelActivity, valid: Tensor) -> dict[str, float]:
    """Return the spikes per valid step and neuron of each layer, for the log."""
    return {f"spikes_{i + 1}": float(rate) for i, rate in enumerate(rates(activity.spikes, valid))}


def costs(options: SpokenOptions, trains: SpikeTrains, outputs: Tested, data: list[Any]) -> dict[str, Any]:
    """Return activity.json: sizes, synapses and rates [Hz] of each layer; the rate of an analog signal is None."""
    hertz = 1000.0 / options.window
    spiking = options.neuron != "non_spiking"
    sizes = [trains.channels, *[options.hidden] * options.layers]
    input_rates = [outputs.input_rate, *outputs.rates]
    layers = []
    for i in range(options.layers):
        layer = {
            "name": f"hidden {i + 1}", "neurons": sizes[i + 1], "inputs": sizes[i],
            "rate_hz": outputs.rates[i] * hertz if spiking else None,
            "input_rate_hz": input_rates[i] * hertz if spiking or i == 0 else None, "synapses": sizes[i] * sizes[i + 1],
        }  # fmt: skip
        if options.recurrent != "none":
            extra = options.hidden**2
            layer |= {"recurrent_synapses": extra, "synapses": sizes[i] * sizes[i + 1] + extra}
        layers.append(layer)
    classes = len(trains.classes)
    readout = {
        "name": "readout", "neurons": classes, "inputs": options.hidden, "rate_hz": None,
        "input_rate_hz": input_rates[-1] * hertz if spiking else None, "synapses": options.hidden * classes,
    }  # fmt: skip
    return {"dt_ms": options.window, "steps": round(outputs.steps), "layers": [*layers, readout], "data": data}


@torch.no_grad()
def plot(options: SpokenOptions, run: Run, splits: SpokenSplits, title: str) -> None:
    """Plot a sample through all layers, learning curves, rates and, after a test, confusion matrix and robustness."""
    from ...plot.bars import robustness
    from ...plot.confusion import confusion
    from ...plot.raster import Rows, layered, rate_histogram
    from ...plot.style import CYCLE
    from ...train.figures import plot_learning_curves, to_numpy

    trains = splits.test
    model = network(options, run, trains.channels, len(trains.classes)).eval()
    load(options, run, model)
    batch = show(options, trains, torch.arange(min(64, len(trains))), None, None, run.device)
    activity, _ = model(batch.spikes)
    first = int(batch.lengths[0])
    spiking = options.neuron != "non_spiking"
    layers = activity.spikes if spiking else ()
    groups = [Rows("input", to_numpy(batch.spikes[:first, 0] > 0))]
    groups += [
        Rows(f"layer {i + 1}", to_numpy(layer[:first, 0] > 0), CYCLE[i % len(CYCLE)]) for i, layer in enumerate(layers)
    ]
    predicted = trains.classes[int(answer(activity.logits, options.loss, batch.valid)[0].argmax())]
    word = trains.classes[int(batch.labels[0])]
    run.figure(
        "spikes", layered(groups, options.window, f"A test sample, “{word}”, answered “{predicted}”"), "Its spikes."
    )
    charts = {
        "loss": {"training": "loss", "validation": "validation_loss"},
        "accuracy": {"training": "accuracy", "validation": "validation_accuracy"},
    }
    if spiking:
        charts["spikes per step"] = {f"layer {i + 1}": f"spikes_{i + 1}" for i in range(options.layers)}
    plot_learning_curves(run, title, charts, {"accuracy": {"chance": 1 / len(trains.classes)}})
    if spiking:
        weights = batch.valid.flatten().float()
        hertz = {
            f"layer {i + 1}": to_numpy(weights @ layer.flatten(0, 1) / weights.sum() * (1000 / options.window))
            for i, layer in enumerate(layers)
        }
        run.figure(
            "rates", rate_histogram(hertz), f"Firing rates of the neurons over {len(batch.labels)} test samples."
        )
    if (run.folder / "confusion.json").exists():
        counts = torch.tensor(run.read_json("confusion.json")).numpy()
        run.figure("confusion", confusion(counts, trains.classes, "Test samples"), "Which word is taken for which.")
    if options.robustness and (run.folder / "result.json").exists():
        values = run.read_json("result.json")["test"]
        curve = [(values[f"accuracy_{snr}_db"], values[f"accuracy_{snr}_db_sd"]) for snr in SNR]
        means, spreads = (
            100 * np.array([clean, *flipped])
            for clean, flipped in zip((values["accuracy"], 0.0), zip(*curve, strict=True), strict=True)
        )
        figure = robustness([np.inf, *SNR], {options.neuron: (means, spreads)})
        run.figure("robustness", figure, f"Accuracy with flipped bits; shaded: standard deviation of {REPEATS} draws.")


def rows(start: Any, augmentation: str) -> dict[str, Any]:
    """Return the ten rows of the table of the SPSN paper as presets."""
    augmented = {"augmentation": augmentation}
    return {
        "lif": replace(start, neuron="LIF"),
        "lif_aug": replace(start, neuron="LIF", **augmented),
        "sb": replace(start, neuron="SB"),
        "sb_aug": replace(start, neuron="SB", **augmented),
        "sb_aug_reg": replace(start, neuron="SB", reg_thr=0.4, **augmented),
        "gs": replace(start, neuron="GS"),
        "gs_aug": replace(start, neuron="GS", **augmented),
        "gs_aug_reg": replace(start, neuron="GS", reg_thr=0.1, **augmented),
        "non_spiking": replace(start, neuron="non_spiking"),
        "non_spiking_aug": replace(start, neuron="non_spiking", **augmented),
    }


def split(
    options: SpokenOptions, training: SpikeTrains, test: SpikeTrains, held_out: list[int], run: Run
) -> SpokenSplits:
    """Split off the validation samples of the options; every call returns the same ones."""
    if options.validation == "none":
        return SpokenSplits(training, None, test)
    if options.validation == "speakers":
        kept, aside = split_speakers(training.speakers, held_out)
    else:
        draw = run.fresh().generator("validation split", shared=True)
        kept, aside = split_mixed(training.labels, training.speakers, 0.1, draw)
    return SpokenSplits(training.select(kept), training.select(aside), test)
