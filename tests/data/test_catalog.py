"""The catalogue: what is known of every data set, which are present, and what a check finds."""

import os
import zipfile
from pathlib import Path

import pytest

from spikeloom.data import babi, catalog, fsdd, omniglot
from spikeloom.data.fetch import datasets, digests, locate
from spikeloom.errors import ConfigError, DataError
from tests import fixtures

DATA = Path(os.environ.get("SPIKELOOM_DATA") or "/nonexistent")


def test_every_data_set_is_described() -> None:
    assert set(datasets()) == {
        "babi", "fsdd", "mnist", "nmnist", "ntidigits", "omniglot", "shd", "ssc", "stmnist"
    }  # fmt: skip
    for name, files in datasets().items():
        about = catalog.about(name)
        assert about.title
        assert about.licence
        assert about.source.startswith("http")
        assert bool(about.by_hand) == (not files)
    with pytest.raises(ConfigError, match=r"There is no data set 'nmist'. Choose one of: babi, fsdd, mnist"):
        catalog.about("nmist")


def test_made_up_data_sets_are_present_and_sound(example_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKELOOM_DATA", str(example_data))
    found = [name for name in datasets() if catalog.present(name)]
    assert {"babi", "fsdd", "mnist", "omniglot", "shd"} <= set(found)
    for name in found:
        findings = list(catalog.check(name))
        assert [finding for finding in findings if not finding.is_sound] == []
        assert {finding.split for finding in findings} - {"archive"} == set(catalog.about(name).splits)
        assert not all(finding.is_complete for finding in findings)
        assert not any("the official file" in finding.text for finding in findings)


def test_archives_are_compared_with_the_published_checksums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path))
    fixtures.omniglot.write(tmp_path)
    texts = [finding.text for finding in catalog.check("omniglot")]
    assert len(texts) == 3
    assert all(text.endswith("not the published checksum") for text in texts)


def test_what_is_absent_or_damaged_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKELOOM_DATA", str(tmp_path))
    assert catalog.present("shd") == []
    with pytest.raises(DataError, match=r"shd is absent: run `spikeloom data fetch shd`"):
        list(catalog.check("shd"))
    with pytest.raises(DataError, match=r"stmnist is absent: .* through a form. .*stmnist"):
        list(catalog.check("stmnist"))
    (tmp_path / "shd").mkdir()
    (tmp_path / "shd" / "shd_train.h5").write_bytes(b"no HDF5")
    damaged, missing = catalog.check("shd")
    assert not damaged.is_sound
    assert "cannot be read as an HDF5 file" in damaged.text
    assert not missing.is_sound
    assert "shd_test.h5.zip is missing" in missing.text


def test_an_archive_of_spoken_digits_is_verified_by_its_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("7_anna_0.wav", "7_anna_5.wav"):
            archive.writestr(f"free-spoken-digit-dataset-{fsdd.COMMIT}/recordings/{name}", name)
    with pytest.raises(DataError, match=r"a.zip holds 2 recordings, but 3,000 were expected"):
        fsdd.check_archive(path)
    monkeypatch.setattr(fsdd, "OFFICIAL", {"train": 1, "test": 1})
    with pytest.raises(DataError, match=r"holds training recordings of SHA-256 .* was expected") as error:
        fsdd.check_archive(path)
    found = str(error.value).split("SHA-256 ")[1].split(",")[0]
    monkeypatch.setattr(fsdd, "CONTENT", found)
    fsdd.check_archive(path)


@pytest.mark.skipif(not (DATA / "fsdd" / "fsdd_recordings.zip").is_file(), reason="no recordings in $SPIKELOOM_DATA")
def test_the_training_recordings_of_fsdd_have_the_content_that_a_download_must_have() -> None:
    files = fsdd._files(DATA / "fsdd" / "fsdd_recordings.zip")
    training = {name: data for name, data in files.items() if fsdd._parts(name)[2] not in fsdd.TEST_INDICES}
    assert len(training) == 2_700
    assert fsdd._content_hash(training) == fsdd.CONTENT


@pytest.mark.skipif(not (DATA / "omniglot" / "all_runs.zip").is_file(), reason="no Omniglot in $SPIKELOOM_DATA")
def test_the_runs_of_omniglot_are_the_published_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKELOOM_DATA", str(DATA))
    file = omniglot.FILES[2]
    assert file.is_official(*digests(locate("omniglot", file)))


@pytest.mark.skipif(not (DATA / "babi").is_dir(), reason="no bAbI in $SPIKELOOM_DATA")
def test_a_task_of_babi_is_the_one_in_the_archive_that_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hash in that archive was published by others; ours is a copy of another origin."""
    monkeypatch.setenv("SPIKELOOM_DATA", str(DATA))
    found = {Path(one["file"]).name: one for one in babi.describe("train")}
    first = found["qa1_single-supporting-fact_train.txt"]
    assert first["sha256"] == "749ea9f7c99070feb2d88c975a254417a0dcc8274add4435ae5ae24c7afc7e9d"
    assert sum(one["count"] for one in found.values()) == 20 * 10_000 - 8_075
