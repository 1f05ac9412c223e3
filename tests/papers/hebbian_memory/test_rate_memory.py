"""The memory as rates: the rule by hand, keys and values of any size, first weights that agree with both forms."""

from typing import Any

import pytest
import torch
from torch import Tensor

from spikeloom.errors import ConfigError
from spikeloom.layers.hebbian_memory.layer import align_weights_, centre_, memory_neuron
from spikeloom.papers.hebbian_memory.networks import MemoryCore, RateMemory, normalised
from spikeloom.rules import Hebbian

ITEMS, BATCH, FEATURES, LABELS, SIZE = 3, 5, 6, 4, 8
RULE = Hebbian(potentiation=0.1, depression=0.1, tau_trace=0.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rates(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=seeded(seed), dtype=torch.float64)


def memory(**options: Any) -> RateMemory:
    return RateMemory(FEATURES + LABELS, FEATURES, SIZE, RULE, generator=seeded(), **options).double()


def test_normalised_keys_and_values_are_bound_by_the_rule() -> None:
    core, items, query = memory(normalise=True), rates(ITEMS, 1, FEATURES + LABELS), rates(1, FEATURES, seed=1)

    def scaled(current: Tensor) -> Tensor:
        found = [max(float(x), 0.0) for x in current]
        size = (sum(x * x for x in found) / len(found)) ** 0.5
        return torch.tensor([x / size for x in found], dtype=torch.float64)

    with torch.no_grad():
        weight, seen = torch.zeros(SIZE, SIZE, dtype=torch.float64), []
        for item in items[:, 0]:
            key, value = (scaled(part) for part in (core.write @ item).chunk(2))
            gain = (0.1 * torch.outer(value, key)).clamp(max=1.0)
            weight = weight + gain * (1 - weight) - torch.minimum(0.1 * key.square(), 1 - gain) * weight
            seen.append(torch.cat([key, value]))
        key = scaled(core.read @ query[0])
        found = core(items, query)
    close: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6}  # `normalised` adds a little to the mean square
    torch.testing.assert_close(found.memory[0], weight, **close)
    torch.testing.assert_close(found.written[:, 0], torch.stack(seen), **close)
    torch.testing.assert_close(found.logits[0], weight @ key, **close)
    torch.testing.assert_close(found.read[0, 0], torch.cat([key, weight @ key]), **close)


def test_what_is_normalised_does_not_depend_on_the_size_of_items() -> None:
    items, query = rates(ITEMS, BATCH, FEATURES + LABELS), rates(BATCH, FEATURES, seed=1)
    small, large = (memory(normalise=True)(size * items, size * query).logits for size in (1.0, 1000.0))
    torch.testing.assert_close(small, large, rtol=1e-5, atol=1e-6)
    free, huge = (memory()(size * items, size * query).logits for size in (1.0, 1000.0))
    assert float(huge.detach().abs().max()) > 100 * float(free.detach().abs().max())


def test_silence_is_normalised_to_silence_with_a_gradient() -> None:
    silent = torch.zeros(2, 4, requires_grad=True)
    found = normalised(silent)
    torch.autograd.backward(found.sum())
    assert found.count_nonzero() == 0
    assert silent.grad is not None
    assert bool(silent.grad.isfinite().all())


def test_both_forms_start_with_keys_that_agree() -> None:
    spiking = MemoryCore(
        FEATURES + LABELS, FEATURES, SIZE, memory_neuron(), Hebbian(), steps=10, window=10, generator=seeded()
    )
    for core in (spiking, memory()):
        write, read = core.weights
        before = write.detach().clone()
        centre_(write[:SIZE, :FEATURES])
        align_weights_(write, read, FEATURES)
        assert torch.equal(write[:SIZE, :FEATURES], read[:, :FEATURES])
        assert float(write[:SIZE, :FEATURES].detach().sum(1).abs().max()) < 1e-6
        for none in (write[:SIZE, FEATURES:], write[SIZE:, :FEATURES], read[:, FEATURES:]):
            assert none.count_nonzero() == 0
        assert torch.equal(write[SIZE:, FEATURES:], before[SIZE:, FEATURES:])
        assert all(part.requires_grad and part.is_leaf for part in core.weights)


def test_an_aligned_query_has_the_key_of_its_item() -> None:
    core = memory(normalise=True)
    align_weights_(*core.weights, FEATURES)
    items = rates(ITEMS, BATCH, FEATURES + LABELS)
    found = core(items, items[1, :, :FEATURES])
    torch.testing.assert_close(found.read[0, :, :SIZE], found.written[1, :, :SIZE])


def test_a_rule_with_traces_is_refused() -> None:
    with pytest.raises(ConfigError, match="give its rule tau_trace=0"):
        RateMemory(5, 3, 4, Hebbian())
