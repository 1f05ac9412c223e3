import json
import socket
import subprocess
from pathlib import Path

import pytest
import torch

from spikeloom.train import environment


def test_versions_and_machine_without_names() -> None:
    found = environment.describe(torch.device("cpu"), world=2)
    assert found["packages"]["torch"] == torch.__version__
    assert found["ranks"] == 2
    assert found["torch_threads"] == torch.get_num_threads()
    assert found["device"] == "cpu"
    assert found["accelerator"] is None
    text = json.dumps(found)
    assert socket.gethostname() not in text or socket.gethostname() == "localhost"


def test_what_changed_is_named() -> None:
    before = environment.describe(torch.device("cpu"), world=1)
    assert environment.differences(before, before) == []
    assert environment.differences(before, {**before, "torch_threads": -1, "started": "later"}) == [
        f"torch_threads was {before['torch_threads']}, is -1"
    ]


def test_no_git_is_no_commit() -> None:
    assert environment._git(Path("/"), "rev-parse", "HEAD") is None
    assert environment._version("no-such-package-anywhere") is None


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True)


def package(root: Path, name: str) -> Path:
    """A repository with a copy of the package in it, all of it committed."""
    (root / "spikeloom" / "train").mkdir(parents=True)
    (root / "spikeloom" / "__init__.py").touch()
    (root / "spikeloom" / "train" / "environment.py").touch()
    (root / "pyproject.toml").write_text(f'[project]\nname = "{name}"\n')
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "all")
    return root / "spikeloom" / "train" / "environment.py"


def test_only_the_repository_of_the_package_gives_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = package(tmp_path / "own", "spikeloom"), package(tmp_path / "other", "theirs")
    monkeypatch.setattr(environment, "__file__", str(own))
    commit, changed = environment._commit()
    assert commit is not None
    assert (len(commit), changed) == (40, False)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))  # as in a hook of another repository
    assert environment._commit() == (commit, False)
    monkeypatch.delenv("GIT_DIR")
    own.write_text("changed = True")
    assert environment._commit() == (commit, True)
    monkeypatch.setattr(environment, "__file__", str(other))  # a copy that others keep in their project
    assert environment._commit() == (None, None)
    installed = tmp_path / "own" / "lib" / "site-packages" / "spikeloom" / "train"
    installed.mkdir(parents=True)
    monkeypatch.setattr(environment, "__file__", str(installed / "environment.py"))
    assert environment._commit() == (None, None)
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "spikeloom" / "train" / "environment.py"))
    assert environment._commit() == (None, None)
    assert environment.describe(torch.device("cpu"), 1)["uncommitted_changes"] is None


def test_where_in_words() -> None:
    assert environment.where(torch.device("cpu")) == f"on the CPU with {torch.get_num_threads()} threads"
    assert environment.where(torch.device("cuda", 1)) == "on cuda:1"
