"""Free Spoken Digit Dataset (FSDD): spoken digits as wav files, and as spikes of an artificial cochlea.

    {digit}_{speaker}_{index}.wav      8 kHz, mono, 16 bit; index 0 to 4 is test, 5 to 49 training

Reads a zip file (of this name, or any other in the folder of the data set) or extracted wav files.
`fetch` downloads the repository at a fixed commit. GitHub packs such archives anew, so that they have no checksum to
publish; instead, the content of the training recordings is hashed, and compared with that of a copy of this commit.
Source: Jackson et al., Free Spoken Digit Dataset, CC BY-SA 4.0, https://github.com/Jakobovski/free-spoken-digit-dataset
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..arguments import explained
from ..encoding import cochlea
from ..encoding.cochlea import Cochlea
from ..errors import ConfigError, DataError, ShapeError
from . import wav
from .fetch import About, DataFile, Description, digests, folder, read_bytes
from .members import LARGEST_SET, opened_zip
from .spike_trains import Array, SpikeTrains, whole
from .stored import folder as folder_of_spikes
from .stored import stored

Split = Literal["train", "test"]

URL = "https://github.com/Jakobovski/free-spoken-digit-dataset"
NAME = re.compile(r"([0-9])_([a-z]+)_([0-9]{1,3})\.wav")
RATE = 8000
TEST_INDICES = range(5)
CLASSES = tuple(str(digit) for digit in range(10))
OFFICIAL = {"train": 2_700, "test": 300}
COMMIT = "26eb9aaf76e81b692f806f9140c2d2777410d7a1"
"""Version of the repository that is downloaded."""
CONTENT = "b0398255b443bb1ae1a9f87919d9d18b55a722dac968fa5b523651480f308b59"
"""SHA-256 of the names and contents of the training recordings of that version."""
LARGEST = 1 << 22
"""Maximum size of a wav file in bytes; the longest recording has 40,000."""


class Recordings(NamedTuple):
    """Recordings of a split, with digits and speakers."""

    samples: list[Array]  # float32 [length], -1 to 1
    rate: int  # Hz
    labels: Tensor  # int64 [N], 0 to 9
    speakers: Tensor  # int64 [N], index into `people`
    names: list[str]  # file names
    people: tuple[str, ...]


@explained
def load(split: Split, here: Path | str | None = None) -> Recordings:
    """Load all recordings of a split, ordered by digit, speaker and index; `here` overrides the data folder.

    Raises:
        ConfigError: the split is unknown.
        DataError: there are no recordings, or one is damaged.
    """
    _check(split)
    source = _source(here)
    files = _files(source)
    if not files:
        raise DataError(f"{source} holds no recording like 7_jackson_32.wav. Get {URL} and put it there.")
    people = tuple(sorted({_parts(name)[1] for name in files}))
    names = [name for name in files if (_parts(name)[2] in TEST_INDICES) == (split == "test")]
    names.sort(key=_parts)
    return Recordings(
        [read_wav(files[name], name) for name in names],
        RATE,
        torch.tensor([_parts(name)[0] for name in names]),
        torch.tensor([people.index(_parts(name)[1]) for name in names]),
        names,
        people,
    )


@explained
def describe(split: Split) -> list[Description]:
    """Describe the recordings of a split: source, hash, number, difference from the official split."""
    _check(split)
    source, names = _source(), load(split).names
    if source.is_file():
        sha256 = digests(source)[1]
    else:
        sha256 = _content_hash({name: data for name, data in _files(source).items() if name in set(names)})
    count, official = len(names), OFFICIAL[split]
    note = f"{count:,} of the {official:,} official {split} recordings"
    if split == "train" and count == official:
        files = _files(source)
        as_published = _content_hash({name: files[name] for name in names}) == CONTENT
        note += f"; {'' if as_published else 'not '}the content of version {COMMIT[:7]}"
    return [Description(file=source.name, sha256=sha256, count=count, official_count=official, note=note)]


@explained
def spikes(
    split: Split, options: Cochlea = cochlea.DEFAULT, seed: int = 0, tell: Callable[[str], None] | None = None
) -> SpikeTrains:
    """Return the recordings of a split as spikes of the artificial cochlea, cached on disk.

    The cache key is a hash of all options, the seed, the recordings and the source code of the encoder. On a miss,
    `tell` is called with a message first: encoding takes minutes.

    Raises:
        DataError: as for `load`, or a recording has no spike.
    """
    recordings = load(split)
    content = hashlib.sha256(b"".join(sample.tobytes() for sample in recordings.samples))
    content.update(repr((recordings.names, recordings.rate)).encode())

    def encode() -> SpikeTrains:
        if tell is not None:
            minutes = len(recordings.samples) * options.channels / 120_000
            tell(
                f"Encoding {len(recordings.samples):,} {split} recordings with {options.channels} channels, once: "
                f"about {minutes:.1f} minutes on one core. They are kept in {folder_of_spikes()}."
            )
        generator = torch.Generator().manual_seed(seed)
        times, units = cochlea.encode(recordings.samples, recordings.rate, options, generator)
        labels, speakers = recordings.labels.numpy(), recordings.speakers.numpy()
        return SpikeTrains.of(times, units, labels, options.channels, CLASSES, speakers)

    key = repr((options, seed, content.hexdigest(), cochlea.version()))
    return stored(f"fsdd-{split}", key, encode)


@explained
def split_mixed(
    labels: Array | Tensor, speakers: Array | Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return training and validation indices, with the same fraction `share` of every speaker and label held out.

    The number is rounded, but at least one sample is held out and one kept; a single sample is kept for training.

    Raises:
        ConfigError: the share is not between 0 and 1, or no speaker has two samples of a label.

    >>> train, validation = split_mixed([0, 0, 1, 1], [5, 5, 5, 5], 0.5, torch.Generator().manual_seed(0))
    >>> len(train), len(validation)
    (2, 2)
    """
    if not 0.0 < share < 1.0:
        raise ConfigError(f"The validation share must be between 0 and 1, but got {share}. Pass 0.1 for a tenth.")
    both = whole(labels, "labels"), whole(speakers, "speakers")
    if both[0].ndim != 1 or both[0].shape != both[1].shape:
        raise ShapeError(
            f"split_mixed needs labels and speakers of one length, but got {list(both[0].shape)} and "
            f"{list(both[1].shape)}."
        )
    groups = np.stack(both, axis=1)
    held = np.zeros(len(groups), bool)
    for group in np.unique(groups, axis=0):
        members = np.flatnonzero((groups == group).all(axis=1))
        order = torch.randperm(len(members), generator=generator).numpy()
        held[members[order[: min(max(1, round(share * len(members))), len(members) - 1)]]] = True
    if not held.any():
        raise ConfigError("No speaker says a word twice, so none can validate a part of it. Hold out speakers instead.")
    return _indices(held, f"a share of {share}")


