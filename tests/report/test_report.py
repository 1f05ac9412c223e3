import base64
import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from spikeloom.errors import CheckpointError, ConfigError
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


LAYER = b'{"name": "a", "neurons": 1, "rate_hz": 1, "input_rate_hz": 1, "synapses": 1, "recurrent_synapses": 1}'
DAMAGE: dict[str, list[bytes]] = {
    "metrics.jsonl": [b"nonsense\n", b"\xff\n", b"[]\n", b"{}\n", b'{"update": "1"}\n', b"[" * 5000 + b"\n"],
    "result.json": [
        b"{", b"{}", b"[]", b"\xff", b"[" * 5000, b'{"test": [], "published": {}, "seconds": 1}',
        b'{"test": {"a": "b"}, "published": {}, "seconds": 1}', b'{"test": {"a": NaN}, "published": {}, "seconds": 1}',
        b'{"test": {}, "published": {"a": 1}, "seconds": 1}',
        b'{"test": {}, "published": {"a": {"of": []}}, "seconds": 1}',
        b'{"test": {}, "published": {}, "seconds": "long"}',
        b'{"test": {"a": 1' + b"0" * 400 + b'}, "published": {}, "seconds": 1}',
    ],
    "environment.json": [
        b"{", b"[]", b"1", b"\xff", b'{"a": ' * 500 + b"1" + b"}" * 500, b'{"data": [1]}', b'{"data": 1}',
    ],
    "activity.json": [
        b"{", b"[]", b"{}", b'{"dt_ms": 1, "steps": 2, "layers": [1]}', b'{"dt_ms": "1", "steps": 2, "layers": []}',
        b'{"dt_ms": 1, "steps": 2, "layers": 3}', b'{"dt_ms": 1, "steps": 2, "layers": [], "data": [{}]}',
        b'{"dt_ms": 1, "steps": 2, "layers": [%s]}' % LAYER.replace(b"1", b'"x"'),
        b'{"dt_ms": 1, "steps": 2, "layers": [%s]}' % LAYER.replace(b'"rate_hz": 1', b'"rate_hz": null'),
    ],
    "layers.json": [b"{", b"[]", b'{"observed": [1]}', b'{"observed": [{"update": 0, "during": "a", "layers": [{}]}]}'],
    "figures/captions.json": [b"{", b"[]"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content"),
    [(name, content) for name, contents in DAMAGE.items() for content in contents],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_files_are_named_and_left_out(name: str, content: bytes, finished: Path) -> None:
    (finished / name).write_bytes(content)
    text = Checker(render(finished, DOCSTRING, PRESET)).text
    assert "Note" in text
    assert name in text[text.index("Note") :][:200]
    assert "Configuration" in text


def test_metrics_up_to_the_damage_are_shown(finished: Path) -> None:
    path = finished / "metrics.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]) + b"{\n")
    page = render(finished, DOCSTRING, PRESET)
    assert "metrics.jsonl is left out from there: line 3 is damaged, it is not JSON" in Checker(page).text
    assert "<polyline" in page


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"{}", b'{"task": 1, "preset": "", "seed": 1, "options": {}}', b"\xff", b"[" * 9999]
)
def test_without_a_sound_config_there_is_no_report(content: bytes, finished: Path) -> None:
    (finished / "config.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.json is damaged: .* Restore it from a copy"):
        render(finished, DOCSTRING, PRESET)


@pytest.mark.parametrize("name", ["figures/leak.png", "environment.json", "metrics.jsonl", "figures"])
def test_what_lies_outside_the_folder_is_not_shown(name: str, finished: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "secret.png", finished / name
    if name == "figures":
        shutil.move(link, tmp_path / "elsewhere")
        target = tmp_path / "elsewhere"
    else:
        target.write_text("{}")
        link.unlink(missing_ok=True)
    link.symlink_to(target)
    with pytest.raises(CheckpointError, match=rf"{name} is a link\. Only files that lie in the folder of a run are"):
        render(finished, DOCSTRING, PRESET)


def test_what_is_no_file_is_not_read(finished: Path) -> None:
    os.mkfifo(finished / "figures" / "pipe.png")
    with pytest.raises(CheckpointError, match=r"pipe\.png is not a regular file\. Remove it"):
        render(finished, DOCSTRING, PRESET)


def test_a_huge_figure_is_left_out(finished: Path) -> None:
    with (finished / "figures" / "huge.png").open("wb") as stream:
        stream.truncate(2**26 + 1)
    text = Checker(render(finished, DOCSTRING, PRESET)).text
    assert "figures/huge.png is left out: it has 67,108,865 bytes, more than 67,108,864." in text


def test_an_unknown_commit_is_said(finished: Path) -> None:
    def environment(**values: object) -> str:
        write(finished, environment=values)
        return Checker(render(finished, DOCSTRING, PRESET)).text

    assert "uncommitted changesunknown" in environment(commit=None, uncommitted_changes=False)
    assert "commitunknown" in environment(commit=None, uncommitted_changes=None)
    assert "uncommitted changesunknown" in environment(commit="a" * 40, uncommitted_changes=None)
    assert "uncommitted changesno" in environment(commit="a" * 40, uncommitted_changes=False)


def test_layers_are_listed(finished: Path) -> None:
    layer = {"name": "hidden", "neurons": 1280, "rate": 0.0125, "silent": 0.25, "saturated": 0.0}
    write(finished, layers={"observed": [{"update": 0, "during": "training", "layers": [layer]}]})
    assert "training, update 0hidden1,2800.012525.0 %0.0 %" in Checker(render(finished, DOCSTRING, PRESET)).text


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


def test_words_of_a_command_are_quoted() -> None:
    run = {"task": "a; rm -rf", "preset": "p", "seed": 0, "options": {"name": "$(x)", "sizes": [1, 2]}}
    line = command(run, {"name": "", "sizes": []})
    assert line == "spikeloom train 'a; rm -rf' --preset p --seed 0 --name '$(x)' --sizes 1 2"


def test_the_command_names_only_what_differs() -> None:
    run = {"task": "t", "preset": "p", "seed": 0, "options": {"sizes": [3, 4], "lr": 0.1, "flag": True, "same": 1}}
    preset = {"sizes": [1], "lr": 0.2, "flag": False, "same": 1}
    assert command(run, preset) == "spikeloom train t --preset p --seed 0 --sizes 3 4 --lr 0.1 --flag"
