"""Omniglot: the reader on made-up and on real files, resizing, turns, held-out parts, episodes, Lake's runs."""

import io
import shutil
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from spikeloom.data import omniglot
from spikeloom.data.fetch import folder
from spikeloom.data.omniglot import (
    Characters,
    Runs,
    describe,
    episodes,
    hold_out,
    load,
    load_runs,
    read_png,
    resized,
    rotated,
    run_episodes,
)
from spikeloom.errors import ConfigError, DataError
from tests import fixtures

REAL = folder("omniglot")
NEEDS = pytest.mark.skipif(
    not list(REAL.glob("images_*")), reason=f"needs Omniglot: images_background.zip and others in {REAL}"
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def here(tmp_path: Path) -> Path:
    fixtures.omniglot.write(tmp_path)
    return tmp_path / "omniglot"


def repack(here: Path, name: str, change: Any) -> None:
    """Write a zip file again with other files."""
    with zipfile.ZipFile(here / name) as archive:
        files = {member: archive.read(member) for member in archive.namelist()}
    change(files)
    with zipfile.ZipFile(here / name, "w") as archive:
        for member, content in files.items():
            archive.writestr(member, content)


def png(pixels: np.ndarray[Any, Any], mode: str = "1") -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(content, "PNG")
    return content.getvalue()


def test_characters_come_in_order_and_strokes_are_one(here: Path) -> None:
    found = load("background", here=here)
    assert found.images.shape == (12, 4, 28, 28)
    assert found.images.dtype == torch.uint8
    assert found.names[:2] == ["Made_up_background_1/character01", "Made_up_background_1/character02"]
    assert found.alphabets.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert 0.02 < float(found.images.float().mean()) < 0.3
    with zipfile.ZipFile(here / "images_background.zip") as archive:
        name = "images_background/Made_up_background_2/character03/0007_04.png"
        image = Image.open(io.BytesIO(archive.read(name))).resize((28, 28), Image.Resampling.NEAREST)
    assert np.array_equal(found.images[6, 3].numpy(), ~np.asarray(image))


def test_unpacked_files_and_the_cache_say_the_same(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load("evaluation", here=here)
    monkeypatch.setattr(omniglot, "read_png", lambda *_: pytest.fail("read again"))
    again = load("evaluation", here=here)
    monkeypatch.undo()
    with zipfile.ZipFile(here / "images_evaluation.zip") as archive:
        archive.extractall(here / "deeper")
    (here / "images_evaluation.zip").unlink()
    loose = load("evaluation", here=here)
    for other in (again, loose):
        assert torch.equal(other.images, first.images)
        assert other.names == first.names


def test_a_damaged_cache_is_made_again(here: Path, tmp_path: Path) -> None:
    first = load("background", here=here)
    (path,) = (tmp_path / "cache").rglob("omniglot-background-*.npz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.warns(UserWarning, match="is damaged .* and is made again"):
        again = load("background", here=here)
    assert torch.equal(first.images, again.images)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda files: files.popitem(), "has 3 drawings of .*, but 4 of others"),
        (lambda files: files.update({"../images_background/A/character01/0001_01.png": b""}), "leaves the archive"),
        (lambda files: files.update({next(iter(files)): b"\x89PNG no"}), "is a damaged PNG file"),
        (lambda files: files.update({next(iter(files)): b"GIF89a"}), "is a damaged PNG file"),
        (lambda files: files.update({next(iter(files)): png(np.zeros((8, 105), np.uint8))}), "has 105 x 8 pixels"),
        (
            lambda files: files.update({next(iter(files)): png(np.zeros((105, 105, 3), np.uint8), "RGB")}),
            "of mode RGB, but 105 x 105",
        ),
        (
            lambda files: files.update({next(iter(files)): png(np.full((105, 105), 7, np.uint8), "L")}),
            "has grey pixels",
        ),
    ],
)
def test_damaged_data_is_refused(change: Any, said: str, here: Path) -> None:
    repack(here, "images_background.zip", change)
    with pytest.raises(DataError, match=said):
        load("background", here=here)


