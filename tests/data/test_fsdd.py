"""Spoken digits: official split, damaged files, speakers held out, spikes kept on disk."""

import io
import os
import struct
import wave
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikeloom.data import fsdd, stored
from spikeloom.data.spike_trains import Array, SpikeTrains
from spikeloom.encoding import cochlea
from spikeloom.encoding.cochlea import Cochlea
from spikeloom.errors import ConfigError, DataError

DATA = os.environ.get("SPIKELOOM_DATA")
real = Path(DATA or "/nonexistent") / "fsdd" / "fsdd_recordings.zip"
needs_recordings = pytest.mark.skipif(not real.is_file(), reason="not in $SPIKELOOM_DATA/fsdd: fsdd_recordings.zip")


def wav(samples: Array, rate: int = 8000, channels: int = 1, width: int = 2) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


def word(digit: int, speaker: int, index: int) -> Array:
    time = np.arange(1200 + 10 * index) / 8000
    pitch = 200 + 150 * digit + 40 * speaker
    found: Array = np.rint(8000 * np.sin(2 * np.pi * pitch * time) * np.sin(np.pi * time / time[-1]))
    return found


def files() -> dict[str, bytes]:
    names = [(digit, speaker, index) for digit in (3, 7) for speaker in (0, 1) for index in (0, 4, 5, 6, 49)]
    return {f"{d}_{('anna', 'bert')[s]}_{i}.wav": wav(word(d, s, i)) for d, s, i in names}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path))
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "fsdd").mkdir()
    return tmp_path / "fsdd"


def pack(path: Path, content: dict[str, bytes], prefix: str = "free-spoken-digit-dataset/recordings/") -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(prefix + name, data)


def test_a_zip_and_a_folder_give_the_same_official_split(home: Path) -> None:
    pack(home / "fsdd_recordings.zip", files() | {"README.md": b"hello"})
    zipped = {split: fsdd.load(split) for split in ("train", "test")}
    (home / "fsdd_recordings.zip").unlink()
    (home / "recordings").mkdir()
    for name, data in files().items():
        (home / "recordings" / name).write_bytes(data)
    for split, found in zipped.items():
        unpacked = fsdd.load(split)  # type: ignore[arg-type]
        assert found.names == unpacked.names
        assert all((a == b).all() for a, b in zip(found.samples, unpacked.samples, strict=True))
    train, test = zipped["train"], zipped["test"]
    assert test.names[:3] == ["3_anna_0.wav", "3_anna_4.wav", "3_bert_0.wav"]
    assert (len(train.names), len(test.names), train.rate, train.people) == (12, 8, 8000, ("anna", "bert"))
    assert train.labels.tolist() == [3] * 6 + [7] * 6
    assert train.speakers.tolist() == [0, 0, 0, 1, 1, 1] * 2
    assert train.samples[0].dtype == np.float32
    assert (train.samples[0] == (word(3, 0, 5) / 32768).astype(np.float32)).all()


def test_recordings_are_described(home: Path) -> None:
    pack(home / "fsdd_recordings.zip", files())
    (found,) = fsdd.describe("test")
    assert (found["file"], found["count"]) == ("fsdd_recordings.zip", 8)
    assert found["note"] == f"8 of the {found['official_count']} official test recordings"
    (home / "fsdd_recordings.zip").unlink()
    for name, data in files().items():
        (home / name).write_bytes(data)
    before = fsdd.describe("train")[0]["sha256"]
    (home / "3_anna_5.wav").write_bytes(wav(word(4, 1, 5)))
    assert len(before) == 64
    assert fsdd.describe("train")[0]["sha256"] != before


ramp = wav(np.arange(100))


def riff(*chunks: bytes, kind: bytes = b"RIFF") -> bytes:
    content = b"WAVE" + b"".join(chunks)
    return kind + len(content).to_bytes(4, "little") + content


def chunk(name: bytes, content: bytes) -> bytes:
    return name + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)


def form(kind: int, bits: int, extensible: bool = False, rate: int = 8000, channels: int = 1, valid: int = 0) -> bytes:
    frame = channels * bits // 8
    head = struct.pack("<HHIIHH", 0xFFFE if extensible else kind, channels, rate, rate * frame, frame, bits)
    guid = struct.pack("<H", kind) + bytes.fromhex("000000001000800000aa00389b71")
    return chunk(b"fmt ", head + struct.pack("<HHI", 22, valid or bits, 4) + guid if extensible else head)


