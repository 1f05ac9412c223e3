"""Comparisons: groups by configuration, spread over seeds, one figure, one page."""

import json
from pathlib import Path
from typing import Any

import pytest

from spikeloom.cli import main
from spikeloom.errors import ConfigError
from spikeloom.report.compare import differences, figure, groups, render, repeated, results, spread, text


def make(folder: Path, seed: int, accuracy: float | None, lr: float = 0.1, updates: int = 4, **options: object) -> Path:
    folder.mkdir(parents=True)
    config = {"task": "sequential_mnist", "preset": "cpu", "seed": seed, "options": {"lr": lr, "size": 3, **options}}
    (folder / "config.json").write_text(json.dumps(config))
    lines = [
        {"update": n, "loss": 1.0 / n, "validation_accuracy": 0.1 * n + 0.01 * seed} for n in range(1, updates + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if accuracy is not None:
        published = {"accuracy": {"value": 0.942, "source": "a paper", "note": "mean of 12"}}
        result = {
            "test": {"accuracy": accuracy, "solved": float(accuracy > 0.8)},
            "published": published,
            "seconds": 90.0,
        }
        (folder / "result.json").write_text(json.dumps(result))
    return folder


def test_runs_that_differ_in_the_seed_only_are_one_group(tmp_path: Path) -> None:
    runs = [
        make(tmp_path / "a", 0, 0.9),
        make(tmp_path / "b", 0, 0.7, lr=0.2, extra=True),
        make(tmp_path / "c", 1, 0.94),
    ]
    compared = groups(runs)
    assert [(group.name, len(group.runs)) for group in compared] == [("a", 2), ("b", 1)]
    assert differences(compared) == [("lr", "0.1", "0.2"), ("extra", "–", "True"), ("seeds", "0, 1", "0")]
    found = {name: values for name, *values in results(compared)}
    assert found["accuracy"] == ["92 % ± 2.8 % (90 % to 94 %, 2 runs)", "70 %"]
    assert found["solved"] == ["2 of 2", "0 of 1"]
    assert "lr" in text(compared)
    assert "size" not in text(compared)


def test_the_page_holds_tables_curves_and_the_published_number(tmp_path: Path) -> None:
    page = render(
        groups([make(tmp_path / "a", 0, 0.9), make(tmp_path / "b", 1, 0.8), make(tmp_path / "c", 0, None, lr=9.0)])
    )
    for piece in (
        "85 %",
        "94.2 %",
        "a paper",
        "mean of 12",
        "data:image/png;base64,",
        "runs not evaluated yet",
        "<td>lr</td>",
    ):
        assert piece in page, piece


def labels(*runs: Path) -> list[str]:
    return [str(line.get_label()) for line in figure(groups(runs)).axes[0].lines if str(line.get_label())[0] != "_"]


def test_a_legend_counts_the_runs_and_says_apart_what_is_smoothed(tmp_path: Path) -> None:
    several = [make(tmp_path / "ten" / f"seed{seed}", seed, 0.9, updates=240) for seed in range(10)]
    other = make(tmp_path / "one" / "alone", 0, 0.7, lr=0.2, updates=240)
    (tmp_path / "ten" / "seeds.json").write_text("{}")
    assert labels(*several, other) == [
        "ten (mean of 10 runs), moving average of 4 points",
        "alone, moving average of 4 points",
    ]
    assert figure(groups([*several, other]))._suptitle.get_text().startswith("Means over runs")
    assert figure(groups([other]))._suptitle.get_text() == "Learning curves"
    (several[3] / "metrics.jsonl").unlink()
    assert labels(*several)[0] == "ten (mean of 9 of 10 runs), moving average of 4 points"
    short = [make(tmp_path / "short" / f"{seed}", seed, 0.9, updates=4) for seed in range(3)]
    assert labels(*short) == ["0 (mean of 3 runs)"]


def test_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    run = make(tmp_path / "_$x", 0, 0.9)
    assert labels(run) == [r" _\$x"]
    assert "data:image/png" in render(groups([run]))


def test_what_comes_from_files_is_escaped(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    folder = make(tmp_path / "a<b>", 0, 0.9, bad=bad)
    config = json.loads((folder / "config.json").read_text()) | {"task": bad, "preset": bad}
    (folder / "config.json").write_text(json.dumps(config))
    entry = {"value": bad, "source": bad, "note": bad}
    result = {"test": {bad: 1.0}, "published": {bad: entry}, "seconds": 1}
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "metrics.jsonl").write_text(json.dumps({"update": 1, bad: 0.5}) + "\n")
    page = render(groups([folder, make(tmp_path / "b", 0, 0.9)]))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_damaged_files_are_named(tmp_path: Path) -> None:
    run = make(tmp_path / "a", 0, 0.9)
    (run / "result.json").write_text("[]")
    page = render(groups([run]))
    assert f"{run}: result.json is left out: it is list, not dict." in page
    assert "runs not evaluated yet" in page
    (run / "config.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"config\.json is damaged: it is list, not dict"):
        groups([run])


def test_names_tell_folders_apart(tmp_path: Path) -> None:
    one, two = make(tmp_path / "x" / "run", 0, 0.9), make(tmp_path / "y" / "run", 0, 0.9, lr=2.0)
    assert [group.name for group in groups([one, two])] == ["x/run", "y/run"]


def test_names_never_begin_with_two_slashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series = tmp_path / "series"
    runs = [make(series / "seed0", 0, 0.9), make(series / "seed1", 1, 0.9, lr=2.0)]  # the second was edited
    (series / "seeds.json").write_text("{}")
    assert [group.name for group in groups(runs)] == ["seed0", "seed1"]
    deep = tmp_path.joinpath("run", *(tmp_path / "run").parts[1:])
    both = groups([make(tmp_path / "run", 0, 0.9), make(deep, 0, 0.9, lr=2.0)])
    assert both[0].name == str(tmp_path / "run")
    assert all(not group.name.startswith("//") for group in both)


def test_runs_of_one_seed_are_not_counted_together(tmp_path: Path) -> None:
    first, second, other = (make(tmp_path / name, seed, 0.9) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    compared = groups([first, second, other])
    assert [(group.name, [run.config["seed"] for run in group.runs]) for group in compared] == [
        ("a", [0, 1]),
        ("b", [0]),
    ]
    note = (
        "b has the options of a, and the same seed 0. Runs of one seed are not independent and are not counted "
        "together: each stands in a column of its own."
    )
    assert repeated(compared) == [note]
    assert note in render(compared)
    assert f"Note: {note}" in text(compared)
    assert labels(first, second) == ["a", "b"]
    assert repeated(groups([first, other])) == []


def test_series_that_share_a_seed_stay_whole(tmp_path: Path) -> None:
    runs = [
        make(tmp_path / name / f"seed{seed}", seed, 0.9)
        for name, low in (("x", 0), ("y", 1))
        for seed in (low, low + 1)
    ]
    for name in "xy":
        (tmp_path / name / "seeds.json").write_text("{}")
    compared = groups(runs)
    assert [(group.name, sorted(run.config["seed"] for run in group.runs)) for group in compared] == [
        ("x", [0, 1]),
        ("y", [1, 2]),
    ]
    assert "the same seed 1." in repeated(compared)[0]


def test_a_row_is_in_percent_or_is_not(tmp_path: Path) -> None:
    def made(name: str, seed: int, error: float, **options: Any) -> Path:
        run = make(tmp_path / name, seed, 0.9, **options)
        result = {"test": {"error": error}, "published": {"error": {"value": 0.2}}, "seconds": 1.0}
        (run / "result.json").write_text(json.dumps(result))
        return run

    runs = [made("a", 0, 0.5), made("b", 1, 1.5), made("c", 0, 0.25, lr=2.0)]
    assert results(groups(runs))[0] == ("error", "1 ± 0.71 (0.5 to 1.5, 2 runs)", "0.25")
    assert '<td>error</td><td class="number">0.2</td>' in render(groups(runs))
    assert results(groups(runs[::2]))[0] == ("error", "50 %", "25 %")
    assert '<td>error</td><td class="number">20 %</td>' in render(groups(runs[::2]))
    assert spread("error", [0.5, 1.5]) == "1 ± 0.71 (0.5 to 1.5, 2 runs)"


def test_what_is_no_run_is_an_error(tmp_path: Path) -> None:
    run = make(tmp_path / "a", 0, 0.9)
    with pytest.raises(ConfigError, match="is not a run folder"):
        groups([tmp_path])
    with pytest.raises(ConfigError, match="named twice"):
        groups([run, run])
    with pytest.raises(ConfigError, match="at least one run"):
        groups([])
    assert spread("accuracy", []) == "–"


def test_the_command_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(make(tmp_path / name, seed, 0.9 + 0.01 * seed)) for seed, name in enumerate("ab")]
    out = tmp_path / "page.html"
    assert main(["compare", *runs, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == str(out)
    assert "90.5 % ± 0.71 %" in printed
    assert out.read_text().startswith("<!DOCTYPE html>")
    assert main(["compare", "--frobnicate", *runs]) == 1
    assert "spikeloom compare RUN RUN ... --out FILE" in capsys.readouterr().err


def test_an_option_that_was_removed_makes_no_group(tmp_path: Path) -> None:
    runs = [make(tmp_path / "a", 0, 0.9, made_up=False), make(tmp_path / "b", 1, 0.94)]
    assert [len(group.runs) for group in groups(runs)] == [2]


def test_runs_of_before_on_made_up_data_are_compared_with_nothing_published(tmp_path: Path) -> None:
    compared = groups([make(tmp_path / "a", 0, 0.9, made_up=True)])
    assert "used made-up data in place of the data set: its numbers say nothing about that" in text(compared)
    assert "a paper" not in render(compared)
    assert "a paper" in render(groups([make(tmp_path / "b", 0, 0.9)]))
