"""Command `compare`."""

import itertools
import os
from datetime import datetime
from pathlib import Path

from ..errors import CheckpointError, ConfigError
from ..report import compare as comparison
from ..train import files, informative
from .options import take
from .results import runs


def compare(arguments: list[str]) -> None:
    """Run `spikeloom compare RUN RUN ... [--out FILE]`: print the comparison and write it as HTML."""
    words, flags = take("spikeloom compare", arguments, ("out",))
    if any(word.startswith("-") for word in words):
        raise ConfigError("compare takes run folders and --out FILE: spikeloom compare RUN RUN ... --out FILE.")
    stem = f"compare-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    out = Path(flags["out"]) if "out" in flags else unused(Path("runs") / f"{stem}.html")
    check_out(out, "page", "compare.html", b"<!DOCTYPE html>")
    members = [one for word in words for one in runs(Path(word))]
    for one in members:
        informative.tidy(one)
    compared = comparison.groups(members)
    print(comparison.text(compared))
    data = comparison.render(compared).encode()
    try:
        files.write_atomic(out, lambda stream: stream.write(data))
    except CheckpointError as error:
        why = files.reason(error.__cause__) if isinstance(error.__cause__, OSError) else str(error)
        raise ConfigError(f"{out} cannot be written: {why}. Choose another file with --out FILE.") from error
    print(out)


def unused(path: Path) -> Path:
    """Return the path, with -2, -3, ... before its suffix if it exists."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    return next(one for one in itertools.chain([path], numbered) if not os.path.lexists(one))


def check_out(out: Path, what: str, name: str, begins: bytes) -> None:
    """Raise ConfigError if `--out FILE` is a folder, or a file of another kind, which would be overwritten."""
    if os.path.isdir(out):
        raise ConfigError(f"--out takes the file for the {what}, but {out} is a folder. Write --out {out / name}.")
    if above := [place for place in out.parents if os.path.isfile(place)]:
        raise ConfigError(
            f"{out} cannot be written: {above[0]} is a file and no folder. Choose another name for --out."
        )
    try:
        start = files.read_start(out, len(begins))
    except OSError:  # there is no such file, or writing it will report the error
        return
    if start not in (b"", begins):
        raise ConfigError(
            f"--out takes the file for the {what}, but {out} is a file of another kind, which would be lost. Choose "
            "another name, or remove that file."
        )
