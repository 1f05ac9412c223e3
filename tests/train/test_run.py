import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure

from spikeloom.errors import CheckpointError, ConfigError, TrainingError
from spikeloom.neurons import LIF
from spikeloom.train import checkpoint
from spikeloom.train.run import Carry, Run, check_numbers


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
        TrainingError, match=r"stopped at update 7: loss = nan, rate = inf. There is no checkpoint yet. Train again"
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


def logged(run: Run, updates: int) -> Carry:
    """A run with a checkpoint after so many updates."""
    carry = Carry(count=0)
    for update in range(1, updates + 1):
        run.log(update, loss=1 / update)
    run.best = 0.25
    run.save_best(updates, carry=carry)
    run.save(updates, carry=carry)
    return carry


@pytest.mark.parametrize("what", ["gone", "short", "empty", "changed"])
def test_metrics_must_be_what_they_were(run: Run, what: str) -> None:
    carry, path = logged(run, 4), run.folder / "metrics.jsonl"
    text = path.read_text()
    if what == "gone":
        path.unlink()
    else:
        path.write_text(
            {"short": text[: text.rindex('{"update": 4')], "empty": ""}.get(what, text.replace("1.0", "2.0"))
        )
    why = "has been changed" if what == "changed" else "is missing or lacks its last lines"
    message = rf"metrics.jsonl {why}: it is not what it was at update 4, when last.pt was saved. Restore it from a copy"
    for look in (dataclasses.replace(run).check, lambda: dataclasses.replace(run).restore(carry=carry)):
        with pytest.raises(CheckpointError, match=message):
            look()
    path.write_text(text + "half a li")
    again = dataclasses.replace(run)
    assert again.restore(carry=carry) == 4
    assert again.best == 0.25
    assert path.read_text() == text


def test_the_best_checkpoint_is_missed(run: Run) -> None:
    carry = logged(run, 2)
    (run.folder / "checkpoints" / "best.pt").unlink()
    with pytest.raises(CheckpointError, match=r"best.pt is missing, but the run had saved it"):
        dataclasses.replace(run).restore(carry=carry)


