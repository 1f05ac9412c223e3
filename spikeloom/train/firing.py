"""Which layers fire while a run trains: observed at its first update and in validations, told when one does not.

layers.json   {"observed": [{"update", "during", "layers": [...]}, ...]}: the first observation and the last
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from ..errors import CheckpointError
from ..inspect import LayerActivity, Watch
from .run import Run

FILE = "layers.json"


class Firing:
    """Observes the layers of a run, keeps what it saw, and tells once what is wrong with a layer.

    Args:
        run: whose user is told.
        modules: what is observed, by name.
    """

    def __init__(self, run: Run, modules: Mapping[str, nn.Module]) -> None:
        self.run = run
        self.watch = Watch(modules if len(modules) > 1 else dict(zip([""], modules.values(), strict=False)))
        self.told: set[tuple[str, str]] = set()

    @contextlib.contextmanager
    def watching(self, update: int, during: str) -> Iterator[None]:
        """Observe the calls inside this block.

        Args:
            update: finished updates.
            during: "training" or "validation".
        """
        with self.watch.watching():
            yield
        self.keep(update, during, self.watch.layers())

    def keep(self, update: int, during: str, layers: Sequence[LayerActivity]) -> None:
        """Write an observation down, and tell what is new and wrong in it."""
        if not layers:
            return
        if self.run.rank == 0:
            seen = {"update": update, "during": during, "layers": [dataclasses.asdict(layer) for layer in layers]}
            first = [one for one in self._observed()[:1] if one != seen and update]
            self.run.write_json(FILE, {"observed": [*first, seen]})
        for layer in layers:
            if layer.advice and (layer.name, layer.state) not in self.told:
                self.told.add((layer.name, layer.state))
                self.run.tell(f"Warning, at update {update} ({during}): {layer.advice}")

    def _observed(self) -> list[Any]:
        """The observations in the file; none if it is damaged, for it only informs."""
        if not (self.run.folder / FILE).exists():
            return []
        try:
            found = self.run.read_json(FILE)
        except CheckpointError:
            return []
        observed = found.get("observed") if isinstance(found, dict) else None
        return observed if isinstance(observed, list) else []
