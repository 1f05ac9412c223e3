"""Output of commands about a run: its result, its layers, its report."""

from pathlib import Path

from ..report.energy import mean_rate
from ..report.read import read
from ..report.report import render
from ..report.sections import Folder
from ..train import config, experiment, files
from ..train.config import Task
from ..train.run import Run
from .help import fill


def write_report(task: Task, folder: Path) -> None:
    """Write report.html of one run."""
    start = task.PRESETS.get(config.read(folder).preset)
    page = render(folder, task.__doc__ or "", {} if start is None else config.to_json(start))
    files.write_atomic(folder / "report.html", lambda stream: stream.write(page.encode()))


def print_result(run: Run) -> None:
    """Print the test values next to the published ones."""
    content = read(run.folder)
    for note in content.notes:
        print(f"Note: {note}")
    if content.result is None:
        print(f"There is no result. `spikeloom evaluate {run.folder}` writes it.")
        return
    for name, value in content.result["test"].items():
        published = content.result["published"].get(name, {})
        print(f"test {name} {value:.4g}")
        if "value" in published:
            about = f"to compare: {published['value']}, {published.get('source', '')}: {published.get('note', '')}"
            print(fill(about, indent=4))
    print_layers(content)
    print(f"report {run.folder / 'report.html'}", flush=True)


def print_layers(content: Folder) -> None:
    """Print size and firing rate of each layer, if the task records them."""
    if content.activity is None:
        return
    lines = [(layer["name"], layer["neurons"], layer["rate_hz"]) for layer in content.activity["layers"]]
    if (total := mean_rate(content.activity)) is not None:
        lines.append(("all of these that spike", *total))
    for name, neurons, hertz in lines:
        print(f"layer {name}: {neurons:,} neurons" + ("" if hertz is None else f", mean rate {hertz:.4g} Hz"))


def print_finished(run: Run) -> None:
    """Print that a run is finished, and its result."""
    if run.rank == 0:
        print(f"{run.folder} is finished; nothing is left to do.")
        print_result(run)


def print_changes(run: Run) -> None:
    """Print the changes of machine and versions since the run began."""
    changes = experiment.note_resumption(run) if run.rank == 0 else []
    if changes:
        print(f"Note: {'; '.join(changes)}. The last bits of the result may differ.", flush=True)
