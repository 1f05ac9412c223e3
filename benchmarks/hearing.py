"""Information in the spikes of the artificial cochlea: how well an ordinary network reads spoken digits from them.

Training recordings only: a tenth of each speaker and word is held out. Encoded with 140 channels, counted in 70
bands and 10 ms, and read by a small convolutional network with dropout, 25 epochs. About five minutes for each option.

    python -m benchmarks.hearing --only old keen
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spikeloom.data import fsdd
from spikeloom.encoding.cochlea import Cochlea, encode
from spikeloom.papers.parallel_neurons.spoken_digits import HEARING

from . import measure

CHANNELS, BANDS, STEPS, WINDOW, EPOCHS = 140, 70, 100, 10.0, 25
OLD = replace(HEARING["keen"], middle_ear=450.0, gain=890.0, quality=6.1)
OPTIONS: dict[str, Cochlea] = {
    "reference": HEARING["reference"],
    "old": OLD,
    "loud": replace(OLD, level=0.1),
    "deaf below 2 kHz": replace(OLD, middle_ear=2000.0, gain=2000.0),
    "deaf below 2 kHz, louder": replace(OLD, middle_ear=2000.0, gain=5000.0),
    "keen": HEARING["keen"],
}


def counts(options: Cochlea, recordings: fsdd.Recordings) -> tuple[Tensor, float]:
    """Log of 1 + spikes, [N, bands, steps], and spikes per recording."""
    draws = torch.Generator().manual_seed(0)
    times, units = encode(recordings.samples, recordings.rate, replace(options, channels=CHANNELS), draws)
    found = np.zeros((len(times), BANDS, STEPS), np.float32)
    for image, when, who in zip(found, times, units, strict=True):
        steps = np.minimum((when / WINDOW).astype(int), STEPS - 1)
        np.add.at(image, (who.astype(int) * BANDS // CHANNELS, steps), 1)
    return torch.from_numpy(np.log1p(found)), float(np.mean([len(when) for when in times]))


def reader() -> nn.Module:
    """Three convolutions over time, the largest answer of all times."""
    layers: list[nn.Module] = []
    for before, dropout in ((BANDS, 0.2), (128, 0.3)):
        convolution = nn.Conv1d(before, 128, 5, padding=2)
        layers += [convolution, nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(dropout), nn.MaxPool1d(2)]
    layers += [nn.Conv1d(128, 128, 5, padding=2), nn.BatchNorm1d(128), nn.ReLU(), nn.AdaptiveMaxPool1d(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.4), nn.Linear(128, 10))


def accuracy(images: Tensor, recordings: fsdd.Recordings) -> float:
    """Share of the held-out recordings that are read right, mean of the last five epochs."""
    chosen = torch.Generator().manual_seed(1)
    kept, held = fsdd.split_mixed(recordings.labels, recordings.speakers, 0.1, chosen)
    net, labels, scores = reader(), recordings.labels, []
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    updates = EPOCHS * -(-len(kept) // 64)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.004, total_steps=updates)
    for _ in range(EPOCHS):
        net.train()
        for part in torch.split(kept[torch.randperm(len(kept))], 64):
            loss = cross_entropy(net(images[part].roll(int(torch.randint(-2, 3, ())), 1)), labels[part])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            rate.step()
        net.eval()
        with torch.no_grad():
            scores.append(float((net(images[held]).argmax(1) == labels[held]).float().mean()))
    return float(np.mean(scores[-5:]))


if __name__ == "__main__":
    given = measure.options(__doc__, rounds=1)
    recordings, rows = fsdd.load("train"), []
    for name, options in OPTIONS.items():
        if given.only and name not in given.only:
            continue
        images, spikes = counts(options, recordings)
        rows.append({"hearing": name, "spikes": round(spikes), "held_out_accuracy": accuracy(images, recordings)})
        print(rows[-1], flush=True)
    measure.save("hearing", __doc__, given, [{"name": "hearing", "settings": {"channels": CHANNELS}, "rows": rows}])
