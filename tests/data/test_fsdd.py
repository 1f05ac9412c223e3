"""Spoken digits: official split, damaged files, speakers held out, spikes kept on disk."""

import io
import os
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from spikeloom.data import fsdd, stored
from spikeloom.data.cochlea import Cochlea
from spikeloom.data.spike_trains import Array, SpikeTrains
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
    return np.rint(8000 * np.sin(2 * np.pi * pitch * time) * np.sin(np.pi * time / time[-1]))


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
bad_wavs = {
    "empty file": (b"", r"x.wav is a damaged wav file"),
    "not a wav": (b"hello" * 20, r"is a damaged wav file \(file does not start with RIFF id\)"),
    "header cut": (ramp[:30], "is a damaged wav file"),
    "cut short": (ramp[:-10], "announces 100 samples but holds 95"),
    "no samples": (wav(np.zeros(0)), "announces 0 samples but holds 0"),
    "other rate": (wav(np.arange(100), rate=16000), "has 16000 Hz, 1 channels, 16 bits, but FSDD has 8000 Hz"),
    "stereo": (wav(np.arange(100), channels=2), "has 8000 Hz, 2 channels"),
    "bytes": (wav(np.arange(100), width=1), "1 channels, 8 bits"),
}


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
    with pytest.raises(ConfigError, match=r"Speakers \[3\] cannot be held out: the speakers here are \[0, 1\]"):
        fsdd.split_speakers([0, 1], [3])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"With holding out speakers \[0\] nothing is left"):
        fsdd.split_speakers([0, 0], [0])  # type: ignore[arg-type]


def equal(a: SpikeTrains, b: SpikeTrains) -> bool:
    arrays = ("times", "units", "first", "labels", "speakers")
    return a.classes == b.classes and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)


def test_spikes_are_kept_and_found_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(home / "fsdd_recordings.zip", files())
    calls = []
    encode = fsdd.cochlea.encode
    monkeypatch.setattr(fsdd.cochlea, "encode", lambda *given: calls.append(1) or encode(*given))
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
    monkeypatch.setattr(fsdd.cochlea, "version", lambda: "another")
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
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b""}.get(damage, data))
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
