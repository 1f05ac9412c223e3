import json
import socket

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
    assert environment._git(environment.Path("/"), "rev-parse", "HEAD") is None
    assert environment._version("no-such-package-anywhere") is None


def test_where_in_words() -> None:
    assert environment.where(torch.device("cpu")) == f"on the CPU with {torch.get_num_threads()} threads"
    assert environment.where(torch.device("cuda", 1)) == "on cuda:1"
