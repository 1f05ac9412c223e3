"""Command `data`: list the data sets, download one, verify those that are present."""

import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from ..data import catalog
from ..data import fetch as files
from ..errors import ConfigError, DataError

USAGE = "spikeloom data list, spikeloom data fetch NAME, or spikeloom data check [NAME]"


def run_data(arguments: list[str]) -> None:
    """Run `spikeloom data ...`.

    Raises:
        ConfigError: the action or the data set is unknown.
        DataError: a data set cannot be fetched, or a file is damaged.
    """
    action, names = (arguments[0] if arguments else ""), arguments[1:]
    if action == "list" and not names:
        list_data()
    elif action == "fetch" and len(names) == 1:
        fetch_data(names[0])
    elif action == "check" and len(names) <= 1:
        check_data(names)
    else:
        raise ConfigError(f"data needs an action and a data set: {USAGE}.")


def list_data() -> None:
    """Print every data set with its content, licence and source, and its size on disk if it is present."""
    for name, known in sorted(files.datasets().items()):
        about, here = catalog.about(name), catalog.present(name)
        size = in_megabytes(sum(path.stat().st_size for path in here)) if here else "absent"
        how = "" if known else ", by hand only"
        print(f"{name:<10} {size:>9}  {about.title}")
        print(f"{'':<22}{about.licence}; {about.source}{how}")
    print(f"Below {files.folder('mnist').parent}; $SPIKELOOM_DATA names another place.")


def fetch_data(name: str) -> None:
    """Download the missing files of a data set, with a progress bar on a terminal, and print all paths."""
    console = Console(stderr=True, quiet=not sys.stderr.isatty())
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        paths = files.fetch(name, lambda file: DownloadBar(progress, file))
    print(*paths, sep="\n")


def check_data(names: list[str]) -> None:
    """Verify one data set, or all that are present, and print what was found.

    Raises:
        DataError: a file is damaged or missing.
    """
    chosen = names or [name for name in sorted(files.datasets()) if catalog.present(name)]
    wrong: list[str] = []
    for name in chosen:
        for findings in alike(catalog.check(name)):
            first = findings[0]
            sign = ("ok" if first.is_complete else "partial") if first.is_sound else "WRONG"
            files_of = f"{first.file}{f' and {len(findings) - 1} more' * (len(findings) > 1)}: " * bool(first.file)
            print(f"{name} {first.split} {sign}: {files_of}{first.text}", flush=True)
            wrong += [] if first.is_sound else [f"{name} {first.split}"]
    if not chosen:
        print(f"No data set is present below {files.folder('mnist').parent}.")
    if wrong:
        raise DataError(f"Not all data are sound: {', '.join(wrong)}. The lines above say what to do.")


def alike(findings: Iterable[catalog.Finding]) -> list[list[catalog.Finding]]:
    """Group the findings that differ only in the file, in the order of the first of each group."""
    groups: dict[catalog.Finding, list[catalog.Finding]] = {}
    for finding in findings:
        groups.setdefault(finding._replace(file=""), []).append(finding)
    return list(groups.values())


def in_megabytes(count: int) -> str:
    """Return a number of bytes in words.

    >>> in_megabytes(11_594_722)
    '11.6 MB'
    """
    return f"{count / 1e6:,.1f} MB"


class DownloadBar:
    """Progress bar of one download, in the form that pooch expects."""

    def __init__(self, progress: Progress, file: str) -> None:
        self.progress, self.task, self.total = progress, progress.add_task(Path(file).name, total=None), 0

    def update(self, count: int) -> None:
        """Advance by `count` bytes."""
        self.progress.update(self.task, advance=count, total=self.total or None)

    def reset(self) -> None:
        """Start again from zero."""
        self.progress.reset(self.task, total=self.total or None)

    def close(self) -> None:
        """Finish."""
        self.progress.stop_task(self.task)
