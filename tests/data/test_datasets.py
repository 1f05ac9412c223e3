"""Data sets for a DataLoader: samples, padding, shuffling, workers; every kind of data."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from spikeloom import ImageDataset, SoundDataset, SpikeDataset, StoryDataset, collate, latency
from spikeloom.data import SpikeTrains, babi, omniglot
from spikeloom.data.datasets import PaddedBatch
from spikeloom.data.spike_trains import Array, raster
from spikeloom.errors import ConfigError, ShapeError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def trains() -> SpikeTrains:
    draws = np.random.default_rng(0)
    counts = draws.integers(1, 30, 24)
    times = [np.sort(draws.uniform(0, 20 + number, count)) for number, count in enumerate(counts)]
    units = [draws.integers(0, 12, count) for count in counts]
    return SpikeTrains.of(times, units, np.arange(24) % 3, channels=12, classes=("a", "b", "c"))


def test_samples_are_the_rasters_of_single_trains(trains: SpikeTrains) -> None:
    data = SpikeDataset(trains, window=2.0)
    assert len(data) == 24
    whole = raster(trains, np.arange(24), window=2.0)
    for number in range(24):
        spikes, label = data[number]
        assert label == number % 3
        assert spikes.equal(whole.spikes[: whole.lengths[number], number])
    assert data[-1][0].equal(data[23][0])
    with pytest.raises(IndexError, match=r"The data set has 24 samples, but number 24 was asked for"):
        data[24]


def test_batches_are_padded_time_first(trains: SpikeTrains) -> None:
    data = SpikeDataset(trains, window=2.0)
    batch = collate([data[number] for number in range(24)])
    whole = raster(trains, np.arange(24), window=2.0)
    assert batch.data.equal(whole.spikes)
    assert batch.lengths.equal(whole.lengths)
    assert batch.labels.equal(whole.labels)
    assert batch.mask.equal(whole.valid)
    moved = batch.to("meta")
    assert {tensor.device.type for tensor in moved} == {"meta"}
    assert isinstance(moved, PaddedBatch)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_shuffles_and_has_workers(trains: SpikeTrains, workers: int) -> None:
    data = SpikeDataset(trains, shape=(3, 4))
    loader = DataLoader(data, 5, shuffle=True, num_workers=workers, collate_fn=collate, generator=seeded())
    seen = torch.cat([batch.data.sum((0, 2, 3)) for batch in loader])
    batches = list(loader)
    assert [len(batch.labels) for batch in batches] == [5, 5, 5, 5, 4]
    assert all(batch.data.shape[2:] == (3, 4) for batch in batches)
    counts = torch.from_numpy(np.diff(trains.first)).float()
    assert seen.sort().values.equal(counts.sort().values)
    assert not seen.equal(counts)


def test_frames_of_a_sensor_have_its_shape(trains: SpikeTrains) -> None:
    frames, _ = SpikeDataset(trains, window=5.0, shape=(2, 2, 3), steps=10)[4]
    assert frames.shape == (10, 2, 2, 3)
    assert frames.flatten(1).equal(SpikeDataset(trains, window=5.0, steps=10)[4][0])
    with pytest.raises(ConfigError, match=r"asked for the shape \(3, 5\), but each step has 12 channels"):
        SpikeDataset(trains, shape=(3, 5))


def test_images_are_sequences_of_one_step_or_encoded() -> None:
    images = torch.arange(3 * 4).view(3, 2, 2).to(torch.uint8) * 20
    data = ImageDataset(images, torch.tensor([3, 1, 2]))
    batch = next(iter(DataLoader(data, 3, collate_fn=collate)))
    assert batch.data.shape == (1, 3, 2, 2)
    torch.testing.assert_close(batch.data[0], images / 255)
    assert batch.labels.tolist() == [3, 1, 2]
    encoded = ImageDataset(images, torch.tensor([3, 1, 2]), encode=partial(latency, steps=7))
    for loader in (DataLoader(encoded, 3, collate_fn=collate, num_workers=number) for number in (0, 1)):
        spikes = next(iter(loader)).data
        assert spikes.equal(latency((images / 255).float(), 7))
    with pytest.raises(ShapeError, match=r"ImageDataset needs encode to return a sequence \[T, 1, \*M\] of the image"):
        _ = ImageDataset(images, torch.tensor([3, 1, 2]), encode=lambda image: image[0])[0]


def test_characters_of_omniglot_have_their_index_as_label() -> None:
    images = torch.arange(2 * 3 * 4).view(2, 3, 2, 2).to(torch.uint8) % 2
    characters = omniglot.Characters(images, ["a/character01", "a/character02"], torch.tensor([0, 0]))
    data = ImageDataset.of_characters(characters)
    assert [label for _, label in data] == [0, 0, 0, 1, 1, 1]  # type: ignore[attr-defined]
    assert data[4][0][0].equal(images[1, 1].float())
    with pytest.raises(ConfigError, match=r"ImageDataset needs characters as Characters, but got Tensor"):
        ImageDataset.of_characters(images)  # type: ignore[arg-type]


def test_sounds_are_sequences_of_samples_or_encoded() -> None:
    sounds: list[Array] = [np.arange(5, dtype=np.int16), np.ones(3, np.float32)]
    batch = collate([SoundDataset(sounds, [7, 8])[number] for number in range(2)])
    assert batch.data.shape == (5, 2, 1)
    assert batch.data[:, 0, 0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert batch.lengths.tolist() == [5, 3]
    framed = SoundDataset(sounds, [7, 8], encode=lambda sound: torch.from_numpy(sound[:2, None].astype(np.float32)))
    assert framed[0][0].tolist() == [[0.0], [1.0]]
    with pytest.raises(ShapeError, match=r"needs sounds as flat arrays of numbers, but number 1 is float64 \[2, 2\]"):
        SoundDataset([sounds[0], np.eye(2)], [7, 8])
    with pytest.raises(ConfigError, match=r"SoundDataset needs a label for each of 2 sounds, but got labels \[1\]"):
        SoundDataset(sounds, [7])


def test_stories_end_with_their_question() -> None:
    text = b"1 Mary left.\n2 John stayed.\n3 Who left? \tMary\t1\n1 John left.\n2 Who left? \tJohn\t1\n"
    file = babi.parse(text, "a file")
    words = babi.Vocabulary.of([file])
    batch = collate([StoryDataset(words.encode(file))[number] for number in range(2)])
    assert batch.data.shape == (3, 2, 2)
    assert batch.lengths.tolist() == [3, 2]
    first = [[words.words[index - 1] for index in sentence.tolist()] for sentence in batch.data[:, 0]]
    assert first == [["mary", "left"], ["john", "stayed"], ["who", "left"]]
    assert [words.words[label] for label in batch.labels] == ["mary", "john"]
    with pytest.raises(ConfigError, match=r"StoryDataset needs stories as Stories, but got Questions.*Vocabulary"):
        StoryDataset(file)  # type: ignore[arg-type]


def test_samples_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"collate needs at least one of the samples"):
        collate([])
    with pytest.raises(ConfigError, match=r"collate needs samples as pairs of a sequence and a label"):
        collate([torch.ones(2, 3)])  # type: ignore[list-item]
    with pytest.raises(
        ShapeError, match=r"differ in T only, but got torch.float32 \[2, 3\] and torch.float32 \[2, 4\]"
    ):
        collate([(torch.ones(2, 3), 0), (torch.ones(2, 4), 0)])
    with pytest.raises(ShapeError, match=r"differ in T only, but got torch.float32 \[2, 3\] and torch.int64 \[2, 3\]"):
        collate([(torch.ones(2, 3), 0), (torch.ones(2, 3, dtype=torch.int64), 0)])
    with pytest.raises(ConfigError, match=r"collate needs whole numbers as the labels of samples, but got 0.5"):
        collate([(torch.ones(2, 3), 0.5)])  # type: ignore[list-item]
    assert collate([(torch.ones(2, 3), torch.tensor(4))]).labels.tolist() == [4]


def test_options_that_make_no_sense_are_refused(trains: SpikeTrains) -> None:
    with pytest.raises(ConfigError, match=r"SpikeDataset needs trains as SpikeTrains, but got list"):
        SpikeDataset([1])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r'SpikeDataset needs rounding "floor" or "ceil", but got \'up\''):
        SpikeDataset(trains, rounding="up")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"SpikeDataset needs window > 0"):
        SpikeDataset(trains, window=0.0)
    with pytest.raises(ConfigError, match=r"SpikeDataset needs a dtype of real numbers, .* but got torch.complex64"):
        SpikeDataset(trains, dtype=torch.complex64)
    with pytest.raises(ShapeError, match=r"ImageDataset needs images \[N, \*S\], but got \[3\]"):
        ImageDataset(torch.ones(3), torch.tensor([3, 1, 2]))
