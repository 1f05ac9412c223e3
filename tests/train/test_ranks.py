import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch._C._distributed_c10d import TCPStore

from spikeloom.errors import ConfigError
from spikeloom.train import ranks

PROGRAM = """
import sys
import torch
from spikeloom.errors import CheckpointError
from spikeloom.train import ranks
from spikeloom.train.run import Carry, Run
from pathlib import Path

with ranks.joined() as (rank, world):
    run = Run(Path(sys.argv[1]), "t", "p", 1, rank=rank, world=world, quiet=True)
    model = torch.nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.normal_(generator=run.generator("weights"))
    mine = model.weight.detach().clone()
    assert run.restore(model=model, carry=Carry(state=None)) == 0
    weights = ranks.gather(model.weight.detach().clone())
    assert torch.equal(weights[0], weights[1]), weights
    assert torch.equal(model.weight, mine) == (rank == 0)
    model.bias.grad = torch.full((1,), float(rank))
    ranks.average_gradients(model)
    assert model.bias.grad.item() == 0.5
    assert model.weight.grad.abs().sum() == 0
    assert ranks.mean({"b": rank, "a": 2.0 * rank}) == {"a": 1.0, "b": 0.5}
    assert ranks.shared(rank) == 0

    carry = Carry(state=torch.tensor(float(rank)))
    run.generator("input")
    run.save(3, model=model, carry=carry)
    ranks.barrier()
    again = run.__class__(run.folder, "t", "p", 1, rank=rank, world=world, quiet=True)
    back = Carry(state=None)
    assert again.restore(model=model, carry=back) == 3
    assert back.state.item() == rank
    draw = torch.rand(1, generator=again.generator("input")).item()
    assert draw == torch.rand(1, generator=run.generator("input")).item()
    assert len(set(ranks.gather(draw))) == 2

    with torch.no_grad():
        model.bias += rank
    try:
        run.save(4, model=model, carry=carry)
    except CheckpointError as error:
        assert "the ranks hold different models at update 4. Call ranks.average_gradients" in str(error), error
    else:
        raise AssertionError("drifted ranks were saved")
"""


def port() -> str:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return str(found.getsockname()[1])


@pytest.mark.slow
def test_two_ranks_agree(tmp_path: Path) -> None:
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port()}
    started = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], env={**shared, "RANK": str(rank)})
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in started] == [0, 0]


def test_processes_meet_where_dead_ones_have_met_before() -> None:
    store = TCPStore("localhost", 0, is_master=True)
    found: dict[tuple[int, int], str] = {}

    def come(start: int, rank: int) -> None:
        place = ranks.meeting(TCPStore("localhost", store.port, is_master=False), rank, 3)
        place.set("address", f"{start}") if rank == 0 else None
        found[start, rank] = place.get("address").decode()

    for start in range(3):
        all_of_them = [threading.Thread(target=come, args=(start, rank)) for rank in (2, 0, 1)]
        for thread in all_of_them:
            thread.start()
        for thread in all_of_them:
            thread.join(60)
    assert found == {(start, rank): str(start) for start in range(3) for rank in range(3)}


def test_a_process_that_does_not_come_is_named() -> None:
    store = TCPStore("localhost", 0, is_master=True)
    with pytest.raises(ConfigError, match=r"2 of 3 processes did not come within 0.1 s: ranks 1, 2. Start torchrun on"):
        ranks.meeting(store, 0, 3, patience=0.1)


