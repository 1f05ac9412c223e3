"""A run that is killed, starved, damaged or misled: one clear message, the last good checkpoint kept, no other end."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from spikeloom import cli
from spikeloom.train import checkpoint

pytestmark = pytest.mark.slow

TINY = str(Path(__file__).with_name("tiny_task.py"))
ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def heed_interrupts() -> None:
    """A shell that starts us in the background lets its children ignore Ctrl-C; they must not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "spikeloom", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=ENVIRONMENT,
        preexec_fn=heed_interrupts,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=400)
    return process.returncode, out, err


def run(*arguments: object) -> None:
    """Run a command in this process, with as many threads as those that `start` starts; it must succeed."""
    torch.set_num_threads(1)
    assert cli.main([*map(str, arguments)]) == 0


@pytest.fixture
def failure(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command in this process that must fail; return the only line on stderr."""

    def fail(*arguments: object) -> str:
        assert cli.main([*map(str, arguments)]) == 1
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1, err
        return err

    return fail


def digests(folder: Path) -> dict[str, str]:
    names = ("checkpoints/last.pt", "checkpoints/best.pt", "metrics.jsonl")
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    return found | {"test": json.loads((folder / "result.json").read_text())["test"]}


def wait_until_training(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    line = ""
    while not line.startswith("update "):
        line = process.stdout.readline()
        assert line, "the run ended before it could be killed"


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_killed_ten_times_and_resumed_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    options = ["--updates", 260, "--pause", 0.02, "--inputs", 150_000, "--batch", 2]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run("train", TINY, *options, "--out", whole)
    process = start("train", TINY, *options, "--out", broken)
    moments = random.Random(5)
    unfinished = broken / "checkpoints" / ".last.pt.tmp"
    kills = while_writing = 0
    while kills < 10 or while_writing < 3:
        wait_until_training(process)
        if kills % 2:
            time.sleep(moments.uniform(0.0, 0.25))
        else:
            deadline = time.monotonic() + 20
            while not unfinished.exists() and time.monotonic() < deadline:
                pass
        kill(process)
        kills += 1
        while_writing += unfinished.exists()
        assert kills < 30, f"only {while_writing} kills hit a checkpoint being written"
        unfinished.unlink(missing_ok=True)
        process = start("resume", broken, "--task", TINY)
    status, out, err = finish(process)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == str(broken)
    assert digests(broken) == digests(whole)


def test_a_spiking_network_that_was_killed_ends_with_the_same_bytes(tmp_path: Path) -> None:
    options = ["--preset", "smoke", "--updates", 30, "--report-every", 100]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run("train", "store_recall", *options, "--out", whole)
    process = start("train", "store_recall", *options, "--out", broken)
    for update in (2, 12):
        while not (broken / "checkpoints" / "last.pt").exists() or saved(broken) < update:
            assert process.poll() is None
            time.sleep(0.001)
        kill(process)
        process = start("resume", broken)
    assert finish(process)[0] == 0
    assert digests(broken) == digests(whole)


def saved(folder: Path) -> int:
    return int(checkpoint.load(folder / "checkpoints" / "last.pt")["update"])


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped by Ctrl-C after a few checkpoints."""
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    process = start("train", TINY, "--pause", 0.05, "--out", folder)
    wait_until_training(process)
    while not (folder / "seconds.json").exists():  # written after the first checkpoint
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    status, _, err = finish(process)
    assert status == 130
    assert err == f"Interrupted. What was saved is kept; go on with `spikeloom resume {folder} --task {TINY}`.\n"
    assert checkpoint.load(folder / "checkpoints" / "last.pt")["update"] >= 2
    return folder


def test_the_time_limit_of_a_cluster_loses_nothing(tmp_path: Path) -> None:
    options = ["--updates", 40, "--pause", 0.05, "--checkpoint-every", 1000]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run("train", TINY, *options, "--out", whole)
    process = start("train", TINY, *options, "--out", broken)
    wait_until_training(process)
    process.send_signal(signal.SIGTERM)
    status, _, err = finish(process)
    words = f"spikeloom resume {broken} --task {TINY}"
    assert (status, err) == (143, f"Terminated. Update {saved(broken)} was saved; go on with `{words}`.\n")
    run(*words.split()[1:])
    assert digests(broken) == digests(whole)


@pytest.fixture
def copy(interrupted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(interrupted, tmp_path / "run"))


def test_an_interrupted_run_is_resumed(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("resume", copy, "--task", TINY)
    out, err = capsys.readouterr()
    assert err == ""
    assert "test error" in out


@pytest.mark.parametrize("damage", ["flip", "truncate", "foreign", "pickle"])
def test_a_damaged_checkpoint_is_refused(copy: Path, damage: str, failure: Callable[..., str]) -> None:
    path = copy / "checkpoints" / "last.pt"
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 8
        path.write_bytes(data)
    elif damage == "truncate":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "foreign":
        torch.save({"model": torch.ones(2)}, path)
    else:
        path.write_bytes(b"cos\nsystem\n(S'echo pwned'\ntR.")
    before = path.read_bytes()
    message = failure("resume", copy, "--task", TINY)
    assert message.startswith(f"CheckpointError: {path} is ")
    assert "copy that over last.pt" in message
    assert path.read_bytes() == before


def test_the_best_checkpoint_replaces_a_damaged_last_one(copy: Path) -> None:
    (copy / "checkpoints" / "last.pt").write_bytes(b"damaged")
    shutil.copy(copy / "checkpoints" / "best.pt", copy / "checkpoints" / "last.pt")
    run("resume", copy, "--task", TINY)


def test_a_typo_in_the_configuration_is_named(copy: Path, failure: Callable[..., str]) -> None:
    text = (copy / "config.json").read_text()
    (copy / "config.json").write_text(text.replace('"lr"', '"lt"'))
    assert "options has an unknown key 'lt'. Did you mean 'lr'?" in failure("resume", copy, "--task", TINY)
    (copy / "config.json").write_text(text.replace('"lr": 0.05', '"lr": "fast"'))
    assert "options: lr must be float, but is 'fast'. Correct the value." in failure("resume", copy, "--task", TINY)


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    status, _, message = finish(start("train", TINY, "--inputs", 10_000, "--full-at", 5, "--out", folder))
    assert (status, len(message.splitlines())) == (1, 1), message
    assert "last.pt cannot be written: File too large. What was saved before is kept. Free some space" in message
    assert checkpoint.load(folder / "checkpoints" / "last.pt")["update"] == 4
    assert not (folder / "checkpoints" / ".last.pt.tmp").exists()


def test_a_full_file_system_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    mount = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    small = tmp_path / "small"
    small.mkdir()
    if shutil.which("unshare") is None or subprocess.run([*mount, f"mount -t tmpfs x {small}"], check=False).returncode:
        pytest.skip("this user cannot mount a tmpfs")
    command = f"{sys.executable} -m spikeloom train {TINY} --inputs 10000 --out {small}/run"
    script = (
        f"mount -t tmpfs -o size=400k none {small} && {command}; echo status $?; "
        f"cp {small}/run/checkpoints/last.pt {tmp_path}/"
    )
    done = subprocess.run([*mount, script], capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT, check=False)
    assert "status 1" in done.stdout
    assert "No space left on device. What was saved before is kept. Free some space" in done.stderr
    assert "Traceback" not in done.stderr
    assert checkpoint.load(tmp_path / "last.pt")["update"] >= 2


def test_a_folder_below_a_file_is_refused(tmp_path: Path, failure: Callable[..., str]) -> None:
    (tmp_path / "file").touch()
    assert "cannot be made: Not a directory. Choose another folder" in failure(
        "train", TINY, "--out", tmp_path / "file" / "run"
    )


def test_a_loss_that_is_no_number_keeps_the_last_checkpoint(tmp_path: Path, failure: Callable[..., str]) -> None:
    message = failure("train", TINY, "--nan-at", 7, "--out", tmp_path / "run")
    assert "TrainingError: training stopped at update 8: loss = nan. The last checkpoint is kept." in message
    assert checkpoint.load(tmp_path / "run" / "checkpoints" / "last.pt")["update"] == 6
