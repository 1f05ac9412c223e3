"""torchrun on one machine and on two, three ranks, and a rank that is killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from spikeloom import cli
from spikeloom.cli.help import tasks
from spikeloom.train import checkpoint

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SPIKELOOM_DATA", "nonexistent"))
SUPERVISED = {
    "associations": "", "babi": "", "cross_modal": "", "mnist_rate": "mnist", "omniglot": "",
    "sequential_mnist": "mnist", "shd": "", "spoken_digits": "", "store_recall": "",
}  # fmt: skip
"""Tasks with targets, and the data that their smoke preset needs besides the example data."""
TINY = str(Path(__file__).parents[1] / "tiny_task.py")
SECONDS = 400


def port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        number: int = found.getsockname()[1]
        return number


def torchrun(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=environment
    )


def ranks(*arguments: object) -> list[subprocess.Popen[str]]:
    """Start two ranks of a command without torchrun."""
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}
    shared |= {"MASTER_PORT": str(port())}
    return [
        subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env={**shared, "RANK": str(rank)},
        )
        for rank in range(2)
    ]  # fmt: skip


def train(folder: Path, *options: object) -> list[object]:
    return ["-m", "spikeloom", "train", TINY, "--preset", "smoke", "--out", folder, *options]


def finish(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        said, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, said


def result(folder: Path) -> tuple[list[dict[str, Any]], Any]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return lines, json.loads((folder / "result.json").read_text())["test"]


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four updates on two ranks."""
    folder = tmp_path_factory.mktemp("short") / "run"
    finish(torchrun("--standalone", "--nproc-per-node", 2, *train(folder)))
    return folder


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of sixty updates on two ranks."""
    folder = tmp_path_factory.mktemp("long") / "run"
    finish(*ranks(*train(folder, "--updates", 60)))
    return folder


@pytest.mark.parametrize("rendezvous", ["c10d", "static"])
def test_two_machines_are_as_two_processes_of_one(rendezvous: str, short: Path, tmp_path: Path) -> None:
    two, number = tmp_path / "two", port()
    meet = (
        ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{number}"]
        if rendezvous == "c10d"
        else ["--master-addr", "localhost", "--master-port", number]
    )
    agents = [
        torchrun("--nnodes", 2, "--node-rank", rank, "--nproc-per-node", 1, *meet, *train(two)) for rank in range(2)
    ]
    finish(*agents)
    assert json.loads((two / "environment.json").read_text())["ranks"] == 2
    assert result(two) == result(short)


@pytest.mark.parametrize(
    "task",
    [
        pytest.param(
            task,
            marks=pytest.mark.skipif(
                bool(needs) and not (DATA / needs).is_dir(), reason=f"not in $SPIKELOOM_DATA: {needs}"
            ),
        )
        for task, needs in SUPERVISED.items()
    ],
)
def test_every_supervised_task_trains_on_two_ranks_and_goes_on_alone(
    task: str, tmp_path: Path, example_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not SUPERVISED[task]:
        monkeypatch.setenv("SPIKELOOM_DATA", str(example_data))
    folder = tmp_path / "run"
    batch = ["--batch", 6] if task == "shd" else []  # there are 18 samples for two
    started = ["-m", "spikeloom", "train", task, "--preset", "smoke", "--out", folder, *batch]
    finish(*ranks(*started))
    lines, found = result(folder)
    assert json.loads((folder / "environment.json").read_text())["ranks"] == 2
    assert (folder / "report.html").exists()
    for name in ("report.html", "result.json"):
        (folder / name).unlink()
    config = json.loads((folder / "config.json").read_text())
    length = "updates" if "updates" in config["options"] else "epochs"
    config["options"][length] *= 2
    (folder / "config.json").write_text(json.dumps(config))
    assert cli.main(["resume", str(folder)]) == 0
    more, again = result(folder)
    assert more[: len(lines)] == lines
    assert len(more) > len(lines)
    assert set(again) == set(found)


def test_no_supervised_task_is_forgotten() -> None:
    assert set(tasks()) - set(SUPERVISED) == {"concentration", "nmnist", "ntidigits", "stdp_mnist", "stmnist"}


def test_three_ranks_go_on_as_two(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    finish(torchrun("--standalone", "--nproc-per-node", 3, *train(folder)))
    lines, _ = result(folder)
    (folder / "report.html").unlink()
    (folder / "result.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    config["options"]["updates"] += 4
    (folder / "config.json").write_text(json.dumps(config))
    resumed = torchrun("--standalone", "--nproc-per-node", 2, "-m", "spikeloom", "resume", folder, "--task", TINY)
    said, _ = resumed.communicate(timeout=SECONDS)
    assert resumed.returncode == 0, said
    assert "ranks was 3, is 2" in said
    more, _ = result(folder)
    assert more[: len(lines)] == lines
    assert len(more) == len(lines) + 4


def test_a_killed_rank_is_started_again_and_the_end_is_the_same(long: Path, tmp_path: Path) -> None:
    options = ["--updates", 60, "--pause", 0.05]
    broken = tmp_path / "broken"
    running = torchrun("--standalone", "--nproc-per-node", 2, "--max-restarts", 1, *train(broken, *options))
    deadline = time.monotonic() + SECONDS
    while not (broken / "metrics.jsonl").exists() or (broken / "metrics.jsonl").read_text().count("\n") < 10:
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.05)
    found = subprocess.run(["pgrep", "-f", f"train {TINY} .*{broken}"], capture_output=True, text=True, check=True)
    workers = [int(word) for word in found.stdout.split() if int(word) != running.pid]
    os.kill(workers[-1], signal.SIGKILL)
    finish(running)
    assert len(json.loads((broken / "environment.json").read_text())["resumed"]) == 1
    assert result(broken) == result(long)


def test_sigterm_stops_both_ranks_at_one_update_and_the_end_is_the_same(long: Path, tmp_path: Path) -> None:
    options = ["--updates", 60, "--pause", 0.05, "--checkpoint-every", 1000]
    broken = tmp_path / "broken"
    running = torchrun("--standalone", "--nproc-per-node", 2, *train(broken, *options))
    deadline = time.monotonic() + SECONDS
    while not (broken / "metrics.jsonl").exists() or (broken / "metrics.jsonl").read_text().count("\n") < 10:
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    said, _ = running.communicate(timeout=SECONDS)
    updates = int(checkpoint.load(broken / "checkpoints" / "last.pt")["update"])
    assert f"Terminated. Update {updates} was saved; go on with `spikeloom resume {broken} --task {TINY}`." in said
    finish(torchrun("--standalone", "--nproc-per-node", 2, "-m", "spikeloom", "resume", broken, "--task", TINY))
    assert result(broken) == result(long)


def test_a_rank_with_another_seed_is_refused(tmp_path: Path) -> None:
    folder, shared = tmp_path / "run", {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port())}
    running = [
        subprocess.Popen(
            [sys.executable, *map(str, train(folder, "--seed", 5 * rank))],
            stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **shared, "RANK": str(rank)},
        )
        for rank in range(2)
    ]  # fmt: skip
    for process in running:
        said = process.communicate(timeout=SECONDS)[1]
        assert process.returncode == 1
        assert "process 1 was started with other options: seed 5 there and 0 in process 0." in said
        assert len(said.splitlines()) == 1, said
    assert not folder.exists()
