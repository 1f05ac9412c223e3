"""What a type checker and an editor say of the examples: every block of the README and of the docs is accepted."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
USES = """
import spikeloom

net = spikeloom.Sequential(spikeloom.LIF(tau_mem=20.0, surrogate=spikeloom.Triangle(gain=0.3)))
with spikeloom.kernels.use("torch"):
    pass
reveal_type(net)
reveal_type(spikeloom.kernels.Equation)
reveal_type(spikeloom.convert.convert)
"""


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every block that imports torch as a file, with the blocks that go on from it."""
    folder = tmp_path_factory.mktemp("examples")
    for page in PAGES:
        files: list[str] = []
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
            if re.search("^import torch$", block, re.MULTILINE) or not files:
                files.append(block)
            else:
                files[-1] += block
        for number, text in enumerate(files):
            (folder / f"{page.stem.lower().replace('-', '_')}_{number}.py").write_text(text)
    (folder / "uses.py").write_text(USES)
    assert len(list(folder.iterdir())) > 10
    return folder


def check(folder: Path, *command: str) -> str:
    """The output of a type checker, run on the examples beside the package."""
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_mypy_accepts_the_examples(examples: Path) -> None:
    (examples / "mypy.ini").write_text(
        f"[mypy]\nmypy_path = {ROOT}\nfollow_imports = silent\ncheck_untyped_defs = True\n"
    )
    said = check(examples, "mypy", "--config-file", "mypy.ini", ".")
    assert said.count("note: Revealed type is") == 3
    assert 'Revealed type is "Any"' not in said


def test_pyright_accepts_the_examples(examples: Path) -> None:
    options = {
        "include": ["."],
        "typeCheckingMode": "standard",
        "extraPaths": [str(ROOT)],
        "reportUnusedExpression": False,
    }
    (examples / "pyrightconfig.json").write_text(json.dumps(options))
    said = check(examples, "basedpyright", "--pythonpath", sys.executable)
    assert said.count("information: Type of") == 3
    assert "Unknown" not in said
