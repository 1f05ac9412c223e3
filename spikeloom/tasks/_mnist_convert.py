"""An ordinary ReLU network as spikes, in many ways: the scaling table of NengoDL's keras-to-snn walk-through, and
calibrated integrate-and-fire neurons.

    regular   one Hz is one unit of activation, so 30 steps of 1 ms make no spike at all unless the rates are scaled
    maximum, 99.9 %   integrate-and-fire; a spike weighs the largest activation of its layer, or nearly so

The walk-through's rows read the output at the last step, and are of the first 400 test images, as there; the calibrated
ones read the mean over all steps, of all test images.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..convert import accuracy_over_steps, convert, maximum, percentile, present
from ..convert.converted import Converted
from ..data.batches import in_order
from ..train.run import Run
from ._lsnn import share
from .mnist_rate import Config, brightness, load, ordinary, rate_answers

WALKTHROUGH, CALIBRATION = 400, 2_000
"""Test images of the walk-through's rows; training images that set thresholds."""


class Way(NamedTuple):
    """One way to convert."""

    scale: float
    synapse: float | None  # ms
    steps: int


WAYS = (
    Way(1, None, 30), Way(1, 1.0, 60), Way(1, 5.0, 60), Way(1, 10.0, 60), Way(2, 10.0, 60), Way(5, 10.0, 60),
    Way(10, 10.0, 60), Way(1000, None, 10),
)  # fmt: skip
CALIBRATIONS: dict[str, Callable[..., Any]] = {"maximum": maximum, "99.9 %": percentile}
STEPS = 50


@torch.no_grad()
def compare(config: Config, run: Run) -> dict[str, float]:
    """Accuracy of the network and of all conversions; conversions.json and steps.json."""
    images, labels = load("test", config, run.device)
    training, _ = load("train", config, run.device)
    model = ordinary(config, run).eval()
    update = run.load_best(model=model)
    ann = share(rate_answers(config, model, images), labels)
    rows = [walkthrough(config, model, way, images[:WALKTHROUGH], labels[:WALKTHROUGH]) for way in WAYS]
    x = brightness(training[:CALIBRATION], config)
    curves: dict[str, list[float]] = {}
    for name, calibrate in CALIBRATIONS.items():
        spiking = convert(model, example=x[:2])
        thresholds = calibrate(spiking, [x[part] for part in in_order(len(x), 500)])
        curves[name] = means_over_steps(config, spiking, images, labels)
        rows.append({"partner": "integrate_and_fire", "calibration": name, "thresholds": thresholds, "steps": STEPS,
                     "accuracy": curves[name][-1], "images": len(images)})  # fmt: skip
    run.write_json("conversions.json", rows)
    best = curves["99.9 %"]
    run.write_json("steps.json", {"accuracy": best, "curves": curves, "rate_accuracy": ann})
    close = next((step + 1 for step, value in enumerate(best) if value > ann - 0.001), 0)
    scaled = {
        f"scale_{way.scale:g}_synapse_{way.synapse or 0:g}": row["accuracy"]
        for way, row in zip(WAYS, rows, strict=False)
    }
    return {
        "ann_accuracy": ann, "calibrated_accuracy": best[-1], "maximum_accuracy": curves["maximum"][-1],
        "steps_to_0.1_points": float(close), "update": float(update), "test_images": float(len(images)), **scaled,
    }  # fmt: skip


def walkthrough(config: Config, model: nn.Module, way: Way, images: Tensor, labels: Tensor) -> dict[str, Any]:
    """One row of the scaling table."""
    x = brightness(images, config)
    spiking = convert(model, partner="regular", scale=way.scale, synapse=way.synapse, v_init=0.0, example=x[:2])
    outputs = torch.cat(
        [present(spiking.eval(), x[part], way.steps).probes["out"][-1] for part in in_order(len(x), 50)]
    )
    return {"partner": "regular", **way._asdict(), "accuracy": share(outputs, labels), "images": len(images)}


def means_over_steps(config: Config, spiking: Converted, images: Tensor, labels: Tensor) -> list[float]:
    """Accuracy of the mean output after each step."""
    outputs = torch.cat(
        [
            present(spiking.eval(), brightness(images[part], config), STEPS).probes["out"].cumsum(0)
            for part in in_order(len(images), 100)
        ],
        1,
    )
    return [float(value) for value in accuracy_over_steps(outputs, labels)]
