"""Downloading: mirrors, checksums, being offline. A web server in this process plays the internet."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

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
    assert f"{server}/forged/file.gz: ValueError" in str(error.value)
    assert not (home / "toy" / "file.gz").exists()


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
    with pytest.raises(ConfigError, match=r"There is no data set 'nmist' to fetch. Choose one of: mnist"):
        fetch("nmist")


def test_every_data_set_has_checksums_and_mirrors() -> None:
    for files in datasets().values():
        for file in files:
            assert len(file.md5) == 32
            assert file.count > 0
            assert all(url.startswith("http") for url in file.urls)
            assert file.urls


def test_without_the_variable_files_live_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SPIKELOOM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder("mnist").parts[-2:] == ("spikeloom", "mnist")
