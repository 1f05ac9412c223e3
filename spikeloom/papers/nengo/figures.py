"""Figures of the task `mnist_rate`. Imported only for plotting, since matplotlib is slow to load."""

import torch

from ...convert import Probe, present
from ...convert.converted import Converted
from ...core import Stateful
from ...neurons import rate_neurons
from ...plot.confusion import confusion
from ...plot.images import labelled
from ...plot.style import Array
from ...train.figures import plot_learning_curves, to_numpy
from ...train.run import Run
from .draw_digits import accuracy_over_steps, activity, answers_over_time
from .experiment import brightness, load, network, ordinary, spiking
from .options import Config

SAMPLED = 1_000
"""Number of neurons of the first layer in the activity figure."""


@torch.no_grad()
def draw(config: Config, run: Run) -> None:
    """Plot training digits, predictions for test digits over time, activity, accuracy over steps, learning curves."""
    images, labels = load("train", config, torch.device("cpu"))
    titles = [str(label) for label in labels[:3].tolist()]
    run.figure("training_digits", labelled(to_numpy(images[:3, 0]), titles), "The first training images.")
    charts = {
        "loss": {"training": "loss", "validation": "validation_loss"},
        "accuracy": {"training": "accuracy", "validation": "validation_accuracy"},
        "mean rate [Hz]": {f"layer {i + 1}": f"rate_{i + 1}" for i in range(2 if config.ann else 3)},
    }
    plot_learning_curves(run, "Learning MNIST as rates", charts, {})
    if (run.folder / "steps.json").exists():
        steps = run.read_json("steps.json")
        curves = steps.get("curves") or {"spikes": steps["accuracy"]}
        figure = accuracy_over_steps(curves, {"rates": steps["rate_accuracy"]})
        run.figure("accuracy_over_steps", figure, "Accuracy on test images if the answer is taken earlier.")
    if (run.folder / "confusion.json").exists():
        counts = torch.tensor(run.read_json("confusion.json")).numpy()
        run.figure("confusion", confusion(counts, title="Test images"), "Which digit is taken for which.")
    if not config.figures:
        return
    images, labels = (tensor[: config.figures] for tensor in load("test", config, run.device))
    if config.ann:
        conversions(config, run, images)
        return
    model = network(config, run)
    run.load_best(model=model)
    probe = Probe(tau_syn=config.tau_probe, debias=config.debias)
    probabilities = answers(config, run, spiking(config, model), images, probe, config.steps, "activity", "")
    figure = answers_over_time(to_numpy(images[:, 0]), probabilities, labels.tolist())
    caption = "Test images, and the softmax of the low-passed output over the time for which they are shown."
    run.figure("answers", figure, caption)


def conversions(config: Config, run: Run, images: torch.Tensor) -> None:
    """Plot the activity of the first layer of the converted network, for up to three conversions."""
    from .conversion import STEPS, WAYS, calibrated, walked

    model = ordinary(config, run).eval()
    run.load_best(model=model)
    for name, way in {"activity_scale_1": WAYS[0], "activity_scale_10": WAYS[6]}.items():
        suffix = f", scale {way.scale:g}" + (f", synapse {way.synapse:g} ms" if way.synapse else "")
        answers(config, run, walked(model, way), images, Probe(), way.steps, name, suffix)
    if (run.folder / "conversions.json").exists():
        suffix = f", thresholds at {run.read_json('conversions.json')[-1]['calibration']}"
        answers(config, run, calibrated(config, run, model), images, Probe(), STEPS, "activity_calibrated", suffix)


def answers(
    config: Config, run: Run, model: Stateful, images: torch.Tensor, probe: Probe, steps: int, name: str, suffix: str
) -> Array:
    """Return class probabilities [T, B, K] over time; plot the activity of the first layer for the first image."""
    path, first = next(iter(rate_neurons(model).items()))
    size = config.width * 26 * 26
    units = tuple(torch.randperm(size, generator=torch.Generator().manual_seed(0))[:SAMPLED].sort().values.tolist())
    result = present(
        model, brightness(images, config), steps, probes={"out": probe, "hidden": Probe(path, units=units)}
    )
    outputs = result.probes["out"]
    if isinstance(model, Converted) and "regular" not in {neuron.partner for neuron in rate_neurons(model).values()}:
        outputs = outputs.cumsum(0) / torch.arange(1, steps + 1, device=outputs.device).view(-1, 1, 1)
    probabilities: Array = to_numpy(outputs.softmax(-1))
    spikes = to_numpy(result.probes["hidden"][:, 0] / torch.as_tensor(first.height))
    title = "The first layer sees a digit" + suffix
    figure = activity(to_numpy(images[0, 0]), spikes, probabilities[:, 0], title=title)
    run.figure(name, figure, "Spikes of neurons drawn at random from the first layer, and the answer.")
    return probabilities
