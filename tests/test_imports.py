"""Who may import whom, read from the source: the plan of the house, as a test.

   cli -> papers -> convert -> layers -> rules -> neurons -> kernels -> firing -> surrogate
       -> grammar -> core, vocabulary -> compiled -> kept -> hdf5 -> arguments -> errors
    inspect -> layers and what is right of them      train -> core, inspect, plot, compiled, errors
    data -> encoding, compiled, kept, hdf5, arguments, errors      plot -> numpy, matplotlib only
    encoding -> data (formats), kernels, compiled, arguments, errors
    report -> plot, errors

Each may import anything to its right. Papers never import each other, the library never imports a paper, and no imports
form a circle.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "spikeloom"

CHAIN = [
    "convert",
    "layers",
    "rules",
    "neurons",
    "kernels",
    "firing",
    "surrogate",
    "grammar",
    "vocabulary",
    "core",
    "compiled",
    "kept",
    "hdf5",
    "arguments",
    "errors",
]
APART = {
    "data": {"encoding", "compiled", "kept", "hdf5", "arguments", "errors"},
    "encoding": {"data", "kernels", "compiled", "arguments", "errors"},
    "train": {"core", "inspect", "plot", "compiled", "errors"},
    "plot": set[str](),
    "report": {"plot", "errors"},
}
ALLOWED = {part: set(CHAIN[place + 1 :]) for place, part in enumerate(CHAIN)} | APART
ALLOWED |= {"inspect": set(CHAIN[CHAIN.index("layers") :])}  # what a person asks of any network
PAPERS = {f"papers.{path.name}" for path in (PACKAGE / "papers").iterdir() if (path / "__init__.py").is_file()}
LIBRARY = {"inspect", *CHAIN, *APART}
ALLOWED |= dict.fromkeys(PAPERS, LIBRARY) | {"papers": set[str]()}
ALLOWED |= {"models": PAPERS, "cli": {"papers", *PAPERS, *LIBRARY}, "__main__": {"cli"}}
ALLOWED |= {"__init__": {*CHAIN, "data", "encoding", "inspect", "models", "train"}}

THIRD_PARTY = {
    "tyro": {"cli"},
    "rich": {"cli", "train"},
    "matplotlib": {"plot", *PAPERS},
    "gymnasium": {"papers.hebbian_memory"},
    "pooch": {"data"},
    "h5py": {"data", "hdf5"},
    "PIL": {"data", "plot", *PAPERS},
    "pandas": {"train"},
    "numba": {"compiled", "kernels"},
    "sympy": {"kernels", "vocabulary"},
    "triton": {"kernels", "layers"},
}
NOT_FOR_PLOT = {"torch", "scipy"}
NEVER = {"torchvision", "torchaudio", "tonic", "lightning", "norse", "snntorch", "spikingjelly", "bindsnet"}


def room(name: str) -> str:
    """The room of the house that a dotted name inside the package belongs to."""
    if name.startswith("kernels.derive.symbols"):  # the vocabulary's words for SymPy, loaded when one is first needed
        return "vocabulary"
    first, _, rest = name.partition(".")
    if first == "papers" and rest not in ("", "__init__"):
        return f"papers.{rest.partition('.')[0]}"
    return first.removesuffix("_child")  # hdf5 starts hdf5_child


def room_of(path: Path) -> str:
    """The room that a file belongs to."""
    return room(".".join(path.relative_to(PACKAGE).with_suffix("").parts))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, inside functions too, by its absolute dotted name."""
    here = ("spikeloom", *path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(here[: len(here) - node.level]) if node.level else []
            stem = [*base, *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                inside = PACKAGE.joinpath(*stem[1:], alias.name)
                is_module = stem[0] == "spikeloom" and (inside.is_dir() or inside.with_suffix(".py").is_file())
                yield ".".join([*stem, alias.name] if is_module else stem)


def violations(path: Path) -> list[str]:
    """What a file imports and should not."""
    here, found = room_of(path), set()
    for name in imports(path):
        root, _, rest = name.partition(".")
        if root == "spikeloom":
            if not rest or room(rest) not in {here, *ALLOWED[here]}:
                found.add(name)
        elif root in NEVER or here not in THIRD_PARTY.get(root, {here}) or (here == "plot" and root in NOT_FOR_PLOT):
            found.add(name)
    return sorted(found)


TEMPLATE = Path("cli/own_task.py")
"""File that `spikeloom new` copies: it imports the package as a user does."""


def files() -> list[Path]:
    """Every module of the package."""
    return sorted(path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE) != TEMPLATE)


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_what_stands_to_its_right(path: Path) -> None:
    assert room_of(path) in ALLOWED, f"{path} is in no room of the house: give it a place in tests/test_imports.py"
    assert violations(path) == []


@pytest.mark.parametrize(
    ("part", "line", "wrong"),
    [
        ("kernels", "from ..neurons import LIF", "spikeloom.neurons"),
        ("kernels", "from .. import layers", "spikeloom.layers"),
        ("kernels", "from .. import LIF", "spikeloom"),
        ("data", "import spikeloom.train.run", "spikeloom.train.run"),
        ("plot", "import torch", "torch"),
        ("train", "def late():\n    from ..data import mnist", "spikeloom.data"),
        ("papers/nengo", "import tyro", "tyro"),
        ("papers/nengo", "from ..lsnn import network", "spikeloom.papers.lsnn.network"),
        ("layers", "from ..papers.lsnn.network import LSNN", "spikeloom.papers.lsnn.network"),
        ("layers", "import torchvision.models", "torchvision.models"),
    ],
)
def test_a_wrong_import_is_found(
    part: str, line: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    for known in ("neurons", "layers", "train", "data", "papers/lsnn", part):
        (tmp_path / known).mkdir(exist_ok=True, parents=True)
    (tmp_path / "papers/lsnn/network.py").touch()
    path = tmp_path / part / "new.py"
    path.write_text(line)
    assert violations(path) == [wrong]


def test_a_paper_draws_in_files_that_load_only_when_it_plots() -> None:
    drawing = [path for paper in sorted(PAPERS) for path in (PACKAGE / paper.replace(".", "/")).glob("*.py")]
    loads = {path for path in drawing if {name.partition(".")[0] for name in imports(path)} & {"matplotlib", "PIL"}}
    assert loads
    assert {path.name for path in loads if not path.name.startswith("draw_")} == set()


def test_pandas_is_imported_by_one_function() -> None:
    assert [path.name for path in files() if any(name == "pandas" for name in imports(path))] == ["opened.py"]
    tree = ast.parse((PACKAGE / "train/opened.py").read_text())
    outside = [node for node in tree.body if isinstance(node, ast.Import)]
    assert all(alias.name != "pandas" for node in outside for alias in node.names)


def test_no_imports_form_a_circle() -> None:
    modules = {path: ".".join(("spikeloom", *path.relative_to(PACKAGE).with_suffix("").parts)) for path in files()}
    names = {name.removesuffix(".__init__"): name for name in modules.values()}
    graph = {name: {names[used] for used in imports(path) if used in names} - {name} for path, name in modules.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_the_help_is_quick_because_nothing_heavy_is_imported() -> None:
    heavy = "numba", "sympy", "triton", "matplotlib", "gymnasium"
    code = (
        "import sys, contextlib\n"
        "sys.argv = ['spikeloom', '--help']\n"
        "from spikeloom.cli import main\n"
        "with contextlib.suppress(SystemExit): main()\n"
        f"print('loaded:', [name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"
