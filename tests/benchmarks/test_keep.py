"""What is kept of a run."""

import json
from pathlib import Path

import pytest

from benchmarks.keep import keep


def finished(folder: Path) -> Path:
    (folder / "figures").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    for name in (
        "config.json", "result.json", "report.html", "figures/a.png", "figures/game.gif", "checkpoints/last.pt",
    ):  # fmt: skip
        (folder / name).write_text(name)
    return folder


def test_numbers_and_pictures_but_no_weights(tmp_path: Path) -> None:
    keep(finished(tmp_path / "run"), tmp_path / "kept")
    kept = sorted(str(path.relative_to(tmp_path / "kept")) for path in (tmp_path / "kept").rglob("*") if path.is_file())
    assert kept == ["config.json", "figures/a.png", "figures/game.gif", "report.html", "result.json"]


def test_large_pictures_are_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished(tmp_path / "run")
    (run / "figures/b.png").write_bytes(bytes((1 << 20) + 1))
    keep(run, tmp_path / "kept")
    assert sorted(path.name for path in (tmp_path / "kept/figures").iterdir()) == ["a.png", "game.gif"]
    assert "b.png" in capsys.readouterr().out


def test_of_several_seeds_only_the_first_keeps_its_pictures(tmp_path: Path) -> None:
    for seed in (0, 1):
        finished(tmp_path / "run" / f"seed{seed}")
    for name in ("seeds.json", "summary.json"):
        (tmp_path / "run" / name).write_text("{}")
    keep(tmp_path / "run", tmp_path / "kept")
    assert (tmp_path / "kept/seed0/report.html").is_file()
    assert (tmp_path / "kept/seed1/result.json").is_file()
    assert not (tmp_path / "kept/seed1/report.html").exists()


def test_of_a_long_log_the_validations_stay(tmp_path: Path) -> None:
    lines = [{"update": i, "loss": 0.5} | ({"validation_loss": 0.4} if i % 777 == 0 else {}) for i in range(1, 5002)]
    log = finished(tmp_path / "run") / "metrics.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    keep(tmp_path / "run", tmp_path / "kept")
    kept = [json.loads(line) for line in (tmp_path / "kept/metrics.jsonl").read_text().splitlines()]
    assert [line for line in kept if "validation_loss" in line] == [line for line in lines if "validation_loss" in line]
    assert kept[-1] == lines[-1]
    assert 400 < len(kept) < 520
    short = json.dumps(lines[0]) + "\n"
    log.write_text(short)
    keep(tmp_path / "run", tmp_path / "short")
    assert (tmp_path / "short/metrics.jsonl").read_text() == short


def test_a_run_that_is_not_finished(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Resume it first"):
        keep(tmp_path, tmp_path / "kept")
