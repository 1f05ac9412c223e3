"""The public list is exact, and everything on it is documented with an example that runs (pytest runs the doctests)."""

import doctest
import inspect
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

import spikeloom

ROOT = Path(__file__).parent.parent
PUBLIC = sorted(name for name in spikeloom.__all__ if not name.startswith("__"))


def is_exception(thing: object) -> bool:
    """The exception tree is documentation by itself and needs no example."""
    return inspect.isclass(thing) and issubclass(thing, Exception)


def documented(thing: object) -> str:
    """The docstring of a thing, its own and not one inherited."""
    return (thing.__dict__.get("__doc__") if inspect.isclass(thing) else inspect.getdoc(thing)) or ""


def test_the_public_list_names_what_exists_and_nothing_twice() -> None:
    assert len(set(spikeloom.__all__)) == len(spikeloom.__all__)
    for name in spikeloom.__all__:
        assert getattr(spikeloom, name) is not None
    with pytest.raises(AttributeError, match=r"spikeloom has no public name 'LIFF'; it has ALIF, "):
        _ = spikeloom.LIFF


def test_importing_the_package_alone_loads_nothing_heavy() -> None:
    code = "import sys, spikeloom; print([name for name in ('torch', 'numba', 'sympy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", PUBLIC)
def test_everything_public_has_a_docstring_with_an_example(name: str) -> None:
    thing = getattr(spikeloom, name)
    text = documented(thing)
    assert text.strip(), f"{name} has no docstring of its own"
    if isinstance(thing, ModuleType) or is_exception(thing):
        return
    assert doctest.DocTestParser().get_examples(text), f"the docstring of {name} has no example"


def test_the_version_is_that_of_the_installed_package() -> None:
    assert spikeloom.__version__ == version("spikeloom")


def test_every_pinned_version_is_exact_and_every_dependency_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in pins if line.count("==") != 1 or "+" in line or "@" in line] == []
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [name for group in project["optional-dependencies"].values() for name in group]
    wanted = {name.split(">")[0].lower() for name in [*project["dependencies"], *extras] if "[" not in name}
    assert wanted <= pinned
    assert "torch==2.13.0" in pins
