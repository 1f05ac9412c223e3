"""The measurements measure the same thing for all, and the tables say what the files say."""

import json
import math
import os
from pathlib import Path

import pytest
import torch

from benchmarks import contenders, measure, ours, tables
from benchmarks.plain import PlainLSNN
from spikeloom.layers import DelayedLinear, Recurrent
from spikeloom.neurons import ALIF


def test_importing_the_benchmarks_leaves_this_process_alone() -> None:
    assert os.sched_getaffinity(0) == os.sched_getaffinity(os.getppid())


def test_contenders_take_turns_and_a_slow_one_stops_early() -> None:
    calls: list[str] = []
    entrants = [
        measure.Contender("a", "", lambda: calls.append("a")),
        measure.Contender("b", "", lambda: calls.append("b"), rounds=1),
    ]
    timings = measure.interleave(entrants, rounds=3)
    assert calls == ["a", "b", "a", "b", "a", "a"]  # unmeasured once each, then in turn
    assert [len(timing.cpu_ms) for timing in timings] == [3, 1]


def test_ratios_compare_within_rounds() -> None:
    timings = [
        measure.Timing(measure.Contender("ours", "", lambda: None), [], [1.0, 10.0, 2.0], None),
        measure.Timing(measure.Contender("theirs", "", lambda: None), [], [3.0, 30.0, 8.0], None),
    ]
    assert measure.ratios(timings, "ours")["theirs"] == {"median": 3.0, "min": 3.0, "max": 4.0, "q1": 3.0, "q3": 3.5}


@pytest.mark.parametrize("memory", ["fast", "lean"])
@pytest.mark.parametrize("linear", [True, False])
def test_we_and_the_plain_loop_do_the_same_work(memory: str, linear: bool) -> None:
    torch.manual_seed(0)
    work = contenders.linear_work(30, 3, 17) if linear else contenders.current_work(30, 3, 17)
    mine, plain = ours.lif(work, memory).run(), contenders.plain_loop(work).run()
    assert 0.0 < plain.mean() < 1.0
    assert torch.equal(mine, plain)


@pytest.mark.parametrize(("delays", "refractory"), [(1, 0), (4, 3)])
def test_the_plain_lsnn_is_the_same_network(delays: int, refractory: int) -> None:
    generator = torch.Generator().manual_seed(3)
    n_in, n, n_adaptive, steps, batch = 7, 9, 4, 60, 3
    settings = {"tau_adapt": 50.0, "adapt_strength": 1.75, "threshold": 0.01}
    synapse_in = DelayedLinear(n_in, n, delays=delays, generator=generator).double()
    synapse_rec = DelayedLinear(n, n, delays=delays, generator=generator).double()
    strength = torch.zeros(n, dtype=torch.float64)
    strength[n - n_adaptive :] = settings["adapt_strength"]
    neuron = ALIF(20.0, settings["tau_adapt"], strength, settings["threshold"], refractory=float(refractory))
    layer = Recurrent(neuron, synapse_rec)
    plain = PlainLSNN(
        synapse_in.weight.detach(), synapse_rec.weight.detach(), n_adaptive, **settings,
        delays=delays, refractory=refractory,
    ).double()  # fmt: skip
    if delays > 1:
        assert synapse_in.delay is not None
        assert synapse_rec.delay is not None
        plain.delay_in.copy_(synapse_in.delay)
        plain.delay_rec.copy_(synapse_rec.delay)
    xs = (torch.rand(steps, batch, n_in, generator=generator) < 0.1).double()
    grad = torch.randn(steps, batch, n, generator=generator).double()
    mine, theirs = layer(synapse_in(xs)[0])[0], plain(xs)
    assert 0.0 < theirs.mean() < 1.0
    assert torch.equal(mine, theirs)
    mine.backward(grad)
    theirs.backward(grad)
    for ours_, theirs_ in ((synapse_in.weight, plain.weight_in), (synapse_rec.weight, plain.weight_rec)):
        assert ours_.grad is not None
        torch.testing.assert_close(ours_.grad, theirs_.grad, rtol=1e-9, atol=1e-12)


