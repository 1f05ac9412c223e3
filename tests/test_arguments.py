"""Arguments of another kind than their annotation are named; errors about anything else pass."""

from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from spikeloom.arguments import explained
from spikeloom.errors import ConfigError, DataError, ShapeError
from spikeloom.neurons import LIF
from spikeloom.rules import STDP


class Got(NamedTuple):
    number: float
    whole: int
    flag: bool
    text: str | None


@explained
def scalars(number: float = 1.0, whole: int = 2, flag: bool = True, text: str | None = None) -> Got:
    return Got(number, whole, flag, text)


@pytest.mark.parametrize(
    ("given", "usual"),
    [
        ({"number": 3}, 3),
        ({"number": np.float32(0.5)}, 0.5),
        ({"number": Fraction(1, 4)}, 0.25),
        ({"number": torch.tensor(0.5)}, 0.5),
        ({"whole": 4.0}, 4),
        ({"whole": np.uint8(4)}, 4),
        ({"whole": np.array(4)}, 4),
        ({"flag": np.bool_(False)}, False),
        ({"text": np.str_("a")}, "a"),
        ({"text": None}, None),
    ],
)
def test_what_stands_for_a_number_enters_as_one(given: dict[str, Any], usual: Any) -> None:
    ((name, _),) = given.items()
    found = getattr(scalars(**given), name)
    assert found == usual
    assert type(found) in (float, int, bool, str, type(None))
    assert isinstance(found, type(usual))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"number": "1"}, "scalars needs number as a number, but got '1' (str)"),
        ({"number": 1j}, "number as a number, but got 1j"),
        ({"number": True}, "number as a number, but got True"),
        ({"number": torch.ones(2)}, "number as a number, but got tensor"),
        ({"number": torch.tensor(1.0, requires_grad=True)}, "number as a number"),
        ({"whole": 2.5}, "whole as a whole number, but got 2.5"),
        ({"whole": float("nan")}, "whole as a whole number, but got nan"),
        ({"whole": None}, "whole as a whole number, but got None"),
        ({"flag": 1}, "flag as True or False, but got 1"),
        ({"flag": "no"}, "flag as True or False, but got 'no'"),
        ({"text": b"a"}, "text as a text or None, but got b'a'"),
    ],
)
def test_what_is_of_another_kind_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        scalars(**given)
    assert said in str(caught.value)
    ((name, value),) = given.items()
    place = ["number", "whole", "flag", "text"].index(name)
    by_place: list[Any] = [*[1.0, 2, True, None][:place], value]
    with pytest.raises(ConfigError):
        scalars(*by_place)


@explained
def doubled(xs: Tensor, path: Path | str = ".") -> list[float]:
    Path(path).stat()
    values: list[float] = (xs * 2).tolist()
    return values


@explained
def outer(values: Tensor) -> list[float]:
    return doubled(values)


def test_what_fails_inside_is_explained_by_the_argument_that_caused_it() -> None:
    assert doubled(torch.ones(1)) == [2.0]
    with pytest.raises(ConfigError, match=r"doubled needs xs as Tensor, but got None \(NoneType\)") as caught:
        doubled(None)  # type: ignore[arg-type]
    assert isinstance(caught.value.__cause__, TypeError)
    with pytest.raises(ConfigError, match=r"outer needs values as Tensor"):  # what the caller calls it
        outer({})  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"doubled looks at the values of xs, but one on meta has none"):
        doubled(torch.ones(1, device="meta"))
    with pytest.raises(DataError, match=r"doubled cannot use path=.*embedded null"):
        doubled(torch.ones(1), "a\0b")


def test_other_errors_pass() -> None:
    with pytest.raises(FileNotFoundError):
        doubled(torch.ones(1), "no/such/file")
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        doubled()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        doubled(torch.ones(1), where=1)  # type: ignore[call-arg]


def test_a_size_beyond_the_memory_is_told() -> None:
    @explained
    def zeros(size: int) -> Tensor:
        return torch.zeros(size)

    with pytest.raises(ConfigError, match=r"zeros asks for more memory than there is, with size=1,000,000,000,000,000"):
        zeros(10**15)
    with pytest.raises(ConfigError, match=r"zeros needs size"):
        zeros(2**70)


def test_classes_are_explained_when_they_are_made() -> None:
    with pytest.raises(ConfigError, match=r"STDP needs lr as a number, but got '0.1'"):
        STDP(lr="0.1")  # type: ignore[arg-type]
    assert STDP(lr=Fraction(1, 4)).lr == 0.25  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"LIF needs memory"):
        LIF(memory=3)  # type: ignore[arg-type]
