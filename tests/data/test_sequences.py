"""Store-recall sequences: the rules, the published statistics, the spikes."""

import math

import pytest
import torch
from torch import Tensor

from spikeloom.errors import ConfigError, ShapeError
from spikeloom.papers.lsnn.symbols import RECALL, STORE, Buffer, Sequences, _hits, _valid, _walk, draw, encode, given

COUNT = 20_000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def many() -> Sequences:
    return draw(COUNT, generator=seeded(5))


def within(observed: float, expected: float, count: float) -> bool:
    """A share of `count` draws lies within 3 standard deviations, plus the rounding of the published figure."""
    return abs(observed - expected) < 3 * math.sqrt(expected * (1 - expected) / count) + 0.005 * max(expected, 0.1)


def follow(shown: Tensor) -> list[tuple[int, int]]:
    """Recalls of one sequence from its groups [S, 4], by the rules, one symbol at a time: (step, value)."""
    asked, memory = [], None
    for t, (zero, one, store, recall) in enumerate(shown.tolist()):
        if store:
            assert zero + one == 1
            assert not recall
            assert memory is None
            memory = int(one)
        elif recall:
            assert zero + one == 0
            assert memory is not None
            asked.append((t, memory))
            memory = None
        else:
            assert zero + one == 1
    assert memory is None
    assert asked
    return asked


def test_10000_sequences_keep_the_rules(many: Sequences) -> None:
    for b in range(10_000):
        recalls = many.recalls[:, b].nonzero().flatten().tolist()
        expected = [(t, int(many.targets[t, b])) for t in recalls]
        assert follow(many.groups[:, b]) == expected
    assert many.targets[~many.recalls].sum() == 0


def test_a_value_follows_every_store(many: Sequences) -> None:
    store, command = many.groups[..., 2], many.groups[..., 2:].any(-1)
    assert not (store[:-1] & command[1:]).any()
    assert not store[-1].any()


def test_two_groups_at_a_store_one_otherwise(many: Sequences) -> None:
    assert torch.equal(many.groups.sum(-1), 1 + many.groups[..., 2].long())


def test_recalls_per_sequence_are_as_published(many: Sequences) -> None:
    counts = many.recalls.sum(0)
    for number, share in ((1, 0.904), (2, 0.0945), (3, 0.0011)):
        assert within((counts == number).float().mean().item(), share, COUNT)
    assert counts.float().mean().item() == pytest.approx(1.097, abs=3 * 0.3 / math.sqrt(COUNT) + 0.0005)


def test_delays_are_as_published(many: Sequences) -> None:
    position = torch.arange(12)[:, None]
    last_store = torch.where(many.groups[..., 2], position, -1).cummax(0).values
    delay = (position - last_store)[many.recalls]
    shares = (0.22, 0.18, 0.15, 0.12, 0.096, 0.080, 0.060, 0.047, 0.030, 0.015)
    assert delay.min() == 2
    assert delay.max() == 11
    assert delay.median() == 4
    assert delay.float().mean().item() == pytest.approx(4.7, abs=0.05 + 3 * 2.3 / math.sqrt(len(delay)))
    for distance, share in enumerate(shares, start=2):
        # 0.005: the published shares are rounded to two digits
        tolerance = 3 * math.sqrt(share * (1 - share) / len(delay)) + 0.005
        assert abs((delay == distance).float().mean().item() - share) < tolerance


def test_acceptance_shows_that_every_walk_starts_afresh() -> None:
    share = _valid(_walk(100_000, 12, 6, seeded(3))).float().mean().item()
    assert share == pytest.approx(0.265, abs=3 * math.sqrt(0.265 * 0.735 / 100_000) + 0.001)


def test_values_are_fair_and_the_one_after_a_store_tells_nothing(many: Sequences) -> None:
    answers = many.targets[many.recalls].float()
    assert answers.mean().item() == pytest.approx(0.5, abs=3 * 0.5 / math.sqrt(len(answers)))
    step, sample = many.groups[..., 2].nonzero(as_tuple=True)
    stored, after = many.groups[step, sample, 1], many.groups[step + 1, sample, 1]
    assert (stored == after).float().mean().item() == pytest.approx(0.5, abs=3 * 0.5 / math.sqrt(len(step)))


def test_the_generator_decides() -> None:
    first, again, other = (draw(50, generator=seeded(s)) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.groups, other.groups)


def test_other_lengths_and_delays_keep_the_rules() -> None:
    for symbols, delay in ((6, 1), (7, 2), (30, 20)):
        shown = draw(100, symbols, delay, generator=seeded())
        assert shown.groups.shape == (symbols, 100, 4)
        assert all(follow(shown.groups[:, b]) for b in range(100))


