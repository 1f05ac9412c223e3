"""Omniglot: 1,623 characters of 50 alphabets, each drawn by 20 people, 105 x 105 pixels of 1 bit.

    images_background.zip   images_background/Greek/character07/0396_15.png     964 characters of 30 alphabets
    images_evaluation.zip   images_evaluation/...                               659 characters of 20 others
    all_runs.zip            run07/training/class03.png, run07/test/item12.png, run07/class_labels.txt

The zip files, or their extracted content, lie in the folder `omniglot`; nothing is extracted to disk. A copy with fewer
alphabets is accepted; `describe` gives their number. Images are downscaled, with strokes as 1, and cached on disk.
Source: Lake, Salakhutdinov, Tenenbaum, Human-level concept learning through probabilistic program induction, Science
350, 2015. MIT licence, https://github.com/brendenlake/omniglot
"""

import hashlib
import io
import re
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

from ..arguments import explained
from ..errors import ConfigError, DataError, ShapeError, check_dense
from .fetch import About, DataFile, Description, folder
from .members import Members, locate
from .spike_trains import Array
from .stored import stored_arrays

Split = Literal["background", "evaluation"]
Resize = Literal["nearest", "ink"]
HoldOut = Literal["alphabets", "characters"]

HOME = "https://github.com/brendenlake/omniglot"
_RAW = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
RUNS = f"{_RAW}one-shot-classification/all_runs.zip"
SIDE = 105
OFFICIAL = {"background": 964, "evaluation": 659}
# The MD5 are those of torchvision, the SHA-256 of both sets of images those of TensorFlow Datasets; that of the runs
# was computed from the file in the authors' repository at commit 057f034.
FILES = (
    DataFile(
        "images_background.zip", "68d2efa1b9178cc56df9314c21c6e718", (f"{_RAW}images_background.zip",), 19_280,
        "background images", ("images_background/*/character01/*_01.png",),
        ("ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",),
    ),
    DataFile(
        "images_evaluation.zip", "6b91aef0f799c5bb55b94e3f2daec811", (f"{_RAW}images_evaluation.zip",), 13_180,
        "evaluation images", ("images_evaluation/*/character01/*_01.png",),
        ("1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",),
    ),
    DataFile(
        "all_runs.zip", "", (RUNS,), 800, "images of one-shot runs",
        ("run01/class_labels.txt", "*/run01/class_labels.txt"),
        ("437c1eeab0af8484112e1b4cc0f3d541ec727f7c47b9b202da738af9dfd6c325",),
    ),
)  # fmt: skip
ABOUT = About(
    "handwritten characters of 50 alphabets, 19,280 background and 13,180 evaluation images", "MIT", HOME,
    ("background", "evaluation"),
)  # fmt: skip
ADVICE = f"Get the data set from {HOME}, or run `spikeloom data fetch omniglot`."
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
RUN_FILE = re.compile(r"(?:.*/)?run(\d\d)/(?:(training/class|test/item)(\d\d)\.png|class_labels\.txt)")


class Characters(NamedTuple):
    """Images of a split, with the names of characters and alphabets."""

    images: Tensor  # uint8 [C, D, side, side], 1 where there is ink
    names: list[str]  # such as Greek/character07
    alphabets: Tensor  # int64 [C], index among the sorted names


class Runs(NamedTuple):
    """Lake's one-shot runs: each test drawing is to be matched with one of the training characters."""

    training: Tensor  # uint8 [R, N, side, side], one drawing of each of N characters
    test: Tensor  # uint8 [R, N, side, side]
    answers: Tensor  # int64 [R, N], index of the matching training drawing


@explained
def load(split: Split, side: int = 28, resize: Resize = "nearest", here: Path | str | None = None) -> Characters:
    """Load all characters of a split, ordered by alphabet, character and drawer; `here` overrides the data folder.

    Raises:
        ConfigError: the split or the resize mode is unknown.
        DataError: the images are missing, one is damaged, or characters have different numbers of drawings.
    """
    files = _files(split, here)
    groups: dict[str, list[str]] = {}
    for name in files.sizes:
        groups.setdefault("/".join(PurePosixPath(name).parts[-3:-1]), []).append(name)
    counts = {len(names) for names in groups.values()}
    if len(counts) > 1:
        few = min(groups, key=lambda name: len(groups[name]))
        raise DataError(
            f"{files.source} has {len(groups[few])} drawings of {few}, but {max(counts)} of others. {ADVICE}"
        )
    ordered = [name for names in groups.values() for name in names]
    pixels = _pixels(f"omniglot-{split}", files, ordered, side, resize)
    found = [name.partition("/")[0] for name in groups]
    order = sorted(set(found))
    return Characters(
        pixels.view(len(groups), -1, side, side), list(groups), torch.tensor([order.index(name) for name in found])
    )


