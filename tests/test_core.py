"""The structure that travels in a `state_dict`."""

import pytest
import torch

from spikeloom.core import STRUCTURE, Structured
from spikeloom.errors import CheckpointError


class Order(Structured):
    def __init__(self, order: int) -> None:
        super().__init__()
        self.order = order
        self.weight = torch.nn.Parameter(torch.full((2,), float(order)))

    def structure(self) -> dict[str, float | str | bool | None]:
        return {"order": self.order, "unit": "steps"}


def test_equal_structure_loads_and_the_state_dict_holds_tensors_only() -> None:
    saved = torch.nn.Sequential(Order(3)).state_dict()
    assert all(isinstance(value, torch.Tensor) for value in saved.values())
    into = torch.nn.Sequential(Order(3))
    assert str(into.load_state_dict(saved)) == "<All keys matched successfully>"


def test_another_structure_is_an_error_that_names_both() -> None:
    with pytest.raises(CheckpointError, match=r"Order \(0\) was saved with order=6, but this one has order=3"):
        torch.nn.Sequential(Order(3)).load_state_dict(torch.nn.Sequential(Order(6)).state_dict())


def test_a_state_dict_without_structure_loads() -> None:
    saved = Order(6).state_dict()
    del saved[STRUCTURE]
    into = Order(3)
    into.load_state_dict(saved)
    assert into.weight.tolist() == [6.0, 6.0]


@pytest.mark.parametrize("damaged", [torch.tensor([255], dtype=torch.uint8), torch.ones(2), torch.ones(()), 3])
def test_a_damaged_structure_is_an_error(damaged: object) -> None:
    saved = Order(3).state_dict()
    saved[STRUCTURE] = damaged
    with pytest.raises(CheckpointError, match="structure that cannot be read"):
        Order(3).load_state_dict(saved)