def test_options_are_part_of_a_checkpoint(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    first = dataclasses.replace(run, options={"lr": 0.1, "updates": 4, "sizes": [3, 4], "nothing": float("nan")})
    carry = logged(first, 2)
    edited = dataclasses.replace(first, options={**(first.options or {}), "lr": 0.2, "sizes": [3], "updates": 8})
    message = r"last.pt was saved with other options than .*config.json has now: lr 0.1, not 0.2; sizes \[3, 4\], not "
    message += r"\[3\]. Put the saved values back into config.json, or train a new run with yours"
    with pytest.raises(CheckpointError, match=message):
        edited.restore(carry=carry)
    with pytest.raises(CheckpointError, match=r"best.pt was saved with other options .*lr 0.1, not 0.2"):
        edited.load_best(carry=carry)
    longer = dataclasses.replace(first, options={**(first.options or {}), "updates": 8, "data_seed": -1})
    assert longer.restore(carry=carry) == 2
    assert "Note: updates was 4 when the run was saved, and is 8 now." in capsys.readouterr().out
    with pytest.raises(CheckpointError, match=r"updates 4, not 8. Put .* to go on longer, remove result.json and"):
        longer.check()
    longer.check(exact=False)


def test_a_checkpoint_of_an_earlier_version_is_loaded(run: Run) -> None:
    first = dataclasses.replace(run, options={"lr": 0.1})
    carry = logged(first, 3)
    path = run.folder / "checkpoints" / "last.pt"
    old = {"options", "metrics", "best", "files"}
    checkpoint.save(path, {key: value for key, value in checkpoint.load(path).items() if key not in old})
    again = dataclasses.replace(first, options={"lr": 0.2})
    assert again.restore(carry=carry) == 3
    assert (again.best, len(again.metrics())) == (None, 3)


def test_files_that_training_depends_on_must_be_what_they_were(run: Run) -> None:
    run.write_json("words.json", ["a", "b"], kept=True)
    carry = logged(run, 2)
    assert dataclasses.replace(run).restore(carry=carry) == 2
    (run.folder / "words.json").write_text('["b", "a"]')
    message = r"words.json is missing or is not the file that (last|best).pt was trained with. Restore it from a copy"
    with pytest.raises(CheckpointError, match=message):
        dataclasses.replace(run).restore(carry=carry)
    with pytest.raises(CheckpointError, match=message):
        dataclasses.replace(run).load_best(carry=carry)


def test_what_is_no_longer_a_number_is_named_and_never_saved(run: Run) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    run.save(1, model=model)
    before = (run.folder / "checkpoints" / "last.pt").read_bytes()
    model.get_parameter("0.bias").data[1] = float("nan")
    model[0].weight.grad = torch.full((2, 2), float("inf"))
    message = (
        r"training stopped at update 2: parameter model.0.bias is no longer a finite number, and so is the gradient of "
        r"model.0.weight. The last checkpoint is kept. Train again with a lower learning rate"
    )
    for save in (run.save, run.save_best):
        with pytest.raises(TrainingError, match=message):
            save(2, model=model)
    assert (run.folder / "checkpoints" / "last.pt").read_bytes() == before
    assert not (run.folder / "checkpoints" / "best.pt").exists()


def test_a_value_out_of_range_is_named(run: Run) -> None:
    neuron = LIF(tau_mem=torch.nn.Parameter(torch.tensor(5.0)))
    model = torch.nn.Sequential(neuron)
    neuron.tau_mem.data.fill_(-1.0)
    with pytest.raises(
        TrainingError, match=r"stopped at update 3: model: 0: LIF needs tau_mem > 0 .*There is no checkpoint yet."
    ):
        run.save(3, model=model)
    with pytest.raises(ConfigError, match=r"LIF needs tau_mem > 0"):
        check_numbers({"model": model}, 0)


def test_a_best_checkpoint_that_is_damaged_or_lost_is_named_with_what_to_do(run: Run) -> None:
    model = torch.nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match=r"best.pt does not exist: this run has not saved it yet"):
        run.load_best(model=model)
    run.best = 0.5
    run.save_best(1, model=model)
    run.save(1, model=model)
    path = run.folder / "checkpoints" / "best.pt"
    good = path.read_bytes()
    for bad, what in ((good[:500], "is cut short"), (good[:900] + b"x" + good[901:], "is damaged: its SHA-256")):
        path.write_bytes(bad)
        with pytest.raises(
            CheckpointError, match=rf"best.pt {what}.* Restore it from a copy, or train again"
        ) as caught:
            run.load_best(model=model)
        assert "last.pt" not in str(caught.value)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"best.pt is missing, but the run had saved it. Restore it from a copy"):
        run.load_best(model=model)


