"""Words paired with pictures: who is paired with whom, who asks, made-up files, real files."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from spikeloom.data import fsdd, mnist
from spikeloom.encoding.mfcc import MFCCOptions
from spikeloom.errors import ConfigError, DataError
from spikeloom.papers.hebbian_memory.digit_pairs import DigitPairs, Pairs, words
from tests.fixtures import digit_pairs

real = Path(os.environ.get("SPIKELOOM_DATA", "/nonexistent")) / "fsdd" / "fsdd_recordings.zip"
SAID = torch.arange(10).repeat(7)
SHOWN = torch.arange(10).repeat_interleave(5)


def draw(
    count: int, matching: bool, classes: Sequence[int] = range(10), length: int = 3, seed: int = 0
) -> tuple[Pairs, torch.Tensor, torch.Tensor]:
    pairs = DigitPairs(SAID, SHOWN, classes, length).draw(count, matching, torch.Generator().manual_seed(seed))
    return pairs, SAID[pairs.sounds], SHOWN[pairs.images]


def test_training_permutes_the_pictures_of_the_same_digits() -> None:
    pairs, said, shown = draw(6000, matching=False)
    assert pairs.sounds.shape == pairs.images.shape == (3, 6000)
    assert all(len(set(column)) == 3 for column in said[:, :300].T.tolist())
    assert torch.equal(said.sort(0)[0], shown.sort(0)[0])
    ranks = (said.unsqueeze(1) == shown.unsqueeze(0)).int().argmax(0)  # [3, B]: whose picture stands where
    orders = torch.tensor([9, 3, 1]) @ ranks
    counts = torch.unique(orders, return_counts=True)[1]
    assert len(counts) == 6
    assert counts.min() > 6000 / 6 * 0.85


def test_matching_pairs_show_what_is_said() -> None:
    pairs, said, shown = draw(500, matching=True)
    assert torch.equal(said, shown)
    assert torch.equal(SHOWN[pairs.target], SAID[pairs.query])


@pytest.mark.parametrize("matching", [True, False])
def test_the_query_is_another_recording_of_a_stored_digit(matching: bool) -> None:
    pairs, said, _ = draw(3000, matching)
    at = torch.arange(3000)
    assert torch.equal(SAID[pairs.query], said[pairs.asked, at])
    assert not (pairs.query == pairs.sounds[pairs.asked, at]).any()
    assert torch.equal(pairs.target, pairs.images[pairs.asked, at])
    assert float(torch.bincount(pairs.asked).min()) > 900


def test_every_recording_and_picture_is_used() -> None:
    pairs, _, _ = draw(3000, matching=False)
    assert len(torch.unique(pairs.sounds)) == len(torch.unique(pairs.query)) == len(SAID)
    assert len(torch.unique(pairs.images)) == len(SHOWN)


def test_only_chosen_digits_are_drawn() -> None:
    _, said, shown = draw(300, False, classes=(7, 1, 4, 2))
    assert torch.unique(said).tolist() == torch.unique(shown).tolist() == [1, 2, 4, 7]


def test_a_seed_draws_the_same_samples() -> None:
    for one, other in zip(draw(50, False)[0], draw(50, False)[0], strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(draw(50, False)[0].sounds, draw(50, False, seed=1)[0].sounds)


@pytest.mark.parametrize(
    ("said", "classes", "length", "message"),
    [
        ([0, 0, 1, 1], [0, 1], 3, "Samples of 3 pairs need as many digits, but there are 2"),
        ([0, 0, 1, 1], [0, 0], 1, "named once, but got 0, 0"),
        ([0, 0, 1], [0, 1], 2, "Digit 1 has 1 recordings and 5 pictures, but two recordings"),
        ([0, 0, 11, 11], [0, 11], 1, "Digit 11 has 2 recordings and 0 pictures"),
    ],
)
def test_digits_that_cannot_be_paired_are_refused(
    said: list[int], classes: list[int], length: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        DigitPairs(torch.tensor(said), SHOWN, classes, length)


def test_at_least_one_sample_is_drawn() -> None:
    with pytest.raises(ConfigError, match="count > 0"):
        draw(0, True)


def test_a_made_up_data_set_has_both_formats(tmp_path: Path) -> None:
    digit_pairs.write(tmp_path, words=7, images=4, digits=3)
    train, test = words("train", here=tmp_path / "fsdd"), words("test", here=tmp_path / "fsdd")
    assert train.pictures.shape == (3 * 2 * 2, 1, 30, 20)
    assert test.labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert train.speakers.tolist() == [0, 0, 1, 1] * 3
    for first in (0, 2):
        shown = mnist.read(*(tmp_path / "mnist" / file.name for file in mnist.FILES[first : first + 2]))
        assert shown.images.shape == (12, 28, 28)
        assert sorted(shown.labels.tolist()) == [0] * 4 + [1] * 4 + [2] * 4
        assert 0.02 < shown.images.float().mean() / 255 < 0.3
    before = (tmp_path / "mnist" / mnist.FILES[0].name).read_bytes()
    digit_pairs.write(tmp_path, words=7, images=4, digits=3)
    assert (tmp_path / "mnist" / mnist.FILES[0].name).read_bytes() == before


def test_made_up_digits_differ_from_each_other(tmp_path: Path) -> None:
    digit_pairs.write(tmp_path, words=8, images=1)
    made = words("train", here=tmp_path / "fsdd")
    flat = made.pictures.flatten(1)
    distance = torch.cdist(flat, flat).fill_diagonal_(torch.inf)
    assert float((made.labels[distance.argmin(1)] == made.labels).float().mean()) > 0.9


def test_a_silent_recording_is_named(tmp_path: Path) -> None:
    digit_pairs.write(tmp_path, words=6, images=1, digits=1)
    path = tmp_path / "fsdd" / "0_bert_5.wav"
    data = path.read_bytes()
    path.write_bytes(data[:44] + bytes(len(data) - 44))
    with pytest.raises(DataError, match=r"0_bert_5\.wav is silent"):
        words("train", here=tmp_path / "fsdd")
    sizes = ((300 + 36).to_bytes(4, "little"), (300).to_bytes(4, "little"))
    path.write_bytes(data[:4] + sizes[0] + data[8:40] + sizes[1] + b"\x01\x10" * 150)
    with pytest.raises(DataError, match=r"0_bert_5\.wav has 150 samples"):
        words("train", here=tmp_path / "fsdd")


def test_missing_recordings_say_where_they_were_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path))
    with pytest.raises(DataError, match=f"there is no {tmp_path / 'fsdd'}"):
        words("train")


def test_the_number_of_frames_and_coefficients_can_be_chosen(tmp_path: Path) -> None:
    digit_pairs.write(tmp_path, words=6, images=1, digits=2)
    assert words("train", MFCCOptions(coefficients=16, frames=16), tmp_path / "fsdd").pictures.shape == (4, 1, 16, 16)


@pytest.mark.skipif(not real.is_file(), reason="not in $SPIKELOOM_DATA/fsdd: fsdd_recordings.zip")
def test_real_words_of_a_digit_look_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKELOOM_DATA", str(real.parents[1]))
    train, test = words("train"), words("test")
    assert (len(train.labels), len(test.labels)) == (len(fsdd.load("train").names), len(fsdd.load("test").names))
    distance = torch.cdist(test.pictures.flatten(1), train.pictures.flatten(1))
    right = float((train.labels[distance.argmin(1)] == test.labels).float().mean())
    assert right > 0.8  # the nearest training word says the digit more often than not
    assert np.isfinite(train.pictures.numpy()).all()