@explained
def split_speakers(speakers: Array | Tensor, held_out: list[int]) -> tuple[Tensor, Tensor]:
    """Return training and validation indices, with all samples of some speakers held out.

    Raises:
        ConfigError: a held-out speaker has no samples, or nothing is left to train on.

    >>> split_speakers([0, 1, 2, 1], held_out=[1])
    (tensor([0, 2]), tensor([1, 3]))
    """
    known = whole(speakers, "speakers")
    if known.ndim != 1:
        raise ShapeError(f"split_speakers needs a list of speakers, but got the shape {list(known.shape)}.")
    absent = sorted(set(held_out) - set(known.tolist()))
    if absent or not held_out:
        present = sorted(set(known.tolist()))
        raise ConfigError(
            f"held_out: speakers {absent} cannot be held out: the speakers here are {present}. Name some of these."
        )
    return _indices(np.isin(known, held_out), f"holding out speakers {held_out}")


@explained
def read_wav(data: bytes, name: str) -> Array:
    """Decode a WAV file to float32 samples; full scale is 1.

    Supports integers of 8, 16, 24 or 32 bits and floating point numbers, with either kind of header.

    Raises:
        DataError: the file is damaged, truncated, empty, compressed, or not 8 kHz mono.
    """
    try:
        samples, rate, channels = wav.read(data)
    except wav.WavError as error:
        raise DataError(f"{name} {error}. Get it again from {URL}, or save it as a WAV file of 16-bit PCM.") from error
    if (rate, channels) != (RATE, 1):
        raise DataError(
            f"{name} has {rate} Hz, {channels} channels, but FSDD has 8000 Hz, 1 channel. Get the original from {URL}."
        )
    return samples


