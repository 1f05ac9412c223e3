"""What is kept of a run."""

import json
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from benchmarks.keep import keep


def finished(folder: Path) -> Path:
    (folder / "figures").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    for name in ("config.json", "result.json"):
        (folder / name).write_text(json.dumps({"name": name}))
    for name in ("report.html", "figures/game.gif", "checkpoints/last.pt"):
        (folder / name).write_text(name)
    for name in ("a", "learning_curves", "rates"):
        Image.effect_noise((300, 200), 40).convert("RGB").save(folder / f"figures/{name}.png")
    return folder


def test_numbers_and_two_small_pictures_but_no_weights_and_no_report(tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    keep(run, tmp_path / "kept")
    kept = sorted(str(path.relative_to(tmp_path / "kept")) for path in (tmp_path / "kept").rglob("*") if path.is_file())
    assert kept == ["config.json", "figures/learning_curves.png", "figures/rates.png", "result.json"]
    small, large = (folder / "figures/rates.png" for folder in (tmp_path / "kept", run))
    assert small.stat().st_size < 0.7 * large.stat().st_size
    with Image.open(small) as now, Image.open(large) as before:
        difference = ImageChops.difference(now.convert("L"), before.convert("L"))
        assert ImageStat.Stat(difference).mean[0] < 3


def test_of_several_seeds_only_the_first_keeps_its_pictures(tmp_path: Path) -> None:
    for seed in (0, 1):
        finished(tmp_path / "run" / f"seed{seed}")
    for name in ("seeds.json", "summary.json"):
        (tmp_path / "run" / name).write_text("{}")
    keep(tmp_path / "run", tmp_path / "kept")
    assert (tmp_path / "kept/seed0/figures").is_dir()
    assert (tmp_path / "kept/seed1/result.json").is_file()
    assert not (tmp_path / "kept/seed1/figures").exists()


def test_of_a_table_every_run_is_a_line(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for cell in ("b-1", "a-1"):
        finished(run / cell / "seed0")
    for name in ("table.json", "result.json", "table.txt"):
        (run / name).write_text("{}")
    (run / "figures").mkdir()
    Image.new("RGB", (8, 8)).save(run / "figures/table.png")
    kept = keep(run, tmp_path / "kept")
    lines = [json.loads(line) for line in (tmp_path / "kept/runs.jsonl").read_text().splitlines()]
    assert [line["run"] for line in lines] == ["a-1/seed0", "b-1/seed0"]
    assert lines[0]["config"] == {"name": "config.json"}
    assert sorted(path.name for path in kept) == ["result.json", "runs.jsonl", "table.json", "table.png", "table.txt"]


def test_of_a_long_log_the_validations_stay(tmp_path: Path) -> None:
    lines = [{"update": i, "loss": 0.5} | ({"validation_loss": 0.4} if i % 777 == 0 else {}) for i in range(1, 5002)]
    log = finished(tmp_path / "run") / "metrics.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    keep(tmp_path / "run", tmp_path / "kept")
    kept = [json.loads(line) for line in (tmp_path / "kept/metrics.jsonl").read_text().splitlines()]
    assert [line for line in kept if "validation_loss" in line] == [line for line in lines if "validation_loss" in line]
    assert kept[-1] == lines[-1]
    assert 90 < len(kept) < 120
    short = json.dumps(lines[0]) + "\n"
    log.write_text(short)
    keep(tmp_path / "run", tmp_path / "short")
    assert (tmp_path / "short/metrics.jsonl").read_text() == short


def test_a_run_that_is_not_finished(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Resume it first"):
        keep(tmp_path, tmp_path / "kept")
