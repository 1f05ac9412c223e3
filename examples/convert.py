"""An ordinary network into a spiking one: train, convert, look at the report, calibrate, and count answers.

A small convolutional network tells apart four kinds of drawn stripes; no files are needed.

    python examples/convert.py
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spikeloom.convert import convert, percentile, report, verify


def stripes(samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noisy pictures [B, 1, 12, 12] of stripes, upright, lying, and along both diagonals."""
    labels = torch.randint(0, 4, (samples,), generator=generator)
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    along = torch.stack([x, y, (x + y) / 2**0.5, (x - y) / 2**0.5])[labels]
    phase = 6.3 * torch.rand(samples, 1, 1, generator=generator)
    pictures = torch.sin(1.6 * along + phase) + 2.0 * torch.randn(samples, 12, 12, generator=generator)
    return pictures.unsqueeze(1), labels


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 5), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 4),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for update in range(1, 151):
        pictures, labels = stripes(64, generator)
        loss = cross_entropy(net(pictures), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        if update % 50 == 0:
            print(f"update {update}  loss {loss.item():.4f}")
    net.eval()
    pictures, labels = stripes(500, generator)
    spiking = convert(net, max_pool="lead", example=pictures)
    print(f"largest difference as rates: {verify(spiking, net, pictures):.1e}")
    percentile(spiking, [stripes(500, generator)[0]])
    print(report(spiking, pictures, steps=64))
    with torch.no_grad():
        print(f"accuracy {(net(pictures).argmax(1) == labels).float().mean():.3f} before")
        out, _ = spiking(pictures.expand(64, *pictures.shape))
    for steps in (4, 8, 16, 32, 64):
        print(f"accuracy {(out[:steps].mean(0).argmax(1) == labels).float().mean():.3f} after {steps} steps")


if __name__ == "__main__":
    main()
