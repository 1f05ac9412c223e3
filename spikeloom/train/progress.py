"""Progress of a training run: a bar on a terminal, plain lines otherwise."""

import os
import sys
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

INTERVAL = 5.0
"""Seconds between two plain lines."""
VALIDATION_INTERVAL = 1.0
"""Seconds between two plain lines, if the second is for a validation."""
BAR, CLOCK = 40, len("0:00:00")
"""Maximum width of the bar, and width of the remaining time, in characters."""


class Reporter:
    """Progress display of a run; silent if `quiet`, as on all ranks but the first."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.began: tuple[float, int] | None = None
        self.last_line = -INTERVAL
        self.bar: Progress | None = None
        self.drawn = BarColumn()
        self.bar_task = TaskID(0)

    def show(self, update: int, total: int, values: Mapping[str, float]) -> None:
        """Show `update` of `total`; without a terminal, print a line every few seconds and at each validation."""
        if self.quiet:
            return
        now = time.monotonic()
        if self.began is None:
            self.began = (now, update)
        if sys.stdout.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown"):  # those cannot redraw
            self._bar(update, total, values)
            return
        validated = any(name.startswith("validation") for name in values)
        pause = VALIDATION_INTERVAL if validated else INTERVAL
        if update >= total or now - self.last_line >= pause:
            self.last_line = now
            print(f"update {update}/{total}{describe(values)}{self._left(now, update, total)}", flush=True)

    def _left(self, now: float, update: int, total: int) -> str:
        began, first = self.began or (now, update)
        if update <= first:
            return ""
        each = (now - began) / (update - first)
        left = round(each * (total - update))
        return f"  {each:.3g} s per update, at most {left // 60}:{left % 60:02} left"

    def _bar(self, update: int, total: int, values: Mapping[str, float]) -> None:
        if self.bar is None:
            self.bar = Progress(
                TextColumn("update"),
                MofNCompleteColumn(),
                self.drawn,
                TimeRemainingColumn(),
                TextColumn("{task.fields[values]}", markup=False),
                console=Console(file=sys.stdout),
            )
            self.bar_task = self.bar.add_task("", total=total, completed=update, values="")
            self.bar.start()
        width = self.bar.console.width
        self.drawn.bar_width = min(BAR, max(width // 4, 4))
        taken = len("update") + 2 * len(str(total)) + 1 + self.drawn.bar_width + CLOCK + 5  # a space after each column
        self.bar.update(self.bar_task, completed=update, total=total, values=fitting(values, width - taken))

    def tell(self, text: str) -> None:
        """Print a sentence, above the bar if there is one."""
        if self.quiet:
            return
        if self.bar is None:
            print(text, flush=True)
        else:
            self.bar.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Restore the terminal."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def describe(values: Mapping[str, float]) -> str:
    """Format values for a line of output.

    >>> describe({"loss": 0.25, "validation_error": 0.1})
    '  loss 0.25  validation_error 0.1'
    """
    return "".join(f"  {name} {value:.4g}" for name, value in values.items())


def fitting(values: Mapping[str, float], width: int) -> str:
    """Format the first values that fit into a width, followed by dots if there are more.

    >>> fitting({"loss": 0.25, "accuracy": 0.1, "rate": 10.0}, 26), fitting({"loss": 0.25}, 3)
    ('loss 0.25  accuracy 0.1  …', '')
    """
    parts = [f"{name} {value:.4g}" for name, value in values.items()]
    whole = "  ".join(parts)
    if len(whole) <= width:
        return whole
    while parts and len("  ".join([*parts, "…"])) > width:
        parts.pop()
    return "  ".join([*parts, "…"]) if parts else ""
