"""The benchmark of parallel neurons: layers that fire, a dense first layer that computes the same, clocks that wait."""

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import measure, parallel
from spikeloom.models import ParallelNetwork


def network(neuron: str) -> ParallelNetwork:
    return ParallelNetwork(700, 128, 20, neuron=neuron, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("neuron", parallel.THRESHOLD)
def test_all_layers_fire_once_strengthened(neuron: str) -> None:
    net, xs = network(neuron), parallel.events(1000)[:, : parallel.TRIAL]
    assert max(parallel.shares(net, xs)) < 0.02
    parallel.strengthen(net, xs)
    assert all(0.05 <= share <= 0.28 for share in parallel.shares(net, xs)), parallel.shares(net, xs)


def test_a_dense_first_layer_computes_the_same() -> None:
    xs, labels = parallel.events(100), torch.zeros(parallel.BATCH, dtype=torch.int64)
    net = network("D")
    parallel.strengthen(net, xs)
    wanted = net(xs)[0].spikes[0]
    net.synapses[0] = parallel.Dense(net.synapses[0])
    assert (net(xs)[0].spikes[0] != wanted).float().mean() < 1e-3  # sums in another order
    sparse, dense = (parallel.ours("SB", xs, labels, "SB", dense) for dense in (False, True))
    assert (sparse.mode[:10], dense.mode[:23]) == ("SB, events", "SB, an ordinary product")
    assert float((sparse.run() != dense.run()).float().mean()) < 0.01


def test_the_clock_waits_for_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: order.append("wait"))
    measure.interleave([measure.Contender("a", "", lambda: order.append("run"))], rounds=1)
    assert order == ["run", "wait", "run", "wait"]


def test_a_trial_run_writes_both_clocks_and_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--rounds", "1", "--only", "spikeloom, SB", "floor", "--out", str(tmp_path)])
    given = measure.options("About.", rounds=9, device=True)
    assert given.device == "cpu"
    work = parallel.network(20, given, peers=False)
    rows = {row["name"]: row for row in work["contenders"]}
    assert list(rows) == ["spikeloom, SB", "spikeloom, SB, dense input", "floor"]
    assert all(row["wall_relative"]["median"] > 0 for row in rows.values())
    assert work["settings"]["device"] == "cpu"
    assert json.loads(measure.save("x", "About.", given, [work]).read_text())["command"].startswith("python -m")