@explained
def load_runs(side: int = 28, resize: Resize = "nearest", here: Path | str | None = None) -> Runs:
    """Load Lake's one-shot runs, 20 with 20 characters each.

    Raises:
        ConfigError: the resize mode is unknown.
        DataError: files are missing or damaged.
    """
    advice = f"Get {RUNS} and put it into the folder of the data set."
    files = locate(folder("omniglot") if here is None else here, RUN_FILE, "run01/class_labels.txt", advice)
    parts: dict[str, dict[str, str]] = {}
    for name in files.sizes:
        where = PurePosixPath(name).parts
        place = where.index(next(part for part in where if re.fullmatch(r"run\d\d", part)))
        parts.setdefault(where[place], {})["/".join(where[place + 1 :])] = name
    shown, asked, answers = list[str](), list[str](), list[list[int]]()
    for run, names in sorted(parts.items()):
        training = sorted(name for name in names if name.startswith("training/"))
        test = sorted(name for name in names if name.startswith("test/"))
        text = b"".join(files.read([names[name] for name in ["class_labels.txt"] if name in names])).decode("latin-1")
        lines = (line.split() for line in text.splitlines())
        labels = {line[0].partition("/")[2]: line[1].partition("/")[2] for line in lines if len(line) == 2}
        if sorted(labels) != test or not set(labels.values()) <= set(training) or not test:
            raise DataError(f"class_labels.txt of {run} in {files.source} does not name every test image. {advice}")
        if answers and (len(test), len(training)) != (len(answers[0]), len(shown) // len(answers)):
            raise DataError(f"{run} in {files.source} has another number of images than the runs before. {advice}")
        shown += [names[name] for name in training]
        asked += [names[name] for name in test]
        answers.append([training.index(labels[name]) for name in test])
    pixels = _pixels("omniglot-runs", files, shown + asked, side, resize).view(-1, side, side)
    count = len(answers)
    examples, queries = (part.view(count, -1, side, side) for part in (pixels[: len(shown)], pixels[len(shown) :]))
    return Runs(examples, queries, torch.tensor(answers))


@explained
def describe(split: Split) -> list[Description]:
    """Describe the images of a split: source, hash, number, difference from the official ones."""
    files, file = _files(split, None), FILES[0 if split == "background" else 1]
    count = len(files.sizes)
    characters = len({PurePosixPath(name).parent for name in files.sizes})
    alphabets = len({PurePosixPath(name).parent.parent for name in files.sizes})
    note = (
        f"{characters:,} of the {OFFICIAL[split]:,} official {split} characters, {alphabets} alphabets; {count:,} of "
        f"{file.count:,} images"
    )
    return [
        Description(file=files.source.name, sha256=files.sha256(), count=count, official_count=file.count, note=note)
    ]


@explained
def read_png(data: bytes, name: str, advice: str = ADVICE) -> Array:
    """Decode a drawing to pixels, bool [105, 105], True where there is ink.

    Raises:
        DataError: the file is not PNG or damaged, or has another size or more than two values.
    """
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR":  # before anything is decompressed
        width, height = struct.unpack(">II", data[16:24].ljust(8, b"\0"))
        if (width, height) != (SIDE, SIDE):
            raise DataError(f"{name} has {width} x {height} pixels, but {SIDE} x {SIDE} ones were expected. {advice}")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            image.verify()  # verifies the checksums of all chunks, which decoding ignores
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.size != (SIDE, SIDE) or image.mode not in ("1", "L"):
                raise DataError(
                    f"{name} has {image.size[0]} x {image.size[1]} pixels of mode {image.mode}, but {SIDE} x {SIDE} "
                    f"black and white ones were expected. {advice}"
                )
            pixels = np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, *BOMBS) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name} is a damaged PNG file ({error}). {advice}") from error
    if not set(np.unique(pixels)) <= {0, 255}:
        raise DataError(f"{name} has grey pixels, but black and white ones were expected. {advice}")
    ink: Array = pixels == 0
    return ink


