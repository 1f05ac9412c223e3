"""The package as it is against an earlier commit, in turn: what a change costs on W1, W2, W3 and on small calls.

Two worker processes, one of each version, do the same work with the same inputs, one at a time, starting with another
one each round. The ratio is that of their CPU seconds within a round.

    python -m benchmarks.against_commit COMMIT
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def works() -> dict[str, tuple[int, Callable[[], Any]]]:
    """Name -> repetitions of one measurement, and the work; run inside a worker."""
    import torch

    from benchmarks import contenders, ours, w3_lsnn
    from spikeloom.layers import Sequential
    from spikeloom.neurons import LIF, LeakyReadout

    def small(learns: bool) -> Callable[[], Any]:
        net = Sequential(torch.nn.Linear(64, 128), LIF(), torch.nn.Linear(128, 10), LeakyReadout())
        xs = torch.rand(25, 32, 64)

        def run() -> None:
            with torch.set_grad_enabled(learns):
                out, _ = net(xs)
            if learns:
                out.square().mean().backward()

        return run

    def one_call() -> Callable[[], Any]:
        neuron, x = LIF(), torch.rand(4, 1, 64)
        return lambda: neuron(x)

    linear, current = contenders.linear_work(500, 16, 512), contenders.current_work(500, 64, 1024)
    inputs = (torch.rand(w3_lsnn.STEPS, w3_lsnn.BATCH, w3_lsnn.INPUTS) < w3_lsnn.INPUT_ACTIVITY).float()
    grad = torch.randn(w3_lsnn.STEPS, w3_lsnn.BATCH, w3_lsnn.NEURONS)
    weight_in = 0.35 * torch.randn(w3_lsnn.NEURONS, w3_lsnn.INPUTS) / w3_lsnn.INPUTS**0.5
    weight_rec = 0.35 * torch.randn(w3_lsnn.NEURONS, w3_lsnn.NEURONS) / w3_lsnn.NEURONS**0.5
    lsnn = ours.lsnn(weight_in, weight_rec, w3_lsnn.ADAPTIVE, w3_lsnn.SETTINGS, inputs, grad)
    return {
        "W1 Linear(512, 512) + LIF, B 16, T 500": (2, ours.lif(linear).run),
        "W2 LIF alone, [500, 64, 1024]": (2, ours.lif(current).run),
        "W3 LSNN 80 -> 220, B 128, T 784": (1, lsnn.run),
        "64-128-10, B 32, T 25, forward and backward": (30, small(learns=True)),
        "64-128-10, B 32, T 25, without gradient": (60, small(learns=False)),
        "one LIF call [4, 1, 64], without gradient": (300, one_call()),
    }


def worker() -> None:
    """Answer every name on standard input with the CPU and wall milliseconds of one repetition."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    jobs = works()
    for _, run in jobs.values():
        run()
    print(json.dumps(list(jobs)), flush=True)
    for line in sys.stdin:
        count, run = jobs[line.rstrip("\n")]
        spent, started = time.process_time(), time.perf_counter()
        for _ in range(count):
            run()
        cpu, wall = time.process_time() - spent, time.perf_counter() - started
        print(json.dumps([cpu * 1e3 / count, wall * 1e3 / count]), flush=True)


def start(root: Path, cache: str) -> subprocess.Popen[str]:
    """A worker that imports spikeloom from `root`, with a kernel cache of its own."""
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{ROOT}", "SPIKELOOM_CACHE": cache}
    code = "import benchmarks.against_commit as a; a.worker()"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=cache,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def ask(process: subprocess.Popen[str], name: str) -> list[float]:
    """One measurement of a worker: CPU and wall milliseconds."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(name, file=process.stdin, flush=True)
    found: list[float] = json.loads(process.stdout.readline())
    return found


def compare(before: Path, rounds: int) -> list[dict[str, Any]]:
    """A row for every work: milliseconds of both, and their ratio within rounds."""
    from . import measure

    with tempfile.TemporaryDirectory() as old_cache, tempfile.TemporaryDirectory() as new_cache:
        pair = [start(before, old_cache), start(ROOT, new_cache)]
        names, _ = (json.loads(process.stdout.readline()) for process in pair if process.stdout is not None)
        times: dict[str, list[list[list[float]]]] = {name: [[], []] for name in names}
        for turn in range(rounds):
            for name in names:
                for side in (0, 1) if turn % 2 else (1, 0):
                    times[name][side].append(ask(pair[side], name))
        for process in pair:
            process.communicate()
    rows = []
    for name, (old, new) in times.items():
        row: dict[str, Any] = {"name": name}
        for clock, place in (("cpu_ms", 0), ("wall_ms", 1)):
            row |= {f"before_{clock}": measure.spread([m[place] for m in old])}
            row |= {f"now_{clock}": measure.spread([m[place] for m in new])}
        row["cpu_ratio"] = measure.spread([n[0] / o[0] for o, n in zip(old, new, strict=True)])
        now, ratio = row["now_cpu_ms"]["median"], row["cpu_ratio"]["median"]
        print(f"{name:48s} {now:9.3f} ms, {ratio:.3f} of before", flush=True)
        rows.append(row)
    return rows


def main() -> None:
    """Check the commit out beside the package, measure, and write `results/against_commit.json`."""
    from . import measure

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="the version before")
    parser.add_argument("--rounds", type=int, default=15, help="measured rounds")
    given = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", given.commit], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder) / "before"
        subprocess.run(["git", "worktree", "add", "-q", "--detach", str(before), commit], cwd=ROOT, check=True)
        try:
            subprocess.run(["rm", "-r", str(before / "benchmarks")], check=True)  # both run today's benchmarks
            rows = compare(before, given.rounds)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(before)], cwd=ROOT, check=True)
    document = {
        "name": "against_commit",
        "command": f"python -m benchmarks.against_commit {given.commit}",
        "commit": measure.commit(),
        "before": commit,
        "rounds": given.rounds,
        "machine": measure.machine() | {"threads": 1},
        "versions": measure.versions(),
        "rows": rows,
    }
    path = measure.RESULTS / "against_commit.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
