"""Firing rates of the layers during training: observed in the first update and in validations, with warnings.

layers.json   {"observed": [{"update", "during", "layers": [...]}, ...]}: first and last observation
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from ..errors import CheckpointError
from ..inspect import FiringCounter, LayerActivity
from .run import Run

FILE = "layers.json"


class FiringMonitor:
    """Monitor of the layers of a run that records rates and warns once about each problem of a layer.

    Args:
        run: run whose user is warned.
        modules: modules to observe, by name.
    """

    def __init__(self, run: Run, modules: Mapping[str, nn.Module]) -> None:
        self.run = run
        self.counter = FiringCounter(modules if len(modules) > 1 else dict(zip([""], modules.values(), strict=False)))
        self.reported: set[tuple[str, str]] = set()

    @contextlib.contextmanager
    def watching(self, update: int, during: str) -> Iterator[None]:
        """Observe the calls inside this context.

        Args:
            update: number of finished updates.
            during: "training" or "validation".
        """
        with self.counter.counting():
            yield
        self.keep(update, during, self.counter.layers())

    def keep(self, update: int, during: str, layers: Sequence[LayerActivity]) -> None:
        """Record an observation, and warn about new problems."""
        if not layers:
            return
        if self.run.rank == 0:
            rates = [{name: value for name, value in vars(layer).items() if name != "gradient"} for layer in layers]
            seen = {"update": update, "during": during, "layers": rates}
            first = [one for one in self._observed()[:1] if one != seen and update]
            self.run.write_json(FILE, {"observed": [*first, seen]})
        for layer in layers:
            if layer.advice and (layer.name, layer.state) not in self.reported:
                self.reported.add((layer.name, layer.state))
                self.run.tell(f"Warning, at update {update} ({during}): {layer.advice}")

    def _observed(self) -> list[Any]:
        """Return the observations in the file, or [] if it is damaged: nothing depends on it."""
        if not (self.run.folder / FILE).exists():
            return []
        try:
            content = self.run.read_json(FILE)
        except CheckpointError:
            return []
        observed = content.get("observed") if isinstance(content, dict) else None
        return observed if isinstance(observed, list) else []
