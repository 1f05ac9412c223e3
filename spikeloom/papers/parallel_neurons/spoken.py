"""Code shared by the tasks on spoken words as spikes: options, network, training, evaluation, figures.

    raster [T, B, channels] -> ParallelNetwork -> logits per sample;  loss = cross entropy + activity regularisation

Samples of a batch end at different steps; steps after the end of a sample are masked out.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...data.batches import Batches, in_order
from ...data.fsdd import split_mixed, split_speakers
from ...data.spike_trains import Augmentation, Batch, SpikeTrains, flip, raster
from ...errors import ConfigError, check_positive
from ...layers import activity_cost, answer
from ...train import metrics
from ...train.run import Run
from ...train.schedule import set_learning_rate, step_decay, time_limit
from ...train.step import descend
from ...train.supervised import fit
from .network import NeuronOptions, ParallelActivity, ParallelNetwork

Neuron = Literal["LIF", "non_spiking", "SB", "GS", "TRB", "T", "ST", "TT", "TRT", "D", "SD", "TD", "TRD"]
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


@dataclass(frozen=True)
class SpokenOptions:
    """Options of all tasks on spoken words; the defaults are those of the SPSN paper."""

    neuron: Neuron = "SB"
    """Neuron model of the hidden layers; LIF: sequential baseline; non_spiking: rectified units without memory;
    the others: firing functions of parallel neurons (ParaLIF)."""
    layers: int = 3
    """Number of hidden layers."""
    hidden: int = 128
    """Neurons per hidden layer."""
    tau_mem: float = 20.0
    """Membrane time constant [ms]; 0: no filter."""
    tau_syn: float = 20.0
    """Synaptic time constant [ms]; 0: no filter."""
    learn_tau: bool = False
    """Learn tau_mem and tau_syn, one pair per layer."""
    threshold: float = 0.0
    """Firing threshold; 0: 0.1 for neurons that fire on differences (D, SD, TD, TRD), else 1; SB, GS, TRB have none."""
    learn_threshold: bool = False
    """Learn a threshold per neuron."""
    refractory: float = 0.0
    """Refractory period of LIF neurons, during which the voltage stays 0 [ms]."""
    recurrent: Literal["none", "spikes", "voltage"] = "none"
    """Recurrent input of a layer: none, its spikes, or its rectified voltages."""
    surrogate: Literal["fast_sigmoid", "arctan"] = "fast_sigmoid"
    """Surrogate gradient of spikes at a threshold."""
    steepness: float = 0.0
    """Steepness of the surrogate gradient; 0: 100 for fast_sigmoid, 2 for arctan."""
    integration: Literal["kernel", "scan", "toeplitz", "fft"] = "kernel"
    """Algorithm that integrates the membrane of parallel neurons; all give the same result."""
    evaluation: Literal["sample", "mean", "threshold"] = "sample"
    """Output of random neurons in evaluation: sample, random spikes; mean, their probability; threshold, a spike if
    their probability is above one half."""
    p_max: float = 1.0
    """Largest spike probability of random neurons."""
    temperature: float = 1.0
    """Temperature of the Gumbel-softmax (GS)."""
    weighted: float = 1.0
    """Gradient of SB and TRB; 1: as in SPSN; 0: straight-through."""
    loss: Literal["last", "max", "mean", "cumsum"] = "mean"
    """Reduction of the readout of all steps to one prediction."""
    reg_thr: float = 0.0
    """Activity above which the activity regularisation applies [spikes per step and neuron]; 0: no regularisation."""
    reg_thr_r: float = 0.0
    """Like reg_thr, for the hidden spikes of recurrent parallel neurons."""
    augmentation: Literal["none", "event", "image"] = "none"
    """Random shifts of the channels and random scales of both axes of training samples, applied to events or images."""
    shift: float = 0.1
    """Largest shift of the augmentation [fraction of the channels]."""
    scale: float = 0.3
    """Largest relative change of scale of the augmentation."""
    drop: float = 0.0
    """Largest fraction of events dropped at random from a training sample; requires augmentation."""
    smoothing: float = 0.0
    """Label smoothing of the training loss, 0 to below 1."""
    window: float = 1.0
    """Length of a time step [ms]."""
    rounding: Literal["floor", "ceil"] = "floor"
    """Time step of an event: floor, the step it lies in; ceil, the next one (as in SPSN)."""
    batch: int = 64
    """Samples per update."""
    pool: int = 1
    """Number of batches whose samples are sorted by length together, for less padding; 1: no sorting."""
    epochs: int = 200
    """Passes over the training samples."""
    minutes: float = 0.0
    """Time limit of training [min]; 0: none. The result then depends on the machine: prefer `epochs`."""
    lr: float = 0.001
    """Initial learning rate of Adamax."""
    lr_decay: float = 1.0
    """Factor of the learning rate at each decay."""
    lr_decay_every: int = 25
    """Epochs between two decays of the learning rate."""
    average: float = 0.0
    """Decay per update of an exponential moving average of the weights, which is tested; 0: test the last weights."""
    weight_decay: float = 0.0
    """L2 penalty of Adamax."""
    validation: Literal["none", "mixed", "speakers"] = "none"
    """Validation samples: none; mixed, a tenth of the training samples of each speaker and word; speakers, all samples
    of some speakers."""
    validate_every: int = 5
    """Epochs between two validations."""
    checkpoint_every: int = 2
    """Epochs between two checkpoints."""
    select: Literal["last", "best"] = "last"
    """Weights to test: those of the last epoch, or those with the best validation accuracy."""
    robustness: bool = False
    """Also test with randomly flipped bits, at signal-to-noise ratios of 0 to 20 dB."""
    memory: Literal["fast", "lean"] = "fast"
    """Memory for the backward pass: fast stores intermediate values, lean recomputes most of them."""


class SpokenSplits(NamedTuple):
    """Samples of a task; `validation` may be None."""

    training: SpikeTrains
    validation: SpikeTrains | None
    test: SpikeTrains


def check(options: SpokenOptions) -> None:
    """Raise ConfigError if options contradict each other or are out of range."""
    check_positive("The task", window=options.window, batch=options.batch, pool=options.pool, epochs=options.epochs)
    step_decay(0, options.lr, options.lr_decay, options.lr_decay_every)
    if options.select == "best" and options.validation == "none":
        raise ConfigError('select "best" needs samples to choose by. Set validation to mixed or speakers.')
    if min(options.reg_thr, options.reg_thr_r) < 0.0 or options.weight_decay < 0.0:
        raise ConfigError(
            f"reg_thr, reg_thr_r and weight_decay must not be negative, but are {options.reg_thr}, {options.reg_thr_r} "
            f"and {options.weight_decay}."
        )
    if options.reg_thr_r and (options.recurrent == "none" or options.neuron in ("LIF", "non_spiking")):
        raise ConfigError("reg_thr_r is for the hidden spikes of recurrent parallel neurons, which this network lacks.")
    if options.reg_thr and options.neuron == "non_spiking":
        raise ConfigError("reg_thr limits spikes, but the non_spiking network has none. Set it to 0.")
    if not (0.0 <= options.smoothing < 1.0 and 0.0 <= options.average < 1.0):
        raise ConfigError(
            f"smoothing and average are shares from 0 to below 1, but are {options.smoothing} and {options.average}."
        )
    if options.augmentation == "none" and options.drop:
        raise ConfigError("drop is a part of augmentation, which is none. Choose event or image, or set drop to 0.")
    if options.augmentation != "none":
        Augmentation(options.augmentation, options.shift, options.scale, options.drop)


def network(options: SpokenOptions, run: Run, channels: int, classes: int) -> ParallelNetwork:
    """Build the network of these options, with weights drawn from the run's generator."""
    neuron = NeuronOptions(
        tau_mem=options.tau_mem, tau_syn=options.tau_syn, learn_tau=options.learn_tau, threshold=options.threshold,
        learn_threshold=options.learn_threshold, refractory=options.refractory, recurrent=options.recurrent,
        surrogate=options.surrogate, steepness=options.steepness, integration=options.integration,
        evaluation=options.evaluation, p_max=options.p_max, temperature=options.temperature, weighted=options.weighted,
        dt=options.window, memory=options.memory,
    )  # fmt: skip
    model = ParallelNetwork(
        channels, options.hidden, classes, layers=options.layers, neuron=options.neuron, options=neuron,
        generator=run.generator("weights", shared=True), noise=run.generator("firing"),
    )  # fmt: skip
    return model.to(run.device)


