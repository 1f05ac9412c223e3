"""`spikeloom data list | fetch | check`."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.progress import Progress

from spikeloom import cli
from spikeloom.cli.data import DownloadBar
from spikeloom.data import fetch
from spikeloom.data.fetch import DataFile

CONTENT = b"some digits" * 20_000


class Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
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


def test_the_list_names_every_set_its_licence_and_whether_it_is_present(
    example_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPIKELOOM_DATA", str(example_data))
    assert cli.main(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in lines[:-1:2]}
    assert sorted(rows) == list(rows) == sorted(fetch.datasets())
    assert rows["ssc"].split()[1] == "absent"
    assert rows["omniglot"].split()[2] == "MB"
    assert "; https://zenkelab.org/datasets/" in lines[2 * list(rows).index("shd") + 1]
    assert lines[2 * list(rows).index("stmnist") + 1].endswith(", by hand only")
    assert lines[-1] == f"Below {example_data}; $SPIKELOOM_DATA names another place."


def test_a_set_is_fetched_to_its_folder(
    home: Path, server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = DataFile("a.zip", "", (f"{server}/a.zip",), 1, "digits", sha256=(hashlib.sha256(CONTENT).hexdigest(),))
    monkeypatch.setattr(fetch, "datasets", lambda: {"toy": (file,)})
    assert cli.main(["data", "fetch", "toy"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{home / 'toy' / 'a.zip'}\n"
    assert said.err == ""  # no terminal, no bar
    assert (home / "toy" / "a.zip").read_bytes() == CONTENT


def test_the_bar_shows_the_bytes_of_a_download(home: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = DataFile("a.zip", hashlib.md5(CONTENT).hexdigest(), (f"{server}/a.zip",), 1, "digits")
    monkeypatch.setattr(fetch, "datasets", lambda: {"toy": (file,)})
    progress = Progress(disable=True)
    fetch.fetch("toy", lambda name: DownloadBar(progress, name))
    (task,) = progress.tasks
    assert (task.description, task.completed, task.total) == ("a.zip", len(CONTENT), len(CONTENT))


def test_a_check_names_what_is_wrong_and_fails(
    example_data: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["data", "check"]) == 0
    assert capsys.readouterr().out == f"No data set is present below {home}.\n"
    (home / "shd").mkdir()
    (home / "shd" / "shd_test.h5").write_bytes((example_data / "shd" / "shd_test.h5").read_bytes()[:100])
    assert cli.main(["data", "check"]) == 1
    said = capsys.readouterr()
    missing, damaged = said.out.splitlines()
    assert missing.startswith("shd train WRONG: shd_train.h5.zip is missing in")
    assert damaged.startswith("shd test WRONG: ")
    assert said.err == "DataError: Not all data are sound: shd train, shd test. The lines above say what to do.\n"
    monkeypatch.setenv("SPIKELOOM_DATA", str(example_data))
    assert cli.main(["data", "check", "mnist"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(line.startswith(("mnist train partial: train-", "mnist test partial: t10k-")) for line in lines)


def test_files_of_which_the_same_is_said_share_a_line(
    example_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPIKELOOM_DATA", str(example_data))
    assert cli.main(["data", "check", "babi"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 42
    assert all(line.startswith(("babi train partial: ", "babi test partial: ", "babi archive ok: ")) for line in lines)
    assert any(" more: " in line for line in lines)


@pytest.mark.parametrize("words", [[], ["get"], ["list", "mnist"], ["fetch"], ["check", "mnist", "shd"]])
def test_other_words_are_answered_with_the_right_ones(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", *words]) == 1
    assert "data needs an action and a data set: spikeloom data list, spikeloom data fetch" in capsys.readouterr().err
    assert cli.main(["data", "check", "nowhere"]) == 1
    assert "There is no data set 'nowhere'. Choose one of: babi" in capsys.readouterr().err
