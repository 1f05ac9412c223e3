"""One update with the same global batch, by one process and by two: wall time, CPU time, share of twice the speed.

Every process has one thread and, as long as there are enough, a core of its own. Those of a group are started once
and wait; each round one group after the other does one update: its part of the batch, gradients averaged (gloo,
loopback), optimiser. The clock is that of the first process, from a barrier to a barrier; CPU time is that of all
processes of the group. Efficiency is the time of one process divided by that of the group and by its size, the median
over rounds. `load` is how much ran on the machine in the minute before.
"""

import dataclasses
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from spikeloom.papers.hebbian_memory import associations, concentration
from spikeloom.train import ppo, ranks
from spikeloom.train.run import Run

from . import THREADS, measure

GROUPS = (1, 2)
BATCH, GAMES = 512, 128
WORKS = {
    "associations": f"associations of five items in spikes, batch {BATCH}",
    "concentration": f"PPO, {GAMES} games for 16 flips as rates",
    "concentration_spiking": f"PPO, {GAMES} games for 16 flips in spikes",
}


def supervised(run: Run) -> Callable[[], None]:
    """Associations of the preset cpu, five items."""
    config = dataclasses.replace(associations.PRESETS["cpu"], length=5, classes=5, batch=BATCH // run.world)
    model, draws = associations.network(config, run), run.generator("training")
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)

    def once() -> None:
        shown = associations.samples(config, draws, config.length, config.batch)
        found = associations.answer(config, model, shown, run.device)
        optimizer.zero_grad()
        torch.autograd.backward(cross_entropy(found.logits, shown.target))
        ranks.average_gradients(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()

    return once


def game(run: Run, preset: str) -> Callable[[], None]:
    """Play and improve; the weights stay as they are, because the learning rate is as good as zero."""
    config = dataclasses.replace(concentration.PRESETS[preset], games=GAMES // run.world, lr=1e-30)
    rules, agent = concentration.rules(config, run), concentration.network(config, run)
    optimizer, options = concentration.optimizer_of(config, agent), config.ppo()
    deals, draws, order = (run.generator(name) for name in ("deals", "actions", "mini-batches"))
    at = concentration.begin(config, rules, agent, deals, run.device)

    def once() -> None:
        rollout, _ = ppo.collect_rollout(agent, rules, at, config.flips, draws, deals, run.device)
        ppo.update(agent, optimizer, rollout, options, order)

    return once


def member(work: str, seed: int) -> None:
    """One process of a group: the first is told on its standard input when to go, and prints what it took."""
    torch.set_num_threads(THREADS)
    with ranks.joined() as (rank, world):
        os.sched_setaffinity(0, {rank % (os.cpu_count() or 1)})  # the package keeps one thread on the last core
        run = Run(Path("nowhere"), work, "bench", seed, rank=rank, world=world, quiet=True)
        once = {
            "associations": lambda: supervised(run), "concentration": lambda: game(run, "cpu"),
            "concentration_spiking": lambda: game(run, "spiking"),
        }[work]()  # fmt: skip
        while ranks.shared(sys.stdin.readline() if rank == 0 else ""):
            ranks.barrier()
            started, spent = time.perf_counter(), time.process_time()
            once()
            mine = time.process_time() - spent
            ranks.barrier()
            wall = time.perf_counter() - started
            cpu = sum(ranks.gather(mine))
            if rank == 0:
                print(1e3 * wall, 1e3 * cpu, flush=True)


class Group:
    """Processes that wait for work."""

    def __init__(self, work: str, world: int, seed: int) -> None:
        with socket.socket() as found:
            found.bind(("localhost", 0))
            port = str(found.getsockname()[1])
        shared = {**os.environ, "WORLD_SIZE": str(world), "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        command = [sys.executable, "-m", "benchmarks.scaling", "member", work, str(seed)]
        self.members = [
            subprocess.Popen(
                command, env={**shared, "RANK": str(rank)}, text=True, stdout=subprocess.PIPE,
                stdin=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
            )
            for rank in range(world)
        ]  # fmt: skip

    def once(self) -> tuple[float, float]:
        """Wall and CPU milliseconds of an update."""
        first = self.members[0]
        assert first.stdin is not None
        assert first.stdout is not None
        first.stdin.write("go\n")
        first.stdin.flush()
        words = first.stdout.readline().split()
        if len(words) != 2:
            raise RuntimeError("A process of the group has ended. Its message stands above.")
        return float(words[0]), float(words[1])

    def close(self) -> None:
        """Send them home."""
        assert self.members[0].stdin is not None
        self.members[0].stdin.close()
        for process in self.members:
            process.wait()


def compare(work: str, given: Any) -> dict[str, Any]:
    """All groups in turn; the first update of each is not counted."""
    groups = {world: Group(work, world, given.seed) for world in GROUPS}
    for group in groups.values():
        group.once()
    found: dict[int, list[tuple[float, float]]] = {world: [] for world in GROUPS}
    for turn in range(given.rounds):
        for world in GROUPS if turn % 2 else GROUPS[::-1]:
            found[world].append(groups[world].once())
    for group in groups.values():
        group.close()
    timings = [
        measure.Timing(
            measure.Contender(f"{world} process" + "es" * (world > 1), "one thread each", lambda: None),
            [wall for wall, _ in took], [cpu for _, cpu in took], None,
        )
        for world, took in found.items()
    ]  # fmt: skip
    efficiency = {}
    for world, took in found.items():
        shares = [alone / (world * wall) for (alone, _), (wall, _) in zip(found[1], took, strict=True)]
        efficiency[str(world)] = round(statistics.median(shares), 3)
    return measure.workload(WORKS[work], {"load": os.getloadavg()[0]}, timings, "1 process", efficiency=efficiency)


if __name__ == "__main__":
    if sys.argv[1:2] == ["member"]:
        member(sys.argv[2], int(sys.argv[3]))
    else:
        options = measure.options(__doc__, rounds=11)
        measure.save("scaling", __doc__, options, [compare(work, options) for work in options.only or WORKS])