def test_a_cut_file_is_refused(here: Path) -> None:
    path = here / "images_background.zip"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="damaged zip file"):
        load("background", here=here)
    name = "a.png"
    pixels = 255 * (np.random.default_rng(0).random((105, 105)) < 0.5).astype(np.uint8)
    good = png(pixels, "L")
    assert np.array_equal(read_png(good, name), pixels == 0)
    with pytest.raises(DataError, match=r"a\.png is a damaged PNG file"):
        read_png(good[: len(good) // 2], name)


def test_missing_data_say_where_they_were_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no folder .*nowhere.*spikeloom data fetch omniglot"):
        load("background", here=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file like images_background"):
        load("background", here=tmp_path / "empty")
    with pytest.raises(DataError, match=r"holds no file like run01.*all_runs\.zip"):
        load_runs(here=tmp_path / "empty")
    with pytest.raises(ConfigError, match="splits background and evaluation, but got 'test'"):
        load("test")  # type: ignore[arg-type]


def test_resizing_takes_the_middle_or_any_ink() -> None:
    image = torch.zeros(1, 105, 105, dtype=torch.uint8)
    image[0, 1, 1] = 1
    assert resized(image, 28, "nearest")[0].nonzero().tolist() == [[0, 0]]
    image[0, 1, 1], image[0, 2, 2] = 0, 1
    assert int(resized(image, 28, "nearest").sum()) == 0
    assert resized(image, 28, "ink")[0].nonzero().tolist() == [[0, 0]]
    random = (torch.rand(3, 105, 105, generator=seeded()) < 0.1).to(torch.uint8)
    for image in random:
        wanted = np.asarray(Image.fromarray(image.numpy().astype(bool)).resize((28, 28), Image.Resampling.NEAREST))
        assert np.array_equal(resized(image.unsqueeze(0), 28, "nearest")[0].numpy(), wanted)
    turned = rotated(random.unsqueeze(1))
    small = resized(turned.flatten(0, 1), 28, "nearest")
    assert torch.equal(small, rotated(resized(random, 28, "nearest").unsqueeze(1)).flatten(0, 1))
    with pytest.raises(ConfigError, match="cannot be made 106 x 106"):
        resized(random, 106, "ink")
    with pytest.raises(ConfigError, match='"nearest" or by "ink", but got \'area\''):
        resized(random, 28, "area")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="1 to 4 quarter turns, but got turns=5"):
        rotated(random, 5)


def characters(sizes: list[int]) -> Characters:
    alphabets = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return Characters(torch.zeros(sum(sizes), 2, 4, 4), [str(n) for n in range(sum(sizes))], alphabets)


def test_whole_alphabets_or_characters_of_each_are_held_out() -> None:
    known = characters([5, 3, 4, 8])
    training, held = hold_out(known, 0.5, "alphabets", seeded())
    assert sorted([*training.tolist(), *held.tolist()]) == list(range(20))
    assert not set(known.alphabets[training].tolist()) & set(known.alphabets[held].tolist())
    assert len(set(known.alphabets[held].tolist())) == 2
    training, held = hold_out(known, 0.25, "characters", seeded())
    assert sorted([*training.tolist(), *held.tolist()]) == list(range(20))
    assert torch.bincount(known.alphabets[held]).tolist() == [1, 1, 1, 2]
    assert not torch.equal(held, hold_out(known, 0.25, "characters", seeded(1))[1])


@pytest.mark.parametrize(
    ("sizes", "share", "by", "said"),
    [
        ([3], 0.5, "alphabets", "Of 1 of the alphabets none can be held out"),
        ([3, 1], 0.5, "characters", "Of 1 of the characters none can be held out"),
        ([3, 3], 1.0, "alphabets", "must be between 0 and 1, but got 1.0"),
        ([3, 3], 0.5, "drawers", "by='drawers'"),
    ],
)
def test_what_cannot_be_held_out_is_refused(sizes: list[int], share: float, by: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        hold_out(characters(sizes), share, by, seeded())


def test_an_episode_asks_with_another_drawing_of_one_of_its_classes() -> None:
    shown = episodes(7, 3, 5, 400, generator=seeded())
    assert shown.images.shape == (5, 400)
    classes, rows = shown.images // 3, torch.arange(400)
    assert all(len(set(column)) == 5 for column in classes.T.tolist())
    assert torch.equal(classes[shown.target, rows], shown.query // 3)
    assert not bool((shown.images[shown.target, rows] == shown.query).any())
    for values, count in ((shown.images, 21), (shown.query, 21), (shown.target, 5), (classes[0], 7)):
        seen = torch.bincount(values.flatten(), minlength=count)
        assert len(seen) == count
        assert int(seen.min()) > 0.4 * values.numel() / count
    for options in ((4, 3, 5, 10), (7, 1, 5, 10), (7, 3, 5, 0)):
        with pytest.raises(ConfigError, match="need as many classes with 2 drawings"):
            episodes(*options, generator=seeded())


def test_runs_are_read_with_their_answers(here: Path) -> None:
    found = load_runs(side=105, here=here)
    assert found.training.shape == found.test.shape == (2, 4, 105, 105)
    assert sorted(found.answers[0].tolist()) == [0, 1, 2, 3]
    for run in range(2):  # the made-up drawings move a little, so the right one overlaps most
        overlap = torch.einsum("ihw,jhw->ij", blurred(found.test[run]), blurred(found.training[run]))
        assert torch.equal(overlap.argmax(1), found.answers[run])


def blurred(images: Tensor) -> Tensor:
    wide = torch.nn.functional.avg_pool2d(images.float().unsqueeze(1), 9, 1, 4)[:, 0]
    found: Tensor = wide / wide.flatten(1).norm(dim=1).view(-1, 1, 1)
    return found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda files: files.pop("run02/class_labels.txt"), "of run02 .* does not name every test image"),
        (lambda files: files.pop("run01/test/item02.png"), "does not name every test image"),
        (lambda files: files.pop("run02/training/class04.png"), "does not name every test image|another number"),
        (
            lambda files: files.update({"run02/training/class05.png": files["run02/training/class01.png"]}),
            "run02 .* has another number of images",
        ),
    ],
)
def test_damaged_runs_are_refused(change: Any, said: str, here: Path) -> None:
    repack(here, "all_runs.zip", change)
    with pytest.raises(DataError, match=said):
        load_runs(here=here)


def test_every_test_drawing_of_a_run_is_asked_for() -> None:
    answers = torch.stack([torch.randperm(6, generator=seeded(run)) for run in range(3)])
    runs = Runs(torch.zeros(3, 6, 2, 2), torch.zeros(3, 6, 2, 2), answers)
    shown = run_episodes(runs, 4, 50, generator=seeded())
    assert shown.images.shape == (4, 900)
    assert all(len(set(column)) == 4 for column in shown.images.T.tolist())
    asked = shown.query - 18
    assert torch.bincount(asked).tolist() == [50] * 18
    assert torch.equal(shown.images // 6, (asked // 6).expand(4, -1))
    right = shown.images[shown.target, torch.arange(900)]
    assert torch.equal(right % 6, answers.flatten()[asked])
    assert int(torch.bincount(shown.target, minlength=4).min()) > 170
    others = torch.bincount(shown.images[:, asked == 0].flatten() % 6, minlength=6)
    assert int(others.min()) > 10
    with pytest.raises(ConfigError, match="1 to 6 ways, but got 7"):
        run_episodes(runs, 7, 1, generator=seeded())


def test_a_part_of_the_data_is_described_as_such(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKELOOM_DATA", str(here.parent))
    (found,) = describe("evaluation")
    assert found["file"] == "images_evaluation.zip"
    assert (found["count"], found["official_count"]) == (48, 13_180)
    assert found["note"] == "12 of the 659 official evaluation characters, 3 alphabets; 48 of 13,180 images"
    shutil.copy(here / "images_evaluation.zip", here / "copy.zip")
    with pytest.raises(DataError, match="holds the same part of the data in"):
        describe("evaluation")


@NEEDS
def test_the_real_characters() -> None:
    background = load("background")
    assert background.images.shape[1:] == (20, 28, 28)
    assert len(background.images) == 964
    assert len(set(background.alphabets.tolist())) == 30
    assert 0.06 < float(background.images.float().mean()) < 0.1
    evaluation = load("evaluation")
    assert not {name.partition("/")[0] for name in background.names} & {n.partition("/")[0] for n in evaluation.names}
    runs = load_runs()
    assert runs.training.shape == (20, 20, 28, 28)
    known = {image.numpy().tobytes() for image in evaluation.images.flatten(0, 1)}
    assert all(image.numpy().tobytes() in known for image in runs.training.flatten(0, 1))
    assert runs.answers[0, :3].tolist() == [7, 8, 1]


@pytest.mark.parametrize("side", [30_000, 10_000, 106, 0])
def test_a_picture_of_another_size_is_refused_before_it_is_unpacked(side: int) -> None:
    """900 million pixels in a file of 130 bytes; Pillow has an error of its own for them."""
    head = struct.pack(">II5B", side, side, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part)) for name, part in parts
    ]
    with pytest.raises(DataError, match=rf"a.png has {side} x {side} pixels, but 105 x 105 ones were expected"):
        read_png(b"\x89PNG\r\n\x1a\n" + b"".join(chunks), "a.png")


def test_no_flipped_bit_of_a_drawing_changes_its_pixels() -> None:
    ink = np.random.default_rng(0).integers(0, 2, (105, 105)).astype(bool)
    buffer = io.BytesIO()
    Image.fromarray(~ink).save(buffer, "PNG")
    whole = buffer.getvalue()
    assert np.array_equal(read_png(whole, "a"), ink)
    refused = 0
    for place in range(8, len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        try:
            assert np.array_equal(read_png(bytes(damaged), "a"), ink)
        except DataError:
            refused += 1
    assert refused > len(whole) - 30  # the last part, IEND, holds no pixels
    for left in range(len(whole) - 40, len(whole) - 12):
        with pytest.raises(DataError, match="damaged"):
            read_png(whole[:left], "a")
