"""Figures of the tasks of unsupervised learning. Imported only for plotting, since matplotlib is slow to load."""

import torch
from torch import Tensor

from ...core import record
from ...encoding.events import sequence_of
from ...plot.confusion import confusion
from ...plot.raster import Rows, layered
from ...plot.style import CYCLE
from ...train.figures import to_numpy
from ...train.run import Run
from .draw_fields import NAMED, accuracy_curve, assignments, input_image, receptive_fields, spikes_per_neuron
from .draw_voltages import Membrane, voltages
from .network import DiehlCookNetwork
from .options import STDPOptions
from .samples import Source, Splits, encoder
from .setup import Known, network
from .votes import VOTES


@torch.no_grad()
def draw(options: STDPOptions, run: Run, splits: Splits, published: dict[str, float]) -> None:
    """Plot receptive fields, labels, accuracy in training, spikes per interval, test samples in detail, confusions."""
    net = network(options, run, splits.training.size, done=1.0).eval()
    known = Known(options.n_neurons, len(splits.classes))
    run.load_best(network=net, known=known)
    names = known.assignment().labels
    if (run.folder / "names.json").exists():
        names = torch.tensor(run.read_json("names.json")["labels"])
    fields = to_numpy(net.weight.contiguous().view(-1, *splits.shape))
    figure = receptive_fields(fields, float(fields.max()), to_numpy(names))
    run.figure("receptive_fields", figure, about_fields(options.n_neurons))
    run.figure("assignments", assignments(to_numpy(names), splits.classes), "What each neuron answers to, same places.")
    lines = run.metrics()
    curves = {name: [line[f"accuracy_{name}"] for line in lines] for name in VOTES}
    if lines:
        figure = accuracy_curve([line["samples"] for line in lines], curves, published)
        caption = (
            "Training samples of each interval, read out with what was known before it. Labels only name neurons here; "
            "“accuracy logistic” of the result is that of a linear read-out, which learns from labels (supervised)."
        )
        run.figure("accuracy", figure, caption)
        run.figure("spikes_per_neuron", spikes_per_neuron(to_numpy(known.spikes)), "While learning.")
    for name, title in {"confusion": "Test samples", "training_confusion": "Training samples"}.items():
        if (run.folder / f"{name}.json").exists():
            counts = torch.tensor(run.read_json(f"{name}.json")).numpy()
            run.figure(name, confusion(counts, splits.classes, title), "Which class is taken for which.")
    for number in range(min(options.figures, len(splits.test.labels))):
        sample(options, run, net, splits, number)


def sample(options: STDPOptions, run: Run, net: DiehlCookNetwork, splits: Splits, number: int) -> None:
    """Plot one test sample: the input, the spikes of all layers, voltages with thresholds."""
    xs = input_spikes(splits.test, number, run, net)
    label = splits.classes[int(splits.test.labels[number])]
    picture = to_numpy(xs.sum((0, 1)).view(splits.shape))
    run.figure(f"input_{number + 1}", input_image(picture, f"A test sample, “{label}”"), "Spikes of each input.")
    _, states = record(net.step, xs, net.initial_state(xs[0], options.gain_test or options.gain))
    groups = [Rows("input", to_numpy(xs[:, 0] > 0)), Rows("excitatory", to_numpy(states.spikes[:, 0] > 0), CYCLE[0])]
    fired, thresholds = states.spikes[:, 0], net.neurons.threshold + states.neurons.homeostasis
    moved = to_numpy(states.neurons.voltage[:, 0])
    membranes = [Membrane("excitatory", moved, to_numpy(thresholds), to_numpy(fired))]
    if net.inhibitory is not None:
        fired, moved = to_numpy(states.inhibited[:, 0]), to_numpy(states.inhibitory.voltage[:, 0])
        groups.append(Rows("inhibitory", fired > 0, CYCLE[1]))
        membranes.append(Membrane("inhibitory", moved, net.inhibitory.threshold, fired))
    title = f"A test sample, “{label}”"
    run.figure(f"spikes_{number + 1}", layered(groups, options.dt, title), "Spikes of all layers.")
    caption = "Voltages of the neurons that spiked most, and their thresholds."
    run.figure(f"voltages_{number + 1}", voltages(membranes, options.dt, title=title), caption)


def input_spikes(source: Source, number: int, run: Run, net: DiehlCookNetwork) -> Tensor:
    """Return the input spikes of a sample, [T, 1, I]."""
    events = encoder(source, torch.tensor([number]), run.generator("figures"))(torch.arange(1), 0)
    return sequence_of(events, 1, source.size).to(net.weight)


def about_fields(neurons: int) -> str:
    """Return the caption of receptive fields; with too many neurons, there are no labels in the figure."""
    return "The weights onto each neuron" + ("; corner: what it answers to." if neurons <= NAMED else ".")


def live(run: Run, net: DiehlCookNetwork, shape: tuple[int, ...], known: Known) -> None:
    """Plot the current receptive fields."""
    fields = net.weight.view(-1, *shape).cpu().numpy()
    title = f"Receptive fields after {known.presented:,} samples"
    figure = receptive_fields(fields, float(fields.max()), known.assignment().labels.numpy(), title)
    run.figure("receptive_fields", figure, about_fields(len(fields)))
