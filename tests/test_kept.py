"""Files that can be made again: where they lie, and what happens to those that are damaged, foreign or left over."""

import os
import pwd
import time
from pathlib import Path

import pytest

from spikeloom import kept
from spikeloom.errors import ConfigError, DataError


def test_the_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("SPIKELOOM_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    usual = Path("/home/someone/.cache/spikeloom/kernels")
    assert kept.folder("kernels") == usual
    for nothing in ("", "relative/folder"):  # as the XDG Base Directory Specification says
        monkeypatch.setenv("XDG_CACHE_HOME", nothing)
        assert kept.folder("kernels") == usual
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/someone")
    assert kept.folder("spikes") == Path("/var/cache/someone/spikeloom/spikes")
    monkeypatch.setenv("SPIKELOOM_CACHE", "")
    assert kept.folder("spikes") == Path("/var/cache/someone/spikeloom/spikes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPIKELOOM_CACHE", "here")
    assert kept.folder("spikes") == tmp_path / "here" / "spikes"


@pytest.mark.parametrize("home", [None, "", "relative"])
def test_without_a_home_the_user_has_one(home: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SPIKELOOM_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    usual = Path(os.path.expanduser("~" + pwd.getpwuid(os.getuid()).pw_name))
    assert kept.folder("kernels") == usual / ".cache" / "spikeloom" / "kernels"


def test_a_user_without_a_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SPIKELOOM_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    with pytest.raises(ConfigError, match=r"HOME is not set, and this user has no home. Set SPIKELOOM_CACHE"):
        kept.folder("kernels")


def test_what_was_written_is_read_and_what_was_damaged_is_not(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.bin"
    kept.write(path, b"content")
    assert kept.read(path) == b"content"
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:30], whole + b"\n", whole.replace(b"content", b"kontent"), b"content"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"file.bin is damaged: its content does not agree with its digest"):
            kept.read(path)
    other = path.with_name("other.bin")
    other.write_bytes(whole)
    with pytest.raises(DataError, match=r"other.bin is damaged"):
        kept.read(other)
    with pytest.raises(FileNotFoundError):
        kept.read(tmp_path / "nothing")


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    old, new = tmp_path / "old.tmp", tmp_path / "new.tmp"
    old.touch()
    new.touch()
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    kept.write(tmp_path / "file", b"")
    assert not old.exists()
    assert new.exists()


def test_a_folder_of_others_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPIKELOOM_CACHE", raising=False)
    place = tmp_path / "spikeloom" / "kernels"
    kept.check_trusted(place)  # not there: it will be ours
    place.mkdir(parents=True)
    kept.check_trusted(place)
    place.parent.chmod(0o777)
    with pytest.raises(ConfigError, match=r"spikeloom is not run, because everyone may write to it. Change its owner"):
        kept.check_trusted(place)
    monkeypatch.setenv("SPIKELOOM_CACHE", str(place.parent))
    kept.check_trusted(place)  # named


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_folder_of_another_user_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPIKELOOM_CACHE", raising=False)
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(ConfigError, match=r"is not run, because it belongs to another user. Change its owner or mode"):
        kept.check_trusted(tmp_path / "kernels")
