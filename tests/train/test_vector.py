"""All weights as one vector: the same training, the same checkpoints, and what cannot be one vector is said."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from spikeloom.errors import ConfigError
from spikeloom.train.vector import as_vector


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))


def train(module: nn.Module, optimizer: torch.optim.Optimizer, updates: int = 5) -> None:
    draws = torch.Generator().manual_seed(1)
    for _ in range(updates):
        optimizer.zero_grad(set_to_none=False)
        module(torch.randn(4, 3, generator=draws)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.RMSprop])
def test_training_is_the_same_as_weight_by_weight(kind: Callable[..., torch.optim.Optimizer]) -> None:
    one, two = network(), network()
    train(one, kind([as_vector(one)], lr=0.1))
    train(two, kind(two.parameters(), lr=0.1))
    assert not torch.equal(one.get_parameter("0.weight"), network().get_parameter("0.weight"))
    for part, other in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(part, other)


def test_a_loaded_checkpoint_goes_on_the_same() -> None:
    def begun() -> tuple[Any, torch.optim.Optimizer]:
        module = network()
        return module, torch.optim.Adam([as_vector(module)], lr=0.1)

    whole, parts, later = begun(), begun(), begun()
    train(*whole, updates=3)
    train(*parts, updates=3)
    later[0].load_state_dict(parts[0].state_dict())
    later[1].load_state_dict(parts[1].state_dict())
    train(*whole)
    train(*later)
    for one, two in zip(whole[0].parameters(), later[0].parameters(), strict=True):
        assert torch.equal(one, two)


def test_what_is_not_learned_stays_out() -> None:
    module = network()
    module[0].requires_grad_(False)
    before = module.get_parameter("0.weight").clone()
    vector = as_vector(module)
    assert vector.numel() == 5 * 2 + 2
    train(module, torch.optim.SGD([vector], lr=1.0))
    assert torch.equal(module.get_parameter("0.weight"), before)


def test_what_cannot_be_one_vector_is_said() -> None:
    mixed = nn.ModuleList([nn.Linear(2, 1), nn.Linear(2, 1).double()])
    with pytest.raises(ConfigError, match="of one type on one device, but got float32 on cpu and float64 on cpu"):
        as_vector(mixed)
    with pytest.raises(ConfigError, match="but got none that is learned"):
        as_vector(nn.Tanh())
