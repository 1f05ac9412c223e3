"""Damaged files of one target, until the time or the number of files is over."""

import hashlib
import re
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from . import Target
from .damage import damaged
from .targets import Outcome, Reader, digest

CORPUS = Path(__file__).with_name("corpus")
"""Files that once failed, in a folder for each target."""


def hunt(
    target: Target, reader: Reader, seed: int, seconds: float, files: int | None = None, corpus: Path = CORPUS
) -> Counter[str]:
    """How many files ended how, at least one; what fails is kept in the corpus and printed, once for each kind."""
    counts: Counter[str] = Counter()
    told = set[str]()
    with tempfile.TemporaryDirectory() as made:
        seeds = Path(made, "seeds")
        seeds.mkdir()
        target.write(seeds)
        paths = sorted(path for path in seeds.iterdir() if path.is_file())
        contents = [path.read_bytes() for path in paths]
        written = {digest(target.read(path)) for path in paths}
        draw = Random(f"{target.name} {seed}")
        damaged_file = Path(made, "damaged")
        until = time.monotonic() + seconds
        while not counts or (time.monotonic() < until and (files is None or sum(counts.values()) < files)):
            content = damaged(draw.choice(contents), contents, draw)
            damaged_file.write_bytes(content)
            found = judged(target, reader.read(target, damaged_file), written)
            counts[found.end] += 1
            kind = re.sub(r"\d+|'.*?'", "", f"{found.end}: {found.detail}")  # equal but for numbers and names
            if found.end not in ("read", "refused") and kind not in told and len(told) < 100:
                told.add(kind)
                kept = corpus / target.name / f"{hashlib.sha256(content).hexdigest()[:12]}.bin"
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(content)
                print(f"{target.name}: {kept.name}: {found.end}: {found.detail}", flush=True)
    return counts


def judged(target: Target, found: Outcome, written: set[str]) -> Outcome:
    """The outcome, with other content than was written as a failure where every byte is under a checksum."""
    if target.exact and found.end == "read" and found.detail not in written:
        return Outcome("wrong content", "another content than any seed has, without an error")
    return found