WRONG: dict[str, tuple[Any, str]] = {
    "update": (-1, "its update is -1"), "seed": ("3", "its 'seed' is a str"), "parts": ([], "its 'parts' is a list"),
    "ranks": ([], "it does not hold the generators and parts of every process"), "best": (float("nan"), "its best"),
    "metrics": ({"bytes": "1"}, "it does not say what metrics.jsonl held"),
    "options": ({"a": torch.ones(2)}, "its options are no plain values"),
    "files": ({"../config.json": ""}, "one of its files is not in the folder of the run"),
    "shared": ([1], "a part, a generator or a file has no name"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_sound_file_with_other_contents_is_no_checkpoint_of_a_run(run: Run, name: str) -> None:
    carry, path = logged(run, 2), run.folder / "checkpoints" / "last.pt"
    value, why = WRONG[name]
    contents = checkpoint.load(path)
    checkpoint.save(path, {**contents, name: value})
    with pytest.raises(CheckpointError, match=rf"last.pt is not a checkpoint of a run: {re.escape(why)}"):
        dataclasses.replace(run).restore(carry=carry)
    if name in ("update", "seed", "parts", "ranks"):
        del contents[name]
        checkpoint.save(path, contents)
        with pytest.raises(CheckpointError, match=rf"is not a checkpoint of a run: it has no '{name}'"):
            dataclasses.replace(run).restore(carry=carry)


def test_states_of_other_types_and_shapes_do_not_fit(run: Run) -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    run.generator("input")
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer}
    run.save(1, **parts)
    path = run.folder / "checkpoints" / "last.pt"

    def misfit(change: Callable[[Any], Any], message: str) -> None:
        contents = checkpoint.load(path)
        before = path.read_bytes()
        change(contents)
        checkpoint.save(path, contents)
        with pytest.raises(CheckpointError, match=message):
            dataclasses.replace(run).restore(**parts)
        path.write_bytes(before)

    def moments(contents: Any) -> Any:
        return contents["parts"]["optimizer"]["state"]

    misfit(
        lambda c: moments(c)[0].update(exp_avg=torch.ones(3)), r"optimizer does not fit: its exp_avg does not have the"
    )
    misfit(lambda c: moments(c).update({9: {}}), r"optimizer does not fit: it is of other parameters")
    misfit(lambda c: c["parts"]["optimizer"]["param_groups"][0].update(lr="fast"), r"its lr is 'fast' and not a number")
    misfit(lambda c: c["parts"]["optimizer"]["param_groups"][0].update(lr=None), r"its lr is None and not a number")
    misfit(
        lambda c: c["parts"]["optimizer"]["param_groups"][0].update(foreach=2), r"its foreach is 2 and not a yes or no"
    )
    misfit(lambda c: c["parts"].update(optimizer={}), r"optimizer does not fit: it is not the state of an optimiser")
    misfit(lambda c: c["parts"].update(optimizer=5), r"optimizer does not fit: it is a int")
    weights = r"model does not fit: weight is torch.float64 there and torch.float32 here"
    misfit(lambda c: c["parts"]["model"].update(weight=torch.ones(2, 2, dtype=torch.float64)), weights)
    wrong = r"model does not fit: bias is no longer a number there"
    misfit(lambda c: c["parts"]["model"].update(bias=torch.tensor([1.0, float("inf")])), wrong)
    short = r"the state of the generator 'input' is none"
    misfit(lambda c: c["ranks"][0]["generators"].update(input=torch.ones(3, dtype=torch.uint8)), short)


def test_links_are_not_followed(run: Run, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    inside = dataclasses.replace(run, folder=folder)
    for name in (".config.json.tmp", "config.json", "metrics.jsonl", "activity.json"):
        (folder / name).symlink_to(secret)
    writes: tuple[Callable[[], None], ...] = (
        lambda: inside.write_json("config.json", {}),
        lambda: inside.write_json("activity.json", {}),
        lambda: inside.log(1, loss=1.0),
    )
    for write in writes:
        with pytest.raises(CheckpointError, match=r"is a link, which is not followed"):
            write()
    with pytest.raises(CheckpointError, match=r"activity.json cannot be read: it is a link, which is not followed"):
        inside.read_json("activity.json")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.pt").symlink_to(secret)
    with pytest.raises(CheckpointError, match=r"last.pt cannot be read: it is a link, which is not followed"):
        inside.load_last(carry=Carry(count=1))
    assert secret.read_text() == "mine"


def test_elapsed_time_is_no_part_of_a_checkpoint(run: Run) -> None:
    run.save(1, carry=Carry(count=1))
    first = (run.folder / "checkpoints" / "last.pt").read_bytes()
    before = json.loads((run.folder / "seconds.json").read_text())["training"]
    run.save(1, carry=Carry(count=1))
    assert (run.folder / "checkpoints" / "last.pt").read_bytes() == first
    assert run.seconds() >= before