@explained
def resized(images: Tensor, side: int, resize: Resize) -> Tensor:
    """Downscale images: uint8 [N, H, W] -> [N, side, side].

    "nearest" takes the pixel in the middle of each field, as the original does, which may break strokes. "ink" is 1
    where there is any ink in the field.

    Raises:
        ConfigError: the size is out of range, or the resize mode is unknown.

    >>> image = torch.zeros(1, 4, 4, dtype=torch.uint8)
    >>> image[0, 0, 0] = 1
    >>> resized(image, 2, "nearest").sum().item(), resized(image, 2, "ink").sum().item()
    (0, 1)
    """
    if images.dim() != 3:
        raise ShapeError(f"resized needs images [N, H, W], but got {list(images.shape)}.")
    check_dense("resized: images", images)
    size = images.shape[-1]
    if not 1 <= side <= size:
        raise ConfigError(f"Images have {size} x {size} pixels and cannot be made {side} x {side}. Choose 1 to {size}.")
    if resize == "nearest":
        middle = ((torch.arange(side) + 0.5) * size / side).long()
        return images[:, middle][:, :, middle]
    if resize == "ink":
        found: Tensor = adaptive_max_pool2d(images.float().unsqueeze(1), side)
        return found.squeeze(1).to(torch.uint8)
    raise ConfigError(f'Images are resized by "nearest" or by "ink", but got {resize!r}.')


@explained
def rotated(images: Tensor, turns: int = 4) -> Tensor:
    """Add rotations by 90 degrees as new classes: [C, ..., H, W] -> [turns * C, ..., H, W], all unrotated first.

    Raises:
        ConfigError: turns is not 1 to 4.

    >>> rotated(torch.arange(4).view(1, 1, 2, 2)).flatten(1).tolist()
    [[0, 1, 2, 3], [1, 3, 0, 2], [3, 2, 1, 0], [2, 0, 3, 1]]
    """
    if not 1 <= turns <= 4:
        raise ConfigError(f"Images have 1 to 4 quarter turns, but got turns={turns}.")
    check_dense("rotated: images", images)
    if images.dim() < 3 or images.shape[-1] != images.shape[-2] or images.is_floating_point():
        raise ShapeError(
            f"rotated needs square images [C, ..., H, H] of bytes, but got {images.dtype} {list(images.shape)}."
        )
    return torch.cat([images.rot90(turn, (-2, -1)) for turn in range(turns)])