bad_wavs = {
    "empty file": (b"", r"x.wav is no WAV file, but starts with nothing"),
    "not a wav": (b"hello" * 20, r"x.wav is no WAV file, but starts with 68656c6c6f"),
    "header cut": (ramp[:30], "announces 236 bytes but holds 22"),
    "cut short": (ramp[:-10], "announces 236 bytes but holds 226. Get it again from"),
    "no samples": (wav(np.zeros(0)), "0 bytes are no whole frames of 2 bytes"),
    "half a sample": (riff(form(1, 16), chunk(b"data", bytes(3))), "3 bytes are no whole frames of 2 bytes"),
    "other rate": (wav(np.arange(100), rate=16000), "has 16000 Hz, 1 channels, but FSDD has 8000 Hz"),
    "stereo": (wav(np.arange(100), channels=2), "has 8000 Hz, 2 channels"),
    "length edited": (ramp[:40] + (126).to_bytes(4, "little") + ramp[44:], "no chunk begins at byte 170"),
    "length beyond": (
        ramp[:40] + (1 << 30).to_bytes(4, "little") + ramp[44:],
        "announces 1,073,741,824 bytes of 'data'",
    ),
    "rf64": (riff(form(1, 16), kind=b"RF64"), "is a WAV file of the kind RF64, which is not read"),
    "big-endian": (riff(form(1, 16), kind=b"RIFX"), "of the kind RIFX"),
    "no data": (riff(form(1, 16)), "it has no chunk 'data'"),
    "no format": (riff(chunk(b"data", bytes(4))), "it has no chunk 'fmt '"),
    "two data": (riff(form(1, 16), *[chunk(b"data", bytes(4))] * 2), "it has two chunks 'data'"),
    "short format": (riff(chunk(b"fmt ", bytes(4)), chunk(b"data", bytes(4))), "its format has 4 bytes"),
    "mu-law": (
        riff(form(7, 8), chunk(b"data", bytes(4))),
        r"x.wav is compressed \(mu-law\). .* save it as a WAV file of",
    ),
    "unknown": (riff(form(99, 8), chunk(b"data", bytes(4))), r"is compressed \(format 99\)"),
    "12 bits": (
        riff(form(1, 12), chunk(b"data", bytes(4))),
        "1 channels of 12 bits at 8,000 Hz do not make frames of 1",
    ),
    "20 in 24 bits": (riff(form(1, 24, True, valid=20), chunk(b"data", bytes(3))), "has samples of 20 bits in 24"),
    "unknown extension": (
        riff(form(1, 16, True)[:-1] + b"x", chunk(b"data", bytes(4))),
        "of an unknown extensible format",
    ),
    "nan": (riff(form(3, 32), chunk(b"data", np.array([0, np.nan], "<f4").tobytes())), "no finite number, at 1"),
    "too large": (riff(form(3, 64), chunk(b"data", np.array([1e300], "<f8").tobytes())), "no finite number, at 0"),
}


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(
    ("kind", "bits", "content", "expected"),
    [
        (1, 16, struct.pack("<4h", -32768, -1, 0, 16384), [-1, -1 / 32768, 0, 0.5]),
        (1, 8, bytes([0, 128, 192]), [-1, 0, 0.5]),
        (1, 24, bytes.fromhex("000080 000000 000040 ffffff"), [-1, 0, 0.5, -(2.0**-23)]),
        (1, 32, struct.pack("<3i", -(1 << 31), 0, 1 << 30), [-1, 0, 0.5]),
        (3, 32, struct.pack("<3f", -1, 0, 0.5), [-1, 0, 0.5]),
        (3, 64, struct.pack("<3d", -1, 0, 0.5), [-1, 0, 0.5]),
    ],
)
def test_every_form_of_samples_is_read(
    kind: int, bits: int, content: bytes, expected: list[float], extensible: bool
) -> None:
    around = chunk(b"LIST", b"INFO!"), chunk(b"id3 ", bytes(7))
    data = riff(around[0], form(kind, bits, extensible), chunk(b"fact", bytes(4)), chunk(b"data", content), around[1])
    samples = fsdd.read_wav(data, "x.wav")
    assert (samples.dtype, samples.tolist()) == (np.dtype(np.float32), expected)


@pytest.mark.parametrize("name", bad_wavs)
def test_a_damaged_wav_is_refused(name: str) -> None:
    data, message = bad_wavs[name]
    with pytest.raises(DataError, match=message):
        fsdd.read_wav(data, "x.wav")


@pytest.mark.parametrize("end", range(0, len(ramp), 7))
def test_a_wav_cut_anywhere_is_refused(end: int) -> None:
    with pytest.raises(DataError, match=r"x\.wav"):
        fsdd.read_wav(ramp[:end], "x.wav")