def test_a_results_file_says_how_to_get_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["x", "--rounds", "2", "--out", str(tmp_path)])
    given = measure.options("About.", rounds=9)
    entrants = [measure.Contender(name, "mode", lambda: torch.ones(2)) for name in (measure.OURS, "peer")]
    work = measure.workload("a workload", {"T": 1}, measure.interleave(entrants, given.rounds))
    path = measure.save("w0", "About it.\n\nMore.", given, [work])
    document = json.loads(path.read_text())
    assert document["command"].startswith("python -m benchmarks.w0 --rounds 2")
    assert str(tmp_path) not in path.read_text()
    assert document["about"] == "About it."
    assert document["machine"]["cores"] == os.cpu_count()
    assert document["versions"]["torch"].startswith("2.")
    assert [len(row["rounds"]["cpu_ms"]) for row in document["workloads"][0]["contenders"]] == [2, 2]
    assert document["workloads"][0]["contenders"][1]["activity"] == 1.0


def test_tables_are_filled_from_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    text = "".join(f"<!-- {name} -->\nold\n<!-- /{name} -->\n" for name in tables.TABLES)
    empty = tables.fill(text)
    assert "old" not in empty
    assert empty.count(tables.NONE_YET) == len(tables.TABLES)
    assert tables.fill(empty) == empty

    def row(name: str, time: float) -> dict[str, object]:
        return {"name": name, "cpu_ms": {"median": time}, "cpu_relative": {"median": time / 10}}

    work = {"name": "work one", "contenders": [row("spikeloom", 10.0), row("floor: x", 8.0), row("peer", 1234.0)]}
    machine = {"cpu": "a cpu", "cores": 2, "threads": 1}
    document = {"commit": "abcdef123", "rounds": 9, "machine": machine, "workloads": [work]}
    (tmp_path / "w2_lif.json").write_text(json.dumps(document))
    run = tmp_path / "results" / "memory" / "seed0"
    run.mkdir(parents=True)
    (run / "result.json").write_text(json.dumps({"task": "t", "preset": "p", "seed": 0, "test": {"error": 0.5}}))
    one = {"mean": 0.031, "sd": 0.004}
    summary = {"task": "t", "preset": "p", "seeds": [0, 1], "test": {"error": one}, "solved": 2}
    filled = tables.fill(text)
    assert "| peer | 1,234 (123x) |" in filled
    assert "a cpu, 2 cores, 1 thread. Commit: abcdef1." in filled
    assert "| [memory/seed0](results/memory/seed0) | t | p | 1 | error 0.5 |  |" in filled
    (run.parent / "summary.json").write_text(json.dumps(summary))
    assert "| [memory](results/memory) | t | p | 2 | error 0.031 ± 0.004 | 2 of 2 |" in tables.fill(text)
    with pytest.raises(ValueError, match="The README needs <!-- results --> and then <!-- /results -->, once each"):
        tables.fill("no table")


def test_every_page_has_a_place_for_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for page, wanted in tables.PAGES.items():
        assert tables.fill((tables.ROOT / page).read_text(), wanted, page)
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    rows = [
        {"wall_ms": {"median": wall}, "cpu_ms": {"median": cpu}} for wall, cpu in ((1000.0, 990.0), (600.0, 1090.0))
    ]
    work = {"name": "an update", "contenders": rows, "efficiency": {"1": 1.0, "2": 0.83}}
    machine = {"cpu": "a cpu", "cores": 2, "threads": 1}
    document = {"commit": "abcdef123", "rounds": 9, "machine": machine, "workloads": [work]}
    (tmp_path / "scaling.json").write_text(json.dumps(document))
    assert "| an update | 1,000 | 600 | 83% | 1.10x |" in tables.scaling()


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("linear", [True, False])
def test_every_peer_runs_and_fires_about_as_much(linear: bool) -> None:
    torch.manual_seed(0)
    work = contenders.linear_work(100, 4, 64) if linear else contenders.current_work(100, 4, 64)
    wanted = float(contenders.plain_loop(work).run().mean())
    entrants = contenders.peers(work)
    assert len(entrants) == (6 if linear else 5)
    for entrant in entrants:
        assert math.isclose(float(entrant.run().mean()), wanted, rel_tol=0.35), entrant.name
