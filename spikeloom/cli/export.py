"""Command `export`."""

from pathlib import Path

from ..errors import ConfigError, ExportError
from ..train import experiment, task_path
from .compare import check_out
from .find import task_of
from .options import take

HDF5 = b"\x89HDF\r\n\x1a\n"
"""First bytes of a NIR file."""


def export(arguments: list[str]) -> None:
    """Run `spikeloom export RUN --format nir [--out FILE]`: write the best checkpoint for other programs."""
    words, flags = take("spikeloom export", arguments, ("format", "out", "task"))
    if len(words) != 1 or words[0].startswith("-") or flags.get("format") != "nir":
        raise ConfigError(
            "export needs the folder of a run and a format: spikeloom export DIR --format nir (--out FILE)."
        )
    folder = Path(words[0])
    run = experiment.reopen(folder)
    out = Path(flags.get("out", folder / "model.nir"))
    check_out(out, "model", "model.nir", HDF5)
    from ..convert.nir import to_nir, write_nir

    task = task_of(folder, run.task, flags.get("task"))
    if "network_of" not in vars(task):
        raise ExportError(
            f"Task {task_path.shown(run.task, folder)} has no network_of(config, run), so there is nothing to export. "
            "Add one to the task: it returns the module whose weights are saved as `model`, and the shape of one input "
            "without time and batch."
        )
    run.check()
    model, shape = vars(task)["network_of"](experiment.options(task, folder), run.fresh())
    run.load_best(model=model)
    write_nir(to_nir(model, shape), out)
    print(out)