@explained
def hold_out(characters: Characters, share: float, by: HoldOut, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Split characters into training and validation indices.

    Holds out a fraction `share` of the alphabets, or of the characters of each; at least one is held out and one kept.

    Raises:
        ConfigError: the share is not between 0 and 1, there is nothing to split, or `by` is unknown.

    >>> few = Characters(torch.zeros(4, 1, 2, 2), list("abcd"), torch.tensor([0, 0, 1, 1]))
    >>> train, validation = hold_out(few, 0.5, "alphabets", torch.Generator().manual_seed(0))
    >>> sorted(train.tolist() + validation.tolist()), len(validation)
    ([0, 1, 2, 3], 2)
    """
    if not 0.0 < share < 1.0:
        raise ConfigError(f"The validation share must be between 0 and 1, but got {share}. Pass 0.2 for a fifth.")
    known = characters.alphabets
    if by == "alphabets":
        groups = [torch.unique(known)]
    elif by == "characters":
        groups = [(known == alphabet).nonzero().squeeze(1) for alphabet in torch.unique(known)]
    else:
        raise ConfigError(f"Alphabets or characters are held out, but got by={by!r}.")
    held = list[int]()
    for group in groups:
        if len(group) < 2:
            raise ConfigError(f"Of {len(group)} of the {by} none can be held out. Use more, or hold out the other way.")
        count = min(max(1, round(share * len(group))), len(group) - 1)
        held += group[torch.randperm(len(group), generator=generator)[:count]].tolist()
    apart = torch.isin(known if by == "alphabets" else torch.arange(len(known)), torch.tensor(held))
    return (~apart).nonzero().squeeze(1), apart.nonzero().squeeze(1)


class Episodes(NamedTuple):
    """One-shot episodes; an image index is class * drawings + drawing."""

    images: Tensor  # int64 [S, B], one of each class
    query: Tensor  # int64 [B], another drawing of one of these classes
    target: Tensor  # int64 [B], index of that class among the images

    def select(self, indices: Tensor) -> "Episodes":
        """Return the episodes with the given indices."""
        return Episodes(self.images[:, indices], self.query[indices], self.target[indices])


@explained
def episodes(classes: int, drawings: int, ways: int, count: int, *, generator: torch.Generator) -> Episodes:
    """Sample episodes of `ways` distinct classes in random order.

    Raises:
        ConfigError: there are fewer classes than ways, or fewer than two drawings of each.

    >>> few = episodes(7, 20, 5, 3, generator=torch.Generator().manual_seed(0))
    >>> few.images.shape, bool((few.images[few.target, torch.arange(3)] // 20 == few.query // 20).all())
    (torch.Size([5, 3]), True)
    """
    if not 1 <= ways <= classes or drawings < 2 or count < 1:
        raise ConfigError(
            f"{count} one-shot episodes of {ways} classes need as many classes with 2 drawings each, but there are "
            f"{classes} with {drawings}."
        )
    chosen = torch.rand(count, classes, generator=generator).topk(ways).indices
    shown = torch.randint(drawings, (count, ways), generator=generator)
    target = torch.randint(ways, (count,), generator=generator)
    rows = torch.arange(count)
    other = torch.randint(drawings - 1, (count,), generator=generator)
    asked = other + (other >= shown[rows, target])
    return Episodes((chosen * drawings + shown).T.contiguous(), chosen[rows, target] * drawings + asked, target)


@explained
def run_episodes(runs: Runs, ways: int, repeats: int, *, generator: torch.Generator) -> Episodes:
    """Sample episodes for every test drawing of Lake's runs: its character and `ways` - 1 others of the run, shuffled.

    Image indices count all training drawings, run by run, then all test drawings.

    Args:
        repeats: number of episodes per test drawing, each with other characters.

    Raises:
        ConfigError: a run has fewer than `ways` characters.

    >>> made = Runs(torch.zeros(2, 4, 3, 3), torch.zeros(2, 4, 3, 3), torch.tensor([[3, 2, 1, 0], [0, 1, 2, 3]]))
    >>> few = run_episodes(made, 3, 1, generator=torch.Generator().manual_seed(0))
    >>> few.images[few.target, torch.arange(8)].tolist(), few.query.tolist()
    ([3, 2, 1, 0, 4, 5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 15])
    """
    count, size = runs.answers.shape
    if not 1 <= ways <= size or repeats < 1:
        raise ConfigError(f"Runs have {size} characters, so episodes have 1 to {size} ways, but got {ways}.")
    right = runs.answers.flatten().repeat_interleave(repeats)
    rows = torch.arange(len(right))
    keys = torch.rand(len(right), size, generator=generator)
    keys[rows, right] = 2.0  # always selected
    chosen = keys.topk(ways).indices
    chosen = chosen.gather(1, torch.rand(chosen.shape, generator=generator).argsort(1))
    first = torch.arange(count).repeat_interleave(size * repeats) * size
    query = count * size + torch.arange(count * size).repeat_interleave(repeats)
    return Episodes((chosen + first.unsqueeze(1)).T.contiguous(), query, (chosen == right.unsqueeze(1)).int().argmax(1))


def _files(split: Split, here: Path | str | None) -> Members:
    if split not in OFFICIAL:
        raise ConfigError(f"Omniglot has the splits background and evaluation, but got {split!r}.")
    pattern = re.compile(rf"(?:.*/)?images_{split}/[^/]+/character\d\d/\d{{4}}_\d\d\.png")
    like = f"images_{split}/Alphabet/character01/0001_01.png"
    return locate(folder("omniglot") if here is None else here, pattern, like, ADVICE)


def _pixels(name: str, files: Members, names: Sequence[str], side: int, resize: Resize) -> Tensor:
    """Return images [N, side, side], cached on disk."""

    def make() -> dict[str, Array]:
        small = [
            resized(torch.from_numpy(np.stack(part)).to(torch.uint8), side, resize) for part in _in_parts(files, names)
        ]
        return {"bits": np.packbits(torch.cat(small).flatten(1).numpy(), axis=1)}

    source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    key = repr((files.sha256(), list(names), side, resize, source))
    bits = stored_arrays(name, key, make)["bits"]
    return torch.from_numpy(np.unpackbits(bits, axis=1, count=side * side)).view(-1, side, side)


def _in_parts(files: Members, names: Sequence[str], size: int = 1000) -> Iterable[list[Array]]:
    part = list[Array]()
    for name, content in zip(names, files.read(list(names)), strict=True):
        part.append(read_png(content, files.named(name)))
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