@explained
def check_archive(path: Path) -> None:
    """Raise DataError unless a zip file holds all recordings, those for training with the published content."""
    files = _files(path)
    if len(files) != sum(OFFICIAL.values()):
        raise DataError(f"{path} holds {len(files):,} recordings, but {sum(OFFICIAL.values()):,} were expected.")
    found = _content_hash({name: data for name, data in files.items() if _parts(name)[2] not in TEST_INDICES})
    if found != CONTENT:
        raise DataError(f"{path} holds training recordings of SHA-256 {found}, but {CONTENT} was expected.")


FILES = (
    DataFile(
        "free-spoken-digit-dataset.zip", "", (f"{URL}/archive/{COMMIT}.zip",), sum(OFFICIAL.values()), "recordings",
        ("*.zip", "**/*.wav"), inside=check_archive,
    ),
)  # fmt: skip
ABOUT = About("spoken digits of 6 speakers as wav files, 2,700 training and 300 test recordings", "CC BY-SA 4.0", URL)


def _check(split: str) -> None:
    if split not in OFFICIAL:
        raise ConfigError(f"FSDD has the splits train and test, but got {split!r}. Use split_speakers to validate.")


def _parts(name: str) -> tuple[int, str, int]:
    match = NAME.fullmatch(name)
    assert match is not None
    return int(match[1]), match[2], int(match[3])


def _source(here: Path | str | None = None) -> Path:
    """Return the zip file, else the folder itself."""
    here = folder("fsdd") if here is None else Path(here)
    archives = sorted(here.glob("*.zip"))
    if len(archives) > 1:
        raise DataError(f"{here} holds {len(archives)} zip files: {archives[0].name}, ... Leave one of them there.")
    if not here.is_dir():
        raise DataError(
            f"The spoken digits are missing: there is no {here}. Run `spikeloom data fetch fsdd`, or "
            f"get {URL} and put its zip file there."
        )
    return archives[0] if archives else here


def _files(source: Path) -> dict[str, bytes]:
    """Return the content of every recording by file name; nothing is extracted to disk."""
    files: dict[str, bytes] = {}
    if source.is_dir():
        for file in sorted(source.rglob("*.wav")):
            if file.name in files:
                raise DataError(f"{source} holds {file.name} twice. Keep one of them.")
            if NAME.fullmatch(file.name):
                files[file.name] = read_bytes(file)
        return _once(files, source)
    total = 0
    with opened_zip(source, f"Get it again from {URL}.") as archive:
        for member in archive.infolist():
            path = PurePosixPath(member.filename)
            if path.is_absolute() or ".." in path.parts:
                raise DataError(
                    f"{source} holds {member.filename!r}, which leaves the archive. Get it again from {URL}."
                )
            if not NAME.fullmatch(path.name):
                continue
            total += member.file_size
            if path.name in files or member.file_size > LARGEST or total > LARGEST_SET:
                raise DataError(
                    f"{source} holds {path.name} twice, or with {member.file_size:,} bytes, more than {LARGEST:,}. "
                    f"Get it again from {URL}."
                )
            files[path.name] = archive.read(member)
    return _once(files, source)


def _once(files: dict[str, bytes], source: Path) -> dict[str, bytes]:
    """Return the files; raise DataError if two are the same recording, as 7_jackson_32.wav and 7_jackson_032.wav."""
    known: dict[tuple[int, str, int], str] = {}
    for name in files:
        other = known.setdefault(_parts(name), name)
        if other != name:
            raise DataError(f"{source} holds the same recording as {other} and {name}. Keep one of them.")
    return files


def _content_hash(files: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode() + hashlib.sha256(files[name]).digest())
    return digest.hexdigest()


def _indices(held: np.ndarray[Any, np.dtype[np.bool_]], what: str) -> tuple[Tensor, Tensor]:
    if held.all():
        raise ConfigError(f"With {what} nothing is left to train on. Hold out less.")
    return torch.from_numpy(np.flatnonzero(~held)), torch.from_numpy(np.flatnonzero(held))
