"""Conversions of an ordinary ReLU network to spikes: the scaling table of NengoDL's keras-to-snn walk-through, and
calibrated integrate-and-fire neurons.

    regular           1 Hz is one unit of activation: without scaled rates, there is no spike in 30 steps of 1 ms
    maximum, 99.9 %   integrate-and-fire; a spike has the weight of the largest activation of its layer, or of that
                      percentile

As in the walk-through, its rows use the output of the last step and the first 400 test images; the calibrated rows use
the mean over all steps and all test images. `steps_to_0.1_points` is the first step whose accuracy is less than 0.1
points below that of the ReLU network, `steps_within_0.1_points` the step from which on it stays there; 0: none.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from ...convert import Probe, accuracy_over_steps, convert, maximum, percentile, present
from ...convert.converted import Converted
from ...data.batches import in_order
from ...errors import ExportError
from ...neurons import rate_neurons
from ...train import metrics
from ...train.run import Run
from .experiment import brightness, confusions, costs, load, ordinary, rate_answers, run_spiking
from .options import Config

WALKTHROUGH, CALIBRATION = 400, 2_000
"""Number of test images of the walk-through's rows, and of training images for the calibration."""


class Way(NamedTuple):
    """Options of one conversion of the walk-through."""

    scale: float
    synapse: float | None  # ms
    steps: int


WAYS = (
    Way(1, None, 30), Way(1, 1.0, 60), Way(1, 5.0, 60), Way(1, 10.0, 60), Way(2, 10.0, 60), Way(5, 10.0, 60),
    Way(10, 10.0, 60), Way(1000, None, 10),
)  # fmt: skip
CALIBRATIONS: dict[str, Callable[..., Any]] = {"maximum": maximum, "99.9 %": percentile}
BEST, STEPS = "99.9 %", 50


@torch.no_grad()
def compare(config: Config, run: Run) -> dict[str, float]:
    """Return the accuracy of the network and of all conversions.

    Writes all of them to conversions.json, and details of the best calibration to other files.
    """
    images, labels = load("test", config, run.device)
    training, _ = load("train", config, run.device)
    model = ordinary(config, run).eval()
    update = run.load_best(model=model)
    ann = metrics.accuracy(rate_answers(config, model, images), labels)
    rows = list[dict[str, Any]]()
    for way in WAYS:
        x = brightness(images[:WALKTHROUGH], config)
        outputs = [present(walked(model, way), x[part], way.steps).probes["out"][-1] for part in in_order(len(x), 50)]
        accuracy = metrics.accuracy(torch.cat(outputs), labels[:WALKTHROUGH])
        rows.append({"partner": "regular", **way._asdict(), "accuracy": accuracy, "images": len(x)})
    x = brightness(training[:CALIBRATION], config)
    curves, values = dict[str, list[float]](), dict[str, float]()
    for name, calibrate in CALIBRATIONS.items():
        spiking = integrating(config, model)
        thresholds = calibrate(spiking, [x[part] for part in in_order(len(x), 500)])
        result = run_spiking(config, spiking.eval(), images, Probe(), STEPS)
        means = result.outputs.cumsum(0)
        curves[name] = accuracy_over_steps(means, labels).tolist()
        rows.append({"partner": "integrate_and_fire", "calibration": name, "thresholds": thresholds, "steps": STEPS,
                     "accuracy": curves[name][-1], "images": len(images), "rates_hz": result.rates,
                     "silent": result.silent})  # fmt: skip
        if name == BEST:
            run.write_json("confusion.json", confusions(means[-1], labels))
            run.write_json("activity.json", costs(model, result))
            values = {"spikes_per_image": sum(result.spikes)}
    run.write_json("conversions.json", rows)
    run.write_json("steps.json", {"accuracy": curves[BEST], "curves": curves, "rate_accuracy": ann})
    near = [value > ann - 0.001 for value in curves[BEST]]
    first = near.index(True) + 1 if True in near else 0
    stays = (max((step for step, close in enumerate(near, 1) if not close), default=0) + 1) * near[-1]
    scaled = {
        f"scale_{way.scale:g}_synapse_{way.synapse or 0:g}": row["accuracy"]
        for way, row in zip(WAYS, rows, strict=False)
    }
    return {
        "ann_accuracy": ann, "calibrated_accuracy": curves[BEST][-1], "maximum_accuracy": curves["maximum"][-1],
        "steps_to_0.1_points": float(first), "steps_within_0.1_points": float(stays), "update": float(update),
        "test_images": float(len(images)), **values,
        **scaled,
    }  # fmt: skip


def walked(model: nn.Module, way: Way) -> Converted:
    """Convert the network by a row of the walk-through."""
    example = torch.zeros(2, 1, 28, 28, device=next(model.parameters()).device)
    return convert(model, partner="regular", scale=way.scale, synapse=way.synapse, v_init=0.0, example=example).eval()


def integrating(config: Config, model: nn.Module) -> Converted:
    """Convert the network to integrate-and-fire neurons, without calibrated thresholds yet."""
    example = torch.zeros(2, 1, 28, 28, device=next(model.parameters()).device)
    return convert(model, v_init=config.v_init_converted, example=example).eval()


def calibrated(config: Config, run: Run, model: nn.Module) -> Converted:
    """Convert the network to integrate-and-fire neurons with the thresholds of the best calibration of `evaluate`."""
    converted, row = integrating(config, model), run.read_json("conversions.json")[-1]
    for layer, threshold in row["thresholds"].items():
        buffer = rate_neurons(converted)[layer].threshold
        assert isinstance(buffer, torch.Tensor)
        buffer.fill_(threshold)
    return converted


def exported(config: Config, run: Run) -> nn.Sequential:
    """Return the calibrated network as a `Sequential` with the weights of the ordinary one and thresholds as floats.

    Raises:
        ExportError: the run has not been evaluated, or the initial voltage of its neurons is not 0.
    """
    model = ordinary(config, run).eval()
    if not (run.folder / "conversions.json").exists():
        raise ExportError(
            "The converted network gets its thresholds when it is evaluated, which this run has not been yet. Run "
            f"`spikeloom evaluate {run.folder}` first."
        )
    converted = calibrated(config, run, model)
    neurons = rate_neurons(converted)
    if config.v_init_converted != 0.0:
        raise ExportError(
            f"NIR has no first voltage, but the integrators {', '.join(neurons)} of this run start at "
            f"{config.v_init_converted:g} of their thresholds. Train one with --v-init-converted 0."
        )
    for neuron in neurons.values():
        threshold = float(neuron.threshold)
        del neuron.threshold
        neuron.threshold = threshold
    return nn.Sequential(*(converted.get_submodule(name) for name, _ in model.named_children()))
