"""Network of the tasks of unsupervised learning: weights, lateral inhibition, responses of its neurons."""

from typing import Any

import torch
from torch import Tensor

from ...layers.lateral import growing_starts, som_inhibition
from ...neurons.diehl_cook import MembraneLIF
from ...train.run import Run
from .network import DiehlCookNetwork
from .options import STDPOptions
from .votes import Assignment, assign


def network(options: STDPOptions, run: Run, size: int, done: float = 0.0) -> DiehlCookNetwork:
    """Build the network of these options, with weights drawn from the run's generator.

    Args:
        size: number of inputs.
        done: fraction of training that is over, for the lateral inhibition.
    """
    neurons = options.neurons(run.generator("winners"))
    net = DiehlCookNetwork(
        size, neurons, options.stdp(),
        inhibitory=MembraneLIF(options.n_neurons, dt=options.dt) if options.topology == "two_layer" else None,
        excite=options.excite, inhibit=options.inhibit, total=options.total * size, w_init=options.w_init,
        generator=run.generator("weights", shared=True),
    )  # fmt: skip
    net.set_lateral(lateral(options, done))
    return net.to(run.device)


def level(options: STDPOptions, done: float) -> int:
    """Return the level of inhibition, 0 at first, after this fraction of training."""
    if options.inhibition == "two_level":
        return int(done >= 0.1)
    return min(int(done * options.intervals), options.intervals - 1) if options.inhibition == "growing" else 0


def lateral(options: STDPOptions, done: float) -> Tensor | None:
    """Return the inhibition [N, N] after this fraction of training; None: uniform."""
    now = level(options, done)
    if options.inhibition == "uniform" or (options.inhibition == "two_level" and now == 1):
        return None
    start = options.som_start
    if options.inhibition == "growing":
        start = growing_starts(options.som_start, options.som_most, options.intervals)[now]
    return som_inhibition(options.n_neurons, start, options.som_most, options.som_scaling)


class Known:
    """Responses of the neurons during training: rates by class, and spikes in each interval."""

    def __init__(self, size: int, classes: int) -> None:
        self.rates = torch.zeros(size, classes, dtype=torch.float64)
        self.spikes = torch.zeros(0, size)
        self.presented = 0

    def assignment(self) -> Assignment:
        """Return the current label assignment."""
        none = torch.zeros(0, len(self.rates)), torch.zeros(0, dtype=torch.int64)
        classes = self.rates.shape[1]
        return assign(*none, classes, assign(*none, classes)._replace(rates=self.rates))

    def add(self, counts: Tensor, labels: Tensor, alpha: float) -> None:
        """Add the spike counts [M, N] and labels [M] of the samples of an interval."""
        self.rates = assign(counts, labels, self.rates.shape[1], self.assignment(), alpha).rates
        self.spikes = torch.cat([self.spikes, counts.sum(0, keepdim=True)])
        self.presented += len(counts)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"rates": self.rates, "spikes": self.spikes, "presented": self.presented}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the state from a checkpoint."""
        self.rates, self.spikes, self.presented = state["rates"], state["spikes"], int(state["presented"])
