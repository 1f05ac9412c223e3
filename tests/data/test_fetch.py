"""Downloading: mirrors, checksums, being offline. A web server in this process plays the internet."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from spikeloom.data import fetch as module
from spikeloom.data.fetch import DataFile, datasets, describe, fetch, folder, locate
from spikeloom.errors import ConfigError, DataError

CONTENT = b"some digits"
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = {"/good/file.gz": CONTENT, "/forged/file.gz": b"other bytes"}.get(self.path)
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(found or b"")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path


def offer(monkeypatch: pytest.MonkeyPatch, *urls: str) -> DataFile:
    file = DataFile("file.gz", MD5, urls, 10, "test digits")
    monkeypatch.setattr(module, "datasets", lambda: {"toy": (file,)})
    return file


def test_the_first_mirror_with_the_right_bytes_is_used(
    home: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = [f"{server}/{mirror}/file.gz" for mirror in ("absent", "forged", "good")]
    offer(monkeypatch, *urls)
    assert fetch("toy") == [home / "toy" / "file.gz"]
    assert (home / "toy" / "file.gz").read_bytes() == CONTENT


def test_forged_bytes_are_never_left_behind(home: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, f"{server}/forged/file.gz")
    with pytest.raises(DataError, match=r"file.gz could not be downloaded") as error:
        fetch("toy")
    assert MD5 in str(error.value)
    forged = hashlib.md5(b"other bytes").hexdigest()
    assert f"{server}/forged/file.gz: its checksum differs: MD5 {forged} instead of MD5 {MD5}" in str(error.value)
    assert list((home / "toy").iterdir()) == []


def test_offline_says_what_to_get_and_where_to_put_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "http://127.0.0.1:9/file.gz")  # nothing listens on the discard port
    with pytest.raises(DataError, match=r"http://127.0.0.1:9/file.gz: ConnectionError") as error:
        fetch("toy")
    assert MD5 in str(error.value)
    assert f"put it in {home / 'toy'}" in str(error.value)


def test_a_folder_that_cannot_be_written_is_a_data_error(
    home: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, f"{server}/good/file.gz")
    (home / "toy").write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"file.gz could not be downloaded"):
        fetch("toy")


def test_a_file_placed_by_hand_is_kept(home: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = offer(monkeypatch, f"{server}/good/file.gz")
    (home / "toy").mkdir()
    (home / "toy" / "file").write_bytes(b"mine")
    assert fetch("toy") == [home / "toy" / "file"] == [locate("toy", file)]
    assert (home / "toy" / "file").read_bytes() == b"mine"


def test_descriptions_tell_official_files_from_others(tmp_path: Path) -> None:
    file = DataFile("file.gz", MD5, ("http://nowhere",), 10, "test digits")
    (tmp_path / "file.gz").write_bytes(CONTENT)
    found = describe(tmp_path / "file.gz", 10, file)
    assert found["note"] == "the official file, all 10 test digits"
    assert found["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    (tmp_path / "file.gz").write_bytes(b"mine")
    assert (
        "10 test digits, as many as the official file, which has another"
        in describe(tmp_path / "file.gz", 10, file)["note"]
    )
    assert describe(tmp_path / "file.gz", 8, file)["note"] == "8 of the 10 official test digits"


def test_an_unknown_data_set_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"There is no data set 'nmist' to fetch. Choose one of: babi, fsdd, mnist"):
        fetch("nmist")


def test_every_data_set_has_checksums_and_mirrors() -> None:
    for name, files in datasets().items():
        assert files or name == "stmnist"
        for file in files:
            assert len(file.md5) in (0, 32)
            assert all(len(sha256) == 64 for sha256 in file.sha256)
            assert file.md5 or file.sha256 or file.inside
            assert file.count > 0
            assert all(url.startswith("http") for url in file.urls)
            assert file.urls


def test_a_published_sha256_is_preferred_to_the_md5(home: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    for name, published in (("toy", ("0" * 64, sha256)), ("other", ("0" * 64,))):
        file = DataFile("file.gz", MD5, (f"{server}/good/file.gz",), 10, "test digits", sha256=published)
        monkeypatch.setattr(module, "datasets", lambda name=name, file=file: {name: (file,)})
        if name == "toy":
            assert [path.read_bytes() for path in fetch(name)] == [CONTENT]
            continue
        with pytest.raises(DataError, match=rf"differs: SHA-256 {sha256} instead of SHA-256 {'0' * 64}"):
            fetch(name)


def test_a_file_without_a_checksum_is_verified_by_its_content(
    home: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inside(path: Path) -> None:
        if path.read_bytes() != CONTENT:
            raise DataError("it holds other bytes")

    urls = [f"{server}/{mirror}/file.gz" for mirror in ("forged", "good")]
    file = DataFile("file.gz", "", tuple(urls[:1]), 10, "test digits", inside=inside)
    monkeypatch.setattr(module, "datasets", lambda: {"toy": (file,)})
    with pytest.raises(DataError, match=r"forged/file.gz: it holds other bytes\). Get it .*\(no published checksum\)"):
        fetch("toy")
    file = DataFile("file.gz", "", tuple(urls), 10, "test digits", inside=inside)
    monkeypatch.setattr(module, "datasets", lambda: {"toy": (file,)})
    assert fetch("toy") == [home / "toy" / "file.gz"]
    assert [path.name for path in (home / "toy").iterdir()] == ["file.gz"]


def test_a_bar_counts_the_bytes(home: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counter:
        total = 0
        said: ClassVar[list[object]] = []

        def update(self, count: int) -> None:
            self.said.append(count)

        def reset(self) -> None:
            self.said.append("reset")

        def close(self) -> None:
            self.said.append("closed")

    offer(monkeypatch, f"{server}/good/file.gz")
    names: list[str] = []
    fetch("toy", lambda name: names.append(name) or Counter())  # type: ignore[func-returns-value]
    assert names == ["file.gz"]
    assert Counter.said[-1] == "closed"
    assert "reset" in Counter.said


def test_a_set_that_is_given_out_by_hand_says_so(home: Path) -> None:
    with pytest.raises(DataError, match=rf"stmnist cannot be fetched: .* through a form.*{home / 'stmnist'}"):
        fetch("stmnist")


def test_other_names_of_a_file_may_be_patterns(home: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = DataFile("file.gz", MD5, (f"{server}/absent/file.gz",), 10, "test digits", ("*.zip", "**/*.wav"))
    monkeypatch.setattr(module, "datasets", lambda: {"toy": (file,)})
    (home / "toy" / "deep").mkdir(parents=True)
    (home / "toy" / "deep" / "a.wav").write_bytes(b"mine")
    assert fetch("toy") == [home / "toy" / "deep" / "a.wav"]


def test_without_the_variable_files_live_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SPIKELOOM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder("mnist").parts[-2:] == ("spikeloom", "mnist")
