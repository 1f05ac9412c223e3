"""Docstrings are in the English of the field: a summary stands alone, and says what a thing is or does."""

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import LISTED

PACKAGE = Path(__file__).parent.parent / "spikeloom"
UNCLEAR = re.compile(r"(What|Which|Where|How|Whose|Who|The same|Of|As|Some of|Those|That|It|They|One of) ")
"""First words of a summary that only makes sense to a reader who knows the code around it."""


def summaries(path: Path) -> list[str]:
    """First lines of the docstrings of a file, its classes and functions, with their places."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]
    texts = [(getattr(node, "lineno", 1), ast.get_docstring(node)) for node in nodes]
    return [f"{path.relative_to(PACKAGE)}:{line}: {text.splitlines()[0]}" for line, text in texts if text]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_summary_stands_alone(path: Path) -> None:
    assert [line for line in summaries(path) if UNCLEAR.match(line.split(": ", 1)[1])] == []


def test_an_unclear_summary_is_recognised() -> None:
    assert UNCLEAR.match("What moves in a LIF neuron.")
    assert UNCLEAR.match("The same for words.")
    assert not UNCLEAR.match("State of a LIF layer.")
    assert not UNCLEAR.match("Whether the layer spikes.")


def test_every_public_class_has_a_name_of_its_own() -> None:
    """A `Config` is the exception: every task has one, under that name."""
    places: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and node.name != "Config":
                places.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_tests_that_are_listed_as_slow_exist() -> None:
    for name in LISTED:
        file, _, function = name.partition("::")
        assert f"def {function}(" in (Path(__file__).parents[1] / file).read_text(), name