LEAVING = """
import torch
from pathlib import Path
from spikeloom.train import ranks

def threads():
    return sum("gloo" in (task / "comm").read_text() for task in Path("/proc/self/task").iterdir())

with ranks.joined():
    torch.optim.Adam(torch.nn.Linear(2, 1).parameters())
    ranks.barrier()
    assert threads() > 0
assert threads() == 0, f"{threads()} threads of the group still run"
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted where Linux lists them")
def test_no_thread_of_the_group_stays_when_it_is_left() -> None:
    alone = {**os.environ, "WORLD_SIZE": "1", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": port()}
    assert subprocess.run([sys.executable, "-c", LEAVING], env=alone, timeout=120, check=False).returncode == 0


def test_one_process_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    model = torch.nn.Linear(2, 1)
    with ranks.joined() as place:
        assert place == (0, 1)
        ranks.average_gradients(model)
        ranks.copy_from_first(model)
        ranks.barrier()
        assert ranks.mean({"loss": 2.0}) == {"loss": 2.0}
        assert ranks.gather(1) == [1]
        assert ranks.shared(1) == 1
        assert ranks.local_device().type in ("cpu", "cuda")


def test_half_an_environment_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "1")
    with pytest.raises(ConfigError, match=r"WORLD_SIZE is set, RANK is not. Start with torchrun"), ranks.joined():
        pass


def test_every_process_needs_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert ranks.local_device() == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(
        ConfigError, match=r"process 2 .* has no GPU of its own: there are 2. Start at most 2 processes"
    ):
        ranks.local_device()


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("RANK", "x", "0 to 1"), ("RANK", "2", "0 to 1"), ("RANK", "-1", "0 to 1"), ("RANK", "", "0 to 1"),
        ("WORLD_SIZE", "two", "1 to 1048576"), ("WORLD_SIZE", "0", "1 to 1048576"),
        ("WORLD_SIZE", "9" * 9, "1 to 1048576"),
        ("MASTER_PORT", "http", "0 to 65535"), ("MASTER_PORT", "65536", "0 to 65535"), ("RANK", "\u0661", "0 to 1"),
    ],
)  # fmt: skip
def test_variables_that_are_no_numbers_are_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    usual = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for key, text in {**usual, name: value}.items():
        monkeypatch.setenv(key, text)
    message = rf"{name} must be a whole number from {allowed}, but is '.*'. Start with torchrun, which sets it"
    with pytest.raises(ConfigError, match=message), ranks.joined():
        pass


def test_a_port_in_use_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        number = str(taken.getsockname()[1])
        for key, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": number}.items():
            monkeypatch.setenv(key, value)
        message = rf"process 0 of 2 could not meet the others at localhost:{number}: .*already in use.* Choose a port"
        with pytest.raises(ConfigError, match=message), ranks.joined():
            pass


def test_one_process_agrees_with_itself() -> None:
    ranks.check_same(seed=1, options={"lr": 0.1})
    assert ranks.of_first(lambda: 3) == 3


TOGETHER = """
import os, sys
from spikeloom.errors import ConfigError, TrainingError
from spikeloom.train import ranks

with ranks.joined() as (rank, world):
    ranks.check_same(seed=1, options={"lr": 0.1})
    try:
        ranks.check_same(seed=1 + 4 * rank, options={"lr": 0.1, "batch": 8 - rank})
    except ConfigError as error:
        assert "process 1 was started with other options: seed 5 there and 1 in process 0; batch 7" in str(error)
        assert "Start all with the same command" in str(error)
    else:
        raise AssertionError("other options were not noticed")
    assert ranks.of_first(lambda: [rank, "first"]) == [0, "first"]

    def refuse():
        raise ConfigError("refused by the first")

    try:
        ranks.of_first(refuse)
    except ConfigError as error:
        assert str(error) == "refused by the first"
    else:
        raise AssertionError("an error of the first was not shared")
    if rank == 1:
        os._exit(3)
    try:
        ranks.mean({"loss": 1.0})
    except TrainingError as error:
        assert "process 0 of 2 lost another one" in str(error), error
        assert "What was saved is kept: go on with" in str(error)
        print("noticed", flush=True)
        os._exit(0)
"""


@pytest.mark.slow
def test_two_ranks_are_told_what_differs_and_who_is_lost() -> None:
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port()}
    started = [
        subprocess.Popen([sys.executable, "-c", TOGETHER], env={**shared, "RANK": str(rank)}, stdout=subprocess.PIPE)
        for rank in range(2)
    ]
    said = [process.communicate(timeout=240)[0] for process in started]
    assert [process.returncode for process in started] == [0, 3]
    assert said[0] == b"noticed\n"
