"""Figures of the task `mnist_rate`. Imported when it plots: matplotlib is slow to load."""

import torch

from ..convert import Probe, present, set_scale, to_spiking
from ..core import Stateful
from ..neurons import rate_neurons
from ..plot.confusion import confusion
from ..plot.digits import accuracy_over_steps, activity, answers_over_time, labelled
from ..train.run import Run
from ._figures import learning, numbers
from .mnist_rate import Config, brightness, load, network

SAMPLED = 1_000
"""Neurons of the first layer in the figure of the activity."""


@torch.no_grad()
def draw(config: Config, run: Run) -> None:
    """Training digits, test digits with the answer over time, activity, accuracy over steps, learning curves."""
    images, labels = load("train", config, torch.device("cpu"))
    titles = [str(label) for label in labels[:3].tolist()]
    run.figure("training_digits", labelled(numbers(images[:3, 0]), titles), "The first training images.")
    lines = len(run.metrics())
    charts = {
        "loss": {"training": "loss", "validation": "validation_loss"},
        "accuracy": {"training": "accuracy", "validation": "validation_accuracy"},
        "mean rate [Hz]": {f"layer {i + 1}": f"rate_{i + 1}" for i in range(3)},
    }
    learning(run, "Learning MNIST as rates", charts, {}, smooth=max(lines // 60, 1))
    if (run.folder / "steps.json").exists():
        steps = run.read_json("steps.json")
        curves = steps.get("curves") or {"spikes": steps["accuracy"]}
        figure = accuracy_over_steps(curves, {"rates": steps["rate_accuracy"]})
        run.figure("accuracy_over_steps", figure, "Accuracy on test images if the answer is taken earlier.")
    if config.ann:
        return
    model = network(config, run)
    run.load_best(model=model)
    spiking = to_spiking(model).eval()
    set_scale(spiking, config.scale)
    images, labels = (part[: config.figures] for part in load("test", config, run.device))
    if config.figures:
        answers(config, run, spiking, images, labels)
    if (run.folder / "confusion.json").exists():
        counts = torch.tensor(run.read_json("confusion.json")).numpy()
        run.figure("confusion", confusion(counts, title="Test images"), "Which digit is taken for which.")


def answers(config: Config, run: Run, spiking: Stateful, images: torch.Tensor, labels: torch.Tensor) -> None:
    """What the network says about some digits over time, and how its first layer fires for the first."""
    first = next(iter(rate_neurons(spiking).values()))
    name = next(name for name, module in spiking.named_modules() if module is first)
    shape = (config.width, 26, 26)
    size = shape[0] * shape[1] * shape[2]
    units = tuple(torch.randperm(size, generator=torch.Generator().manual_seed(0))[:SAMPLED].sort().values.tolist())
    probes = {
        "out": Probe(tau_syn=config.tau_probe, debias=config.debias),
        "hidden": Probe(name, units=units),
    }
    found = present(spiking, brightness(images, config), config.steps, probes=probes).probes
    probabilities = numbers(found["out"].softmax(-1))
    figure = answers_over_time(numbers(images[:, 0]), probabilities, labels.tolist())
    caption = "Test images, and the softmax of the low-passed output over the time for which they are shown."
    run.figure("answers", figure, caption)
    spikes = numbers(found["hidden"][:, 0] / torch.as_tensor(first.height))
    figure = activity(numbers(images[0, 0]), spikes, probabilities[:, 0], title="The first layer sees a digit")
    run.figure("activity", figure, "Spikes of neurons drawn at random from the first layer, and the answer.")
