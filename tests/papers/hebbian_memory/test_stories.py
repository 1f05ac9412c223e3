"""A network that reads stories: batches are their samples, empty sentences change nothing, cost grows linearly."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from spikeloom import kernels
from spikeloom.errors import ConfigError, ShapeError
from spikeloom.layers.hebbian_memory.layer import memory_neuron
from spikeloom.papers.hebbian_memory.networks import MemoryCore
from spikeloom.papers.hebbian_memory.stories import Sentences, StoryNetwork
from spikeloom.rules import Hebbian

WORDS, SLOTS, SIZE, STEPS = 9, 4, 12, 12
LENGTHS = torch.tensor([3, 1, 5, 3, 2, 5, 7])


def network(dtype: torch.dtype = torch.float64, rule: bool = True, **options: Any) -> StoryNetwork:
    draws = torch.Generator().manual_seed(0)
    neuron = memory_neuron(20.0, 0.1, 2.5, dt=2.5)
    core = MemoryCore(
        SIZE, SIZE, SIZE, neuron, Hebbian(dt=2.5) if rule else None, steps=STEPS, window=8, delay=2, generator=draws
    )
    sentences = Sentences(WORDS, SLOTS, SIZE, input_gain=2.0, generator=draws, **options)
    return StoryNetwork(sentences, core, WORDS, generator=draws).to(dtype)


def batch(lengths: Tensor = LENGTHS) -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    statements = torch.randint(1, WORDS + 1, (int(lengths.sum()), SLOTS), generator=draws)
    statements[::3, 2:] = 0
    return statements, lengths, torch.randint(1, WORDS + 1, (len(lengths), SLOTS), generator=draws)


def one(parts: tuple[Tensor, Tensor, Tensor], b: int) -> tuple[Tensor, Tensor, Tensor]:
    """A story of a batch alone."""
    statements, lengths, query = parts
    return torch.split(statements, lengths.tolist())[b], lengths[b : b + 1], query[b : b + 1]


def test_a_sentence_is_the_weighted_sum_of_its_words() -> None:
    sentences = Sentences(WORDS, SLOTS, 5, input_gain=3.0, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        sentences.position.copy_(torch.arange(20.0).view(4, 5))
    found = sentences(torch.tensor([[[2, 7, 0, 0]]]))
    wanted = 3.0 * (sentences.position[0] * sentences.embedding[2] + sentences.position[1] * sentences.embedding[7])
    torch.testing.assert_close(found, wanted.expand(1, 1, 5))
    with pytest.raises(ShapeError, match=r"Sentences have 4 slots for words, but got \[2, 3\]"):
        sentences(torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(ConfigError, match="slots > 0"):
        Sentences(3, 0, 2)


def test_places_may_start_different() -> None:
    position = Sentences(WORDS, 40, 50, spread=0.5, generator=torch.Generator().manual_seed(0)).position.detach()
    assert 0.5 <= float(position.min()) < 0.51 < 1.49 < float(position.max()) <= 1.5
    assert bool((Sentences(WORDS, 40, 50).position == 1.0).all())
    with pytest.raises(ConfigError, match="Sentences need a spread of at least 0, but got -1"):
        Sentences(WORDS, 40, 50, spread=-1.0)


@pytest.mark.parametrize(("learn", "fixed"), [(True, False), (True, True), (False, False)])
def test_no_word_stays_zero_and_positions_are_learned_as_asked(learn: bool, fixed: bool) -> None:
    sentences = Sentences(WORDS, SLOTS, 5, learn_positions=learn, fixed_last=fixed)
    optimizer = torch.optim.Adam([part for part in sentences.parameters() if part.requires_grad], lr=0.1)
    before = sentences.position.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        torch.autograd.backward(sentences(torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]])).square().sum())
        optimizer.step()
    assert sentences.embedding[0].count_nonzero() == 0
    moved = (sentences.position != before).any(1)
    assert moved.tolist() == [learn, learn, learn, learn and not fixed]


def test_a_batch_is_its_stories_one_by_one() -> None:
    model, parts = network(), batch()
    found = model(*parts)
    assert all(spikes.any() for spikes in found.layers.values())
    for b in range(len(LENGTHS)):
        statements, _, query = one(parts, b)
        alone, detail = model(*one(parts, b)), model.recollect(statements.unsqueeze(1), query)
        for other in (alone, detail):
            assert torch.equal(other.logits[0], found.logits[b])
            assert torch.equal(other.memory[0], found.memory[b])
        for name, spikes in detail.layers.items():
            torch.testing.assert_close(found.layers[name][b], spikes.mean(0)[0], rtol=0, atol=1e-15)


def test_gradients_of_a_batch_are_those_of_its_stories() -> None:
    model, parts = network(), batch()
    target = torch.arange(len(LENGTHS))

    def gradients(*losses: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(torch.stack(losses).sum(), list(model.parameters())))

    def loss(b: slice, *given: Tensor) -> Tensor:
        found = model(*given)
        fired = sum(part.square().sum() for part in found.layers.values())
        cost: Tensor = cross_entropy(found.logits, target[b], reduction="sum") + fired
        return cost

    whole = gradients(loss(slice(None), *parts))
    alone = gradients(*(loss(slice(b, b + 1), *one(parts, b)) for b in range(len(LENGTHS))))
    for part, other in zip(whole, alone, strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(part, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("part", ["value", "gradient"])
def test_questions_about_one_story_are_questions_about_copies_of_it(part: str) -> None:
    model, (statements, _, query) = network(), batch()
    lengths, first = torch.tensor([2, 5, 3, 3, 5, 1, 4]), torch.tensor([0, 0, 5, 0, 8, 5, 9])
    statements = statements[:13]
    copies = torch.cat([statements[a : a + n] for a, n in zip(first.tolist(), lengths.tolist(), strict=True)])
    found, wanted = model(statements, lengths, query, first), model(copies, lengths, query)
    if part == "value":
        assert torch.equal(found.logits, wanted.logits)
        assert torch.equal(found.memory, wanted.memory)
        for name, spikes in wanted.layers.items():
            torch.testing.assert_close(found.layers[name], spikes, rtol=0, atol=1e-15)
    else:
        target = torch.arange(len(lengths))
        one, two = (
            torch.autograd.grad(cross_entropy(said.logits, target), list(model.parameters()))
            for said in (found, wanted)
        )
        for shared, alone in zip(one, two, strict=True):
            assert alone.abs().max() > 0
            torch.testing.assert_close(shared, alone, rtol=0, atol=1e-9)


def test_the_fused_loops_give_what_the_definition_gives() -> None:
    model, parts = network(), batch()
    with kernels.use("torch"):
        wanted = model(*parts)
    found = model(*parts)
    torch.testing.assert_close(found.logits, wanted.logits, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.memory, wanted.memory, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_empty_sentences_before_a_story_change_nothing(dtype: torch.dtype) -> None:
    model, (statements, lengths, query) = network(dtype), batch()
    empty = torch.tensor([0, 4, 1, 0, 6, 2, 3])
    padded = torch.cat(
        [
            torch.cat([torch.zeros(int(count), SLOTS, dtype=torch.int64), story])
            for count, story in zip(empty, torch.split(statements, lengths.tolist()), strict=True)
        ]
    )
    found, wanted = model(padded, lengths + empty, query), model(statements, lengths, query)
    if dtype == torch.float64:
        assert torch.equal(found.logits, wanted.logits)
        assert torch.equal(found.memory, wanted.memory)
    torch.testing.assert_close(found.logits, wanted.logits)
    torch.testing.assert_close(found.memory, wanted.memory)


def test_empty_sentences_after_a_story_do_change_the_memory() -> None:
    model, (statements, lengths, query) = network(), batch()
    story = statements[: lengths[0]]
    padded = torch.cat([story, torch.zeros(5, SLOTS, dtype=torch.int64)])
    found = model(padded, lengths[:1] + 5, query[:1])
    assert not torch.equal(found.memory, model(story, lengths[:1], query[:1]).memory)


def test_the_order_of_a_batch_does_not_matter() -> None:
    model, (statements, lengths, query) = network(), batch()
    order = torch.tensor([4, 0, 6, 2, 1, 5, 3])
    stories = torch.split(statements, lengths.tolist())
    found = model(torch.cat([stories[b] for b in order.tolist()]), lengths[order], query[order])
    wanted = model(statements, lengths, query)
    assert torch.equal(found.logits, wanted.logits[order])


def test_a_memory_at_zero_answers_nothing() -> None:
    assert network(rule=False)(*batch()).logits.count_nonzero() == 0


@pytest.mark.parametrize("longer", [1, 4])
def test_what_is_kept_for_the_way_back_grows_with_the_statements(longer: int) -> None:
    """Ten short stories beside one that is four times as long cost what their statements cost, not ten long ones."""
    model = network()
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def size(lengths: Tensor) -> int:
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            found = model(*batch(lengths))
        assert found.logits.requires_grad
        return sum(kept.values())

    base, one_more = size(torch.full((10,), 8)), size(torch.tensor([8] * 9 + [8 * longer]))
    ten_more = size(torch.full((10,), 8 * longer))
    assert one_more - base <= 0.2 * (ten_more - base) + 40_000  # a tenth, and states where stories end


def test_what_does_not_fit_is_said() -> None:
    model, (statements, lengths, query) = network(), batch()
    for wrong in ((statements[1:], lengths, query), (statements, lengths[1:], query), (statements, lengths, query[1:])):
        with pytest.raises(ShapeError, match="Every query needs the length of its story, at least 1"):
            model(*wrong)
    for first in (torch.zeros(7, dtype=torch.int64), torch.zeros(6, dtype=torch.int64), torch.full((7,), -1)):
        with pytest.raises(ShapeError, match="the first of them at its `first`, if that is given"):
            model(statements, lengths, query, first)
    with pytest.raises(ShapeError, match="at least 1"):
        model(statements, torch.tensor([0, 4, 5, 3, 2, 5, 7]), query)
