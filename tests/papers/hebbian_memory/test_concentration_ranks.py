"""Concentration in several processes: gradients, resuming, another number of processes, torchrun.

Run as a program, this file is one of the processes: it asserts, and the test reads how it ended.
"""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from spikeloom.core import map_state
from spikeloom.papers.hebbian_memory import concentration
from spikeloom.papers.hebbian_memory.concentration import PRESETS, Config, begin, network, rules
from spikeloom.train import ppo, ranks
from spikeloom.train.ppo import PPO, Rollout
from spikeloom.train.run import Run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SECONDS = 400
SMALL = dataclasses.replace(PRESETS["smoke"], model="relu", updates=4)
OPTIONS = PPO(epochs=3, batches=1, entropy_coefficient=0.1, value_coefficient=0.5)


def play(config: Config, run: Run) -> Rollout:
    game, agent = rules(config, run), network(config, run)
    at = begin(config, game, agent, run.generator("deals"), run.device)
    draws, deals = run.generator("actions"), run.generator("deals")
    _, at = ppo.collect_rollout(agent, game, at, 5, draws, deals, run.device)  # so that memories are full and games end
    return ppo.collect_rollout(agent, game, at, 10, draws, deals, run.device)[0]


def improve(config: Config, run: Run, rollout: Rollout) -> list[Tensor]:
    """The gradients of every step."""
    agent, seen = network(config, run), []
    optimizer = torch.optim.SGD(agent.parameters(), lr=0.1)

    def look(*_: Any) -> None:
        seen.append(torch.cat([part.grad.flatten() for part in agent.parameters() if part.grad is not None]))

    optimizer.register_step_pre_hook(look)
    ppo.update(agent, optimizer, rollout, OPTIONS, run.generator("mini-batches"))
    return seen


def joint(rollouts: list[Rollout]) -> Rollout:
    """All games of all ranks."""
    fields = {
        name: torch.cat([getattr(one, name) for one in rollouts], 1) for name in Rollout._fields if name != "state"
    }
    state = map_state(lambda *several: torch.cat(several), *(one.state for one in rollouts))
    return Rollout(**fields, state=state)


def main(folder: Path) -> None:
    """One of the processes."""
    here: list[tuple[Config, list[Rollout], list[Tensor]]] = []
    with ranks.joined() as (rank, world):

        def new(name: str) -> Run:
            return Run(folder / name, "concentration", "smoke", 3, rank=rank, world=world, quiet=True)

        for model in ("relu", "spiking"):
            config = dataclasses.replace(SMALL, model=model)
            rollout = play(config, new("play"))
            everyone = ranks.gather(rollout)
            gradients = improve(config, new("improve"), rollout)
            here.append((config, everyone, gradients))
            assert not torch.equal(everyone[0].xs, everyone[1].xs), "the ranks play the same games"
        concentration.train(SMALL, new("whole"))
        concentration.train(dataclasses.replace(SMALL, updates=2), new("parts"))
        concentration.train(SMALL, new("parts"))
    assert ranks.world() == 1
    if rank:
        return
    alone = Run(folder / "parts", "concentration", "smoke", 3, quiet=True)
    for config, everyone, gradients in here:
        wanted = improve(config, dataclasses.replace(alone, folder=folder / "alone"), joint(everyone))
        assert len(wanted) == len(gradients) == OPTIONS.epochs
        for one, two in zip(gradients, wanted, strict=True):
            assert two.abs().max() > 1e-3, "a gradient of nothing"
            torch.testing.assert_close(one, two, rtol=0.0, atol=1e-6)
    for name in ("checkpoints/last.pt", "checkpoints/best.pt", "metrics.jsonl"):
        assert (folder / "whole" / name).read_bytes() == (folder / "parts" / name).read_bytes(), name
    concentration.train(dataclasses.replace(SMALL, updates=6), alone)
    assert [line["update"] for line in alone.metrics()] == [1, 2, 3, 4, 5, 6]


def port() -> str:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return str(found.getsockname()[1])


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_are_as_one_process_with_all_games(world: int, tmp_path: Path) -> None:
    """Gradients to 1e-6; a run that stopped ends with the same bytes, and goes on alone."""
    shared = {**os.environ, "WORLD_SIZE": str(world), "MASTER_ADDR": "localhost", "MASTER_PORT": port()}
    shared |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    started = [
        subprocess.Popen([sys.executable, __file__, str(tmp_path)], env={**shared, "RANK": str(rank)}, cwd=ROOT)
        for rank in range(world)
    ]
    try:
        assert [process.wait(timeout=SECONDS) for process in started] == [0] * world
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_run_under_torchrun_ends_and_is_reported_once(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [
        "-m",
        "spikeloom",
        "train",
        "concentration",
        "--preset",
        "smoke",
        "--out",
        str(folder),
        "--minutes",
        "9",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((folder / "environment.json").read_text())["ranks"] == 2
    values = json.loads((folder / "result.json").read_text())["test"]
    assert values["games"] == SMALL.test_games
    assert (folder / "report.html").exists()
    assert {"game.gif", "flips.png"} <= {path.name for path in (folder / "figures").iterdir()}
    assert done.stdout.count("report.html") == 1, done.stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]))
