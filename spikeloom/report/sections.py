"""Sections of a report, each from the content of the run folder."""

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import curves, energy
from .page import Piece, bullets, code, html, paragraph, picture, section, table


@dataclass(frozen=True)
class Folder:
    """Content of a run folder."""

    path: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    result: dict[str, Any] | None
    activity: dict[str, Any] | None
    costs: list[energy.Cost]
    layers: list[dict[str, Any]] | None
    metrics: list[dict[str, Any]]
    figures: dict[str, tuple[bytes, str]]  # bytes and caption, by file name
    notes: Sequence[str] = ()
    """Omitted parts, with reasons, and what holds for a run of an earlier version."""

    @property
    def task(self) -> str:
        """Name of the task, or absolute path of its file, which may be recorded relative to the folder."""
        name = str(self.config["task"])
        return os.path.normpath(self.path.resolve() / name) if name.endswith(".py") else name


def header(run: Folder, name: str, title: str) -> str:
    """Return the header: name, title, and state of the run."""
    state = "evaluated" if run.result else "not evaluated yet"
    updates = int(run.metrics[-1]["update"]) if run.metrics else 0
    chips = [f"preset {run.config['preset']}", f"seed {run.config['seed']}", f"{updates:,} updates"]
    if run.result:
        chips.append(f"{duration(run.result['seconds'])} of training")
    listed = "".join(f'<span class="chip">{html(chip)}</span>' for chip in chips)
    listed += f'<span class="chip{"" if run.result else " open"}">{state}</span>'
    return f'<p class="eyebrow">spikeloom run · {html(name)}</p><h1>{html(title or name)}</h1>{listed}'


def left_out(run: Folder) -> str:
    """Return the section about omitted files and runs of earlier versions."""
    return section("Note", bullets(run.notes)) if run.notes else ""


def results(run: Folder) -> str:
    """Return the test values next to the published ones."""
    if run.result is None:
        return section(
            "Result",
            paragraph(
                "This run has not been evaluated yet. `spikeloom resume` finishes it, `spikeloom evaluate` tests it."
            ),
        )
    test, published = run.result["test"], run.result["published"]
    cards = "".join(
        f'<div class="card"><b>{html(number(name, value))}</b><span>{html(_words(name))}</span></div>'
        for name, value in test.items()
    )
    rows = []
    for name, entry in published.items():
        of, value = entry.get("of", name), entry.get("value", "–")
        share = is_share(of, [test.get(of, 0.0), value])
        mine = number(of, test[of], share) if of in test else "–"
        rows.append((_words(name), mine, number(name, value, share), entry.get("source", ""), entry.get("note", "")))
    beside = table(("value", "this run", "reference", "source", "note"), rows) if rows else ""
    return section("Result", f'<div class="cards">{cards}</div>', beside)


def _words(name: str) -> str:
    return name.replace("_", " ")


def is_share(name: str, values: Iterable[Any]) -> bool:
    """Return whether values in one row are shown as percentages: named accuracy or error, and all from 0 to 1.

    >>> is_share("error", [0.2, 0.9]), is_share("error", [0.2, 1.3]), is_share("loss", [0.2])
    (True, False, False)
    """
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return any(word in name for word in ("accuracy", "error")) and all(0 <= value <= 1 for value in numbers)


def number(name: str, value: Any, share: bool | None = None) -> str:
    """Format a value: fractions as percentages, others with four digits.

    Args:
        share: whether the value is a fraction; by default determined from name and value.

    >>> number("accuracy", 0.947), number("spikes", 12.34567)
    ('94.7 %', '12.35')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if name == "solved":
        return "yes" if value == 1 else "no"
    share = is_share(name, [value]) if share is None else share
    return f"{100 * value:.4g} %" if share else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Format seconds in a suitable unit.

    >>> duration(42), duration(600), duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def learning(run: Folder) -> str:
    """Return the learning curves: the task's figure if there is one, else charts of metrics.jsonl."""
    drawn = [_picture(run, name) for name in run.figures if _is_curve(name)]
    if drawn:
        return section("Learning curves", *drawn)
    if not run.metrics:
        return section("Learning curves", paragraph("Nothing has been logged yet."))
    return section("Learning curves", f'<div class="charts">{curves.charts(run.metrics)}</div>')


def _is_curve(name: str) -> bool:
    return any(word in Path(name).stem for word in ("curve", "learning"))


def _picture(run: Folder, name: str) -> str:
    data, caption = run.figures[name]
    return picture(name, data, caption)


def pictures(run: Folder) -> str:
    """Return rasters and all other figures of the task."""
    drawn = [_picture(run, name) for name in run.figures if not _is_curve(name)]
    return section("Figures", *drawn) if drawn else ""


def layers(run: Folder) -> str:
    """Return the activity of the layers in the first update and in the last validation."""
    if not run.layers:
        return ""
    rows = [
        (
            f"{one['during']}, update {one['update']:,}",
            layer["name"],
            f"{layer['neurons']:,}",
            f"{layer['rate']:.4f}",
            f"{100 * layer['silent']:.1f} %",
            f"{100 * layer['saturated']:.1f} %",
        )
        for one in run.layers
        for layer in one["layers"]
    ]
    said = "Silent neurons never spiked while this was observed, saturated ones in more than 95 % of the steps."
    head = ("seen in", "layer", "neurons", "spikes per step", "silent", "saturated")
    return section("Layers", table(head, rows), paragraph(said, "note"))


