import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from spikeloom.errors import CheckpointError, TrainingError
from spikeloom.train import checkpoint
from spikeloom.train.run import Carry, Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path, "task", "smoke", 3, quiet=True)


def draw(run: Run, purpose: str) -> list[float]:
    return torch.rand(3, generator=run.generator(purpose)).tolist()


def test_generators_have_an_address(run: Run, tmp_path: Path) -> None:
    again = Run(tmp_path, "task", "smoke", 3)
    draws = draw(run, "input")
    assert draws == draw(again, "input")
    assert draws != draw(run, "input")
    assert draws != draw(run, "noise")
    assert draws != draw(Run(tmp_path, "task", "smoke", 4), "input")
    assert draws != draw(Run(tmp_path, "task", "smoke", 3, rank=1, world=2), "input")


def test_a_new_run_starts_at_zero(run: Run) -> None:
    assert run.restore(model=torch.nn.Linear(2, 2)) == 0
    assert run.seconds() == 0.0
    assert run.metrics() == []


def test_everything_comes_back(run: Run) -> None:
    model, carry = torch.nn.Linear(2, 2), Carry(state=(torch.ones(1),))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    draw(run, "input")
    run.save(5, model=model, optimizer=optimizer, carry=carry)
    expected = draw(run, "input")

    again = dataclasses.replace(run)
    other, back = torch.nn.Linear(2, 2), Carry(state=None)
    optimizer = torch.optim.Adam(other.parameters())
    assert again.restore(model=other, optimizer=optimizer, carry=back) == 5
    assert torch.equal(other.weight, model.weight)
    assert optimizer.state_dict()["state"][0]["step"] == 1
    assert torch.equal(back.state[0], torch.ones(1))
    assert draw(again, "input") == expected
    assert again.seconds() > 0


def test_metrics_after_the_checkpoint_are_written_again(run: Run) -> None:
    carry = Carry(count=0)
    for update in range(1, 6):
        run.log(update, loss=1 / update)
        if update == 3:
            run.save(update, carry=carry)
    with (run.folder / "metrics.jsonl").open("a") as stream:
        stream.write('{"update": 6, "lo')
    assert [line["update"] for line in run.metrics()] == [1, 2, 3, 4, 5]
    assert run.restore(carry=carry) == 3
    assert (run.folder / "metrics.jsonl").read_text().count("\n") == 3
    assert run.metrics()[-1] == {"update": 3, "loss": 1 / 3}


def test_a_run_without_checkpoint_drops_its_metrics(run: Run) -> None:
    run.log(1, loss=1.0)
    assert run.restore(carry=Carry(count=0)) == 0
    assert run.metrics() == []


def test_a_damaged_line_of_metrics_is_an_error(run: Run) -> None:
    (run.folder / "metrics.jsonl").write_text('{"update": 1}\nnonsense\n{"update": 3}\n')
    with pytest.raises(CheckpointError, match=r"metrics.jsonl is damaged.*Restore it from a copy"):
        run.metrics()


def test_values_must_be_finite(run: Run) -> None:
    with pytest.raises(
        TrainingError, match=r"stopped at update 7: loss = nan, rate = inf. The last checkpoint is kept"
    ):
        run.log(7, loss=float("nan"), rate=float("inf"), fine=1.0)
    assert run.metrics() == []


def test_best_is_loaded_in_part(run: Run) -> None:
    model = torch.nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match=r"best.pt does not exist"):
        run.load_best(model=model)
    run.save_best(4, model=model, carry=Carry(count=1))
    other = torch.nn.Linear(2, 2)
    assert run.load_best(model=other) == 4
    assert torch.equal(other.weight, model.weight)
    with pytest.raises(
        CheckpointError, match=r"holds model, carry, but sampler are asked for: sampler has no counterpart"
    ):
        run.load_best(sampler=Carry(count=0))


def test_last_is_loaded_without_touching_the_generators(run: Run) -> None:
    run.generator("input")
    run.save(4, carry=Carry(count=1))
    fresh, carry = run.fresh(), Carry(count=0)
    expected = draw(run, "input")
    assert fresh.load_last(carry=carry) == 4
    assert carry.count == 1
    assert draw(fresh, "input") == expected


def test_restoring_needs_the_same_parts(run: Run) -> None:
    run.save(1, model=torch.nn.Linear(2, 2), carry=Carry(count=1))
    with pytest.raises(CheckpointError, match=r"carry has no counterpart"):
        run.restore(model=torch.nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match=r"model does not fit.*size mismatch.*Use the version and the options"):
        run.restore(model=torch.nn.Linear(3, 2), carry=Carry(count=1))
    with pytest.raises(CheckpointError, match=r"a Carry of other cannot take the saved count"):
        run.restore(model=torch.nn.Linear(2, 2), carry=Carry(other=1))


