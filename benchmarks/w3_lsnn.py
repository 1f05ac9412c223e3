"""W3: a recurrent LSNN, 784 steps, batch 128, 80 inputs, 120 regular and 100 adaptive neurons, forward and backward.

Inputs and spikes are sparse, as in sequential MNIST. The floor is what a dense implementation cannot do without: the
input product and its weight gradient over all steps at once, and three times the recurrent product, two of them one
step at a time.
"""

import math
from typing import Any

import torch
from torch import nn

from . import measure
from .contenders import two_passes
from .ours import lsnn
from .plain import PlainLSNN

STEPS, BATCH, INPUTS, REGULAR, ADAPTIVE = 784, 128, 80, 120, 100
NEURONS = REGULAR + ADAPTIVE
SETTINGS: dict[str, Any] = {"tau_adapt": 700.0, "adapt_strength": 1.8, "threshold": 0.01}
INPUT_ACTIVITY = 0.015
PLAIN = "autograd; inputs folded over time; unbind"


def floor(steps: int) -> measure.Contender:
    """The dense products of the layer, at their shapes."""
    rows, n = steps * BATCH, NEURONS
    folded = measure.products((rows, INPUTS, n), (n, rows, INPUTS), (n, rows, n))
    stepped = measure.products((BATCH, n, n), (BATCH, n, n), steps=steps)
    return measure.Contender("floor: dense products", "torch.mm", measure.together(folded, stepped))


if __name__ == "__main__":
    options = measure.options(__doc__, rounds=9, device=True)
    steps = STEPS // options.scale
    with torch.device(options.device):
        inputs = (torch.rand(steps, BATCH, INPUTS) < INPUT_ACTIVITY).float()
        grad = torch.randn(steps, BATCH, NEURONS)
        weight_in = 0.35 * torch.randn(NEURONS, INPUTS) / math.sqrt(INPUTS)
        weight_rec = 0.35 * torch.randn(NEURONS, NEURONS) / math.sqrt(NEURONS)
        plain = PlainLSNN(weight_in, weight_rec, ADAPTIVE, **SETTINGS)
        lstm = nn.LSTM(INPUTS, NEURONS)
        entrants = [
            *(lsnn(weight_in, weight_rec, ADAPTIVE, SETTINGS, inputs, grad, memory) for memory in ("fast", "lean")),
            two_passes("plain torch loop", PLAIN, lambda: plain(inputs), plain.parameters(), grad),
            two_passes("nn.LSTM(220)", "torch.nn.LSTM of equal size", lambda: lstm(inputs)[0], lstm.parameters(), grad),
            floor(steps),
        ]
        timings = measure.interleave(measure.wanted(entrants, options.only), options.rounds)
    settings = {"T": steps, "B": BATCH, "inputs": INPUTS, "regular": REGULAR, "adaptive": ADAPTIVE, **SETTINGS}
    settings |= {"input_activity": INPUT_ACTIVITY, "refractory": 0, "delays": 1, "dtype": "float32"}
    title = f"LSNN {INPUTS} -> {REGULAR} + {ADAPTIVE}, B {BATCH}, T {steps}"
    measure.save("w3_lsnn", __doc__, options, [measure.workload(title, settings, timings)])