def train(options: SpokenOptions, run: Run, splits: SpokenSplits) -> None:
    """Train, with validation if there are validation samples."""
    check(options)
    training = splits.training
    model = network(options, run, training.channels, len(training.classes))
    tested = network(options, run, training.channels, len(training.classes)) if options.average else model
    optimizer = torch.optim.Adamax(model.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    batches = Batches(
        len(training), options.batch, run.generator("batches", shared=True), run.rank, run.world,
        lengths=torch.from_numpy(training.durations), pool=options.pool,
    )  # fmt: skip
    augment = None
    if options.augmentation != "none":
        augment = Augmentation(options.augmentation, options.shift, options.scale, options.drop)
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
    check(options)
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
    chosen: Tensor,
    augment: Augmentation | None,
    generator: torch.Generator | None,
    device: torch.device,
) -> Batch:
    """Return the raster of the samples with these indices, on the device."""
    batch = raster(
        trains, chosen, window=options.window, rounding=options.rounding, augment=augment,
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


def costs(options: SpokenOptions, trains: SpikeTrains, found: Tested, data: list[Any]) -> dict[str, Any]:
    """Return activity.json: sizes, synapses and rates [Hz] of each layer; the rate of an analog signal is None."""
    hertz = 1000.0 / options.window
    spiking = options.neuron != "non_spiking"
    sizes = [trains.channels, *[options.hidden] * options.layers]
    input_rates = [found.input_rate, *found.rates]
    layers = []
    for i in range(options.layers):
        layer = {
            "name": f"hidden {i + 1}", "neurons": sizes[i + 1], "inputs": sizes[i],
            "rate_hz": found.rates[i] * hertz if spiking else None,
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
    return {"dt_ms": options.window, "steps": round(found.steps), "layers": [*layers, readout], "data": data}


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
    lines = len(run.metrics())
    plot_learning_curves(
        run, title, charts, {"accuracy": {"chance": 1 / len(trains.classes)}}, smooth=max(lines // 60, 1)
    )
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
