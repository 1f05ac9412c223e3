"""DEEP R in an ordinary network: an MLP on MNIST whose layers have 1, 3 and 30 % of their synapses.

The network and densities of the DEEP R paper's first experiment, 784-300-100-10, each layer keeping its own number of
synapses. Expects the MNIST files in $SPIKELOOM_DATA (`spikeloom data fetch mnist`).

    python examples/sparse_mlp.py [updates]
"""

import sys

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spikeloom.data import mnist
from spikeloom.layers import SignedSparseLinear
from spikeloom.rules import DeepR


def network(generator: torch.Generator) -> nn.Sequential:
    return nn.Sequential(
        SignedSparseLinear(784, 300, connectivity=0.01, generator=generator),
        nn.ReLU(),
        SignedSparseLinear(300, 100, connectivity=0.03, generator=generator),
        nn.ReLU(),
        SignedSparseLinear(100, 10, connectivity=0.3, generator=generator),
    )


def main(updates: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images, labels = mnist.load("train")
    images = images.flatten(1).float() / 255
    training, validation = slice(5000, None), slice(0, 5000)  # the test images stay unseen
    net = network(generator)
    layers = [layer for layer in net if isinstance(layer, SignedSparseLinear)]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    rewire = DeepR(optimizer, layers, l1=1e-5, budget="per_matrix", resample_sign=True, generator=generator)
    total, every, batches = 0.0, max(updates // 110, 50), list[Tensor]()
    for update in range(1, updates + 1):
        batches = batches or list(torch.split(torch.randperm(len(labels[training]), generator=generator), 10))
        batch = batches.pop()
        loss = cross_entropy(net(images[training][batch]), labels[training][batch])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        rewire.step()
        total += loss.item()
        if not batches:  # an epoch is over
            optimizer.param_groups[0]["lr"] *= 0.8
        if update % every == 0:
            with torch.no_grad():
                right = (net(images[validation]).argmax(-1) == labels[validation]).float().mean()
            print(f"update {update}  loss {total / every:.4f}  validation accuracy {right:.4f}", flush=True)
            total = 0.0
    print(f"{sum(layer.active() for layer in layers):,} synapses, {rewire.created:,} created")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 55_000)
