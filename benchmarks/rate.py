"""Spiking inference of the MNIST network, 1 x 28 x 28 -> 32 -> 64 -> 128 -> 10, 50 images for 30 steps; and 1,000
images, in 20 batches of 50.

Ours: `present`, all steps of a block in one convolution, neurons in one kernel, the first convolution once. Against the
step-by-step loop in torch, written from the equations of a LIF neuron with spike times inside the step (expm1, log1p).
The floor: the convolutions and the product alone, the first once, the others on all steps and images at once.

Memory: the highest resident set of new processes that show 50 images for more and more steps, to this network and to a
converted one.
"""

import subprocess
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

from spikeloom.convert import Converted, Probe, convert, present, to_spiking
from spikeloom.models import ConvRateNetwork
from spikeloom.neurons import LIFCurve, RateNeuron

from . import measure

IMAGES, STEPS = 50, 30
MANY = 1_000  # in batches of IMAGES
DURATIONS = (30, 120, 480)
TAU_MEM, REFRACTORY, DT = 0.02, 0.002, 0.001  # s, as in the equations of the loop


def network() -> ConvRateNetwork:
    """The example network with random weights, scaled so that neurons fire as after training."""
    model = ConvRateNetwork(LIFCurve(smoothing=0.0), amplitude=0.01, generator=torch.Generator().manual_seed(0))
    return to_spiking(model).eval()


def images() -> Tensor:
    """Made-up images, a fifth of their pixels bright."""
    random = torch.Generator().manual_seed(1)
    return (torch.rand(IMAGES, 1, 28, 28, generator=random) < 0.2).float()


def loop(model: ConvRateNetwork, x: Tensor, steps: int) -> Tensor:
    """The same, step by step."""
    layers = list(model.layers.layers)
    state: dict[int, tuple[Tensor, Tensor]] = {}
    filtered, decay = torch.zeros(len(x), 10, dtype=x.dtype), 0.9900498337491681
    for _ in range(steps):
        y = x
        for number, layer in enumerate(layers):
            if not isinstance(layer, RateNeuron):
                y = layer(y)
                continue
            drive = layer.gain * y + layer.bias
            voltage, wait = state.get(number, (torch.zeros_like(drive), torch.zeros_like(drive)))
            wait = wait - DT
            charged = (DT - wait).clamp(0.0, DT)
            voltage = voltage - (drive - voltage) * torch.expm1(-charged / TAU_MEM)
            fired = voltage > 1
            late = DT + TAU_MEM * torch.log1p(-(voltage - 1) / (drive - 1))
            wait = torch.where(fired, REFRACTORY + late, wait)
            state[number] = torch.where(fired, 0.0, voltage.clamp(min=0.0)), wait
            y = fired.to(x.dtype) * (layer.amplitude / DT)
        filtered = decay * filtered + (1 - decay) * y
    return filtered


def floor(model: ConvRateNetwork, x: Tensor, steps: int) -> Callable[[], None]:
    """Convolutions and the product, on made-up spikes."""
    layers = [layer for layer in model.layers.layers if not isinstance(layer, (RateNeuron, torch.nn.Flatten))]
    inputs, made = [x], x
    for layer in layers[:-1]:
        made = layer(made)
        inputs.append((torch.rand(steps * IMAGES, *made.shape[1:]) < 0.05).float() * 10)
    inputs[-1] = inputs[-1].flatten(1)

    def run() -> None:
        for layer, y in zip(layers, inputs, strict=True):
            layer(y)

    return run


@torch.no_grad()
def contenders(count: int = 1) -> list[measure.Contender]:
    """All of them; ours and the loop agree. With a count, as many batches of images, without the floor."""
    model, x = network(), images()
    probes = {"out": Probe(tau_syn=100.0, history=False)}

    def ours() -> None:
        present(model, x, STEPS, probes=probes)

    def steps() -> None:
        with torch.no_grad():
            loop(model, x, STEPS)

    exact = network().double()
    mine = present(exact, x.double(), STEPS + 1, probes=probes).probes["out"]
    torch.testing.assert_close(mine, loop(exact, x.double(), STEPS), rtol=1e-6, atol=1e-6)
    plain = floor(model, x, STEPS)
    if count > 1:
        return [
            measure.Contender("spikeloom", "present", repeated(ours, count)),
            measure.Contender("plain torch loop", "step by step", repeated(steps, count)),
        ]

    def alone() -> None:
        with torch.no_grad():
            plain()

    return [
        measure.Contender("spikeloom", "present", ours),
        measure.Contender("plain torch loop", "step by step", steps),
        measure.Contender("floor", "convolutions and product", alone),
    ]


def converted() -> Converted:
    """The ReLU network of `mnist_rate --preset convert_relu` with random weights, converted."""
    torch.manual_seed(0)
    convolutions = (nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3, 2), nn.ReLU())
    return convert(nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(9216, 10)).eval(), example=images()[:2])


def repeated(run: Callable[[], None], count: int) -> Callable[[], None]:
    """The same for several batches, one after the other."""

    def several() -> None:
        for _ in range(count):
            run()

    return several


def peak(steps: int, network: str) -> float:
    """MB of the highest resident set of a new process that shows the images for `steps` steps."""
    code = (
        "import pathlib, torch; torch.set_num_threads(1); from benchmarks import rate\n"
        "from spikeloom.convert import Probe, present\n"
        "probes = {'out': Probe(tau_syn=100.0, history=False)}\n"
        f"present(rate.{network}(), rate.images(), {steps}, probes=probes)\n"
        "status = pathlib.Path('/proc/self/status').read_text()  # ru_maxrss starts at that of the parent process\n"
        "print(int(status.split('VmHWM:')[1].split()[0]) / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    options = measure.options(__doc__, rounds=7)
    timings = measure.interleave(measure.wanted(contenders(), options.only), options.rounds)
    settings = {"images": IMAGES, "steps": STEPS, "network": "1x28x28-32c3-64c3s2-128c3s2-10, LIF"}
    works = [measure.workload(f"spiking inference, {IMAGES} images, {STEPS} steps", settings, timings)]
    if not options.only:
        many = {**settings, "images": MANY, "batch": IMAGES}
        found = measure.interleave(contenders(MANY // IMAGES), min(options.rounds, 3))
        works.append(measure.workload(f"spiking inference, {MANY} images, {STEPS} steps", many, found))
        about = {"network": settings["network"], "converted": "1x28x28-32c3-64c3s2-10, integrate-and-fire"}
        for name, network_text in about.items():
            peaks = {str(steps): round(peak(steps, name), 1) for steps in DURATIONS}
            print("peak MB by steps", name, peaks)
            title = "peak resident memory [MB] by steps shown" + (", converted" if name == "converted" else "")
            works.append({"name": title, "settings": settings | {"network": network_text}, "peak_mb": peaks})
    measure.save("rate", __doc__, options, works)
