"""One update of sequential MNIST at full size, for networks of which 100, 30, 12 and 3 % of the synapses exist.

The `paper` preset: 840 steps, batch 256, 80 inputs, 120 regular and 100 adaptive neurons, delays of up to 10 steps on
every synapse, 5 refractory steps; forward, backward, Adam, DEEP R. The same inputs for all, as sparse as digits. Ours
leaves synapses out that do not exist. A plain torch loop, as a careful user writes it, multiplies with zeros; it is
timed at 12 %.

The floor: every step and neuron of the state loops streamed once forward and once backward (current in, spikes out,
two gradients: 16 bytes), and one multiply-add per sample, step and existing recurrent synapse in the backward pass at
the rate of dense matrix products. Spikes that travel are not in it: there are few.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spikeloom.layers import DelayedSynapses, rate_cost
from spikeloom.papers.lsnn import sequential_mnist
from spikeloom.papers.lsnn.network import LSNN
from spikeloom.rules import DeepR
from spikeloom.train.run import Run

from . import measure
from .plain import PlainLSNN

DENSITIES = (1.0, 0.3, 0.12, 0.03)
INPUT_ACTIVITY = 0.03
"""That of digits, encoded by threshold crossing."""
PLAIN_ROUNDS = 3


class PlainModel(nn.Module):
    """The plain loop with the weights, delays and readout of one of our networks."""

    def __init__(self, net: LSNN, config: sequential_mnist.Config) -> None:
        super().__init__()
        synapse = net.hidden.synapse
        assert isinstance(synapse, DelayedSynapses)
        assert net.inputs.delay is not None
        assert synapse.delay is not None
        self.cell = PlainLSNN(
            net.inputs.weight.detach(), synapse.weight.detach(), config.n_adaptive, tau_adapt=config.tau_adapt,
            adapt_strength=config.adapt_strength, threshold=config.threshold, refractory=int(config.refractory),
            delays=config.delays,
        )  # fmt: skip
        self.cell.delay_in.copy_(net.inputs.delay)
        self.cell.delay_rec.copy_(synapse.delay)
        self.output = nn.Linear(net.output.in_features, net.output.out_features)
        with torch.no_grad():
            self.output.weight.copy_(net.output.weight)
            self.output.bias.zero_()
        self.decay_out = math.exp(-1.0 / config.tau_out)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        spikes = self.cell(inputs)
        logit = inputs.new_zeros(inputs.shape[1], self.output.out_features)
        logits = []
        for drive in self.output(spikes).unbind(0):
            logit = torch.lerp(drive, logit, self.decay_out)
            logits.append(logit)
        return torch.stack(logits), spikes


def update(name: str, mode: str, model: nn.Module, step: Callable[[], object], inputs: Tensor, labels: Tensor,
           config: sequential_mnist.Config, rounds: int | None = None) -> measure.Contender:  # fmt: skip
    """Forward, backward and whatever `step` does with the gradients."""

    def run() -> Tensor:
        out = model(inputs)
        logits, spikes = out[0] if hasattr(out[0], "spikes") else out
        loss = cross_entropy(sequential_mnist.answer(logits, config), labels)
        loss = loss + config.rate_cost * rate_cost(spikes, config.target_rate, config.dt)
        model.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        step()
        fired: Tensor = spikes.detach()
        return fired

    return measure.Contender(name, mode, run, rounds=rounds)


def floor(inputs: Tensor, config: sequential_mnist.Config, density: float) -> measure.Contender:
    """Streams of the loops, and the backward product of the recurrent synapses that exist."""
    steps, batch, n = len(inputs), inputs.shape[1], config.n_regular + config.n_adaptive
    streams = measure.traffic(steps * batch * n * 16)
    rows = max(1, round(density * n))
    product = measure.products((batch, rows, n), steps=steps)
    name = f"floor, {100 * density:.0f} %"
    return measure.Contender(name, "copy_ and torch.mm", measure.together(streams, product))


if __name__ == "__main__":
    options = measure.options(__doc__, rounds=5)
    paper = sequential_mnist.PAPER
    steps = len(sequential_mnist.encode(torch.zeros(1, 28, 28, dtype=torch.uint8), paper))
    inputs = (torch.rand(steps // options.scale, paper.batch_train, paper.n_in) < INPUT_ACTIVITY).float()
    labels = torch.randint(0, sequential_mnist.CLASSES, (paper.batch_train,))
    entrants = []
    for density in DENSITIES:
        config = replace(paper, connectivity=density)
        run = Run(Path("unused"), "sequential_mnist", "paper", options.seed, quiet=True)
        net = sequential_mnist.network(config, run)
        assert isinstance(net, LSNN)
        optimizer = torch.optim.Adam(net.parameters(), lr=config.lr * 1e-6)  # the activity stays what it is
        rewire = sequential_mnist.rewiring(config, run, net, optimizer)
        assert rewire is not None

        def both(optimizer: torch.optim.Optimizer = optimizer, rewire: DeepR = rewire) -> None:
            optimizer.step()
            rewire.step()

        name = measure.OURS if density == paper.connectivity else f"{measure.OURS}, {100 * density:.0f} %"
        count = net.sparse_layers()["recurrent"].active()
        mode = f"connectivity {density}, event-driven forward, backward over {count:,} recurrent synapses"
        entrants.append(update(name, mode, net, both, inputs, labels, config))
        entrants.append(floor(inputs, config, density))
        if density == paper.connectivity:
            plain = PlainModel(net, config)
            adam = torch.optim.Adam(plain.parameters(), lr=1e-8)
            mode = "autograd; inputs folded; one dense product for all delays"
            entrants.append(
                update("plain torch loop, 12 %", mode, plain, adam.step, inputs, labels, config, PLAIN_ROUNDS)
            )
    timings = measure.interleave(measure.wanted(entrants, options.only), options.rounds)
    settings: dict[str, float] = {
        "T": len(inputs),
        "B": paper.batch_train,
        "inputs": paper.n_in,
        "delays": paper.delays,
    }
    settings |= {"regular": paper.n_regular, "adaptive": paper.n_adaptive, "refractory": paper.refractory}
    title = f"one update of sequential MNIST, B {paper.batch_train}, T {len(inputs)}"
    measure.save("sparse", __doc__, options, [measure.workload(title, settings, timings)])
