"""One trained ReLU network as spikes, by our converter and by SpikingJelly's: same weights, same calibration images.

Both show the first 2,000 test images, calibrate on the same 2,000 training images, and answer by the mean of all
outputs so far. "To" 0.1 points is the first step that is near the network, "within" the one from which on all are; with
these images the standard error of an accuracy is 0.25 points. Our membranes start at half their threshold by default,
SpikingJelly's at zero ("V0 = 0").

    python -m spikeloom train mnist_rate --preset convert_relu --out runs/relu
    python -m benchmarks.conversion runs/relu
"""

import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from spikeloom.convert import convert, fraction, maximum, percentile, present
from spikeloom.papers.nengo import mnist_rate
from spikeloom.papers.nengo.experiment import brightness, load, ordinary
from spikeloom.train import experiment

from . import measure

STEPS, IMAGES, CALIBRATION, BLOCK = 50, 2_000, 2_000, 100
Answer = Callable[[Tensor], Tensor]
"""Images [B, 1, 28, 28] -> output in every step [T, B, K]."""


def ours(model: nn.Module, batches: list[Tensor], calibrate: Callable[..., Any], v_init: float) -> Answer:
    """Our converter."""
    spiking = convert(model, v_init=v_init, example=batches[0][:2])
    calibrate(spiking, batches)
    return lambda x: present(spiking.eval(), x, STEPS).probes["out"]


def spikingjelly(model: nn.Module, batches: list[Tensor], mode: str | float) -> Answer:
    """SpikingJelly 2, `RateCodingRecipe`, in steps as in its tutorial."""
    from spikingjelly.activation_based import functional
    from spikingjelly.activation_based.ann2snn import Converter
    from spikingjelly.activation_based.ann2snn.recipes import RateCodingRecipe

    spiking = Converter(RateCodingRecipe(batches, mode=mode)).convert(model).eval()

    def answer(x: Tensor) -> Tensor:
        functional.reset_net(spiking)
        return torch.stack([spiking(x) for _ in range(STEPS)])

    return answer


@torch.no_grad()
def measured(answer: Answer, images: Tensor, labels: Tensor) -> tuple[list[float], float]:
    """Accuracy after each step, and CPU seconds for all images."""
    right, started = torch.zeros(STEPS), time.process_time()
    for x, wanted in zip(torch.split(images, BLOCK), torch.split(labels, BLOCK), strict=True):
        right += (answer(x).cumsum(0).argmax(-1) == wanted).sum(1)
    return (right / len(images)).tolist(), time.process_time() - started


def main() -> None:
    """Convert in all ways and write the accuracies."""
    given = measure.options(__doc__, rounds=1, run=True)
    run = experiment.reopen(given.run)
    task: Any = mnist_rate
    options = experiment.options(task, run.folder)
    model = ordinary(options, run).eval()
    run.load_best(model=model)
    device = torch.device("cpu")
    images, labels = load("test", options, device)
    images, labels = brightness(images[:IMAGES], options), labels[:IMAGES]
    training = brightness(load("train", options, device)[0][:CALIBRATION], options)
    batches = list(torch.split(training, 500))
    half = partial(fraction, share=0.5)
    ways: dict[str, Callable[[], Answer]] = {
        "spikeloom, maximum": lambda: ours(model, batches, maximum, 0.5),
        "spikeloom, 99.9 %": lambda: ours(model, batches, percentile, 0.5),
        "spikeloom, 1/2 maximum": lambda: ours(model, batches, half, 0.5),
        "spikeloom, maximum, V0 = 0": lambda: ours(model, batches, maximum, 0.0),
        "spikeloom, 99.9 %, V0 = 0": lambda: ours(model, batches, percentile, 0.0),
    }
    if find_spec("spikingjelly") is not None:
        ways |= {
            "SpikingJelly, maximum": lambda: spikingjelly(model, batches, "max"),
            "SpikingJelly, 99.9 %": lambda: spikingjelly(model, batches, "99.9%"),
            "SpikingJelly, 1/2 maximum": lambda: spikingjelly(model, batches, 0.5),
        }
    with torch.no_grad():
        ann = float((torch.cat([model(x) for x in torch.split(images, 500)]).argmax(-1) == labels).float().mean())
    rows = []
    for name, make in ways.items():
        curve, seconds = measured(make(), images, labels)
        close = next((step + 1 for step, value in enumerate(curve) if value > ann - 0.001), None)
        far = [step for step, value in enumerate(curve, 1) if value <= ann - 0.001]
        stays = max(far, default=0) + 1
        row = {"name": name, "accuracy": curve[-1], "steps_to_0.1_points": close, "cpu_s": round(seconds, 1),
               "steps_within_0.1_points": stays if stays <= STEPS else None}  # fmt: skip
        print(row, flush=True)
        rows.append(row | {"curve": [round(value, 5) for value in curve]})
    settings = {"network": "conv 32 - conv 64, stride 2 - dense 10, ReLU", "seed": run.seed, "steps": STEPS,
                "images": len(images), "calibration_images": CALIBRATION, "ann_accuracy": ann}  # fmt: skip
    measure.save("conversion", __doc__, given, [{"name": "conversion", "settings": settings, "rows": rows}])


if __name__ == "__main__":
    main()