def test_archives_that_leave_their_folder_or_repeat_are_refused(home: Path) -> None:
    pack(home / "a.zip", {"3_anna_5.wav": ramp}, prefix="../")
    with pytest.raises(DataError, match=r"a.zip holds '../3_anna_5.wav', which leaves the archive"):
        fsdd.load("train")
    pack(home / "a.zip", {"x/3_anna_5.wav": ramp, "y/3_anna_5.wav": ramp})
    with pytest.raises(DataError, match=r"holds 3_anna_5.wav twice, or with 244 bytes"):
        fsdd.load("train")
    (home / "a.zip").write_bytes((home / "a.zip").read_bytes()[:-30])
    with pytest.raises(DataError, match=r"a.zip is a damaged zip file"):
        fsdd.load("train")
    assert not (home.parent / "3_anna_5.wav").exists()


def test_a_forged_size_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsdd, "LARGEST", 100)
    pack(home / "a.zip", {"3_anna_5.wav": ramp})
    with pytest.raises(DataError, match=r"with 244 bytes, more than 100"):
        fsdd.load("train")


def test_a_damaged_directory_hides_no_recording(home: Path) -> None:
    """An entry with a longer name swallows those behind it: 3 of 14 recordings were found, without a word."""
    pack(home / "a.zip", files())
    content = (home / "a.zip").read_bytes()
    start = content.index(b"PK\x01\x02")
    size = 46 + content[start + 28] + content[start + 30] + content[start + 32]
    damaged = bytearray(content)
    damaged[start + 32 : start + 34] = (3 * size).to_bytes(2, "little")  # of the comment
    (home / "a.zip").write_bytes(damaged)
    with pytest.raises(
        DataError, match=r"a.zip is a damaged zip file \(it holds a file that its directory does not list"
    ):
        fsdd.load("train")
    other = content[:start] + content[start:].replace(b"3_anna_5", b"3_anna_x", 1)
    (home / "a.zip").write_bytes(other)
    with pytest.raises(DataError, match=r"the directory has .*3_anna_x.wav' where .*3_anna_5.wav' lies"):
        fsdd.load("train")
    first = content.index(b"PK\x03\x04")
    (home / "a.zip").write_bytes(content[:first] + b"XXXX" + content[first + 4 :])
    with pytest.raises(DataError, match=r"there is no header of .*3_anna_0.wav"):
        fsdd.load("train")
    second = content.index(b"PK\x01\x02", start + 4)
    aliased = bytearray(content)
    aliased[second + 42 : second + 46] = (first + 10).to_bytes(4, "little")
    (home / "a.zip").write_bytes(aliased)
    with pytest.raises(DataError, match=r"begins inside another file"):
        fsdd.load("train")


def test_missing_recordings_are_named(home: Path) -> None:
    with pytest.raises(DataError, match=r"holds no recording like 7_jackson_32.wav. Get https://github.com/Jakob"):
        fsdd.load("train")
    pack(home / "a.zip", {"3_anna_5.wav": ramp})
    pack(home / "b.zip", {"3_anna_5.wav": ramp})
    with pytest.raises(DataError, match=r"holds 2 zip files: a.zip, ... Leave one of them"):
        fsdd.load("train")
    for path in home.iterdir():
        path.unlink()
    home.rmdir()
    with pytest.raises(DataError, match=r"The spoken digits are missing: there is no .*fsdd"):
        fsdd.load("test")
    with pytest.raises(ConfigError, match=r"FSDD has the splits train and test, but got 'valid'"):
        fsdd.load("valid")  # type: ignore[arg-type]


def test_a_mixed_split_takes_its_share_of_every_speaker_and_digit() -> None:
    labels, speakers = np.repeat(np.arange(10), 60), np.tile(np.repeat(np.arange(6), 10), 10)
    train, held = fsdd.split_mixed(labels, speakers, 0.2, torch.Generator().manual_seed(0))
    assert sorted([*train.tolist(), *held.tolist()]) == list(range(600))
    assert len(held) == 120
    for digit in range(10):
        for speaker in range(6):
            assert ((labels[held] == digit) & (speakers[held] == speaker)).sum() == 2
    other = fsdd.split_mixed(labels, speakers, 0.2, torch.Generator().manual_seed(1))[1]
    assert held.tolist() != other.tolist()
    assert fsdd.split_mixed(labels, speakers, 0.2, torch.Generator().manual_seed(0))[1].equal(held)


def test_held_out_speakers_are_not_heard_in_training() -> None:
    speakers = np.tile(np.arange(6), 5)
    train, held = fsdd.split_speakers(torch.from_numpy(speakers), [2, 5])
    assert set(speakers[held].tolist()) == {2, 5}
    assert set(speakers[train].tolist()) == {0, 1, 3, 4}


def test_splits_that_cannot_be_made_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"validation share must be between 0 and 1, but got 1.0"):
        fsdd.split_mixed([0], [0], 1.0, torch.Generator())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"none can validate a part of it"):
        fsdd.split_mixed([0, 1], [0, 0], 0.1, torch.Generator())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"held_out: speakers \[3\] cannot be .* here are \[0, 1\]"):
        fsdd.split_speakers([0, 1], [3])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"With holding out speakers \[0\] nothing is left"):
        fsdd.split_speakers([0, 0], [0])  # type: ignore[arg-type]


