"""What is kept of a run."""

from pathlib import Path

import pytest

from benchmarks.keep import keep


def finished(folder: Path) -> Path:
    (folder / "figures").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    for name in ("config.json", "result.json", "report.html", "figures/a.png", "checkpoints/last.pt"):
        (folder / name).write_text(name)
    return folder


def test_numbers_and_pictures_but_no_weights(tmp_path: Path) -> None:
    keep(finished(tmp_path / "run"), tmp_path / "kept")
    kept = sorted(str(path.relative_to(tmp_path / "kept")) for path in (tmp_path / "kept").rglob("*") if path.is_file())
    assert kept == ["config.json", "figures/a.png", "report.html", "result.json"]


def test_of_several_seeds_only_the_first_keeps_its_pictures(tmp_path: Path) -> None:
    for seed in (0, 1):
        finished(tmp_path / "run" / f"seed{seed}")
    for name in ("seeds.json", "summary.json"):
        (tmp_path / "run" / name).write_text("{}")
    keep(tmp_path / "run", tmp_path / "kept")
    assert (tmp_path / "kept/seed0/report.html").is_file()
    assert (tmp_path / "kept/seed1/result.json").is_file()
    assert not (tmp_path / "kept/seed1/report.html").exists()


def test_a_run_that_is_not_finished(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Resume it first"):
        keep(tmp_path, tmp_path / "kept")
