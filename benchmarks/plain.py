"""An LSNN as a careful user writes it in PyTorch alone: the baseline of W3 and of the store-recall update.

"Standard" equations: leak and charge, take the threshold of the spike's own step away one step later, adapt, compare.
The input products are folded over time, slices are unbound, and all delays of the recurrence are one product a step.
"""

import math
from collections import deque

import torch
from torch import Tensor, nn

from .contenders import Triangle


class PlainLSNN(nn.Module):
    """Shapes: inputs [T, B, n_in] -> spikes [T, B, n], n = regular + adaptive. Delays and refractory time in steps."""

    strength: Tensor
    delay_in: Tensor
    delay_rec: Tensor
    others: Tensor

    def __init__(
        self,
        weight_in: Tensor,
        weight_rec: Tensor,
        n_adaptive: int,
        *,
        tau_adapt: float,
        adapt_strength: float,
        threshold: float,
        refractory: int = 0,
        delays: int = 1,
        tau_mem: float = 20.0,
    ) -> None:
        super().__init__()
        n = len(weight_rec)
        self.weight_in, self.weight_rec = nn.Parameter(weight_in.clone()), nn.Parameter(weight_rec.clone())
        self.delays, self.refractory, self.threshold = delays, refractory, threshold
        self.decay_mem, self.decay_adapt = math.exp(-1 / tau_mem), math.exp(-1 / tau_adapt)
        strength = torch.zeros(n)
        strength[n - n_adaptive :] = adapt_strength
        self.register_buffer("strength", strength)
        self.register_buffer("delay_in", torch.randint(delays, weight_in.shape))
        self.register_buffer("delay_rec", torch.randint(delays, weight_rec.shape))
        self.register_buffer("others", 1 - torch.eye(n))

    def currents(self, inputs: Tensor) -> Tensor:
        """The input currents of all steps, each synapse with its delay."""
        if self.delays == 1:
            return inputs @ self.weight_in.T
        total = inputs @ (self.weight_in * (self.delay_in == 0)).T
        for delay in range(1, self.delays):
            late = inputs[:-delay] @ (self.weight_in * (self.delay_in == delay)).T
            total = total + nn.functional.pad(late, (0, 0, 0, 0, delay, 0))
        return total

    def forward(self, inputs: Tensor) -> Tensor:
        weight = self.weight_rec * self.others
        parts = [weight * (self.delay_rec == delay) for delay in range(self.delays)]
        weight_all = torch.cat(parts, dim=1).T.contiguous()  # [delays * n, n]
        silence = inputs.new_zeros(inputs.shape[1], len(weight))
        past = deque([silence] * self.delays, maxlen=self.delays)
        voltage, adaptation, height, spikes = silence, silence, silence + self.threshold, silence
        left = silence
        out = []
        for current in self.currents(inputs).unbind(0):
            window = torch.cat([past[-1 - delay] for delay in range(self.delays)], dim=1) if self.delays > 1 else spikes
            current = torch.addmm(current, window, weight_all)
            voltage = self.decay_mem * voltage + (1 - self.decay_mem) * current - spikes * height
            adaptation = self.decay_adapt * adaptation + (1 - self.decay_adapt) * spikes
            height = self.threshold + self.strength * adaptation
            spikes = Triangle.apply((voltage - height) / height)  # type: ignore[no-untyped-call]
            if self.refractory:
                spikes = spikes * (left <= 0)
                left = torch.where(spikes.detach() > 0, self.refractory, left - 1)
            past.append(spikes)
            out.append(spikes)
        return torch.stack(out)
