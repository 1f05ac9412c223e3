"""A network that draws what was stored with a word: decoders against loops, what reaches what, shapes."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeloom.errors import ConfigError, ShapeError
from spikeloom.layers.hebbian_memory.layer import memory_neuron
from spikeloom.papers.hebbian_memory.networks import MemoryCore, RateMemory
from spikeloom.papers.hebbian_memory.recall import CrossModalNetwork, RateDecoder, SpikingDecoder
from spikeloom.rules import Hebbian

STEPS = 20


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spikes(*shape: int, seed: int = 0, share: float = 0.3) -> Tensor:
    return (torch.rand(shape, generator=seeded(seed)) < share).float()


def network(learns: bool = True) -> CrossModalNetwork:
    neuron, rule = memory_neuron(20.0, 0.1, 0.0, dt=5.0), Hebbian(dt=5.0) if learns else None
    core = MemoryCore(11, 6, 9, neuron, rule, steps=STEPS, window=STEPS, generator=seeded())
    decoder = SpikingDecoder(9, 7, 4, 3, neuron, white=10.0, generator=seeded(1))
    return CrossModalNetwork(core, decoder, nn.Identity(), nn.Identity())


def test_the_decoder_is_two_layers_of_the_neuron_and_counts_spikes() -> None:
    decoder = SpikingDecoder(4, 6, 3, 5, memory_neuron(20.0, 0.05, 3.0), white=15.0, generator=seeded()).double()
    shown = spikes(100, 2, 4).double()
    found = decoder(shown)
    decay, threshold = math.exp(-1 / 20), 0.05

    def layer(weight: list[list[float]], heard: list[list[float]]) -> list[list[float]]:
        count = len(weight)
        v, z, left, out = [0.0] * count, [0] * count, [0] * count, []
        for x in heard:
            for n in range(count):
                current = sum(w * s for w, s in zip(weight[n], x, strict=True))
                v[n] = decay * v[n] + (1 - decay) * current - threshold * z[n]
                resting = left[n] > 0
                z[n] = int((v[n] - threshold) / threshold > 0 and not resting)
                left[n] = left[n] - 1 if resting else 3 * z[n]
            out.append([float(s) for s in z])
        return out

    for sample in range(2):
        hidden = layer(decoder.first.tolist(), shown[:, sample].tolist())
        pixels = layer(decoder.second.tolist(), hidden)
        assert hidden == found.hidden[:, sample].tolist()
        wanted = torch.tensor(pixels, dtype=torch.float64).sum(0) / 15
        torch.testing.assert_close(found.picture[sample].flatten(), wanted)
    assert found.picture.shape == (2, 3, 5)
    assert 0 < float(found.picture.detach().max()) <= 25 / 15


def test_white_is_so_many_spikes() -> None:
    decoder = SpikingDecoder(4, 6, 3, 5, memory_neuron(), white=15.0, generator=seeded())
    before = decoder(spikes(50, 1, 4)).picture
    decoder.white = 5.0
    torch.testing.assert_close(decoder(spikes(50, 1, 4)).picture, 3 * before)


def test_a_silent_memory_is_drawn_black() -> None:
    assert SpikingDecoder(4, 6, 3, 5, memory_neuron(), white=15.0)(torch.zeros(9, 2, 4)).picture.count_nonzero() == 0
    found = network(learns=False)(spikes(3 * STEPS, 2, 6), spikes(3 * STEPS, 2, 5), spikes(STEPS, 2, 6))
    assert found.picture.count_nonzero() == 0
    assert found.recollection.memory.count_nonzero() == 0


def test_decoders_have_the_sizes_of_the_paper() -> None:
    spiking = SpikingDecoder(100, 256, 28, 28, memory_neuron(), white=15.0, generator=seeded())
    assert {name: tuple(part.shape) for name, part in spiking.named_parameters()} == {
        "first": (256, 100), "second": (784, 256),
    }  # fmt: skip
    bound = 2**0.5 * (6 / 1040) ** 0.5
    assert 0.99 * bound < float(spiking.second.detach().abs().max()) <= bound
    sizes = {name: tuple(part.shape) for name, part in RateDecoder(100, 256, 28, 28).named_parameters()}
    assert sizes == {
        "first.weight": (256, 100), "first.bias": (256,), "second.weight": (784, 256), "second.bias": (784,),
    }  # fmt: skip


def test_the_rate_decoder_is_dense_relu_dense_sigmoid() -> None:
    decoder = RateDecoder(3, 4, 2, 2, generator=seeded())
    x = torch.rand(1, 5, 3, generator=seeded(1))
    hidden = torch.relu(x[0] @ decoder.first.weight.T + decoder.first.bias)
    wanted = torch.sigmoid(hidden @ decoder.second.weight.T + decoder.second.bias)
    torch.testing.assert_close(decoder(x).picture.flatten(1), wanted)


def test_what_was_stored_with_the_word_changes_the_drawing() -> None:
    torch.manual_seed(0)
    model = network()
    words, query = spikes(3 * STEPS, 1, 6, share=0.5), spikes(STEPS, 1, 6, seed=2, share=0.5)
    one = model(words, spikes(3 * STEPS, 1, 5, seed=3, share=0.6), query)
    other = model(words, spikes(3 * STEPS, 1, 5, seed=4, share=0.6), query)
    assert not torch.equal(one.recollection.memory, other.recollection.memory)
    assert not torch.equal(one.picture, other.picture)
    loss = one.picture.square().sum()
    torch.autograd.backward(loss)
    assert all(part.grad is not None and bool(part.grad.isfinite().all()) for part in model.parameters())
    assert model.core.write.weight.grad.count_nonzero() > 0  # type: ignore[union-attr]


def test_a_sample_does_not_depend_on_its_batch() -> None:
    model = network()
    words, pictures, query = spikes(2 * STEPS, 5, 6), spikes(2 * STEPS, 5, 5, seed=1), spikes(STEPS, 5, 6, seed=2)
    whole = model(words, pictures, query).picture
    alone = model(words[:, 3:4], pictures[:, 3:4], query[:, 3:4]).picture
    torch.testing.assert_close(alone[0], whole[3])


def test_populations_have_their_names() -> None:
    found = network()(spikes(3 * STEPS, 2, 6), spikes(3 * STEPS, 2, 5, seed=1), spikes(STEPS, 2, 6, seed=2))
    assert {name: tuple(part.shape) for name, part in found.layers.items()} == {
        "words": (60, 2, 6), "pictures": (60, 2, 5), "query": (20, 2, 6), "write keys": (60, 2, 9),
        "write values": (60, 2, 9), "read keys": (20, 2, 9), "read values": (20, 2, 9), "decoder": (20, 2, 7),
        "pixels": (20, 2, 12),
    }  # fmt: skip
    assert torch.equal(found.layers["pictures"], spikes(3 * STEPS, 2, 5, seed=1))


def test_rates_store_and_recall_by_the_same_rule() -> None:
    rule = Hebbian(potentiation=0.1, depression=0.1, tau_trace=0.0)
    core = RateMemory(5, 3, 4, rule, generator=seeded())
    model = CrossModalNetwork(core, RateDecoder(4, 6, 2, 3, generator=seeded(1)), nn.Identity(), nn.Identity())
    words, pictures, query = torch.rand(2, 1, 3), torch.rand(2, 1, 2), torch.rand(1, 1, 3)
    found = model(words, pictures, query)
    memory = torch.zeros(4, 4)
    for word, picture in zip(words[:, 0], pictures[:, 0], strict=True):
        key, value = torch.relu(core.write @ torch.cat([word, picture])).chunk(2)
        memory = memory + 0.1 * (1 - memory) * torch.outer(value, key) - 0.1 * memory * key.square()
    recalled = memory @ torch.relu(core.read @ query[0, 0])
    torch.testing.assert_close(found.recollection.memory[0], memory)
    torch.testing.assert_close(found.picture, model.decoder(recalled.view(1, 1, 4)).picture)
    assert set(found.layers) == {
        "words", "pictures", "query", "write keys", "write values", "read keys", "read values",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "pictures", "query"),
    [
        ((60, 2, 6), (40, 2, 5), (20, 2, 6)),
        ((60, 2, 6), (60, 2, 5), (20, 3, 6)),
        ((60, 2, 6), (60, 2, 5), (20, 2, 5)),
        ((50, 2, 6), (50, 2, 5), (20, 2, 6)),
        ((60, 6), (60, 5), (20, 6)),
    ],
)
def test_words_pictures_and_query_must_fit(words: Any, pictures: Any, query: Any) -> None:
    with pytest.raises(ShapeError, match=r"must be \[S T, B, F\], \[S T, B, G\] and \[T, B, F\]"):
        network()(torch.zeros(words), torch.zeros(pictures), torch.zeros(query))


def test_sizes_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="SpikingDecoder needs white > 0"):
        SpikingDecoder(4, 6, 3, 5, memory_neuron(), white=0.0)
    with pytest.raises(ConfigError, match="RateDecoder needs hidden > 0"):
        RateDecoder(4, 0, 3, 5)