def equal(a: SpikeTrains, b: SpikeTrains) -> bool:
    arrays = ("times", "units", "first", "labels", "speakers")
    return a.classes == b.classes and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)


def test_spikes_are_kept_and_found_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(home / "fsdd_recordings.zip", files())
    calls = []
    encode = cochlea.encode

    def counted(*given: Any) -> Any:
        calls.append(1)
        return encode(*given)

    monkeypatch.setattr(cochlea, "encode", counted)
    told: list[str] = []
    first = fsdd.spikes("train", tell=told.append)
    assert "Encoding 12 train recordings with 70 channels, once" in told[0]
    assert (len(first), first.channels, first.classes[7]) == (12, 70, "7")
    assert first.speakers.tolist() == [0, 0, 0, 1, 1, 1] * 2
    assert equal(fsdd.spikes("train", tell=told.append), first)
    assert len(calls) == len(told) == 1
    assert not equal(fsdd.spikes("train", seed=1), first)
    assert not equal(fsdd.spikes("train", Cochlea(hair_cells=101)), first)
    assert len(calls) == 3
    changed = files() | {"3_anna_5.wav": wav(word(4, 1, 5))}
    pack(home / "fsdd_recordings.zip", changed)
    assert not equal(fsdd.spikes("train"), first)
    monkeypatch.setattr(cochlea, "version", lambda: "another")
    fsdd.spikes("train")
    assert len(calls) == 5
    assert len(list(stored.folder().glob("fsdd-train-*.npz"))) == 5
    assert not list(stored.folder().glob("*.tmp"))


def small() -> SpikeTrains:
    return SpikeTrains.of([[1.0, 2.0]], [[0, 1]], [0], 2, ("a",))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "pickle"])
def test_damaged_spikes_are_made_again(damage: str, home: Path) -> None:
    stored.stored("toy", "key", small)
    (path,) = stored.folder().glob("toy-*.npz")
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        place = data.index(np.array([1.0, 2.0]).tobytes())
        data[place] ^= 1
        data = data[:]
    elif damage == "pickle":
        buffer = io.BytesIO()
        np.savez(buffer, times=np.array([{"a": 1}], dtype=object))
        data = bytearray(buffer.getvalue())
    contents: dict[str, bytes | bytearray] = {"cut": data[: len(data) // 2], "empty": b""}
    path.write_bytes(contents.get(damage, data))
    with pytest.warns(UserWarning, match=r"toy-.*npz is damaged \(.*\) and is made again"):
        again = stored.stored("toy", "key", small)
    assert equal(again, small())
    assert equal(stored.stored("toy", "key", lambda: pytest.fail("made once more")), small())


def test_a_well_written_file_of_other_content_is_made_again(home: Path) -> None:
    stored.stored("toy", "key", small)
    (path,) = stored.folder().glob("toy-*.npz")
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **(arrays | {"times": np.array([1.0, 3.0])}))
    with pytest.warns(UserWarning, match=r"does not agree with its hash"):
        assert equal(stored.stored("toy", "key", small), small())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"cannot write what was computed to .*Set SPIKELOOM_CACHE to a folder"):
        stored.stored("toy", "key", small)
    monkeypatch.delenv("SPIKELOOM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert stored.folder() == tmp_path / "spikeloom" / "spikes"


@needs_recordings
def test_the_real_recordings() -> None:
    train, test = fsdd.load("train"), fsdd.load("test")
    assert len(train.names) == 2_700
    assert len(test.names) == fsdd.describe("test")[0]["count"] <= 300
    assert torch.bincount(train.labels).tolist() == [270] * 10
    assert torch.bincount(train.speakers).tolist() == [450] * 6
    assert not set(train.names) & set(test.names)
    assert max(float(np.abs(sample).max()) for sample in train.samples) <= 1.0


@pytest.mark.parametrize(
    ("other", "message"), [("b/7_jackson_32.wav", "twice"), ("7_jackson_032.wav", "the same recording as")]
)
def test_a_recording_is_there_once(other: str, message: str, tmp_path: Path) -> None:
    for name in ("a/7_jackson_32.wav", other):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(wav(np.sin(np.arange(2000.0))))
    with pytest.raises(DataError, match=message):
        fsdd.load("train", tmp_path)


def test_what_is_not_written_whole_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path))

    def full(file: object, **arrays: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(ConfigError, match="No space left on device"):
            stored.stored("x", "key", small)
    assert not list(tmp_path.rglob("*.tmp"))
    assert equal(stored.stored("x", "key", small), small())
    (path,) = (found for found in tmp_path.rglob("*") if found.is_file())
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.warns(UserWarning, match="is damaged"):
        assert equal(stored.stored("x", "key", small), small())
