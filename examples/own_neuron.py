"""A neuron of your own in ten lines: derived gradients, fast kernels, learnable time constants.

The neuron below has a voltage and a slow inhibition that grows with every spike, a saturating (divided) input, and a
one-sided leak. Each of its neurons learns its own membrane time constant.

    python examples/own_neuron.py
"""

import torch
from torch import nn

from spikeloom import FromEquation, Sequential
from spikeloom.vocabulary import Value, abs, where


def shunted(
    current: Value, voltage: Value, inhibition: Value, spikes: Value, reset: Value,
    decay_mem: Value, decay_slow: Value, strength: Value, threshold: Value,
) -> Value:  # fmt: skip
    """One step: distance to the threshold, then the new states."""
    inhibition = decay_slow * inhibition + (1 - decay_slow) * spikes
    drive = current / (1 + abs(current) + strength * inhibition)
    voltage = where(voltage > 0, decay_mem * voltage, voltage) + drive - threshold * reset
    return (voltage - threshold) / threshold, voltage, inhibition


def neurons(count: int) -> FromEquation:
    tau_mem = torch.linspace(5.0, 40.0, count)
    return FromEquation(
        shunted, tau_mem=tau_mem, tau_slow=100.0, strength=2.0, threshold=1.0, refractory=2.0, learn="tau_mem"
    )


def main() -> None:
    torch.manual_seed(0)
    hidden = neurons(30)
    net = Sequential(nn.Linear(20, 30), hidden, nn.Linear(30, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    inputs = (torch.rand(200, 16, 20) < 0.1).float()
    target = torch.sin(torch.arange(200) / 20).reshape(-1, 1, 1)
    for update in range(101):
        out, _ = net(inputs)
        loss = (out - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if update % 20 == 0:
            print(f"update {update:3d}  loss {loss.item():.4f}  tau_mem {hidden.tau_mem.mean().item():.2f} ms")


if __name__ == "__main__":
    main()
