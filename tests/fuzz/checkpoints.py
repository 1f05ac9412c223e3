"""Checkpoints and the other files of a run folder.

checkpoint            damaged bytes: the seal must notice all of them
checkpoint_resealed   damaged bytes under a seal that fits: what somebody else may send
checkpoint_contents   contents of other types, shapes, keys and values, well packed; a file is the seed of the change
run_folder            NAME, a line feed, and what stands in the file NAME of a run that is resumed, tested and drawn
"""

import contextlib
import functools
import hashlib
import io
import json
import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, cast

import torch

from spikeloom.cli import results
from spikeloom.cli.train import resume
from spikeloom.data.batches import Batches
from spikeloom.errors import CheckpointError, SpikeloomError
from spikeloom.layers import Sequential
from spikeloom.neurons import LIF
from spikeloom.train import checkpoint, experiment
from spikeloom.train.config import RunConfig, to_json
from spikeloom.train.run import Carry, Checkpointable, Run
from tests import tiny_task

from . import Target

TINY = str(Path(tiny_task.__file__))
OPTIONS = {"lr": 0.01, "updates": 3, "sizes": [3, 4]}
SEAL = len(checkpoint.SEAL) + checkpoint.DIGITS
FILES = (
    "config.json", "metrics.jsonl", "environment.json", "result.json", "activity.json", "seconds.json", "digests.json",
    "figures/captions.json",
)  # fmt: skip


class Small:
    """A network that spikes, with all kinds of parts, and an update of it."""

    def __init__(self, folder: Path, hidden: int = 5) -> None:
        self.run = Run(folder, "fuzz", "smoke", 3, quiet=True, options=OPTIONS)
        torch.manual_seed(0)
        self.net = Sequential(torch.nn.Linear(3, hidden), LIF(tau_mem=5.0), torch.nn.Linear(hidden, 2))
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.01)
        self.batches = Batches(8, 2, self.run.generator("batches"))
        self.carry = Carry(state=None, count=0)
        self.parts: dict[str, Checkpointable] = {
            "net": self.net, "optimizer": self.optimizer, "batches": self.batches, "carry": self.carry,
        }  # fmt: skip

    def update(self, number: int) -> None:
        inputs = torch.linspace(-3, 3, 4 * 8 * 3).view(4, 8, 3)[:, self.batches.next()]
        out, state = self.net(inputs)
        self.optimizer.zero_grad()
        out.square().sum().backward()
        self.optimizer.step()
        self.carry.state, self.carry.count = state, int(self.carry.count) + 1
        self.run.log(number, loss=float(out.detach().square().sum()))

    def train(self) -> None:
        for number in (1, 2, 3):
            self.update(number)
            if number == 2:
                self.run.best = 0.5
                self.run.save_best(number, **self.parts)
        self.run.save(3, **self.parts)


@functools.cache
def _trained() -> tuple[dict[str, bytes], list[bytes]]:
    """The files of a small run, and checkpoints: last, best, that of a larger network, that of another program."""
    with tempfile.TemporaryDirectory() as place:
        folder, other = Path(place, "one"), Path(place, "other")
        Small(folder).train()
        Small(other, hidden=7).train()
        found = [(folder / "checkpoints" / name).read_bytes() for name in ("last.pt", "best.pt")]
        torch.save({"model": torch.ones(2)}, Path(place, "foreign.pt"))
        found += [(other / "checkpoints" / "last.pt").read_bytes(), Path(place, "foreign.pt").read_bytes()]
        names = ("metrics.jsonl", "seconds.json")
        kept = {name: (folder / name).read_bytes() for name in names}
        return {**kept, "checkpoints/best.pt": found[1]}, found


def _write(folder: Path) -> None:
    for name, content in zip(("last", "best"), _trained()[1], strict=False):
        (folder / name).write_bytes(content)


def _write_any(folder: Path) -> None:
    for number, content in enumerate(_trained()[1]):
        with contextlib.suppress(CheckpointError):  # the readers are asked for the contents of every seed
            _restore(content)
            (folder / str(number)).write_bytes(content)