def test_given_sequences_are_shown_as_they_are() -> None:
    codes = torch.tensor([[1, STORE], [STORE, 0], [0, 1], [1, RECALL], [RECALL, 0]])
    shown = given(codes)
    assert shown.groups[:, 0].long().tolist() == [[0, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
    assert shown.recalls.nonzero().tolist() == [[3, 1], [4, 0]]
    assert shown.targets[4, 0] == 0
    assert shown.targets[3, 1] == 0


@pytest.mark.parametrize(
    "codes",
    [[0, 1, 0], [STORE, 0, 1], [RECALL, 0, 1], [STORE, RECALL, 0], [STORE, 0, STORE, 1, RECALL], [0, 0, STORE]],
)
def test_given_sequences_that_break_the_rules_are_refused(codes: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"Sequence 0 is .*Commands must alternate 2, 3"):
        given(torch.tensor(codes)[:, None])


def test_spikes_stay_in_their_group_and_symbol(many: Sequences) -> None:
    groups = many.groups[:, :16]
    spikes = encode(groups, generator=seeded())
    assert spikes.shape == (2400, 16, 100)
    assert set(torch.unique(spikes).tolist()) == {0.0, 1.0}
    counts = spikes.view(12, 200, 16, 4, 25).sum((1, 4))
    assert torch.equal(counts > 0, groups)


def test_every_neuron_of_an_active_group_fires_at_the_input_rate() -> None:
    groups = torch.ones(12, 16, 4, dtype=torch.bool)
    spikes = encode(groups, generator=seeded(7))
    assert spikes.mean().item() * 1000 == pytest.approx(50.0, rel=0.01)
    tolerance = 5 * math.sqrt(0.05 * 0.95 / (2400 * 16))
    assert (spikes.mean((0, 1)) - 0.05).abs().max() < tolerance
    assert (spikes.view(12, 200, 16, 100).mean((0, 2, 3)) - 0.05).abs().max() < 5 * math.sqrt(0.05 * 0.95 / 19_200)
    assert (spikes[1:] * spikes[:-1]).mean().item() == pytest.approx(0.0025, rel=0.02)  # steps are independent


def test_other_sizes_rates_and_steps() -> None:
    groups = torch.ones(3, 2, 4, dtype=torch.bool)
    spikes = encode(groups, n_in=8, rate=200.0, symbol_ms=50.0, dt=0.5, generator=seeded())
    assert spikes.shape == (300, 2, 8)
    assert spikes.mean().item() == pytest.approx(0.1, abs=0.015)


def test_a_buffer_is_overwritten_and_nothing_of_the_batch_before_is_left() -> None:
    buffer, generator, other = Buffer(), seeded(3), seeded(3)
    for size in (4, 4, 2, 4):  # another size takes new memory
        groups = draw(size, generator=seeded()).groups
        reused = encode(groups, generator=generator, buffer=buffer)
        assert torch.equal(reused, encode(groups, generator=other))
    kept = reused
    assert encode(draw(4, generator=seeded(9)).groups, generator=generator, buffer=buffer) is kept


def test_nothing_active_gives_nothing() -> None:
    assert encode(torch.zeros(2, 1, 4, dtype=torch.bool), generator=seeded()).sum() == 0


def test_gaps_reach_the_last_cell_and_never_beyond() -> None:
    for cells in (0, 1, 2, 3, 50):
        for seed in range(20):
            hits = _hits(cells, 0.9, seeded(seed))
            assert len(hits) <= cells
            assert (hits.diff() > 0).all()
            assert len(hits) == 0 or hits.max() < cells
    assert any(49 in _hits(50, 0.5, seeded(seed)) for seed in range(10))
    assert _hits(10_000, 0.5, seeded()).float().mean().item() == pytest.approx(5000, rel=0.05)


def test_nonsense_is_refused() -> None:
    groups = torch.ones(3, 2, 4, dtype=torch.bool)
    with pytest.raises(ConfigError, match=r"recall_delay 8 and symbols 12. Take recall_delay <= 7 or symbols >= 13"):
        draw(1, 12, 8, generator=seeded())
    with pytest.raises(ConfigError, match=r"needs recall_delay >= 1 and .*recall_delay 0"):
        draw(1, 12, 0, generator=seeded())  # would write a command at every symbol, for ever
    with pytest.raises(ConfigError, match=r"hardly any sequence of 300 symbols with recall_delay 1 kept the rules"):
        draw(1, 300, 1, generator=seeded())
    with pytest.raises(ConfigError, match=r"a batch of at least 1 sequence, but got 0"):
        draw(0, generator=seeded())
    with pytest.raises(ShapeError, match=r"integer codes \[symbols, batch\], but got torch.int64 \[3\]"):
        given(torch.tensor([STORE, 0, RECALL]))
    with pytest.raises(ConfigError, match=r"Codes are 0, 1, 2 \(store\), 3 \(recall\), but got values from 0 to 4"):
        given(torch.tensor([[STORE], [0], [4]]))
    with pytest.raises(ConfigError, match=r"n_in must be a multiple of 4, but got 10"):
        encode(groups, n_in=10, generator=seeded())
    with pytest.raises(ConfigError, match=r"An input rate of 1000.0 Hz means 1.0 spikes in a step of 1.0 ms"):
        encode(groups, rate=1000.0, generator=seeded())
    with pytest.raises(ConfigError, match=r"An input rate of -5.0 Hz"):
        encode(groups, rate=-5.0, generator=seeded())
    with pytest.raises(ConfigError, match=r"A symbol of 200.0 ms is not a whole number of steps of 0.3 ms"):
        encode(groups, dt=0.3, generator=seeded())
    with pytest.raises(ConfigError, match=r"A symbol of 0.0 ms"):
        encode(groups, symbol_ms=0.0, generator=seeded())
    with pytest.raises(ShapeError, match=r"groups bool \[symbols, batch, 4\], but got torch.float32"):
        encode(groups.float(), generator=seeded())
