"""`fit` and what people pass to it or return in its functions."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from spikeloom.errors import ConfigError
from spikeloom.train.run import Run
from spikeloom.train.supervised import fit


def trained(folder: Path, **changes: Any) -> Run:
    run = Run(folder, "x", "p", 0, quiet=True)
    given: dict[str, Any] = {"parts": {"m": nn.Linear(1, 1)}, "updates": 3, "step": lambda i: {"loss": 3.0 - i}}
    fit(run, **{**given, **changes})
    return run


def test_the_best_is_the_lowest_or_the_highest_and_nothing_else(tmp_path: Path) -> None:
    assert trained(tmp_path / "a", best="loss", better="lower").best == 1.0
    assert trained(tmp_path / "b", best="loss", better="higher").best == 3.0
    for wrong in ("min", "LOWER", None):
        with pytest.raises(ConfigError, match='fit needs better="lower" or "higher", but got'):
            trained(tmp_path / "c", best="loss", better=wrong)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": lambda i: None}, r"step\(finished\) must return numbers by name, .* but returned NoneType"),
        ({"step": lambda i: {"loss": None}}, "must return one number per name, but returned loss: NoneType"),
        ({"step": lambda i: {"loss": "0.5"}}, "one number per name, but returned loss: str"),
        ({"step": lambda i: {"loss": torch.ones(3)}}, "one number per name, but returned loss: Tensor"),
        ({"step": lambda i: {"loss": 10**400}}, "one number per name, but returned loss: int"),
        ({"step": lambda i: {1: 1.0}}, "returned a value named 1"),
        ({"step": lambda i: {"update": 1.0}}, "returned a value named 'update'"),
        ({"validate": lambda i: {"loss": 1.0}}, "Call it 'validation_loss'"),
        ({"validate": lambda i: 3.0}, r"validate\(finished\) must return numbers by name"),
        ({"parts": {"m": None}}, "with a state_dict, such as modules and optimisers, but 'm' is NoneType"),
        ({"parts": {1: nn.Linear(1, 1)}}, "cannot call a part 1"),
        ({"parts": [nn.Linear(1, 1)]}, "needs parts by name"),
        ({"updates": "3"}, "needs updates >= 0, a whole number of updates, but got '3'"),
        ({"updates": 2.5}, "needs updates >= 0"),
        ({"checkpoint_every": 0}, "needs checkpoint_every >= 1"),
        ({"headline": "loss"}, r'needs headline=\("loss", "accuracy"\), names of values, but got \'loss\''),
        ({"headline": (1, 2)}, r"names of values, but got \(1, 2\)"),
    ],
)
def test_what_cannot_be_used_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        trained(tmp_path, **changes)


class Holder(nn.Module):
    """A parameter and a buffer of any kind."""

    def __init__(self, parameter: Any = None, buffer: Any = None) -> None:
        super().__init__()
        self.register_parameter("weight", None if parameter is None else nn.Parameter(parameter))
        self.register_buffer("counts", buffer)


@pytest.mark.filterwarnings("ignore:.*(quantize|CSR|nested tensors).*:UserWarning")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nn.Sequential(nn.Linear(2, 2), nn.LazyLinear(3)),
            "'m', whose 1.weight has no shape yet. Call",
        ),
        (lambda: nn.Sequential(nn.LazyBatchNorm1d()), "whose 0.weight has no shape yet"),
        (lambda: nn.Linear(2, 2, device="meta"), "whose weight has no values, for it is on meta"),
        (lambda: Holder(buffer=torch.ones(2, device="meta")), "whose counts has no values"),
        (lambda: Holder(torch.eye(2).to_sparse()), "whose weight is torch.float32 of layout torch.sparse_coo"),
        (lambda: Holder(torch.eye(2).to_sparse_csr()), "layout torch.sparse_csr"),
        (lambda: Holder(torch.eye(2).to(torch.float8_e4m3fn)), "whose weight is torch.float8_e4m3fn"),
        (lambda: Holder(torch.nested.nested_tensor([torch.ones(2)])), "in a nested tensor"),
        (lambda: Holder(buffer=torch.eye(2).to_sparse()), "whose counts is torch.float32 of layout torch.sparse_coo"),
    ],
)
def test_networks_that_cannot_be_trained_are_told_at_the_start(make: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        trained(tmp_path, parts={"m": make()})
    assert not list(tmp_path.iterdir())


def test_complex_and_half_parameters_are_trained(tmp_path: Path) -> None:
    trained(tmp_path / "a", parts={"m": Holder(torch.eye(2).to(torch.complex64))})
    trained(tmp_path / "b", parts={"m": nn.Linear(2, 2).half()})
