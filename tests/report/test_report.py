import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from spikeloom.errors import CheckpointError
from spikeloom.report.report import render
from spikeloom.report.sections import command
from spikeloom.train import config, experiment
from spikeloom.train.config import RunConfig
from tests import tiny_task

VOID = {"meta", "img"}
DOCSTRING = "Remember <bits> & bytes.\n\nA paragraph.\n\n    v = 1 < 2\n\n| a | b |\n"


class Checker(HTMLParser):
    """Fails on a tag that is not closed, and keeps the text and every address that would be loaded."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.addresses: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ("line", "polyline", "circle")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def write(folder: Path, **files: Any) -> None:
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    options = config.to_json(tiny_task.Config(updates=4, lr=0.25, bias=False))
    run = experiment.create(tmp_path / "run", RunConfig("tiny", "smoke", 7, options))
    run.quiet = True
    experiment.train(tiny_task, experiment.options(tiny_task, run.folder), run)
    return run.folder


PRESET = config.to_json(tiny_task.PRESETS["smoke"])


def test_a_finished_run_is_explained(finished: Path) -> None:
    page = render(finished, DOCSTRING, PRESET)
    checked = Checker(page)
    for expected in (
        "Remember <bits> & bytes.",
        "v = 1 < 2",
        "T. Author, <Journal>, 2020",
        "remembered & rounded",
        "The loss of every update <falls>.",
        "8 of the 10 points",
        "preset: 0.05",
        "45 nm, 32-bit floating point: 0.9 pJ per addition, 4.6 pJ per multiply-add (Horowitz, 2014).",
        "spikeloom train tiny --preset smoke --seed 7 --lr 0.25 --no-bias",
        "50.00 Hz",
        "torch threads",
        "lr, bias changed",
    ):
        assert expected in checked.text, expected
    error = json.loads((finished / "result.json").read_text())["test"]["error"]
    assert (f"{100 * error:.4g} %" if error < 1 else f"{error:.4g}") in checked.text
    assert "1 %" in checked.text


def test_the_page_stands_alone(finished: Path) -> None:
    page = render(finished, DOCSTRING, PRESET)
    addresses = Checker(page).addresses
    assert len(addresses) == 1
    header, data = addresses[0].split(",", 1)
    assert header == "data:image/png;base64"
    assert base64.b64decode(data) == (finished / "figures" / "descent.png").read_bytes()
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)


def test_a_film_stands_in_the_page_too(finished: Path) -> None:
    film = finished / "figures" / "game.gif"
    film.write_bytes(b"GIF89a")
    (finished / "figures" / "notes.txt").write_text("not shown")
    addresses = Checker(render(finished, DOCSTRING, PRESET)).addresses
    film.unlink()
    assert [address.split(";")[0] for address in addresses] == ["data:image/png", "data:image/gif"]
    assert base64.b64decode(addresses[1].split(",")[1]) == b"GIF89a"


def test_curves_come_from_the_task_if_it_drew_them(finished: Path) -> None:
    assert "<polyline" in render(finished, DOCSTRING, PRESET)
    run = experiment.reopen(finished)
    run.figure("learning_curves", Figure(figsize=(1, 1)), "By the task.")
    page = render(finished, DOCSTRING, PRESET)
    assert "<polyline" not in page
    assert page.index("By the task.") < page.index("The loss of every update")


def test_a_published_value_under_another_name_stands_beside_the_value_it_is_of(tmp_path: Path) -> None:
    published = {"accuracy_of_a_paper": {"value": 0.5, "of": "accuracy", "source": "a paper"}}
    write(tmp_path, result={"test": {"accuracy": 0.25}, "published": published, "seconds": 1})
    page = render(tmp_path, DOCSTRING, {})
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    start = cells.index("accuracy of a paper")
    assert cells[start : start + 4] == ["accuracy of a paper", "25 %", "50 %", "a paper"]


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    run = experiment.create(tmp_path / "run", RunConfig("tiny", "smoke", 7, PRESET))
    text = Checker(render(run.folder, "", {})).text
    assert "This run has not been evaluated yet." in text
    assert "Nothing has been logged yet." in text
    assert "0 updates" in text
    assert "not evaluated yet" in text


def test_an_empty_folder_still_gives_a_page(tmp_path: Path) -> None:
    assert "not been evaluated yet" in Checker(render(tmp_path, DOCSTRING, {})).text


def test_every_text_of_a_run_is_escaped(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    write(tmp_path, config={"task": bad, "preset": bad, "seed": 1, "options": {bad: bad}})
    write(
        tmp_path, environment={bad: bad, "list": [bad], "table": {bad: bad}, "commit": bad, "uncommitted_changes": True}
    )
    entry = {"value": bad, "source": bad, "note": bad}
    write(tmp_path, result={"test": {bad: 0.5}, "published": {bad: entry}, "seconds": 1})
    layer = {"name": bad, "neurons": 1, "rate_hz": 1.0, "input_rate_hz": None, "synapses": 1}
    files = [{"file": bad, "sha256": bad, "note": bad}]
    write(tmp_path, activity={"dt_ms": 1.0, "steps": 2, "layers": [layer], "data": files})
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"update": 1, bad: 0.5}) + "\n")
    page = render(tmp_path, f"{bad}\n\n{bad}\n\n    {bad}", {bad: 1})
    assert "<script" not in page
    assert Checker(page).text.count(bad) > 20


def test_damaged_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("nonsense\n")
    with pytest.raises(CheckpointError, match=r"metrics.jsonl is damaged.*Remove it and evaluate or train again"):
        render(tmp_path, "", {})
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"result.json is damaged"):
        render(tmp_path, "", {})


def test_a_curve_of_one_value_and_of_many(tmp_path: Path) -> None:
    lines = [{"update": n, "constant": 2.0, "loss": 1 / n, "validation_loss": 2 / n} for n in range(1, 1000)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = render(tmp_path, "", {})
    Checker(page)
    assert page.count("<svg") == 2
    assert page.count("<polyline") == 3
    assert "nan" not in page
    tracks = re.findall(r'points="([^"]*)"', page)
    assert all(200 < len(track.split()) <= 301 for track in tracks)


def test_the_command_names_only_what_differs() -> None:
    run = {"task": "t", "preset": "p", "seed": 0, "options": {"sizes": [3, 4], "lr": 0.1, "flag": True, "same": 1}}
    preset = {"sizes": [1], "lr": 0.2, "flag": False, "same": 1}
    assert command(run, preset) == "spikeloom train t --preset p --seed 0 --sizes 3 4 --lr 0.1 --flag"
