"""Epochs in random order: every sample once, resumable."""

import pytest
import torch

from spikeloom.data.batches import Batches, in_order
from spikeloom.errors import CheckpointError, ConfigError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_an_epoch_shows_every_sample_once_and_the_next_in_another_order() -> None:
    batches = Batches(10, 4, seeded())
    epochs = [[batches.next().tolist() for _ in range(3)] for _ in range(2)]
    for epoch in epochs:
        assert [len(batch) for batch in epoch] == [4, 4, 2]
        assert sorted(number for batch in epoch for number in batch) == list(range(10))
    assert epochs[0] != epochs[1]
    assert batches.epoch == 1


def test_the_state_resumes_in_the_middle_of_an_epoch() -> None:
    generator = seeded()
    batches = Batches(10, 4, generator)
    batches.next()
    saved, drawn = batches.state_dict(), generator.get_state()
    expected = [batches.next().tolist() for _ in range(5)]
    other = seeded()
    again = Batches(10, 4, other)
    again.load_state_dict(saved)
    other.set_state(drawn)
    assert [again.next().tolist() for _ in range(5)] == expected


def test_batches_of_similar_length_pad_little_and_show_every_sample_once() -> None:
    lengths = torch.randperm(1003, generator=seeded(7))
    alike, random = Batches(1003, 10, seeded(), lengths=lengths, pool=5), Batches(1003, 10, seeded(), lengths=lengths)
    spreads: dict[str, float] = {}
    for name, batches in (("alike", alike), ("random", random)):
        for _ in range(2):
            epoch = [batches.next() for _ in range(101)]
            assert [len(batch) for batch in epoch] == [10] * 100 + [3]
            assert sorted(torch.cat(epoch).tolist()) == list(range(1003))
            spreads[name] = sum(float(lengths[batch].max() - lengths[batch].min()) for batch in epoch[:100])
            firsts = [int(lengths[batch].min()) for batch in epoch[:100]]
            assert firsts != sorted(firsts)
    assert spreads["alike"] < 0.35 * spreads["random"]


def test_a_pool_needs_a_length_for_every_sample() -> None:
    with pytest.raises(ConfigError, match=r"one length for each of 10 samples, but got a pool of 2 and lengths of 9"):
        Batches(10, 4, seeded(), lengths=torch.zeros(9), pool=2)
    with pytest.raises(ConfigError, match=r"a pool of 0 and lengths of none"):
        Batches(10, 4, seeded(), pool=0)


def test_a_state_of_other_data_is_refused() -> None:
    batches = Batches(10, 4, seeded())
    batches.next()
    with pytest.raises(CheckpointError, match=r"shuffles 10 samples, but there are 12 now. Resume with the same"):
        Batches(12, 4, seeded()).load_state_dict(batches.state_dict())


def test_processes_share_the_batches_of_one() -> None:
    whole = Batches(11, 4, seeded())
    parts = [Batches(11, 2, seeded(), rank, 2) for rank in range(2)]
    for _ in range(7):
        expected = whole.next()
        together = torch.cat([part.next() for part in parts])
        assert torch.equal(together, expected[: len(expected) // 2 * 2])
    with pytest.raises(ConfigError, match="1 to 5 samples for each of 2 processes, but got 6"):
        Batches(11, 6, seeded(), 0, 2)


def test_a_batch_too_small_to_share_is_left_out() -> None:
    parts = [Batches(5, 2, seeded(), rank, 2) for rank in range(2)]
    for _ in range(3):
        assert [len(part.next()) for part in parts] == [2, 2]
    assert parts[0].epoch == 2


@pytest.mark.parametrize("batch", [0, 11])
def test_a_batch_must_fit_the_data(batch: int) -> None:
    with pytest.raises(ConfigError, match=f"A batch must hold 1 to 10 samples, but got {batch}"):
        Batches(10, batch, seeded())


def test_in_order_covers_everything_once() -> None:
    assert torch.equal(torch.cat(in_order(11, 3)), torch.arange(11))
    assert [len(part) for part in in_order(11, 3)] == [3, 3, 3, 2]


def test_no_samples_are_said() -> None:
    with pytest.raises(
        ConfigError, match=r"Batches needs count >= world.*got count 0 and world 1\. Take more samples, or hold fewer"
    ):
        Batches(0, 3, torch.Generator())