def rates(run: Folder) -> str:
    """Return the firing rates of the layers."""
    if not run.activity:
        return ""
    rows = [
        (
            layer["name"],
            f"{layer['neurons']:,}",
            _rate(layer["rate_hz"]),
            f"{layer['inputs']:,}" if "inputs" in layer else "–",
            _rate(layer["input_rate_hz"]),
            f"{layer['synapses']:,}",
        )
        for layer in run.activity["layers"]
    ]
    if (total := energy.mean_rate(run.activity)) is not None:
        rows.append(("all of these that spike", f"{total[0]:,}", _rate(total[1]), "", "", ""))
    length = run.activity["steps"] * run.activity["dt_ms"]
    return section(
        "Firing rates",
        table(("layer", "neurons", "mean rate", "inputs", "mean input rate", "synapses"), rows),
        paragraph(
            f"One sample lasts {run.activity['steps']:,} steps of {run.activity['dt_ms']:g} ms: {length:,.0f} ms.",
            "note",
        ),
    )


def _rate(hertz: float | None) -> str:
    return "analog" if hertz is None else f"{hertz:.2f} Hz"


def cost(run: Folder) -> str:
    """Return synaptic operations and energy per sample."""
    if not run.activity:
        return ""
    rows = [
        (
            layer.name,
            f"{layer.additions:,.0f}",
            f"{layer.multiply_adds:,.0f}",
            f"{layer.neuron_updates:,.0f}",
            f"{layer.energy_nj:,.4g} nJ",
            f"{layer.dense_energy_nj:,.4g} nJ",
        )
        for layer in run.costs
    ]
    dense = "dense, one pass" if run.activity.get("constant_input") else "dense, every step"
    head = ("layer", "additions on spikes", "multiply-adds", "neuron updates", "energy", dense)
    return section("Synaptic operations and energy, per sample", table(head, rows), bullets(energy.ASSUMPTIONS))


def configuration(run: Folder, preset: Mapping[str, Any]) -> str:
    """Return all options, highlighting changes from the preset."""
    options = run.config["options"]
    changed = [name for name in options if name in preset and options[name] != preset[name]]
    rows = [
        (
            Piece(f'<b class="changed">{html(name)}</b>') if name in changed else name,
            _option(value),
            f"preset: {_option(preset[name])}" if name in changed else "",
        )
        for name, value in options.items()
    ]
    said = f"Preset {run.config['preset']}" + (f", with {', '.join(changed)} changed." if changed else ", unchanged.")
    return section("Configuration", paragraph(said), table((), rows))


def _option(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def data(run: Folder) -> str:
    """Return the data files, their content and their hashes."""
    files = (run.activity or {}).get("data") or run.environment.get("data") or []
    if not files:
        return ""
    rows = [(entry["file"], entry["note"], Piece(f"<code>{html(entry['sha256'])}</code>")) for entry in files]
    return section("Data", table(("file", "what it holds", "SHA-256"), rows))


def environment(run: Folder) -> str:
    """Return versions and machine."""
    entries = dict(run.environment)
    if entries and entries.get("commit") is None:  # changes are relative to the commit, so unknown as well
        entries |= {"commit": "unknown", "uncommitted_changes": "unknown"}
    elif entries.get("uncommitted_changes", 0) is None:
        entries["uncommitted_changes"] = "unknown"
    known = {name: value for name, value in entries.items() if name != "data" and value not in (None, [], "")}
    rows = [(_words(name), _environment(value)) for name, value in known.items()]
    return section("Environment", table((), rows)) if rows else ""


def _environment(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, list):
        return "; ".join(_environment(item) for item in value)
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def regenerate(run: Folder, preset: Mapping[str, Any]) -> str:
    """Return the commands that reproduce this run."""
    commit = run.environment.get("commit")
    changed = "   # there were uncommitted changes" if run.environment.get("uncommitted_changes") else ""
    lines = [f"git checkout {shlex.quote(str(commit))}{changed}"] if commit else []
    task = str(run.config["task"])
    if own := task.endswith(".py"):  # recorded from inside the folder, but the commands are for the folder above
        task = os.path.normpath(os.path.join(run.path.name, task))
    words = f" --task {shlex.quote(task)}" if own else ""
    again = f"spikeloom report {shlex.quote(run.path.name)}{words}   # this page again, from the folder"
    lines += [command({**run.config, "task": task}, preset), again]
    return section("How to get it again", code("\n".join(lines)))


def command(config: Mapping[str, Any], preset: Mapping[str, Any]) -> str:
    """Return the `spikeloom train` command of a run.

    >>> config = {"task": "t", "preset": "smoke", "seed": 1, "options": {"lr": 0.1, "bias": False}}
    >>> command(config, {"lr": 0.2, "bias": True})
    'spikeloom train t --preset smoke --seed 1 --lr 0.1 --no-bias'
    """
    words = [config["task"], "--preset", config["preset"], "--seed", config["seed"]]
    for name, value in config["options"].items():
        if name in preset and value != preset[name]:
            option = name.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{'' if value else 'no-'}{option}")
            else:
                words += [f"--{option}", *(value if isinstance(value, list) else [value])]
    return " ".join(["spikeloom train", *(shlex.quote(str(word)) for word in words)])
