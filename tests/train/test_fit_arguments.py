"""`fit` and what people pass to it or return in its functions."""

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
    ],
)
def test_what_cannot_be_used_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        trained(tmp_path, **changes)
