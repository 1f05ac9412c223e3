"""Runs opened from Python, to be looked at: nothing in the folder is changed, and a run may still be training.

    run = open_run("runs/store_recall-paper-3")
    run.result["test"]["error"], run.frame()["loss"].plot()

Files are read when they are asked for: of a running run, metrics are those written so far.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, ConfigError
from ..inspect.table import html_table, text_table
from . import config, files, metrics

SHOWN = 12
"""Options shown of a run; the others are in `options`."""


@dataclass(frozen=True)
class OpenedRun:
    """A run folder, read-only.

    Args:
        folder: folder of the run.
        config: content of config.json: "task", "preset", "seed", "options".

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "config.json").write_text('{"task": "t", "preset": "p", "seed": 1, "options": {}}')
    ...     print(OpenedRun.at(Path(folder)))
    t, preset p, seed 1: no updates yet, not evaluated
    """

    folder: Path
    config: dict[str, Any] = field(repr=False)

    @staticmethod
    def at(folder: Path) -> "OpenedRun":
        """Open the run of a folder; see `open_run`."""
        return OpenedRun(folder, vars(config.read(folder)))

    @property
    def task(self) -> str:
        """Name of the task."""
        return str(self.config["task"])

    @property
    def preset(self) -> str:
        """Name of the preset."""
        return str(self.config["preset"])

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.config["seed"])

    @property
    def options(self) -> dict[str, Any]:
        """Options of the task, by name, as in config.json."""
        return dict(self.config["options"])

    @property
    def result(self) -> dict[str, Any] | None:
        """Content of result.json: "test", "published", "seconds", ...; None before the evaluation.

        Raises:
            CheckpointError: the file is damaged.
        """
        value = self._json("result.json")
        if value is not None and not (isinstance(value, dict) and isinstance(value.get("test"), dict)):
            raise CheckpointError(
                f"{self.folder / 'result.json'} holds no test values. Write it anew with `spikeloom evaluate "
                f"{self.folder}`."
            )
        return value

    @property
    def environment(self) -> dict[str, Any] | None:
        """Content of environment.json: machine, versions, commit; None if there is none.

        Raises:
            CheckpointError: the file is damaged.
        """
        value: dict[str, Any] | None = self._json("environment.json")
        return value

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Lines of metrics.jsonl written so far, oldest first: {"update": 1, "loss": ..., ...}.

        Raises:
            CheckpointError: a line is damaged; a last line that is being written is left out.
        """
        return metrics.read(self.folder / "metrics.jsonl")

    @property
    def figures(self) -> list[Path]:
        """Pictures of the run, by name."""
        return sorted(path for path in (self.folder / "figures").glob("*.*") if path.suffix in (".png", ".gif"))

    def frame(self) -> Any:
        """Return the metrics as a pandas DataFrame, one row per logged update; NaN where a value was not logged.

        Raises:
            ConfigError: pandas is not installed.
            CheckpointError: as `metrics`.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ConfigError(
                "frame needs pandas, which is not installed. Run `pip install 'spikeloom[notebook]'`, or use metrics, "
                "a list of dicts."
            ) from error
        lines = self.metrics
        names = list(dict.fromkeys(name for line in lines for name in line)) or ["update"]
        return pd.DataFrame(lines, columns=names).set_index("update")

    def _json(self, name: str) -> Any:
        try:
            return files.read_json(self.folder / name)
        except FileNotFoundError:
            return None
        except files.UNREADABLE as error:
            raise CheckpointError(
                f"{self.folder / name} cannot be read: {files.reason(error)}. `spikeloom evaluate {self.folder}` "
                "writes it again."
            ) from error

    def _summary(self) -> str:
        lines = self.metrics
        updates = f"{lines[-1]['update']:,} updates" if lines else "no updates yet"
        state = "not evaluated" if self.result is None else "evaluated"
        return f"{self.task}, preset {self.preset}, seed {self.seed}: {updates}, {state}"

    def _cells(self) -> list[list[str]]:
        """Return names and values to show: test values, or else those of the last update."""
        lines, result = self.metrics, self.result
        shown = (lines[-1] if lines else {}) if result is None else result["test"]
        return [[name, f"{value:.6g}" if type(value) is float else str(value)] for name, value in shown.items()]

    def __str__(self) -> str:
        rows = self._cells()
        return self._summary() + (f"\n\n{text_table(['value', ''], rows)}" if rows else "")

    def _repr_html_(self) -> str:
        options = [[name, str(value)] for name, value in self.options.items()]
        more = f"<p>and {len(options) - SHOWN} more in options</p>" if len(options) > SHOWN else ""
        rows = self._cells()
        values = html_table(["last update" if self.result is None else "test", ""], rows) if rows else ""
        return html_table([self._summary()], []) + values + html_table(["option", ""], options[:SHOWN]) + more


def open_run(folder: str | Path) -> OpenedRun:
    """Open the folder of a finished or running run to look at it; nothing in it is changed.

    Args:
        folder: folder that `spikeloom train` printed.

    Raises:
        ConfigError: it is not a run folder; the message says what it is, and what to pass instead.

    >>> from tempfile import TemporaryDirectory
    >>> from spikeloom.train.run import Run
    >>> with TemporaryDirectory() as folder:
    ...     run = Run(Path(folder), "my_task", "default", seed=3)
    ...     run.write_json("config.json", {"task": "my_task", "preset": "default", "seed": 3, "options": {"lr": 0.1}})
    ...     run.log(1, loss=0.5)
    ...     opened = open_run(folder)
    ...     opened.options, opened.metrics, opened.result
    ({'lr': 0.1}, [{'update': 1, 'loss': 0.5}], None)
    """
    if not isinstance(folder, str | Path) or "\0" in str(folder):
        raise ConfigError(
            f"open_run needs folder as a path, but got {folder!r} ({type(folder).__name__}). Pass the folder that "
            "`spikeloom train` printed."
        )
    return OpenedRun.at(Path(folder))
