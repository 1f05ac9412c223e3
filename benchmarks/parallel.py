"""The SHD network of parallel neurons, 700-128-128-128-20, batch 64, 1,000 and 1,370 steps: forward and backward.

Made-up input as dense as SHD: 8,000 events a sample, samples 45 to 100 % of the steps long. Ours against what the
originals compute, written from their equations (`originals.py`), not their code: convolutions by FFT for SB and GS; for
LIF a Python loop that reads X[:, t], whose backward pass is quadratic in the length, and the same with unbind. Each
includes its loss. Our input is time first, theirs batch first. "dense input" is SB with an ordinary product in its
first layer, which otherwise adds a row of weights for each event.

With the weights they start from, neurons with a threshold stay silent on this input, and silence is cheap. So the
synapses of LIF and D are strengthened, layer after layer, by a quarter at a time until a layer fires in at least 5 % of
all steps; the file says what each layer does. The time of the originals does not depend on it.

`--device cuda` measures ours and the floor on a GPU, by the wall clock with the device synchronised. It has not been
run yet.

The floor: the products that no layer can do without (layers 2 and 3 and the readout, forward and both gradients; the
first layer is sparse and left out), and the streams of four layers of neurons: current in, spikes out, what is kept for
the backward pass, and two gradients, 24 bytes an element.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spikeloom.layers import answer_loss
from spikeloom.models import ParallelNetwork
from spikeloom.neurons import ParaLIF, SynapticLIF
from spikeloom.neurons.filters import integrate

from . import measure, memory, originals

BATCH, CHANNELS, HIDDEN, CLASSES, EVENTS = 64, 700, 128, 20, 8_000
OURS = ("SB", "GS", "LIF", "D", "non_spiking")
THRESHOLD = ("LIF", "D")
LEAST, STRONGER, TRIAL = 0.05, 1.25, 8
"""Share of steps in which a layer must fire; how much its synapses grow at a time; samples to look at."""
SLOW = {"original LIF": 2}
LENGTHS = (10, 100, 1_000, 10_000, 100_000)


def events(steps: int) -> Tensor:
    """A raster [T, B, C], as dense as SHD."""
    random = torch.Generator().manual_seed(5)
    spikes = torch.zeros(steps, BATCH, CHANNELS)
    for b in range(BATCH):
        long = steps * (0.45 + 0.55 * torch.rand((), generator=random))
        when = (torch.rand(EVENTS, generator=random) * long).long()
        where = torch.randint(CHANNELS, (EVENTS,), generator=random)
        spikes.index_put_((when, torch.full_like(when, b), where), torch.ones(()), accumulate=True)
    return spikes


class Dense(nn.Module):
    """Synapses as an ordinary matrix product, whatever their input."""

    def __init__(self, synapse: nn.Module) -> None:
        super().__init__()
        self.weight, self.bias = synapse.get_parameter("weight"), synapse.get_parameter("bias")

    def initial_state(self, x: Tensor) -> tuple[()]:
        return ()

    def forward(self, xs: Tensor, state: Any = None) -> tuple[Tensor, tuple[()]]:
        return functional.linear(xs, self.weight, self.bias), ()


@torch.no_grad()
def shares(net: ParallelNetwork, xs: Tensor) -> list[float]:
    """How much of all steps and neurons is active, layer by layer."""
    return [float((layer > 0).float().mean()) for layer in net(xs[:, :TRIAL])[0].spikes]


@torch.no_grad()
def strengthen(net: ParallelNetwork, xs: Tensor) -> None:
    """Scale the synapses of one layer after the other until all fire."""
    for layer, synapse in enumerate(net.synapses):
        while shares(net, xs)[layer] < LEAST:
            synapse.get_parameter("weight").mul_(STRONGER)


def ours(neuron: str, xs: Tensor, labels: Tensor, name: str, dense: bool = False) -> measure.Contender:
    """One of our networks."""
    net = ParallelNetwork(CHANNELS, HIDDEN, CLASSES, neuron=neuron, generator=torch.Generator().manual_seed(1))
    net = net.to(xs.device)
    if neuron in THRESHOLD:
        strengthen(net, xs)
    if dense:
        net.synapses[0] = Dense(net.synapses[0])

    def run() -> Tensor:
        activity, _ = net(xs)
        net.zero_grad(set_to_none=True)
        torch.autograd.backward(answer_loss(activity.logits, labels, "mean"))
        last: Tensor = activity.spikes[-1]
        return last.detach()

    active = ", ".join(f"{share:.1%}" for share in shares(net, xs))
    first = "an ordinary product" if dense else "events"
    return measure.Contender(name, f"{neuron}, {first} into the first layer; active: {active}", run)


def theirs(name: str, xs: Tensor, labels: Tensor, title: str) -> measure.Contender:
    """One of the originals, batch first."""
    net = originals.build(name, torch.Generator().manual_seed(1))

    def run() -> None:
        net.zero_grad(set_to_none=True)
        torch.autograd.backward(net(xs, labels))

    return measure.Contender(title, "as the equations of the original say", run, rounds=SLOW.get(title))


def floor(steps: int) -> measure.Contender:
    """Products of the dense layers and streams of the neurons."""
    rows = steps * BATCH
    hidden = [(rows, HIDDEN, HIDDEN), (rows, HIDDEN, HIDDEN), (HIDDEN, rows, HIDDEN)] * 2
    top = [(rows, HIDDEN, CLASSES), (rows, CLASSES, HIDDEN), (HIDDEN, rows, CLASSES)]
    streams = measure.traffic(24 * rows * (3 * HIDDEN + CLASSES))
    return measure.Contender("floor", "torch.mm and copy_", measure.together(measure.products(*hidden, *top), streams))


def network(steps: int, options: argparse.Namespace, peers: bool) -> dict[str, Any]:
    """All contenders at one length."""
    labels = torch.randint(CLASSES, (BATCH,), generator=torch.Generator().manual_seed(2)).to(options.device)
    xs = events(steps).to(options.device)
    entrants = [ours(neuron, xs, labels, f"spikeloom, {neuron}") for neuron in OURS]
    entrants.append(ours("SB", xs, labels, "spikeloom, SB, dense input", dense=True))
    if peers:
        first = xs.transpose(0, 1).contiguous()
        entrants += [theirs(name, first, labels, title) for name, title in PEERS.items()]
    with torch.device(options.device):
        entrants.append(floor(steps))
    timings = measure.interleave(measure.wanted(entrants, options.only), options.rounds)
    settings = {
        "device": options.device,
        "T": steps,
        "B": BATCH,
        "channels": CHANNELS,
        "hidden": HIDDEN,
        "layers": 3,
        "events": EVENTS,
    }
    return measure.workload(f"SHD network, B {BATCH}, T {steps:,}", settings, timings, base="spikeloom, SB")


PEERS = {
    "original_sb": "original SB", "original_gs": "original GS", "original_lif": "original LIF",
    "lif_unbind": "original LIF, unbind", "non_spiking": "original non-spiking",
}  # fmt: skip


def neurons(name: str) -> Callable[[Tensor], Tensor]:
    """Neurons alone, for the sweep over lengths."""
    if name == "LIF":
        return lambda xs: SynapticLIF()(xs)[0]
    if name in ("scan", "fft"):
        decay = torch.tensor(0.951229)
        return lambda xs: integrate(xs, xs[0] * 0, xs[0] * 0, decay, decay, method=name)[0]
    kind = "lean" if name.endswith("lean") else "fast"
    return lambda xs: ParaLIF("SB", memory=kind)(xs)[0]


def one_length(name: str, steps: int) -> dict[str, Any]:
    """CPU seconds of forward and backward, and the peak beyond the input, in a process of its own."""
    torch.set_num_threads(1)
    layer = neurons(name)
    xs = torch.rand(steps, BATCH if steps <= 1000 else 8 if steps <= 10_000 else 1, HIDDEN)
    torch.autograd.backward(layer(xs[:5].clone().requires_grad_()).sum())
    memory.settle()
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest value
    before = memory.resident()
    seconds = []
    for _ in range(3):
        leaf = xs.detach().requires_grad_()
        spent = time.process_time()
        torch.autograd.backward(layer(leaf).sum())
        seconds.append(time.process_time() - spent)
        del leaf
        memory.settle()
    peak = memory.resident("VmHWM") - before
    elements = xs.numel()
    return {
        "neuron": name, "T": steps, "elements": elements, "cpu_ns_per_element": min(seconds) / elements * 1e9,
        "peak_bytes_per_element": peak / elements,
    }  # fmt: skip


def sweep(options: argparse.Namespace) -> dict[str, Any]:
    """Cost per element over five orders of length: flat where the cost is linear."""
    rows = []
    for steps in LENGTHS:
        for name in ("SB", "SB lean", "LIF", "scan", "fft"):
            command = [sys.executable, "-m", "benchmarks.parallel", "--one", name, str(max(steps // options.scale, 2))]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(rows[-1], flush=True)
    settings = {"B": "64, 8 from 10,000 steps, 1 from 100,000", "N": HIDDEN}
    return {"name": "neurons alone, lengths 10 to 100,000", "settings": settings, "rows": rows}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one_length(sys.argv[2], int(sys.argv[3]))))
        sys.exit()
    options = measure.options(__doc__, rounds=5, device=True)
    here = options.device == "cpu"
    works = [network(max(steps // options.scale, 2), options, here and steps == 1000) for steps in (1000, 1370)]
    if here and not options.only:
        works.append(sweep(options))
    measure.save("parallel", __doc__, options, works)