def _restore(content: bytes, further: bool = True) -> object:
    """What a checkpoint gives a run that goes on with it; an update must be possible then."""
    with tempfile.TemporaryDirectory() as place:
        for name, kept in _trained()[0].items():
            path = Path(place, name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(kept)
        Path(place, "checkpoints", "last.pt").write_bytes(content)
        small = Small(Path(place))
        finished = small.run.restore(**small.parts)
        found = {name: part.state_dict() for name, part in small.parts.items()}
        if further:
            small.update(finished + 1)
        return finished, small.run.best, checkpoint.seal(found)


def _read(path: Path) -> object:
    return _restore(path.read_bytes(), further=False)


def sealed(content: bytes) -> bytes:
    """The same with a seal that fits."""
    body = content[: -checkpoint.DIGITS] if content[-SEAL:].startswith(checkpoint.SEAL) else content + checkpoint.SEAL
    return body + hashlib.sha256(body).hexdigest().encode()


def _read_resealed(path: Path) -> object:
    return _restore(sealed(path.read_bytes()))


def _write_seed(folder: Path) -> None:
    (folder / "seed").write_bytes(bytes(8))


def _read_contents(path: Path) -> object:
    draw = Random(path.read_bytes())
    contents = checkpoint.load(_as_file(_trained()[1][draw.choice((0, 0, 0, 2))]))
    if path.read_bytes() != bytes(8):  # the first seed is what was saved
        for _ in range(draw.choice((1, 1, 2, 5))):
            contents = _change(contents, draw)
        if draw.random() < 0.2:
            return _restore(sealed(_repacked(_packed(contents), draw)))
    return _restore(_packed(contents))


def _as_file(content: bytes) -> Path:
    path = Path(tempfile.gettempdir(), f"{hashlib.sha256(content).hexdigest()}.pt")
    if not path.exists():
        path.write_bytes(content)
    return path


def _packed(contents: Any) -> bytes:
    """A sealed checkpoint of whatever it is, evil included."""
    buffer = io.BytesIO()
    torch.save(contents, buffer)
    archive = buffer.getvalue()
    return sealed(archive[:-2] + SEAL.to_bytes(2, "little") + checkpoint.SEAL)


class Evil:
    """Asks to be unpickled by a call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('a pickle was run')",)


ODD: tuple[Callable[[Random], Any], ...] = (
    lambda draw: None,
    lambda draw: draw.choice((-1, 0, 1, 2**31, 2**63, -(2**70), True)),
    lambda draw: draw.choice((float("nan"), float("inf"), -1e300, 0.5)),
    lambda draw: "x" * draw.choice((0, 1, 1000)),
    lambda draw: draw.choice(([], {}, (), [[]], {"a": {}}, {1: 2}, [None] * 50)),
    lambda draw: torch.ones(draw.choice(((), (0,), (1,), (3,), (2, 5), (5, 3), (1, 1, 1, 1))), dtype=_type(draw)),
    lambda draw: torch.full((5,), draw.choice((float("nan"), float("inf"), 1e38))),
    lambda draw: torch.ones(1).expand(draw.choice((7, 10**12))),
    lambda draw: functools.reduce(lambda inner, _: [inner], range(draw.choice((5, 60, 300))), cast("Any", 0)),
    lambda draw: functools.reduce(lambda inner, _: (inner, inner), range(draw.choice((4, 60))), cast("Any", 0)),
    lambda draw: Evil(),
    lambda draw: torch.nn.Linear(1, 1),
    lambda draw: torch.nn.Parameter(torch.ones(5)),
    lambda draw: torch.ones(2, 2).to_sparse(),
)


def _type(draw: Random) -> torch.dtype:
    types = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
    return draw.choice((*types, torch.complex64, torch.uint16))


def _change(value: Any, draw: Random) -> Any:
    """The same with one thing changed somewhere inside."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        name, kind = draw.choice(list(value)), draw.random()
        if kind < 0.1:
            return {key: item for key, item in value.items() if key != name}
        if kind < 0.15:
            return {**value, draw.choice(("x", 7, None)): draw.choice(ODD)(draw)}
        if kind < 0.2:
            other = draw.choice(list(value))
            return {**value, name: value[other], other: value[name]}
        return {**value, name: _change(value[name], draw)}
    if isinstance(value, list | tuple) and value and draw.random() < 0.9:
        place = draw.randrange(len(value))
        items = [*value[:place], *([] if draw.random() < 0.1 else [_change(value[place], draw)]), *value[place + 1 :]]
        return tuple(items) if isinstance(value, tuple) else items
    small = isinstance(value, torch.Tensor) and not value.is_sparse and value.numel() < 10_000
    if small and draw.random() < 0.6:
        changes = (
            torch.Tensor.double,
            lambda x: x.flatten()[:-1],
            lambda x: x.unsqueeze(0),
            torch.Tensor.int,
            lambda x: x.flip(0),
        )
        return draw.choice(changes[:4] if value.dim() == 0 else changes)(value)
    return draw.choice(ODD)(draw)


def _repacked(content: bytes, draw: Random) -> bytes:
    """An archive whose members are compressed, renamed, doubled, swapped, lost, or announce other storages."""
    out = io.BytesIO()
    kind = draw.choice(("compressed", "renamed", "doubled", "swapped", "lost", "program", "program", "program"))
    with zipfile.ZipFile(io.BytesIO(content)) as members:
        inside = [(name, members.read(name)) for name in members.namelist()]
    chosen = draw.randrange(len(inside))
    method = zipfile.ZIP_DEFLATED if kind == "compressed" else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", method) as archive:
        for place, (name, data) in enumerate(inside):
            if kind == "program" and name.endswith("data.pkl"):
                data = _reprogrammed(data, draw)
            if kind == "compressed" and name.endswith("/data/0"):
                data = bytes(1 << 27)
            if place == chosen and kind == "lost":
                continue
            if place == chosen and kind == "swapped":
                data = inside[draw.randrange(len(inside))][1]
            if place == chosen and kind == "renamed":
                name = draw.choice(("../../evil", "other/data.pkl", name.upper(), f"{name}/"))
            archive.writestr(name, data)
        if kind == "doubled":
            archive.writestr(f"copy/{inside[chosen][0]}", b"x")
    data = out.getvalue()
    return data[:-2] + SEAL.to_bytes(2, "little") + checkpoint.SEAL + bytes(checkpoint.DIGITS)


def _reprogrammed(program: bytes, draw: Random) -> bytes:
    """A pickle with other numbers, or with an operation that takes memory or calls something."""
    kind = draw.random()
    if kind < 0.6:
        changed = bytearray(program)
        places = [place for place, byte in enumerate(changed[:-2]) if byte in b"KMJ\x8a"]
        for place in draw.sample(places, min(3, len(places))):
            changed[place + 1] = draw.choice((0, 1, 0x7F, 0xFF))
        return bytes(changed)
    size = (1 << draw.choice((20, 31, 40, 62))).to_bytes(8, "little")
    evil = (
        b"\x80\x05\x96" + size + b".", b"\x80\x04\x8e" + size + b".", b"\x80\x02K\x01r" + size[:4] + b".",
        b"\x80\x02j" + size[:4] + b".", b"\x80\x02X" + size[:4] + b".", b"\x80\x02\x8b" + size[:4] + b".",
        b"cos\nsystem\n(S'false'\ntR.", pickle.dumps(Evil(), 2), b"ctorch._utils\n_rebuild_tensor_v2\n(tR.",
        b"\x80\x02" + b"]" * 100_000 + b".", b"\x80\x02" + b"(" * 10_000 + b"t" * 9_000 + b".", b"", b".", b"N.",
    )  # fmt: skip
    return draw.choice(evil)


@functools.cache
def _run_folder() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        folder = Path(place, "run")
        settings = RunConfig(TINY, "smoke", 0, to_json(tiny_task.PRESETS["smoke"]))
        run = experiment.create(folder, settings)
        experiment.train(tiny_task, experiment.options(tiny_task, folder), run)
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _write_folder(folder: Path) -> None:
    known = _run_folder()
    for name in FILES:
        (folder / name.replace("/", "-")).write_bytes(name.encode() + b"\n" + known[name])


SHAPES = (b"", b"{}", b"[]", b"[" * 100_000, b'{"a":' * 5_000, b"null", b"NaN", b"1" * 5_000, b'"\xed\xa0\x80"', b"\0")


def _content(name: str, content: bytes, draw: Random) -> bytes:
    """The content, or now and then one of other shape or with a value of another type."""
    if draw.random() < 0.2:
        return draw.choice(SHAPES)
    known = _run_folder()[name]
    if draw.random() < 0.4 and name.endswith(".json") and content != known:
        values = json.loads(known)
        key = draw.choice(list(values))
        return json.dumps({**values, key: draw.choice((None, [], {}, "x", -1, 1e999, True, [[1]], {"a": 2}))}).encode()
    return content


def _read_folder(path: Path) -> object:
    name, _, content = path.read_bytes().partition(b"\n")
    place = FILES.index(text) if (text := name.decode("latin-1")) in FILES else len(name) % len(FILES)
    draw = Random(path.read_bytes())
    if content != _run_folder()[FILES[place]]:
        content = _content(FILES[place], content, draw)
    command = draw.choice((resume, results.evaluate, results.plot, results.report))
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made, "run")
        for inside, known in _run_folder().items():
            (folder / inside).parent.mkdir(parents=True, exist_ok=True)
            (folder / inside).write_bytes(content if inside == FILES[place] else known)
        if command is resume:
            (folder / "report.html").write_text("")
        before = shutil.copytree(folder / "checkpoints", Path(made, "before"))
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                command(folder, TINY)
        except SpikeloomError as error:
            if FILES[place] not in ("config.json", "metrics.jsonl"):
                raise AssertionError(f"{command.__name__} depends on {FILES[place]}: {error}") from error
            raise
        for kept in before.iterdir():
            if kept.read_bytes() != (folder / "checkpoints" / kept.name).read_bytes():
                raise AssertionError(f"{command.__name__} has changed {kept.name}")
    return command.__name__


TARGETS = [
    Target("checkpoint", _write, _read, exact=True, seconds=120.0),  # the first reading compiles the network
    Target("checkpoint_resealed", _write_any, _read_resealed, seconds=120.0),
    Target("checkpoint_contents", _write_seed, _read_contents, seconds=120.0),
    Target("run_folder", _write_folder, _read_folder, seconds=120.0),
]