@pytest.mark.parametrize(
    ("change", "named"), [({"task": "b"}, "task 'task'"), ({"seed": 9}, "seed 3"), ({"preset": "q"}, "preset")]
)
def test_a_checkpoint_of_another_run_is_refused(run: Run, change: dict[str, Any], named: str) -> None:
    run.save(1, carry=Carry(count=1))
    with pytest.raises(CheckpointError, match=f"has {named}.* but this run has .*Restore the file of this run"):
        dataclasses.replace(run, **change).restore(carry=Carry(count=1))


def test_another_number_of_ranks_goes_on(run: Run) -> None:
    order, noise = run.generator("order", shared=True), run.generator("noise")
    torch.rand(3, generator=order), torch.rand(3, generator=noise)
    run.save(7, carry=Carry(count=5))
    expected = torch.rand(2, generator=order), torch.rand(2, generator=noise)
    again = [dataclasses.replace(run, rank=rank, world=3) for rank in range(3)]
    for one in again:
        carry = Carry(count=0)
        assert one.restore(carry=carry) == 7
        assert carry.count == 5
        assert torch.equal(torch.rand(2, generator=one.generator("order", shared=True)), expected[0])
    draws = [torch.rand(2, generator=one.generator("noise")) for one in again]
    assert torch.equal(draws[0], expected[1])
    assert len({tuple(draw.tolist()) for draw in draws}) == 3
    later = dataclasses.replace(again[1])
    assert later.restore(carry=Carry(count=0)) == 7
    assert torch.equal(torch.rand(2, generator=later.generator("noise")), draws[1])


def test_ranks_that_are_new_share_what_is_shared_by_seeds(tmp_path: Path) -> None:
    draws = []
    for seed in (1, 2):
        run = Run(tmp_path / str(seed), "task", "preset", seed)
        run.generator("data", seed=7), run.generator("noise")
        run.save(3, carry=Carry(count=1))
        new = dataclasses.replace(run, rank=1, world=2)
        new.generator("data", seed=7)
        new.restore(carry=Carry(count=1))
        draws.append([torch.rand(2, generator=new.generator(name)) for name in ("data", "noise")])
    assert torch.equal(draws[0][0], draws[1][0])
    assert not torch.equal(draws[0][1], draws[1][1])


def test_a_checkpoint_that_was_taken_away_is_missed(run: Run) -> None:
    assert run.restore(carry=Carry(count=1)) == 0  # a new run has none
    run.save(1, carry=Carry(count=1))
    (run.folder / "checkpoints" / "last.pt").unlink()
    with pytest.raises(CheckpointError, match=r"last.pt is missing, but the run had been saved. Restore the file, or"):
        run.restore(carry=Carry(count=1))


def test_a_checkpoint_that_does_not_know_shared_streams_needs_its_number_of_ranks(run: Run) -> None:
    run.save(1, carry=Carry(count=1))
    path = run.folder / "checkpoints" / "last.pt"
    contents = checkpoint.load(path)
    del contents["shared"]
    checkpoint.save(path, contents)
    assert run.restore(carry=Carry(count=1)) == 1
    with pytest.raises(
        CheckpointError, match=r"was saved by 1 ranks and a version .* but 2 resume it. Resume with --nproc-per-node 1"
    ):
        dataclasses.replace(run, world=2).restore(carry=Carry(count=1))


def test_other_ranks_write_nothing(run: Run) -> None:
    second = dataclasses.replace(run, rank=1)
    second.log(1, loss=1.0)
    second.write_json("a.json", 1)
    second.figure("a", Figure())
    second.save(1, carry=Carry(count=1))
    second.progress(1, 1)
    assert list(run.folder.iterdir()) == []


def test_figures_have_captions(run: Run) -> None:
    run.figure("one", Figure(figsize=(1, 1)), "First.")
    run.figure("two", Figure(figsize=(1, 1)))
    assert (run.folder / "figures" / "one.png").read_bytes().startswith(b"\x89PNG")
    assert run.read_json("figures/captions.json") == {"one": "First.", "two": ""}


def test_json_files(run: Run) -> None:
    run.write_json("activity.json", {"rate": [1.5, "Hz"]})
    assert run.read_json("activity.json") == {"rate": [1.5, "Hz"]}
    with pytest.raises(CheckpointError, match=r"missing.json cannot be read.*spikeloom evaluate"):
        run.read_json("missing.json")
    (run.folder / "broken.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"broken.json cannot be read"):
        run.read_json("broken.json")


def test_elapsed_time_is_no_part_of_a_checkpoint(run: Run) -> None:
    run.save(1, carry=Carry(count=1))
    first = (run.folder / "checkpoints" / "last.pt").read_bytes()
    before = json.loads((run.folder / "seconds.json").read_text())["training"]
    run.save(1, carry=Carry(count=1))
    assert (run.folder / "checkpoints" / "last.pt").read_bytes() == first
    assert run.seconds() >= before
