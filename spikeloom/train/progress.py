"""Progress of a training run: a bar on a terminal, plain lines otherwise, of at most 80 columns.

    update 1200/10000 ━━━━━━━━━━━━━━━━ 0:12:40  loss 0.312  accuracy 0.887  validation 0.871

A few headline values are shown; metrics.jsonl has all of them. A value stays until there is a newer one, as that of the
last validation between two of them.
"""

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

COLUMNS = 80
"""Maximum length of a plain line."""
HEADLINES = 3
"""Number of values shown if a task does not name them."""
MEASURES = ("accuracy", "error")
"""Words in the names of values that say how well the network does."""
SCHEDULE = ("lr", "epoch")
"""Values that follow from the number of updates, which are not shown by default."""
FIRST, SHARE, LONGEST = 5.0, 0.05, 60.0
"""Seconds between two plain lines: at first, as a share of the time since the first line, and at most."""
NARROWEST, WIDEST = 4, 40
"""Limits of the width of the bar."""


class Reporter:
    """Progress display of a run; silent if `quiet`, as on all ranks but the first."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.began: tuple[float, int] | None = None
        self.last_line = 0.0
        self.values = dict[str, float]()
        self.bar: Progress | None = None
        self.width = 0
        self.drawn = BarColumn()
        self.bar_task = TaskID(0)

    def show(self, update: int, total: int, values: Mapping[str, float], headline: Sequence[str] = ()) -> None:
        """Show `update` of `total`; without a terminal, print a line from time to time, and for the last update.

        Args:
            values: values of this update.
            headline: names of the values to show, the most important first; by default those of `choose`.
        """
        if self.quiet:
            return
        self.values.update(values)
        now = time.monotonic()
        if self.began is None:
            self.began = (now, update)
            self.last_line = now - LONGEST
        names = [name for name in headline if name in self.values] or choose(self.values)
        shown = {label: self.values[name] for label, name in zip(labels(names), names, strict=True)}
        left = self._left(now, update, total)
        if sys.stdout.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown"):  # those cannot redraw
            self._draw(update, total, shown, left)
        elif update >= total or now - self.last_line >= min(max(FIRST, SHARE * (now - self.began[0])), LONGEST):
            self.last_line = now
            count, rest = f"update {update}/{total}", f"  {left} left" if left else ""
            print(f"{count}{fitting(shown, COLUMNS - len(count) - len(rest))}{rest}", flush=True)

    def _left(self, now: float, update: int, total: int) -> str:
        """Return the time to go by the mean duration of an update; "" at the first, whose duration is not known."""
        began, first = self.began or (now, update)
        if update <= first:
            return ""
        seconds = round((now - began) / (update - first) * (total - update))
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"

    def _draw(self, update: int, total: int, shown: Mapping[str, float], left: str) -> None:
        bar = self.bar or Progress(
            TextColumn("update"),
            MofNCompleteColumn(),
            self.drawn,
            TextColumn("{task.fields[left]}{task.fields[values]}", markup=False),
            console=Console(file=sys.stdout),
        )
        left = left or "-:--:--"
        room = bar.console.width - len("update") - 2 * len(str(total)) - 4 - len(left)  # a space after each column
        values = fitting(shown, room - max(NARROWEST, room // 8))
        self.width = min(max(self.width, len(values)), room)  # so that the bar keeps its length
        self.drawn.bar_width = max(NARROWEST, min(WIDEST, room - self.width))
        if self.bar is None:
            self.bar_task = bar.add_task("", total=total, completed=update, left=left, values=values)
            bar.start()
            self.bar = bar
        bar.update(self.bar_task, completed=update, total=total, left=left, values=values)

    def tell(self, text: str) -> None:
        """Print a sentence, above the bar if there is one."""
        if self.quiet:
            return
        if self.bar is None:
            print(text, flush=True)
        else:
            self.bar.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Restore the terminal; what is shown next is another training."""
        if self.bar is not None:
            self.bar.stop()
            self.bar, self.width = None, 0
        self.began = None
        self.values = {}


def choose(names: Iterable[str]) -> list[str]:
    """Return the names of the headline values: the loss, accuracy or error, its validation, else one more.

    >>> choose(["loss", "lr", "rate", "error", "error_sd", "validation_loss", "validation_error"])
    ['loss', 'error', 'validation_error']
    >>> choose(["lr", "loss", "rate"]), choose(["loss", "flips", "validation_flips"])
    (['loss', 'rate'], ['loss', 'validation_flips', 'flips'])
    """
    known = list(names)
    validation = [name for name in known if name.startswith("validation")]
    measures = [name for name in known if set(name.split("_")) & set(MEASURES)]
    own = [name for name in measures if name not in validation][:1]
    ranked = ["loss", *own, *(f"validation_{name}" for name in own)]
    ranked += [name for name in measures if name in validation] + validation
    ranked += [name for name in known if name not in SCHEDULE]
    return [name for name in dict.fromkeys(ranked) if name in known][:HEADLINES]


def labels(names: Sequence[str]) -> list[str]:
    """Return names as they are shown: the only validation, of a value that is shown too, is `validation`.

    >>> labels(["loss", "error", "validation_error"]), labels(["loss", "validation_error"])
    (['loss', 'error', 'validation'], ['loss', 'validation_error'])
    """
    alone = sum(name.startswith("validation_") for name in names) == 1
    return ["validation" if alone and name in {f"validation_{one}" for one in names} else name for name in names]


def number(value: float) -> str:
    """Format a value with three digits, so that it keeps its width.

    >>> [number(value) for value in (0.5, 12.345, 0.0, 120000.0, 1e-5, 3e12)]
    ['0.500', '12.3', '0.000', '120000', '1.00e-05', '3.00e+12']
    """
    if value == 0.0:
        return "0.000"
    return f"{value:.0f}" if 99.95 <= abs(value) < 1e9 else f"{value:#.3g}"


def fitting(values: Mapping[str, float], width: int) -> str:
    """Format the first values that fit into a width, two spaces before each.

    >>> fitting({"loss": 0.25, "accuracy": 0.1, "rate": 10.0}, 30), fitting({"loss": 0.25}, 3)
    ('  loss 0.250  accuracy 0.100', '')
    """
    text = ""
    for name, value in values.items():
        part = f"  {name} {number(value)}"
        if len(text + part) > width:
            break
        text += part
    return text
