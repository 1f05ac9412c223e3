"""One optimiser update of store-recall, paper size: sequences drawn, 2,400 steps forward and backward, Adam.

The same network, loss and inputs for all: spikeloom's kernels, spikeloom's definition (the plain loop that defines its
kernels) and a plain torch loop as a careful user writes it. Delays of up to 10 steps, 3 refractory steps.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spikeloom import kernels
from spikeloom.layers import rate_cost
from spikeloom.papers.lsnn.network import LSNN
from spikeloom.papers.lsnn.symbols import Sequences, draw, encode

from . import measure
from .plain import PlainLSNN

INPUTS, REGULAR, ADAPTIVE, VALUES = 100, 10, 10, 2
SYMBOLS, SYMBOL_STEPS = 12, 200
SETTINGS: dict[str, Any] = {"tau_adapt": 1200.0, "adapt_strength": 1.7, "threshold": 0.01, "delays": 10}
REFRACTORY = 3


class PlainModel(nn.Module):
    """`PlainLSNN` and a leaky readout, which is one `lerp` a step on the two logits."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        n = REGULAR + ADAPTIVE
        weight_in = torch.randn(n, INPUTS, generator=generator) / math.sqrt(INPUTS)
        weight_rec = torch.randn(n, n, generator=generator) / math.sqrt(n)
        self.cell = PlainLSNN(weight_in, weight_rec, ADAPTIVE, refractory=REFRACTORY, **SETTINGS)
        self.readout = nn.Linear(n, VALUES, bias=False)
        self.decay_out = math.exp(-1 / 20.0)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        spikes = self.cell(inputs)
        logit = inputs.new_zeros(inputs.shape[1], VALUES)
        logits = []
        for drive in self.readout(spikes).unbind(0):
            logit = torch.lerp(drive, logit, self.decay_out)
            logits.append(logit)
        return torch.stack(logits), spikes


def loss_of(logits: Tensor, spikes: Tensor, sequences: Sequences) -> Tensor:
    """Cross-entropy at the recalls, on logits averaged over each symbol, and the rate cost."""
    by_symbol = torch.unflatten(logits, 0, (len(sequences.groups), -1)).mean(1)
    task = cross_entropy(by_symbol[sequences.recalls], sequences.targets[sequences.recalls])
    return task + 0.01 * rate_cost(spikes, 10.0, 1.0)


def update(
    name: str, mode: str, model: nn.Module, batch: int, steps: int, seed: int, engine: str = ""
) -> measure.Contender:
    """The update as a contender; every one sees the same sequences in the same order."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(seed)

    def once() -> Tensor:
        sequences = draw(batch, SYMBOLS, generator=generator)
        inputs = encode(sequences.groups, INPUTS, symbol_ms=float(steps), generator=generator)
        out = model(inputs)
        logits, spikes = out[0] if hasattr(out[0], "spikes") else out
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss_of(logits, spikes, sequences))
        optimizer.step()
        fired: Tensor = spikes.detach()
        return fired

    def run() -> Tensor:
        if engine:
            with kernels.use(engine):
                return once()
        return once()

    return measure.Contender(name, mode, run)


def ours(seed: int) -> LSNN:
    """The same network of the package."""
    generator = torch.Generator().manual_seed(seed)
    return LSNN(
        INPUTS, REGULAR, ADAPTIVE, VALUES, refractory=float(REFRACTORY), bias=False, generator=generator, **SETTINGS
    )


if __name__ == "__main__":
    options = measure.options(__doc__, rounds=5)
    steps, batch, seed = SYMBOL_STEPS // options.scale, 128, options.seed
    plain = PlainModel(torch.Generator().manual_seed(seed))
    entrants = [
        update(measure.OURS, "numba kernels", ours(seed), batch, steps, seed),
        update(f"{measure.OURS}, definition", "kernels.use('torch')", ours(seed), batch, steps, seed, "torch"),
        update("plain torch loop", "autograd; inputs folded; one product for all delays", plain, batch, steps, seed),
    ]
    timings = measure.interleave(measure.wanted(entrants, options.only), options.rounds)
    settings = {"T": SYMBOLS * steps, "B": batch, "inputs": INPUTS, "regular": REGULAR, "adaptive": ADAPTIVE}
    settings |= {**SETTINGS, "refractory": REFRACTORY, "dtype": "float32"}
    done = measure.workload(f"one update of store-recall, B {batch}, T {SYMBOLS * steps}", settings, timings)
    measure.save("store_recall_update", __doc__, options, [done])
