"""A run: a folder that explains itself, and everything random that happens in it.

    config.json  environment.json  metrics.jsonl  checkpoints/{last,best}.pt  result.json  figures/  report.html

A checkpoint holds the `state_dict` of every part, every generator and the number of finished updates. A run that was
killed at any moment goes on from there and ends with the same bytes as one that was not. Elapsed time is no part of
that and lives in `seconds.json`.
"""

import dataclasses
import hashlib
import io
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import nn
from torch.optim import Optimizer

from ..errors import CheckpointError
from ..made_up import MADE_UP
from . import checkpoint, files, metrics, ranks
from .checkpoint import Carry
from .progress import Reporter

__all__ = ["Carry", "Part", "Run"]

FORMAT = 1


class Part(Protocol):
    """Whatever must survive a restart: a module, an optimiser, a sampler, a `Carry`."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Any) -> Any: ...


class Figure(Protocol):
    """What `Run.figure` takes: a matplotlib Figure, or a film of several."""

    def savefig(self, fname: Any, *, dpi: float, bbox_inches: str) -> Any: ...

    def text(self, x: float, y: float, s: str, **style: Any) -> Any: ...


@dataclass
class Run:
    """One training run of one task in its folder.

    Args:
        folder: where everything is kept; made on the first write.
        task, preset, seed: what is trained, as recorded in every checkpoint.
        device: where the parts live.
        rank, world: this process and their number (see `spikeloom.train.ranks`); only rank 0 writes.
        quiet: no progress lines.
        made_up: it is given made-up data in place of a data set, which its figures say.

    >>> run = Run(Path("runs/example"), task="example", preset="smoke", seed=3)
    >>> run.generator("input") is run.generator("input")
    True
    """

    folder: Path
    task: str
    preset: str
    seed: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    world: int = 1
    quiet: bool = False
    made_up: bool = False
    _generators: dict[str, torch.Generator] = field(default_factory=dict, init=False, repr=False)
    _shared: set[str] = field(default_factory=set, init=False, repr=False)
    _reporter: Reporter = field(init=False, repr=False)
    _mark: float = field(default_factory=time.monotonic, init=False, repr=False)
    last_saved: int | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._reporter = Reporter(quiet=self.quiet or self.rank > 0)

    def generator(self, purpose: str, *, shared: bool = False, seed: int | None = None) -> torch.Generator:
        """The generator for one purpose: its own stream for each seed, purpose and rank, kept in every checkpoint.

        Args:
            purpose: what is drawn from it.
            shared: all ranks have the stream of rank 0: what is drawn from it in step is the same everywhere.
            seed: instead of the run's, for what shall be the same in runs of several seeds.
        """
        if purpose not in self._generators:
            number = self.seed if seed is None else seed
            self._generators[purpose] = _stream(f"{number}/{purpose}/{0 if shared else self.rank}")
            if shared:
                self._shared.add(purpose)
        return self._generators[purpose]

    def restore(self, **parts: Part) -> int:
        """Load `checkpoints/last.pt` into the parts and generators; how many updates are finished (0: a new run).

        Lines of metrics.jsonl after that update are dropped: they will be written again. Another number of ranks may go
        on: ranks that were not there take over the parts of one that was, and draw from streams of their own.

        Raises:
            CheckpointError: the checkpoint is damaged or was taken away, or belongs to another run or other parts.
        """
        self._mark = time.monotonic()
        finished = 0
        if ranks.shared(self._path("last").exists()):  # others may look before it is written, or from another machine
            contents = self._load("last", parts, exact=True)
            finished = int(contents["update"])
            shared, saved = set(contents.get("shared", ())), contents["ranks"]
            for purpose, state in self._of_rank(saved)["generators"].items():
                generator = self.generator(purpose, shared=purpose in shared)
                if self.rank < len(saved) or purpose in shared:
                    generator.set_state(state)
                else:
                    self._generators[purpose] = _stream(f"{generator.initial_seed()}/after {finished} updates")
            self.last_saved = finished
        elif ranks.shared((self.folder / "seconds.json").exists()):  # which is written after the first checkpoint
            raise CheckpointError(
                f"{self._path('last')} is missing, but the run had been saved. Restore the file, or train anew with "
                "another --out."
            )
        else:
            for part in parts.values():
                if isinstance(part, nn.Module):
                    ranks.copy_from_first(part)
        if self.rank == 0:
            metrics.cut(self._metrics_path, finished)
        ranks.barrier()
        return finished

    def save(self, update: int, **parts: Part) -> None:
        """Replace `checkpoints/last.pt` after `update` finished updates.

        Raises:
            CheckpointError: it cannot be written (the one before is kept), or the ranks hold different models.
        """
        self._save("last", update, parts)
        self.last_saved = update
        if self.rank == 0:
            files.write_json(self.folder / "seconds.json", {"training": round(self._clock(), 3)})

    def save_best(self, update: int, **parts: Part) -> None:
        """Replace `checkpoints/best.pt`: the parts to evaluate."""
        self._save("best", update, parts)

    def load_best(self, **parts: Part) -> int:
        """Load `checkpoints/best.pt` into some or all of its parts; the update it was saved at.

        Raises:
            CheckpointError: it is missing or damaged, or lacks a part.
        """
        return int(self._load("best", parts, exact=False)["update"])

    def load_last(self, **parts: Part) -> int:
        """As `load_best`, from `checkpoints/last.pt`; generators and metrics stay as they are."""
        return int(self._load("last", parts, exact=False)["update"])

    def log(self, update: int, **values: float) -> None:
        """Append one line to metrics.jsonl (rank 0; see `ranks.mean` for values of several ranks).

        Raises:
            TrainingError: a value is not finite.
        """
        metrics.check_finite(values, update)
        if self.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            metrics.write(self._metrics_path, update, values)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, oldest first."""
        return metrics.read(self._metrics_path)

    def figure(self, name: str, figure: Figure, caption: str = "", kind: Literal["png", "gif"] = "png") -> None:
        """Write `figures/NAME.png`, or .gif for a film; the report shows it above its caption."""
        if self.rank > 0:
            return
        if self.made_up:
            figure.text(0.995, 0.99, MADE_UP, ha="right", va="top", fontsize=9, color="#c23b34")
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=120.0, bbox_inches="tight")
        files.write_atomic(self.folder / "figures" / f"{name}.{kind}", lambda stream: stream.write(buffer.getvalue()))
        captions = self.read_json("figures/captions.json") if self._exists("figures/captions.json") else {}
        files.write_json(self.folder / "figures" / "captions.json", {**captions, name: caption})

    def write_json(self, name: str, value: Any) -> None:
        """Write `value` as JSON into the folder, atomically (rank 0)."""
        if self.rank == 0:
            files.write_json(self.folder / name, value)

    def read_json(self, name: str) -> Any:
        """Read a JSON file of the folder.

        Raises:
            CheckpointError: it is missing or damaged.
        """
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{self.folder / name} cannot be read: {error}. `spikeloom evaluate {self.folder}` writes it again."
            ) from error

    def progress(self, update: int, total: int, **values: float) -> None:
        """Tell the user: a bar on a terminal, plain lines otherwise."""
        self._reporter.show(update, total, values)

    def tell(self, text: str) -> None:
        """Tell the user a sentence; on all ranks but the first, nothing."""
        self._reporter.tell(text)

    def close(self) -> None:
        """End the progress bar, if there is one."""
        self._reporter.close()

    def seconds(self) -> float:
        """Seconds spent in training up to the last `save`, over all restarts."""
        return float(self.read_json("seconds.json")["training"]) if self._exists("seconds.json") else 0.0

    def fresh(self) -> "Run":
        """The same run with generators as on the first day: evaluation then never depends on how training went."""
        return dataclasses.replace(self)

    @property
    def _metrics_path(self) -> Path:
        return self.folder / "metrics.jsonl"

    def _path(self, name: str) -> Path:
        return self.folder / "checkpoints" / f"{name}.pt"

    def _exists(self, name: str) -> bool:
        return (self.folder / name).exists()

    def _clock(self) -> float:
        now = time.monotonic()
        total = self.seconds() + now - self._mark
        self._mark = now
        return total

    def _save(self, name: str, update: int, parts: Mapping[str, Part]) -> None:
        states = {key: checkpoint.canonical(part.state_dict(), key) for key, part in parts.items()}
        common = {key: state for key, state in states.items() if _is_common(parts[key])}
        own = {key: state for key, state in states.items() if key not in common}
        generators = {purpose: generator.get_state() for purpose, generator in sorted(self._generators.items())}
        if self.world > 1 and len(set(ranks.gather(hashlib.sha256(checkpoint.seal(common)).hexdigest()))) > 1:
            raise CheckpointError(
                f"the ranks hold different models at update {update}. "
                "Call ranks.average_gradients(model) between backward() and optimizer.step(), and "
                "ranks.average_buffers(model) after it if the model keeps statistics, as batch normalisation does."
            )
        everyone = ranks.gather({"generators": generators, "parts": own})
        if self.rank == 0:
            files.sync(self._metrics_path)
            header = {"format": FORMAT, "task": self.task, "preset": self.preset, "seed": self.seed, "update": update}
            shared = sorted(self._shared)
            checkpoint.save(self._path(name), {**header, "shared": shared, "parts": common, "ranks": everyone})

    def _load(self, name: str, parts: Mapping[str, Part], exact: bool) -> dict[str, Any]:
        path = self._path(name)
        contents = checkpoint.load(path)
        for key, mine in {"format": FORMAT, "task": self.task, "preset": self.preset, "seed": self.seed}.items():
            if contents.get(key) != mine:
                raise CheckpointError(
                    f"{path} has {key} {contents.get(key)!r}, but this run has {mine!r}. Restore the file of this run."
                )
        if exact and "shared" not in contents and len(contents["ranks"]) != self.world:
            raise CheckpointError(
                f"{path} was saved by {len(contents['ranks'])} ranks and a version that did not know another number of "
                f"them, but {self.world} resume it. Resume with --nproc-per-node {len(contents['ranks'])}."
            )
        states = {**contents["parts"], **self._of_rank(contents["ranks"])["parts"]}
        missing = [key for key in parts if key not in states]
        missing += [key for key in states if exact and key not in parts]
        if missing:
            raise CheckpointError(
                f"{path} holds {', '.join(states)}, but {', '.join(parts)} are asked for: {', '.join(missing)} has no "
                "counterpart. Use the version of the task that saved it, or train again."
            )
        for key, part in parts.items():
            self._give(path, key, part, states[key])
        return contents

    def _of_rank(self, saved: list[dict[str, Any]]) -> dict[str, Any]:
        """What this rank saved; for one that was not there, what another did."""
        return saved[self.rank % len(saved)]

    def _give(self, path: Path, key: str, part: Part, state: Any) -> None:
        try:
            if isinstance(part, Carry):
                part.load_state_dict(state, self.device)
            else:
                part.load_state_dict(state)
        except (RuntimeError, ValueError, KeyError) as error:
            if isinstance(error, CheckpointError):
                raise
            reason = " ".join(str(error).split()).rstrip(".")
            raise CheckpointError(
                f"{path}: {key} does not fit: {reason}. Use the version and the options that saved it, or train again."
            ) from error


def _stream(address: str) -> torch.Generator:
    """A generator that is seeded by a text."""
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(address.encode()).digest()[:8], "little") >> 1)


def _is_common(part: Part) -> bool:
    """Whether a part is the same on every rank and therefore kept once."""
    return isinstance(part, nn.Module | Optimizer)
