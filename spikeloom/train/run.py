"""Run: a folder with everything about one training run, and its random generators.

    config.json  environment.json  metrics.jsonl  checkpoints/{last,best}.pt  result.json  figures/  report.html

A checkpoint holds the `state_dict` of every part, all generators, the number of finished updates, the options, the best
value so far, and a digest of metrics.jsonl up to there (see `saved`): everything that determines the further training.
A run that was killed at any moment resumes from there and ends with the same bytes as an uninterrupted one. Elapsed
time is not part of it and is stored in `seconds.json`.
"""

import dataclasses
import hashlib
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import nn
from torch.optim import Optimizer

from ..core import check_values
from ..errors import CheckpointError, ConfigError, TrainingError
from . import checkpoint, files, informative, metrics, ranks, saved
from .checkpoint import Carry
from .progress import Reporter

__all__ = ["Carry", "Checkpointable", "Run"]

FORMAT = 1


class Checkpointable(Protocol):
    """Object that is saved in checkpoints: a module, an optimiser, a sampler, a `Carry`."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


class Figure(Protocol):
    """Argument of `Run.figure`: a matplotlib Figure, or an animation."""

    def savefig(self, fname: Any, *, dpi: float, bbox_inches: str) -> Any: ...

    def text(self, x: float, y: float, s: str, **style: Any) -> Any: ...


@dataclass
class Run:
    """One training run of one task in its folder.

    Args:
        folder: folder of the run; created on the first write.
        task, preset, seed: identity of the run, recorded in every checkpoint.
        device: device of the parts.
        rank, world: process index and number of processes (see `spikeloom.train.ranks`); only rank 0 writes files.
        quiet: suppress progress output.
        options: task options, as in config.json; saved in every checkpoint, and a checkpoint that was saved with other
            options is refused.

    Attributes:
        written: digests of the files written by `write_json`, by name.
        best: value by which `checkpoints/best.pt` was selected, or None; set it before `save_best`.

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
    options: Mapping[str, Any] | None = None
    best: float | None = field(default=None, init=False, repr=False)
    _logged: Any = field(default=None, init=False, repr=False)
    _logged_bytes: int = field(default=0, init=False, repr=False)
    written: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    _kept: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    _generators: dict[str, torch.Generator] = field(default_factory=dict, init=False, repr=False)
    _shared: set[str] = field(default_factory=set, init=False, repr=False)
    _reporter: Reporter = field(init=False, repr=False)
    _mark: float = field(default_factory=time.monotonic, init=False, repr=False)
    last_saved: int | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._reporter = Reporter(quiet=self.quiet or self.rank > 0)

    def generator(self, purpose: str, *, shared: bool = False, seed: int | None = None) -> torch.Generator:
        """Return the generator for a purpose: an independent stream per seed, purpose and rank, saved in checkpoints.

        Args:
            purpose: what it is used for.
            shared: use the stream of rank 0 on all ranks, so that all draw the same numbers.
            seed: seed to use instead of the run's, for randomness that is the same in runs with different seeds.
        """
        if purpose not in self._generators:
            number = self.seed if seed is None else seed
            self._generators[purpose] = _stream(f"{number}/{purpose}/{0 if shared else self.rank}")
            if shared:
                self._shared.add(purpose)
        return self._generators[purpose]

    def restore(self, **parts: Checkpointable) -> int:
        """Load `checkpoints/last.pt` into the parts and generators; return the number of finished updates (0: new run).

        Later lines of metrics.jsonl are dropped: they will be written again. The number of ranks may change: new ranks
        load the parts of an old one, and get new random streams.

        Raises:
            CheckpointError: the checkpoint is damaged or missing, or belongs to another run or other parts.
        """
        self._mark = time.monotonic()
        finished = 0
        contents: dict[str, Any] | None = None
        if ranks.shared(self._path("last").exists()):  # other ranks may look too early, or on another machine
            contents = self._load("last", parts, exact=True)
            finished = contents["update"]
            shared, everyone = set(contents.get("shared", ())), contents["ranks"]
            for purpose, state in self._of_rank(everyone)["generators"].items():
                generator = self.generator(purpose, shared=purpose in shared)
                if self.rank < len(everyone) or purpose in shared:
                    self._set_state(purpose, generator, state)
                else:
                    self._generators[purpose] = _stream(f"{generator.initial_seed()}/after {finished} updates")
            self.last_saved, self.best = finished, contents.get("best")
            self._kept = {**contents.get("files", {}), **self._kept}
        elif ranks.shared((self.folder / "seconds.json").exists()):  # written after the first checkpoint
            raise CheckpointError(
                f"{self._path('last')} is missing, but the run had been saved. Restore the file, or train anew with "
                "another --out."
            )
        else:
            for part in parts.values():
                if isinstance(part, nn.Module):
                    ranks.copy_from_first(part)
        ranks.of_first(lambda: self._restore_files(contents))
        return finished

    def _restore_files(self, contents: dict[str, Any] | None) -> None:
        """Check best.pt, and truncate metrics.jsonl to the state at the checkpoint."""
        if contents is not None:
            if contents.get("best") is not None:
                self._read("best")
            for name, (was, now) in saved.changed(contents.get("options"), self.options).items():
                print(f"Note: {name} was {was} when the run was saved, and is {now} now.", flush=True)
            if not (self.folder / "seconds.json").exists():
                files.warn(f"{self.folder / 'seconds.json'} is missing: the time of training counts from here.")
        content, kept = self._metrics_until(contents)
        if kept != content:
            files.write_atomic(self._metrics_path, lambda stream: stream.write(kept))
        self._logged, self._logged_bytes = hashlib.sha256(kept), len(kept)

    def _metrics_until(self, contents: dict[str, Any] | None) -> tuple[bytes, bytes]:
        """Return the content of metrics.jsonl, and its beginning up to a checkpoint."""
        path = self._metrics_path
        content = metrics.contents(path)
        if contents is None:
            return content, b""
        if (recorded := contents.get("metrics")) is None:
            return content, metrics.up_to(content, contents["update"], path)
        kept = content[: recorded["bytes"]]
        if hashlib.sha256(kept).hexdigest() != recorded["sha256"]:
            short = "is missing or lacks its last lines" if len(kept) < recorded["bytes"] else "has been changed"
            raise CheckpointError(
                f"{path} {short}: it is not what it was at update {contents['update']}, when {self._path('last').name} "
                f"was saved. {metrics.REMEDY}"
            )
        return content, kept

    def check(self, *, exact: bool = True) -> None:
        """Check that the folder matches `checkpoints/last.pt`: options, metrics, kept files.

        Args:
            exact: also compare options that may change on resumption (`saved.MAY_CHANGE`).

        Raises:
            CheckpointError: the folder does not match, or the checkpoint is damaged.
        """
        if self._path("last").exists():
            contents = checkpoint.load(self._path("last"))
            self._check_header(self._path("last"), contents, exact=exact)
            self._metrics_until(contents)

    def save(self, update: int, **parts: Checkpointable) -> None:
        """Save the parts to `checkpoints/last.pt` after `update` finished updates.

        Raises:
            CheckpointError: writing failed (the previous checkpoint is kept), or the ranks hold different models.
        """
        self._save("last", update, parts)
        self.last_saved = update
        if self.rank == 0:
            files.write_json(self.folder / "seconds.json", {"training": round(self._clock(), 3)})

    def save_best(self, update: int, **parts: Checkpointable) -> None:
        """Save the parts to `checkpoints/best.pt`, for evaluation."""
        self._save("best", update, parts)

    def load_best(self, **parts: Checkpointable) -> int:
        """Load `checkpoints/best.pt` into some or all of its parts; return the update at which it was saved.

        Raises:
            CheckpointError: the checkpoint is missing or damaged, or lacks a part.
        """
        return int(self._load("best", parts, exact=False)["update"])

    def load_last(self, **parts: Checkpointable) -> int:
        """Load `checkpoints/last.pt` into some or all of its parts; generators and metrics stay unchanged."""
        return int(self._load("last", parts, exact=False)["update"])

    def log(self, update: int, **values: float) -> None:
        """Append one line to metrics.jsonl (rank 0; see `ranks.mean` for values of several ranks).

        Raises:
            TrainingError: a value is not finite.
        """
        metrics.check_finite(values, update, kept=self.kept())
        if self.rank == 0:
            self._digest()
            text = metrics.line(update, values)
            self.folder.mkdir(parents=True, exist_ok=True)
            files.append(self._metrics_path, text)
            self._logged.update(text.encode())
            self._logged_bytes += len(text.encode())

    def kept(self) -> str:
        """Return a sentence about the existing checkpoints, and a space, for the error of a run that stops."""
        if self.last_saved is not None:
            return "The last checkpoint is kept. "
        if self._path("best").exists():
            return "The best checkpoint is kept, but there is none yet from which training could go on. "
        return "There is no checkpoint yet. "

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl, oldest first."""
        return metrics.read(self._metrics_path)

    def logged(self, update: int, name: str) -> float:
        """Return a logged value of an update from metrics.jsonl.

        Raises:
            CheckpointError: there is no such line.
        """
        for line in self.metrics():
            if line["update"] == update and name in line:
                return float(line[name])
        raise CheckpointError(f"{self._metrics_path} has no {name} of update {update}. {metrics.REMEDY}")

    def figure(self, name: str, figure: Figure, caption: str = "", kind: Literal["png", "gif"] = "png") -> None:
        """Write `figures/NAME.png`, or .gif for an animation; the report shows it with its caption."""
        if self.rank > 0:
            return
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=120.0, bbox_inches="tight")
        files.write_atomic(self.folder / "figures" / f"{name}.{kind}", lambda stream: stream.write(buffer.getvalue()))
        captions = self.read_json("figures/captions.json") if self._exists("figures/captions.json") else {}
        files.write_json(self.folder / "figures" / "captions.json", {**captions, name: caption})

    def write_json(self, name: str, value: Any, *, kept: bool = False) -> None:
        """Write `value` as JSON into the folder, atomically (rank 0 only).

        Args:
            kept: training depends on the file: from now on a checkpoint is refused if the file differs.
        """
        if self.rank == 0:
            informative.forget_digest(self.folder, name)
            self.written[name] = files.write_json(self.folder / name, value)
            if kept:
                self._kept[name] = self.written[name]

    def read_json(self, name: str) -> Any:
        """Read a JSON file from the folder.

        Raises:
            CheckpointError: the file is missing or damaged.
        """
        try:
            return files.read_json(self.folder / name)
        except files.UNREADABLE as error:
            raise CheckpointError(
                f"{self.folder / name} cannot be read: {files.reason(error)}. `spikeloom evaluate {self.folder}` "
                "writes it again."
            ) from error

    def progress(self, update: int, total: int, headline: Sequence[str] = (), /, **values: float) -> None:
        """Show the progress: a bar on a terminal, plain lines otherwise.

        Args:
            headline: names of the values to show; by default the loss, accuracy or error, and one more.
        """
        self._reporter.show(update, total, values, headline)

    def tell(self, text: str) -> None:
        """Print a sentence for the user (rank 0 only)."""
        self._reporter.tell(text)

    def close(self) -> None:
        """Close the progress bar, if there is one."""
        self._reporter.close()

    def seconds(self) -> float:
        """Return the seconds of training up to the last `save`, over all restarts."""
        return float(self.read_json("seconds.json")["training"]) if self._exists("seconds.json") else 0.0

    def fresh(self) -> "Run":
        """Return the run with newly seeded generators, so that evaluation does not depend on the training before."""
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

    def _save(self, name: str, update: int, parts: Mapping[str, Checkpointable]) -> None:
        check_numbers(parts, update, self.kept())
        states = {key: checkpoint.canonical(part.state_dict(), key) for key, part in parts.items()}
        common = {key: state for key, state in states.items() if isinstance(parts[key], nn.Module | Optimizer)}
        own = {key: state for key, state in states.items() if key not in common}
        generators = {purpose: generator.get_state() for purpose, generator in sorted(self._generators.items())}
        if self.world > 1 and len(set(ranks.gather(hashlib.sha256(checkpoint.seal(common)).hexdigest()))) > 1:
            raise CheckpointError(
                f"the ranks hold different models at update {update}. "
                "Call ranks.average_gradients(model) between backward() and optimizer.step(), and "
                "ranks.average_buffers(model) after it if the model keeps statistics, as batch normalisation does."
            )
        everyone = ranks.gather({"generators": generators, "parts": own})
        header = {**self._header(), "update": update, "options": self.options, "best": self.best, "files": self._kept}

        def write() -> None:
            self._digest()
            files.sync(self._metrics_path)
            logged = {"bytes": self._logged_bytes, "sha256": self._logged.hexdigest()}
            contents = {**header, "metrics": logged, "shared": sorted(self._shared), "parts": common, "ranks": everyone}
            checkpoint.save(self._path(name), contents)

        if self.rank == 0 or ranks.world() > 1:
            ranks.of_first(write)

    def _header(self) -> dict[str, Any]:
        return {"format": FORMAT, "task": self.task, "preset": self.preset, "seed": self.seed}

    def _digest(self) -> None:
        """Compute the digest of metrics.jsonl, if nothing was restored."""
        if self._logged is None:
            content = metrics.contents(self._metrics_path)
            self._logged, self._logged_bytes = hashlib.sha256(content), len(content)

    def _read(self, name: str) -> dict[str, Any]:
        """Load a checkpoint of this run."""
        path = self._path(name)
        last = self._path("last")
        if name == "best" and not path.exists() and last.exists() and checkpoint.load(last).get("best") is not None:
            raise CheckpointError(f"{path} is missing, but the run had saved it. {checkpoint.LOST_BEST}")
        contents = checkpoint.load(path)
        self._check_header(path, contents, exact=False)
        return contents

    def _check_header(self, path: Path, contents: dict[str, Any], *, exact: bool) -> None:
        if wrong := saved.flaw(contents):
            raise CheckpointError(f"{path} is not a checkpoint of a run: {wrong}. {checkpoint.remedy(path)}")
        for key, mine in self._header().items():
            if contents[key] != mine:
                raise CheckpointError(
                    f"{path} has {key} {contents[key]!r}, but this run has {mine!r}. Restore the file of this run."
                )
        for name, digest in contents.get("files", {}).items():
            if files.digest(self.folder / name) != digest:
                raise CheckpointError(
                    f"{self.folder / name} is missing or is not the file that {path.name} was trained with. Restore it "
                    "from a copy, or train again in a new folder."
                )
        changed = saved.changed(contents.get("options"), self.options)
        refused = {name: values for name, values in changed.items() if exact or name not in saved.MAY_CHANGE}
        if refused:
            listed = "; ".join(f"{name} {was!r}, not {now!r}" for name, (was, now) in refused.items())
            more = (
                "" if set(refused) - set(saved.MAY_CHANGE) else "; or, to go on longer, remove result.json and resume"
            )
            raise CheckpointError(
                f"{path} was saved with other options than {self.folder / 'config.json'} has now: {listed}. Put the "
                f"saved {'values' if len(refused) > 1 else 'value'} back into config.json{more}, or train a new run "
                "with yours."
            )

    def _load(self, name: str, parts: Mapping[str, Checkpointable], exact: bool) -> dict[str, Any]:
        path, contents = self._path(name), self._read(name)
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

    def _set_state(self, purpose: str, generator: torch.Generator, state: torch.Tensor) -> None:
        try:
            generator.set_state(state)
        except saved.MISFITS as error:
            raise CheckpointError(
                f"{self._path('last')}: the state of the generator {purpose!r} is none. {checkpoint.REMEDY}"
            ) from error

    def _of_rank(self, saved: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the saved state of this rank; for a new rank, that of an old one."""
        return saved[self.rank % len(saved)]

    def _give(self, path: Path, key: str, part: Checkpointable, state: Any) -> None:
        try:
            saved.give(part, state, self.device)
        except saved.MISFITS as error:
            if isinstance(error, CheckpointError):
                raise
            reason = " ".join(str(error).split()).rstrip(".")
            raise CheckpointError(
                f"{path}: {key} does not fit: {reason}. Use the version and the options that saved it, or train again."
            ) from error


def check_numbers(parts: Mapping[str, Checkpointable], update: int, kept: str = "") -> None:
    """Check that the learned values of the parts are finite and in range.

    Args:
        kept: as `metrics.check_finite`.

    Raises:
        TrainingError: a parameter is infinite or NaN, or a value of a neuron is out of range.
        ConfigError: the latter, before the first update.
    """
    for key, part in parts.items():
        if isinstance(part, nn.Module) and (wrong := saved.not_a_number(part)):
            cause = saved.wrong_gradient(part)
            about = f", and so is the gradient of {key}.{cause}" if cause else ""
            raise TrainingError(
                f"training stopped at update {update}: parameter {key}.{wrong} is no longer a finite number{about}. "
                f"{kept}{metrics.AGAIN}"
            )
        if isinstance(part, nn.Module) and update:
            try:
                check_values(part)
            except ConfigError as error:
                raise TrainingError(
                    f"training stopped at update {update}: {key}: {error} {kept}{metrics.AGAIN}"
                ) from error
        elif isinstance(part, nn.Module):
            check_values(part)


def _stream(address: str) -> torch.Generator:
    """Return a generator seeded by a string."""
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(address.encode()).digest()[:8], "little") >> 1)
